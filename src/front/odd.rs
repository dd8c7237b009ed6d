//! Answers of peers that cannot be what they claim to be. They count as a failure of the peer: the next one is asked, and
//! where none does better the client is told 502 with the reason, not that nobody answers.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::oci::media_type;

/// Whether the head of an answer can be one to any question of ours: none of them asks for another protocol, and the
/// statuses are those of RFC 9110 §15.
pub fn check(status: StatusCode) -> Result<(), &'static str> {
    if status.is_informational() {
        return Err("it answered with 1xx as if that were an answer");
    }
    if status.as_u16() > 599 {
        return Err("it answered with a status above 599");
    }
    Ok(())
}

/// Whether a body is coded (RFC 9110 §8.4): its bytes are not those of the content, so no digest is theirs. We ask for
/// `identity`; there are servers that compress all the same.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| !matches!(coding.trim(), "" | "identity"))
}

/// The body without its coding: gzip, at most `limit` bytes of it. `Err` says why there is none.
pub fn decoded(headers: &mut HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, &'static str> {
    if !is_coded(headers) || body.is_empty() {
        return Ok(body);
    }
    let coding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if !coding.eq_ignore_ascii_case("gzip") && !coding.eq_ignore_ascii_case("x-gzip") {
        return Err("its answer is compressed in a way that nobody asked for");
    }
    let mut plain = Vec::new();
    // One byte more than allowed tells that there is more, however much that would be.
    let read = GzDecoder::new(body.as_ref()).take(limit as u64 + 1).read_to_end(&mut plain);
    match read {
        Ok(length) if length <= limit => {
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
            Ok(plain.into())
        }
        Ok(_) => Err("its compressed answer is too long"),
        Err(_) => Err("its compressed answer is damaged"),
    }
}

/// A success that brings no content, to a GET or HEAD of content.
pub fn no_content(status: StatusCode) -> Result<(), &'static str> {
    match status {
        status if !status.is_success() || status == StatusCode::OK => Ok(()),
        _ => Err("it answered with a success that has no content"),
    }
}

/// Whether a head is that of a page for people (a portal, a log-in form): neither a blob nor a manifest, whatever its status.
pub fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type::essence);
    kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"))
}

/// Whether a body is a manifest of any kind: a JSON object with at least one of the members that all of them have
/// (image-spec "manifest" and "image-index", Docker's schema 1 and 2).
pub fn is_manifest(response: &Response<Bytes>) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: Option<IgnoredAny>,
        media_type: Option<IgnoredAny>,
        manifests: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Shape>(response.body()).is_ok_and(|shape| {
        [shape.schema_version, shape.media_type, shape.manifests, shape.layers, shape.config]
            .iter()
            .any(Option::is_some)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_status_outside_those_of_http_is_no_answer() {
        for status in [101, 199, 600, 999] {
            assert!(check(StatusCode::from_u16(status).unwrap()).is_err(), "{status}");
        }
        for status in [200, 204, 307, 404, 599] {
            assert!(check(StatusCode::from_u16(status).unwrap()).is_ok(), "{status}");
        }
    }

    fn gzip(plain: &[u8]) -> Bytes {
        let mut coded = Vec::new();
        flate2::read::GzEncoder::new(plain, flate2::Compression::default()).read_to_end(&mut coded).unwrap();
        coded.into()
    }

    #[test]
    fn a_coded_body_is_decoded_within_its_bound() {
        let mut headers = with(CONTENT_ENCODING, "GZIP");
        assert!(is_coded(&headers));
        assert_eq!(decoded(&mut headers, gzip(b"{}"), 2), Ok(Bytes::from_static(b"{}")));
        assert!(!is_coded(&headers));
        // A bomb is not unpacked beyond the bound.
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(decoded(&mut with(CONTENT_ENCODING, "gzip"), bomb, 1000).is_err());
        assert!(decoded(&mut with(CONTENT_ENCODING, "gzip"), Bytes::from_static(b"{}"), 1000).is_err());
        for coding in ["br", "gzip, gzip", "zstd", "identity, gzip"] {
            assert!(decoded(&mut with(CONTENT_ENCODING, coding), gzip(b"{}"), 1000).is_err(), "{coding}");
        }
        for coding in ["identity", ""] {
            assert_eq!(decoded(&mut with(CONTENT_ENCODING, coding), Bytes::from_static(b"x"), 0), Ok("x".into()));
        }
    }

    #[test]
    fn only_200_brings_content() {
        for status in [201, 202, 204, 206] {
            assert!(no_content(StatusCode::from_u16(status).unwrap()).is_err(), "{status}");
        }
        for status in [200, 307, 401, 404, 500] {
            assert!(no_content(StatusCode::from_u16(status).unwrap()).is_ok(), "{status}");
        }
    }

    #[test]
    fn a_page_is_told_from_content() {
        for kind in ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"] {
            assert!(is_page(&with(CONTENT_TYPE, kind)), "{kind}");
        }
        for kind in ["application/octet-stream", "application/vnd.oci.image.manifest.v1+json", "text/plain"] {
            assert!(!is_page(&with(CONTENT_TYPE, kind)), "{kind}");
        }
        assert!(!is_page(&HeaderMap::new()));
    }

    #[test]
    fn manifests_of_all_kinds_are_told_from_other_bodies() {
        let is = |body: &'static str| is_manifest(&Response::new(Bytes::from_static(body.as_bytes())));
        for body in [
            r#"{"schemaVersion":2,"config":{},"layers":[]}"#,
            r#"{"schemaVersion":1,"name":"a","signatures":[]}"#,
            r#"{"manifests":[]}"#,
            r#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
        ] {
            assert!(is(body), "{body}");
        }
        for body in ["", "<html></html>", "[]", "{}", "null", r#"{"errors":[]}"#, r#"{"status":"ok"}"#, "\u{1f}\u{8b}"]
        {
            assert!(!is(body), "{body}");
        }
    }
}
