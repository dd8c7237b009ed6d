//! /metrics counts what happened, and the health endpoints say what is.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::repository::location;
use crate::harness::{Connection, Registry, Repository, Request, Setup, eventually, random_bytes};

#[test]
fn requests_bytes_cache_and_peers_are_counted() {
    let (one, other, _volume) = Registry::pair();
    let entrepot = Setup::before(&[one.address, other.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(1, 1_000_000));
    for _ in 0..3 {
        client.get_blob(&blob).expect(200);
        entrepot.settled();
    }
    assert_eq!(client.get_blob(&crate::harness::digest(b"absent")).status, 404);
    let metric = |name: &str, labels: &[(&str, &str)]| entrepot.metric(name, labels);
    assert_eq!(metric("entrepot_requests_total", &[("route", "blob"), ("method", "GET"), ("code", "200")]), 3.0);
    assert_eq!(metric("entrepot_requests_total", &[("route", "blob"), ("code", "404")]), 1.0);
    assert_eq!(metric("entrepot_request_duration_seconds_count", &[("route", "blob")]), 4.0);
    assert!(metric("entrepot_response_bytes_total", &[]) >= 3_000_000.0);
    assert!(metric("entrepot_request_bytes_total", &[]) >= 1_000_000.0);
    assert_eq!(metric("entrepot_cache_requests_total", &[("result", "hit_memory")]), 2.0);
    assert_eq!(metric("entrepot_cache_fills_total", &[("result", "completed")]), 1.0);
    assert!(metric("entrepot_cache_bytes", &[("tier", "disk")]) >= 1_000_000.0);
    assert_eq!(metric("entrepot_cache_entries", &[("tier", "disk")]), 1.0);
    assert!(metric("entrepot_peer_requests_total", &[]) >= 4.0);
    assert_eq!(metric("entrepot_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    let up = |address: std::net::SocketAddr| {
        metric("entrepot_peer_up", &[("cluster", "main"), ("peer", &address.to_string())])
    };
    assert_eq!((up(one.address), up(other.address)), (1.0, 1.0));
    drop(one);
    eventually("a peer that is gone is down", || entrepot.metric("entrepot_peer_up", &[]) == 1.0);
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let open: Vec<_> = (0..5).map(|_| Connection::open(entrepot.address).expect("a connection")).collect();
    eventually("five are open", || entrepot.metric("entrepot_connections", &[]) == 5.0);
    drop(open);
    eventually("none is open", || entrepot.metric("entrepot_connections", &[]) == 0.0);
    assert!(entrepot.metric("entrepot_connections_total", &[]) >= 5.0);
}

#[test]
fn requests_under_way_are_counted_until_they_end() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let under_way = || entrepot.metric("entrepot_requests_in_flight", &[]);
    let mut open: Vec<_> = (0..3).map(|_| Connection::open(entrepot.address).expect("a connection")).collect();
    for connection in &mut open {
        let head = "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
        connection.send_raw(head.as_bytes()).expect("sent");
    }
    eventually("three are under way", || under_way() == 3.0);
    drop(open);
    eventually("none is under way", || under_way() == 0.0);
}

#[test]
fn what_a_peer_answers_and_is_not_kept_is_counted_as_bypass() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let blob = Repository::at(registry.address, "team/app").push_blob(b"never pulled");
    let bypassed = || entrepot.metric("entrepot_cache_requests_total", &[("result", "bypass")]);
    assert_eq!(bypassed(), 0.0);
    let client = Repository::at(entrepot.address, "team/app");
    assert_eq!(client.head_blob(&blob).status, 200);
    eventually("it is counted", || bypassed() == 1.0);
}

#[test]
fn every_line_is_prometheus_text_and_every_name_is_ours_and_explained() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    Request::get("/v2/").send(entrepot.address);
    let text = entrepot.metrics();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = series.split('{').next().unwrap_or_default();
        // What distribution counts too is called as it calls it, for its dashboards.
        let known = ["entrepot_", "process_", "registry_http_", "registry_proxy_"];
        assert!(known.iter().any(|start| name.starts_with(start)), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(text.contains(&format!("# HELP {base} ")) || text.contains(&format!("# HELP {name} ")), "{name}");
    }
}

#[test]
fn health_is_answered_on_the_listener_and_readiness_by_admin_alone() {
    let mut registry = Registry::debian().account("ann", "secret").start();
    let entrepot = Setup::before(&[registry.address]).start();
    Request::get("/healthz").send(entrepot.address).expect(200);
    Request::get("/healthz").send(entrepot.admin).expect(200);
    Request::get("/readyz").send(entrepot.admin).expect(200);
    assert_eq!(Request::get("/metrics").send(entrepot.address).status, 404);
    assert_eq!(Request::get("/nothing").send(entrepot.admin).status, 404);
    assert_eq!(Request::new("POST", "/metrics").send(entrepot.admin).status, 405);
    registry.kill();
    // Alive, whatever the peers are.
    Request::get("/healthz").send(entrepot.address).expect(200);
}

/// One of everything that the API of registries has.
fn everything(address: std::net::SocketAddr, name: &str) {
    let client = Repository::at(address, name);
    let image = client.push_random("v1", 5, 100_000);
    let upload = location(&client.request("POST", client.uploads()).send(address));
    let chunk = client.request("PATCH", upload).header("Content-Type", "application/octet-stream").body("abc");
    chunk.send(address).expect(202);
    client.get_manifest("v1").expect(200);
    client.head_blob(&image.layers[0]);
    client.get_blob(&image.layers[0]).expect(200);
    assert_eq!(client.get_blob(&crate::harness::digest(b"absent")).status, 404);
    for path in ["/v2/", "/v2/_catalog", &format!("/v2/{name}/tags/list")] {
        Request::get(path).send(address).expect(200);
    }
    client.request("DELETE", client.manifest(&image.digest)).send(address).expect(202);
}

/// The series of a family that begins with one of `families`, without values and bounds: `name{handler="blob",…}`.
fn series(text: &str, families: &[&str]) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| families.iter().any(|start| line.starts_with(start)));
    lines
        .filter(|line| !line.contains("_bucket{"))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

/// Whoever has dashboards and alerts for distribution keeps them: what a real one tells after the same requests, Entrepot tells, by the
/// same names and with the same labels, be it the registry itself, or before one.
#[test]
fn what_distribution_tells_is_told_by_its_names() {
    let told = crate::harness::ports::free();
    let registry = Registry::v3().remembering().metrics_at(told).start();
    let own = Setup::registry().start();
    let before = Setup::before(&[registry.address]).start();
    everything(registry.address, "team/app");
    let theirs = Request::get("/metrics").send(told).text();
    everything(own.address, "team/app");
    everything(before.address, "team/front");
    let families = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE registry_"));
        lines.map(str::to_owned).collect()
    };
    // Of mirrors, there once a remote is declared (mirror/upstreams.rs).
    let wanted: BTreeSet<String> = families(&theirs).into_iter().filter(|line| !line.starts_with("proxy_")).collect();
    assert!(wanted.contains("http_requests_total counter") && wanted.len() >= 9, "{wanted:?}");
    let missing: Vec<_> = wanted.difference(&families(&own.metrics())).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
    let asked = ["registry_http_"];
    let wanted = series(&theirs, &asked);
    assert!(wanted.len() > 40, "{wanted:#?}");
    for entrepot in [&own, &before] {
        eventually("each series is told", || wanted.is_subset(&series(&entrepot.metrics(), &asked)));
    }
    let storage = |text: &str| -> BTreeSet<String> {
        series(text, &["registry_storage_action_seconds_count"])
            .iter()
            .filter_map(|line| line.split("action=\"").nth(1)?.split('"').next().map(str::to_owned))
            .collect()
    };
    let missing: Vec<_> = storage(&theirs).difference(&storage(&own.metrics())).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Content out of memory is counted by those names too, and one request under way is seen by what it asks for.
#[test]
fn what_is_at_hand_and_what_is_under_way_is_told_by_distributions_names() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(1, 5000));
    for _ in 0..5 {
        client.get_blob(&blob).expect(200);
        entrepot.settled();
    }
    let metric = |name: &str, handler: &str| entrepot.metric(name, &[("handler", handler)]);
    assert!(entrepot.metric("entrepot_cache_requests_total", &[("result", "hit_memory")]) >= 4.0);
    // The last thing that is counted of a request.
    eventually("all are counted", || metric("registry_http_response_size_bytes_count", "blob") == 5.0);
    let asked = [("handler", "blob"), ("method", "get"), ("code", "200")];
    assert_eq!(entrepot.metric("registry_http_requests_total", &asked), 5.0);
    for family in ["request_duration_seconds", "request_size_bytes"] {
        assert_eq!(metric(&format!("registry_http_{family}_count"), "blob"), 5.0, "{family}");
    }
    assert_eq!(metric("registry_http_response_size_bytes_sum", "blob"), 25_000.0);
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    let head = "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
    connection.send_raw(head.as_bytes()).expect("sent");
    eventually("it is under way", || metric("registry_http_in_flight_requests", "manifest") == 1.0);
    drop(connection);
    eventually("it is over", || metric("registry_http_in_flight_requests", "manifest") == 0.0);
}

/// Every name of a metric that stands in the source, tests left out.
fn registered(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            registered(&path, names);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let is_name = |text: &&str| {
            let known = ["entrepot_", "registry_http_", "registry_proxy_", "registry_storage_", "process_"];
            known.iter().any(|start| text.starts_with(start))
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        names.extend(code.split('"').filter(is_name).map(str::to_owned));
    }
}

fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|rest| rest.split(" | ").next());
    rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches(['`', ' ']).to_owned()).collect()
}

#[test]
fn every_metric_of_the_source_is_on_the_page_and_no_other() {
    let mut names = BTreeSet::new();
    registered(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    assert!(names.len() > 50, "{names:?}");
    assert_eq!(names, documented());
}

#[test]
fn every_metric_that_is_told_is_on_the_page() {
    let entrepot = Setup::registry().start();
    let documented = documented();
    let text = entrepot.metrics();
    for name in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()) {
        assert!(documented.contains(name), "{name}");
    }
}
