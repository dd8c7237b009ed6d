//! A registry that answers as a test says, and writes down what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::oci::{self, Algorithm, Digest, RangeRequest, media_type};

/// How it behaves now.
#[derive(Clone, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Well,
    /// Each answer.
    Says(u16),
    /// Each answer to a GET of a manifest.
    NoPulls,
    /// No answer at all.
    Silent,
}

/// What it has under a path.
#[derive(Clone)]
struct Canned {
    body: Bytes,
    media_type: String,
    digest: Option<String>,
}

/// What it answers to one path and query.
#[derive(Clone)]
pub(super) struct Scripted {
    pub(super) status: u16,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: String,
}

#[derive(Default)]
struct State {
    contents: Mutex<HashMap<String, Canned>>,
    scripts: Mutex<HashMap<String, Scripted>>,
    asked: Mutex<Vec<String>>,
    mode: Mutex<Mode>,
    /// HEAD of manifests is answered with 405.
    no_head: Mutex<bool>,
    /// What `Authorization` must say; nothing: everybody may read.
    allowed: Mutex<Vec<String>>,
    /// Answers wait for a permit each.
    gate: Mutex<Option<Arc<Semaphore>>>,
    /// Answers to one path wait for a permit each.
    held: Mutex<Option<(String, Arc<Semaphore>)>>,
}

/// Answers until dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let server = tokio::spawn(serve(listener, state.clone()));
        Fake { address, state, server }
    }

    /// A manifest under a tag and its digest.
    pub(super) fn has(&self, name: &str, tag: &str, media_type: &str, body: &serde_json::Value) -> Digest {
        let body = Bytes::from(body.to_string());
        let digest = Digest::of(Algorithm::Sha256, &body);
        for reference in [tag.to_owned(), digest.text()] {
            self.says(name, &reference, media_type, &body, Some(&digest.text()));
        }
        digest
    }

    /// Whatever it shall say of a reference.
    pub(super) fn says(&self, name: &str, reference: &str, media_type: &str, body: &Bytes, digest: Option<&str>) {
        let canned =
            Canned { body: body.clone(), media_type: media_type.to_owned(), digest: digest.map(str::to_owned) };
        self.state.contents.lock().insert(format!("/v2/{name}/manifests/{reference}"), canned);
    }

    pub(super) fn has_blob(&self, name: &str, bytes: &'static [u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        self.has_bytes(name, &digest, &Bytes::from_static(bytes));
        digest
    }

    /// Whatever it shall give for a digest.
    pub(super) fn has_bytes(&self, name: &str, digest: &Digest, bytes: &Bytes) {
        let media_type = media_type::OCTET_STREAM.to_owned();
        let canned = Canned { body: bytes.clone(), media_type, digest: Some(digest.text()) };
        self.state.contents.lock().insert(format!("/v2/{name}/blobs/{digest}"), canned);
    }

    /// Whatever it shall say to one path and query.
    pub(super) fn answers(&self, target: &str, scripted: Scripted) {
        self.state.scripts.lock().insert(target.to_owned(), scripted);
    }

    pub(super) fn loses(&self, name: &str, reference: &str) {
        self.state.contents.lock().remove(&format!("/v2/{name}/manifests/{reference}"));
    }

    pub(super) fn behaves(&self, mode: Mode) {
        *self.state.mode.lock() = mode;
    }

    pub(super) fn has_no_head(&self) {
        *self.state.no_head.lock() = true;
    }

    pub(super) fn asks_for(&self, authorization: &[&str]) {
        *self.state.allowed.lock() = authorization.iter().map(|text| (*text).to_owned()).collect();
    }

    /// Each answer waits for a permit from now on.
    pub(super) fn holds_back(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.state.gate.lock() = Some(gate.clone());
        gate
    }

    /// Each answer to this path waits for a permit from now on.
    pub(super) fn holds_back_at(&self, path: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.state.held.lock() = Some((path.to_owned(), gate.clone()));
        gate
    }

    /// What it was asked since this was called last: `HEAD /v2/app/manifests/v1`. Pings and tokens are left out.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.state.asked.lock());
        asked.into_iter().filter(|line| !line.ends_with("/v2/")).collect()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let answering = service_fn(|request| answer(state.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answering).await;
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let range = request.headers().get("range").and_then(|range| range.to_str().ok()).map(str::to_owned);
    let shown = request.headers().get("authorization").map(|shown| shown.to_str().unwrap_or_default().to_owned());
    let allowed = state.allowed.lock().clone();
    if !allowed.is_empty() && shown.is_none_or(|shown| !allowed.contains(&shown)) {
        let mut response = status(401);
        response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Basic realm=\"fake\""));
        return Ok(response);
    }
    state.asked.lock().push(format!("{method} {path}"));
    let gate = state.gate.lock().clone();
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
    let held = state.held.lock().clone();
    if let Some((_, gate)) = held.filter(|(held, _)| *held == path) {
        gate.acquire().await.unwrap().forget();
    }
    let (mode, manifest) = (state.mode.lock().clone(), path.contains("/manifests/"));
    match mode {
        Mode::Well => {}
        Mode::Says(code) => return Ok(status(code)),
        Mode::NoPulls if method == Method::GET && manifest => {
            let mut response = status(429);
            response.headers_mut().insert("ratelimit-remaining", HeaderValue::from_static("0;w=21600"));
            *response.body_mut() = Full::new(Bytes::from_static(b"{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}"));
            return Ok(response);
        }
        Mode::NoPulls => {}
        Mode::Silent => std::future::pending().await,
    }
    if manifest && method == Method::HEAD && *state.no_head.lock() {
        return Ok(status(405));
    }
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if let Some(Scripted { status: code, fields, body }) = state.scripts.lock().get(&target).cloned() {
        let mut response = status(code);
        *response.body_mut() = Full::new(body.into());
        for (name, value) in fields {
            response.headers_mut().append(name, HeaderValue::from_str(&value).unwrap());
        }
        return Ok(response);
    }
    let canned = state.contents.lock().get(&path).cloned();
    Ok(canned.map_or_else(|| status(404), |canned| content(&method, range.as_deref(), canned)))
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"errors\":[]}")));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn content(method: &Method, range: Option<&str>, mut canned: Canned) -> Response<Full<Bytes>> {
    let (mut headers, mut status) = (HeaderMap::new(), StatusCode::OK);
    let total = canned.body.len() as u64;
    if let Some(RangeRequest::Ranges(ranges)) = range.map(|range| oci::range::parse(range, total))
        && let [range] = ranges.as_slice()
    {
        status = StatusCode::PARTIAL_CONTENT;
        headers.insert("content-range", HeaderValue::from_str(&oci::range::content_range(range, total)).unwrap());
        canned.body = canned.body.slice(range.start as usize..range.end as usize);
    }
    headers.insert("content-type", HeaderValue::from_str(&canned.media_type).unwrap());
    headers.insert("content-length", HeaderValue::from(canned.body.len()));
    if let Some(digest) = &canned.digest {
        headers.insert("docker-content-digest", HeaderValue::from_str(digest).unwrap());
    }
    let body = if *method == Method::HEAD { Bytes::new() } else { canned.body };
    let mut response = Response::new(Full::new(body));
    (*response.headers_mut(), *response.status_mut()) = (headers, status);
    response
}
