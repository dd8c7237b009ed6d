//! What a tag names now. A record that is fresh answers by itself; else the remote is asked by HEAD, once for all who wait, and by GET
//! only for a manifest that is not here.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::StatusCode;
use moka::sync::Cache;
use tokio::time::timeout_at;

use super::flights::Flights;
use super::manifests::{self, Found, Outcome, Told, too_slow};
use super::record::now;
use super::rights::{self, Thing, Who};
use super::statuses::{self, Asked};
use super::{Mirror, Reply, Request, TagRecord, Until, overlay, received, stale};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::remote::{Asker, RemoteError, What};

/// So long it is remembered that a tag is not there: one that is pushed meanwhile is missed for no longer.
const ABSENT_TIME: Duration = Duration::from_secs(10);
/// Tags of which that is remembered, and records that are at hand: about 4 MiB each.
const MOST: u64 = 10_000;
/// A record is at hand for so long at most; other instances may have written a newer one.
const RECORD_TIME: Duration = Duration::from_secs(600);
/// That nothing has changed is written down no more often than this, where tags are always asked.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

type Named = (RepositoryName, Tag);

/// What is at hand of tags, and questions under way.
pub(super) struct Tags {
    records: Cache<Named, Arc<TagRecord>>,
    absent: Cache<(RepositoryName, Tag, Who), StatusCode>,
    asked: Flights<(RepositoryName, Tag, Who), Outcome>,
}

impl Default for Tags {
    fn default() -> Self {
        Tags {
            records: Cache::builder().max_capacity(MOST).time_to_live(RECORD_TIME).build(),
            absent: Cache::builder().max_capacity(MOST).time_to_live(ABSENT_TIME).build(),
            asked: Flights::default(),
        }
    }
}

/// GET and HEAD by tag.
pub(super) async fn answer(mirror: &Arc<Mirror>, request: &Request, name: &RepositoryName, tag: &Tag) -> Reply {
    // What was pushed here wins, and a question to the remote never changes it.
    if let Some(reply) = overlay::own(mirror, request).await {
        return reply;
    }
    let asker = mirror.asker(&request.asker);
    match find(mirror, name, tag, &asker).await {
        Ok(found) => {
            mirror.seen.served(mirror, (name, tag), &found, request.action.is_head());
            manifests::reply(mirror, request, name, found, true)
        }
        Err(error) => statuses::reply(&error, Asked::Manifest, mirror.remote.config()),
    }
}

/// The manifest that the tag names, in bounded time; what is kept, where the remote cannot say.
pub(super) async fn find(mirror: &Arc<Mirror>, name: &RepositoryName, tag: &Tag, asker: &Asker) -> Outcome {
    let until = mirror.until();
    let key = (name.clone(), tag.clone(), Who::by(asker));
    if let Some(status) = mirror.tags.absent.get(&key) {
        return Err(RemoteError::Absent(status));
    }
    if let Ok(Some(found)) = timeout_at(until.remote, fresh(mirror, name, tag, asker)).await {
        return Ok(found);
    }
    let question = Ask { name: name.clone(), tag: tag.clone(), asker: asker.clone(), until };
    let asked = mirror.tags.asked.join(key, || ask(mirror.clone(), question).boxed());
    // The question ends by itself when the remote's time is over.
    let error = match timeout_at(until.answer, asked).await {
        Ok(landed) => match manifests::outcome(landed) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        },
        Err(_) => too_slow(),
    };
    stale::instead(mirror, (name, tag), asker, error, until).await
}

/// What was asked for not long ago and is kept.
async fn fresh(mirror: &Mirror, name: &RepositoryName, tag: &Tag, asker: &Asker) -> Option<Found> {
    let ttl = mirror.remote.config().tag_ttl.0;
    if ttl.is_zero() || !mirror.rights.known(asker, name, Thing::Tag(tag.clone())) {
        return None;
    }
    let is_fresh = |record: &TagRecord| record.age(now()).is_some_and(|age| age < ttl);
    let at_hand = mirror.tags.records.get(&(name.clone(), tag.clone())).filter(|record| is_fresh(record));
    let record = match at_hand {
        Some(record) => record,
        None => record(mirror, name, tag).await.filter(|record| is_fresh(record))?,
    };
    manifests::kept(mirror, name, &record.newest()?).await
}

/// What is kept of the tag, as other instances know it as well. What cannot be read is as if it were not there.
pub(super) async fn record(mirror: &Mirror, name: &RepositoryName, tag: &Tag) -> Option<Arc<TagRecord>> {
    let key = (name.clone(), tag.clone());
    match mirror.parts.keep.tag(name, tag).await {
        Ok(Some(record)) => {
            // What could not be written is still known here.
            let record = match mirror.tags.records.get(&key) {
                Some(known) => Arc::new(record.joined(&known)),
                None => Arc::new(record),
            };
            mirror.tags.records.insert(key, record.clone());
            Some(record)
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%name, %tag, %error, "what is known of a tag cannot be read");
            mirror.tags.records.get(&key)
        }
    }
}

/// What this process knows of the tag.
pub(super) fn at_hand(mirror: &Mirror, name: &RepositoryName, tag: &Tag) -> Option<Arc<TagRecord>> {
    mirror.tags.records.get(&(name.clone(), tag.clone()))
}

/// Changes what is known of a tag, and writes it down; `write` says whether that is worth it.
pub(super) async fn note(
    mirror: &Mirror,
    (name, tag): (&RepositoryName, &Tag),
    change: impl FnOnce(Option<&TagRecord>) -> Option<(TagRecord, bool)>,
) {
    let before = record(mirror, name, tag).await;
    let Some((record, write)) = change(before.as_deref()) else { return };
    let key = (name.clone(), tag.clone());
    // Somebody else may have noted something meanwhile.
    let known = mirror.tags.records.get(&key).map_or_else(|| record.clone(), |known| record.joined(&known));
    mirror.tags.records.insert(key, Arc::new(known));
    if !write {
        return;
    }
    if let Err(error) = mirror.parts.keep.put_tag(name, tag, &record).await {
        tracing::warn!(%name, %tag, %error, "what is known of a tag is not kept");
    }
}

/// One question.
struct Ask {
    name: RepositoryName,
    tag: Tag,
    asker: Asker,
    until: Until,
}

async fn ask(mirror: Arc<Mirror>, question: Ask) -> Outcome {
    let asked = asked(&mirror, &question).await;
    let Ask { name, tag, asker, until } = &question;
    match &asked {
        Ok(found) => {
            mirror.rights.given(asker, name, Thing::Tag(tag.clone()));
            mirror.rights.given(asker, name, Thing::Manifest(found.digest));
            let ttl = mirror.remote.config().tag_ttl.0;
            let noting = note(&mirror, (name, tag), |before| Some(named(before, found.digest, ttl)));
            if timeout_at(until.keeping(), noting).await.is_err() {
                tracing::warn!(%name, %tag, "what is known of a tag is not kept: that takes too long");
            }
        }
        Err(RemoteError::Absent(status)) => {
            mirror.tags.absent.insert((name.clone(), tag.clone(), Who::by(asker)), *status);
        }
        Err(_) => {}
    }
    asked
}

/// The record after an answer, and whether it is written down.
fn named(before: Option<&TagRecord>, digest: Digest, ttl: Duration) -> (TagRecord, bool) {
    let now = now();
    let Some(before) = before else { return (TagRecord::new(digest, now), true) };
    let mut record = before.clone();
    record.names(digest, now);
    let interval = if ttl.is_zero() { TOUCH_INTERVAL } else { ttl.min(TOUCH_INTERVAL) };
    let old = before.age(now).is_none_or(|age| age >= interval);
    let write = old || before.newest() != Some(digest);
    if !write {
        // As it is written down: by its age it is told when it has to be written anew.
        record.asked = before.asked;
    }
    (record, write)
}

async fn asked(mirror: &Arc<Mirror>, question: &Ask) -> Outcome {
    let Ask { name, tag, asker, until } = question;
    let reference = Reference::Tag(tag.clone());
    let headers = match rights::head(mirror, name, What::Manifest(&reference), asker, until.remote).await {
        Ok(headers) => headers,
        // Some registries have no HEAD.
        Err(RemoteError::Unsupported(_)) => return manifests::get(mirror, name, &reference, asker, *until).await,
        Err(error) => return Err(error),
    };
    let Some(digest) = received::told_digest(&headers) else {
        return manifests::get(mirror, name, &reference, asker, *until).await;
    };
    if let Some(found) = manifests::kept(mirror, name, &digest).await {
        return Ok(found);
    }
    let told = Told { media_type: received::sent_media_type(&headers) };
    let obtained = match manifests::obtain(mirror, name, &digest, asker, Some(told), *until).await {
        // The tag has moved meanwhile, or the remote knows this manifest by its tag alone.
        Err(RemoteError::Absent(_)) => manifests::get(mirror, name, &reference, asker, *until).await,
        obtained => obtained,
    };
    obtained.map_err(|error| match error {
        // It has just said that it is there: what is kept may speak.
        RemoteError::Absent(_) => RemoteError::Useless(format!("it names {digest} and does not have it")),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn that_nothing_has_changed_is_not_written_down_each_time() {
        let (digest, other) = (Digest::of(Algorithm::Sha256, b"a"), Digest::of(Algorithm::Sha256, b"b"));
        let minute = Duration::from_secs(60);
        let (first, write) = named(None, digest, minute);
        assert!(write);
        assert!(!named(Some(&first), digest, Duration::ZERO).1);
        assert!(!named(Some(&first), digest, minute).1);
        assert!(named(Some(&first), other, Duration::ZERO).1);
        let old = TagRecord { asked: first.asked - 61, ..first };
        assert!(named(Some(&old), digest, Duration::ZERO).1 && named(Some(&old), digest, minute).1);
    }
}
