//! pingora takes what we let through, and reads the same framing.

use proptest::prelude::*;

use super::super::body::Framing;
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
    fn no_bytes_make_the_scanner_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Scanner::default().advance(&bytes, 100);
    }
}
