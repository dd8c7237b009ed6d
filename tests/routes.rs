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
    assert_eq!((ask("/"), ask("/servicex"), ask("/metrics"), ask("/v1/_ping")), (404, 404, 404, 404));
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
