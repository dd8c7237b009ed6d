//! By whose right is asked, and who gets to see it.

use super::*;
use crate::outbound::via;

/// A registry that takes one Basic login.
fn wants_basic(login: &'static str) -> impl Fn(&Seen) -> Option<Says> + Send + Sync {
    move |seen| match seen.authorization() {
        Some(shown) if shown == login => Some(says(200, "good")),
        Some(_) => Some(says(403, "{\"errors\":[{\"code\":\"DENIED\"}]}")),
        None => Some(says(401, "").with("WWW-Authenticate", "Basic realm=\"r\"")),
    }
}

fn caller(authorization: &'static str) -> Asker {
    Asker::Caller(Some(HeaderValue::from_static(authorization)))
}

#[tokio::test]
async fn a_login_of_ours_is_shown_as_the_remote_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let basic = Server::new(wants_basic(ALICE)).await;
    let asked = remote(&basic.url(), &alice(&folder)).await;
    for _ in 0..2 {
        assert_eq!(manifest("a").body(&asked).await.unwrap(), "good");
    }
    assert_eq!(basic.seen().len(), 3, "it is known then");
    let anonymous = remote(&basic.url(), "").await;
    assert!(matches!(manifest("a").body(&anonymous).await, Err(RemoteError::Denied(_))));

    let bearer = Server::new(wants_token(String::new())).await;
    let asked = remote(&bearer.url(), &alice(&folder)).await;
    manifest("a").body(&asked).await.unwrap();
    let token = bearer.seen().into_iter().find(|seen| seen.path() == "/token").unwrap();
    assert_eq!(token.authorization(), Some(ALICE));
    assert!(
        bearer.seen().iter().filter(|seen| seen.path() != "/token").all(|seen| seen.authorization() != Some(ALICE))
    );
}

#[tokio::test]
async fn credentials_go_to_no_host_that_is_not_the_remotes() {
    let folder = tempfile::tempdir().unwrap();
    let thief = Server::new(|_| Some(says(200, "{\"token\":\"t-repository:a:pull\"}"))).await;
    let server = Server::new(wants_token(thief.url())).await;
    let with_login = remote(&server.url(), &alice(&folder)).await;
    let refused = manifest("a").body(&with_login).await.unwrap_err();
    assert!(matches!(&refused, RemoteError::Useless(why) if why.contains("realms")), "{refused}");
    let by_caller = Ask { asker: caller(ALICE), ..manifest("a") };
    let anonymous = remote(&server.url(), "").await;
    assert!(matches!(by_caller.body(&anonymous).await, Err(RemoteError::Useless(_))));
    assert_eq!(thief.seen().len(), 0);
    assert_eq!(
        manifest("a").body(&anonymous).await.unwrap(),
        "/v2/a/manifests/v1",
        "nobody's token may come from anywhere"
    );
    assert_eq!(thief.seen()[0].authorization(), None);
    let keys = format!("{}realms = [\"{}\"]", alice(&folder), thief.address);
    let allowed = remote(&server.url(), &keys).await;
    assert_eq!(manifest("a").body(&allowed).await.unwrap(), "/v2/a/manifests/v1");
    assert_eq!(thief.seen()[1].authorization(), Some(ALICE));
}

#[tokio::test]
async fn basic_is_taken_where_the_token_service_may_not_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|seen| match seen.authorization() {
        Some(ALICE) => Some(says(200, "good")),
        _ => Some(
            says(401, "")
                .with("WWW-Authenticate", "Bearer realm=\"http://192.0.2.1/token\"")
                .with("WWW-Authenticate", "Basic realm=\"r\""),
        ),
    })
    .await;
    let remote = remote(&server.url(), &alice(&folder)).await;
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
}

#[tokio::test]
async fn a_callers_credentials_are_used_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(wants_basic("Basic Ym9iOmI=")).await;
    let remote = remote(&server.url(), &alice(&folder)).await;
    let ask = |asker| Ask { asker, ..manifest("a") };
    assert_eq!(ask(caller("Basic Ym9iOmI=")).body(&remote).await.unwrap(), "good");
    for asker in [caller("Basic ZXZlOmU="), Asker::Caller(None), caller("Negotiate abc"), caller("Bearer abc")] {
        assert!(matches!(ask(asker.clone()).body(&remote).await, Err(RemoteError::Denied(_))), "{asker:?}");
    }
    assert!(server.seen().iter().all(|seen| seen.authorization() != Some(ALICE)), "ours is not the caller's");
}

#[tokio::test]
async fn a_callers_tokens_are_shown_to_the_remote_alone() {
    let store = Server::new(|_| Some(says(200, "content"))).await;
    let location = store.url();
    let server = Server::new(move |seen| match (seen.path(), seen.authorization()) {
        ("/v2/a/b/manifests/v1", _) => Some(challenge("", "repository:a/b:pull")),
        (_, Some("Bearer mine")) => Some(says(307, "").with("Location", format!("{location}/x"))),
        _ => Some(says(401, "")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    let by_token = Ask { asker: caller("Bearer mine"), ..blob() };
    assert_eq!(by_token.body(&remote).await.unwrap(), "content");
    assert_eq!(store.seen()[0].authorization(), None);
    let refused = Ask { asker: caller("Bearer mine"), ..manifest("a/b") };
    assert!(matches!(refused.body(&remote).await, Err(RemoteError::Denied(_))));
    assert_eq!(server.count("/token"), 0);
}

#[tokio::test]
async fn one_callers_token_is_not_anothers() {
    let server = Server::new(|seen| match (seen.path(), seen.authorization()) {
        ("/token", Some(login)) => Some(says(200, format!("{{\"token\":\"{}\"}}", login.replace(' ', "-")))),
        ("/token", None) => Some(says(200, "{\"token\":\"nobody\"}")),
        (_, Some(shown)) => Some(says(200, shown)),
        _ => Some(challenge("", "repository:a:pull")),
    })
    .await;
    let remote = remote(&server.url(), "").await;
    for _ in 0..2 {
        for (asker, expected) in [
            (caller("Basic Ym9iOmI="), "Bearer Basic-Ym9iOmI="),
            (caller("Basic ZXZlOmU="), "Bearer Basic-ZXZlOmU="),
            (Asker::Caller(None), "Bearer nobody"),
        ] {
            assert_eq!(Ask { asker, ..manifest("a") }.body(&remote).await.unwrap(), expected);
        }
    }
}

/// A credential helper that says what is in a file.
fn helper(folder: &tempfile::TempDir, username: &str, secret: &str) -> String {
    let said = folder.path().join("said");
    std::fs::write(&said, format!("{{\"Username\":\"{username}\",\"Secret\":\"{secret}\"}}")).unwrap();
    format!("credentials = [{{ exec = [\"sh\", \"-c\", \"cat {}\"] }}]\n", said.display())
}

#[tokio::test]
async fn a_helper_is_asked_again_when_its_login_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(wants_basic(ALICE)).await;
    let remote = remote(&server.url(), &helper(&folder, "alice", "hush")).await;
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
    helper(&folder, "alice", "new");
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good", "what it said is remembered");
    helper(&folder, "alice", "hush");
    let server = Server::new(wants_basic("Basic YWxpY2U6bmV3")).await;
    let remote = super::remote(&server.url(), &helper(&folder, "alice", "hush")).await;
    assert!(matches!(manifest("a").body(&remote).await, Err(RemoteError::Denied(_))));
    helper(&folder, "alice", "new");
    // Helpers are left alone for some seconds.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    assert_eq!(manifest("a").body(&remote).await.unwrap(), "good");
}

#[tokio::test]
async fn an_identity_token_is_posted_and_shown_where_that_is_not_known() {
    for status in [200, 400, 401, 404, 405] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(move |seen| match (seen.path(), seen.method.as_str(), seen.authorization()) {
            ("/token", "POST", _) => Some(says(status, "{\"access_token\":\"t\"}")),
            ("/token", _, Some(_)) => Some(says(200, "{\"token\":\"t\"}")),
            (_, _, Some("Bearer t")) => Some(says(200, "good")),
            _ => Some(challenge("", "repository:a:pull")),
        })
        .await;
        let remote = remote(&server.url(), &helper(&folder, "<token>", "identity")).await;
        assert_eq!(manifest("a").body(&remote).await.unwrap(), "good", "{status}");
        let post = server.seen().into_iter().find(|seen| seen.method == "POST").unwrap();
        assert!(post.body.contains("grant_type=refresh_token") && post.body.contains("refresh_token=identity"));
        assert!(post.body.contains("client_id=") && post.body.contains("scope=repository%3Aa%3Apull"));
        assert_eq!(post.authorization(), None);
        assert_eq!(server.count("/token"), if status == 200 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn who_we_are_and_whom_it_passed_is_told() {
    let server = Server::new(|_| Some(says(200, ""))).await;
    let remote = remote(&server.url(), "").await;
    let request = http::HeaderMap::from_iter([(http::header::VIA, HeaderValue::from_static("1.1 other"))]);
    via::Passed::of(&request).along(manifest("a").body(&remote)).await.unwrap();
    let seen = &server.seen()[0];
    assert!(seen.header("user-agent").unwrap().starts_with("entrepot/"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert!(seen.header("accept").unwrap().contains("application/vnd.oci.image.index.v1+json"));
    let via = seen.header("via").unwrap();
    assert!(via.starts_with("1.1 other, 1.1 entrepot-"), "{via}");
    let headers = http::HeaderMap::from_iter([(http::header::VIA, HeaderValue::from_str(via).unwrap())]);
    assert!(via::passed_here(&headers), "we know ourselves again");
}
