//! The budget as `ask` uses it.

use http::HeaderValue;

use super::*;

const TOO_MANY: &[u8] =
    br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;

async fn nobody() -> Arc<Fleet> {
    let metrics = crate::fleet::Metrics::new(&prometheus::Registry::new()).unwrap();
    Fleet::open(None, true, Arc::new(metrics)).await
}

async fn budget(names: &[&str]) -> Arc<Budget> {
    Budget::new("docker.io", names.iter().map(|name| (*name).to_owned()).collect(), nobody().await, None)
}

fn fields(left: u64, source: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ratelimit-limit", HeaderValue::from_static("100;w=21600"));
    headers.insert("ratelimit-remaining", HeaderValue::from_str(&format!("{left};w=21600")).unwrap());
    if let Some(source) = source {
        headers.insert("docker-ratelimit-source", HeaderValue::from_str(source).unwrap());
    }
    headers
}

fn left(budget: &Budget) -> Vec<Option<u64>> {
    budget.state().credentials.iter().map(|credential| credential.left).collect()
}

fn is_exhausted(answer: &Result<usize, RemoteError>) -> bool {
    matches!(answer, Err(RemoteError::Exhausted { .. }))
}

#[tokio::test(start_paused = true)]
async fn the_credential_with_most_left_is_asked_with() {
    let budget = budget(&["a", "b", "c"]).await;
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0), "all are full");
    budget.note(Some(0), Cost::Pull, &fields(99, Some("one")), true);
    budget.note(Some(1), Cost::Look, &fields(50, Some("two")), true);
    assert_eq!(budget.choose(Cost::Pull).await, Ok(2), "what is not known is full");
    budget.note(Some(2), Cost::Pull, &fields(98, Some("three")), true);
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0));
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0), "98 and 98: the first");
    assert_eq!(budget.choose(Cost::Pull).await, Ok(2));
    assert_eq!(left(&budget), [Some(97), Some(50), Some(97)]);
}

#[tokio::test(start_paused = true)]
async fn two_credentials_of_one_account_have_one_budget() {
    let budget = budget(&["a", "b"]).await;
    budget.note(Some(0), Cost::Look, &fields(3, Some("account")), true);
    budget.note(Some(1), Cost::Look, &fields(3, Some("account")), true);
    for _ in 0..3 {
        assert_eq!(budget.choose(Cost::Pull).await, Ok(0));
    }
    assert!(is_exhausted(&budget.choose(Cost::Pull).await));
    assert_eq!(left(&budget), [Some(0), Some(0)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_used_up_is_not_asked_for_until_it_may_be_there_again() {
    let budget = budget(&[]).await;
    budget.note(Some(0), Cost::Pull, &fields(0, Some("192.0.2.1")), true);
    let Err(RemoteError::Exhausted { retry_after: Some(wait) }) = budget.choose(Cost::Pull).await else { panic!() };
    assert_eq!(wait, Duration::from_secs(216), "the window gives one back in that time");
    assert_eq!(budget.choose(Cost::Look).await, Ok(0), "a HEAD costs nothing");
    assert_eq!(budget.choose(Cost::Free).await, Ok(0));
    tokio::time::advance(wait).await;
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0));
    assert!(is_exhausted(&budget.choose(Cost::Pull).await), "one is tried");
    budget.note(Some(0), Cost::Look, &fields(40, Some("192.0.2.1")), true);
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0), "a HEAD told that there are some");
}

#[tokio::test(start_paused = true)]
async fn clients_keep_the_last_tenth() {
    let budget = budget(&[]).await;
    assert_eq!(budget.choose(Cost::Spare).await, Ok(0));
    budget.note(Some(0), Cost::Pull, &fields(11, None), true);
    assert_eq!(budget.may_spare().await, Ok(()));
    assert_eq!(budget.choose(Cost::Spare).await, Ok(0));
    assert!(matches!(budget.may_spare().await, Err(RemoteError::Exhausted { .. })));
    assert!(is_exhausted(&budget.choose(Cost::Spare).await));
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_refusals_are_told_apart() {
    let none = HeaderMap::new();
    for (cost, headers, body, pulls) in [
        (Cost::Pull, &none, TOO_MANY, true),
        (Cost::Spare, &none, TOO_MANY, true),
        (Cost::Pull, &fields(0, None), b"slow down".as_slice(), true),
        (Cost::Pull, &none, b"slow down", false),
        (Cost::Pull, &none, br#"{"errors":[{"code":"DENIED"}]}"#, false),
        (Cost::Pull, &none, b"{\"errors\":7}", false),
        (Cost::Look, &none, TOO_MANY, false),
        (Cost::Free, &fields(0, None), TOO_MANY, false),
    ] {
        let budget = budget(&[]).await;
        let kind = budget.refused(Some(0), cost, headers, body);
        assert_eq!(matches!(kind, Throttle::Pulls { .. }), pulls, "{cost:?} {kind:?}");
        assert_eq!(is_exhausted(&budget.choose(Cost::Pull).await), pulls);
        let free = budget.choose(Cost::Free).await;
        assert_eq!(matches!(free, Err(RemoteError::Throttled(Throttle::Abuse { .. }))), !pulls, "{cost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_as_long_as_told_but_never_long() {
    let after =
        |seconds: &'static str| HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static(seconds))]);
    for (headers, pause) in [(after("7"), 7), (after("86400"), 60), (after("0"), 1), (HeaderMap::new(), 10)] {
        let budget = budget(&[]).await;
        let pause = Duration::from_secs(pause);
        assert_eq!(budget.refused(None, Cost::Free, &headers, b""), Throttle::Abuse { retry_after: Some(pause) });
        assert!(budget.admit().is_err());
        assert_eq!(budget.state().paused_seconds, Some(pause.as_secs()));
        tokio::time::advance(pause).await;
        assert!(budget.admit().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_in_a_row_grow() {
    let budget = budget(&[]).await;
    for seconds in [10, 20, 40, 60, 60] {
        for _ in 0..3 {
            budget.refused(None, Cost::Free, &HeaderMap::new(), b"");
        }
        assert_eq!(budget.state().paused_seconds, Some(seconds), "three that were under way together are one");
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
    budget.note(None, Cost::Free, &HeaderMap::new(), true);
    budget.refused(None, Cost::Free, &HeaderMap::new(), b"");
    assert_eq!(budget.state().paused_seconds, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_referrers_stops_nothing_else() {
    let budget = budget(&[]).await;
    budget.refused(Some(0), Cost::Extra, &HeaderMap::new(), b"<html>");
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_callers_refusal_is_its_own() {
    let budget = budget(&[]).await;
    let kind = budget.refused(None, Cost::Pull, &HeaderMap::new(), TOO_MANY);
    assert_eq!(kind, Throttle::Pulls { retry_after: None });
    assert_eq!(budget.choose(Cost::Pull).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_over_what_is_known() {
    let old = budget(&["a", "b"]).await;
    old.note(Some(0), Cost::Pull, &fields(5, Some("x")), true);
    old.note(Some(1), Cost::Pull, &fields(7, Some("y")), true);
    let new = Budget::new("docker.io", vec!["b".into(), "c".into()], nobody().await, Some(&old));
    assert_eq!(left(&new), [Some(7), None]);
    assert_eq!(new.state.lock().buckets.len(), 2, "nothing of 'a' is left");
}

/// Asks until it is told so: what instances tell each other comes beside the answers.
async fn until(mut is: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is().await {
        assert!(began.elapsed() < Duration::from_secs(20), "never");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn instances_tell_each_other_what_is_left() {
    let server = crate::fleet::tests::Server::start(&[]);
    let names = vec!["a".to_owned()];
    let one = Budget::new("docker.io", names.clone(), server.state().await, None);
    one.note(Some(0), Cost::Pull, &fields(0, Some("account")), true);
    until(async || {
        // Looks at once, as it would some seconds later.
        let other = Budget::new("Docker.io", names.clone(), server.state().await, None);
        is_exhausted(&other.choose(Cost::Pull).await)
    })
    .await;
    let elsewhere = Budget::new("quay.io", names, server.state().await, None);
    assert_eq!(elsewhere.choose(Cost::Pull).await, Ok(0), "another registry");
    let nobody = Budget::new("docker.io", Vec::new(), server.state().await, None);
    assert_eq!(nobody.choose(Cost::Pull).await, Ok(0), "another credential");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_leaves_nothing_behind() {
    let budget = budget(&[]).await;
    for number in 0..100 {
        budget.note(Some(0), Cost::Pull, &fields(number, Some(&format!("192.0.2.{number}"))), true);
    }
    assert_eq!(budget.state.lock().buckets.len(), 1);
    assert_eq!(left(&budget), [Some(99)]);
}

#[tokio::test(start_paused = true)]
async fn pulls_that_tell_of_no_budget_have_none() {
    let budget = budget(&["a"]).await;
    budget.note(Some(0), Cost::Pull, &fields(1, None), true);
    budget.note(Some(0), Cost::Look, &HeaderMap::new(), true);
    assert_eq!(left(&budget), [Some(1)], "a HEAD says nothing by saying nothing");
    budget.note(Some(0), Cost::Pull, &HeaderMap::new(), false);
    assert_eq!(left(&budget), [Some(1)], "nor does a failure");
    budget.note(Some(0), Cost::Pull, &HeaderMap::new(), true);
    assert_eq!(left(&budget), [None]);
}
