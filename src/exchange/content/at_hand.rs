//! The head of a whole content out of memory, written down at once: the fields that [`super::serve`] makes of it.

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue};

use super::{BYTES, CONTENT_DIGEST, IMMUTABLE, OCTET_STREAM, REGISTRY_2};
use crate::cors::BY_ORIGIN;
use crate::exchange::CacheUse;
use crate::exchange::fields::REQUEST_ID;
use crate::exchange::respond::{API_VERSION, CACHE_STATUS};
use crate::listener::push_date;
use crate::oci::media_type;

/// Appends the head of a 200 over HTTP/1.1. `by_origin`: pages of other origins are told something else.
pub fn push_head(out: &mut Vec<u8>, (digest, media_type): (&str, &str), length: usize, id: &str, by_origin: bool) {
    let mut number = itoa::Buffer::new();
    let parts = [
        "HTTP/1.1 200 OK\r\nContent-Type: ",
        media_type,
        "\r\nDocker-Content-Digest: ",
        digest,
        "\r\nEtag: \"",
        digest,
        "\"\r\nAccept-Ranges: bytes\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
         Cache-Control: max-age=31536000, immutable\r\nCache-Status: entrepot; hit; detail=memory\r\nX-Request-Id: ",
        id,
        if by_origin { "\r\nVary: Origin" } else { "" },
        "\r\nConnection: keep-alive\r\nContent-Length: ",
        number.format(length),
        "\r\nDate: ",
    ];
    out.reserve(512);
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    push_date(out);
    out.extend_from_slice(b"\r\n\r\n");
}

/// The same fields for HTTP/2, whose connection adds `Date`.
pub fn fields((digest, kind): (&str, &str), length: usize, id: &str, by_origin: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    let etag = Bytes::from([b"\"", digest.as_bytes(), b"\""].concat());
    let kind = match kind {
        media_type::OCTET_STREAM => Ok(OCTET_STREAM),
        other => HeaderValue::from_str(other),
    };
    let ours = [
        (CONTENT_TYPE, kind),
        (CONTENT_DIGEST, HeaderValue::from_maybe_shared(etag.slice(1..etag.len() - 1))),
        (ETAG, HeaderValue::from_maybe_shared(etag.clone())),
        (REQUEST_ID, HeaderValue::from_str(id)),
        (ACCEPT_RANGES, Ok(BYTES)),
        (API_VERSION, Ok(REGISTRY_2)),
        (CACHE_CONTROL, Ok(IMMUTABLE)),
        (CONTENT_LENGTH, Ok(HeaderValue::from(length))),
    ];
    for (name, value) in ours {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
    if by_origin {
        headers.insert(VARY, BY_ORIGIN);
    }
    if let Some(status) = CacheUse::Memory.field(true) {
        headers.insert(CACHE_STATUS, status);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_say_the_same() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for by_origin in [false, true] {
            compare((&digest, media_type::OCI_MANIFEST), by_origin);
        }
    }

    fn compare(content: (&str, &str), by_origin: bool) {
        let mut head = Vec::new();
        push_head(&mut head, content, 7, "an-id", by_origin);
        let text = String::from_utf8(head).unwrap();
        let mut lines: Vec<String> = text
            .trim_end()
            .lines()
            .skip(1)
            .map(|line| line.split_once(": ").map(|(name, value)| format!("{}: {value}", name.to_lowercase())).unwrap())
            .filter(|line| !line.starts_with("date: ") && !line.starts_with("connection: "))
            .collect();
        let fields = fields(content, 7, "an-id", by_origin);
        let mut told: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        told.sort();
        assert_eq!(lines, told);
        assert_eq!(told.iter().any(|line| line == "vary: Origin"), by_origin);
    }
}
