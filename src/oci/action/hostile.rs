//! Paths that a peer might read otherwise than we do, and so would reach what our rules never saw.

/// Whether a path below `/v2/` holds what no valid one has. (Names, tags and digests have grammars of their own; this
/// tells an attack from a typing error in a path of no known shape.)
pub fn below_v2(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.bytes().any(|b| never_in_a_path(b) || b == b'%') || path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// Whether a path outside `/v2/` could be read as one below it, or climbs. Encoded slashes as such are good: Harbor's
/// API names repositories so.
pub fn outside(raw_path: &str) -> bool {
    // `OPTIONS *` asks about the server itself.
    if raw_path == "*" {
        return false;
    }
    let decoded = decode(raw_path);
    let climbs = |part: &[u8]| matches!(part, b"." | b"..");
    let mut parts = decoded.split(|b| *b == b'/').filter(|part| !part.is_empty());
    !raw_path.starts_with('/')
        || raw_path.starts_with("//")
        || decoded.iter().any(|b| never_in_a_path(*b) && !(0x80..).contains(b) && *b != b' ')
        || parts.clone().any(climbs)
        || parts.next() == Some(b"v2")
}

/// Whether the path of an upload, chosen by a peer, could lead to something else than that upload: it climbs, names other
/// content of a registry once it is decoded, or holds what ends a path.
pub fn upload(path: &str) -> bool {
    let decoded = decode(path);
    let mut parts = decoded.split(|b| *b == b'/');
    let elsewhere = |part: &[u8]| matches!(part, b"." | b".." | b"manifests" | b"tags" | b"referrers" | b"_catalog");
    // What is decoded once and still holds a whole triple is decoded twice by somebody.
    let twice = || decode(&String::from_utf8_lossy(&decoded)) != decoded;
    path.bytes().any(never_in_a_path)
        || decoded.iter().any(|b| never_in_a_path(*b) && *b != b' ' && !(0x80..).contains(b))
        || parts.any(elsewhere)
        || path.contains("//")
        || twice() && decode(&String::from_utf8_lossy(&decoded)).split(|b| *b == b'/').any(elsewhere)
}

/// Whether a query holds bytes that split or end a request line.
pub fn query(query: &str) -> bool {
    query.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#')
}

/// White space, control characters, backslash, `?`, `#` and everything beyond ASCII.
fn never_in_a_path(b: u8) -> bool {
    b <= b' ' || b >= 0x7f || matches!(b, b'\\' | b'?' | b'#')
}

/// Decodes `%xx` once; a `%` that begins no such triple stays.
pub fn decode(text: &str) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        match (*first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            (byte, ..) => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_happens_once_and_never_fails() {
        assert_eq!(decode("a%2fb%252f%zz%4"), b"a/b%2f%zz%4");
        assert_eq!(decode("%"), b"%");
        assert_eq!(decode("%41%"), b"A%");
    }

    #[test]
    fn disguises_of_v2_are_hostile() {
        for path in [
            "//v2/a",
            "/%762/a",
            "/v%32/a",
            "/v2%2fa",
            "/./v2/a",
            "/x/../v2/a",
            "/x/%2e%2e/v2/a",
            "/x/.%2E/v2",
            "/x%2f..%2fv2",
            "/x\\..\\v2",
            "/x%5c..",
            "/x%00",
            "/x\ny",
            "/%2fv2/a",
            "v2/a",
            "",
            "http://h/v2/",
            "/x%23",
            "/x%3fy",
        ] {
            assert!(outside(path), "{path}");
        }
        for path in
            ["/", "/api/v2.0/projects/p/repositories/a%252Fb", "/service/token", "/a%2fb/c%20d", "/v20/x", "/a//b", "*"]
        {
            assert!(!outside(path), "{path}");
        }
    }
}
