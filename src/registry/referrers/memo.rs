//! What is remembered of each manifest of a repository: whether it is about another one. Manifests never change under
//! their digest, so this is never stale but for media types that the bytes do not tell, which are asked for anew. It is
//! kept in memory, and now and then in storage, for the next start.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::oci::{Annotations, Descriptor, Digest, Manifest, RepositoryName, media_type};
use crate::registry::Registry;
use crate::registry::media_types::Told;
use crate::storage::{OwnKey, Precondition};

/// Bytes of all memos together; that of the repository asked for longest ago goes first.
const MAX_KEPT: u64 = 64 << 20;
/// Largest memo that is written to or read from storage, in bytes.
const MAX_STORED: u64 = 32 << 20;
/// Annotations of a referrer beyond this are left out of lists: they are in the manifest itself.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// Memory of an entry beside its texts.
const OVERHEAD: usize = 200;

/// Manifests of a repository, those about nothing too.
pub(in crate::registry) type Memo = Mutex<HashMap<Digest, Option<Arc<Referrer>>>>;

/// A manifest that is about another one.
pub(in crate::registry) struct Referrer {
    pub subject: Digest,
    /// With the media type that the repository held it as.
    pub descriptor: Arc<Descriptor>,
    pub told: Told,
}

pub(in crate::registry) struct Memos(Cache<RepositoryName, Arc<Memo>>);

impl Memos {
    pub(in crate::registry) fn new() -> Self {
        let weigh = |_: &RepositoryName, memo: &Arc<Memo>| {
            let weight = |entry: &Option<Arc<Referrer>>| entry.as_ref().map_or(0, |found| weight(&found.descriptor));
            let total: usize = memo.lock().values().map(|entry| OVERHEAD + weight(entry)).sum();
            u32::try_from(total).unwrap_or(u32::MAX)
        };
        Memos(Cache::builder().max_capacity(MAX_KEPT).weigher(weigh).build())
    }
}

/// About how many bytes a descriptor has, in memory and as JSON.
pub(super) fn weight(descriptor: &Descriptor) -> usize {
    let texts = descriptor.media_type.len() + descriptor.artifact_type.as_ref().map_or(0, String::len);
    OVERHEAD + texts + descriptor.annotations.as_ref().map_or(0, Annotations::weight)
}

/// Without what would make a list larger than anyone wants to read.
pub(super) fn bounded(mut descriptor: Descriptor) -> Descriptor {
    if descriptor.annotations.as_ref().is_some_and(|annotations| annotations.weight() > MAX_ANNOTATIONS) {
        descriptor.annotations = None;
    }
    descriptor
}

/// What a manifest is about; `None` for most.
pub(super) fn referrer(digest: &Digest, manifest: Manifest, media_type: &str, size: u64) -> Option<Arc<Referrer>> {
    let subject = manifest.subject.as_ref()?.digest.parse().ok()?;
    let told = Told::by(&manifest);
    let artifact_type = match media_type::is_index(media_type) {
        true => manifest.artifact_type.clone().filter(|own| !own.is_empty()),
        false => manifest.referrer_type().map(str::to_owned),
    };
    let descriptor = bounded(Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.text(),
        size,
        artifact_type,
        annotations: manifest.annotations.filter(|annotations| !annotations.0.is_empty()),
        urls: None,
    });
    Some(Arc::new(Referrer { subject, descriptor: Arc::new(descriptor), told }))
}

/// Takes over what is known of a manifest that was just pushed here, if its repository has been asked about.
pub(in crate::registry) fn pushed(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    manifest: Manifest,
    media_type: &str,
    size: u64,
) {
    if let Some(memo) = registry.memos.0.get(name) {
        memo.lock().insert(*digest, referrer(digest, manifest, media_type, size));
    }
}

/// One line of the stored memo.
#[derive(Serialize, Deserialize)]
struct Stored {
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
    /// The type that its bytes tell by their shape, where they have no `mediaType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<String>,
}

/// The memo of a repository, from memory or storage; empty when there is none, or it cannot be read.
pub(super) async fn of(registry: &Registry, name: &RepositoryName) -> Arc<Memo> {
    if let Some(memo) = registry.memos.0.get(name) {
        return memo;
    }
    let stored = match registry.storage.own(&OwnKey::Revisions(name.clone()), MAX_STORED).await {
        Ok(Some((bytes, _))) => load(&bytes),
        Ok(None) => HashMap::new(),
        Err(error) => {
            tracing::debug!(%error, %name, "what was remembered of referrers is read anew from the manifests");
            HashMap::new()
        }
    };
    let memo = Arc::new(Mutex::new(stored));
    registry.memos.0.insert(name.clone(), memo.clone());
    memo
}

fn load(bytes: &[u8]) -> HashMap<Digest, Option<Arc<Referrer>>> {
    let lines: Vec<Stored> = serde_json::from_slice(bytes).unwrap_or_default();
    let entry = |line: Stored| {
        let digest: Digest = line.digest.parse().ok()?;
        let referrer = match (line.subject, line.descriptor) {
            (None, None) => None,
            // Of another manifest: made by no version of ours.
            (Some(_), Some(descriptor)) if descriptor.digest != line.digest => return None,
            (Some(subject), Some(descriptor)) => {
                let surely = line.shape.is_none();
                let told = Told { media_type: line.shape.unwrap_or_else(|| descriptor.media_type.clone()), surely };
                Some(Arc::new(Referrer { subject: subject.parse().ok()?, descriptor: Arc::new(descriptor), told }))
            }
            _ => return None,
        };
        Some((digest, referrer))
    };
    lines.into_iter().filter_map(entry).collect()
}

/// Keeps the memo for the next start, and weighs it anew. Losing it costs reading the manifests again.
pub(super) async fn store(registry: &Registry, name: &RepositoryName, memo: &Arc<Memo>) {
    registry.memos.0.insert(name.clone(), memo.clone());
    let text = dump(memo);
    if text.len() as u64 > MAX_STORED {
        return;
    }
    let key = OwnKey::Revisions(name.clone());
    if let Err(error) = registry.storage.own_put(&key, text, Precondition::None).await {
        tracing::debug!(%error, %name, "what is known of referrers could not be kept for the next start");
    }
}

fn dump(memo: &Memo) -> Bytes {
    let memo = memo.lock();
    let line = |(digest, referrer): (&Digest, &Option<Arc<Referrer>>)| Stored {
        digest: digest.text(),
        subject: referrer.as_ref().map(|referrer| referrer.subject.text()),
        descriptor: referrer.as_ref().map(|referrer| (*referrer.descriptor).clone()),
        shape: referrer.as_ref().filter(|found| !found.told.surely).map(|found| found.told.media_type.clone()),
    };
    let lines: Vec<Stored> = memo.iter().map(line).collect();
    serde_json::to_vec(&lines).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn about(subject: &Digest, more: serde_json::Value) -> Manifest {
        let mut value = json!({"schemaVersion": 2, "subject": {"mediaType": "m", "digest": subject.text(), "size": 1}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Manifest::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_image_falls_back_to_the_type_of_its_config() {
        let config = json!({"config": {"mediaType": "application/x", "digest": "a:b", "size": 1}});
        let of = |more, media_type| {
            referrer(&digest("r"), about(&digest("s"), more), media_type, 9).unwrap().descriptor.artifact_type.clone()
        };
        assert_eq!(of(config.clone(), media_type::OCI_MANIFEST).as_deref(), Some("application/x"));
        assert_eq!(of(json!({"artifactType": "a/t"}), media_type::OCI_MANIFEST).as_deref(), Some("a/t"));
        assert_eq!(of(json!({"manifests": []}), media_type::OCI_INDEX), None);
        assert_eq!(of(json!({"artifactType": "a/t", "manifests": []}), media_type::OCI_INDEX).as_deref(), Some("a/t"));
    }

    #[test]
    fn a_memo_reads_back() {
        let manifest = about(&digest("s"), json!({"annotations": {"k": "v"}}));
        let entry = referrer(&digest("r"), manifest, media_type::OCI_MANIFEST, 9);
        let memo = Mutex::new(HashMap::from([(digest("r"), entry), (digest("plain"), None)]));
        let read = load(&dump(&memo));
        assert_eq!(read.len(), 2);
        assert!(read[&digest("plain")].is_none());
        let referrer = read[&digest("r")].as_ref().unwrap();
        assert_eq!((referrer.subject, referrer.descriptor.size), (digest("s"), 9));
        assert_eq!(referrer.told, Told { media_type: media_type::OCI_MANIFEST.into(), surely: false });
        assert_eq!(referrer.descriptor.annotations.as_ref().unwrap().0, [("k".into(), "v".into())]);
    }

    #[test]
    fn a_broken_memo_is_an_empty_one() {
        for text in ["", "[", "{}", r#"[{"digest":"x"}]"#, r#"[{"digest":1}]"#, "\0\0"] {
            assert!(load(text.as_bytes()).is_empty(), "{text}");
        }
        let lying = json!([{"digest": digest("a").text(), "subject": digest("s").text(),
            "descriptor": {"digest": digest("b").text()}}]);
        assert!(load(lying.to_string().as_bytes()).is_empty());
    }

    #[test]
    fn endless_annotations_are_left_out() {
        let long = Annotations(vec![("k".into(), "v".repeat(MAX_ANNOTATIONS))]);
        assert_eq!(bounded(Descriptor { annotations: Some(long), ..Descriptor::default() }).annotations, None);
    }
}
