//! What a manifest names.

use bytes::Bytes;
use serde::Deserialize;

use crate::oci::{Digest, Manifest};
use crate::storage::{Error, blocking};

/// Larger ones come from nobody, in bytes: neither a push nor a mirror takes more.
pub(super) const MOST_MANIFEST: u64 = 8 << 20;
/// Fewer bytes are looked at on the thread that is there.
const SMALL: usize = 64 << 10;

/// Digests that a manifest names, each once, as far as we can verify them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Without which an image cannot be pulled.
    pub(super) blobs: Vec<Digest>,
    /// Of an index. A repository need not have them.
    pub(super) manifests: Vec<Digest>,
}

/// `None`: the bytes are not those of the digest. What is no manifest names nothing.
pub(super) async fn read(digest: &Digest, bytes: Bytes) -> Result<Option<Named>, Error> {
    let (digest, small) = (*digest, bytes.len() <= SMALL);
    let work = move || (Digest::of(digest.algorithm(), &bytes) == digest).then(|| named(&bytes));
    if small { Ok(work()) } else { blocking(move || Ok::<_, Error>(work())).await }
}

fn named(bytes: &[u8]) -> Named {
    let manifest = Manifest::parse(bytes).unwrap_or_default();
    let mut blobs: Vec<Digest> = manifest.needed().filter_map(|named| named.digest.parse().ok()).collect();
    if manifest.schema1 {
        blobs.extend(old_layers(bytes));
    }
    let listed = manifest.manifests.iter().flatten();
    let mut manifests: Vec<Digest> = listed.filter_map(|named| named.digest.parse().ok()).collect();
    for list in [&mut blobs, &mut manifests] {
        list.sort_unstable();
        list.dedup();
    }
    Named { blobs, manifests }
}

/// Layers of schema 1.
fn old_layers(bytes: &[u8]) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Old {
        #[serde(rename = "fsLayers")]
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    struct Layer {
        #[serde(rename = "blobSum")]
        digest: String,
    }
    let old = serde_json::from_slice::<Old>(bytes);
    let layers = old.map(|old| old.layers).unwrap_or_default();
    layers.into_iter().filter_map(|layer| layer.digest.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::Algorithm;

    #[tokio::test]
    async fn an_image_needs_its_config_and_layers_but_not_those_that_live_elsewhere() {
        let digest = |text: &str| Digest::of(Algorithm::Sha256, text.as_bytes());
        let image = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest("c"), "size": 1 },
            "layers": [
                { "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest("l"), "size": 1 },
                { "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest("l"), "size": 1 },
                { "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": digest("f"), "size": 1 },
                { "mediaType": "application/x", "digest": "blake3:abc", "size": 1 },
            ],
            "subject": { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest("s"), "size": 1 },
        });
        let read = async |text: String| {
            let bytes = Bytes::from(text);
            super::read(&Digest::of(Algorithm::Sha256, &bytes), bytes).await.unwrap().unwrap()
        };
        let mut blobs = vec![digest("c"), digest("l")];
        blobs.sort_unstable();
        assert_eq!(read(image.to_string()).await, Named { blobs, manifests: vec![] });
        let index =
            json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "x", "digest": digest("m"), "size": 1 }] });
        assert_eq!(read(index.to_string()).await, Named { blobs: vec![], manifests: vec![digest("m")] });
        let old = json!({ "schemaVersion": 1, "fsLayers": [{ "blobSum": digest("l") }], "history": [] });
        assert_eq!(read(old.to_string()).await, Named { blobs: vec![digest("l")], manifests: vec![] });
        for text in ["", "[]", "{\"layers\":3}", "{\"schemaVersion\":1,\"fsLayers\":3}"] {
            assert_eq!(read(text.into()).await, Named::default(), "{text}");
        }
        let large = format!("{image}{}", " ".repeat(SMALL));
        assert_eq!(read(large).await.blobs.len(), 2);
    }

    #[tokio::test]
    async fn other_bytes_name_nothing() {
        let digest = Digest::of(Algorithm::Sha256, b"{}");
        assert_eq!(super::read(&digest, Bytes::from_static(b"{ }")).await.unwrap(), None);
    }
}
