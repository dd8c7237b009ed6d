//! Looks at a repository, as far as it has to: most of the time its list of tags says that nothing goes, and nothing else is read.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::created::{created, proven};
use super::evaluate::{Due, Facts, View, evaluate, is_within, judge};
use super::follow::DANGLING;
use super::follower::Subject;
use super::verdict::{Kept, Ruling, Seen, Verdict};
use crate::maintenance::day::Day;
use crate::maintenance::pulls::Pulled;
use crate::maintenance::restored::RestoredTags;
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag, media_type};
use crate::registry::Registry;
use crate::storage::{Error, Link, References, Refers, Storage, layout};

/// Tags of a repository that are looked at; one with more is left as it is.
const MAX_TAGS: usize = 100_000;
/// Questions to storage at once.
const AT_ONCE: usize = 8;
/// Manifests that are read to find what indexes hold, in one repository; one that would need more is left as it is.
const MAX_MANIFESTS: usize = 200_000;

/// One repository and what is to be decided of it.
pub struct Look<'a> {
    pub registry: &'a Registry,
    pub name: &'a RepositoryName,
    /// Those that concern it.
    pub policies: &'a [Due<'a>],
    pub now: SystemTime,
    /// Since when pulls are recorded.
    pub recorded_since: Day,
}

/// What was found, and what becomes of it; of what stays perhaps not all that is to be known.
#[derive(Debug, Default)]
pub struct Looked {
    pub view: View,
    pub verdicts: Vec<Verdict>,
}

impl Look<'_> {
    pub async fn look(&self) -> Result<Looked, Error> {
        let restored = RestoredTags::read(self.storage(), self.name).await?;
        let mut view = self.listed(&restored).await?;
        let rulings = judge(self.policies, &view.tags, self.now, Facts::Pushes);
        let going = rulings.iter().any(Ruling::is_gone);
        if self.may_dangle(&view) {
            view.revisions = Some(self.storage().revisions(self.name).await?.into_iter().collect());
        }
        if !going && !dangles(&view) {
            return Ok(all_stay(view, rulings));
        }
        self.read(&mut view, &restored).await?;
        let rulings = judge(self.policies, &view.tags, self.now, Facts::All);
        if !rulings.iter().any(Ruling::is_gone) && !dangles(&view) {
            return Ok(all_stay(view, rulings));
        }
        if !view.followers.is_empty() && view.revisions.is_none() {
            view.revisions = Some(self.storage().revisions(self.name).await?.into_iter().collect());
        }
        view.children = self.children(&view).await?;
        let verdicts = evaluate(self.policies, &view, self.now);
        Ok(Looked { view, verdicts })
    }

    fn storage(&self) -> &Storage {
        self.registry.storage()
    }

    /// Tags and when they were pushed.
    async fn listed(&self, restored: &RestoredTags) -> Result<View, Error> {
        let mut entries = self.storage().below(&layout::tags_folder(self.name), None);
        let mut view = View::default();
        while let Some(entry) = entries.try_next().await? {
            let Some(tag) = entry.name.strip_suffix("/current/link") else { continue };
            let Ok(tag) = tag.parse::<Tag>() else { continue };
            if view.tags.len() + view.followers.len() == MAX_TAGS {
                return Err(Error::Failed(format!("it has more than {MAX_TAGS} tags")));
            }
            let immutable = self.registry.is_immutable(self.name, &tag);
            // What is bare may be a name of its own digest, which only its link tells.
            let subject = Subject::of(&tag).filter(|_| !Subject::is_bare(&tag));
            let mut seen = Seen { tag, digest: None, pushed: entry.changed, pulled: None, created: None, immutable };
            let Some(subject) = subject else {
                if let Some(pushed) = restored.pushed(&seen.tag, None, entry.changed) {
                    view.restored.insert(seen.tag.clone(), entry.changed);
                    seen.pushed = pushed;
                }
                view.tags.push(seen);
                continue;
            };
            // A signature that somebody brought back may wait for its image as long as one that was pushed.
            view.followers.push((seen, subject));
        }
        Ok(view)
    }

    /// Whether there is a signature that would go if its subject were not there.
    fn may_dangle(&self, view: &View) -> bool {
        let old = |seen: &Seen| !is_within(self.now, seen.pushed, DANGLING);
        let acts = self.policies.iter().any(|due| due.acts);
        acts && !view.tags.is_empty() && about(view).any(|(seen, _)| old(seen))
    }

    /// What the tags lead to, when it was pulled, and of those that would go when it was made.
    async fn read(&self, view: &mut View, restored: &RestoredTags) -> Result<(), Error> {
        let (tags, followers) = (std::mem::take(&mut view.tags), std::mem::take(&mut view.followers));
        let all = tags.into_iter().chain(followers.into_iter().map(|(seen, _)| seen));
        let read = stream::iter(all).map(|seen| self.with_digest(seen).boxed()).buffered(AT_ONCE);
        for mut seen in read.try_filter_map(|seen| std::future::ready(Ok(seen))).try_collect::<Vec<_>>().await? {
            let itself = |subject: &Subject| seen.digest.is_some_and(|digest| subject.is(&digest));
            let subject = Subject::of(&seen.tag).filter(|subject| !itself(subject));
            if let Some(set) = view.restored.get(&seen.tag).copied()
                && (subject.is_some() || restored.pushed(&seen.tag, seen.digest.as_ref(), set).is_none())
            {
                view.restored.remove(&seen.tag);
                seen.pushed = set;
            }
            match subject {
                Some(subject) => view.followers.push((seen, subject)),
                None => view.tags.push(seen),
            }
        }
        if self.policies.iter().any(|due| due.policy.keep.asks_for_pulls()) {
            let pulled = Pulled::of(self.storage(), self.name, self.recorded_since).await?;
            for seen in &mut view.tags {
                let last = pulled.last(Some(&seen.tag), seen.digest.as_ref(), seen.pushed);
                seen.pulled = last.map(|last| last.min(self.now));
            }
        }
        self.date(&mut view.tags).await
    }

    /// `None`: it is gone meanwhile.
    async fn with_digest(&self, seen: Seen) -> Result<Option<Seen>, Error> {
        match self.storage().link(&Link::Tag(self.name.clone(), seen.tag.clone())).await {
            Ok(Some(digest)) => Ok(Some(Seen { digest: Some(digest), ..seen })),
            Ok(None) => Ok(None),
            Err(Error::Damaged(_)) => Ok(Some(seen)),
            Err(error) => Err(error),
        }
    }

    /// Of those that nothing else keeps, where it matters. What has no date was made when it was pushed.
    async fn date(&self, tags: &mut [Seen]) -> Result<(), Error> {
        if !self.policies.iter().any(|due| due.policy.keep.created_within.is_some()) {
            return Ok(());
        }
        let rulings = judge(self.policies, tags, self.now, Facts::All);
        let going: HashSet<Digest> =
            tags.iter().zip(&rulings).filter_map(|(seen, ruling)| seen.digest.filter(|_| ruling.is_gone())).collect();
        let dates: HashMap<Digest, Option<SystemTime>> = stream::iter(going)
            .map(|digest| {
                let date = async move { Ok::<_, Error>((digest, created(self.storage(), &digest, self.now).await?)) };
                date.boxed()
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for seen in tags {
            if let Some(date) = seen.digest.and_then(|digest| dates.get(&digest)) {
                seen.created = Some(date.unwrap_or(seen.pushed));
            }
        }
        Ok(())
    }

    /// What indexes hold that tags lead to, and indexes below them.
    async fn children(&self, view: &View) -> Result<HashMap<Digest, Vec<Digest>>, Error> {
        let known = self.storage().references(self.name).await?;
        let all = view.tags.iter().chain(view.followers.iter().map(|(seen, _)| seen));
        let led: HashSet<Digest> = all.filter_map(|seen| seen.digest).collect();
        let mut next = led.clone();
        let mut children: HashMap<Digest, Vec<Digest>> = HashMap::new();
        while !next.is_empty() {
            if children.len() + next.len() > MAX_MANIFESTS {
                return Err(Error::Failed(format!("its tags lead to more than {MAX_MANIFESTS} manifests")));
            }
            let level = std::mem::take(&mut next);
            let read = stream::iter(level).map(|digest| listed(self.storage(), (&known, &led), digest).boxed());
            for (digest, listed) in read.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await? {
                next.extend(listed.iter().filter(|entry| entry.is_index).map(|entry| entry.digest));
                children.insert(digest, listed.into_iter().map(|entry| entry.digest).collect());
            }
            next.retain(|digest| !children.contains_key(digest));
        }
        Ok(children)
    }
}

/// Tags that are about something, as far as their names tell: what is bare stands among the others until it is read.
fn about(view: &View) -> impl Iterator<Item = (&Seen, Subject)> {
    let bare = view.tags.iter().filter_map(|seen| Some((seen, Subject::of(&seen.tag)?)));
    view.followers.iter().map(|(seen, subject)| (seen, *subject)).chain(bare)
}

/// Whether something is about what is known not to be there.
fn dangles(view: &View) -> bool {
    let Some(revisions) = &view.revisions else { return false };
    about(view).any(|(_, subject)| !subject.is_in(revisions))
}

/// An entry of an index.
struct Entry {
    digest: Digest,
    is_index: bool,
}

/// What a manifest lists, if it is an index. One that cannot be read lists nothing that anybody could pull by it. `known`, `led`: what
/// a collection has written down of the repository, and what its tags lead to: an image of an index may have come later than that.
async fn listed(
    storage: &Storage,
    (known, led): (&References, &HashSet<Digest>),
    of: Digest,
) -> Result<(Digest, Vec<Entry>), Error> {
    let is_manifest = |name: &Digest| known.get(name).is_some() || led.contains(name);
    let names_manifests = |refers: &Refers| refers.names.iter().any(is_manifest);
    // Most are images, which need not be read to know that.
    if known.get(&of).is_some_and(|refers| !names_manifests(refers)) {
        return Ok((of, Vec::new()));
    }
    let bytes = proven(storage, &of, MAX_MANIFEST as u64).await?.unwrap_or_default();
    let manifests = Manifest::parse(&bytes).ok().and_then(|manifest| manifest.manifests).unwrap_or_default();
    let entry = |entry: &Descriptor| {
        let digest = entry.digest.parse().ok()?;
        Some(Entry { digest, is_index: media_type::is_index(&entry.media_type) })
    };
    Ok((of, manifests.iter().filter_map(entry).collect()))
}

/// Nothing goes, so nothing that follows anything does.
fn all_stay(view: View, rulings: Vec<Ruling>) -> Looked {
    let tags = view.tags.iter().zip(rulings);
    let followers = view
        .followers
        .iter()
        .map(|(seen, subject)| (seen, Ruling::Kept(Kept::WithSubject { subject: subject.to_string() })));
    let verdicts = tags.chain(followers).map(|(seen, ruling)| Verdict { tag: seen.tag.clone(), ruling });
    let verdicts = verdicts.collect();
    Looked { view, verdicts }
}
