//! What is remembered of each manifest of a repository: whether it is about another one. Manifests never change under
//! their digest, so this is never stale but for media types that the bytes do not tell, which are asked for anew. It is
//! kept in memory, and now and then in storage (`stored`), for the next start.

use std::collections::HashMap;
use std::sync::Arc;

use moka::ops::compute::Op;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::line::Line;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, media_type};
use crate::registry::media_types::ImpliedType;

/// Bytes of all memos together; that of the repository asked for longest ago goes first.
const MAX_KEPT: u64 = 64 << 20;
/// A memo that weighs more keeps no annotations of what else it learns: they are read for the page that shows them.
const MAX_ANNOTATED: usize = 16 << 20;
/// Memory of an entry beside its line.
const OVERHEAD: usize = 200;

/// Manifests of a repository, those about nothing too.
#[derive(Default)]
pub(super) struct Memo(Mutex<Known>);

#[derive(Default)]
struct Known {
    entries: HashMap<Digest, Option<Arc<Referrer>>>,
    /// Of all entries.
    weight: usize,
}

/// A manifest that is about another one.
pub(super) struct Referrer {
    pub(super) subject: Digest,
    /// With the media type that the repository held it as.
    pub(super) line: Arc<Line>,
    pub(super) told: ImpliedType,
}

impl Memo {
    pub(super) fn get(&self, digest: &Digest) -> Option<Option<Arc<Referrer>>> {
        self.0.lock().entries.get(digest).cloned()
    }

    /// `None`: it is about nothing. Whoever has the memo from [`Memos`] has it weighed afterwards.
    pub(super) fn learn(&self, digest: Digest, referrer: Option<Referrer>) {
        let mut known = self.0.lock();
        let shed = known.weight > MAX_ANNOTATED;
        let referrer = referrer.map(|mut referrer| {
            if shed {
                referrer.line = Arc::new(Line::clone(&referrer.line).shed());
            }
            Arc::new(referrer)
        });
        known.weight += weight(&referrer);
        if let Some(old) = known.entries.insert(digest, referrer) {
            known.weight = known.weight.saturating_sub(weight(&old));
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.0.lock().weight
    }

    pub(super) fn for_each(&self, mut look: impl FnMut(&Digest, Option<&Arc<Referrer>>)) {
        self.0.lock().entries.iter().for_each(|(digest, referrer)| look(digest, referrer.as_ref()));
    }
}

fn weight(entry: &Option<Arc<Referrer>>) -> usize {
    OVERHEAD + entry.as_ref().map_or(0, |referrer| referrer.line.weight() + referrer.told.media_type.len())
}

/// The memos that are in memory. Each is weighed anew whenever it has learnt something.
pub(super) struct Memos(Cache<RepositoryName, Arc<Memo>>);

impl Memos {
    pub(super) fn new() -> Self {
        let weigh = |name: &RepositoryName, memo: &Arc<Memo>| {
            u32::try_from(OVERHEAD + name.as_str().len() + memo.weight()).unwrap_or(u32::MAX)
        };
        Memos(Cache::builder().max_capacity(MAX_KEPT).weigher(weigh).build())
    }

    pub(super) fn get(&self, name: &RepositoryName) -> Option<Arc<Memo>> {
        self.0.get(name)
    }

    pub(super) fn insert(&self, name: &RepositoryName, memo: &Arc<Memo>) {
        self.0.insert(name.clone(), memo.clone());
    }

    /// Takes its weight as it is now, if it is kept still.
    pub(super) fn weigh(&self, name: &RepositoryName, memo: &Arc<Memo>) {
        self.0.entry_by_ref(name).and_compute_with(|present| match present {
            Some(present) if Arc::ptr_eq(present.value(), memo) => Op::Put(memo.clone()),
            _ => Op::Nop,
        });
    }
}

/// What a manifest is about; `None` for most.
pub(super) fn referrer(digest: &Digest, manifest: Manifest, media_type: &str, size: u64) -> Option<Referrer> {
    let subject = manifest.subject.as_ref()?.digest.parse().ok()?;
    let told = ImpliedType::by(&manifest);
    let artifact_type = match media_type::is_index(media_type) {
        true => manifest.artifact_type.clone().filter(|own| !own.is_empty()),
        false => manifest.referrer_type().map(str::to_owned),
    };
    let line = Line::of_manifest(Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.text(),
        size,
        artifact_type,
        annotations: manifest.annotations.filter(|annotations| !annotations.0.is_empty()),
        urls: None,
    });
    Some(Referrer { subject, line: Arc::new(line), told })
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

    fn annotated(name: &str, bytes: usize) -> Option<Referrer> {
        let manifest = about(&digest("s"), json!({"annotations": {"k": "v".repeat(bytes)}}));
        referrer(&digest(name), manifest, media_type::OCI_MANIFEST, 9)
    }

    #[test]
    fn an_image_falls_back_to_the_type_of_its_config() {
        let config = json!({"config": {"mediaType": "application/x", "digest": "a:b", "size": 1}});
        let of = |more, media_type| {
            let referrer = referrer(&digest("r"), about(&digest("s"), more), media_type, 9).unwrap();
            referrer.line.descriptor.artifact_type.clone()
        };
        assert_eq!(of(config.clone(), media_type::OCI_MANIFEST).as_deref(), Some("application/x"));
        assert_eq!(of(json!({"artifactType": "a/t"}), media_type::OCI_MANIFEST).as_deref(), Some("a/t"));
        assert_eq!(of(json!({"manifests": []}), media_type::OCI_INDEX), None);
        assert_eq!(of(json!({"artifactType": "a/t", "manifests": []}), media_type::OCI_INDEX).as_deref(), Some("a/t"));
    }

    #[test]
    fn what_is_learnt_is_weighed_and_what_is_learnt_again_once() {
        let memo = Memo::default();
        memo.learn(digest("a"), annotated("a", 1000));
        let one = memo.weight();
        assert!((1000..3000).contains(&one), "{one}");
        memo.learn(digest("a"), annotated("a", 1000));
        assert_eq!(memo.weight(), one);
        memo.learn(digest("a"), None);
        assert_eq!(memo.weight(), OVERHEAD);
    }

    #[test]
    fn a_heavy_memo_leaves_annotations_to_the_manifests() {
        let memo = Memo::default();
        for number in 0..10_000 {
            let name = number.to_string();
            memo.learn(digest(&name), annotated(&name, 3000));
        }
        let (weight, lines) = (memo.weight(), 10_000 * 1500);
        assert!(weight < MAX_ANNOTATED + lines, "{weight}");
        let first = memo.get(&digest("0")).flatten().unwrap();
        let last = memo.get(&digest("9999")).flatten().unwrap();
        assert!((first.line.left, last.line.left > 3000) == (0, true));
    }

    #[test]
    fn memos_are_weighed_as_they_grow_and_stay_within_their_bound() {
        let memos = Memos::new();
        let name = |number: usize| -> RepositoryName { format!("r{number}").parse().unwrap() };
        for repository in 0..20 {
            let memo = Arc::new(Memo::default());
            memos.insert(&name(repository), &memo);
            for number in 0..3000 {
                let text = number.to_string();
                memo.learn(digest(&text), annotated(&text, 3000));
                memos.weigh(&name(repository), &memo);
            }
        }
        memos.0.run_pending_tasks();
        let held: usize = memos.0.iter().map(|(_, memo)| memo.weight()).sum();
        let weighed = memos.0.weighted_size();
        assert!(weighed <= MAX_KEPT && held as u64 <= weighed, "{held} are held, weighed as {weighed}");
        assert!(memos.0.entry_count() >= 2);
    }

    #[test]
    fn a_memo_that_was_replaced_is_not_put_back() {
        let (memos, old, new) = (Memos::new(), Arc::new(Memo::default()), Arc::new(Memo::default()));
        let name: RepositoryName = "a".parse().unwrap();
        memos.weigh(&name, &old);
        assert!(memos.get(&name).is_none());
        memos.insert(&name, &new);
        memos.weigh(&name, &old);
        assert!(Arc::ptr_eq(&memos.get(&name).unwrap(), &new));
    }
}
