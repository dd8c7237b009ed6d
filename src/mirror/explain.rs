//! One image, explained: what is known of its tag, and for each of its manifests and blobs where it is. Asks no remote, and notes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::Method;
use serde::Serialize;

use super::image::{ANY, Child, Image, Named};
use super::record::now;
use super::status::{RemoteStatus, offline};
use super::{Body, Mirror, Request, TagRecord, manifests, overlay, tags};
use crate::oci::{Action, Digest, Reference, RepositoryName, Resource};
use crate::remote::Asker;
use crate::remote::config::KeepIn;
use crate::units::Span;

/// Manifests of one image that are looked at; an index may list thousands.
const MOST_MANIFESTS: usize = 64;
/// Blobs that are looked for at once.
const AT_ONCE: usize = 8;

/// Times are seconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub remote: RemoteStatus,
    /// What the remote calls the repository.
    pub there: Option<String>,
    /// What was pushed here under this tag or digest, which goes before the remote's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<TagTold>,
    /// What the tag names, or the digest that was asked about, and what an index leads to.
    pub manifests: Vec<ManifestTold>,
    /// There are more than those.
    pub more: bool,
    /// Anything of it is here.
    pub here: bool,
    /// What a pull gets now, in words.
    pub answer: &'static str,
}

/// What is known of what the remote's tag names.
#[derive(Clone, Debug, Serialize)]
pub struct TagTold {
    /// Newest first.
    pub digests: Vec<Digest>,
    pub asked: u64,
    pub pulled: u64,
    /// Platforms that clients took.
    pub platforms: Vec<String>,
    /// It is served without asking.
    pub fresh: bool,
    /// Why so, or why not.
    pub why: String,
    /// What is served while the remote is down.
    pub offline: Option<Digest>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ManifestTold {
    pub digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub kept: bool,
    /// With all blobs that it names.
    pub whole: bool,
    pub blobs: Vec<BlobTold>,
}

#[derive(Clone, Debug, Serialize)]
pub struct BlobTold {
    pub digest: Digest,
    pub size: u64,
    /// Of `storage`, `memory`, `disk`, `coming`, and `elsewhere`: another repository here has it. Empty: it is absent.
    pub places: Vec<&'static str>,
}

impl Mirror {
    /// Of a repository by its canonical name; `overlay`: what was pushed here goes before.
    pub async fn explain(self: &Arc<Self>, name: &RepositoryName, reference: &Reference, overlay: bool) -> Explanation {
        let pushed = if overlay { self.pushed(name, reference).await } else { None };
        let (tag, roots) = match reference {
            Reference::Digest(digest) => (None, vec![*digest]),
            Reference::Tag(tag) => match tags::record(self, name, tag).await {
                None => (None, Vec::new()),
                Some(record) => {
                    let told = self.tag_told(name, &record).await;
                    let roots = record.newest().into_iter().chain(told.offline);
                    let mut seen = HashSet::new();
                    let roots = roots.filter(|digest| seen.insert(*digest)).collect();
                    (Some(told), roots)
                }
            },
        };
        let taken = tag.as_ref().map(|tag| tag.platforms.clone()).unwrap_or_default();
        let (manifests, more) = self.manifests_told(name, &roots, &taken).await;
        let there = self.remote().names().at_remote(name).map(|name| name.to_string());
        let here = pushed.is_some() || tag.is_some() || manifests.iter().any(|manifest| manifest.kept);
        let remote = self.remote_status();
        let mut told = Explanation { remote, there, pushed, tag, manifests, more, here, answer: "" };
        told.answer = answer(&told, reference);
        told
    }

    /// What the registry has under that tag or digest.
    async fn pushed(&self, name: &RepositoryName, reference: &Reference) -> Option<Digest> {
        let resource = Resource::Manifest { name: name.clone(), reference: reference.clone(), tags: Ok(Vec::new()) };
        let request = Request {
            action: Action { method: Method::HEAD, resource, ns: None },
            range: None,
            asker: Asker::Mirror,
            overlay: true,
        };
        match overlay::own(self, &request).await?.body {
            Body::Content { digest, .. } => Some(digest),
            Body::Bytes(_) | Body::Piece { .. } => None,
        }
    }

    async fn tag_told(self: &Arc<Self>, name: &RepositoryName, record: &TagRecord) -> TagTold {
        let (fresh, why) = freshness(record, self.remote().config().tag_ttl.0, now());
        TagTold {
            digests: record.digests.clone(),
            asked: record.asked,
            pulled: record.pulled,
            platforms: record.platforms.clone(),
            fresh,
            why,
            offline: offline(self, name, record).await.served,
        }
    }

    /// The manifests from these on, each once, in the order in which clients come to them.
    async fn manifests_told(
        &self,
        name: &RepositoryName,
        roots: &[Digest],
        taken: &[String],
    ) -> (Vec<ManifestTold>, bool) {
        let mut told = Vec::new();
        let mut waiting: Vec<Child> =
            roots.iter().rev().map(|digest| Child { digest: *digest, platform: ANY.to_owned() }).collect();
        let mut seen = HashSet::new();
        while let Some(child) = waiting.pop() {
            if !seen.insert(child.digest) {
                continue;
            }
            if told.len() >= MOST_MANIFESTS {
                return (told, true);
            }
            let (manifest, children) = self.manifest_told(name, &child).await;
            // Of an index of twenty platforms only those are of interest that somebody took.
            if manifest.kept || roots.contains(&child.digest) || taken.contains(&child.platform) {
                told.push(manifest);
            }
            waiting.extend(children.into_iter().rev());
        }
        (told, false)
    }

    async fn manifest_told(&self, name: &RepositoryName, child: &Child) -> (ManifestTold, Vec<Child>) {
        let found = manifests::kept(self, name, &child.digest).await;
        let mut manifest = ManifestTold {
            digest: child.digest,
            platform: (child.platform != ANY).then(|| child.platform.clone()),
            media_type: found.as_ref().map(|found| found.manifest.media_type.clone()),
            kept: found.is_some(),
            whole: false,
            blobs: Vec::new(),
        };
        match found.map(|found| Image::of(&found.manifest)) {
            Some(Image::Index(children)) => {
                manifest.whole = true;
                (manifest, children)
            }
            Some(Image::Single(blobs)) => {
                // Made before they are a stream: else the compiler does not see that they may change threads.
                let looked: Vec<_> = blobs.iter().map(|named| self.blob_told(name, named)).collect();
                manifest.blobs = stream::iter(looked).buffered(AT_ONCE).collect().await;
                manifest.whole = manifest.blobs.iter().all(|blob| blob.places.iter().any(|place| *place != "coming"));
                (manifest, Vec::new())
            }
            None => (manifest, Vec::new()),
        }
    }

    async fn blob_told(&self, name: &RepositoryName, named: &Named) -> BlobTold {
        let (keep, cache) = (&self.parts.keep, &self.parts.cache);
        let kept = matches!(keep.blob_size(name, &named.digest).await, Ok(Some(_)));
        let tiers = cache.tiers(&named.digest);
        let mut places = Vec::new();
        if kept && keep.stays_in() == KeepIn::Storage {
            places.push("storage");
        }
        if tiers.memory {
            places.push("memory");
        }
        if tiers.disk {
            places.push("disk");
        }
        if cache.progress(&named.digest).is_some() {
            places.push("coming");
        }
        BlobTold { digest: named.digest, size: named.size, places }
    }
}

/// What a pull gets now.
fn answer(told: &Explanation, reference: &Reference) -> &'static str {
    let newest = told.tag.as_ref().and_then(|tag| tag.digests.first());
    let wanted = match reference {
        Reference::Digest(digest) => Some(digest),
        Reference::Tag(_) => newest,
    };
    let kept = |digest: &Digest| told.manifests.iter().any(|manifest| manifest.kept && manifest.digest == *digest);
    let here = wanted.is_some_and(kept);
    let offline = told.tag.as_ref().is_some_and(|tag| tag.offline.is_some());
    let fresh = told.tag.as_ref().is_none_or(|tag| tag.fresh);
    let resting = told.remote.state["breaker"] == "open" || told.remote.state["budget"]["paused_seconds"].is_u64();
    match (told.pushed.is_some(), here && fresh) {
        (true, _) => "what was pushed here is served",
        (false, true) if told.remote.identity == "caller" => {
            "what is here is served, once the remote has said that the caller may have it"
        }
        (false, true) => "what is here is served without asking the remote",
        (false, false) if !resting && offline => {
            "the remote is asked; if it gives no answer, what is whole here is served as it was last known, with a warning"
        }
        (false, false) if !resting => "the remote is asked; if it gives no answer, this is 503",
        (false, false) if offline => {
            "the remote is not asked now, since it did not answer or had enough: what is whole here is served as it was last known, with \
             a warning"
        }
        (false, false) => {
            "the remote is not asked now, since it did not answer or had enough, and nothing whole is here: this is 503"
        }
    }
}

/// Whether a tag is served without asking, and why.
fn freshness(record: &TagRecord, ttl: Duration, now: u64) -> (bool, String) {
    let limit = Span(ttl);
    match record.age(now) {
        _ if ttl.is_zero() => (false, "tag_ttl is 0s: the remote is asked at each pull".into()),
        None => (false, "it was asked at a time that is still to come: it is asked again at the next pull".into()),
        Some(age) if age < ttl => {
            let rest = Span(Duration::from_secs((ttl - age).as_secs()));
            (true, format!("fresh for {rest} more (tag_ttl is {limit}): served without asking"))
        }
        Some(_) => (false, format!("older than tag_ttl ({limit}): the remote is asked at the next pull")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_tag_is_fresh_for_its_time_and_it_is_said_why() {
        let record = TagRecord::new(Digest::of(Algorithm::Sha256, b"a"), 1000);
        let told = |ttl: u64, now: u64| freshness(&record, Duration::from_secs(ttl), now);
        assert_eq!(told(60, 1020), (true, "fresh for 40s more (tag_ttl is 1m): served without asking".into()));
        assert_eq!(told(60, 1060), (false, "older than tag_ttl (1m): the remote is asked at the next pull".into()));
        assert!(!told(0, 1000).0 && told(0, 1000).1.starts_with("tag_ttl is 0s"));
        assert!(!told(60, 100).0);
    }
}
