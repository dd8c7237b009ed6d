use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::auth::{Identity, Policy};
use crate::telemetry::metrics;

#[derive(Default)]
struct State {
    draining: AtomicBool,
    purged: Mutex<Vec<Digest>>,
    warming: Arc<AtomicUsize>,
    /// Rules, and everybody who shows `Basic NAME` is that user.
    policy: Option<Arc<Policy>>,
    refused: Mutex<Vec<String>>,
    ordered: Mutex<Vec<Order>>,
}

#[async_trait]
impl AdminState for State {
    fn ready(&self) -> Readiness {
        let draining = self.draining.load(Ordering::Relaxed);
        Readiness { reasons: draining.then(|| "draining".to_owned()).into_iter().collect() }
    }

    async fn identify(&self, asker: &Asker<'_>) -> Result<Operator, Unproven> {
        let origin = Origin::operator(None);
        let Some(policy) = &self.policy else { return Ok(Operator { permit: Permit::open(), origin }) };
        let identity = match asker.authorization.and_then(|field| field.to_str().ok()?.strip_prefix("Basic ")) {
            Some("wrong") => return Err(Unproven::Wrong),
            Some("unavailable") => return Err(Unproven::Unavailable("storage is away".into())),
            Some(name) => Identity::user(name),
            None => Identity::Anonymous,
        };
        Ok(Operator {
            permit: Permit::new(policy.clone(), (identity, None, false), &asker.host, asker.address),
            origin,
        })
    }

    fn refused(&self, operator: &Operator, _: Refused, what: &str) {
        self.refused.lock().push(format!("{} {what}", operator.permit.identity()));
    }

    async fn perform(&self, order: Order, _: &Operator) -> Result<Done, Refusal> {
        self.ordered.lock().push(order.clone());
        match order {
            Order::GcRun(_) => {
                let steps = [json!({ "event": "marking" }), json!({ "event": "end", "report": {} })];
                Ok(Done::Steps(stream::iter(steps).boxed()))
            }
            Order::Gc => Err(Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no registry here")),
            order => Ok(Done::Told(json!({ "done": order.call().path }))),
        }
    }

    async fn purge(&self, digest: &Digest, _: &Operator) -> bool {
        let mut purged = self.purged.lock();
        purged.push(*digest);
        purged.len() == 1
    }

    fn status(&self) -> Value {
        json!({ "clusters": {} })
    }

    async fn mirror_status(&self, remote: Option<&str>, limit: usize) -> Result<Value, Refusal> {
        match remote {
            Some("absent") => Err(Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "there is no remote 'absent'")),
            remote => Ok(json!({ "remote": remote, "limit": limit })),
        }
    }

    async fn explain(&self, image: &str) -> Result<Value, Refusal> {
        Ok(json!({ "image": image }))
    }

    fn warm(&self, order: WarmOrder, _: &Operator) -> Result<BoxStream<'static, Value>, Refusal> {
        let warming = Warming(self.warming.clone());
        warming.0.fetch_add(1, Ordering::SeqCst);
        let told = stream::iter(order.images.into_iter().map(|image| json!({ "event": "done", "image": image })));
        // A step each moment, for ever, as of a large image.
        let endless = stream::repeat(json!({ "event": "bytes" })).then(|step| async {
            sleep(Duration::from_millis(5)).await;
            step
        });
        let endless = endless.take(if order.platforms == ["endless"] { usize::MAX } else { 0 });
        Ok(told.chain(endless).inspect(move |_| _ = &warming).boxed())
    }
}

/// Counted while it is there.
struct Warming(Arc<AtomicUsize>);

impl Drop for Warming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Server {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<Infallible>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server() -> Server {
    server_with(CONNECTION_TIMEOUT).await
}

async fn server_with(connection_timeout: Duration) -> Server {
    serving(connection_timeout, State::default(), None).await
}

/// With these rules.
async fn ruled(rules: &str) -> Server {
    let config: crate::auth::Config = toml::from_str(rules).unwrap();
    let policy = Some(Arc::new(Policy::new(&config).unwrap()));
    serving(CONNECTION_TIMEOUT, State { policy, ..State::default() }, None).await
}

async fn serving(connection_timeout: Duration, state: State, unix: Option<std::path::PathBuf>) -> Server {
    let mut admin = Admin::bind(&Config { address: ([127, 0, 0, 1], 0).into(), unix }).unwrap();
    admin.connection_timeout = connection_timeout;
    let (address, state) = (admin.address(), Arc::new(state));
    assert_ne!(address.port(), 0);
    let task = tokio::spawn(Arc::new(admin).serve(state.clone(), metrics::registry().unwrap()));
    Server { address, state, task }
}

impl Server {
    async fn send(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    async fn ask(&self, method: &str, target: &str, fields: &str) -> (u16, String, String) {
        self.send(&format!("{method} {target} HTTP/1.1\r\nHost: admin\r\n{fields}\r\n")).await
    }
}

#[tokio::test]
async fn each_endpoint_answers() {
    let server = server().await;
    for (target, media_type, contains) in [
        ("/", "text/plain", "/cache/purge"),
        ("/metrics", "text/plain; version=0.0.4", "entrepot_build_info{"),
        ("/healthz", "text/plain", "ok"),
        ("/debug/health", "text/plain", "ok"),
        ("/readyz", "application/json", r#""ready":true"#),
        ("/status", "application/json", r#""clusters":{}"#),
    ] {
        let (status, head, body) = server.ask("GET", target, "").await;
        assert_eq!(status, 200, "{target}");
        assert!(head.contains(&format!("content-type: {media_type}")) && head.contains("no-store"), "{head}");
        assert!(body.contains(contains), "{body}");
        let (status, _, body) = server.ask("HEAD", target, "").await;
        assert_eq!((status, body.as_str()), (200, ""));
        let (status, head, _) = server.ask("DELETE", target, "").await;
        assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    }
}

#[tokio::test]
async fn readiness_says_why_not() {
    let server = server().await;
    server.state.draining.store(true, Ordering::Relaxed);
    let (status, _, body) = server.ask("GET", "/readyz", "").await;
    assert_eq!(status, 503);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({ "ready": false, "reasons": ["draining"] }));
    assert_eq!(server.ask("GET", "/healthz", "").await.0, 200);
}

#[tokio::test]
async fn purge_takes_exactly_one_valid_digest() {
    let server = server().await;
    let digest = Digest::of(crate::oci::digest::Algorithm::Sha256, b"x");
    let target = format!("/cache/purge?digest={digest}");
    let purged = |body: &str| serde_json::from_str::<Value>(body).unwrap()["purged"].clone();
    let (status, _, body) = server.ask("POST", &target, "Content-Length: 0\r\n").await;
    assert_eq!((status, purged(&body)), (200, json!(true)));
    let escaped = target.replace("sha256:", "sha256%3A");
    let (status, _, body) = server.ask("POST", &escaped, "").await;
    assert_eq!((status, purged(&body)), (200, json!(false)));
    assert_eq!(*server.state.purged.lock(), [digest, digest]);

    let twice = format!("{target}&digest={digest}");
    for bad in
        ["/cache/purge", "/cache/purge?digest=", "/cache/purge?digest=sha256:..%2f..", "/cache/purge?x=1", &twice]
    {
        let (status, _, body) = server.ask("POST", bad, "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("DIGEST_INVALID")), "{bad}");
    }
    let (status, head, _) = server.ask("GET", &target, "").await;
    assert!(status == 405 && head.contains("allow: post"));
    assert_eq!(server.state.purged.lock().len(), 2);
}

#[tokio::test]
async fn a_web_page_cannot_purge() {
    let server = server().await;
    let target = format!("/cache/purge?digest=sha256:{}", "0".repeat(64));
    for field in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "origin: http://admin"]
    {
        assert_eq!(server.ask("POST", &target, &format!("{field}\r\n")).await.0, 403, "{field}");
    }
    assert!(server.state.purged.lock().is_empty());
}

/// Whoever owns a name can make it lead to this machine: then their page asks us as its own site.
#[tokio::test]
async fn a_web_page_whose_name_leads_here_is_told_nothing() {
    let server = server().await;
    let asked =
        async |target: &str, host: &str| server.send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.0;
    for host in ["evil.example", "EVIL.example.:5001", "127.0.0.1.evil.example:5001", "1.2.3.4.5"] {
        for target in ["/status", "/api/v1/uploads", "/openapi.json", "/nothing"] {
            assert_eq!(asked(target, host).await, 403, "{target} {host}");
        }
        assert_eq!(asked("/metrics", host).await, 200, "{host}");
    }
    for host in ["127.0.0.1", "127.0.0.1:5001", "[::1]:5001", "localhost:5001", "a.localhost", "entrepot:5001", ""] {
        assert_eq!(asked("/status", host).await, 200, "{host}");
    }
    assert_eq!(server.state.ordered.lock().len(), 0);
    let ruled = ruled(RULES).await;
    let request = "GET /status HTTP/1.1\r\nHost: admin.example\r\nAuthorization: Basic root\r\n\r\n";
    assert_eq!(ruled.send(request).await.0, 200);
}

#[tokio::test]
async fn what_is_unknown_or_too_large_is_refused() {
    let server = server().await;
    for target in ["/nothing", "/metrics/", "//metrics", "/v2/", "/cache/"] {
        assert_eq!(server.ask("GET", target, "").await.0, 404, "{target}");
    }
    let many = "X: y\r\n".repeat(MAX_FIELDS + 1);
    assert_eq!(server.ask("GET", "/", &many).await.0, 431);
    let long = format!("X: {}\r\n", "y".repeat(MAX_HEADER + 1));
    assert_eq!(server.ask("GET", "/", &long).await.0, 431);
    let body = "z".repeat(8 << 10);
    let request = format!("POST /cache/purge HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(server.send(&request).await.0, 413);
    assert_eq!(server.send("nonsense\r\n\r\n").await.0, 400);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_answered_in_the_shape_of_the_document() {
    let server = server().await;
    let body = "z".repeat(8 << 10);
    let large = format!("POST /cache/purge HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let absent = "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";
    let api = "GET /api/v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n";
    let probe = "DELETE /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let order = "GET /api/v1/gc/run HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, expected) in [(large.as_str(), 413), (absent, 404), (api, 404), (probe, 405), (order, 405)] {
        let (status, head, body) = server.send(request).await;
        assert!(status == expected && head.contains("content-type: application/json"), "{head}");
        let errors = serde_json::from_str::<Value>(&body).unwrap()["errors"].clone();
        assert!(errors[0]["code"].is_string() && errors[0]["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn silent_clients_neither_stay_nor_starve_the_others() {
    let limit = Duration::from_millis(300);
    let server = server_with(limit).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // All places are taken; this one waits until the silent ones are sent away.
    let begin = Instant::now();
    assert_eq!(server.ask("GET", "/healthz", "").await.0, 200);
    assert!(begin.elapsed() < CONNECTION_TIMEOUT / 2);
    // And it was they who were sent away, not this one let in beyond the bound.
    let mut rest = Vec::new();
    for mut stream in silent {
        stream.read_to_end(&mut rest).await.unwrap();
    }
}

#[tokio::test]
async fn what_mirrors_hold_is_told_and_what_is_asked_wrongly_is_refused() {
    let server = server().await;
    let value = |body: &str| serde_json::from_str::<Value>(body).unwrap();
    let (status, _, body) = server.ask("GET", "/mirror/status?remote=hub&limit=99999999", "").await;
    assert_eq!((status, value(&body)), (200, json!({ "remote": "hub", "limit": 10_000 })));
    let (status, _, body) = server.ask("GET", "/mirror/status", "").await;
    assert_eq!((status, value(&body)), (200, json!({ "remote": null, "limit": 200 })));
    let (status, _, body) = server.ask("GET", "/mirror/status?remote=absent", "").await;
    assert_eq!((status, value(&body)["errors"][0]["code"].clone()), (404, json!("NAME_UNKNOWN")));
    let (status, _, body) = server.ask("GET", "/explain?ref=a%2Fb%3A1", "").await;
    assert_eq!((status, value(&body)), (200, json!({ "image": "a/b:1" })));
    for target in ["/explain", "/mirror/status?limit=many"] {
        assert_eq!(server.ask("GET", target, "").await.0, 400, "{target}");
        assert_eq!(server.ask("POST", target, "").await.0, 405, "{target}");
    }
}

fn order(body: &str, fields: &str) -> String {
    format!("POST /mirror/warm HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_order_to_warm_is_told_of_line_by_line() {
    let server = server().await;
    let (status, head, body) = server.send(&order(r#"{"images":["a","b"]}"#, "")).await;
    assert!(status == 200 && head.contains("content-type: application/x-ndjson"), "{head}");
    for image in ["a", "b"] {
        let line = format!("{{\"event\":\"done\",\"image\":\"{image}\"}}\n");
        assert!(body.contains(&line), "{body}");
    }
    for wrong in ["", "[]", "{}", r#"{"images":"a"}"#, r#"{"images":[],"tags":1}"#] {
        assert_eq!(server.send(&order(wrong, "")).await.0, 400, "{wrong}");
    }
    assert_eq!(server.send(&order(r#"{"images":[]}"#, "Origin: http://page\r\n")).await.0, 403);
    assert_eq!(server.ask("GET", "/mirror/warm", "").await.0, 405);
    let large = format!("{{\"images\":[\"{}\"]}}", "a".repeat(600 << 10));
    assert_eq!(server.send(&order(&large, "")).await.0, 413);
}

#[tokio::test]
async fn what_takes_long_outlasts_a_probes_time_ends_with_its_client_and_has_few_places() {
    let limit = Duration::from_millis(200);
    let server = server_with(limit).await;
    let warming = server.state.warming.clone();
    let endless = order(r#"{"images":[],"platforms":["endless"]}"#, "");
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(endless.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 256]).await.unwrap();
        streams.push(stream);
    }
    let begin = Instant::now();
    while begin.elapsed() < limit * 2 {
        streams[0].read_exact(&mut [0; 64]).await.unwrap();
    }
    assert_eq!(warming.load(Ordering::SeqCst), 8);
    assert_eq!(server.send(&endless).await.0, 503);
    assert_eq!(server.ask("GET", "/healthz", "").await.0, 200);
    drop(streams);
    while warming.load(Ordering::SeqCst) > 0 {
        sleep(Duration::from_millis(5)).await;
    }
}

fn post(path: &str, body: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: admin\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn orders_are_read_and_answered_at_once_or_in_steps() {
    let server = server().await;
    let value = |body: &str| serde_json::from_str::<Value>(body).unwrap();
    let (status, _, body) = server.ask("GET", "/api/v1/status", "").await;
    assert_eq!((status, value(&body)), (200, json!({ "done": "/api/v1/status" })));
    let (status, head, body) = server.send(&post("/api/v1/gc/run", r#"{"now":true}"#, "")).await;
    assert!(status == 200 && head.contains("content-type: application/x-ndjson"), "{head}");
    assert!(
        body.contains("{\"event\":\"marking\"}\n") && body.contains("{\"event\":\"end\",\"report\":{}}\n"),
        "{body}"
    );
    let (status, _, body) = server.send(&post("/api/v1/untag", r#"{"image":"team/app:1"}"#, "")).await;
    assert_eq!((status, value(&body)), (200, json!({ "done": "/api/v1/untag" })));
    let (status, _, body) = server.ask("GET", "/api/v1/gc", "").await;
    assert_eq!((status, value(&body)["errors"][0]["message"].clone()), (404, json!("there is no registry here")));
    for (path, body, told) in [
        ("/api/v1/untag", "{}", "missing field `image`"),
        ("/api/v1/untag", r#"{"image":"team/app"}"#, "says neither tag nor digest"),
        ("/api/v1/untag", r#"{"image":"Team:1"}"#, "names no repository"),
        ("/api/v1/gc/run", r#"{"nwo":true}"#, "unknown field"),
        ("/api/v1/gc/pause", "[]", "the body is no such order"),
    ] {
        let (status, _, answer) = server.send(&post(path, body, "")).await;
        let message = value(&answer)["errors"][0]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == 400 && message.contains(told), "{path} {body}: {status} {message}");
    }
    for (method, path, status) in [
        ("POST", "/api/v1/status", 405),
        ("GET", "/api/v1/gc/run", 405),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1", 404),
        ("DELETE", "/api/v1/maintenance", 405),
    ] {
        assert_eq!(server.ask(method, path, "").await.0, status, "{method} {path}");
    }
    assert_eq!(server.send(&post("/api/v1/gc/run", "{}", "Origin: http://page\r\n")).await.0, 403);
    assert_eq!(server.state.ordered.lock().len(), 4);
    let (status, _, body) = server.ask("GET", "/openapi.json", "").await;
    assert!(status == 200 && value(&body)["paths"]["/api/v1/gc/run"].is_object());
}

const RULES: &str = "[[rule]]\nwho = [\"user:root\"]\nallow = [\"admin\"]\n\
    [[rule]]\nrepositories = \"team/**\"\nwho = [\"user:lead\"]\nallow = [\"admin\"]\n\
    [[rule]]\nwho = [\"*\"]\nallow = [\"pull\"]\n";

#[tokio::test]
async fn with_rules_all_but_probes_and_metrics_ask_for_admin() {
    let server = ruled(RULES).await;
    for open in ["/metrics", "/healthz", "/readyz"] {
        for fields in ["", "Authorization: Basic wrong\r\n"] {
            assert_eq!(server.ask("GET", open, fields).await.0, 200, "{open}");
        }
    }
    let closed = [
        "/",
        "/status",
        "/explain?ref=a",
        "/mirror/status",
        "/openapi.json",
        "/api/v1/status",
        "/api/v1/x",
        "/nothing",
    ];
    for path in closed {
        let (status, head, _) = server.ask("GET", path, "").await;
        assert!(status == 401 && head.contains("www-authenticate: basic realm="), "{path}: {head}");
        let (status, head, _) = server.ask("GET", path, "Authorization: Basic wrong\r\n").await;
        assert!(status == 401 && head.contains("www-authenticate: basic realm="), "{path}: {head}");
        let (status, _, body) = server.ask("GET", path, "Authorization: Basic lead\r\n").await;
        assert!(status == 403 && body.contains("user:lead needs the permission 'admin' in **"), "{path}: {body}");
        let (status, ..) = server.ask("GET", path, "Authorization: Basic root\r\n").await;
        let expected = if path.ends_with("/x") || path == "/nothing" { 404 } else { 200 };
        assert_eq!(status, expected, "{path}");
    }
    assert_eq!(server.ask("GET", "/status", "Authorization: Basic unavailable\r\n").await.0, 503);
    let digest = Digest::of(crate::oci::digest::Algorithm::Sha256, b"x");
    assert_eq!(server.ask("POST", &format!("/cache/purge?digest={digest}"), "").await.0, 401);
    assert_eq!(server.send(&order(r#"{"images":["a"]}"#, "")).await.0, 401);
    for (path, body, lacking) in [
        ("/api/v1/cp", r#"{"source":"team/app:1","target":"prod/app:1"}"#, "prod/app"),
        ("/api/v1/cp", r#"{"source":"prod/app:1","target":"team/app:1"}"#, "prod/app"),
        ("/api/v1/tag", r#"{"source":"prod/app:1","target":"prod/app:2"}"#, "prod/app"),
    ] {
        let (status, _, told) = server.send(&post(path, body, "Authorization: Basic lead\r\n")).await;
        assert!(status == 403 && told.contains(&format!("'admin' in {lacking}: ")), "{path}: {told}");
    }
    assert_eq!(server.send(&post("/api/v1/untag", "nonsense", "")).await.0, 401, "and nothing is told of the body");
    assert!(server.state.purged.lock().is_empty() && server.state.ordered.lock().len() == 1);
    assert!(server.state.refused.lock().contains(&"user:lead GET /api/v1/status".to_owned()));
}

#[tokio::test]
async fn who_administers_a_repository_orders_what_is_about_it_alone() {
    let server = ruled(RULES).await;
    let lead = "Authorization: Basic lead\r\n";
    for (path, body, status) in [
        ("/api/v1/untag", r#"{"image":"team/app:1"}"#, 200),
        ("/api/v1/untag", r#"{"image":"other/app:1"}"#, 403),
        ("/api/v1/cp", r#"{"source":"team/a:1","target":"team/b:1"}"#, 200),
        ("/api/v1/cp", r#"{"source":"other/a:1","target":"team/b:1"}"#, 403),
        ("/api/v1/cp", r#"{"source":"team/a:1","target":"other/b:1"}"#, 403),
        ("/api/v1/gc/run", "{}", 403),
        ("/api/v1/maintenance", r#"{"on":true}"#, 403),
    ] {
        let (found, _, answer) = server.send(&post(path, body, lead)).await;
        assert_eq!(found, status, "{path} {body}: {answer}");
    }
    assert_eq!(server.state.ordered.lock().len(), 2);
}

#[tokio::test]
async fn the_socket_answers_as_the_address_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let _server = serving(CONNECTION_TIMEOUT, State::default(), Some(path.clone())).await;
    let text = at_socket(&path, "GET /api/v1/status HTTP/1.1\r\nHost: admin\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("{\"done\":\"/api/v1/status\"}\n"), "{text}");
}

async fn at_socket(path: &std::path::Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn an_upgrade_is_ordered_at_the_socket_where_it_needs_no_login_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let config: crate::auth::Config = toml::from_str(RULES).unwrap();
    let state = State { policy: Some(Arc::new(Policy::new(&config).unwrap())), ..State::default() };
    let server = serving(CONNECTION_TIMEOUT, state, Some(path.clone())).await;
    let upgrade = |fields: &str| post("/api/v1/upgrade", "{}", fields);
    let (root, lead) = ("Authorization: Basic root\r\n", "Authorization: Basic lead\r\n");
    for (fields, status) in [("", 401), (lead, 403), (root, 403)] {
        assert_eq!(server.send(&upgrade(fields)).await.0, status, "{fields}");
    }
    assert_eq!(server.state.ordered.lock().len(), 0);
    let text = at_socket(&path, &upgrade("")).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(matches!(&server.state.ordered.lock()[..], [Order::Upgrade(_)]));
    // Everything else needs one there, too; and a web page is none who may.
    for (request, status) in [
        (post("/api/v1/gc/pause", "", ""), "401"),
        (upgrade("Authorization: Basic wrong\r\n"), "401"),
        (upgrade("Origin: http://page\r\n"), "403"),
    ] {
        let text = at_socket(&path, &request).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    }
    assert_eq!(server.state.ordered.lock().len(), 1);
}
