//! The memo of a repository, as it is kept in storage for the next start. Losing it costs reading the manifests again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::line::Line;
use super::memo::{Memo, Memos, Referrer};
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::registry::media_types::ImpliedType;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};

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

/// The whole of it.
#[derive(Serialize, Deserialize)]
struct StoredMemo {
    lines: Vec<Stored>,
}

impl Format for StoredMemo {
    const WHAT: &'static str = "what is remembered of a repository's manifests";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct Shortened {
    descriptor: Descriptor,
    left: usize,
}

/// The memo of a repository, from memory or storage; empty when there is none, or it cannot be read.
pub(super) async fn of(storage: &Storage, memos: &Memos, name: &RepositoryName) -> Arc<Memo> {
    if let Some(memo) = memos.get(name) {
        return memo;
    }
    let found = storage.own(&OwnKey::Revisions(name.clone()), MAX_STORED).await;
    let memo = found.and_then(|found| found.map_or(Ok(Memo::default()), |(bytes, _)| load(&bytes)));
    let memo = memo.unwrap_or_else(|error| {
        tracing::debug!(%error, %name, "what was remembered of referrers is read anew from the manifests");
        Memo::default()
    });
    let memo = Arc::new(memo);
    memos.insert(name, &memo);
    memo
}

pub(super) async fn store(storage: &Storage, name: &RepositoryName, memo: &Memo) {
    if let Err(error) = try_store(storage, name, memo).await {
        tracing::debug!(%error, %name, "what is known of referrers could not be kept for the next start");
    }
}

/// What a newer version remembers is left to it. (Looked at before, not locked: who writes it in between loses a memory.)
async fn try_store(storage: &Storage, name: &RepositoryName, memo: &Memo) -> Result<(), Error> {
    let (key, text) = (OwnKey::Revisions(name.clone()), dump(memo)?);
    if text.len() as u64 > MAX_STORED {
        return Ok(());
    }
    match storage.own(&key, MAX_STORED).await.map(|found| found.map(|(bytes, _)| check(&bytes))) {
        Ok(Some(Err(error @ Error::Newer { .. }))) => return Err(error),
        // None of ours is so large.
        Err(error @ Error::TooLarge(_)) => return Err(error),
        _ => {}
    }
    storage.own_put(&key, text, Precondition::None).await.map(drop)
}

fn check(bytes: &[u8]) -> Result<(), Error> {
    format::check::<StoredMemo>(bytes)
}

/// Before it had a version, it was a list.
fn load(bytes: &[u8]) -> Result<Memo, Error> {
    let lines = match bytes.first() {
        Some(b'[') => serde_json::from_slice(bytes).map_err(|error| Error::Damaged(error.to_string()))?,
        _ => format::read::<StoredMemo>(bytes)?.lines,
    };
    let memo = Memo::default();
    for (digest, referrer) in lines.into_iter().filter_map(entry) {
        memo.learn(digest, referrer);
    }
    Ok(memo)
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

fn dump(memo: &Memo) -> Result<Bytes, Error> {
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
    Ok(format::write(&StoredMemo { lines })?.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::{Algorithm, Manifest, media_type};
    use crate::registry::referrers::memo;
    use crate::registry::tests::harness::Harness;

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
            let text = dump(&memo).unwrap();
            assert!(text.starts_with(br#"{"version":1,"lines":["#));
            // As it was before it had a version.
            let list = text.slice(br#"{"version":1,"lines":"#.len()..text.len() - 1);
            assert_eq!(load(&list).unwrap().weight(), memo.weight());
            let read = load(&text).unwrap();
            assert_eq!(read.weight(), memo.weight());
            assert!(read.get(&digest("plain")).unwrap().is_none());
            let referrer = read.get(&digest("r")).flatten().unwrap();
            assert_eq!((referrer.subject, referrer.line.descriptor.size), (digest("s"), 9));
            assert_eq!(referrer.told, ImpliedType { media_type: media_type::OCI_MANIFEST.into(), surely: false });
            assert_eq!(referrer.line, memo.get(&digest("r")).flatten().unwrap().line);
            assert_eq!(referrer.line.left > 9000, left);
        }
    }

    #[tokio::test]
    async fn a_memo_of_a_newer_version_is_neither_read_nor_written_over() {
        let harness = Harness::new().await;
        let name: RepositoryName = "a/b".parse().unwrap();
        let key = OwnKey::Revisions(name.clone());
        let newer = Bytes::from_static(br#"{"version":2,"lines":[{"digest":1}]}"#);
        harness.storage.own_put(&key, newer.clone(), Precondition::None).await.unwrap();
        let memo = Memo::default();
        memo.learn(digest("plain"), None);
        store(&harness.storage, &name, &memo).await;
        assert_eq!(of(&harness.storage, &Memos::new(), &name).await.weight(), 0);
        assert_eq!(harness.storage.own(&key, 1000).await.unwrap().unwrap().0, newer);
        harness.storage.own_put(&key, Bytes::from_static(b"[]"), Precondition::None).await.unwrap();
        store(&harness.storage, &name, &memo).await;
        assert!(harness.storage.own(&key, 1000).await.unwrap().unwrap().0.starts_with(br#"{"version":1,"#));
    }

    #[test]
    fn a_broken_memo_is_none() {
        for text in ["", "[", "{}", r#"[{"digest":"x"}]"#, r#"[{"digest":1}]"#, "\0\0"] {
            assert!(load(text.as_bytes()).map_or(true, |memo| memo.weight() == 0), "{text}");
        }
        let lying = json!([{"digest": digest("a").text(), "subject": digest("s").text(),
            "descriptor": {"digest": digest("b").text()}}]);
        assert_eq!(load(lying.to_string().as_bytes()).unwrap().weight(), 0);
    }
}
