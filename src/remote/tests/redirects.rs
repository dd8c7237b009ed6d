//! Where a remote may lead us, and what those see whom it leads to.

use std::io;

use futures::FutureExt as _;

use super::*;
use crate::outbound::Lookup;

/// Leads everything to one place.
async fn leads_to(location: String) -> Server {
    Server::new(move |_| Some(says(307, "").with("Location", &location))).await
}

/// Names and their addresses, and nothing else.
fn lookup(names: &'static [(&'static str, &'static str)]) -> Lookup {
    Arc::new(move |host, port| {
        let found: Vec<SocketAddr> = names
            .iter()
            .filter(|(name, _)| *name == host)
            .map(|(_, ip)| SocketAddr::new(ip.parse().unwrap(), port))
            .collect();
        async move { if found.is_empty() { Err(io::Error::other("no such name")) } else { Ok(found) } }.boxed()
    })
}

#[tokio::test]
async fn another_host_gets_no_credentials_and_the_same_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = Server::new(|_| Some(says(200, "content"))).await;
    let away = format!("{}/blob?X-Amz-Signature=hush", store.url());
    let server = Server::new(move |seen| match (seen.path(), seen.authorization()) {
        (_, None) => Some(says(401, "").with("WWW-Authenticate", "Basic realm=\"r\"")),
        ("/near", _) => Some(says(302, "").with("Location", &away).with("Set-Cookie", "session=hush")),
        _ => Some(says(307, "").with("Location", "../../../../near#fragment")),
    })
    .await;
    let remote = remote(&server.url(), &alice(&folder)).await;
    assert_eq!(Ask { range: Some((2, None)), ..blob() }.body(&remote).await.unwrap(), "ntent");
    let near = server.seen().into_iter().find(|seen| seen.path() == "/near").unwrap();
    assert_eq!((near.authorization(), near.header("range")), (Some(ALICE), Some("bytes=2-")));
    let far = &store.seen()[0];
    assert_eq!((far.authorization(), far.header("cookie"), far.header("range")), (None, None, Some("bytes=2-")));
}

#[tokio::test]
async fn redirects_end_somewhere() {
    let round = leads_to("/v2/".into()).await;
    let asked = remote(&round.url(), "").await;
    assert!(matches!(blob().body(&asked).await, Err(RemoteError::Useless(_))));
    assert_eq!(round.seen().len(), 6);
    let nowhere = Server::new(|_| Some(says(307, ""))).await;
    let asked = remote(&nowhere.url(), "").await;
    assert!(matches!(blob().body(&asked).await, Err(RemoteError::Useless(_))));
}

#[tokio::test]
async fn nobody_leads_us_to_ourselves_or_to_metadata_services() {
    let ours = Server::new(|_| Some(says(200, "ours"))).await;
    for location in [
        ours.url(),
        "http://169.254.169.254/latest".into(),
        "http://[fd00:ec2::254]/".into(),
        "http://[::ffff:169.254.169.254]/".into(),
        "http://2852039166/".into(),
        "file:///etc/passwd".into(),
        format!("http://user:pass@{}/", ours.address),
    ] {
        let server = leads_to(location.clone()).await;
        let around = surroundings().await;
        around.own.replace(vec![ours.address]);
        let remote = Remote::new("test", &config(&server.url(), ""), around, None).unwrap();
        let refused = blob().body(&remote).await.unwrap_err();
        assert!(matches!(refused, RemoteError::Useless(_)), "{location}: {refused}");
    }
    assert_eq!(ours.seen().len(), 0);
}

#[tokio::test]
async fn a_remote_of_the_internet_leads_nobody_into_our_network() {
    static NAMES: &[(&str, &str)] =
        &[("registry.test", "9.9.9.9"), ("evil.test", "127.0.0.1"), ("evil.test", "10.0.0.1")];
    let here = Server::new(|_| Some(says(200, "secret"))).await;
    let port = here.address.port();
    let remote =
        Remote::with_lookup("test", &config("http://registry.test", ""), surroundings().await, None, lookup(NAMES))
            .unwrap();
    for url in [
        format!("http://evil.test:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://localhost:{port}/").replace("localhost", "evil.test"),
        "http://10.0.0.1/".into(),
    ] {
        let ask = super::net::Ask {
            method: http::Method::GET,
            url: url.parse().unwrap(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        let refused = remote.net.send(ask, deadline).await.err().unwrap();
        assert!(matches!(refused, RemoteError::Useless(_)), "{url}: {refused}");
    }
    assert_eq!(here.seen().len(), 0);
}

#[tokio::test]
async fn a_private_remote_may_lead_to_its_own_store() {
    static NAMES: &[(&str, &str)] =
        &[("registry.lan", "127.0.0.1"), ("minio.lan", "127.0.0.1"), ("minio.lan", "169.254.1.1")];
    let store = Server::new(|_| Some(says(200, "content"))).await;
    let server = leads_to(format!("http://minio.lan:{}/blob", store.address.port())).await;
    let url = format!("http://registry.lan:{}", server.address.port());
    let remote = Remote::with_lookup("test", &config(&url, ""), surroundings().await, None, lookup(NAMES)).unwrap();
    assert_eq!(blob().body(&remote).await.unwrap(), "content");
}

#[tokio::test]
async fn no_error_shows_a_signed_address() {
    for location in [
        "http://127.0.0.1:1/blob?X-Amz-Signature=hush",
        "http://10.0.0.1/x?sig=hush",
        "http://no.invalid/?sig=hush",
        "ftp://a/?hush",
    ] {
        let server = leads_to(location.into()).await;
        let remote = remote(&server.url(), "timeouts = { connect = \"100ms\" }").await;
        let error = Ask { head: true, ..blob() }.head(&remote).await.err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hush") && !text.contains("blob?"), "{text}");
    }
}

#[tokio::test]
async fn what_a_store_has_against_us_is_no_refusal_of_the_remote() {
    let store = Server::new(|_| Some(says(403, "<Error>Request has expired</Error>"))).await;
    let server = leads_to(store.url()).await;
    let asked = remote(&server.url(), "").await;
    assert!(matches!(blob().body(&asked).await, Err(RemoteError::Useless(_))));
    let gone = Server::new(|_| Some(says(404, ""))).await;
    let server = leads_to(gone.url()).await;
    let asked = remote(&server.url(), "").await;
    assert!(matches!(blob().body(&asked).await, Err(RemoteError::Absent(_))));
}

#[tokio::test]
async fn the_fields_of_who_gives_the_content_count() {
    let store = Server::new(|_| Some(says(200, "{}").with("Docker-Content-Digest", "sha256:1"))).await;
    let server = leads_to(format!("{}/v2/k8s/manifests/v1", store.url())).await;
    let remote = remote(&server.url(), "").await;
    for head in [true, false] {
        let answer = Ask { head, ..manifest("a") }.head(&remote).await.unwrap();
        assert_eq!(answer.headers["docker-content-digest"], "sha256:1");
        assert!(!answer.headers.contains_key("location"));
    }
}

#[tokio::test]
async fn another_registry_that_wants_anybodys_token_gets_one_and_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let other = Server::new(wants_token(String::new())).await;
    let location = format!("{}/v2/k8s/manifests/v1", other.url());
    let server = Server::new(move |seen| match seen.authorization() {
        Some(ALICE) => Some(says(307, "").with("Location", &location)),
        _ => Some(says(401, "").with("WWW-Authenticate", "Basic realm=\"r\"")),
    })
    .await;
    let remote = remote(&server.url(), &alice(&folder)).await;
    for _ in 0..2 {
        assert_eq!(manifest("a").body(&remote).await.unwrap(), "/v2/k8s/manifests/v1");
    }
    assert_eq!(other.count("/token"), 1);
    assert!(other.seen().iter().all(|seen| seen.authorization() != Some(ALICE)));
}
