//! What goes of a repository: written down, and then taken.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::follower::Subject;
use super::look::Looked;
use super::verdict::{Seen, Verdict};
use crate::events::Listener;
use crate::maintenance::journal::{Journal, MAX_LINKS, Taken};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::{Decided, Registry};
use crate::storage::Error;

/// Tags whose history is read at once.
const AT_ONCE: usize = 8;

/// A repository of which a run takes something.
pub struct Taking<'a> {
    pub registry: &'a Registry,
    pub name: &'a RepositoryName,
    /// What the run is called.
    pub run: &'a str,
    pub listener: Option<&'a Arc<dyn Listener>>,
}

/// How many tags went, and how many were set again before they could.
#[derive(Default)]
pub struct Took {
    pub gone: usize,
    pub set_again: usize,
}

impl Taking<'_> {
    /// Writes down what goes, and takes it. When it fails on the way, more may be gone than `took` has.
    pub async fn take(&self, looked: &Looked, took: &mut Took) -> Result<(), Error> {
        let Looked { view, verdicts } = looked;
        let (tags, followers) = verdicts.split_at(view.tags.len().min(verdicts.len()));
        let decided = |seen: &Seen, verdict: &Verdict| {
            let digest = seen.digest.filter(|_| verdict.ruling.is_gone())?;
            let changed = view.restored.get(&seen.tag).copied().unwrap_or(seen.pushed);
            Some(Decided { tag: seen.tag.clone(), digest, changed })
        };
        let tags = view.tags.iter().zip(tags);
        let tags: Vec<Decided> = tags.filter_map(|(seen, verdict)| decided(seen, verdict)).collect();
        let followers: Vec<(Decided, Subject)> = view
            .followers
            .iter()
            .zip(followers)
            .filter_map(|((seen, subject), verdict)| Some((decided(seen, verdict)?, *subject)))
            .collect();
        let count = tags.len() + followers.len();
        if count == 0 {
            return Ok(());
        }
        let all: Vec<&Decided> = tags.iter().chain(followers.iter().map(|(one, _)| one)).collect();
        let restored = view.tags.iter().filter(|seen| view.restored.contains_key(&seen.tag));
        let pushed: HashMap<&Tag, SystemTime> = restored.map(|seen| (&seen.tag, seen.pushed)).collect();
        let lines = self.lines(all, &pushed).await?;
        Journal::begin(self.registry.storage(), self.run, self.name).take(&lines).await?;
        took.gone = self.registry.drop_tags(self.name, &tags, self.listener).await?.len();
        let followers = self.still_dangling(followers).await?;
        took.gone += self.registry.drop_tags(self.name, &followers, self.listener).await?.len();
        took.set_again = count - took.gone;
        Ok(())
    }

    /// Each tag, and what it has led to before: of that only as much as a journal has room for. `pushed`: of those whose link is younger
    /// than that.
    async fn lines(&self, all: Vec<&Decided>, pushed: &HashMap<&Tag, SystemTime>) -> Result<Vec<Taken>, Error> {
        let mut room = MAX_LINKS.saturating_sub(2 * all.len());
        let mut lines = Vec::with_capacity(2 * all.len());
        let mut each = Vec::with_capacity(all.len());
        for one in all {
            each.push(self.history(one).boxed());
        }
        let mut histories = stream::iter(each).buffered(AT_ONCE);
        while let Some((one, history)) = histories.try_next().await? {
            let (now, mut before): (Vec<_>, Vec<_>) = history.into_iter().partition(|taken| taken.digest == one.digest);
            before.truncate(room);
            room -= before.len();
            lines.push(now.into_iter().next().unwrap_or_else(|| Taken::tag_index(one.tag.clone(), one.digest)));
            lines.extend(before);
            let changed = pushed.get(&one.tag).copied().unwrap_or(one.changed);
            lines.push(Taken::tag(one.tag.clone(), one.digest).changed(changed));
        }
        Ok(lines)
    }

    /// The latest first.
    async fn history<'a>(&self, one: &'a Decided) -> Result<(&'a Decided, Vec<Taken>), Error> {
        let files = self.registry.storage().tag_files(self.name, &one.tag).await?;
        let mut history = files.history(self.name, &one.tag);
        history.sort_unstable_by_key(|(digest, changed)| (Reverse(*changed), *digest));
        let line = |(digest, changed)| Taken::tag_index(one.tag.clone(), digest).changed(changed);
        Ok((one, history.into_iter().map(line).collect()))
    }

    /// Those whose subject nobody has pushed, or brought back, since the look.
    async fn still_dangling(&self, followers: Vec<(Decided, Subject)>) -> Result<Vec<Decided>, Error> {
        if followers.is_empty() {
            return Ok(Vec::new());
        }
        let revisions: HashSet<Digest> = self.registry.storage().revisions(self.name).await?.into_iter().collect();
        let dangling = followers.into_iter().filter(|(_, subject)| !subject.is_in(&revisions));
        Ok(dangling.map(|(one, _)| one).collect())
    }
}
