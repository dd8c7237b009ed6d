use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::telemetry::metrics;

#[derive(Default)]
struct State {
    draining: AtomicBool,
    purged: Mutex<Vec<Digest>>,
}

#[async_trait]
impl AdminState for State {
    fn ready(&self) -> Readiness {
        let draining = self.draining.load(Ordering::Relaxed);
        Readiness { reasons: draining.then(|| "draining".to_owned()).into_iter().collect() }
    }

    async fn purge(&self, digest: &Digest) -> bool {
        let mut purged = self.purged.lock();
        purged.push(*digest);
        purged.len() == 1
    }

    fn status(&self) -> Value {
        json!({ "clusters": {} })
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
    let mut admin = Admin::bind(&Config { address: ([127, 0, 0, 1], 0).into() }).await.unwrap();
    admin.connection_timeout = connection_timeout;
    let (address, state) = (admin.address(), Arc::new(State::default()));
    assert_ne!(address.port(), 0);
    let task = tokio::spawn(admin.serve(state.clone(), metrics::registry().unwrap()));
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
