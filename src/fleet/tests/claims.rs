//! What one instance does for all, and what they note for each other.

use super::super::{Claim, Held, MAX_NOTE};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

async fn mine(state: &Fleet, key: &str, holder: &str) -> Held {
    match state.claim(key, holder, HOUR).await {
        Claim::Mine(held) => held,
        other => panic!("{other:?}"),
    }
}

/// What the holder says; `None` if nobody else holds it, and then it is given back at once.
async fn holder(state: &Fleet, key: &str) -> Option<String> {
    match state.claim(key, "asker", HOUR).await {
        Claim::Of(holder) => Some(holder),
        Claim::Mine(_) => None,
        Claim::Nobody => panic!("no answer"),
    }
}

async fn until(mut is: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < PATIENCE, "never");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_of_two_instances_has_a_claim_and_the_other_is_told_who() {
    let server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let held = mine(&one, "blob:a", "http://one:5000 x").await;
    assert_eq!(holder(&other, "blob:a").await.as_deref(), Some("http://one:5000 x"));
    assert_eq!(holder(&one, "blob:a").await.as_deref(), Some("http://one:5000 x"), "its own instance is no other");
    let beside = mine(&other, "blob:b", "other").await;
    drop(held);
    until(async || holder(&other, "blob:a").await.is_none()).await;
    drop(beside);
}

#[tokio::test]
async fn a_claim_that_is_not_renewed_ends_and_what_is_anothers_is_not_given_back() {
    let server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let Claim::Mine(late) = one.claim("a", "one", Duration::from_millis(1)).await else { panic!() };
    let mut taken = None;
    until(async || {
        taken = match other.claim("a", "other", HOUR).await {
            Claim::Mine(held) => Some(held),
            _ => None,
        };
        taken.is_some()
    })
    .await;
    assert!(!late.renew(HOUR).await);
    drop(late);
    // The releases go over several connections: one behind them on each sees what they did.
    for _ in 0..20 {
        assert_eq!(holder(&one, "a").await.as_deref(), Some("other"));
    }
    assert!(taken.unwrap().renew(HOUR).await);
}

#[tokio::test]
async fn a_renewed_claim_lasts() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let Claim::Mine(held) = state.claim("a", "one", Duration::from_secs(60)).await else { panic!() };
    assert!(held.renew(2 * HOUR).await);
    let left = server.ask(&["PTTL", &format!("entrepot:{}:claim:a", server.run().await)]).await;
    let left: u64 = left.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    assert!(left > 3_600_000, "{left}");
}

#[tokio::test]
async fn a_claim_outlives_a_redis_that_forgot_it() {
    let mut server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    let held = mine(&one, "a", "one").await;
    server.restart();
    until(async || held.renew(HOUR).await && matches!(other.claim("b", "b", HOUR).await, Claim::Mine(_))).await;
    until(async || held.renew(HOUR).await && holder(&other, "a").await.as_deref() == Some("one")).await;
}

#[tokio::test]
async fn without_redis_everybody_works_alone_and_nothing_is_noted() {
    let mut server = Server::start(&[]);
    let state = server.state().await;
    let held = mine(&state, "a", "one").await;
    server.kill();
    assert!(matches!(state.claim("b", "one", HOUR).await, Claim::Nobody));
    assert!(held.renew(HOUR).await, "nothing is known against it");
    state.note("n", "v", HOUR).await;
    assert_eq!(state.noted("n").await, None);
    let alone = Fleet::open(None, true, metrics()).await;
    assert!(matches!(alone.claim("a", "one", HOUR).await, Claim::Nobody));
    alone.note("n", "v", HOUR).await;
    assert_eq!(alone.noted("n").await, None);
}

#[tokio::test]
async fn what_is_noted_is_read_by_all_until_its_time_is_over() {
    let server = Server::start(&[]);
    let (one, other) = (server.state().await, server.state().await);
    assert_eq!(other.noted("n").await, None);
    one.note("n", "first", HOUR).await;
    one.note("n", "läst", HOUR).await;
    assert_eq!(other.noted("n").await.as_deref(), Some("läst"));
    one.note("n", "short", Duration::from_millis(1)).await;
    until(async || other.noted("n").await.is_none()).await;
}

#[tokio::test]
async fn long_texts_are_neither_noted_nor_claimed_nor_read() {
    let server = Server::start(&[]);
    let state = server.state().await;
    let (most, long) = ("x".repeat(MAX_NOTE), "x".repeat(MAX_NOTE + 1));
    state.note("n", &most, HOUR).await;
    state.note("n", &long, HOUR).await;
    assert_eq!(state.noted("n").await, Some(most));
    assert!(matches!(state.claim("a", &long, HOUR).await, Claim::Nobody));
    let run = server.run().await;
    server.ask(&["SET", &format!("entrepot:{run}:note:n"), &long]).await;
    assert_eq!(state.noted("n").await, None);
    server.ask(&["SET", &format!("entrepot:{run}:claim:a"), "odd"]).await;
    assert!(matches!(state.claim("a", "one", HOUR).await, Claim::Nobody));
}
