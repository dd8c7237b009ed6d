//! When an image says that it was made: `created` of its config, which builders write, and may leave at a date that means nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Annotations, Descriptor, Digest, Manifest};
use crate::storage::{Error, Storage};

/// Largest config that is read, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// Images of an index that are looked at; of a larger one nobody can say when it was made.
const MAX_IMAGES: usize = 64;
/// Those that are at once.
const AT_ONCE: usize = 4;
/// 2013: before, there were no such images. Builds that are to come out the same each time write 1970, 1980 and the like.
const FIRST: u64 = 1_356_998_400;
const ANNOTATION: &str = "org.opencontainers.image.created";
/// An entry of an index that is about another one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// When the image under a digest was made by its own word; of an index, the youngest of its images. `None`: it does not say, or
/// says what cannot be, or cannot be read.
pub async fn created(storage: &Storage, digest: &Digest, now: SystemTime) -> Result<Option<SystemTime>, Error> {
    let Some(manifest) = manifest(storage, digest).await? else { return Ok(None) };
    let Some(images) = &manifest.read.manifests else { return of_image(storage, &manifest, now).await };
    let images: Vec<&Descriptor> = images.iter().filter(|image| !is_about_another(image)).collect();
    if images.is_empty() || images.len() > MAX_IMAGES {
        return Ok(annotated(&manifest.read, now));
    }
    let digests: Vec<Option<Digest>> = images.iter().map(|image| image.digest.parse().ok()).collect();
    let dates: Vec<Option<SystemTime>> = stream::iter(digests)
        .map(|digest| of_entry(storage, digest, now).boxed())
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    // One that says nothing may be the youngest.
    let youngest = dates.into_iter().collect::<Option<Vec<_>>>().and_then(|dates| dates.into_iter().max());
    Ok(youngest.or_else(|| annotated(&manifest.read, now)))
}

/// Of an entry of an index; `None` too where that is an index itself.
async fn of_entry(storage: &Storage, digest: Option<Digest>, now: SystemTime) -> Result<Option<SystemTime>, Error> {
    let Some(digest) = digest else { return Ok(None) };
    match manifest(storage, &digest).await? {
        Some(manifest) if manifest.read.manifests.is_none() => of_image(storage, &manifest, now).await,
        _ => Ok(None),
    }
}

struct Parsed {
    bytes: Bytes,
    read: Manifest,
}

async fn manifest(storage: &Storage, digest: &Digest) -> Result<Option<Parsed>, Error> {
    let Some(bytes) = proven(storage, digest, MAX_MANIFEST as u64).await? else { return Ok(None) };
    Ok(Manifest::parse(&bytes).ok().map(|read| Parsed { bytes, read }))
}

async fn of_image(storage: &Storage, manifest: &Parsed, now: SystemTime) -> Result<Option<SystemTime>, Error> {
    if manifest.read.schema1 {
        return Ok(of_schema1(&manifest.bytes).and_then(|text| date(&text, now)));
    }
    let config = manifest.read.config.as_ref().and_then(|config| config.digest.parse::<Digest>().ok());
    let config = match config {
        Some(config) => proven(storage, &config, MAX_CONFIG).await?,
        None => None,
    };
    let told = config.and_then(|config| serde_json::from_slice::<Config>(&config).ok()?.created);
    Ok(told.and_then(|text| date(&text, now)).or_else(|| annotated(&manifest.read, now)))
}

#[derive(Deserialize)]
struct Config {
    created: Option<String>,
}

/// The newest entry of its history comes first.
fn of_schema1(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Schema1 {
        history: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        v1_compatibility: String,
    }
    let schema1: Schema1 = serde_json::from_slice(bytes).ok()?;
    let entry: Config = serde_json::from_str(&schema1.history.first()?.v1_compatibility).ok()?;
    entry.created
}

fn annotated(manifest: &Manifest, now: SystemTime) -> Option<SystemTime> {
    date(annotation(manifest.annotations.as_ref()?, ANNOTATION)?, now)
}

fn is_about_another(image: &Descriptor) -> bool {
    image.annotations.as_ref().is_some_and(|annotations| annotation(annotations, REFERENCE_TYPE).is_some())
}

fn annotation<'a>(annotations: &'a Annotations, key: &str) -> Option<&'a str> {
    annotations.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

/// A date that can be one.
fn date(text: &str, now: SystemTime) -> Option<SystemTime> {
    let date: SystemTime = DateTime::parse_from_rfc3339(text.trim()).ok()?.with_timezone(&Utc).into();
    let first = UNIX_EPOCH + Duration::from_secs(FIRST);
    (first..=now).contains(&date).then_some(date)
}

/// Bytes that have this digest; `None`: they are not there, too many, or damaged.
pub async fn proven(storage: &Storage, digest: &Digest, limit: u64) -> Result<Option<Bytes>, Error> {
    let bytes = match storage.blob_bytes(digest, limit).await {
        Err(Error::TooLarge(_)) => return Ok(None),
        found => found?,
    };
    Ok(bytes.filter(|bytes| Digest::of(digest.algorithm(), bytes) == *digest))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::{Algorithm, media_type};
    use crate::storage::tests::in_memory;

    const NOW: &str = "2026-11-30T12:00:00Z";

    fn time(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    async fn put(storage: &Storage, value: &Value) -> Digest {
        let bytes = Bytes::from(value.to_string());
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        storage.blob_put(&digest, bytes).await.unwrap();
        digest
    }

    async fn image(storage: &Storage, config: &Value, annotations: &Value) -> Digest {
        let config = put(storage, config).await;
        let config = json!({"mediaType": media_type::OCI_CONFIG, "digest": config, "size": 1});
        put(storage, &json!({"schemaVersion": 2, "config": config, "layers": [], "annotations": annotations})).await
    }

    async fn index(storage: &Storage, images: &[(Digest, Value)]) -> Digest {
        let entry = |(digest, annotations): &(Digest, Value)| json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1, "annotations": annotations});
        let images: Vec<_> = images.iter().map(entry).collect();
        put(storage, &json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": images})).await
    }

    #[tokio::test]
    async fn an_images_date_is_that_of_its_config() {
        let storage = in_memory().await;
        let none = json!({});
        for (config, annotations, expected) in [
            (json!({"created": "2026-10-01T01:02:03.5Z"}), none.clone(), Some("2026-10-01T01:02:03.5Z")),
            (json!({"created": "2026-10-01T03:02:03+02:00"}), none.clone(), Some("2026-10-01T01:02:03Z")),
            (json!({}), json!({ANNOTATION: "2026-09-01T00:00:00Z"}), Some("2026-09-01T00:00:00Z")),
            (json!({"created": null}), none.clone(), None),
            (json!({"created": "1970-01-01T00:00:00Z"}), none.clone(), None),
            (json!({"created": "0001-01-01T00:00:00Z"}), none.clone(), None),
            (json!({"created": "1980-01-01T00:00:01Z"}), none.clone(), None),
            (json!({"created": "2099-01-01T00:00:00Z"}), none.clone(), None),
            (json!({"created": "yesterday"}), none.clone(), None),
            (json!({"created": 7}), none.clone(), None),
            (json!([1]), none.clone(), None),
        ] {
            let digest = image(&storage, &config, &annotations).await;
            assert_eq!(created(&storage, &digest, time(NOW)).await.unwrap(), expected.map(time), "{config}");
        }
        let absent = Digest::of(Algorithm::Sha256, b"absent");
        assert_eq!(created(&storage, &absent, time(NOW)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_index_is_as_young_as_its_youngest_image() {
        let storage = in_memory().await;
        let of = async |date: &str| image(&storage, &json!({"created": date}), &json!({})).await;
        let (old, young, never) =
            (of("2026-01-01T00:00:00Z").await, of("2026-11-01T00:00:00Z").await, of("1970-01-01T00:00:00Z").await);
        let attestation = json!({REFERENCE_TYPE: "attestation-manifest"});
        let whole = index(&storage, &[(old, json!({})), (young, json!({})), (never, attestation)]).await;
        assert_eq!(created(&storage, &whole, time(NOW)).await.unwrap(), Some(time("2026-11-01T00:00:00Z")));
        let unsure = index(&storage, &[(old, json!({})), (never, json!({}))]).await;
        assert_eq!(created(&storage, &unsure, time(NOW)).await.unwrap(), None, "the other may be younger");
        let empty = index(&storage, &[]).await;
        assert_eq!(created(&storage, &empty, time(NOW)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn schema_1_tells_it_in_its_history() {
        let storage = in_memory().await;
        let entry = |date: &str| json!({"v1Compatibility": json!({"created": date}).to_string()});
        let history = [entry("2026-05-01T00:00:00Z"), entry("2020-01-01T00:00:00Z")];
        let digest = put(&storage, &json!({"schemaVersion": 1, "fsLayers": [], "history": history})).await;
        assert_eq!(created(&storage, &digest, time(NOW)).await.unwrap(), Some(time("2026-05-01T00:00:00Z")));
    }
}
