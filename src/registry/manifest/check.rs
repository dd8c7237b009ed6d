//! Whether bytes can be pushed as a manifest: what it is, and whether all that it needs is in the repository.

use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::oci::manifest::{is_plain_object, strict};
use crate::oci::{Digest, ErrorCode, Manifest, ManifestError, media_type};
use crate::registry::absent;
use crate::registry::config::MissingReferences;
use crate::registry::fan::PER_REQUEST;
use crate::registry::media_types::{ImpliedType, MAX_MEDIA_TYPE};
use crate::registry::publish::Writing;
use crate::registry::reply::Refusal;
use crate::registry::rescue::{self, Held, Kind, Restored};
use crate::registry::{Registry, membership};
use crate::storage::Error;

/// Missing digests that a refusal names.
const MAX_NAMED: usize = 10;
/// A manifest that names no more blobs is told all that are missing. Of others, nothing more is asked once one is; and one is
/// asked for alone before, so that whoever names thousands of absent ones costs storage a question.
const FEW: usize = 16;
/// Of what an index lists, so much is linked again if a collection took it; the rest once it is asked for.
const LISTED: usize = 256;

/// A manifest that may be stored.
pub(super) struct Checked {
    pub manifest: Manifest,
    pub media_type: String,
    /// What the bytes tell without the client.
    pub told: ImpliedType,
    /// The repository must have what it names before it takes it.
    pub after_its_blobs: bool,
}

impl Checked {
    /// Of another registry, which has judged it: what it names may come later, and bytes that we cannot read as a manifest are one
    /// all the same.
    pub(super) fn elsewhere(bytes: &Bytes, media_type: &str) -> Self {
        let manifest = Manifest::parse(bytes).unwrap_or_default();
        let told = ImpliedType::by(&manifest);
        Checked { manifest, media_type: media_type.to_owned(), told, after_its_blobs: false }
    }
}

/// Judges the bytes themselves.
pub(super) fn check(bytes: &Bytes, headers: &HeaderMap) -> Result<Checked, Refusal> {
    let sent = sent_media_type(headers)?;
    // What an unknown type's fields mean is not known.
    let known = sent.as_deref().is_none_or(|sent| sent == media_type::JSON || media_type::is_manifest(sent));
    strict::check(bytes, known).map_err(|error| invalid(&error))?;
    let parsed = Manifest::parse(bytes);
    if sent.as_deref().is_some_and(|sent| sent != media_type::JSON && media_type::is_schema1(sent)) {
        return Err(invalid(&ManifestError::Schema1));
    }
    // `application/json` is what clients say that know no better.
    let sent = sent.filter(|sent| sent != media_type::JSON);
    let manifest = match (parsed, &sent) {
        (Ok(manifest), _) => manifest,
        // What an unknown type's fields mean is not known either.
        (Err(_), Some(sent)) if !media_type::is_manifest(sent) && is_plain_object(bytes) => Manifest::default(),
        (Err(error), _) => return Err(invalid(&error)),
    };
    let media_type = sent.unwrap_or_else(|| manifest.implied_media_type().to_owned());
    manifest.check(&media_type).map_err(|error| invalid(&error))?;
    if !is_for_manifests(&media_type) {
        return Err(Refusal::new(ErrorCode::ManifestInvalid, "mediaType of a manifest is application/…"));
    }
    let told = ImpliedType::by(&manifest);
    Ok(Checked { manifest, media_type, told, after_its_blobs: true })
}

/// The type without parameters; `None` if none was sent.
fn sent_media_type(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(header) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = header.to_str().map(media_type::essence).unwrap_or_default();
    if !is_for_manifests(text) {
        return Err(Refusal::new(ErrorCode::ManifestInvalid, "Content-Type of a manifest is application/…"));
    }
    Ok(Some(text.to_owned()))
}

/// Nothing that a browser would show: what is pushed as text/html would be served as such. RFC 6838, 4.2 has the
/// characters.
fn is_for_manifests(media_type: &str) -> bool {
    let Some((kind, name)) = media_type.split_once('/') else { return false };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    let fits = media_type.len() <= MAX_MEDIA_TYPE;
    fits && kind.eq_ignore_ascii_case("application") && !name.is_empty() && name.bytes().all(allowed)
}

fn invalid(error: &ManifestError) -> Refusal {
    Refusal::new(ErrorCode::ManifestInvalid, error.to_string())
}

/// Whether it is refused without what it needs.
pub(super) fn judges(registry: &Registry, checked: &Checked) -> bool {
    let accept = registry.settings.load().config.missing_references == MissingReferences::Accept;
    checked.after_its_blobs && !accept
}

pub(super) fn is_image(checked: &Checked) -> bool {
    media_type::is_manifest(&checked.media_type) && !media_type::is_index(&checked.media_type)
}

/// Brings what it names and the repository lacks, as far as somebody else has it. That may take long, so nothing is locked yet; what
/// is missing afterwards, `references` finds.
pub(super) async fn bring(writing: Writing<'_>, checked: &Checked) {
    let Writing { registry, request, name } = writing;
    if !checked.after_its_blobs || !absent::may_be_asked(request, name) {
        return;
    }
    if !is_image(checked) {
        return absent::bring_children(request, name, &checked.manifest).await;
    }
    let mut needed: Vec<Digest> = checked.manifest.needed().filter_map(|named| named.digest.parse().ok()).collect();
    needed.sort_unstable();
    needed.dedup();
    let one = |digest: Digest| async move {
        let held = registry.bounds.fan.ask(membership::layer(registry, name, &digest, true)).await;
        matches!(held, Ok(Some(_))) || absent::bring(request, name, &digest).await
    };
    let mut brought = stream::iter(needed).map(one).buffer_unordered(PER_REQUEST);
    let all = async {
        // The first that cannot be had refuses the push.
        while brought.next().await == Some(true) {}
    };
    let _ = tokio::time::timeout(absent::PATIENCE, all).await;
}

/// Refuses an image whose config or layers the repository does not have (distribution-spec, "Pushing Manifests"). What an index names,
/// a subject and layers that live elsewhere may be missing.
pub(super) async fn references(writing: Writing<'_>, checked: &Checked) -> Result<(), Refusal> {
    if !judges(writing.registry, checked) {
        return Ok(());
    }
    if !is_image(checked) {
        return Ok(listed(writing, &checked.manifest).await?);
    }
    let missing = missing(writing, &checked.manifest).await?;
    match missing.len() {
        0 => Ok(()),
        count => {
            let named: Vec<&str> = missing.iter().take(MAX_NAMED).map(String::as_str).collect();
            let more = if checked.manifest.needed().count() > FEW { " or more" } else { "" };
            let message = format!("the repository lacks {count}{more} of the manifest's blobs: {}", named.join(", "));
            Err(Refusal::new(ErrorCode::ManifestBlobUnknown, message))
        }
    }
}

/// What an index lists may be absent. But a manifest that no tag led to may have been taken by a collection since it was pushed, and
/// is there again before anybody is told that the index is.
async fn listed(writing: Writing<'_>, manifest: &Manifest) -> Result<(), Error> {
    let Writing { registry, name, .. } = writing;
    if !registry.rescue.may_be_needed(&registry.stores.storage).await? {
        return Ok(());
    }
    let listed = manifest.manifests.iter().flatten();
    let listed = listed.filter_map(|named| Some((named.digest.parse::<Digest>().ok()?, rescue::kind_of(named))));
    let mut listed: Vec<_> = listed.take(LISTED).collect();
    listed.sort_unstable_by_key(|(digest, _)| *digest);
    listed.dedup_by_key(|(digest, _)| *digest);
    // What is taken from here on is looked at again once the index is linked.
    let since = Instant::now();
    let each = listed.into_iter().map(|(digest, kind)| async move {
        if registry.bounds.fan.ask(rescue::held(registry, name, &digest)).await? == Held::No {
            rescue::restore(registry, name, (digest, kind), since).await?;
        }
        Ok::<_, Error>(())
    });
    stream::iter(each).buffer_unordered(PER_REQUEST).try_collect().await
}

/// Those that are not there; of many, the first that were found to be missing.
async fn missing(writing: Writing<'_>, manifest: &Manifest) -> Result<Vec<String>, Error> {
    let mut needed: Vec<&str> = manifest.needed().map(|named| named.digest.as_str()).collect();
    needed.sort_unstable();
    needed.dedup();
    let few = needed.len() <= FEW;
    // What we cannot hash we do not have: it costs no question.
    let (known, unknown): (Vec<_>, Vec<_>) = needed.into_iter().partition(|text| text.parse::<Digest>().is_ok());
    let mut missing: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
    let known: Vec<Digest> = known.into_iter().filter_map(|text| text.parse().ok()).collect();
    if let Some(first) = known.first().filter(|_| !few && missing.is_empty()) {
        missing.extend(lacking(writing, *first).await?);
    }
    let asked = known.into_iter().map(|digest| lacking(writing, digest));
    let mut asked = stream::iter(asked).buffer_unordered(PER_REQUEST);
    while (few || missing.is_empty())
        && let Some(absent) = asked.try_next().await?
    {
        missing.extend(absent);
    }
    Ok(missing)
}

async fn lacking(writing: Writing<'_>, digest: Digest) -> Result<Option<String>, Error> {
    let Writing { registry, name, .. } = writing;
    let found = registry.bounds.fan.ask(membership::layer(registry, name, &digest, true)).await?;
    if found.is_some() {
        return Ok(None);
    }
    // A collection may have taken it away since the client was told that it is there.
    let taken = registry.rescue.may_be_needed(&registry.stores.storage).await?;
    let there = taken && rescue::restore(registry, name, (digest, Kind::Layer), Instant::now()).await? == Restored::Yes;
    Ok((!there).then(|| digest.text()))
}
