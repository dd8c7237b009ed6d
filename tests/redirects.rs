//! Peers that send their clients to an object store: we go there ourselves, without the client's credentials, and the
//! signed address stays with us.

use crate::harness::{
    Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Rule, Serving, Setup, digest, random_bytes,
};

const SIGNATURE: &str = "X-Amz-Signature=5ecret5ignature";
const SIZE: usize = 1_000_000;

struct Redirecting {
    _registry: Serving,
    peer: FaultProxy,
    store: FaultProxy,
    entrepot: Entrepot,
    blob: String,
}

impl Redirecting {
    fn new(change: impl FnOnce(Setup) -> Setup) -> Self {
        let registry = Registry::debian().account("ann", "secret").start();
        let pushed = Repository::at(registry.address, "team/app").basic("ann", "secret");
        let blob = pushed.push_blob(&random_bytes(1, SIZE));
        let store = FaultProxy::scripted(|seen| ranged(seen.header("range"), &random_bytes(1, SIZE)));
        let peer = FaultProxy::before(registry.address);
        let place = format!("http://{}/bucket/data?{SIGNATURE}", store.address);
        peer.on(Rule::new("GET", &blob, Fault::Answer(Reply::new(307).header("Location", place))));
        let entrepot = change(Setup::before(&[peer.address]).without_health_checks()).start();
        Redirecting { _registry: registry, peer, store, entrepot, blob }
    }

    fn owner(&self) -> Repository {
        Repository::at(self.entrepot.address, "team/app").basic("ann", "secret")
    }
}

/// What an object store answers.
fn ranged(range: Option<&str>, bytes: &[u8]) -> Reply {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    match from {
        None => Reply::new(200).body(bytes),
        Some(from) => {
            let place = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Reply::new(206).header("Content-Range", place).body(&bytes[from..])
        }
    }
}

#[test]
fn a_redirect_is_followed_without_the_client_s_credentials_and_the_content_kept() {
    let front = Redirecting::new(|setup| setup);
    for _ in 0..3 {
        assert_eq!(digest(&front.owner().get_blob(&front.blob).expect(200)), front.blob);
        front.entrepot.settled();
    }
    let seen = front.store.seen();
    assert_eq!((seen.len(), front.peer.count("GET", &front.blob)), (1, 1));
    assert!(seen[0].target.contains(SIGNATURE));
    assert_eq!((seen[0].header("authorization"), seen[0].header("cookie")), (None, None));
    assert_eq!(seen[0].header("host"), Some(front.store.address.to_string().as_str()));
}

#[test]
fn a_signed_address_is_neither_answered_nor_logged_nor_stored() {
    let front = Redirecting::new(|setup| setup.set("log.level", "\"debug\""));
    let answer = front.owner().get_blob(&front.blob);
    assert!(!format!("{:?}", answer.headers).contains("5ecret"));
    answer.expect(200);
    front.store.on(Rule::new("", "", Fault::Answer(Reply::new(403).body("expired"))));
    let other = Repository::at(front.entrepot.address, "team/app").basic("ann", "secret");
    let refused = other.get_blob(&digest(b"absent"));
    assert!(!refused.text().contains("5ecret"));
    front.entrepot.settled();
    assert!(!front.entrepot.log().contains("5ecret"), "{}", front.entrepot.log());
    let access = std::fs::read_to_string(front.entrepot.access_log_path()).unwrap_or_default();
    assert!(!access.contains("5ecret") && !front.entrepot.metrics().contains("5ecret"));
    for file in front.entrepot.cache_files(1) {
        let bytes = std::fs::read(&file).expect("a cache file");
        assert!(!bytes.windows(6).any(|window| window == b"5ecret"), "{}", file.display());
    }
}

#[test]
fn strangers_are_refused_although_the_store_would_not_ask() {
    let front = Redirecting::new(|setup| setup);
    front.owner().get_blob(&front.blob).expect(200);
    front.entrepot.settled();
    front.peer.forget_rules();
    let stranger = Repository::at(front.entrepot.address, "team/app");
    assert_eq!(stranger.get_blob(&front.blob).status, 401);
}

#[test]
fn a_head_that_is_redirected_is_answered_as_the_content_is() {
    let front = Redirecting::new(|setup| setup);
    let place = format!("http://{}/bucket/data?{SIGNATURE}", front.store.address);
    front.peer.on(Rule::new("HEAD", &front.blob, Fault::Answer(Reply::new(307).header("Location", place))));
    let head = front.owner().head_blob(&front.blob);
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000000")));
    assert_eq!(digest(&front.owner().get_blob(&front.blob).expect(200)), front.blob);
}

#[test]
fn a_store_that_gives_up_in_the_middle_is_asked_for_the_rest() {
    let front = Redirecting::new(|setup| setup);
    front.store.on(Rule::new("GET", "/bucket", Fault::CutAt(SIZE as u64 / 2)).times(1));
    assert_eq!(digest(&front.owner().get_blob(&front.blob).expect(200)), front.blob);
    assert_eq!(front.store.count("GET", "/bucket"), 2);
}

#[test]
fn a_store_that_gives_other_bytes_is_not_believed() {
    let front = Redirecting::new(|setup| setup);
    front.store.on(Rule::new("GET", "/bucket", Fault::FlipAt(10)));
    let answer = front.owner().get_blob(&front.blob);
    assert!(!(answer.complete && answer.status == 200));
}

#[test]
fn redirects_in_a_circle_end() {
    let front = Redirecting::new(|setup| setup);
    let circle = format!("http://{}/bucket/again", front.store.address);
    front.store.on(Rule::new("GET", "", Fault::Answer(Reply::new(307).header("Location", circle))));
    let answer = front.owner().get_blob(&front.blob);
    assert!(matches!(answer.status, 502..=504), "{}", answer.status);
    assert!(front.store.seen().len() <= 64, "{}", front.store.seen().len());
}

#[test]
fn a_cluster_that_passes_redirects_gives_them_to_the_client() {
    let front = Redirecting::new(|setup| setup.set("cluster.main.redirects", "\"pass\""));
    let answer = front.owner().get_blob(&front.blob);
    assert_eq!(answer.status, 307);
    let place = answer.header("location").unwrap_or_default();
    assert!(place.contains(SIGNATURE), "{:?}", answer.headers);
    assert_eq!(front.store.seen().len(), 0);
}

#[test]
fn a_store_that_has_our_name_and_another_port_is_another_host() {
    for store in ["https://registry.example/bucket/x?signature=1", "http://registry.example:80/bucket/x"] {
        let peer =
            crate::harness::FaultProxy::scripted(move |_| crate::harness::Reply::new(307).header("Location", store));
        let setup = crate::harness::Setup::before(&[peer.address]).without_health_checks();
        let entrepot = setup.set("cluster.main.redirects", "\"pass\"").start();
        let target = format!("/v2/team/app/blobs/{}", crate::harness::digest(b"x"));
        let request = crate::harness::Request::get(target).header("Host", "registry.example:5000");
        let answer = request.send(entrepot.address);
        assert_eq!((answer.status, answer.header("location")), (307, Some(store)));
    }
}
