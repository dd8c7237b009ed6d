//! What is believed, by whom, and until when.

use super::*;

#[tokio::test]
async fn what_one_instance_remembers_the_other_believes() {
    let server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&one, &name, &digest).await;
    assert_eq!(held(&other, &name, &digest).await, Some(descriptor(7)));
    assert_eq!(held(&other, &super::name("a/c"), &digest).await, None);
    assert_eq!(held(&other, &name, &super::digest("y")).await, None);
    let plain = Holding { size: u64::MAX, media_type: None };
    let blob = super::digest("y");
    other.remember(ticket(&other, &name, &blob).await, &name, &blob, &plain).await;
    assert_eq!(held(&one, &name, &blob).await, Some(plain));
}

#[tokio::test]
async fn memory_remembers_where_the_process_is_alone_and_nowhere_else() {
    let (name, digest) = (name("a/b"), digest("x"));
    let alone = Fleet::open(None, true, metrics()).await;
    assert!(!pull(&alone, &name, &digest).await);
    assert_eq!(held(&alone, &name, &digest).await, Some(descriptor(7)));
    alone.deleting(&name).await.unwrap().done().await;
    assert_eq!(held(&alone, &name, &digest).await, None);
    let one_of_many = Fleet::open(None, false, metrics()).await;
    assert!(!pull(&one_of_many, &name, &digest).await);
    assert!(!pull(&one_of_many, &name, &digest).await);
    one_of_many.deleting(&name).await.unwrap().done().await;
}

#[tokio::test]
async fn nothing_of_a_repository_is_believed_while_something_of_it_is_deleted() {
    let server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&one, &name, &digest).await;
    pull_until_held(&one, &super::name("a/c"), &digest).await;
    let deleting = other.deleting(&name).await.unwrap();
    assert!(!pull(&one, &name, &digest).await);
    assert!(!pull(&one, &name, &digest).await);
    assert!(held(&one, &super::name("a/c"), &digest).await.is_some());
    deleting.done().await;
    assert_eq!(held(&one, &name, &digest).await, None);
    pull_until_held(&one, &name, &digest).await;
}

#[tokio::test]
async fn deletions_that_overlap_keep_the_repository_closed_until_the_last_is_done() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let (name, digest) = (name("a/b"), digest("x"));
    pull_until_held(&state, &name, &digest).await;
    // More than one value holds marks for: the rest is closed until its time is over.
    for count in [2, 130] {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(state.deleting(&name).await.unwrap());
        }
        let last = all.pop().unwrap();
        for deleting in all {
            deleting.done().await;
            assert!(!pull(&state, &name, &digest).await);
        }
        last.done().await;
        if count == 2 {
            pull_until_held(&state, &name, &digest).await;
        } else {
            assert!(!pull(&state, &name, &digest).await && !pull(&state, &name, &digest).await);
        }
    }
}

#[tokio::test]
async fn asking_for_what_does_not_exist_leaves_nothing_in_redis() {
    let server = Server::start(&[]);
    let state = server.state().await;
    for number in 0..10 {
        assert_eq!(held(&state, &name(&format!("a/{number}")), &digest("x")).await, None);
    }
    assert_eq!(server.ask(&["DBSIZE"]).await, "int(0)");
}

#[tokio::test]
async fn everything_in_redis_has_our_prefix_and_an_end() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.prefix = "ours/".into();
    config.ttl = seconds(60);
    let state = open(&config).await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;
    let _deleting = state.deleting(&name("a/c")).await.unwrap();
    let _lease = state.lease("job", Duration::from_secs(60)).await.unwrap();
    let script = "local n = 0; for _, k in ipairs(redis.call('KEYS', 'ours/*')) do \
                  if redis.call('PTTL', k) > 0 then n = n + 1 end end; return n";
    assert_eq!(server.ask(&["EVAL", script, "0"]).await, "int(4)");
    assert_eq!(server.ask(&["DBSIZE"]).await, "int(4)");
}

#[tokio::test]
async fn a_job_is_done_by_one_instance_until_it_ends() {
    let server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let hour = Duration::from_secs(3600);
    let lease = one.lease("purge", hour).await.unwrap();
    assert!(other.lease("purge", hour).await.is_none() && one.lease("purge", hour).await.is_none());
    assert!(other.lease("probe", hour).await.is_some());
    drop(lease);
    let began = Instant::now();
    let lease = loop {
        match other.lease("purge", Duration::from_millis(1)).await {
            Some(lease) => break lease,
            None => assert!(began.elapsed() < PATIENCE, "never given back"),
        }
    };
    // Its time passes; the next one's lease is not ended by the drop of this one.
    let next = loop {
        match one.lease("purge", hour).await {
            Some(next) => break next,
            None => assert!(began.elapsed() < PATIENCE, "never over"),
        }
    };
    drop(lease);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(other.lease("purge", hour).await.is_none());
    drop(next);
}

#[tokio::test]
async fn a_lease_without_redis_is_of_this_process() {
    let state = Fleet::open(None, false, metrics()).await;
    let hour = Duration::from_secs(3600);
    let lease = state.lease("purge", hour).await.unwrap();
    assert!(state.lease("purge", hour).await.is_none());
    drop(lease);
    let over = state.lease("purge", Duration::ZERO).await.unwrap();
    let next = state.lease("purge", hour).await.unwrap();
    drop(over);
    assert!(state.lease("purge", hour).await.is_none());
    drop(next);
}
