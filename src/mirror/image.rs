//! What a kept manifest means to a mirror: which manifests an index leads to and for which platforms, which blobs an image needs.

use serde::Deserialize;

use crate::oci::manifest::{MAX_BLOBS, MAX_LISTED};
use crate::oci::{Digest, Manifest, media_type};

use super::KeptManifest;

/// What does not depend on a platform, or does not say on which.
pub(super) const ANY: &str = "any";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Image {
    Index(Vec<Child>),
    /// The blobs without which it cannot be pulled, each once; without those that clients fetch elsewhere.
    Single(Vec<Named>),
}

/// A manifest that an index leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub digest: Digest,
    /// `os/arch[/variant]`, or [`ANY`].
    pub platform: String,
}

/// A blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub digest: Digest,
    /// In bytes, as the manifest says.
    pub size: u64,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
struct Listed {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Image {
    /// Of what cannot be read as a manifest nothing is known: it needs nothing.
    pub(super) fn of(manifest: &KeptManifest) -> Self {
        match media_type::is_index(&manifest.media_type) {
            true => Image::Index(children(&manifest.bytes)),
            false => Image::Single(needed(&manifest.bytes)),
        }
    }
}

fn children(bytes: &[u8]) -> Vec<Child> {
    let Ok(index) = serde_json::from_slice::<Index>(bytes) else { return Vec::new() };
    let listed = index.manifests.unwrap_or_default().into_iter().take(MAX_LISTED);
    listed.filter_map(child).collect()
}

/// Attestations stand beside images as platform `unknown/unknown`: nobody who runs the image takes them.
fn child(listed: Listed) -> Option<Child> {
    let digest = listed.digest.parse().ok()?;
    let platform = match listed.platform {
        Some(Platform { os, architecture, .. }) if os == "unknown" && architecture == "unknown" => return None,
        Some(Platform { os, architecture, variant }) if !os.is_empty() => {
            let variant = variant.filter(|variant| !variant.is_empty());
            // All 64-bit ARM is of variant 8, which some say and some do not.
            let variant = variant.filter(|variant| !(architecture == "arm64" && variant == "v8"));
            [Some(os), Some(architecture), variant].into_iter().flatten().collect::<Vec<_>>().join("/")
        }
        _ => ANY.to_owned(),
    };
    Some(Child { digest, platform })
}

fn needed(bytes: &[u8]) -> Vec<Named> {
    let manifest = Manifest::parse(bytes).unwrap_or_default();
    let mut named: Vec<Named> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for descriptor in manifest.needed().take(MAX_BLOBS) {
        if let Ok(digest) = descriptor.digest.parse()
            && seen.insert(digest)
        {
            named.push(Named { digest, size: descriptor.size });
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::Algorithm;

    fn kept(media_type: &str, json: &serde_json::Value) -> KeptManifest {
        KeptManifest { bytes: json.to_string().into(), media_type: media_type.to_owned() }
    }

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[test]
    fn an_index_tells_its_platforms_and_not_its_attestations() {
        let listed = |text: &str, platform: serde_json::Value| json!({"digest": digest(text), "platform": platform});
        let index = json!({"manifests": [
            listed("1", json!({"os": "linux", "architecture": "amd64"})),
            listed("2", json!({"os": "linux", "architecture": "arm", "variant": "v7", "features": ["x"]})),
            listed("3", json!({"os": "linux", "architecture": "arm64", "variant": "v8"})),
            listed("4", json!({"os": "unknown", "architecture": "unknown"})),
            {"digest": digest("5")},
            {"digest": "blake3:00"},
        ]});
        let Image::Index(children) = Image::of(&kept(media_type::OCI_INDEX, &index)) else { panic!("an index") };
        let platforms: Vec<_> = children.iter().map(|child| child.platform.as_str()).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm/v7", "linux/arm64", ANY]);
    }

    #[test]
    fn an_image_needs_each_blob_once_and_none_that_is_elsewhere() {
        let blob = |text: &str| json!({"mediaType": "a/b", "digest": digest(text), "size": 3});
        let mut foreign = blob("foreign");
        foreign["urls"] = json!(["https://elsewhere.test/x"]);
        let image = json!({"config": blob("config"), "layers": [blob("one"), foreign, blob("one")]});
        let needed = ["config", "one"].map(|text| Named { digest: digest(text), size: 3 }).to_vec();
        assert_eq!(Image::of(&kept(media_type::OCI_MANIFEST, &image)), Image::Single(needed));
    }

    #[test]
    fn what_cannot_be_read_needs_nothing() {
        let odd = KeptManifest { bytes: "[]".into(), media_type: media_type::OCI_INDEX.into() };
        assert_eq!(Image::of(&odd), Image::Index(Vec::new()));
        let odd = KeptManifest { bytes: "[]".into(), media_type: "application/odd".into() };
        assert_eq!(Image::of(&odd), Image::Single(Vec::new()));
    }
}
