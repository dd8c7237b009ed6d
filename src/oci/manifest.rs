//! What a registry must know of a manifest or index: what it names, what it is about, and that no two readers can take it
//! for different things (image-spec "Image Manifest", "Image Index"; CVE-2021-41190). Its bytes are never rewritten.

pub mod named;
pub mod strict;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::descriptor::{Annotations, Descriptor};
use super::media_type;

/// Largest manifest that we take and serve, in bytes (distribution-spec: at least 4 MiB; distribution: no more).
pub const MAX_MANIFEST: usize = 4 << 20;

/// Blobs that one manifest may name (config, layers, blobs), each of which costs questions to storage: 32 times what docker
/// builds (127 layers), and room for artifacts that have a layer for each file of a folder.
pub const MAX_BLOBS: usize = 4096;

/// Manifests that one index may list. They may be missing, so they cost memory only; lists of referrers that clients keep
/// under a fallback tag have thousands.
pub const MAX_LISTED: usize = 10_000;

/// The parts of a manifest that mean something to a registry. `null` is as good as absent, but for `is_list`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub schema_version: Option<i64>,
    pub media_type: Option<String>,
    pub artifact_type: Option<String>,
    pub config: Option<Descriptor>,
    pub layers: Option<Vec<Descriptor>>,
    /// Of OCI's short-lived artifact manifest.
    pub blobs: Option<Vec<Descriptor>>,
    pub manifests: Option<Vec<Descriptor>>,
    /// Has the key `manifests`, be it `null`, as Go's clients write an empty list.
    pub is_list: bool,
    pub subject: Option<Descriptor>,
    pub annotations: Option<Annotations>,
    /// Has what only schema 1 has.
    pub schema1: bool,
    /// Schema 1 with its signatures.
    pub signed: bool,
}

/// Why some bytes are no manifest: for the one who pushed them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is no JSON that can be read in one way only: {0}")]
    Json(String),
    #[error("schema 1 is not supported: push the image with a client of this decade")]
    Schema1,
    #[error("the manifest has 'manifests' beside 'config' or 'layers': it would be an index and an image at once")]
    Ambiguous,
    #[error("the manifest says that it is {inside}, but was sent as {outside}")]
    MediaType { inside: String, outside: String },
    #[error("the manifest is sent as {0}, but has what only the other kind has")]
    Kind(String),
    #[error("schemaVersion must be 2")]
    SchemaVersion,
    #[error("a manifest of this type has a '{0}'")]
    Missing(&'static str),
    #[error("'{0}' is no digest")]
    Digest(String),
    #[error("the manifest names more than {most} {what}")]
    TooMany { what: &'static str, most: usize },
    #[error("the size of {0} is larger than any content: at most 2^63 - 1 bytes")]
    Size(String),
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.to_string()))
    }

    /// The media type where none was told beside the bytes: their own, or what their shape tells.
    pub fn implied_media_type(&self) -> &str {
        match &self.media_type {
            Some(media_type) => media_type,
            None if self.schema1 && self.signed => media_type::DOCKER_SCHEMA1_SIGNED,
            None if self.schema1 => media_type::DOCKER_SCHEMA1,
            None if self.manifests.is_some() => media_type::OCI_INDEX,
            None => media_type::OCI_MANIFEST,
        }
    }

    /// Whether these bytes can be pushed as `media_type`, which is what the client said or `implied_media_type`.
    pub fn check(&self, media_type: &str) -> Result<(), ManifestError> {
        if self.schema1 || self.schema_version == Some(1) {
            return Err(ManifestError::Schema1);
        }
        let is_image = self.config.is_some() || self.layers.is_some();
        if self.manifests.is_some() && is_image {
            return Err(ManifestError::Ambiguous);
        }
        if let Some(inside) = self.media_type.as_ref().filter(|inside| !inside.eq_ignore_ascii_case(media_type)) {
            return Err(ManifestError::MediaType { inside: inside.clone(), outside: media_type.into() });
        }
        if !media_type::is_manifest(media_type) {
            return Ok(());
        }
        let other_kind = if media_type::is_index(media_type) { is_image } else { self.manifests.is_some() };
        if other_kind {
            return Err(ManifestError::Kind(media_type.into()));
        }
        self.check_required(media_type::is_index(media_type))?;
        self.check_count()?;
        // Go's programs, and image-spec's own schema, have int64.
        if let Some(named) = self.descriptors().find(|named| i64::try_from(named.size).is_err()) {
            return Err(ManifestError::Size(named.digest.clone()));
        }
        match self.descriptors().find(|named| !named.digest_is_well_formed()) {
            Some(named) => Err(ManifestError::Digest(named.digest.clone())),
            None => Ok(()),
        }
    }

    /// What image-spec has as REQUIRED. Of `layers` only what stands there: clients have always left out empty ones.
    fn check_required(&self, is_index: bool) -> Result<(), ManifestError> {
        if self.schema_version != Some(2) {
            return Err(ManifestError::SchemaVersion);
        }
        match is_index {
            true if !self.is_list => Err(ManifestError::Missing("manifests")),
            false if self.config.is_none() => Err(ManifestError::Missing("config")),
            _ => Ok(()),
        }
    }

    /// What an image cannot be pulled without: its config and its layers.
    pub fn needed(&self) -> impl Iterator<Item = &Descriptor> {
        let lists = [&self.layers, &self.blobs].into_iter().flatten().flatten();
        self.config.iter().chain(lists).filter(|named| !named.is_foreign())
    }

    fn check_count(&self) -> Result<(), ManifestError> {
        let of = |list: &Option<Vec<Descriptor>>| list.as_ref().map_or(0, Vec::len);
        let blobs = of(&self.layers) + of(&self.blobs) + usize::from(self.config.is_some());
        for (what, count, most) in [("blobs", blobs, MAX_BLOBS), ("manifests", of(&self.manifests), MAX_LISTED)] {
            if count > most {
                return Err(ManifestError::TooMany { what, most });
            }
        }
        Ok(())
    }

    /// The type of a referrer (distribution-spec, "Listing Referrers"): an image falls back to its config's.
    pub fn referrer_type(&self) -> Option<&str> {
        let own = self.artifact_type.as_deref().filter(|own| !own.is_empty());
        own.or_else(|| self.config.as_ref().map(|config| config.media_type.as_str())).filter(|found| !found.is_empty())
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        let lists = [&self.layers, &self.blobs, &self.manifests].into_iter().flatten().flatten();
        self.config.iter().chain(&self.subject).chain(lists)
    }
}

/// Whether some bytes are one JSON object without a key that stands twice: all that is asked of an unknown media type.
pub fn is_plain_object(bytes: &[u8]) -> bool {
    serde_json::from_slice::<PlainObject>(bytes).is_ok()
}

struct PlainObject;

impl<'de> Deserialize<'de> for PlainObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = PlainObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PlainObject, A::Error> {
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key) {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(PlainObject)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Go's clients read keys in any case: another spelling of one that we look at would hide something from us.
const KEYS: [&str; 11] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "signatures",
];

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Manifest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Manifest, A::Error> {
        let mut manifest = Manifest::default();
        let mut seen = HashSet::new();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match &*key {
                "schemaVersion" => manifest.schema_version = map.next_value()?,
                "mediaType" => manifest.media_type = map.next_value()?,
                "artifactType" => manifest.artifact_type = map.next_value()?,
                "config" => manifest.config = map.next_value()?,
                "layers" => manifest.layers = map.next_value()?,
                "blobs" => manifest.blobs = map.next_value()?,
                "manifests" => (manifest.manifests, manifest.is_list) = (map.next_value()?, true),
                "subject" => manifest.subject = map.next_value()?,
                "annotations" => manifest.annotations = map.next_value()?,
                "fsLayers" => manifest.schema1 |= present(&mut map)?,
                "signatures" => manifest.signed |= present(&mut map)?,
                other if KEYS.iter().any(|known| known.eq_ignore_ascii_case(other)) => {
                    return Err(A::Error::custom(format!("'{other}' is another spelling of a known key")));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if !seen.insert(key) {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(manifest)
    }
}

fn present<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    Ok(map.next_value::<Option<IgnoredAny>>()?.is_some())
}

/// Borrowed where JSON allows it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// An index as we write it: for lists of referrers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index<'a, D: Serialize> {
    pub schema_version: u8,
    pub media_type: &'static str,
    pub manifests: &'a [D],
}

impl<'a, D: Serialize> Index<'a, D> {
    pub fn new(manifests: &'a [D]) -> Self {
        Index { schema_version: 2, media_type: media_type::OCI_INDEX, manifests }
    }
}

#[cfg(test)]
mod tests;
