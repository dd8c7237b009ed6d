//! Images that nobody has seen before: layers of random bytes, which are made anew whenever they are sent and never held in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use serde_json::json;

use super::plan::Plan;
use crate::oci::{Algorithm, Digest, Hasher};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Layers are made in pieces of so many bytes: what one push holds in memory of its layers.
const PIECE: usize = 64 << 10;

/// What a blob's bytes are.
#[derive(Clone)]
pub enum Content {
    Bytes(Bytes),
    /// The same bytes whenever they are made of this seed.
    Random {
        seed: u64,
        size: u64,
    },
}

/// A config or a layer.
#[derive(Clone)]
pub struct Blob {
    pub digest: Digest,
    pub size: u64,
    pub content: Content,
}

/// One image.
pub struct Image {
    pub tag: String,
    pub manifest: Bytes,
    pub digest: Digest,
    /// Config and layers.
    pub blobs: Vec<Blob>,
}

impl Image {
    /// `run`: what no other run has. Makes all layers once, for their digests: blocking.
    pub fn new(plan: &Plan, run: &str, number: u32) -> Self {
        let tag = format!("bench-{run}-{number}");
        let layers: Vec<Blob> = (0..plan.layers).map(|_| Blob::random(rand::random(), plan.layer)).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Labels": { "entrepot.bench": tag } },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest.text()).collect::<Vec<_>>() },
        });
        let config = Blob::of(config.to_string().into());
        let described = |media_type: &str, blob: &Blob| json!({ "mediaType": media_type, "digest": blob.digest.text(), "size": blob.size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(CONFIG, &config),
            "layers": layers.iter().map(|layer| described(LAYER, layer)).collect::<Vec<_>>(),
            "annotations": { "org.opencontainers.image.description": "entrepot bench: may be deleted" },
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest = Digest::of(Algorithm::Sha256, &manifest);
        Image { tag, manifest, digest, blobs: std::iter::once(config).chain(layers).collect() }
    }

    /// Bytes of a push or a pull of it.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum::<u64>() + self.manifest.len() as u64
    }
}

impl Blob {
    fn of(bytes: Bytes) -> Self {
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        Blob { digest, size: bytes.len() as u64, content: Content::Bytes(bytes) }
    }

    fn random(seed: u64, size: u64) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        Pieces::new(seed, size).for_each(|piece| hasher.update(&piece));
        Blob { digest: hasher.finish(), size, content: Content::Random { seed, size } }
    }

    /// To be sent, from its beginning.
    pub fn body(&self) -> reqwest::Body {
        match &self.content {
            Content::Bytes(bytes) => bytes.clone().into(),
            Content::Random { seed, size } => reqwest::Body::wrap(Sent(Pieces::new(*seed, *size))),
        }
    }
}

/// The bytes of a seed.
struct Pieces {
    generator: SmallRng,
    left: u64,
}

impl Pieces {
    fn new(seed: u64, size: u64) -> Self {
        Pieces { generator: SmallRng::seed_from_u64(seed), left: size }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        if length == 0 {
            return None;
        }
        let mut piece = vec![0; length];
        self.generator.fill_bytes(&mut piece);
        self.left -= length as u64;
        Some(piece.into())
    }
}

/// A body of known length.
struct Sent(Pieces);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_the_same_whenever_it_is_made_and_no_other_is_like_it() {
        let size = 2 * PIECE as u64 + 5;
        let all = |seed: u64| Pieces::new(seed, size).fold(Vec::new(), |all, piece| [all, piece.to_vec()].concat());
        assert!(all(1) == all(1) && all(1) != all(2) && all(1).len() as u64 == size);
        assert_eq!(Blob::random(1, size).digest, Digest::of(Algorithm::Sha256, &all(1)));
        assert_eq!(Pieces::new(1, 0).count(), 0);
    }

    #[test]
    fn an_image_names_all_that_it_has() {
        let plan = Plan { layers: 2, layer: 100, ..Plan::small() };
        let image = Image::new(&plan, "run", 3);
        let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
        let named = [&manifest["config"], &manifest["layers"][0], &manifest["layers"][1]];
        for (blob, named) in image.blobs.iter().zip(named) {
            assert_eq!(
                (named["digest"].as_str(), named["size"].as_u64()),
                (Some(blob.digest.text().as_str()), Some(blob.size))
            );
        }
        assert_eq!((image.blobs.len(), image.tag.as_str()), (3, "bench-run-3"));
        assert!(image.size() > 200);
        assert!(Image::new(&plan, "run", 3).digest != image.digest);
    }
}
