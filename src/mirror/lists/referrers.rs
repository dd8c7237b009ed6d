//! What is about a manifest at the remote: by the API for it, and where that is missing by the tag in which clients keep the list
//! (distribution-spec, "Referrers Tag Schema").

use std::sync::Arc;

use super::kept::{Entries, List};
use super::pages::Pages;
use http::StatusCode;

use crate::mirror::{Mirror, tags};
use crate::oci::manifest::MAX_LISTED;
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::remote::{Asker, RemoteError};

pub(super) async fn ask(
    mirror: &Arc<Mirror>,
    name: &RepositoryName,
    subject: &Digest,
    asker: &Asker,
) -> Result<List, RemoteError> {
    let mut refused = None;
    if !mirror.lists.lacks_referrers() {
        let repository = mirror.at_remote(name)?;
        match (Pages { mirror, repository: Some(&repository), asker }).referrers(subject).await {
            Ok(found) => return Ok(list(found, false)),
            Err(RemoteError::Absent(_)) => {}
            // Some lead to a page for people, or refuse it as too much whoever asks.
            Err(RemoteError::Throttled(_)) => {}
            // Some refuse this as too much to who asks without a login, and say nothing of others.
            Err(RemoteError::Unsupported(StatusCode::TOO_MANY_REQUESTS)) => {}
            Err(error @ RemoteError::Unsupported(_)) => {
                tracing::debug!(remote = mirror.remote.name(), %error, "lists of referrers are read from tags");
                mirror.lists.note_no_referrers();
            }
            // Of this one only: another subject's may be answered.
            Err(error @ RemoteError::Useless(_)) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    let found = by_tag(mirror, name, subject, asker).await?;
    match refused {
        // Nobody has said that there are none.
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

async fn by_tag(
    mirror: &Arc<Mirror>,
    name: &RepositoryName,
    subject: &Digest,
    asker: &Asker,
) -> Result<List, RemoteError> {
    let Some(tag) = tag_of(subject) else { return Ok(list(Vec::new(), false)) };
    let found = match tags::find(mirror, name, &tag, asker).await {
        Ok(found) => found,
        Err(RemoteError::Absent(_)) => return Ok(list(Vec::new(), false)),
        Err(error) => return Err(error),
    };
    let index = Manifest::parse(&found.manifest.bytes).map_err(|error| RemoteError::Useless(error.to_string()))?;
    Ok(list(index.manifests.unwrap_or_default(), found.stale))
}

fn list(found: Vec<Descriptor>, stale: bool) -> List {
    List::new(Entries::Referrers(sorted(found)), stale)
}

/// In the order of their digests, each once.
pub(super) fn sorted(mut found: Vec<Descriptor>) -> Vec<Descriptor> {
    found.truncate(MAX_LISTED);
    found.retain(Descriptor::digest_is_well_formed);
    found.sort_by(|one, other| one.digest.cmp(&other.digest));
    found.dedup_by(|one, other| one.digest == other.digest);
    found
}

/// The hash is cut to 64 characters.
fn tag_of(subject: &Digest) -> Option<Tag> {
    format!("{}-{}", subject.algorithm().name(), subject.hex().get(..64)?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn referrers_are_sorted_and_each_stands_once() {
        let of = |text: &str| Descriptor { digest: text.to_owned(), ..Descriptor::default() };
        let (a, b) = (Digest::of(Algorithm::Sha256, b"a").to_string(), Digest::of(Algorithm::Sha512, b"b").to_string());
        let found = sorted(vec![of(&b), of(&a), of(&b), of("nothing"), of("sha256:short")]);
        assert_eq!(found, [of(&a), of(&b)]);
    }

    #[test]
    fn every_digest_has_a_fallback_tag() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            assert_eq!(tag_of(&Digest::of(algorithm, b"x")).unwrap().as_str().len(), 7 + 64);
        }
    }
}
