//! The memo of a repository, as it is kept in storage for the next start. Losing it costs reading the manifests again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::line::Line;
use super::memo::{Memo, Referrer};
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::registry::Registry;
use crate::registry::media_types::ImpliedType;
use crate::storage::{OwnKey, Precondition};

/// Largest memo that is written to or read from storage, in bytes.
const MAX_STORED: u64 = 32 << 20;

/// One line of the stored memo.
#[derive(Serialize, Deserialize)]
struct Stored {
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
    /// Instead of `descriptor`, where the manifest has more annotations: versions that know nothing of it read the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shortened: Option<Shortened>,
    /// The type that its bytes tell by their shape, where they have no `mediaType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Shortened {
    descriptor: Descriptor,
    left: usize,
}

/// The memo of a repository, from memory or storage; empty when there is none, or it cannot be read.
pub(super) async fn of(registry: &Registry, name: &RepositoryName) -> Arc<Memo> {
    let memos = &registry.referrers.memos;
    if let Some(memo) = memos.get(name) {
        return memo;
    }
    let memo = match registry.storage.own(&OwnKey::Revisions(name.clone()), MAX_STORED).await {
        Ok(Some((bytes, _))) => load(&bytes),
        Ok(None) => Memo::default(),
        Err(error) => {
            tracing::debug!(%error, %name, "what was remembered of referrers is read anew from the manifests");
            Memo::default()
        }
    };
    let memo = Arc::new(memo);
    memos.insert(name, &memo);
    memo
}

pub(super) async fn store(registry: &Registry, name: &RepositoryName, memo: &Memo) {
    let text = dump(memo);
    if text.len() as u64 > MAX_STORED {
        return;
    }
    let key = OwnKey::Revisions(name.clone());
    if let Err(error) = registry.storage.own_put(&key, text, Precondition::None).await {
        tracing::debug!(%error, %name, "what is known of referrers could not be kept for the next start");
    }
}

fn load(bytes: &[u8]) -> Memo {
    let lines: Vec<Stored> = serde_json::from_slice(bytes).unwrap_or_default();
    let memo = Memo::default();
    for (digest, referrer) in lines.into_iter().filter_map(entry) {
        memo.learn(digest, referrer);
    }
    memo
}

fn entry(stored: Stored) -> Option<(Digest, Option<Referrer>)> {
    let digest: Digest = stored.digest.parse().ok()?;
    let line = match (stored.descriptor, stored.shortened) {
        (None, None) if stored.subject.is_none() => return Some((digest, None)),
        (Some(descriptor), None) => Line::of_manifest(descriptor),
        (None, Some(Shortened { descriptor, left })) => Line { descriptor, left },
        _ => return None,
    };
    // Of another manifest: made by no version of ours.
    if line.descriptor.digest != stored.digest {
        return None;
    }
    let surely = stored.shape.is_none();
    let told = ImpliedType { media_type: stored.shape.unwrap_or_else(|| line.descriptor.media_type.clone()), surely };
    Some((digest, Some(Referrer { subject: stored.subject?.parse().ok()?, line: Arc::new(line), told })))
}

fn dump(memo: &Memo) -> Bytes {
    let mut lines = Vec::new();
    memo.for_each(|digest, referrer| {
        let line = referrer.map(|referrer| Line::clone(&referrer.line));
        let (descriptor, shortened) = match line {
            Some(Line { descriptor, left: 0 }) => (Some(descriptor), None),
            Some(Line { descriptor, left }) => (None, Some(Shortened { descriptor, left })),
            None => (None, None),
        };
        lines.push(Stored {
            digest: digest.text(),
            subject: referrer.map(|referrer| referrer.subject.text()),
            descriptor,
            shortened,
            shape: referrer.filter(|found| !found.told.surely).map(|found| found.told.media_type.clone()),
        });
    });
    serde_json::to_vec(&lines).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::{Algorithm, Manifest, media_type};
    use crate::registry::referrers::memo;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn annotated(value: &str) -> Option<Referrer> {
        let manifest = json!({"schemaVersion": 2, "annotations": {"k": value},
            "subject": {"mediaType": "m", "digest": digest("s").text(), "size": 1}});
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        memo::referrer(&digest("r"), manifest, media_type::OCI_MANIFEST, 9)
    }

    #[test]
    fn a_memo_reads_back() {
        for (value, left) in [("v".to_owned(), false), ("v".repeat(9000), true)] {
            let memo = Memo::default();
            memo.learn(digest("r"), annotated(&value));
            memo.learn(digest("plain"), None);
            let read = load(&dump(&memo));
            assert_eq!(read.weight(), memo.weight());
            assert!(read.get(&digest("plain")).unwrap().is_none());
            let referrer = read.get(&digest("r")).flatten().unwrap();
            assert_eq!((referrer.subject, referrer.line.descriptor.size), (digest("s"), 9));
            assert_eq!(referrer.told, ImpliedType { media_type: media_type::OCI_MANIFEST.into(), surely: false });
            assert_eq!(referrer.line, memo.get(&digest("r")).flatten().unwrap().line);
            assert_eq!(referrer.line.left > 9000, left);
        }
    }

    #[test]
    fn a_broken_memo_is_an_empty_one() {
        for text in ["", "[", "{}", r#"[{"digest":"x"}]"#, r#"[{"digest":1}]"#, "\0\0"] {
            assert_eq!(load(text.as_bytes()).weight(), 0, "{text}");
        }
        let lying = json!([{"digest": digest("a").text(), "subject": digest("s").text(),
            "descriptor": {"digest": digest("b").text()}}]);
        assert_eq!(load(lying.to_string().as_bytes()).weight(), 0);
    }
}
