//! What is served of a tag while the remote cannot say what it names: the newest of what it was that can be pulled whole.

use std::sync::Arc;

use futures::future::join_all;
use http::HeaderValue;
use http::header::WARNING;
use tokio::time::timeout_at;

use super::complete::{self, Need};
use super::manifests::{self, Found, Outcome};
use super::record::now;
use super::rights::Thing;
use super::{Mirror, Reply, TagRecord, Until, tags};
use crate::oci::{RepositoryName, Tag};
use crate::remote::config::{AskedAs, Stale};
use crate::remote::{Asker, Config, RemoteError, Throttle};

/// What clients are told then (distribution-spec, "Warnings").
const STALE_WARNING: HeaderValue =
    HeaderValue::from_static("299 - \"the remote registry gives no answer: served as last known\"");

/// Marks an answer that is as the remote gave it once.
pub(super) fn warn(reply: &mut Reply) {
    reply.headers.insert(WARNING, STALE_WARNING);
}

/// Instead of the remote, which has failed so; the failure, if there is nothing to serve.
pub(super) async fn instead(
    mirror: &Arc<Mirror>,
    (name, tag): (&RepositoryName, &Tag),
    asker: &Asker,
    error: RemoteError,
    until: Until,
) -> Outcome {
    let allowed = mirror.rights.known(asker, name, Thing::Tag(tag.clone()));
    if !allowed || !may_speak(&error, mirror.remote.config()) {
        return Err(error);
    }
    match timeout_at(until.answer, newest(mirror, name, tag, need(&error))).await {
        Ok(Some(found)) => {
            tracing::debug!(%name, %tag, digest = %found.digest, %error, "a tag is served as it was");
            Ok(Found { stale: true, ..found })
        }
        _ => Err(error),
    }
}

/// A remote that refuses our own credentials may still let its content be served as it was: whoever asks us has shown it none.
pub(super) fn may_speak(error: &RemoteError, config: &Config) -> bool {
    let denied = matches!(error, RemoteError::Denied(_)) && config.identity == AskedAs::Mirror;
    denied || error.lets_kept_speak()
}

/// Where only pulls are used up, the remote still gives blobs.
fn need(error: &RemoteError) -> Need {
    match error {
        RemoteError::Exhausted { .. } | RemoteError::Throttled(Throttle::Pulls { .. }) => Need::Manifests,
        _ => Need::All,
    }
}

async fn newest(mirror: &Arc<Mirror>, name: &RepositoryName, tag: &Tag, need: Need) -> Option<Found> {
    let record = tags::record(mirror, name, tag).await?;
    if !is_young_enough(&record, mirror.remote.config().stale) {
        return None;
    }
    let all = record.digests.iter().map(|digest| complete::platforms(mirror, name, digest, need));
    let index = complete::newest(&join_all(all).await)?;
    manifests::kept(mirror, name, record.digests.get(index)?).await
}

fn is_young_enough(record: &TagRecord, stale: Stale) -> bool {
    match stale {
        Stale::Always => true,
        Stale::For(span) => record.age(now()).is_some_and(|age| age < span.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::oci::{Algorithm, Digest};
    use crate::units::Span;

    #[test]
    fn what_is_too_old_is_not_served() {
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let record = TagRecord::new(digest, now() - 100);
        assert!(is_young_enough(&record, Stale::Always));
        assert!(is_young_enough(&record, Stale::For(Span(Duration::from_secs(200)))));
        assert!(!is_young_enough(&record, Stale::For(Span(Duration::from_secs(50)))));
    }

    #[test]
    fn only_a_remote_that_says_no_is_taken_at_its_word() {
        let of = |text: &str| toml::from_str::<Config>(&format!("registry = \"a.test\"\n{text}")).unwrap();
        let (mirror, caller) = (of(""), of("identity = \"caller\""));
        let denied = RemoteError::Denied(StatusCode::UNAUTHORIZED);
        assert!(may_speak(&denied, &mirror) && !may_speak(&denied, &caller));
        for config in [&mirror, &caller] {
            assert!(may_speak(&RemoteError::Down(String::new()), config));
            assert!(!may_speak(&RemoteError::Absent(StatusCode::NOT_FOUND), config));
        }
    }
}
