//! Where needs begin in a repository whose manifests go when nothing keeps them.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures::future::FutureExt as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::config::Untagged;
use super::reach::{Aliases, Reach, Roots, Unneeded, is_about};
use super::references::Read;
use super::report::Young;
use super::time::{Time, is_past};
use super::view::View;
use super::work::Work;
use crate::mirror::TagRecord;
use crate::oci::{Digest, Tag};
use crate::storage::{Error, Link, OwnKey, layout};

/// Tags of one repository that are read at once.
const AT_ONCE: usize = 8;
/// Of a record of a remote's tag, in bytes.
const RECORD_LIMIT: u64 = 64 << 10;

impl Work<'_> {
    /// What of a repository is needed, as far as its links tell now. What cannot be found out is needed.
    pub async fn reach(&self, view: &View, read: &Read, aliases: &Aliases) -> Result<Reach, Error> {
        self.reach_of(view, read, aliases, self.grace()).await
    }

    /// The same, where whatever is younger than `grace` is needed.
    async fn reach_of(&self, view: &View, read: &Read, aliases: &Aliases, grace: Duration) -> Result<Reach, Error> {
        let all = || Reach::of_all(view, &read.references, aliases);
        let Untagged::After(span) = self.untagged else { return Ok(all()) };
        let young = span.0.max(grace);
        let is_young = |(_, changed): &&(Digest, SystemTime)| !is_past(*changed, young, self.begun);
        let mut roots = Roots {
            manifests: view.revisions.iter().filter(is_young).map(|(digest, _)| *digest).collect(),
            ..Roots::default()
        };
        let reach = |roots: &Roots| Reach::from(view, &read.references, aliases, roots);
        let rest = |reach: &Reach| -> Vec<Digest> {
            let rest =
                view.revisions.iter().map(|(digest, _)| digest).filter(|digest| !reach.manifests.contains(digest));
            rest.copied().collect()
        };
        // The questions that cost most come last, and only where they matter.
        if rest(&reach(&roots)).is_empty() {
            return Ok(all());
        }
        let known = self.tags(view, &mut roots).await? && self.remote_tags(view, &mut roots).await?;
        if !known {
            return Ok(all());
        }
        let left = rest(&reach(&roots));
        if !left.is_empty() && !span.0.is_zero() {
            let Some(pulls) = &self.tools.pulls else { return Ok(all()) };
            let Some(since) = self.begun.checked_sub(span.0) else { return Ok(all()) };
            self.pace.take(1).await;
            roots.manifests.extend(pulls.pulled(&view.name, &left, since).await?);
        }
        Ok(reach(&roots))
    }

    /// What would go beside what goes, were it not young.
    pub async fn young(&self, view: &View, read: &Read, aliases: &Aliases, goes: &Unneeded) -> Result<Young, Error> {
        let reach = self.reach_of(view, read, aliases, Duration::ZERO).await?;
        let some_day = reach.unneeded(view, Duration::ZERO, self.begun);
        let layers: HashSet<_> = goes.layers.iter().collect();
        let manifests: HashSet<_> = goes.manifests.iter().collect();
        let layers = some_day.layers.iter().filter(|digest| !layers.contains(digest));
        let manifests = some_day.manifests.iter().filter(|digest| !manifests.contains(digest));
        let mut young = Young::default();
        for changed in layers.filter_map(|digest| view.layer(digest)) {
            young.add(Young { blobs: 1, ..self.young_since(changed) });
        }
        for changed in manifests.filter_map(|digest| view.revision(digest)) {
            young.add(Young { manifests: 1, ..self.young_since(changed) });
        }
        Ok(young)
    }

    /// Nothing that was written then.
    pub fn young_since(&self, changed: SystemTime) -> Young {
        Young { until: Some(Time::of(changed).plus(self.grace())), ..Young::default() }
    }

    /// What the tags lead to. False if one of them cannot be read.
    async fn tags(&self, view: &View, roots: &mut Roots) -> Result<bool, Error> {
        let each: Vec<_> = view.tags.iter().map(|(tag, _)| self.led_to(view, tag).boxed()).collect();
        let mut led = futures::stream::iter(each).buffer_unordered(AT_ONCE);
        while let Some((tag, digest)) = led.try_next().await? {
            match digest {
                Led::To(digest) if is_about(&tag) => drop(roots.about.insert(digest)),
                Led::To(digest) => drop(roots.manifests.insert(digest)),
                Led::Nowhere => {}
                Led::Torn => return Ok(false),
            }
        }
        Ok(true)
    }

    pub async fn led_to(&self, view: &View, tag: &Tag) -> Result<(Tag, Led), Error> {
        self.pace.take(1).await;
        let led = match self.storage.link(&Link::Tag(view.name.clone(), tag.clone())).await {
            Ok(Some(digest)) => Led::To(digest),
            Ok(None) => Led::Nowhere,
            // A crash left it so, or somebody writes it at this moment.
            Err(Error::Damaged(_)) => Led::Torn,
            Err(error) => return Err(error),
        };
        Ok((tag.clone(), led))
    }

    /// What tags of a remote lead to, and led to lately, where the repository is a mirror's. False if a record cannot be read.
    async fn remote_tags(&self, view: &View, roots: &mut Roots) -> Result<bool, Error> {
        let folder = format!("{}/{}{}", layout::MIRROR, view.name, layout::MIRROR_TAGS.trim_end_matches('/'));
        self.pace.take(1).await;
        let mut entries = self.storage.below(&folder, None);
        while let Some(entry) = entries.try_next().await? {
            let Ok(tag) = entry.name.parse::<Tag>() else { continue };
            self.pace.take(1).await;
            let key = OwnKey::MirrorTag(view.name.clone(), tag);
            let record = match self.storage.own(&key, RECORD_LIMIT).await {
                Ok(Some((bytes, _))) => TagRecord::read(&bytes),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match record {
                Ok(record) => roots.manifests.extend(record.digests),
                Err(Error::Damaged(_) | Error::TooLarge(_) | Error::Newer { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Where a tag leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    To(Digest),
    Nowhere,
    Torn,
}
