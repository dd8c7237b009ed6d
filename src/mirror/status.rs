//! What is told of a mirror to those who run it: how its remote is, which tags are known, and what could be pulled of them if the remote
//! said nothing any more. Asks no remote, and notes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use super::complete::{self, Need, Platforms};
use super::image::ANY;
use super::{Mirror, TagRecord, tags};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::remote::config::{AskedAs, KeepIn};

/// Tags that are counted; beyond, it is said that there are more.
const MOST_TAGS: usize = 10_000;
/// Images that are looked at at once: each asks storage for its blobs, eight at once.
const AT_ONCE: usize = 4;

/// One mirror. Times are seconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct MirrorStatus {
    #[serde(flatten)]
    pub remote: RemoteStatus,
    /// Tags that something is known of.
    pub tags: usize,
    /// There are more than that.
    pub more: bool,
    /// Of some of them, those pulled last first.
    pub images: Vec<ImageStatus>,
    /// Why what is kept cannot be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How a remote is called, and how it is.
#[derive(Clone, Debug, Serialize)]
pub struct RemoteStatus {
    /// The name in `[remote.NAME]`.
    pub remote: String,
    pub registry: String,
    pub path: String,
    /// Where it is, without a password.
    pub url: String,
    /// `storage` or `cache`: where content stays.
    pub keep: &'static str,
    /// `mirror` or `caller`: by whose right it is asked.
    pub identity: &'static str,
    /// Whether it answers, its breaker, what is left of its pulls.
    pub state: Value,
}

/// What is known of one tag.
#[derive(Clone, Debug, Serialize)]
pub struct ImageStatus {
    /// The canonical name.
    pub name: String,
    pub tag: String,
    /// What it named when the remote was last asked.
    pub digest: Option<Digest>,
    /// When that was.
    pub asked: u64,
    /// When a client last pulled it, to the hour; 0: never.
    pub pulled: u64,
    /// What is served while the remote is down; `None`: nothing.
    pub served: Option<Digest>,
    /// Each platform that clients have taken, or that is whole here.
    pub offline: Vec<PlatformStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlatformStatus {
    /// `os/arch[/variant]`; `None`: the image has no platforms.
    pub platform: Option<String>,
    /// Whether it can be pulled while the remote is down.
    pub whole: bool,
}

/// What is served of a tag while the remote is down, and what of it can be pulled.
pub(super) struct Offline {
    pub served: Option<Digest>,
    pub platforms: Vec<PlatformStatus>,
}

impl Mirror {
    /// With up to `limit` images. `is_own`: whether a name below the remote's path is its own, and not of another remote whose path
    /// stands below this one's.
    pub async fn status(
        self: &Arc<Self>,
        limit: usize,
        is_own: impl Fn(&RepositoryName) -> bool + Send,
    ) -> MirrorStatus {
        let listed = self.parts.keep.tags(&self.remote.names().path, MOST_TAGS + 1).await;
        let trouble = listed.as_ref().err().map(ToString::to_string);
        let mut listed = listed.unwrap_or_default();
        let more = listed.len() > MOST_TAGS;
        listed.retain(|(name, _)| is_own(name));
        listed.truncate(MOST_TAGS);
        let tags = listed.len();
        let looked = stream::iter(listed.into_iter().take(limit)).map(|(name, tag)| self.image_status(name, tag));
        let mut images: Vec<_> = looked.buffered(AT_ONCE).filter_map(|image| async { image }).collect().await;
        images.sort_by(|one, other| other.pulled.cmp(&one.pulled).then_with(|| one.name.cmp(&other.name)));
        MirrorStatus { remote: self.remote_status(), tags, more, images, trouble }
    }

    pub fn remote_status(&self) -> RemoteStatus {
        let (config, state) = (self.remote.config(), self.remote.state());
        RemoteStatus {
            remote: self.remote.name().to_owned(),
            registry: config.registry.clone(),
            path: self.remote.names().path.clone(),
            url: state.url.clone(),
            keep: match self.parts.keep.stays_in() {
                KeepIn::Storage => "storage",
                KeepIn::Cache => "cache",
            },
            identity: match config.identity {
                AskedAs::Mirror => "mirror",
                AskedAs::Caller => "caller",
            },
            state: serde_json::to_value(state).unwrap_or_default(),
        }
    }

    async fn image_status(self: &Arc<Self>, name: RepositoryName, tag: Tag) -> Option<ImageStatus> {
        let record = tags::record(self, &name, &tag).await?;
        let Offline { served, platforms } = offline(self, &name, &record).await;
        Some(ImageStatus {
            name: name.to_string(),
            tag: tag.to_string(),
            digest: record.newest(),
            asked: record.asked,
            pulled: record.pulled,
            served,
            offline: platforms,
        })
    }
}

/// What would be served, by the rule that serves it.
pub(super) async fn offline(mirror: &Arc<Mirror>, name: &RepositoryName, record: &TagRecord) -> Offline {
    let mut of_each: Vec<Arc<Platforms>> = Vec::with_capacity(record.digests.len());
    for digest in &record.digests {
        of_each.push(complete::platforms(mirror, name, digest, Need::All).await);
    }
    let served = complete::newest(&of_each);
    let whole = served.and_then(|index| of_each.get(index)).cloned().unwrap_or_default();
    let platforms = told(&whole, &of_each, &record.platforms);
    Offline { served: served.and_then(|index| record.digests.get(index)).copied(), platforms }
}

/// Each platform that matters, and whether it is among those that are whole.
fn told(whole: &Platforms, of_each: &[Arc<Platforms>], taken: &[String]) -> Vec<PlatformStatus> {
    let all: BTreeSet<&String> = of_each.iter().flat_map(|set| set.iter()).chain(taken).collect();
    let of = |platform: &&String| PlatformStatus {
        platform: (*platform != ANY).then(|| (*platform).clone()),
        whole: whole.contains(*platform) || whole.contains(ANY),
    };
    all.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(platforms: &[&str]) -> Arc<Platforms> {
        Arc::new(platforms.iter().map(|platform| (*platform).to_owned()).collect())
    }

    fn shown(whole: &[&str], of_each: &[&[&str]], taken: &[&str]) -> Vec<(String, bool)> {
        let of_each: Vec<_> = of_each.iter().map(|platforms| set(platforms)).collect();
        let taken: Vec<_> = taken.iter().map(|platform| (*platform).to_owned()).collect();
        let told = told(&set(whole), &of_each, &taken);
        told.into_iter().map(|one| (one.platform.unwrap_or_else(|| "-".into()), one.whole)).collect()
    }

    #[test]
    fn a_platform_that_was_taken_or_is_whole_is_told_of() {
        let yes = |platform: &str| (platform.to_owned(), true);
        let no = |platform: &str| (platform.to_owned(), false);
        assert_eq!(shown(&["l/a"], &[&["l/a"]], &["l/b"]), [yes("l/a"), no("l/b")]);
        assert_eq!(shown(&[], &[], &["l/b"]), [no("l/b")]);
        assert_eq!(shown(&[ANY], &[&[ANY]], &[]), [yes("-")]);
        assert_eq!(shown(&[], &[&[]], &[]), []);
    }
}
