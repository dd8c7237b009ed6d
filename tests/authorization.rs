//! `authorization` of a cluster: whose login the peers are told, and what clients hear of one that they refuse.

use std::path::PathBuf;

use crate::harness::http::basic;
use crate::harness::repository::with_digest;
use crate::harness::{
    Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Rule, Serving, Setup, digest, random_bytes, scratch,
};

const PASSWORD: &str = "5ecret:p4ssword";
const SIZE: usize = 100_000;

struct Fixed {
    _registry: Serving,
    peer: FaultProxy,
    entrepot: Entrepot,
    password_file: PathBuf,
    _folder: tempfile::TempDir,
}

/// A registry with a password, and Entrepot before it with this one in its file.
fn fixed(password: &str) -> Fixed {
    let registry = Registry::debian().account("ann", PASSWORD).start();
    let peer = FaultProxy::before(registry.address);
    let folder = scratch();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, format!("{password}\n")).expect("the password's file");
    let entrepot = Setup::before(&[peer.address])
        .set("cluster.main.authorization", &login(&password_file))
        .set("log.level", "\"trace\"")
        .start();
    Fixed { _registry: registry, peer, entrepot, password_file, _folder: folder }
}

fn login(password_file: &std::path::Path) -> String {
    format!("{{ username = \"ann\", password_file = {:?} }}", password_file.display().to_string())
}

#[test]
fn everybody_pulls_and_pushes_as_the_user_of_the_cluster() {
    let fixed = fixed(PASSWORD);
    let anonymous = Repository::at(fixed.entrepot.address, "team/app");
    let image = anonymous.push_random("v1", 1, SIZE);
    let wrong = anonymous.clone().basic("eve", "wrong");
    let token = anonymous.clone().bearer("abc.def.ghi");
    for client in [&anonymous, &wrong, &token] {
        assert_eq!(client.request("GET", "/v2/").send(client.address).status, 200);
        client.get_manifest("v1").expect(200);
        client.head_manifest("v1").expect(200);
        assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
        client.head_blob(&image.layers[0]).expect(200);
        client.request("GET", "/v2/team/app/tags/list").send(client.address).expect(200);
    }
    wrong.push_random("v2", 2, SIZE);
    wrong.request("DELETE", wrong.manifest(&image.digest)).send(wrong.address).expect(202);
    let own = basic("ann", PASSWORD);
    for seen in fixed.peer.seen() {
        let health = seen.header("user-agent").is_some_and(|agent| agent.starts_with("entrepot/"));
        let expected = if health { None } else { Some(own.as_str()) };
        assert_eq!(seen.header("authorization"), expected, "{} {}", seen.method, seen.target);
        assert!(seen.head.headers.all("authorization").count() <= 1);
    }
}

#[test]
fn one_user_s_permission_is_remembered_for_all() {
    let fixed = fixed(PASSWORD);
    let client = Repository::at(fixed.entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(5, SIZE));
    client.get_blob(&blob).expect(200);
    fixed.entrepot.settled();
    let before = fixed.peer.count("", &blob);
    client.clone().basic("eve", "wrong").get_blob(&blob).expect(200);
    assert_eq!(fixed.peer.count("", &blob), before);
}

#[test]
fn the_login_is_in_no_log() {
    let fixed = fixed(PASSWORD);
    let client = Repository::at(fixed.entrepot.address, "team/app");
    client.push_random("v1", 1, SIZE);
    client.get_manifest("v1").expect(200);
    std::fs::write(&fixed.password_file, "0ther").expect("the password's file");
    let mut entrepot = fixed.entrepot;
    entrepot.reload(|setup| setup, "ok");
    assert_eq!(client.get_manifest("v1").status, 502);
    let text =
        entrepot.log() + &std::fs::read_to_string(entrepot.access_log_path()).unwrap_or_default() + &entrepot.metrics();
    for secret in [PASSWORD, "0ther", &basic("ann", PASSWORD)[6..], &basic("ann", "0ther")[6..]] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_login_that_the_peers_refuse_is_our_failure_and_no_challenge_to_the_client() {
    let fixed = fixed("wrong");
    let client = Repository::at(fixed.entrepot.address, "team/app").basic("ann", PASSWORD);
    let blob = client.blob(&digest(b"x"));
    for (method, target) in [
        ("GET", "/v2/"),
        ("GET", &blob),
        ("HEAD", &blob),
        ("GET", "/v2/team/app/manifests/v1"),
        ("HEAD", "/v2/team/app/manifests/v1"),
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/_catalog"),
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("PUT", "/v2/team/app/manifests/v1"),
        ("DELETE", &blob),
    ] {
        let answer = client.request(method, target).send(client.address);
        assert_eq!(answer.status, 502, "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate"), None, "{method} {target}");
        if method != "HEAD" {
            assert!(answer.text().contains("refuses the proxy's own login"), "{method} {target}: {}", answer.text());
        }
    }
    let log = fixed.entrepot.log();
    let told = log.lines().filter(|line| line.contains("refuse the login of `authorization`")).count();
    assert!((1..10).contains(&told), "told {told} times");
    // It is up all the same: its checks carry no login, and 401 is a good answer.
    assert_eq!(fixed.entrepot.metric("entrepot_peer_up", &[]), 1.0);
}

#[test]
fn a_reload_reads_the_password_anew() {
    let fixed = fixed("wrong");
    let client = Repository::at(fixed.entrepot.address, "team/app");
    assert_eq!(client.request("POST", client.uploads()).send(client.address).status, 502);
    std::fs::write(&fixed.password_file, PASSWORD).expect("the password's file");
    let mut entrepot = fixed.entrepot;
    entrepot.reload(|setup| setup, "ok");
    let image = client.push_random("v1", 1, SIZE);
    client.get_manifest(&image.digest).expect(200);
    // A password that is no good any more takes what it was given with it.
    std::fs::write(&fixed.password_file, "wrong").expect("the password's file");
    entrepot.reload(|setup| setup, "ok");
    assert_eq!(client.get_manifest(&image.digest).status, 502);
    assert_eq!(client.get_blob(&image.layers[0]).status, 502);
    std::fs::remove_file(&fixed.password_file).expect("removed");
    entrepot.reload(|setup| setup, "refused");
    assert!(entrepot.log().contains("cluster.main.authorization.password_file: cannot read"), "{}", entrepot.log());
}

#[test]
fn the_login_goes_to_no_other_host() {
    let fixed = fixed(PASSWORD);
    let client = Repository::at(fixed.entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(9, SIZE));
    let store = FaultProxy::scripted(|_| Reply::new(200).body(random_bytes(9, SIZE)));
    let place = format!("http://{}/bucket", store.address);
    fixed.peer.on(Rule::new("GET", &blob, Fault::Answer(Reply::new(307).header("Location", place))));
    client.get_blob(&blob).expect(200);
    let seen = store.seen();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
}

#[test]
fn an_upload_that_is_opened_again_elsewhere_has_the_login_too() {
    let volume = scratch();
    let start = || Registry::debian().account("ann", PASSWORD).volume(volume.path()).start();
    let (one, other) = (start(), start());
    let peers = [FaultProxy::before(one.address), FaultProxy::before(other.address)];
    let entrepot = Setup::before(&[peers[0].address, peers[1].address])
        .without_health_checks()
        .set("cluster.main.authorization", &format!("{{ username = \"ann\", password = {PASSWORD:?} }}"))
        .start();
    let client = Repository::at(entrepot.address, "team/app").basic("eve", "wrong");
    let place = client.start_upload();
    let (home, rest) = if peers[0].count("POST", "uploads") == 1 { (0, 1) } else { (1, 0) };
    peers[home].die();
    let closed = client.request("PUT", with_digest(&place, &digest(b"layer"))).body("layer").send(client.address);
    assert_eq!(closed.status, 201, "{}", closed.text());
    let again = peers[rest].seen_of("", "/blobs/uploads/");
    assert_eq!(again.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["POST", "PUT"]);
    assert!(again.iter().all(|seen| seen.header("authorization") == Some(&basic("ann", PASSWORD))));
}

#[test]
fn a_cluster_that_drops_it_asks_as_nobody() {
    let registry = Registry::debian().account("ann", PASSWORD).start();
    let open = Registry::debian().start();
    let image = Repository::at(open.address, "team/app").push_random("v1", 1, SIZE);
    for (address, asks) in [(registry.address, true), (open.address, false)] {
        let peer = FaultProxy::before(address);
        let setup = Setup::before(&[peer.address]).without_health_checks();
        let entrepot = setup.set("cluster.main.authorization", "\"drop\"").start();
        let client = Repository::at(entrepot.address, "team/app").basic("ann", PASSWORD);
        let expected = if asks { 403 } else { 200 };
        let list = client.request("GET", "/v2/team/app/tags/list").send(client.address);
        for answer in [
            client.request("GET", "/v2/").send(client.address),
            client.get_blob(&image.layers[0]),
            client.head_blob(&image.layers[0]),
            client.get_manifest("v1"),
            list,
        ] {
            assert_eq!((answer.status, answer.header("www-authenticate")), (expected, None), "{}", answer.text());
        }
        let opened = client.request("POST", client.uploads()).send(client.address);
        assert_eq!(opened.status, if asks { 403 } else { 202 });
        assert!(peer.seen().len() >= 5 && peer.seen().iter().all(|seen| seen.header("authorization").is_none()));
    }
}

#[test]
fn a_cluster_passes_the_client_s_own_by_default() {
    let registry = Registry::debian().account("ann", PASSWORD).start();
    for setup in [
        Setup::before(&[registry.address]),
        Setup::before(&[registry.address]).set("cluster.main.authorization", "\"pass\""),
    ] {
        let entrepot = setup.start();
        let client = Repository::at(entrepot.address, "team/app");
        assert_eq!(client.request("POST", client.uploads()).send(client.address).status, 401);
        client.clone().basic("ann", PASSWORD).push_blob(b"layer");
        assert_eq!(client.get_blob(&digest(b"layer")).status, 401);
    }
}
