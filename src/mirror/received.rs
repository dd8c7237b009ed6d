//! What came as a manifest: read within bounds, and judged before anybody gets it. Nothing that is not what its digest says, and
//! nothing that is no manifest, is ever kept or handed on.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::{Instant, timeout_at};

use super::KeptManifest;
use crate::oci::manifest::{MAX_MANIFEST, is_plain_object};
use crate::oci::{Algorithm, Digest, Manifest, media_type};
use crate::remote::{Answer, RemoteError};

/// What a registry says the digest is.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";
/// Longest media type that is taken over (RFC 6838 has 127 and 127 characters around '/').
const MAX_MEDIA_TYPE: usize = 255;
/// Hashing and parsing less than this on an async thread is cheaper than changing threads.
const SMALL: usize = 64 << 10;

/// The digest that the remote tells beside its answer, if it is one that can be computed.
pub(super) fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.trim().parse().ok()
}

/// Reads the body of an answer to its end.
pub(super) async fn read(mut answer: Answer, until: Instant) -> Result<Bytes, RemoteError> {
    let mut bytes = BytesMut::new();
    loop {
        let late = |_| RemoteError::Down("a manifest did not come in time".to_owned());
        let Some(piece) = timeout_at(until, answer.body.next()).await.map_err(late)? else { return Ok(bytes.freeze()) };
        let piece = piece?;
        if bytes.len().saturating_add(piece.len()) > MAX_MANIFEST {
            return Err(useless(format!("its manifest has more than {MAX_MANIFEST} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
}

/// Whether some bytes are the manifest that was asked for; `expected` is what they have to be, else what the answer says they are.
///
/// Signed manifests of schema 1 are refused: their digest is not that of their bytes, so nobody could prove them, and clients of this
/// decade do not take them.
pub(super) async fn judge(
    bytes: Bytes,
    headers: HeaderMap,
    expected: Option<Digest>,
) -> Result<(Digest, KeptManifest), RemoteError> {
    if bytes.len() <= SMALL {
        return judge_now(bytes, &headers, expected);
    }
    let judged = tokio::task::spawn_blocking(move || judge_now(bytes, &headers, expected)).await;
    judged.map_err(|error| useless(error.to_string()))?
}

fn judge_now(
    bytes: Bytes,
    headers: &HeaderMap,
    expected: Option<Digest>,
) -> Result<(Digest, KeptManifest), RemoteError> {
    let expected = expected.or_else(|| told_digest(headers));
    let found = Digest::of(expected.map_or(Algorithm::Sha256, |expected| expected.algorithm()), &bytes);
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(useless(format!("its manifest is {found}, not {expected}")));
    }
    if !is_plain_object(&bytes) {
        return Err(useless("its manifest is no JSON object that can be read in one way only".to_owned()));
    }
    // What an unknown type's fields mean is not known.
    let manifest = Manifest::parse(&bytes).unwrap_or_default();
    if manifest.schema1 || manifest.schema_version == Some(1) {
        return Err(useless("its manifest is of schema 1".to_owned()));
    }
    let media_type = match (&manifest.media_type, sent_media_type(headers)) {
        // What the bytes say themselves nobody can change on the way.
        (Some(own), _) if is_for_manifests(own) => own.clone(),
        (Some(_), _) => return Err(useless("its manifest's mediaType is none of a manifest".to_owned())),
        // Equal bytes may be kept of other remotes: none of them can make an index of another's image.
        (None, Some(sent)) if contradicts(&sent, &manifest) => {
            return Err(useless(format!("it calls a manifest {sent} that is none")));
        }
        (None, Some(sent)) => sent,
        (None, None) => manifest.implied_media_type().to_owned(),
    };
    Ok((found, KeptManifest { bytes, media_type }))
}

fn contradicts(sent: &str, manifest: &Manifest) -> bool {
    media_type::is_manifest(sent) && media_type::is_index(sent) != media_type::is_index(manifest.implied_media_type())
}

/// What the remote calls it, unless that is what servers say who know no better.
pub(super) fn sent_media_type(headers: &HeaderMap) -> Option<String> {
    let sent = media_type::essence(headers.get(CONTENT_TYPE)?.to_str().ok()?);
    let vague = [media_type::JSON, media_type::OCTET_STREAM].iter().any(|vague| sent.eq_ignore_ascii_case(vague));
    (is_for_manifests(sent) && !vague).then(|| sent.to_owned())
}

/// Nothing that a browser would show.
fn is_for_manifests(media_type: &str) -> bool {
    let Some((kind, name)) = media_type.split_once('/') else { return false };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    media_type.len() <= MAX_MEDIA_TYPE
        && kind.eq_ignore_ascii_case("application")
        && !name.is_empty()
        && name.bytes().all(allowed)
}

fn useless(why: String) -> RemoteError {
    RemoteError::Useless(why)
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::{HeaderValue, StatusCode};
    use serde_json::json;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn judged(text: &str, fields: &[(&'static str, &str)]) -> Result<(Digest, String), String> {
        let judged = judge_now(Bytes::copy_from_slice(text.as_bytes()), &headers(fields), None);
        judged.map(|(digest, kept)| (digest, kept.media_type)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_is_what_it_says_or_what_it_was_sent_as() {
        let own = json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST, "config": null}).to_string();
        let none = json!({"schemaVersion": 2, "layers": []}).to_string();
        let of = |text: &str, sent: &str| judged(text, &[("content-type", sent)]).unwrap().1;
        assert_eq!(of(&own, "text/plain"), media_type::DOCKER_MANIFEST);
        assert_eq!(of(&own, media_type::OCI_MANIFEST), media_type::DOCKER_MANIFEST);
        let list = json!({"schemaVersion": 2, "manifests": []}).to_string();
        let docker_list = "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8";
        assert_eq!(of(&list, docker_list), media_type::DOCKER_MANIFEST_LIST);
        // An index is never made of an image by calling it one, nor an image of an index.
        for (text, sent) in [(&none, docker_list), (&none, media_type::OCI_INDEX), (&list, media_type::OCI_MANIFEST)] {
            assert!(judged(text, &[("content-type", sent)]).is_err(), "{sent}");
        }
        assert_eq!(of(&list, "application/vnd.example.list+json"), "application/vnd.example.list+json");
        assert_eq!(of(&none, "application/json"), media_type::OCI_MANIFEST);
        assert_eq!(of(&none, "text/html"), media_type::OCI_MANIFEST);
        assert_eq!(judged(&none, &[]).unwrap().1, media_type::OCI_MANIFEST);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let page = "<!doctype html><title>Please log in</title>";
        let signed = json!({"schemaVersion": 1, "fsLayers": [], "signatures": []}).to_string();
        let twice = r#"{"schemaVersion":2,"config":{},"config":{}}"#;
        let shown = json!({"schemaVersion": 2, "mediaType": "text/html"}).to_string();
        for bad in ["", "[]", "null", "\"x\"", page, &signed, twice, &shown, "{\"a\":1"] {
            assert!(judged(bad, &[("content-type", media_type::OCI_MANIFEST)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_that_lies_is_found_out_and_one_that_is_missing_is_computed() {
        let text = json!({"schemaVersion": 2}).to_string();
        let (right, other) = (Digest::of(Algorithm::Sha256, text.as_bytes()), Digest::of(Algorithm::Sha256, b"other"));
        assert_eq!(judged(&text, &[]).unwrap().0, right);
        assert_eq!(judged(&text, &[(CONTENT_DIGEST, &right.text())]).unwrap().0, right);
        assert!(judged(&text, &[(CONTENT_DIGEST, &other.text())]).is_err());
        // One that nobody here can compute says nothing.
        assert_eq!(judged(&text, &[(CONTENT_DIGEST, "blake3:00")]).unwrap().0, right);
        let long = Digest::of(Algorithm::Sha512, text.as_bytes());
        assert_eq!(judged(&text, &[(CONTENT_DIGEST, &long.text())]).unwrap().0, long);
        // What was asked for counts, whatever the answer says.
        let asked = judge_now(text.into(), &headers(&[(CONTENT_DIGEST, &right.text())]), Some(other));
        assert!(matches!(asked, Err(RemoteError::Useless(_))));
    }

    #[tokio::test]
    async fn a_body_without_end_is_given_up() {
        let endless = stream::repeat_with(|| Ok(Bytes::from(vec![b' '; 64 << 10]))).boxed();
        let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: endless };
        let until = Instant::now() + std::time::Duration::from_secs(60);
        assert!(matches!(read(answer, until).await, Err(RemoteError::Useless(_))));
        let stalled = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: stream::pending().boxed() };
        assert!(matches!(read(stalled, Instant::now()).await, Err(RemoteError::Down(_))));
    }
}
