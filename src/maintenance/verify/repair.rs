//! Putting right what is wrong, from where it still is right. What is there and right is never written over: whether it is wrong
//! has been looked at twice, and bytes take their place only when their digest is proven.

use std::collections::BTreeSet;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use super::holdings::Holdings;
use super::report::{Findings, Step};
use super::run::{Holder, Run};
use super::see::Seen;
use super::wrong::{Bytes, State, Wrong, digest_of, repository_of};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::{Error, Found, Link};

/// What is repaired may name what is wrong as well: an index its images, an image its layers. So often is looked at that.
const ROUNDS: usize = 4;
/// Damages that are repaired at once.
const MENDS_AT_ONCE: usize = 4;

/// By what something was repaired, or why it was not.
pub(super) type Outcome = Result<String, String>;

/// What a round has changed.
#[derive(Default)]
struct Touched {
    /// Where something is there that was not.
    repositories: BTreeSet<RepositoryName>,
    /// Where manifests are there that were not, or can be read again: what they name has to be looked at.
    manifests: BTreeSet<RepositoryName>,
}

/// Repairs what can be, and what that brings to light.
pub(super) async fn repair(run: &Run<'_>, findings: &mut Findings) -> Result<(), Error> {
    let mut begun = 0;
    for _ in 0..ROUNDS {
        let touched = round(run, findings, begun).await;
        begun = findings.list.len();
        run.tell_fleet(&touched.repositories).await;
        for name in touched.manifests {
            let held = Holdings::gather(run.parts.storage.links_of(&name).await).await?;
            for wrong in run.check(&name, &held, true).await?.wrongs {
                run.found(findings, wrong);
            }
        }
        if findings.list.len() == begun {
            break;
        }
    }
    Ok(())
}

/// Tries each of those that were found since: bytes first, since links lead to them.
async fn round(run: &Run<'_>, findings: &mut Findings, begun: usize) -> Touched {
    let touched = Mutex::new(Touched::default());
    for bytes in [true, false] {
        let found = findings.list.iter().enumerate().skip(begun);
        let found = found.filter(|(_, finding)| finding.wrong.bytes_of().is_some() == bytes);
        let wrongs: Vec<(usize, Wrong)> = found.map(|(at, finding)| (at, finding.wrong.clone())).collect();
        let mends = wrongs.into_iter().map(|(at, wrong)| {
            let touched = &touched;
            async move { (at, run.mend(&wrong, touched).await) }
        });
        let mut mends = futures::stream::iter(mends).buffer_unordered(MENDS_AT_ONCE);
        while let Some((at, outcome)) = mends.next().await {
            let Some(finding) = findings.list.get_mut(at) else { continue };
            let (state, by) = match outcome {
                Ok(by) => (State::Repaired, by),
                Err(why) => (State::Left, why),
            };
            (finding.state, finding.by) = (state, Some(by));
            let damage = finding.damage(&run.holders_of(&finding.wrong));
            run.tell.step(&Step::Damage { damage: &damage });
        }
    }
    touched.into_inner()
}

impl Run<'_> {
    /// Who needs what is wrong, as far as that is known.
    pub(super) fn holders_of(&self, wrong: &Wrong) -> Vec<RepositoryName> {
        let holders = wrong.bytes_of().map(|digest| self.holders(digest)).unwrap_or_default();
        holders.into_iter().map(|holder| holder.name).collect()
    }

    async fn mend(&self, wrong: &Wrong, touched: &Mutex<Touched>) -> Outcome {
        match wrong {
            Wrong::Bytes { digest, .. } | Wrong::Absent { digest, .. } => {
                if let Seen::Right(_) = self.see(digest).await.map_err(told)? {
                    return Ok("somebody else".to_owned());
                }
                let holders = self.holders(digest);
                let by = match self.bring(digest, &holders).await {
                    // Who pushes it again would find it there, and leave it as it is.
                    Err(_) if holders.is_empty() && matches!(wrong, Wrong::Bytes { how: Bytes::Other(_), .. }) => {
                        return self.take_away(digest).await;
                    }
                    outcome => outcome?,
                };
                let mut touched = touched.lock();
                holders.iter().for_each(|holder| touched.note(&holder.name, holder.manifest));
                Ok(by)
            }
            Wrong::Torn { link: Link::Tag(name, tag) } => self.mend_tag(name, tag, touched).await,
            Wrong::Torn { link } | Wrong::Astray { link, .. } => {
                let Some(digest) = digest_of(link) else { return Err("what it should hold is not known".to_owned()) };
                self.mend_link(link, &digest, touched).await
            }
            Wrong::Nowhere { name, target, .. } => {
                self.mend_link(&Link::Revision(name.clone(), *target), target, touched).await
            }
            Wrong::Lacking { name, digest, .. } => {
                self.mend_link(&Link::Layer(name.clone(), *digest), digest, touched).await
            }
        }
    }

    /// Takes wrong bytes away that nobody links. Asking all sources took its time: what somebody has put right meanwhile stays.
    async fn take_away(&self, digest: &Digest) -> Outcome {
        match self.see(digest).await.map_err(told)? {
            Seen::Right(_) => return Ok("somebody else".to_owned()),
            Seen::Unreadable(why) => return Err(why),
            Seen::Gone | Seen::Other(_) => {}
        }
        self.parts.storage.blob_remove(digest).await.map_err(told)?;
        Ok("taking it away, since nobody links it".to_owned())
    }

    /// Writes a link, once the bytes that it leads to are there and right.
    async fn mend_link(&self, link: &Link, digest: &Digest, touched: &Mutex<Touched>) -> Outcome {
        let (name, manifest) = (repository_of(link), matches!(link, Link::Revision(..)));
        // What a tag has led to once may be gone for good.
        let mut by = "what is there".to_owned();
        if !matches!(link, Link::TagIndex(..)) {
            let seen = self.see(digest).await.map_err(told)?;
            if !matches!(seen, Seen::Right(_)) {
                by = self.bring(digest, &[Holder { name: name.clone(), manifest }]).await?;
            }
        }
        self.parts.storage.link_put(link, digest).await.map_err(told)?;
        // A collection that was about to take the bytes may have done so before it could see the link.
        let there =
            matches!(link, Link::TagIndex(..)) || self.parts.storage.blob_rescue(digest).await.map_err(told)?.is_some();
        touched.lock().note(name, manifest);
        if there { Ok(by) } else { Err("its bytes were taken away meanwhile".to_owned()) }
    }

    /// Leads a tag whose link says nothing to where its history, or a source, says that it led.
    async fn mend_tag(&self, name: &RepositoryName, tag: &Tag, touched: &Mutex<Touched>) -> Outcome {
        let mut by = "its history".to_owned();
        let mut target = self.last_target(name, tag).await.map_err(told)?;
        let mut failed = None;
        for source in &self.order.repair {
            if target.is_some() {
                break;
            }
            match source.tag(name, tag).await {
                Ok(found) => (target, by) = (found, source.shown()),
                Err(why) => failed = Some(format!("{}: {why}", source.shown())),
            }
        }
        let Some(target) = target else {
            return Err(failed.unwrap_or_else(|| "nobody knows where it led".to_owned()));
        };
        let revision = Link::Revision(name.clone(), target);
        if !self.parts.storage.link_exists(&revision).await.map_err(told)? {
            by = self.mend_link(&revision, &target, touched).await?;
        }
        let link = Link::Tag(name.clone(), tag.clone());
        // Finding that out took its time: what somebody has pushed, or taken away, meanwhile is not undone.
        match self.parts.storage.link(&link).await {
            Err(Error::Damaged(_)) => {}
            Ok(_) => return Ok("somebody else".to_owned()),
            Err(error) => return Err(told(error)),
        }
        self.parts.storage.link_put(&link, &target).await.map_err(told)?;
        touched.lock().note(name, true);
        Ok(format!("{by}: it leads to {target} again"))
    }

    /// The manifest that a tag was led to last, if one of its repository's was certainly the last.
    async fn last_target(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        let mut links = self.parts.storage.links_of(name).await;
        let mut last: Option<(Digest, std::time::SystemTime)> = None;
        let mut certain = true;
        while let Some((found, changed)) = links.try_next().await? {
            let Found::TagIndex(_, of, digest) = found else { continue };
            if of != *tag {
                continue;
            }
            match last.map(|(_, at)| changed.cmp(&at)) {
                None | Some(std::cmp::Ordering::Greater) => (last, certain) = (Some((digest, changed)), true),
                Some(std::cmp::Ordering::Equal) => certain = false,
                Some(std::cmp::Ordering::Less) => {}
            }
        }
        let Some((digest, _)) = last.filter(|_| certain) else { return Ok(None) };
        let held = self.parts.storage.link_exists(&Link::Revision(name.clone(), digest)).await?;
        Ok(held.then_some(digest))
    }

    /// The instances of the fleet forget what they know of these repositories, and lists that they keep.
    async fn tell_fleet(&self, names: &BTreeSet<RepositoryName>) {
        for name in names {
            match self.parts.fleet.deleting(name).await {
                Ok(deleting) => deleting.done().await,
                Err(error) => tracing::warn!(%error, %name, "what was repaired may be seen late"),
            }
            if let Err(error) = self.parts.storage.stamp_changed(Some(name)).await {
                tracing::warn!(%error, %name, "what was repaired may be missing from lists until list_ttl is over");
            }
        }
    }
}

impl Touched {
    fn note(&mut self, name: &RepositoryName, manifest: bool) {
        self.repositories.insert(name.clone());
        if manifest {
            self.manifests.insert(name.clone());
        }
    }
}

pub(super) fn told(error: Error) -> String {
    error.to_string()
}
