//! Request lines and fields that some servers read otherwise than others (RFC 9112 §2, §3, §5; RFC 9110 §5, §7).

use super::payload::{GET, MARKER, Must, POST, Payload, refused, serve};

/// §2.2, §3: request lines that are none, with `Host` and the rest behind them.
const LINES: [&str; 58] = [
    "GET ~",
    "GET ~ ",
    "GET",
    "",
    " GET ~ HTTP/1.1",
    "\tGET ~ HTTP/1.1",
    "GET  ~ HTTP/1.1",
    "GET\t~ HTTP/1.1",
    "GET ~\tHTTP/1.1",
    "GET ~  HTTP/1.1",
    "GET ~ HTTP/1.1 ",
    "GET ~ HTTP/1.1\t",
    "GET ~ HTTP/1.1\u{b}",
    "GET ~ HTTP/1.1\r",
    "GET ~ HTTP/1.1x",
    "GET ~ HTTP/1.1 HTTP/1.0",
    "GET ~ x HTTP/1.1",
    "GET\u{b}~ HTTP/1.1",
    "GET\u{c}~\u{c}HTTP/1.1",
    "GET\r~ HTTP/1.1",
    "GET\0~ HTTP/1.1",
    "GET\u{a0}~ HTTP/1.1",
    "GET ~ http/1.1",
    "GET ~ HTTP/1.10",
    "GET ~ HTTP/01.1",
    "GET ~ HTTP/1.01",
    "GET ~ HTTP/1",
    "GET ~ HTTP/11",
    "GET ~ HTTP/1,1",
    "GET ~ HTTP /1.1",
    "GET ~ HTTP/ 1.1",
    "GET ~ HTTP/0.9",
    "GET ~ HTTP/1.2",
    "GET ~ HTTP/2.0",
    "GET ~ HTTP/9.9",
    "GET ~ HTTP/-1.1",
    "GET ~ HTTPS/1.1",
    "GET ~ ICAP/1.0",
    "PRI * HTTP/2.0",
    "G\0ET ~ HTTP/1.1",
    "G(ET ~ HTTP/1.1",
    "GET: ~ HTTP/1.1",
    "G\u{e9}T ~ HTTP/1.1",
    "GET ~#a HTTP/1.1",
    "GET ~\0 HTTP/1.1",
    "GET ~\u{7f} HTTP/1.1",
    "GET ~\u{e9} HTTP/1.1",
    "GET ~\\ HTTP/1.1",
    "GET ~\r HTTP/1.1",
    "GET ~\rX: y HTTP/1.1",
    "GET v2/ HTTP/1.1",
    "GET * HTTP/1.1",
    "GET registry:80 HTTP/1.1",
    "GET ftp://registry~ HTTP/1.1",
    "GET http:~ HTTP/1.1",
    "GET http:// HTTP/1.1",
    "CONNECT registry:80 HTTP/1.1",
    "CONNECT ~ HTTP/1.1",
];

pub fn lines() -> Vec<Payload> {
    let rest = "Host: registry\r\nX-Request-Id: own-@@@@@\r\n";
    let mut all = refused("line", LINES, |line| format!("{line}\r\n{rest}\r\n{MARKER}"));
    all.extend(refused(
        "line",
        ["GET ~\r\n\r\n", "GET ~\r\n", "GET ~\n", "\0", "\r\r\n", "\n", "\rGET ~ HTTP/1.1\r\n"],
        |start| format!("{start}{MARKER}"),
    ));
    // §2.2: one empty line before a request is forgiven.
    all.push(Payload::new("empty line before", format!("\r\n{GET}\r\n"), serve("")));
    all.push(Payload::new("empty line between", format!("{GET}\r\n\r\n{MARKER}"), Must::Two(Vec::new())));
    all.push(Payload::new("empty LF between", format!("{GET}\r\n\n{MARKER}"), Must::Then(Vec::new())));
    // What is encoded stays encoded.
    for path in ["%0d%0aX:%20y", "%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0a", "%00", "%0a", "?%0d%0a%0d%0aGET%20/"] {
        let text = format!("{}\r\n", GET.replace('~', &format!("/v2/p-@@@@@/none/{path}")));
        all.push(Payload::new("encoded", text, Must::Answer));
    }
    all
}

/// Line ends that are no CR LF (§2.2).
pub fn line_ends() -> Vec<Payload> {
    let mut all = Vec::new();
    let mut refuse = |text: String| all.push(Payload::new("line ends", text, Must::Refuse));
    refuse(format!("{GET}\r\n").replace("\r\n", "\n") + MARKER);
    refuse(format!("{GET}\r\n").replace("\r\n", "\r") + MARKER);
    refuse(format!("{GET}\r\n").replace("\r\n", "\n\r") + MARKER);
    refuse(format!("{GET}\r\n").replace("\r\n", "\r\r\n") + MARKER);
    refuse(format!("{GET}\n{MARKER}"));
    refuse(format!("{GET}\r{MARKER}"));
    refuse(format!("{GET}\r\r\n{MARKER}"));
    refuse(format!("{GET}X-A: b\n\r\n{MARKER}"));
    refuse(format!("{GET}X-A: b\n\n{MARKER}"));
    refuse(format!("{GET}X-A: b\r\r\n\r\n{MARKER}"));
    refuse(format!("{GET}X-A: b\r\n \r\n\r\n{MARKER}"));
    refuse(format!("{GET}\t\r\n\r\n{MARKER}"));
    refuse(format!("{GET}\u{b}\r\n\r\n{MARKER}"));
    refuse(format!("{GET}X-A: b\n\n{MARKER}\r\n"));
    refuse(format!("{GET}X-A: b\r\u{a0}\n\r\n{MARKER}"));
    refuse(format!("{GET}X-A: b\u{85}\u{2}X-C: d\r\n\r\n{MARKER}"));
    all
}

/// §5: fields that are none, each of which could hide or begin another.
const FIELDS: [&str; 44] = [
    "X-A",
    ":",
    ": b",
    ":X-A: b",
    " : b",
    "X-A : b",
    "X-A\t: b",
    "X A: b",
    "X\tA: b",
    "X-A\0: b",
    "X-\0A: b",
    "X-A\u{b}: b",
    "X-A\r: b",
    "X-A\n: b",
    "X-A\u{7f}: b",
    "X-\u{e9}: b",
    "\u{ff}: b",
    "X(A: b",
    "X/A: b",
    "X@A: b",
    "X[A]: b",
    "X{A}: b",
    "X\"A\": b",
    "X,A: b",
    "X;A: b",
    "X=A: b",
    "X?A: b",
    "X<A>: b",
    "X\\A: b",
    "X-A: b\0c",
    "X-A: \0",
    "X-A: b\rc",
    "X-A: b\r",
    "X-A: \rX-C: d",
    "X-A: b\nc",
    "X-A: b\nX-C: d",
    "X-A: b\u{1}",
    "X-A: b\u{8}c",
    "X-A: b\u{b}c",
    "X-A: b\u{1b}[0m",
    "X-A: b\u{7f}",
    "X-A: b\r\n folded",
    "X-A: b\r\n\tfolded",
    "X-A:\r\n folded",
];

/// §3.2, §7.2 of RFC 9110: one host, which everybody reads the same.
const HOSTS: [&str; 35] = [
    "X-No: host",
    "Host: registry\r\nHost: registry",
    "Host: registry\r\nHost: other",
    "Host: registry\r\nhost:",
    "Host:\r\nHost: registry",
    "Host: registry\r\nHost : other",
    "Host: registry\r\n Host: other",
    "Host: registry\r\n other",
    "Host:\r\n registry",
    "Host : registry",
    "Host\t: registry",
    "Host\0: registry",
    " Host: registry",
    "Host registry",
    "Host:",
    "Host: registry, other",
    "Host: registry other",
    "Host: registry\tother",
    "Host: registry/",
    "Host: registry/v2/",
    "Host: http://registry",
    "Host: user@registry",
    "Host: registry#other",
    "Host: registry?other",
    "Host: registry\\other",
    "Host: registry:port",
    "Host: registry:80:80",
    "Host: registry:999999",
    "Host: registry:+80",
    "Host: :80",
    "Host: [::1",
    "Host: []",
    "Host: regis\0try",
    "Host: r\u{e9}gistry",
    "Host: registry\nHost: other",
];

pub fn fields() -> Vec<Payload> {
    let mut all = refused("field", FIELDS, |field| format!("{GET}{field}\r\n\r\n{MARKER}"));
    all.extend(refused("first field", [" X-A: b", "\tX-A: b", "X-A : b", "\r", "\u{b}"], |field| {
        format!("GET ~ HTTP/1.1\r\n{field}\r\nHost: registry\r\n\r\n{MARKER}")
    }));
    all.extend(refused("host", HOSTS, |host| format!("GET ~ HTTP/1.1\r\n{host}\r\n\r\n{MARKER}")));
    all.extend(refused(
        "absolute target",
        [
            "http://other~",
            "http://registry:81~",
            "http://user@registry~",
            "http://registry.~",
            "http://~",
            "http://registry\\@other~",
            "http://registry#other~",
            "http:///registry~",
            "https://other~",
        ],
        |target| format!("{}\r\n{MARKER}", GET.replace('~', target)),
    ));
    all.push(Payload::new("no authority", format!("{}\r\n", GET.replace('~', "//registry~")), Must::Answer));
    for target in ["http://registry~", "HTTP://REGISTRY~", "https://registry~"] {
        all.push(Payload::new("absolute target", format!("{}\r\n", GET.replace('~', target)), serve("")));
    }
    all.push(Payload::new("empty port", GET.replace("Host: registry", "Host: registry:") + "\r\n", Must::Answer));
    for line in ["GET http://registry HTTP/1.1", "GET http://registry?a HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let text = format!("{line}\r\nHost: registry\r\nX-Request-Id: own-@@@@@\r\n\r\n");
        all.push(Payload::new("no path", text, Must::Answer));
    }
    for field in
        ["X-A:", "X-A: \u{e9}\u{ff}", "X-A: \t b \t", "X!#$%&'*+-.^_`|: b", "X-A: GET / HTTP/1.1", "X-A: b\u{85}c"]
    {
        all.push(Payload::new("field", format!("{GET}{field}\r\n\r\n"), serve("")));
    }
    all
}

/// RFC 9110 §7.6.1, §7.8: what a client may not have removed on the way, and protocols that nobody changes to.
pub fn of_the_connection() -> Vec<Payload> {
    let refuse = [
        "Connection: Content-Length",
        "Connection: close, content-length",
        "Connection: keep-alive\r\nConnection: Content-Length",
        "Connection: ,Content-Length,",
        "Connection:\tContent-Length\t",
        "Connection: Host",
        "Connection: Authorization",
        "Connection: close, Content-Length, Host",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA",
        "Upgrade: h2c",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA",
        "upgrade: HTTP/2.0",
        "Connection: upgrade\r\nUpgrade: TLS/1.0",
        "Upgrade:",
    ];
    let mut all =
        refused("connection", refuse, |fields| format!("{POST}{fields}\r\nContent-Length: 5\r\n\r\nhello{MARKER}"));
    for options in ["Transfer-Encoding", "close, transfer-encoding", "TE, Transfer-Encoding"] {
        let text = format!("{POST}Connection: {options}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{MARKER}");
        all.push(Payload::new("connection", text, Must::Refuse));
    }
    for fields in [
        "Connection: upgrade",
        "Connection: X-A\r\nX-A: b",
        "Connection: TE\r\nTE: trailers",
        "TE: chunked",
        "TE: gzip, trailers;q=0.5",
        "Trailer: Content-Length",
        "Trailer: Transfer-Encoding, Host",
        "Keep-Alive: timeout=5, max=100",
        "Proxy-Connection: close",
        "Proxy-Connection: Content-Length",
        "HTTP2-Settings: AAMAAABkAARAAAAA",
        "Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAA",
    ] {
        let text = format!("{POST}{fields}\r\nContent-Length: {}\r\n\r\n{MARKER}", MARKER.len());
        all.push(Payload::new("connection", text, serve(MARKER)));
    }
    all
}
