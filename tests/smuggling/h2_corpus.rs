//! HTTP/2 requests that would be others on HTTP/1 behind us (RFC 9113 §8.1 to §8.3, §10.3), and those that only look so.

use super::h2_payload::{Payload, in_content, instead, with, with_trailers};
use super::payload::MARKER;

pub fn corpus() -> Vec<Payload> {
    [lengths(), of_the_connection(), names_and_values(), pseudo_fields(), authorities(), contents()].concat()
}

fn lengths() -> Vec<Payload> {
    let mut all = Vec::new();
    for values in [
        &["5", "5"][..],
        &["5", "05"],
        &["5", "6"],
        &["6", "5"],
        &["5", "+5"],
        &["+5"],
        &["-5"],
        &["5, 5"],
        &["5,5"],
        &["5, 6"],
        &["5,"],
        &["0x5"],
        &["5.0"],
        &["5 "],
        &[" 5"],
        &["5\t"],
        &["5 5"],
        &["5_0"],
        &[""],
        &["five"],
        &["18446744073709551621"],
        &["9223372036854775808"],
        &["5\r\nTransfer-Encoding: chunked"],
        &["\u{b2}"],
    ] {
        let more: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
        all.push(with(&more, &["hello"], true));
    }
    let differing: [(&str, &[&str]); 6] = [
        ("4", &["hello"]),
        ("6", &["hello"]),
        ("0", &["hello"]),
        ("0", &[MARKER]),
        ("5", &[]),
        ("5", &["hello", "GET / HTTP/1.1\r\n\r\n"]),
    ];
    all.extend(differing.map(|(length, data)| in_content(with(&[("content-length", length)], data, true))));
    for value in ["5", "05"] {
        all.push(with(&[("content-length", value)], &["hello"], false));
        all.push(with(&[("content-length", value)], &["he", "", "llo"], false));
    }
    all.push(with(&[("content-length", "0")], &[], false));
    all
}

fn of_the_connection() -> Vec<Payload> {
    let refused = [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("transfer-encoding", "xchunked"),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding ", "chunked"),
        (" transfer-encoding", "chunked"),
        ("transfer-encoding\0", "chunked"),
        ("transfer-encoding:", "chunked"),
        ("connection", "close"),
        ("connection", "content-length"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
        ("te", "chunked"),
        ("te", "trailers, chunked"),
        ("te", "gzip"),
    ];
    let mut all: Vec<Payload> = refused.iter().map(|field| with(&[*field], &["0\r\n\r\n", MARKER], true)).collect();
    all.push(with(&[("transfer-encoding", "chunked"), ("content-length", "5")], &["hello"], true));
    all.push(with(&[("te", "trailers")], &["hello"], false));
    all
}

fn names_and_values() -> Vec<Payload> {
    let names = [
        "X-Upper",
        "CONTENT-LENGTH",
        "xA",
        "x a",
        "x\ta",
        "x:a",
        "",
        "x\0a",
        "x\ra",
        "x\na",
        "x\u{7f}",
        "x\u{e9}",
        "x(a",
        "x@a",
        "x\"a",
        "x\r\ntransfer-encoding: chunked\r\ny",
        "x: y\r\ntransfer-encoding",
        ":x",
        ":status",
        ":protocol",
        ": path",
        ":Path",
    ];
    let values = [
        "a\r\nb",
        "a\nb",
        "a\rb",
        "a\0b",
        "\r\n",
        "\n",
        "a\r\n",
        "a\r\n b",
        "a\r\nTransfer-Encoding: chunked",
        "a\r\n\r\nGET /v2/smuggled-@@@@@/tags/list HTTP/1.1\r\nHost: x",
        "a\u{1}",
        "a\u{8}b",
        "a\u{1b}b",
        "a\u{7f}",
        " a",
        "a ",
        "\ta",
        "a\t",
    ];
    let mut all: Vec<Payload> = names.iter().map(|name| with(&[(name, "a")], &["hello"], true)).collect();
    all.extend(values.iter().map(|value| with(&[("x-a", value)], &["hello"], true)));
    all.extend(
        ["a b\tc", "\u{e9}\u{ff}", "", "GET / HTTP/1.1"].map(|value| with(&[("x-a", value)], &["hello"], false)),
    );
    all
}

fn pseudo_fields() -> Vec<Payload> {
    let mut all: Vec<Payload> = [":method", ":scheme", ":path", ":authority"]
        .iter()
        .map(|name| instead(name, &[], true))
        .chain([
            instead(":authority", &["registry", "registry"], true),
            instead(":authority", &["registry", "other"], true),
            instead(":path", &["~", "~"], true),
            instead(":path", &["~", "/v2/smuggled-@@@@@/tags/list"], true),
            instead(":method", &["POST", "POST"], true),
            instead(":method", &["POST", "GET"], true),
            instead(":scheme", &["http", "http"], true),
            instead(":scheme", &["http", "https"], true),
        ])
        .collect();
    for path in [
        "",
        "~ ",
        "~ x",
        " ~",
        "~\t",
        "~\0",
        "~\r\nx: y",
        "~\n",
        "~\u{7f}",
        "~\u{e9}",
        "~\\",
        "~\"",
        "~<a>",
        "v2/",
        "*",
        "http://registry~",
        "~ HTTP/1.1\r\nHost: registry\r\n\r\nGET /v2/smuggled-@@@@@/tags/list",
    ] {
        all.push(instead(":path", &[path], true));
    }
    for method in
        ["", "PO ST", "POST ", "POST\r\n", "POST / HTTP/1.1\r\nX: y\r\n\r\nGET", "P\0ST", "P(ST", "CONNECT", "POST:"]
    {
        all.push(instead(":method", &[method], true));
    }
    for scheme in ["ftp", "", "ws", "javascript", "http ", "http://registry/?", "http\r\nx: y", "ht tp", "http:"] {
        all.push(instead(":scheme", &[scheme], true));
    }
    for last in
        [(":path", "/v2/"), (":method", "GET"), (":authority", "registry"), (":scheme", "http"), (":method", "CONNECT")]
    {
        all.push(with(&[("x-a", "b"), last], &["hello"], true));
    }
    let mut late = with(&[], &["hello"], true);
    late.fields.insert(2, ("x-a".into(), "b".into()));
    late.name = "a field before :authority".into();
    all.push(late);
    all
}

/// What names the host: `:authority`, `Host`, both.
fn authorities() -> Vec<Payload> {
    let mut all = Vec::new();
    for authority in [
        "",
        "user@registry",
        "registry/v2",
        "registry other",
        "registry\r\nx: y",
        "registry\0",
        "registry#a",
        "registry?a",
        "registry\\a",
        "registry:port",
        "registry, other",
        "[::1",
        "r\u{e9}gistry",
        "http://registry",
    ] {
        all.push(instead(":authority", &[authority], true));
    }
    for hosts in [
        &["other"][..],
        &["registry:80"],
        &["registry", "registry"],
        &["registry", "other"],
        &[""],
        &["registry, registry"],
    ] {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        all.push(with(&hosts, &["hello"], true));
    }
    all.push(with(&[("host", "registry")], &["hello"], false));
    let mut host = instead(":authority", &[], false);
    host.fields.push(("host".into(), "registry".into()));
    host.name = "host alone".into();
    all.push(host);
    all
}

fn contents() -> Vec<Payload> {
    let last = format!("0\r\n\r\n{MARKER}");
    let mut all = vec![
        with(&[], &[MARKER], false),
        with(&[], &[&last], false),
        with(&[], &["0\r\n\r\n"], false),
        with(&[], &["\r\n", "0\r\n\r\n", MARKER], false),
        with(&[("expect", "100-continue")], &[&last], false),
        with(&[("expect", "100-continue"), ("content-length", "5")], &["hello"], false),
        with(&[("expect", "100-continue"), ("expect", "100-continue")], &["hello"], true),
        with(&[("content-length", &last.len().to_string())], &[&last], false),
        with(&[("cookie", "a=b"), ("cookie", "c=d")], &["hello"], false),
    ];
    let trailers: [(&[(&'static str, &'static str)], bool); 7] = [
        (&[("x-checksum", "1")], false),
        (&[("content-length", "100")], false),
        (&[("host", "other")], false),
        (&[("transfer-encoding", "chunked")], true),
        (&[("connection", "close")], true),
        (&[("X-Upper", "1")], true),
        (&[("x-a", "b\r\n\r\nGET / HTTP/1.1")], true),
    ];
    all.extend(trailers.map(|(fields, refused)| with_trailers(fields, refused)));
    all
}

/// What is wrong with these is gone before a server that uses the `h2` library can see it: fragments are cut off, and pseudo
/// fields of trailers left out.
pub fn hidden() -> Vec<Payload> {
    let mut all: Vec<Payload> = ["~#a", "~#", "~#/../x", "#"].map(|path| instead(":path", &[path], true)).into();
    all.extend([(":path", "/v2/"), (":status", "200"), (":method", "GET")].map(|field| with_trailers(&[field], true)));
    all
}
