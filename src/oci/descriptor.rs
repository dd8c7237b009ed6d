//! Descriptors: what names content from elsewhere (image-spec, "OCI Content Descriptors").

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// A descriptor as manifests and indexes hold it. Its digest is text, because an index may name what we cannot hash.
/// A key that stands twice, or in another spelling (Go's clients read keys in any case), is refused: two readers might
/// take another one (CVE-2021-41190).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Where else the content is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
}

const KEYS: [&str; 6] = ["mediaType", "digest", "size", "artifactType", "annotations", "urls"];

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Descriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Descriptor, A::Error> {
        let mut found = Descriptor::default();
        let mut seen = [false; KEYS.len()];
        while let Some(key) = map.next_key::<String>()? {
            let known = KEYS.iter().zip(&mut seen).find(|(known, _)| known.eq_ignore_ascii_case(&key));
            if let Some((known, seen)) = known {
                if *known != key || *seen {
                    return Err(A::Error::custom(format!("'{key}' stands twice or in another spelling than {known}")));
                }
                *seen = true;
            }
            match key.as_str() {
                "mediaType" => found.media_type = map.next_value()?,
                "digest" => found.digest = map.next_value()?,
                "size" => found.size = map.next_value()?,
                "artifactType" => found.artifact_type = map.next_value()?,
                "annotations" => found.annotations = map.next_value()?,
                "urls" => found.urls = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let [_, has_digest, ..] = seen;
        if has_digest { Ok(found) } else { Err(A::Error::missing_field("digest")) }
    }
}

impl Descriptor {
    /// Whether clients fetch the content elsewhere, so that a registry need not have it.
    pub fn is_foreign(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.contains(".nondistributable.")
            || self.media_type.contains(".foreign.")
    }

    /// Whether the digest has the shape of one: `algorithm:encoded`, of any algorithm.
    pub fn digest_is_well_formed(&self) -> bool {
        let word = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        let known = |algorithm| matches!(algorithm, "sha256" | "sha512");
        match self.digest.split_once(':') {
            Some((algorithm, _)) if known(algorithm) => self.digest.parse::<super::Digest>().is_ok(),
            Some((algorithm, encoded)) => word(algorithm, b"+._-") && word(encoded, b"=_-"),
            None => false,
        }
    }
}

/// Memory of a pair of annotations beside its text, in bytes.
const PAIR_OVERHEAD: usize = 80;

/// Annotations in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(pub Vec<(String, String)>);

impl Annotations {
    /// About how many bytes they take in memory: keys and values, and what each pair costs beside its text (two strings,
    /// two allocations). As JSON they are fewer, unless much has to be escaped.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len() + PAIR_OVERHEAD).sum()
    }
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations: an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut entries = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(serde::de::Error::custom("an annotation stands twice"));
                    }
                    entries.push((key, value));
                }
                Ok(Annotations(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_layers_are_known_by_type_and_by_addresses() {
        let of = |media_type: &str| Descriptor { media_type: media_type.into(), ..Descriptor::default() };
        assert!(of("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip").is_foreign());
        assert!(of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").is_foreign());
        assert!(!of("application/vnd.oci.image.layer.v1.tar+gzip").is_foreign());
        assert!(Descriptor { urls: Some(vec!["https://x".into()]), ..Descriptor::default() }.is_foreign());
        assert!(!Descriptor { urls: Some(vec![]), ..Descriptor::default() }.is_foreign());
    }

    #[test]
    fn digests_of_other_algorithms_are_well_formed() {
        let of = |digest: &str| Descriptor { digest: digest.into(), ..Descriptor::default() }.digest_is_well_formed();
        assert!(of("blake3:abc") && of("multihash+base58:QmRZx=") && of(&format!("sha256:{}", "a".repeat(64))));
        assert!(!of("") && !of("a") && !of(":") && !of("sha256:abc") && !of("a:") && !of("a:b\n") && !of("a b:c"));
    }

    #[test]
    fn what_stands_twice_or_in_another_spelling_is_refused() {
        for text in [
            r#"{"digest":"a:b","digest":"a:c"}"#,
            r#"{"digest":"a:b","Digest":"a:c"}"#,
            r#"{"digest":"a:b","annotations":{"k":"1","k":"2"}}"#,
            r#"{"digest":"a:b","annotations":{"k":1}}"#,
            r#"{"digest":"a:b","size":-1}"#,
            r#"{"size":1}"#,
        ] {
            assert!(serde_json::from_str::<Descriptor>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_descriptor_reads_back(
            media_type in ".*", digest in ".*", size: u64,
            annotations in proptest::collection::btree_map(".*", ".*", 0..4),
        ) {
            let annotations = Some(Annotations(annotations.into_iter().collect()));
            let descriptor = Descriptor { media_type, digest, size, annotations, ..Descriptor::default() };
            let text = serde_json::to_string(&descriptor).unwrap();
            prop_assert_eq!(serde_json::from_str::<Descriptor>(&text).unwrap(), descriptor);
        }
    }
}
