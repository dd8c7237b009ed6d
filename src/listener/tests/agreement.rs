//! pingora takes what we let through, and reads the same framing; where hyper takes it, it reads the same request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::super::body::Framing;
use super::super::exchange::RequestHead;
use super::super::head::Scanner;
use pingora_core::protocols::http::ServerSession;

fn line() -> impl Strategy<Value = String> {
    let method = prop_oneof!["[A-Z]{1,8}", Just("GET".to_owned()), Just("M-SEARCH!".to_owned())];
    let target = prop_oneof![
        "/[a-z0-9/%.~_:@!$&'()*+,;=?-]{0,30}",
        "/[!-~]{0,20}",
        Just("http://a/x".to_owned()),
        Just("HTTPS://a:1?q".to_owned()),
        Just("*".to_owned()),
    ];
    let version = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    (method, target, version).prop_map(|(method, target, version)| format!("{method} {target} {version}\r\n"))
}

fn field() -> impl Strategy<Value = String> {
    let whole = prop_oneof![
        Just("Content-Length: 5".to_owned()),
        Just("Content-Length:0".to_owned()),
        Just("content-length:  00012\t".to_owned()),
        Just("Transfer-Encoding: chunked".to_owned()),
        Just("transfer-encoding:\tCHUNKED ".to_owned()),
        Just("Connection: close, keep-alive".to_owned()),
        Just("Expect: 100-continue".to_owned()),
        Just("X-Empty:".to_owned()),
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}:[ \t]{0,3}[ -~\t]{0,30}",
        "[!-~]{1,10}:[ -\u{ff}]{0,10}",
        "[\u{0}-\u{ff}]{0,20}",
    ];
    whole.prop_map(|field| format!("{field}\r\n"))
}

/// A request as somebody read it.
#[derive(Debug, PartialEq)]
struct Reading {
    method: String,
    target: String,
    fields: HeaderMap,
    body: Vec<u8>,
}

/// How hyper reads the first request of these bytes; `None`: it takes none.
async fn by_hyper(bytes: Vec<u8>) -> Option<Reading> {
    let (near, mut far) = tokio::io::duplex(bytes.len().max(1));
    let read: Arc<Mutex<Option<Reading>>> = Arc::default();
    let noted = read.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let noted = noted.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
                // RFC 9110 §4.2.3: an empty path is "/".
                let target = if target.starts_with('?') { format!("/{target}") } else { target.to_owned() };
                let (method, body) = (head.method.to_string(), body.to_bytes().to_vec());
                noted.lock().get_or_insert(Reading { method, target, fields: head.headers, body });
            }
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    far.write_all(&bytes).await.ok()?;
    far.shutdown().await.ok()?;
    // What it answers is not read, and it need not wait for that.
    let connection =
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(near), service);
    let drain = async { tokio::io::copy(&mut far, &mut tokio::io::sink()).await };
    let _ = tokio::join!(connection, drain);
    std::mem::take(&mut *read.lock())
}

/// What comes behind the head: a body of the framing that we read, and another request, which is no part of it.
fn behind(framing: &Framing) -> (Vec<u8>, &'static [u8]) {
    let next = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    match framing {
        Framing::None => (Vec::new(), next),
        Framing::Length(length) => (b"x".repeat(usize::try_from(*length).unwrap_or(0).min(100)), next),
        Framing::Chunked => (b"abc".to_vec(), b"3\r\nabc\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"),
    }
}

#[tokio::test]
async fn hyper_takes_what_is_plain() {
    let chunked = b"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let read = by_hyper(chunked.to_vec()).await.unwrap();
    assert_eq!((read.method.as_str(), read.target.as_str(), &read.body[..]), ("POST", "/a?b", &b"abc"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pingora_reads_what_we_let_through(
        line in line(),
        host in prop_oneof!["Host: a\r\n", "host:a:1\r\n", "HOST: [::1]:5000\r\n"],
        fields in prop::collection::vec(field(), 0..6),
    ) {
        let head = format!("{line}{host}{}\r\n", fields.concat());
        let Ok(Some(found)) = Scanner::default().advance(head.as_bytes(), 64 << 10) else { return Ok(()) };
        // A field of no bytes has ended the head.
        let head = head.get(..found.length).unwrap_or_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let (near, _far) = tokio::io::duplex(64);
            let mut session = ServerSession::new_http1(Box::new(near));
            session.set_pipelined_prefix(head.as_bytes().into());
            if !session.read_request().await? {
                return Ok::<_, Box<pingora_core::Error>>(None);
            }
            let length = session.get_header("content-length").and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Ok(Some((session.is_body_empty(), length)))
        });
        let Ok(Some((empty, length))) = answer else { return Err(TestCaseError::fail(format!("{head:?}: {answer:?}"))) };
        match found.framing {
            Framing::None => prop_assert!(empty),
            Framing::Length(expected) => prop_assert_eq!(length, Some(expected)),
            Framing::Chunked => prop_assert!(!empty && length.is_none()),
        }
    }

    #[test]
    fn hyper_reads_the_same_request_where_it_takes_it(
        line in line(),
        host in prop_oneof!["Host: a\r\n", "host:a:1\r\n", "HOST: [::1]:5000\r\n"],
        fields in prop::collection::vec(field(), 0..6),
    ) {
        let sent = format!("{line}{host}{}\r\n", fields.concat());
        let Ok(Some(found)) = Scanner::default().advance(sent.as_bytes(), 64 << 10) else { return Ok(()) };
        if matches!(found.framing, Framing::Length(100..)) {
            return Ok(());
        }
        let mut bytes = sent.as_bytes().get(..found.length).unwrap_or_default().to_vec();
        let head = RequestHead::of_h1(&Bytes::from(bytes.clone()), &found);
        let Some(head) = head else { return Err(TestCaseError::fail(format!("{sent:?}: let through and not read"))) };
        let (body, rest) = behind(&found.framing);
        if matches!(found.framing, Framing::Length(_)) {
            bytes.extend_from_slice(&body);
        }
        bytes.extend_from_slice(rest);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some(theirs) = runtime.block_on(by_hyper(bytes)) else { return Ok(()) };
        let ours = Reading {
            method: head.method.to_string(),
            target: head.target.as_str().to_owned(),
            fields: head.headers,
            body,
        };
        prop_assert_eq!(ours, theirs, "{:?}", sent);
    }

    #[test]
    fn no_bytes_make_the_scanner_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Scanner::default().advance(&bytes, 100);
    }
}
