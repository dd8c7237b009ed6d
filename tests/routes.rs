//! Which cluster a request goes to, and what goes nowhere.

use crate::harness::{FaultProxy, Request, Setup};

#[test]
fn hosts_and_repositories_choose_the_cluster_and_the_first_match_wins() {
    let (a, b) = (FaultProxy::recording(), FaultProxy::recording());
    let setup = Setup::before(&[a.address]).without_health_checks();
    let setup = setup.set("cluster.second.peers", &format!("[\"{}\"]", b.address));
    let setup = setup.set("cluster.second.health", "{ interval = \"0s\" }");
    let routes = r#"[
        { hosts = ["b.example.com", "*.b.example.com"], read = "cluster.second" },
        { repositories = "team/*", read = "cluster.main", write = "cluster.main" },
        { repositories = "deep/**", read = "cluster.second", write = "cluster.second" },
    ]"#;
    let entrepot = setup.set("route", routes).start();
    let ask = |method: &str, host: &str, path: &str| {
        a.forget_seen();
        b.forget_seen();
        let answer = Request::new(method, path).header("Host", host).send(entrepot.address);
        (answer.status, a.seen().len(), b.seen().len())
    };
    assert_eq!(ask("GET", "any", "/v2/team/app/tags/list"), (200, 1, 0));
    assert_eq!(ask("GET", "any", "/v2/team/app/sub/tags/list").1, 0);
    assert_eq!(ask("GET", "any", "/v2/deep/a/b/c/tags/list"), (200, 0, 1));
    assert_eq!(ask("GET", "b.example.com", "/v2/team/app/tags/list"), (200, 0, 1));
    assert_eq!(ask("GET", "b.example.com:5000", "/v2/team/app/tags/list"), (200, 0, 1));
    assert_eq!(ask("GET", "x.b.example.com", "/v2/team/app/tags/list"), (200, 0, 1));
    assert_eq!(ask("GET", "B.Example.Com", "/v2/team/app/tags/list"), (200, 0, 1));
    let unmatched = Request::get("/v2/nowhere/tags/list").send(entrepot.address);
    assert_eq!((unmatched.status, unmatched.error_code().as_str()), (404, "NAME_UNKNOWN"));
    assert_eq!(ask("POST", "b.example.com", "/v2/team/app/blobs/uploads/"), (405, 0, 0));
    assert_eq!(ask("GET", "any", "/v2/_catalog"), (200, 1, 0));
    assert_eq!(ask("GET", "b.example.com", "/v2/_catalog"), (200, 0, 1));
}

#[test]
fn paths_outside_the_api_go_to_the_peers_only_when_told() {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.forward", "[\"/service/\", \"/api/\"]").start();
    let ask = |path: &str| Request::get(path).send(entrepot.address).status;
    assert_eq!((ask("/service/token?a=b"), ask("/api/v2.0/projects")), (200, 200));
    assert_eq!((ask("/servicex"), ask("/metrics"), ask("/v1/_ping")), (404, 404, 404));
    // Ours, and nothing of the peers'.
    assert!(Request::get("/").send(entrepot.address).text().contains("Entrepot"));
    assert_eq!(ask("/service/../v2/team/app/tags/list"), 400);
    let seen: Vec<_> = peer.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ["/service/token?a=b", "/api/v2.0/projects"]);
}

#[test]
fn bodies_of_forwarded_paths_go_both_ways() {
    let peer = FaultProxy::scripted(|seen| crate::harness::Reply::new(201).body(seen.body.clone()));
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.forward", "[\"/api/\"]").start();
    let body = crate::harness::random_bytes(1, 200_000);
    assert_eq!(Request::new("POST", "/api/x").body(body.clone()).send(entrepot.address).expect(201), body);
    let chunked = Request::new("PUT", "/api/x").chunked(std::io::Cursor::new(body.clone()));
    assert_eq!(chunked.send(entrepot.address).expect(201), body);
}

#[test]
fn the_entrance_says_what_this_is_and_no_version() {
    let peer = FaultProxy::recording();
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let ask = |accept: &str| Request::get("/").header("Accept", accept).send(entrepot.address);
    for (accept, media_type) in [
        ("*/*", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "text/plain; charset=utf-8"),
    ] {
        let answer = ask(accept);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{accept}");
        assert_eq!(answer.header("vary"), Some("Accept"));
        let text = answer.text();
        assert!(text.contains("Entrepot") && text.contains("/v2/") && text.contains("README"), "{text}");
        assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
    let head = Request::head("/").send(entrepot.address);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(peer.seen().len(), 0);
}

#[test]
fn the_entrance_is_the_peers_when_it_is_forwarded() {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.forward", "[\"/\"]").start();
    Request::get("/").header("Accept", "text/html").send(entrepot.address).expect(200);
    assert_eq!(peer.count("GET", "/"), 1);
}

#[test]
fn every_method_that_we_refuse_is_answered_with_those_that_we_take() {
    let peer = FaultProxy::recording();
    let reading = Setup::before(&[peer.address]).without_health_checks();
    let mut table = reading.text().parse::<toml::Table>().expect("TOML");
    table["route"][0].as_table_mut().expect("a route").remove("write");
    let reads_only = Setup::of(table).start();
    let registry = Setup::registry().set("registry.delete", "false").start();
    let read_only = Setup::registry().set("registry.read_only", "true").start();
    let digest = crate::harness::digest(b"x");
    let (blob, manifest) = (format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/v1".to_owned());
    let upload = "/v2/a/blobs/uploads/".to_owned();
    for (address, method, target, allow) in [
        (reads_only.address, "POST", "/".to_owned(), "GET, HEAD"),
        (reads_only.address, "DELETE", "/healthz".to_owned(), "GET, HEAD"),
        (reads_only.address, "PUT", "/v2/".to_owned(), "GET, HEAD, OPTIONS"),
        (reads_only.address, "PATCH", manifest.clone(), "GET, HEAD, PUT, DELETE, OPTIONS"),
        (reads_only.address, "PUT", manifest.clone(), "GET, HEAD"),
        (reads_only.address, "DELETE", blob.clone(), "GET, HEAD"),
        (reads_only.address, "POST", upload.clone(), ""),
        (reads_only.address, "BREW", "/v2/".to_owned(), "GET, HEAD, OPTIONS"),
        (reads_only.admin, "POST", "/metrics".to_owned(), "GET, HEAD"),
        (reads_only.admin, "GET", "/cache/purge".to_owned(), "POST"),
        (registry.address, "DELETE", blob.clone(), "GET, HEAD, OPTIONS"),
        (registry.address, "DELETE", manifest.clone(), "GET, HEAD, PUT, OPTIONS"),
        (read_only.address, "PUT", manifest.clone(), "GET, HEAD, OPTIONS"),
        (read_only.address, "DELETE", blob.clone(), "GET, HEAD, OPTIONS"),
        (read_only.address, "POST", upload.clone(), "OPTIONS"),
    ] {
        let answer = Request::new(method, target.clone()).send(address);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {target}");
    }
}
