//! Redis is killed, flushed, restarted, stalled, full: nothing fails but deletions, nothing false is believed.

use super::*;

async fn up(metrics: &Metrics, config: &Config, wanted: i64) {
    let began = Instant::now();
    while metrics.up(&config.url.to_string()).get() != wanted {
        assert!(began.elapsed() < PATIENCE, "entrepot_redis_up is never {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn flushall_costs_one_question_to_storage_and_no_more() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    let old = ticket(&state, &name, &super::digest("y")).await;
    server.ask(&["FLUSHALL"]).await;
    assert_eq!(held(&state, &name, &digest).await, None);
    pull_until_held(&state, &name, &digest).await;
    // Somebody who asked before may write what he was told, and nobody believes it.
    state.remember(old, &name, &super::digest("y"), &descriptor(1)).await;
    assert_eq!(held(&state, &name, &super::digest("y")).await, None);
}

#[tokio::test]
async fn a_killed_redis_costs_nothing_but_deletions_and_is_found_again() {
    let mut server = Server::start(&[]);
    let (config, metrics) = (server.config(), metrics());
    let state = Fleet::open(Some(&config), false, Arc::clone(&metrics)).await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    server.kill();
    assert!(!pull(&state, &name, &digest).await);
    up(&metrics, &config, 0).await;
    assert!(!pull(&state, &name, &digest).await);
    assert!(metrics.errors.get() >= 2);
    assert!(state.deleting(&name).await.is_err());
    assert!(state.lease("purge", Duration::from_secs(1)).await.is_none());
    server.restart();
    up(&metrics, &config, 1).await;
    pull_until_held(&state, &name, &digest).await;
    state.deleting(&name).await.unwrap().done().await;
    assert_eq!(held(&state, &name, &digest).await, None);
}

#[tokio::test]
async fn an_instance_starts_without_redis_and_finds_it_when_it_comes() {
    let mut server = Server::start(&[]);
    server.kill();
    let state = server.state().await;
    assert!(!pull(&state, &name("a/b"), &digest("x")).await);
    server.restart();
    // A deletion waits until Redis is found, if it is found soon.
    state.deleting(&name("a/b")).await.unwrap().done().await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;
}

#[tokio::test]
async fn an_old_snapshot_brings_nothing_deleted_back() {
    let mut server = Server::start(&["--dbfilename", "dump.rdb"]);
    let state = server.state().await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    server.ask(&["SAVE"]).await;
    state.deleting(&name).await.unwrap().done().await;
    server.restart();
    assert_ne!(server.ask(&["DBSIZE"]).await, "int(0)", "the snapshot was read");
    state.deleting(&super::name("z")).await.unwrap().done().await;
    assert_eq!(held(&state, &name, &digest).await, None);
    pull_until_held(&state, &name, &digest).await;
}

#[tokio::test]
async fn a_deletion_survives_a_restart_of_redis_between_its_beginning_and_its_end() {
    let mut server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let (name, digest) = (name("a/b"), digest("x"));
    let deleting = one.deleting(&name).await.unwrap();
    server.restart();
    // The mark is lost, and another instance asks storage, which has not deleted yet.
    pull_until_held(&other, &name, &digest).await;
    deleting.done().await;
    assert_eq!(held(&other, &name, &digest).await, None);
}

#[tokio::test]
async fn the_end_of_a_deletion_is_told_when_redis_is_back() {
    let mut server = Server::start(&[]);
    let state = server.state().await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    let deleting = state.deleting(&name).await.unwrap();
    server.signal(Signal::STOP);
    deleting.done().await;
    server.signal(Signal::CONT);
    // Sooner than the mark expires.
    pull_until_held(&state, &name, &digest).await;
    server.kill();
}

#[tokio::test]
async fn a_stalled_redis_is_asked_a_few_times_and_then_no_more() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.command_timeout = Span(Duration::from_millis(50));
    let metrics = metrics();
    let state = Fleet::open(Some(&config), false, Arc::clone(&metrics)).await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    server.signal(Signal::STOP);
    for _ in 0..200 {
        assert!(!pull(&state, &name, &digest).await);
    }
    assert_eq!(metrics.up(&config.url.to_string()).get(), 0);
    // Each question that was asked took 50 ms at least: there were three.
    let asked = metrics.operation("lookup");
    let slow = asked.get_sample_sum() / 0.05;
    assert!((3.0..200.0).contains(&slow), "{slow}");
    assert!(asked.get_sample_count() < 20, "{}", asked.get_sample_count());
    server.signal(Signal::CONT);
    up(&metrics, &config, 1).await;
    pull_until_held(&state, &name, &digest).await;
}

#[tokio::test]
async fn a_deletion_waits_for_a_redis_that_stalls_for_half_a_second() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.command_timeout = Span(Duration::from_millis(50));
    config.connect_timeout = Span(Duration::from_millis(50));
    let state = open(&config).await;
    server.signal(Signal::STOP);
    let asked = {
        let state = Arc::clone(&state);
        tokio::spawn(async move { state.deleting(&name("a/b")).await.map(drop) })
    };
    // Pulls give up meanwhile, which must not end the deletion's question.
    for _ in 0..5 {
        assert!(!pull(&state, &name("a/c"), &digest("x")).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.signal(Signal::CONT);
    asked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_redis_closed_is_replaced_at_once() {
    let server = Server::start(&[]);
    let (config, metrics) = (server.config(), metrics());
    let state = Fleet::open(Some(&config), false, Arc::clone(&metrics)).await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;
    server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;
    up(&metrics, &config, 1).await;
}

#[tokio::test]
async fn a_full_redis_that_evicts_anything_costs_hits_only() {
    let server = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"]);
    let state = server.state().await;
    let large = Holding { size: 1, media_type: Some("x".repeat(255)) };
    let name = |number: usize| name(&format!("r/{}", number % 50));
    for number in 0..5000 {
        let digest = digest(&number.to_string());
        if let Lookup::Unknown(ticket) = state.lookup(&name(number), &digest).await {
            state.remember(ticket, &name(number), &digest, &large).await;
        }
    }
    for number in 0..50 {
        let deleting = state.deleting(&name(number)).await.unwrap();
        assert_eq!(held(&state, &name(number), &digest(&number.to_string())).await, None);
        deleting.done().await;
    }
    for number in 0..5000 {
        assert_eq!(held(&state, &name(number), &digest(&number.to_string())).await, None, "{number}");
    }
}

#[tokio::test]
async fn a_full_redis_that_takes_no_writes_refuses_deletions_and_nothing_else() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(pull(&state, &name, &digest).await);
    assert!(!pull(&state, &name, &super::digest("y")).await);
    let refused = state.deleting(&name).await.err().unwrap();
    assert!(refused.to_string().contains("OOM"), "{refused}");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    state.deleting(&name).await.unwrap().done().await;
}

#[tokio::test]
async fn rubbish_in_our_keys_is_not_believed() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let (name, digest) = (name("a/b"), digest("x"));
    let generation = format!("entrepot:{}:{{a/b}}", server.run().await);
    for rubbish in ["", "o", "c", "xyz"] {
        server.ask(&["SET", &generation, rubbish]).await;
        server.ask(&["SET", &format!("{generation}:{digest}"), &format!("{rubbish} 5")]).await;
        assert!(!pull(&state, &name, &digest).await && !pull(&state, &name, &digest).await);
    }
    state.deleting(&name).await.unwrap().done().await;
    pull_until_held(&state, &name, &digest).await;
}
