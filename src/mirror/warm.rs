//! Images brought whole, because somebody said so: manifests and blobs come by the same ways as a client's pull, so that what others
//! fetch meanwhile is fetched once. What is done is told step by step; whoever no longer listens ends it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::ready;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::complete::{self, Need};
use super::image::{ANY, Image, Named};
use super::manifests::{self, Found};
use super::{Mirror, blobs, tags};
use crate::oci::{Digest, Reference, RepositoryName};
use crate::remote::Asker;

/// Images under way of one order, and what is fetched of them at once, all together.
const AT_ONCE: usize = 2;
/// Steps that nobody has taken yet.
const MAX_WAITING: usize = 32;
/// How often it is told how far a blob is.
const PROGRESS: Duration = Duration::from_secs(1);
/// Manifests of one image: an index of an index of all platforms is far below.
const MAX_MANIFESTS: usize = 1024;

/// One image that shall be whole.
pub struct Wish {
    /// As it was asked for.
    pub image: String,
    /// Whose it is; else why nobody's.
    pub found: Result<Wanted, String>,
}

pub struct Wanted {
    pub mirror: Arc<Mirror>,
    /// The canonical name.
    pub name: RepositoryName,
    pub reference: Reference,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedPlatforms {
    All,
    /// `os/arch[/variant]` each.
    These(Vec<String>),
}

/// What has been done. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Step {
    /// A manifest is here.
    Manifest { image: String, digest: Digest, platform: Option<String> },
    /// All manifests are; so many blobs belong to them.
    Plan { image: String, blobs: usize, bytes: u64 },
    /// A blob is on its way.
    Bytes { image: String, digest: Digest, received: u64, size: u64 },
    /// The `n`-th of `of` blobs is kept.
    Blob { image: String, digest: Digest, n: usize, of: usize, size: u64, fetched: bool },
    /// The image is whole; `stale`: the remote did not say whether there is a newer one.
    Done {
        image: String,
        name: String,
        digest: Digest,
        platforms: Vec<String>,
        blobs: usize,
        bytes: u64,
        fetched: u64,
        stale: bool,
    },
    /// It is not, and why.
    Failed { image: String, message: String },
    /// Nothing more comes.
    End { images: usize, failed: usize },
}

/// Brings them, two at once. Dropping the stream ends it.
pub fn warm(wishes: Vec<Wish>, platforms: WantedPlatforms) -> BoxStream<'static, Step> {
    let (tell, mut told) = mpsc::channel(MAX_WAITING);
    let work = async move {
        let (images, fetches, platforms) = (wishes.len(), Semaphore::new(AT_ONCE), &platforms);
        let (fetches, tell) = (&fetches, &tell);
        let bring = |Wish { image, found }| async move {
            let outcome = match found {
                Ok(wanted) => Warming { image: &image, wanted, platforms, fetches, tell }.whole().await,
                Err(message) => Err(message),
            };
            let failed = outcome.is_err();
            let last = outcome.unwrap_or_else(|message| Step::Failed { image: image.clone(), message });
            _ = tell.send(last).await;
            usize::from(failed)
        };
        // Made before they are a stream: else the compiler does not see that they may change threads.
        let brought: Vec<_> = wishes.into_iter().map(bring).collect();
        let failed = stream::iter(brought).buffer_unordered(AT_ONCE).fold(0, |all, failed| ready(all + failed)).await;
        // The receiver stands in the same stream.
        _ = tell.send(Step::End { images, failed }).await;
    };
    let work = stream::once(work).filter_map(|()| ready(None));
    stream::select(work, stream::poll_fn(move |context| told.poll_recv(context))).boxed()
}

/// One image on its way.
struct Warming<'a> {
    image: &'a str,
    wanted: Wanted,
    platforms: &'a WantedPlatforms,
    fetches: &'a Semaphore,
    tell: &'a mpsc::Sender<Step>,
}

/// What belongs to an image.
#[derive(Default)]
struct Plan {
    platforms: Vec<String>,
    blobs: Vec<Named>,
    seen: HashSet<Digest>,
}

impl Plan {
    fn bytes(&self) -> u64 {
        self.blobs.iter().map(|named| named.size).fold(0, u64::saturating_add)
    }
}

impl Warming<'_> {
    /// The last step of an image that is whole, or why it is not.
    async fn whole(&self) -> Result<Step, String> {
        let root = self.root().await?;
        let plan = self.manifests(&root).await?;
        let (of, bytes) = (plan.blobs.len(), plan.bytes());
        self.step(Step::Plan { image: self.image(), blobs: of, bytes }).await;
        let bring = |named: Named| async move { (named, self.blob(&named).await) };
        let brought: Vec<_> = plan.blobs.iter().copied().map(bring).collect();
        let mut brought = stream::iter(brought).buffer_unordered(AT_ONCE);
        let (mut n, mut fetched) = (0, 0_u64);
        while let Some((named, outcome)) = brought.next().await {
            n += 1;
            let anew = outcome?;
            fetched += if anew { named.size } else { 0 };
            let (digest, size) = (named.digest, named.size);
            self.step(Step::Blob { image: self.image(), digest, n, of, size, fetched: anew }).await;
        }
        self.look(&root, &plan).await?;
        Ok(Step::Done {
            image: self.image(),
            name: self.wanted.name.to_string(),
            digest: root.digest,
            platforms: plan.platforms.clone(),
            blobs: of,
            bytes,
            fetched,
            stale: root.stale,
        })
    }

    /// What was named: the tag is asked for as by a client, who would be told what is kept where the remote cannot say.
    async fn root(&self) -> Result<Found, String> {
        let Wanted { mirror, name, reference } = &self.wanted;
        let _turn = self.fetches.acquire().await.map_err(|error| error.to_string())?;
        let found = match reference {
            Reference::Tag(tag) => tags::find(mirror, name, tag, &Asker::Mirror).await,
            Reference::Digest(digest) => return self.manifest(digest).await,
        };
        found.map_err(|error| error.to_string())
    }

    async fn manifest(&self, digest: &Digest) -> Result<Found, String> {
        let Wanted { mirror, name, .. } = &self.wanted;
        if let Some(found) = manifests::kept(mirror, name, digest).await {
            return Ok(found);
        }
        // The last pulls are for those who wait.
        mirror.remote.may_spare().await.map_err(|error| format!("manifest {digest}: {error}"))?;
        let found = manifests::obtain(mirror, name, digest, &Asker::Mirror, None, mirror.until()).await;
        found.map_err(|error| format!("manifest {digest}: {error}"))
    }

    /// Every manifest of the wanted platforms, which are then here, and the blobs of them all.
    async fn manifests(&self, root: &Found) -> Result<Plan, String> {
        let mut plan = Plan::default();
        let mut waiting = vec![(root.clone(), ANY.to_owned())];
        let mut manifests = 0;
        while let Some((found, platform)) = waiting.pop() {
            manifests += 1;
            if manifests > MAX_MANIFESTS {
                return Err(format!("it has more than {MAX_MANIFESTS} manifests"));
            }
            let known = (platform != ANY).then(|| platform.clone());
            self.step(Step::Manifest { image: self.image(), digest: found.digest, platform: known.clone() }).await;
            match Image::of(&found.manifest) {
                Image::Single(blobs) => {
                    let Wanted { mirror, name, .. } = &self.wanted;
                    mirror.blobs.named_by_manifest(name, &blobs);
                    mirror.parts.keep.pulled(name, &found.digest).await;
                    plan.blobs.extend(blobs.into_iter().filter(|named| plan.seen.insert(named.digest)));
                    plan.platforms.extend(known.filter(|known| !plan.platforms.contains(known)));
                }
                Image::Index(children) => {
                    let listed: Vec<String> = children.iter().map(|child| child.platform.clone()).collect();
                    let mut any = false;
                    for child in children.into_iter().filter(|child| self.wants(&child.platform)) {
                        any = true;
                        if plan.seen.insert(child.digest) {
                            let _turn = self.fetches.acquire().await.map_err(|error| error.to_string())?;
                            waiting.push((self.manifest(&child.digest).await?, child.platform));
                        }
                    }
                    if !any && !listed.is_empty() {
                        return Err(format!("it has no such platform, but {}", listed.join(", ")));
                    }
                }
            }
        }
        Ok(plan)
    }

    fn wants(&self, platform: &str) -> bool {
        match self.platforms {
            WantedPlatforms::All => true,
            WantedPlatforms::These(wanted) => platform == ANY || wanted.iter().any(|wanted| is_of(platform, wanted)),
        }
    }

    /// Has one blob kept in the repository; whether it had to be fetched.
    async fn blob(&self, named: &Named) -> Result<bool, String> {
        let Wanted { mirror, name, .. } = &self.wanted;
        let (digest, size) = (named.digest, named.size);
        let _turn = self.fetches.acquire().await.map_err(|error| error.to_string())?;
        let fetching = blobs::fetch(mirror, name, &digest);
        tokio::pin!(fetching);
        let mut ticks = interval(PROGRESS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                brought = &mut fetching => {
                    return brought.map(|brought| brought.fetched).map_err(|error| format!("blob {digest}: {error}"));
                }
                _ = ticks.tick() => {
                    let received = mirror.parts.cache.progress(&digest).map_or(0, |coming| coming.got);
                    self.step(Step::Bytes { image: self.image(), digest, received, size }).await;
                }
            }
        }
    }

    /// Whether it would pull, by the rule by which it is served: what one has fetched may have been taken away meanwhile.
    async fn look(&self, root: &Found, plan: &Plan) -> Result<(), String> {
        let Wanted { mirror, name, .. } = &self.wanted;
        let whole = complete::look_now(mirror, name, &root.digest, Need::All).await;
        match plan.platforms.iter().find(|platform| !whole.contains(*platform)) {
            _ if whole.is_empty() => Err("it is not whole here after all: something takes away what is kept".into()),
            Some(platform) => Err(format!("{platform} is not whole here after all: something takes away what is kept")),
            None => Ok(()),
        }
    }

    fn image(&self) -> String {
        self.image.to_owned()
    }

    /// Waits until somebody takes it. The receiver stands in the stream that does this work, so it is there.
    async fn step(&self, step: Step) {
        _ = self.tell.send(step).await;
    }
}

/// Whether a platform is what was asked for: a variant that was not named may be any.
fn is_of(platform: &str, wanted: &str) -> bool {
    platform == wanted || platform.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_a_variant_is_any_variant() {
        assert!(is_of("linux/arm/v7", "linux/arm") && is_of("linux/arm/v7", "linux/arm/v7"));
        assert!(!is_of("linux/arm64", "linux/arm") && !is_of("linux/arm", "linux/arm/v7"));
    }

    #[tokio::test]
    async fn what_cannot_be_named_fails_and_the_rest_goes_on_to_an_end() {
        let wish = |image: &str| Wish { image: image.into(), found: Err("no remote has it".into()) };
        let steps: Vec<_> = warm(vec![wish("a"), wish("b")], WantedPlatforms::All).collect().await;
        let failed = |image: &str| Step::Failed { image: image.into(), message: "no remote has it".into() };
        assert_eq!(steps, [failed("a"), failed("b"), Step::End { images: 2, failed: 2 }]);
        assert_eq!(serde_json::to_string(&steps[2]).unwrap(), r#"{"event":"end","images":2,"failed":2}"#);
    }
}
