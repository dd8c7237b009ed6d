//! Chunked bodies to the letter (RFC 9112 §7), and where one request ends and the next begins (§9).

use super::payload::{GET, MARKER, Must, POST, Payload, serve};

fn chunked(body: &str) -> String {
    format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}")
}

/// Lines that give no size, or not the same to everybody; five bytes follow.
const SIZES: [&str; 44] = [
    "",
    " ",
    "+5",
    "-5",
    "0x5",
    "0X5",
    "x5",
    "5h",
    "5g",
    "g",
    "5_0",
    "5,5",
    "5.0",
    "'5'",
    "\"5\"",
    " 5",
    "\t5",
    "\u{b}5",
    "\u{a0}5",
    "\u{0}5",
    "5\0",
    "5\u{b}",
    "5\u{c}",
    "5\u{a0}",
    "5 ",
    "5\t",
    "5 5",
    "5 0",
    "5 x",
    "5;",
    "5; ",
    "5;;",
    "5;=b",
    "5;a=",
    "5;a b",
    "5;a=b c",
    "5:a",
    "5&a",
    "5=a",
    "10000000000000005",
    "100000000000000005",
    "fffffffffffffffff",
    "ffffffffffffffff",
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000g",
];

/// Extensions that hide a line end, and sizes that end in half a line end.
const SIZE_LINES: [&str; 18] = [
    "5\n",
    "5\r",
    "5\r\r\n",
    "5\n\r",
    "5;a\n",
    "5;a=b\n",
    "5;a\r",
    "5;\n",
    "5;a\r\r\n",
    "5;a\rb\r\n",
    "5;a\nb\r\n",
    "5;\rX\n",
    "5;a=\"\n\"\r\n",
    "5;a=\"\r\"\r\n",
    "5;a=\"b\r\n",
    "5;a\0b\r\n",
    "5;a\u{1}\r\n",
    "5;a=\"\u{7f}\"\r\n",
];

/// What stands where the five bytes and their line end should.
const DATA: [&str; 12] = [
    "hello\n",
    "hello\r",
    "hello",
    "helloX\r\n",
    "hello\rX",
    "helloXX",
    "hello\r\r\n",
    "hello\n\r\n",
    "hello \r\n",
    "hell\r\n",
    "hell\0\n\r\n",
    "hello0\r\n",
];

/// Ends that are none.
const ENDS: [&str; 34] = [
    "0\n\n",
    "0\r\n\n",
    "0\n\r\n",
    "0\r\r",
    "0\r\r\n\r\n",
    "0\r\n\r\r\n",
    "0\r\n\rX",
    "0\r\nX",
    "0\r\n ",
    "0\r\n \r\n\r\n",
    "0\r\n\0\r\n",
    "-0\r\n\r\n",
    "+0\r\n\r\n",
    "0x0\r\n\r\n",
    "0 \r\n\r\n",
    "0;\n\r\n",
    "0;a\n\n",
    "0;a\r\n\n",
    "0\r\nX-A\r\n\r\n",
    "0\r\n: b\r\n\r\n",
    "0\r\nX-A : b\r\n\r\n",
    "0\r\n X-A: b\r\n\r\n",
    "0\r\nX-A: b\r\n folded\r\n\r\n",
    "0\r\nX-A: b\n\r\n",
    "0\r\nX-A: b\r\n\n",
    "0\r\nX-A: b\n\n",
    "0\r\nX-A: b\rX-C: d\r\n\r\n",
    "0\r\nX-A: b\0\r\n\r\n",
    "0\r\nX-\0A: b\r\n\r\n",
    "0\r\nX A: b\r\n\r\n",
    "0\r\nX-A: b\u{8}\r\n\r\n",
    "0\r\n\u{e9}: b\r\n\r\n",
    "0\r\nX-A: b\r\r\n\r\n",
    "0\r\nPOST / HTTP/1.1\r\n\r\n",
];

pub fn broken() -> Vec<Payload> {
    let mut all = Vec::new();
    let mut breaks = |family: &str, body: String| all.push(Payload::new(family, chunked(&body), Must::Break));
    for size in SIZES {
        breaks("size", format!("{size}\r\nhello\r\n0\r\n\r\n{MARKER}"));
    }
    for line in SIZE_LINES {
        breaks("size line", format!("{line}hello\r\n0\r\n\r\n{MARKER}"));
    }
    for data in DATA {
        breaks("data", format!("5\r\n{data}0\r\n\r\n{MARKER}"));
    }
    for end in ENDS {
        breaks("end", format!("5\r\nhello\r\n{end}{MARKER}"));
    }
    // The second chunk's line, read by some as two: the first hides what the second frames.
    breaks("size line", format!("2;\nxx\r\n{:x}\r\n0\r\n\r\n{MARKER}\r\n0\r\n\r\n", MARKER.len() + 5));
    breaks("end", format!("0\r\n{MARKER}"));
    breaks("end", format!("5\r\nhello\r\n{MARKER}"));
    all
}

/// The client goes before its body has ended.
pub fn cut() -> Vec<Payload> {
    let bodies = [
        "",
        "5",
        "5\r",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nX-A: b\r\n",
        "5\r\nhello\r\n0\r\n\r",
        "100000005\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello",
    ];
    bodies.into_iter().map(|body| Payload::new("cut", chunked(body), Must::Cut)).collect()
}

/// Bodies that have one reading, whatever they look like.
pub fn whole() -> Vec<Payload> {
    let bodies = [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n0\r\n\r\n",
        "000000000000005\r\nhello\r\n000\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0;b\r\n\r\n",
        "5;a=b;c=\"d e\";f\r\nhello\r\n0\r\n\r\n",
        "5 ; a = b\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\\\"0\\\"\"\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-A: b\r\nX-C:\r\n\r\n",
        // Fields of framing and routing mean nothing in a trailer (RFC 9110 §6.5.1).
        "5\r\nhello\r\n0\r\nContent-Length: 100\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\nHost: other\r\n\r\n",
        "5\r\nhello\r\n0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Request-Id: smuggled-@@@@@\r\nAuthorization: Basic eDp5\r\n\r\n",
    ];
    let mut all: Vec<Payload> =
        bodies.iter().map(|body| Payload::new("chunked", chunked(body), serve("hello"))).collect();
    for body in bodies {
        let text = chunked(body) + MARKER;
        all.push(Payload::new("chunked and another request", text, Must::Two(b"hello".into())));
    }
    // A whole request, and a last chunk, inside of what they must not end.
    let inner = format!("0\r\n\r\n{MARKER}");
    let text = chunked(&format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()));
    all.push(Payload::new("chunked", text, serve(&inner)));
    all.push(Payload::new(
        "chunked",
        chunked("A\r\n0123456789\r\n0a\r\n9876543210\r\n0\r\n\r\n"),
        serve("01234567899876543210"),
    ));
    all
}

/// Bodies of methods that seldom have one, and of requests that some believe to have none.
pub fn of_methods() -> Vec<Payload> {
    let mut all = Vec::new();
    for method in ["GET", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS"] {
        let head = POST.replacen("POST", method, 1);
        let length = format!("{head}Content-Length: {}\r\n\r\n{MARKER}", MARKER.len());
        all.push(Payload::new("body", length, serve(MARKER)));
        let chunks = format!("{:x}\r\n{MARKER}\r\n0\r\n\r\n", MARKER.len());
        all.push(Payload::new("body", format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"), serve(MARKER)));
        all.push(Payload::new("no body", format!("{head}\r\n{MARKER}"), Must::Two(Vec::new())));
        all.push(Payload::new("no body", format!("{head}Content-Length: 0\r\n\r\n{MARKER}"), Must::Two(Vec::new())));
        all.push(Payload::new(
            "no body",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{MARKER}"),
            Must::Two(Vec::new()),
        ));
        let both = format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{MARKER}");
        all.push(Payload::new("body", both, Must::Refuse));
    }
    for method in ["post", "Post", "XPOST", "GETPOST", "TRACE", "PRI", "M-SEARCH", "LOCK"] {
        let head = POST.replacen("POST", method, 1);
        let text = format!("{head}Content-Length: {}\r\n\r\n{MARKER}", MARKER.len());
        all.push(Payload::new("no such method", text, Must::Answer));
    }
    all
}

/// Who waits for 100, and who sends at once (RFC 9110 §10.1.1).
pub fn expecting() -> Vec<Payload> {
    let mut all = Vec::new();
    for expect in ["100-continue", "100-Continue", "\t100-continue\t", "100-continue\r\nX-A: b"] {
        let length = format!("{POST}Expect: {expect}\r\nContent-Length: {}\r\n\r\n{MARKER}", MARKER.len());
        all.push(Payload::new("expect", length, serve(MARKER)));
        let chunks =
            format!("{POST}Expect: {expect}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{MARKER}");
        all.push(Payload::new("expect", chunks, Must::Two(b"hello".into())));
        let nothing = format!("{POST}Expect: {expect}\r\nContent-Length: 0\r\n\r\n{MARKER}");
        all.push(Payload::new("expect", nothing, Must::Two(Vec::new())));
        let broken =
            format!("{POST}Expect: {expect}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n{MARKER}");
        all.push(Payload::new("expect", broken, Must::Break));
        let both = format!(
            "{POST}Expect: {expect}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{MARKER}"
        );
        all.push(Payload::new("expect", both, Must::Refuse));
    }
    for odd in
        ["x", "x 100-continue", "100-continue, 100-continue", "200-ok", "", "100-continue\r\nExpect: 100-continue"]
    {
        let length = format!("{POST}Expect: {odd}\r\nContent-Length: {}\r\n\r\n{MARKER}", MARKER.len());
        all.push(Payload::new("odd expectation", length, serve(MARKER)));
    }
    all
}

/// Requests behind another, and those that none may follow (RFC 9112 §9.3, §9.6).
pub fn pipelined() -> Vec<Payload> {
    let mut all = vec![
        Payload::new("pipelined", format!("{GET}\r\n{MARKER}"), Must::Two(Vec::new())),
        Payload::new("pipelined", format!("{POST}Content-Length: 0\r\n\r\n{MARKER}"), Must::Two(Vec::new())),
        Payload::new(
            "pipelined",
            format!("{POST}Content-Length: 5\r\n\r\nhello\r\n{MARKER}"),
            Must::Two(b"hello".into()),
        ),
        Payload::new("then garbage", format!("{GET}\r\n\0{MARKER}"), Must::Then(Vec::new())),
        Payload::new("then garbage", chunked("0\r\n\r\n\0") + MARKER, Must::Then(Vec::new())),
        Payload::new("then garbage", chunked("5\r\nhello\r\n0\r\n\r\n0\r\n\r\n") + MARKER, Must::Then(b"hello".into())),
        Payload::new("then a preface", format!("{GET}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Must::Then(Vec::new())),
    ];
    for option in
        ["close", "Close", "keep-alive, close", "close\r\nConnection: keep-alive", "keep-alive\r\nConnection: close"]
    {
        let head = format!("{GET}Connection: {option}\r\n");
        all.push(Payload::new("closing", format!("{head}\r\n{MARKER}"), Must::Last(Vec::new())));
        let head = format!("{POST}Connection: {option}\r\nContent-Length: 5\r\n");
        all.push(Payload::new("closing", format!("{head}\r\nhello{MARKER}"), Must::Last(b"hello".into())));
    }
    let post = POST.replace("1.1", "1.0");
    let body = format!("Content-Length: {}\r\n\r\n{MARKER}", MARKER.len());
    all.push(Payload::new("1.0", format!("{post}{body}"), Must::Last(MARKER.into())));
    all.push(Payload::new("1.0", format!("{post}\r\n{MARKER}"), Must::Last(Vec::new())));
    all.push(Payload::new("1.0", format!("{post}Expect: 100-continue\r\n{body}"), Must::Last(MARKER.into())));
    all.push(Payload::new(
        "1.0",
        format!("{}{body}", post.replace("Host: registry\r\n", "")),
        Must::Last(MARKER.into()),
    ));
    all.push(Payload::new("1.0", format!("{post}Connection: keep-alive\r\n{body}"), serve(MARKER)));
    all.push(Payload::new("1.0", format!("{post}Connection: keep-alive\r\n\r\n{MARKER}"), Must::Two(Vec::new())));
    for fields in ["", "Connection: keep-alive\r\n", "Connection: Transfer-Encoding\r\n", "Content-Length: 5\r\n"] {
        let text = format!("{post}{fields}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{MARKER}");
        all.push(Payload::new("1.0", text, Must::Refuse));
    }
    all
}
