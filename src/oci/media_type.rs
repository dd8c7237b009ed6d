//! Media types of manifests, and what an `Accept` header asks for. Values only.

use std::fmt;

use super::digest::{Algorithm, Digest};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
pub const OCTET_STREAM: &str = "application/octet-stream";
pub const JSON: &str = "application/json";

/// An `Accept` that takes whatever a tag leads to.
pub const ANY_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.docker.distribution.manifest.v1+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*";

/// Media types of one `Accept` that are told apart; a longer list is taken as it is written.
const MAX_ACCEPTED: usize = 64;

/// Whether this is a manifest or an index whose bytes are what its digest says.
pub fn is_manifest(media_type: &str) -> bool {
    is_one_of(media_type, &[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST])
}

/// Whether this is an index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    is_one_of(media_type, &[OCI_INDEX, DOCKER_MANIFEST_LIST])
}

/// Whether this is a schema 1 manifest: signed text, whose digest header is not the hash of the body. Registries label
/// an unsigned one plain `application/json`, so that counts as well.
pub fn is_schema1(media_type: &str) -> bool {
    is_one_of(media_type, &[DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, JSON])
}

fn is_one_of(media_type: &str, known: &[&str]) -> bool {
    let essence = essence(media_type);
    known.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

/// The media type without parameters and white space.
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// What some `Accept` headers ask for, so that two clients asking alike share an answer. Equal for any order, case,
/// white space and repetition; parameters count, since a peer may look at them. Stable over restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AcceptClass([u8; 16]);

impl AcceptClass {
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The class of all `Accept` headers of a request; none at all is a class too.
pub fn accept_class(headers: &[&str]) -> AcceptClass {
    let listed = headers.iter().flat_map(|header| header.split(','));
    let mut types: Vec<String> = listed.take(MAX_ACCEPTED + 1).map(canonical).filter(|text| !text.is_empty()).collect();
    if types.len() > MAX_ACCEPTED {
        types = headers.iter().map(|header| (*header).to_owned()).collect();
    } else {
        types.sort_unstable();
        types.dedup();
    }
    let digest = Digest::of(Algorithm::Sha256, types.join(",").as_bytes());
    let mut class = [0; 16];
    class.iter_mut().zip(digest.hash()).for_each(|(to, from)| *to = *from);
    AcceptClass(class)
}

fn canonical(media_type: &str) -> String {
    media_type.chars().filter(|c| !c.is_ascii_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
}

impl fmt::Display for AcceptClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AcceptClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_known_with_parameters_and_in_any_case() {
        assert!(is_manifest("application/vnd.oci.image.INDEX.v1+json; charset=utf-8"));
        assert!(is_manifest(DOCKER_MANIFEST));
        assert!(!is_manifest(DOCKER_SCHEMA1_SIGNED) && !is_manifest(OCTET_STREAM) && !is_manifest(""));
        assert!(is_schema1(DOCKER_SCHEMA1_SIGNED) && is_schema1("application/json; charset=utf-8"));
        assert!(is_index(DOCKER_MANIFEST_LIST) && !is_index(OCI_MANIFEST));
    }

    #[test]
    fn askers_of_the_same_share_a_class() {
        let one = accept_class(&["application/a, application/B", "application/c"]);
        assert_eq!(one, accept_class(&["application/c,application/b ,  application/a,application/a"]));
        assert_ne!(one, accept_class(&["application/a"]));
        assert_ne!(accept_class(&["a/b;q=0"]), accept_class(&["a/b"]));
        assert_eq!(accept_class(&[]), accept_class(&[""]));
    }

    #[test]
    fn an_endless_accept_is_taken_as_written() {
        let long = "a/b,".repeat(10_000);
        assert_eq!(accept_class(&[&long]), accept_class(&[&long]));
        assert_ne!(accept_class(&[&long]), accept_class(&["a/b"]));
    }
}
