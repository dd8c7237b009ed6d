//! What instances count together.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Asks until there is an answer: 100 ms is short on a busy machine.
pub(super) async fn count(state: &Fleet, key: &str, cost: Duration, room: Duration) -> Result<(), Duration> {
    let began = Instant::now();
    loop {
        if let Some(answer) = state.count(key, cost, room).await {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "Redis is never asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn two_instances_count_as_one() {
    let server = Server::start(&[]);
    let fleet = [server.state().await, server.state().await];
    let mut admitted = 0;
    for turn in 0..20 {
        admitted += usize::from(count(&fleet[turn % 2], "requests:a", HOUR, 10 * HOUR).await.is_ok());
    }
    // An answer that came too late was counted all the same.
    assert!((1..=10).contains(&admitted), "{admitted}");
    let wait = count(&fleet[0], "requests:a", HOUR, 10 * HOUR).await.unwrap_err();
    assert!(wait > HOUR - PATIENCE && wait <= HOUR, "{wait:?}");
    assert_eq!(count(&fleet[1], "requests:b", HOUR, 10 * HOUR).await, Ok(()), "another client");
    assert!(count(&fleet[1], "requests:b", 10 * HOUR, 10 * HOUR).await.is_err(), "the costly does not fit any more");
    let left = server.ask(&["PTTL", &format!("entrepot:{}:count:requests:a", server.run().await)]).await;
    assert!(left.contains("int("), "{left}");
}

#[tokio::test]
async fn a_count_wears_off() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let (cost, room) = (Duration::from_millis(300), Duration::from_millis(300));
    assert_eq!(count(&state, "a", cost, room).await, Ok(()));
    let began = Instant::now();
    while count(&state, "a", cost, room).await.is_err() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_count_that_none_can_have_is_the_most_there_is() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let key = format!("entrepot:{}:count:a", server.run().await);
    for odd in ["9000000000000000", "no number", "-5"] {
        server.ask(&["SET", &key, odd]).await;
        let answer = count(&state, "a", HOUR, 2 * HOUR).await;
        assert!(answer.is_ok() || answer.is_err_and(|wait| wait <= HOUR), "{odd}: {answer:?}");
    }
}

#[tokio::test]
async fn the_script_is_sent_again_when_redis_has_forgotten_it() {
    let server = Server::start(&[]);
    let state = server.state().await;
    assert_eq!(count(&state, "a", HOUR, 10 * HOUR).await, Ok(()));
    server.ask(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(count(&state, "a", HOUR, 10 * HOUR).await, Ok(()));
}

#[tokio::test]
async fn nobody_is_held_up_by_a_redis_that_is_gone() {
    let mut server = Server::start(&[]);
    let state = server.state().await;
    assert_eq!(count(&state, "a", HOUR, 10 * HOUR).await, Ok(()));
    server.kill();
    assert_eq!(state.count("a", HOUR, 10 * HOUR).await, None);
    assert_eq!(Fleet::open(None, true, metrics()).await.count("a", HOUR, HOUR).await, None);
}

#[tokio::test]
async fn a_count_that_is_late_takes_redis_from_nobody_who_waits_longer() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.command_timeout = Span(Duration::from_secs(5));
    let metrics = metrics();
    let state = Fleet::open(Some(&config), false, Arc::clone(&metrics)).await;
    count(&state, "a", HOUR, HOUR).await.unwrap();
    server.signal(Signal::STOP);
    for _ in 0..6 {
        assert_eq!(state.count("a", HOUR, HOUR).await, None);
    }
    assert_eq!(metrics.up(&config.url.to_string()).get(), 1);
    server.signal(Signal::CONT);
    assert!(count(&state, "a", HOUR, HOUR).await.is_err());
}

#[tokio::test]
async fn a_script_that_redis_refuses_takes_redis_from_nobody() {
    let server = Server::start(&[]);
    let metrics = metrics();
    let config = server.config();
    let state = Fleet::open(Some(&config), false, Arc::clone(&metrics)).await;
    server.ask(&["ACL", "SETUSER", "default", "-eval", "-evalsha", "-script"]).await;
    for _ in 0..6 {
        assert_eq!(state.count("a", HOUR, HOUR).await, None);
    }
    assert_eq!(metrics.up(&config.url.to_string()).get(), 1);
}
