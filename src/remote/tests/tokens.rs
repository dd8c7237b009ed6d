//! Challenges and tokens.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A registry with its own token service.
async fn registry() -> Server {
    // The realm is relative, which the URL's rules allow.
    Server::new(wants_token(String::new())).await
}

#[tokio::test]
async fn the_challenge_of_one_repository_is_enough_for_all() {
    let server = registry().await;
    let remote = remote(&server.url(), "").await;
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "/v2/a/manifests/v1");
    assert_eq!(manifest("b").body(&remote).await.unwrap(), "/v2/b/manifests/v1");
    assert_eq!(manifest("b").body(&remote).await.unwrap(), "/v2/b/manifests/v1");
    assert_eq!((server.count("/v2/a/manifests/v1"), server.count("/v2/b/manifests/v1")), (2, 2), "one 401 in all");
    let tokens: Vec<_> = server.seen().into_iter().filter(|seen| seen.path() == "/token").collect();
    assert_eq!(tokens.len(), 2, "one for each repository");
    assert_eq!(tokens[0].target, "/token?service=svc&scope=repository%3Aa%3Apull");
    assert_eq!(tokens[0].authorization(), None);
    let again = Remote::new("test", remote.config(), surroundings().await, Some(&remote)).unwrap();
    manifest("b").body(&again).await.unwrap();
    assert_eq!(server.count("/token"), 2, "a reload forgets no token");
}

#[tokio::test]
async fn many_who_ask_at_once_need_one_token() {
    let server = registry().await;
    let remote = remote(&server.url(), "").await;
    manifest("other").body(&remote).await.unwrap();
    let asks: Vec<_> = (0..30).map(|_| manifest("a")).collect();
    for body in futures::future::join_all(asks.iter().map(|ask| ask.body(&remote))).await {
        assert_eq!(body.unwrap(), "/v2/a/manifests/v1");
    }
    assert_eq!((server.count("/token"), server.count("/v2/a/manifests/v1")), (2, 30));
}

#[tokio::test]
async fn a_scope_that_is_named_otherwise_is_taken_and_remembered() {
    let server = Server::new(|seen| match (seen.path(), seen.authorization()) {
        ("/token", _) => {
            Some(says(200, format!("{{\"access_token\":\"{}\"}}", token_scope(&seen.target).replace(' ', "+"))))
        }
        (_, Some("Bearer strange:a+strange:extra")) => Some(says(200, "good")),
        (_, Some("Bearer strange:a")) => Some(says(401, "").with(
            "www-authenticate",
            "Bearer realm=\"/token\", scope=\"strange:extra\", error=\"insufficient_scope\"",
        )),
        _ => Some(says(401, "").with("www-authenticate", "bearer Realm=\"/token\" , scope=strange:a")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
    assert_eq!((server.count("/v2/a/manifests/v1"), server.count("/token")), (3, 2));
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
    assert_eq!((server.count("/v2/a/manifests/v1"), server.count("/token")), (4, 2));
}

#[tokio::test]
async fn a_scope_that_was_given_and_does_not_do_is_a_refusal() {
    let server = Server::new(|seen| match seen.path() {
        "/token" => Some(says(200, "{\"token\":\"t\"}")),
        _ => Some(challenge("", "repository:a:pull")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    let denied = manifest("a").body(&remote).await;
    assert_eq!(denied, Err(RemoteError::Denied(http::StatusCode::UNAUTHORIZED)));
    assert_eq!((server.count("/v2/a/manifests/v1"), server.count("/token")), (2, 1), "a new token has no better one");
}

#[tokio::test]
async fn a_token_that_is_good_no_more_is_replaced_once() {
    let given = Arc::new(AtomicUsize::new(0));
    let (good, count) = (Arc::new(AtomicUsize::new(1)), given.clone());
    let wanted = good.clone();
    let server = Server::new(move |seen| match seen.path() {
        "/token" => Some(says(200, format!("{{\"token\":\"{}\"}}", count.fetch_add(1, Ordering::SeqCst) + 1))),
        _ if seen.authorization() == Some(&format!("Bearer {}", wanted.load(Ordering::SeqCst))) => {
            Some(says(200, "good"))
        }
        _ => Some(says(401, "").with("www-authenticate", "Bearer realm=\"/token\",error=\"invalid_token\"")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
    good.store(2, Ordering::SeqCst);
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
    assert_eq!(given.load(Ordering::SeqCst), 2);
    good.store(0, Ordering::SeqCst);
    assert!(matches!(manifest("a").body(&remote).await, Err(RemoteError::Denied(_))));
    assert_eq!(given.load(Ordering::SeqCst), 3, "once, and not for ever");
}

#[tokio::test]
async fn a_token_service_that_refuses_is_a_refusal_and_no_outage() {
    for status in [401, 403] {
        let server = Server::new(move |seen| match seen.path() {
            "/token" => Some(says(status, "")),
            _ => Some(challenge("", "repository:a:pull")),
        })
        .await;
        let remote = remote(&server.url(), "").await;
        for _ in 0..6 {
            assert!(matches!(manifest("a").body(&remote).await, Err(RemoteError::Denied(said)) if said == status));
        }
        assert_eq!(remote.state().breaker, BreakerState::Closed);
    }
}

#[tokio::test]
async fn a_token_service_that_wants_fewer_requests_is_left_alone() {
    let server = Server::new(|seen| match seen.path() {
        "/token" => Some(says(429, "slow down").with("Retry-After", 30)),
        _ => Some(challenge("", "repository:a:pull")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    for _ in 0..3 {
        let throttled = manifest("a").body(&remote).await;
        assert!(matches!(throttled, Err(RemoteError::Throttled(Throttle::Abuse { retry_after: Some(_) }))));
    }
    assert_eq!((server.count("/token"), server.seen().len()), (1, 2));
}

#[tokio::test]
async fn a_remote_that_wants_tokens_no_more_or_elsewhere_is_asked_as_it_wants() {
    let open = Arc::new(AtomicUsize::new(0));
    let is_open = open.clone();
    let server = Server::new(move |seen| match (seen.path(), is_open.load(Ordering::SeqCst)) {
        ("/token", 0) | ("/elsewhere", 1) => Some(says(200, "{\"token\":\"t\",\"expires_in\":0.000001}")),
        ("/token" | "/elsewhere", _) => Some(says(404, "")),
        (_, 2) => Some(says(200, "open")),
        _ if seen.authorization() == Some("Bearer t") => Some(says(200, "good")),
        (_, 1) => Some(says(401, "").with("www-authenticate", "Bearer realm=\"/elsewhere\"")),
        _ => Some(says(401, "").with("www-authenticate", "Bearer realm=\"/token\"")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    for (state, expected) in [(0, "good"), (1, "good"), (2, "open")] {
        open.store(state, Ordering::SeqCst);
        assert_eq!(manifest("a").body(&remote).await.unwrap(), expected, "{state}");
    }
}

#[tokio::test]
async fn endless_answers_of_a_token_service_are_not_read() {
    let server = Server::new(|seen| match seen.path() {
        "/token" => Some(says(200, vec![b' '; (1 << 20) + 1])),
        _ => Some(challenge("", "repository:a:pull")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    assert!(matches!(manifest("a").body(&remote).await, Err(RemoteError::Useless(_))));
}
