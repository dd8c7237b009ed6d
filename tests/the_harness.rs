//! The harness does what the tests believe it to do: against real registries, without Entrepot between.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::harness::registry::Registry;
use crate::harness::repository::{ACCEPT, location, with_digest};
use crate::harness::tools::{Containers, busybox_tree, run};
use crate::harness::{
    Answer, Authority, Dockerd, Fault, FaultProxy, Gate, Reply, Repository, Request, Rule, Setup, TokenServer, digest,
    docker, http::basic, nginx::Nginx, random_bytes, scratch, secrets,
};

fn blob_through(fault: Fault) -> (Answer, Vec<u8>) {
    let registry = Registry::debian().start();
    let bytes = random_bytes(1, 300_000);
    let digest = Repository::at(registry.address, "a/b").push_blob(&bytes);
    let proxy = FaultProxy::before(registry.address);
    proxy.on(Rule::new("GET", "/blobs/", fault));
    (Repository::at(proxy.address, "a/b").get_blob(&digest), bytes)
}

#[test]
fn content_pushed_to_one_of_a_pair_is_pulled_from_the_other() {
    let (one, other, _volume) = Registry::pair();
    let image = Repository::at(one.address, "team/app").push_random("v1", 7, 100_000);
    let pulled = Repository::at(other.address, "team/app");
    assert_eq!(pulled.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(digest(&pulled.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
}

#[test]
fn uploads_opened_at_one_of_a_pair_are_refused_by_the_other() {
    let (one, other, _volume) = Registry::pair();
    let upload = Repository::at(one.address, "team/app").start_upload();
    let answer = Request::new("PUT", with_digest(&upload, &digest(b"x"))).body("x").send(other.address);
    assert!(answer.status >= 400, "the secrets are different: {}", answer.status);
}

#[test]
fn a_registry_is_killed_and_comes_back_where_it_was() {
    let mut registry = Registry::debian().start();
    let image = Repository::at(registry.address, "a/b").push_random("v1", 7, 1000);
    registry.kill();
    assert!(Request::get("/v2/").try_send(registry.address).is_err());
    registry.restart();
    Repository::at(registry.address, "a/b").get_blob(&image.layers[0]).expect(200);
    assert_eq!(registry.answered(&["GET", &image.layers[0]]), 1);
}

#[test]
fn the_fault_proxy_passes_pushes_and_pulls_and_counts_them() {
    let registry = Registry::debian().start();
    let proxy = FaultProxy::before(registry.address);
    let repository = Repository::at(proxy.address, "a/b");
    let image = repository.push_random("v1", 3, 2_000_000);
    proxy.forget_seen();
    repository.get_blob(&image.layers[0]).expect(200);
    assert_eq!((proxy.count("GET", "/blobs/"), proxy.body_bytes()), (1, 2_000_000));
    let upload = repository.start_upload();
    let chunked = Request::new("PATCH", upload).chunked(std::io::Cursor::new(random_bytes(9, 300_000)));
    let target = with_digest(&location(&chunked.send(proxy.address)), &digest(&random_bytes(9, 300_000)));
    Request::new("PUT", target).send(proxy.address).expect(201);
}

#[test]
fn the_fault_proxy_cuts_a_body_where_it_was_told() {
    let (answer, bytes) = blob_through(Fault::CutAt(100_001));
    assert!(!answer.complete);
    assert_eq!(answer.body, bytes[..100_001]);
}

#[test]
fn the_fault_proxy_flips_shortens_lengthens_and_chunks() {
    let (answer, bytes) = blob_through(Fault::FlipAt(200_000));
    assert!(
        answer.complete && answer.body[200_000] == bytes[200_000] ^ 1 && answer.body[..200_000] == bytes[..200_000]
    );
    let (answer, bytes) = blob_through(Fault::Shorten(5));
    assert_eq!(answer.expect(200), bytes[..299_995]);
    let (answer, _) = blob_through(Fault::Lengthen(5));
    assert_eq!(answer.expect(200).len(), 300_005);
    let (answer, bytes) = blob_through(Fault::Chunked);
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.expect(200), bytes);
}

#[test]
fn the_fault_proxy_dies_in_the_middle_and_comes_back() {
    let registry = Registry::debian().start();
    let bytes = random_bytes(1, 300_000);
    let digest = Repository::at(registry.address, "a/b").push_blob(&bytes);
    let proxy = FaultProxy::before(registry.address);
    proxy.on(Rule::new("GET", "/blobs/", Fault::DieAt(150_000)).times(1));
    let repository = Repository::at(proxy.address, "a/b");
    assert_eq!(repository.get_blob(&digest).body.len(), 150_000);
    assert!(Request::get("/v2/").try_send(proxy.address).is_err());
    proxy.revive();
    repository.get_blob(&digest).expect(200);
}

#[test]
fn the_fault_proxy_throttles_all_bodies_together() {
    let proxy = FaultProxy::scripted(|_| Reply::new(200).body(vec![0; 500_000]));
    proxy.throttle(1_000_000);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| Request::get("/").send(proxy.address).expect(200));
        }
    });
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[test]
fn the_fault_proxy_holds_a_body_until_the_gate_opens() {
    let registry = Registry::debian().start();
    let digest = Repository::at(registry.address, "a/b").push_blob(&random_bytes(1, 300_000));
    let proxy = FaultProxy::before(registry.address);
    let gate = Gate::new();
    proxy.on(Rule::new("GET", "/blobs/", Fault::HoldAt(100_000, gate.clone())));
    let mut download = Request::get(format!("/v2/a/b/blobs/{digest}")).open(proxy.address);
    download.read_exactly(100_000);
    assert_eq!(proxy.body_bytes(), 100_000);
    gate.open();
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).expect("the rest");
    assert_eq!(rest.len(), 200_000);
}

#[test]
fn a_password_protected_registry_refuses_strangers() {
    let registry = Registry::debian().account("ann", "secret").start();
    let answer = Request::get("/v2/").send(registry.address);
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Basic realm=\"peer\"")));
    Repository::at(registry.address, "a/b").basic("ann", "secret").push_random("v1", 1, 10);
    assert_eq!(Request::get("/v2/").basic("ann", "wrong").send(registry.address).status, 401);
}

#[test]
fn distribution_v3_believes_the_token_server_and_nobody_else() {
    let tokens = TokenServer::start(&[("ann", "secret")], &[("ann", "a/b")]);
    let registry = Registry::v3().token(&tokens).start();
    let challenge = Request::get("/v2/a/b/tags/list").send(registry.address);
    assert_eq!(challenge.status, 401);
    assert!(
        challenge.header("www-authenticate").is_some_and(|value| value.contains("/token")),
        "{:?}",
        challenge.headers
    );
    let token = tokens.token("ann", "a/b", "pull,push");
    let image = Repository::at(registry.address, "a/b").bearer(&token).push_random("v1", 1, 10);
    let other = tokens.token("ann", "a/c", "pull");
    assert_eq!(Repository::at(registry.address, "a/b").bearer(&other).get_blob(&image.layers[0]).status, 401);
    let forged = format!("{}x", tokens.token("ann", "a/b", "pull"));
    assert_eq!(Repository::at(registry.address, "a/b").bearer(&forged).get_blob(&image.layers[0]).status, 401);
    let containers = Containers::new();
    run(containers
        .skopeo()
        .args(["inspect", "--tls-verify=false", "--creds", "ann:secret"])
        .arg(format!("docker://{}/a/b:v1", registry.address))
        .arg("--raw"));
    assert!(tokens.asked() > 0);
}

#[test]
fn docker_pushes_pulls_and_runs_through_nginx_as_through_anything() {
    // Through the plain balancer that Entrepot replaces: over one registry, since nginx loses uploads between two.
    let registry = Registry::debian().start();
    let front = Nginx::before(&[registry.address]);
    let files = scratch();
    let dockerd = Dockerd::start();
    let image = format!("{}/team/busybox:1", front.address);
    docker::import(&dockerd, &busybox_tree(files.path()), &image);
    dockerd.run(&["push", &image]);
    let digest = dockerd.digest(&image);
    dockerd.forget(&[&image]);
    dockerd.run(&["pull", &image]);
    assert_eq!(dockerd.digest(&image), digest);
    assert_eq!(dockerd.run(&["run", "--rm", "--network", "none", &image, "/bin/busybox", "echo", "hello"]), "hello");
    let head = Request::head("/v2/team/busybox/manifests/1").header("Accept", ACCEPT).send(registry.address);
    assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
}

#[test]
fn skopeo_trusts_the_authority_of_the_test() {
    let authority = Authority::new();
    let issued = authority.issue("server", &["localhost", "127.0.0.1"]);
    let registry = Registry::debian().tls(&issued.certificate, &issued.key).start();
    let containers = Containers::new();
    let files = scratch();
    let archive = busybox_tree(files.path());
    let target = format!("docker://localhost:{}/team/busybox:1", registry.address.port());
    let container = run(containers.buildah().args(["from", "scratch"]));
    run(containers.buildah().arg("add").arg(&container).arg(&archive).arg("/"));
    run(containers.buildah().args(["commit", &container, "busybox"]));
    run(containers.buildah().arg("push").arg("--cert-dir").arg(authority.folder()).args(["busybox", &target]));
    let inspected = run(containers.skopeo().arg("inspect").arg("--cert-dir").arg(authority.folder()).arg(&target));
    assert!(inspected.contains("sha256:"), "{inspected}");
}

#[test]
fn a_setup_sets_keys_of_tables_and_of_lists() {
    let setup = Setup::before(&["127.0.0.1:1".parse().expect("an address")])
        .set("listener.0.proxy_protocol", "true")
        .set("listener.1.address", "\"127.0.0.1:2\"")
        .set("cluster.main.verdict_ttl", "\"1s\"");
    let text = setup.text();
    for line in ["proxy_protocol = true", "address = \"127.0.0.1:2\"", "verdict_ttl = \"1s\"", "[[route]]"] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn a_secret_in_a_log_is_found() {
    let secret = "5ecret-for-the-harness-alone";
    Request::get("/").basic("ann", secret);
    let shown = secrets::found_in(&format!("a line\nleak {secret} here\n"));
    assert!(shown.len() == 1 && !shown[0].contains(secret) && shown[0].contains("leak <HERE> here"), "{shown:?}");
    let encoded = basic("ann", secret);
    assert_eq!(secrets::found_in(&encoded).len(), 1);
    assert_eq!(secrets::found_in("GET /token?service=x 200").len(), 1);
    Request::new("POST", "/token").body("grant_type=password&username=a&password=5ecret-of-a-form-alone");
    assert_eq!(secrets::found_in("so 5ecret-of-a-form-alone it is").len(), 1);
    assert_eq!(secrets::found_in("the fleet's secret was read; GET /token 200"), Vec::<String>::new());
}

/// Entrepot itself writes no secret, so a file that it is said to write to has one from the start.
#[test]
fn an_instance_whose_log_has_a_secret_fails_its_test_when_it_ends() {
    let folder = scratch();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "Authorization: Bearer a-token-of-the-harness-alone\n").expect("a file");
    let registry = Registry::debian().start();
    let entrepot =
        Setup::before(&[registry.address]).set("log.access", &format!("{:?}", log.display().to_string())).start();
    secrets::note("a-token-of-the-harness-alone");
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(entrepot)));
    let told = ended.expect_err("it must fail");
    let told = told.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(told.starts_with("secrets in ") && !told.contains("a-token-of-the-harness"), "{told}");
}

#[test]
fn a_fake_registry_of_every_manner_is_pulled_from_by_skopeo() {
    use crate::harness::{FakeRemote, Manner};
    let folder = scratch();
    let manners =
        [("plain", Manner::plain()), ("hub", Manner::hub()), ("ghcr", Manner::ghcr()), ("k8s", Manner::k8s())];
    for (name, manner) in manners.into_iter().chain([("ecr", Manner::ecr("AWS", "a-password-of-ecr"))]) {
        let fake = FakeRemote::start(manner);
        let image = fake.put_multi("team/app", "1", 1, 10_000);
        let containers = Containers::new();
        let mut copy = containers.skopeo();
        copy.args(["copy", "--all", "--src-tls-verify=false"]);
        if name == "ecr" {
            copy.args(["--src-creds", "AWS:a-password-of-ecr"]);
        }
        let to = format!("dir:{}", folder.path().join(name).display());
        run(copy.arg(format!("docker://{}/team/app:1", fake.address())).arg(to));
        assert_eq!(fake.gets("/blobs/"), image.blobs().len(), "{name}");
        assert_eq!(fake.tokens.seen().is_empty(), !matches!(name, "hub" | "ghcr"), "{name}");
        assert!(fake.store.seen().iter().all(|seen| seen.status == 200), "{name}");
    }
}

#[test]
fn a_fake_registry_counts_pulls_and_pages_its_lists() {
    use crate::harness::remote::Budget;
    use crate::harness::{FakeRemote, Manner};
    let manner = Manner { budget: Some(Budget::of(&[("", 2)])), page: 2, ..Manner::plain() };
    let fake = FakeRemote::start(manner);
    for number in 0..3 {
        fake.put("team/app", &format!("v{number}"), number, 10);
    }
    let client = Repository::at(fake.address(), "team/app");
    let left = |answer: &Answer| answer.header("ratelimit-remaining").map(str::to_owned);
    assert_eq!(left(&client.head_manifest("v0")).as_deref(), Some("2;w=21600"));
    assert_eq!(left(&client.get_manifest("v0")).as_deref(), Some("1;w=21600"));
    assert_eq!(client.get_manifest("v1").status, 200);
    let refused = client.get_manifest("v2");
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "TOOMANYREQUESTS"));
    assert_eq!(client.head_manifest("v2").status, 200);
    let page = client.request("GET", "/v2/team/app/tags/list").send(fake.address());
    assert_eq!(page.json()["tags"], serde_json::json!(["v0", "v1"]));
    let next = page.header("link").and_then(|link| link.strip_prefix('<')?.split('>').next()).expect("more").to_owned();
    let page = client.request("GET", next).send(fake.address());
    assert_eq!(page.json()["tags"], serde_json::json!(["v2"]));
    assert_eq!(page.header("link"), None);
}
