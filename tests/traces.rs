//! What requests wait for, as a collector of OpenTelemetry is told it.

use crate::harness::{
    Collector, Entrepot, FakeRemote, Fault, FaultProxy, Manner, Redis, Registry, Reply, Repository, Request, Rule,
    Setup, Span, digest, eventually, random_bytes, scratch,
};
use crate::mirror::world::mirroring;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn sampled(trace: &str) -> String {
    format!("00-{trace}-{PARENT}-01")
}

fn traced(setup: Setup, collector: &Collector, sample: &str) -> Entrepot {
    setup.set("tracing.otlp", &collector.otlp()).set("tracing.sample", sample).start()
}

/// The request's own span, and those of what it waited for.
fn told(collector: &Collector, trace: &str, name: &str) -> (Span, Vec<Span>) {
    let (own, below): (Vec<_>, Vec<_>) = collector.trace(trace, name).into_iter().partition(|span| span.kind == 2);
    assert_eq!(own.len(), 1, "{own:?}");
    (own.into_iter().next().expect("just counted"), below)
}

#[test]
fn a_request_that_is_recorded_before_us_is_told_with_what_it_waited_for() {
    let (collector, registry) = (Collector::start(), Registry::debian().start());
    let peer = FaultProxy::before(registry.address);
    let setup = Setup::before(&[peer.address]).without_health_checks().set("tracing.service", "\"front\"");
    let entrepot = traced(setup, &collector, "\"0%\"");
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, 10_000));
    let client = Repository::at(entrepot.address, "team/app");
    let get =
        client.request("GET", client.blob(&blob)).header("traceparent", sampled(TRACE)).header("tracestate", "a=b");
    get.header("X-Request-Id", "cold").send(client.address).expect(200);
    let name = "GET /v2/{name}/blobs/{digest}";
    let (own, below) = told(&collector, TRACE, name);
    assert_eq!((own.parent.as_str(), own.service.as_str(), own.status.0), (PARENT, "front", 0));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v2/{name}/blobs/{digest}"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "10000"),
        ("entrepot.repository", "team/app"),
        ("entrepot.cache", "miss"),
        ("entrepot.request_id", "cold"),
    ] {
        assert_eq!(own.attribute(key), value, "{key} of {own:?}");
    }
    assert!(!below.is_empty());
    for waited in &below {
        assert!(waited.parent == own.id && waited.kind == 3 && waited.name.starts_with("peer "), "{waited:?}");
        assert_eq!(waited.attribute("http.response.status_code"), "200");
        assert_eq!(waited.attribute("server.address"), peer.address.to_string());
    }
    // What the peer was told is the span that waits for it.
    for seen in peer.seen_of("", &blob) {
        let handed = seen.header("traceparent").expect("a traceparent").to_owned();
        assert!(below.iter().any(|waited| handed == format!("00-{TRACE}-{}-01", waited.id)), "{handed} {below:?}");
        assert_eq!(seen.header("tracestate"), Some("a=b"));
    }
    assert_eq!(entrepot.logged("cold")["trace"], TRACE);
    // Once it is at hand, nothing is waited for.
    entrepot.settled();
    let warm = "1af7651916cd43dd8448eb211c80319c";
    let get = client.request("GET", client.blob(&blob)).header("traceparent", sampled(warm));
    get.header("X-Request-Id", "warm").send(client.address).expect(200);
    let (own, below) = told(&collector, warm, name);
    assert_eq!((own.parent.as_str(), own.attribute("entrepot.cache"), below.len()), (PARENT, "hit_memory", 0));
    assert_eq!(entrepot.logged("warm")["trace"], warm);
}

#[test]
fn what_is_streamed_to_a_peer_and_what_fails_is_told() {
    let (collector, peer) = (Collector::start(), FaultProxy::recording());
    let entrepot = traced(Setup::before(&[peer.address]).without_health_checks(), &collector, "\"0%\"");
    let list = Request::get("/v2/team/app/tags/list").header("traceparent", sampled(TRACE));
    list.send(entrepot.address).expect(200);
    let (own, below) = told(&collector, TRACE, "GET /v2/{name}/tags/list");
    assert_eq!(below.len(), 1, "{below:?}");
    assert_eq!((below[0].parent.as_str(), below[0].name.as_str()), (own.id.as_str(), "peer GET"));
    let handed = peer.seen_of("GET", "/tags/list")[0].header("traceparent").map(str::to_owned);
    assert_eq!(handed, Some(format!("00-{TRACE}-{}-01", below[0].id)));
    peer.on(Rule::new("GET", "/manifests/", Fault::Answer(Reply::new(503).body(""))));
    let failing = "2af7651916cd43dd8448eb211c80319c";
    let get = Request::get("/v2/team/app/manifests/v1").header("traceparent", sampled(failing));
    assert_eq!(get.send(entrepot.address).status, 503);
    let (own, _) = told(&collector, failing, "GET /v2/{name}/manifests/{reference}");
    assert_eq!((own.status.0, own.attribute("http.response.status_code")), (2, "503"));
}

#[test]
fn the_registry_s_storage_is_waited_for() {
    let collector = Collector::start();
    let entrepot = traced(Setup::registry(), &collector, "\"0%\"");
    let client = Repository::at(entrepot.address, "team/app");
    client.push_random("v1", 1, 1000);
    let put = client.request("HEAD", client.manifest("v1")).header("traceparent", sampled(TRACE));
    assert_eq!(put.send(client.address).status, 200);
    let list = Request::get("/v2/team/app/tags/list").header("traceparent", sampled(TRACE));
    assert_eq!(list.send(client.address).status, 200);
    let spans = collector.trace(TRACE, "GET /v2/{name}/tags/list");
    let own = spans.iter().find(|span| span.name.starts_with("GET ")).expect("just found");
    let storage: Vec<_> = spans.iter().filter(|span| span.name.starts_with("storage ")).collect();
    assert!(storage.iter().any(|span| span.parent == own.id && span.kind == 3), "{spans:?}");
}

#[test]
fn a_remote_is_waited_for_and_told_of_the_trace() {
    let (collector, remote) = (Collector::start(), FakeRemote::start(Manner::plain()));
    remote.put("library/app", "v1", 1, 1000);
    let entrepot = traced(mirroring(&[("hub", "docker.io", remote.address())]), &collector, "\"0%\"");
    let client = Repository::at(entrepot.address, "docker.io/library/app");
    let get = client.request("GET", client.manifest("v1")).header("traceparent", sampled(TRACE));
    get.header("Accept", crate::harness::repository::ACCEPT).send(client.address).expect(200);
    let (own, below) = told(&collector, TRACE, "GET /v2/{name}/manifests/{reference}");
    let waited: Vec<_> = below.iter().filter(|span| span.name == "remote manifest").collect();
    assert!(!waited.is_empty() && waited.iter().all(|span| span.attribute("entrepot.remote") == "hub"), "{below:?}");
    assert!(waited.iter().all(|span| span.parent == own.id), "{below:?}");
    assert_eq!(own.attribute("entrepot.repository"), "docker.io/library/app");
}

#[test]
fn redis_is_waited_for_and_that_it_does_not_answer_is_told() {
    let (collector, redis) = (Collector::start(), Redis::new().start());
    let entrepot = traced(redis.set(Setup::registry()), &collector, "\"0%\"");
    let client = Repository::at(entrepot.address, "team/app");
    // On a volume, Redis is asked for manifests; blobs are opened at once.
    let asked = |trace: &str| {
        let absent = digest(trace.as_bytes());
        let head = client.request("HEAD", client.manifest(&absent)).header("traceparent", sampled(trace));
        assert_eq!(head.send(client.address).status, 404);
        let (_, below) = told(&collector, trace, "HEAD /v2/{name}/manifests/{reference}");
        below.into_iter().filter(|span| span.name == "redis").collect::<Vec<_>>()
    };
    let spans = asked(TRACE);
    assert!(!spans.is_empty() && spans.iter().all(|span| span.status.0 != 2), "{spans:?}");
    let address = redis.url().replace("redis://", "");
    assert!(spans.iter().all(|span| span.attribute("server.address") == address), "{spans:?}");
    redis.freeze();
    let spans = asked("3af7651916cd43dd8448eb211c80319c");
    redis.thaw();
    assert!(spans.iter().any(|span| span.status.0 == 2 && span.status.1.contains("no answer within")), "{spans:?}");
}

#[test]
fn the_parent_decides_what_is_recorded_and_else_the_share() {
    let (collector, peer) = (Collector::start(), FaultProxy::recording());
    let entrepot = traced(Setup::before(&[peer.address]).without_health_checks(), &collector, "\"100%\"");
    let ask = |traceparent: Option<String>, id: &str| {
        let request = Request::get("/v2/team/app/tags/list").header("X-Request-Id", id);
        let request = traceparent.into_iter().fold(request, |request, value| request.header("traceparent", value));
        request.send(entrepot.address).expect(200);
        let seen = peer.seen_of("GET", "/tags/list");
        seen.last().and_then(|seen| seen.header("traceparent")).expect("a traceparent").to_owned()
    };
    let left = ask(Some(sampled(TRACE).replace("-01", "-00")), "left");
    assert!(left.starts_with(&format!("00-{TRACE}-")) && left.ends_with("-00"), "{left}");
    let begun = ask(None, "begun");
    assert!(begun.ends_with("-01"), "{begun}");
    Request::get("/healthz").send(entrepot.address).expect(200);
    let trace = &begun[3..35];
    let (own, _) = told(&collector, trace, "GET /v2/{name}/tags/list");
    assert!(own.parent.is_empty(), "{own:?}");
    assert_eq!((&entrepot.logged("begun")["trace"], &entrepot.logged("left")["trace"]), (&trace.into(), &TRACE.into()));
    // What waits is sent before the process ends: so nothing else was recorded.
    let mut entrepot = entrepot;
    entrepot.terminate();
    assert!(collector.spans().iter().all(|span| span.trace == trace), "{:?}", collector.spans());
}

#[test]
fn off_is_off_and_a_reload_switches_it_with_what_the_collector_wants_to_see() {
    let (collector, peer, folder) = (Collector::start(), FaultProxy::recording(), scratch());
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "# of the collector\nAuthorization: Bearer c0llector-5ecret\n").expect("written");
    let mut entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let ask = |address, id: &str| {
        let request = Request::get("/v2/team/app/tags/list").header("traceparent", sampled(TRACE));
        request.header("X-Request-Id", id).send(address).expect(200);
    };
    ask(entrepot.address, "off");
    assert_eq!(entrepot.logged("off")["trace"], TRACE);
    let otlp = collector.otlp();
    let on = |setup: Setup| {
        setup.set("tracing.otlp", &otlp).set("tracing.headers_file", &format!("{:?}", headers.display().to_string()))
    };
    entrepot.reload(on, "ok");
    ask(entrepot.address, "on");
    let (own, _) = told(&collector, TRACE, "GET /v2/{name}/tags/list");
    assert_eq!(own.attribute("entrepot.request_id"), "on");
    assert_eq!(collector.messages()[0].header("authorization"), Some("Bearer c0llector-5ecret"));
    assert!(!entrepot.log().contains("c0llector-5ecret"));
    eventually("it is counted", || entrepot.metric("entrepot_trace_spans_total", &[("result", "sent")]) >= 2.0);
    std::fs::write(&headers, "c0llector-5ecret\n").expect("written");
    entrepot.reload(|setup| setup, "refused");
    assert!(entrepot.log().contains("has no colon") && !entrepot.log().contains("c0llector-5ecret"));
}

#[test]
fn no_request_waits_for_a_collector_that_is_down() {
    let (collector, peer) = (Collector::start(), FaultProxy::recording());
    collector.server.on(Rule::new("POST", "/v1/traces", Fault::Answer(Reply::new(400).body("no"))));
    let entrepot = traced(Setup::before(&[peer.address]).without_health_checks(), &collector, "\"100%\"");
    Request::get("/v2/team/app/tags/list").send(entrepot.address).expect(200);
    let failed = || entrepot.metric("entrepot_trace_spans_total", &[("result", "failed")]);
    eventually("what it refuses is counted", || failed() >= 2.0);
    assert_eq!(collector.messages().len(), 1, "what is wrong is not sent again");
    assert!(entrepot.log().contains("the collector takes no spans"), "{}", entrepot.log());
    // 503 may get better, and does.
    collector.server.forget_rules();
    collector.server.on(Rule::new("POST", "/v1/traces", Fault::Answer(Reply::new(503).body(""))).times(1));
    Request::get("/v2/team/app/tags/list").send(entrepot.address).expect(200);
    eventually("it is sent again", || entrepot.metric("entrepot_trace_spans_total", &[("result", "sent")]) >= 2.0);
    assert!(entrepot.log().contains("the collector takes spans again"), "{}", entrepot.log());
    collector.server.die();
    assert_eq!(Request::get("/v2/team/app/tags/list").send(entrepot.address).status, 200);
}
