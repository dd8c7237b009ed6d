//! Fields that frame a body (RFC 9112 §6): two of them, or one that some read and others do not.

use super::payload::{MARKER, Must, POST, Payload, refused, serve};

/// The marker behind a body that is empty to who reads chunks.
fn behind_nothing() -> String {
    format!("0\r\n\r\n{MARKER}")
}

/// §6.1, §6.3: both lengths in one message. Whoever believes one finds the marker where the other sees a body.
pub fn both() -> Vec<Payload> {
    let body = behind_nothing();
    let whole = body.len().to_string();
    let mut all = Vec::new();
    for length in [whole.as_str(), "0", "4", "5", "6", "99999"] {
        for coding in ["chunked", "Chunked", "identity", "gzip, chunked", "xchunked", ""] {
            for length_first in [true, false] {
                let (length, coding) =
                    (format!("Content-Length: {length}\r\n"), format!("Transfer-Encoding: {coding}\r\n"));
                let fields = if length_first { length + &coding } else { coding + &length };
                all.push(Payload::new("CL and TE", format!("{POST}{fields}\r\n{body}"), Must::Refuse));
            }
        }
    }
    let tail = format!("Content-Length: {whole}\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    all.push(Payload::new("CL and TE in 1.0", format!("{}{tail}", POST.replace("1.1", "1.0")), Must::Refuse));
    let apart =
        format!("{POST}Content-Length: {whole}\r\nX-A: b\r\nX-C: d\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    all.push(Payload::new("CL and TE apart", apart, Must::Refuse));
    all
}

/// Codings that are not chunked, or not to everybody; two fields of them; one that hides in another field.
const CODINGS: [&str; 60] = [
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: deflate, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked;",
    "Transfer-Encoding: chunked chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: [chunked]",
    "Transfer-Encoding: {chunked}",
    "Transfer-Encoding: chunked/1",
    "Transfer-Encoding: chun ked",
    "Transfer-Encoding: ",
    "Transfer-Encoding:",
    "Transfer-Encoding: 0",
    "Transfer-Encoding: trailers",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: \u{c}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \u{8}chunked",
    "Transfer-Encoding: \u{1b}chunked",
    "Transfer-Encoding: \u{7f}chunked",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: chunked\u{85}",
    "Transfer-Encoding: chun\u{c5}\u{bf}ked",
    "Transfer-Encoding: chunked\r",
    "Transfer-Encoding: \rchunked",
    "Transfer-Encoding: \nchunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\r\n\tchunked",
    "Transfer-Encoding: chunked\r\n ,gzip",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\r: chunked",
    "Transfer-Encoding\n: chunked",
    "Transfer-Encoding\0: chunked",
    "Transfer-Encoding\u{b}: chunked",
    "Transfer-Encoding\u{a0}: chunked",
    "Transfer-\r\nEncoding: chunked",
    "Transfer-\r\n Encoding: chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "\u{b}Transfer-Encoding: chunked",
    "\0Transfer-Encoding: chunked",
    "Transfer-Encoding chunked",
    "Transfer-Encoding= chunked",
    "X-A: b\nTransfer-Encoding: chunked",
    "X-A: b\rTransfer-Encoding: chunked",
    "Transfer Encoding: chunked",
];

const TWO_CODINGS: [&str; 8] = [
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding : chunked",
    "Transfer-Encoding: chunked\r\n Transfer-Encoding: identity",
];

pub fn codings() -> Vec<Payload> {
    let body = behind_nothing();
    let all = || CODINGS.into_iter().chain(TWO_CODINGS);
    let mut found = refused("TE", all(), |fields| format!("{POST}{fields}\r\n\r\n{body}"));
    // With a length for whoever does not see the coding.
    let length = format!("Content-Length: {}\r\n", body.len());
    found.extend(refused("TE beside CL", all(), |fields| format!("{POST}{length}{fields}\r\n\r\n{body}")));
    found.extend(refused("TE before CL", CODINGS, |fields| format!("{POST}{fields}\r\n{length}\r\n{body}")));
    for fields in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked\t",
        "Transfer-Encoding:   CHUNKED   ",
        "tRANSFER-eNCODING: cHUNKED",
    ] {
        let one = format!("{POST}{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        found.push(Payload::new("TE", one, serve("hello")));
        let text = format!("{POST}{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{MARKER}");
        found.push(Payload::new("TE and another request", text, Must::Two(b"hello".into())));
    }
    // Another field altogether: the length counts.
    for name in ["Transfer_Encoding", "Transfer.Encoding", "TransferEncoding", "X-Transfer-Encoding"] {
        let text = format!("{POST}{name}: chunked\r\n{length}\r\n{body}");
        found.push(Payload::new("not TE", text, serve(&body)));
    }
    found
}

/// §6.2, RFC 9110 §8.6: values that are no length, or not the same to everybody. The body is `hello` to whoever reads 5.
const LENGTHS: [&str; 45] = [
    "+5",
    "-5",
    "--5",
    "-0",
    "+0",
    "0x5",
    "0X5",
    "5x",
    "0b101",
    "0o5",
    "5.0",
    "5.",
    ".5",
    "5e0",
    "5_0",
    "5 5",
    "0 5",
    "5 0",
    "5,",
    ",5",
    "5, 5",
    "5,5",
    "5, 6",
    "6, 5",
    "5;5",
    "5;a=b",
    "\"5\"",
    "'5'",
    "(5)",
    "5#",
    "%35",
    "5%20",
    "5/5",
    "",
    "five",
    "5\u{b}",
    "5\u{c}",
    "5\0",
    "\u{a0}5",
    "\u{d9}\u{a5}",
    "\u{b2}",
    "5\r",
    "18446744073709551621",
    "9223372036854775808",
    "99999999999999999999999999999999999999999999999999",
];

/// Two lengths, or one that hides.
const LENGTH_FIELDS: [&str; 26] = [
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 05",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 6\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length:",
    "Content-Length: 5\r\ncontent-length: +5",
    "Content-Length: 5\r\nX-A: b\r\nContent-Length: 5",
    "Content-Length : 5",
    "Content-Length\t: 5",
    "Content-Length\0: 5",
    "Content-Length\u{b}: 5",
    "Content-Length\r: 5",
    "Content-Length\n: 5",
    "\u{b}Content-Length: 5",
    " Content-Length: 5",
    "\tContent-Length: 5",
    "Content-Length 5",
    "Content Length: 5",
    "Content-Length:\r\n 5",
    "Content-Length: 5\r\n 0",
    "Content-Length: 5\r\n\t, 6",
    "Content-Length: 5\nContent-Length: 6",
    "Content-Length: 5\rContent-Length: 6",
    "X-A: b\nContent-Length: 5",
];

pub fn lengths() -> Vec<Payload> {
    let mut all = refused("CL", LENGTHS, |value| format!("{POST}Content-Length: {value}\r\n\r\nhello{MARKER}"));
    all.extend(refused("CL fields", LENGTH_FIELDS, |fields| format!("{POST}{fields}\r\n\r\nhello{MARKER}")));
    for value in ["5", "05", "0000000000000000000000005", "\t5\t", "   5   "] {
        let text = format!("{POST}Content-Length:{value}\r\n\r\nhello");
        all.push(Payload::new("CL", text, serve("hello")));
        let text = format!("{POST}Content-Length:{value}\r\n\r\nhello{MARKER}");
        all.push(Payload::new("CL and another request", text, Must::Two(b"hello".into())));
    }
    // Another field altogether: no body, and what follows was sent as a request.
    for name in ["Content_Length", "ContentLength", "X-Content-Length", "Content-Lengt"] {
        let text = format!("{POST}{name}: {}\r\n\r\n{MARKER}", MARKER.len());
        all.push(Payload::new("not CL", text, Must::Two(Vec::new())));
    }
    for (length, body) in [(5, "hell"), (100, "hello"), (1, "")] {
        let text = format!("{POST}Content-Length: {length}\r\n\r\n{body}");
        all.push(Payload::new("CL beyond the end", text, Must::Cut));
    }
    all.push(Payload::new(
        "CL too short",
        format!("{POST}Content-Length: 4\r\n\r\nhell\0{MARKER}"),
        Must::Then(b"hell".into()),
    ));
    all
}
