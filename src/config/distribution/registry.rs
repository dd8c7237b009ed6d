//! What a section `storage` says beside its driver, and the sections that bound lists: `[registry]`, `[cache]`, and who may write.

use std::time::Duration;

use serde_yaml_ng::{Mapping, Value};

use super::collected::{driver, is_read_only};
use super::document::{Document, section};
use super::draft::{Draft, Table, Weight};
use super::drivers;
use super::section::Section;
use crate::storage::Config as Storage;
use crate::storage::config::DriverKind;
use crate::units::Span;

/// Beside distribution's tree, below its root: what is looked up there by nobody else.
const CACHE: &str = "entrepot-cache";
/// Bounds of `[registry]`.
const LEAST_AGE: Duration = Duration::from_secs(3600);
const LEAST_INTERVAL: Duration = Duration::from_secs(60);
const MOST_INTERVAL: Duration = Duration::from_secs(7 * 86_400);
/// Distribution's own defaults.
const AGE: Duration = Duration::from_secs(168 * 3600);
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The driver and all beside it.
pub(super) fn storage(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let storage = section("storage", document.get("storage"))?;
    let driver = driver(&storage)?.to_owned();
    let mut section = Section::new(format!("storage.{driver}"), storage.get(driver.as_str()))?;
    let (kind, config) = drivers::of(&driver, &mut section)?;
    drivers::settings(kind, &config, &section, draft);
    draft.close(section);
    if config.driver == DriverKind::Filesystem {
        let folder = config.root.join(CACHE).display().to_string();
        draft.set(Table::Cache, "path", folder, format!("storage.{driver}.rootdirectory"));
    }
    beside(&storage, &config, draft)
}

fn beside(storage: &Mapping, config: &Storage, draft: &mut Draft) -> Result<(), String> {
    let mut delete = Section::new("storage.delete", storage.get("delete"))?;
    let (allowed, from) = or_default(delete.flag("enabled")?, "storage.delete.enabled");
    draft.set(Table::Registry, "delete", allowed, from);
    draft.close(delete);

    let mut redirect = Section::new("storage.redirect", storage.get("redirect"))?;
    let (disabled, from) = or_default(redirect.flag("disable")?, "storage.redirect.disable");
    if config.driver != DriverKind::Filesystem {
        draft.set(Table::Registry, "redirect", !disabled, from);
    }
    draft.close(redirect);

    if is_read_only(storage) {
        draft.set(Table::Registry, "read_only", true, "storage.maintenance.readonly.enabled");
    }
    maintenance(storage.get("maintenance"), draft)?;
    let mut cache = Section::new("storage.cache", storage.get("cache"))?;
    let why = "is not needed: what is remembered of blobs is bounded, and never believed against storage";
    cache.leave(&[
        ("blobdescriptor", Weight::Needless, why),
        ("layerinfo", Weight::Needless, why),
        ("blobdescriptorsize", Weight::Needless, why),
    ]);
    draft.close(cache);
    let mut tag = Section::new("storage.tag", storage.get("tag"))?;
    tag.leave(&[(
        "concurrencylimit",
        Weight::Needless,
        "is not needed: questions to storage have bounds of their own",
    )]);
    draft.close(tag);
    Ok(())
}

fn maintenance(value: Option<&Value>, draft: &mut Draft) -> Result<(), String> {
    let mut maintenance = Section::new("storage.maintenance", value)?;
    let mut purging = maintenance.inner("uploadpurging")?;
    let enabled = purging.flag("enabled")?;
    let dry = purging.flag("dryrun")?.unwrap_or(false);
    match (enabled, dry) {
        (Some(false), _) => draft.set(Table::Registry, "upload_purge", false, purging.path("enabled")),
        (_, true) => draft.set(Table::Registry, "upload_purge", "dry-run", purging.path("dryrun")),
        _ => {}
    }
    let age = purging.span("age")?;
    let from = given_or(age, &purging.path("age"), AGE);
    let age = age.unwrap_or(AGE);
    if age < LEAST_AGE {
        purging.note("age", "is below an hour, which is the least here: an upload under way would be lost");
    }
    let age = Span(age.max(LEAST_AGE)).to_string();
    draft.set(Table::Registry, "upload_expiry", age.clone(), from.clone());
    draft.set(Table::Registry, "upload_idle", age, from);
    let interval = purging.span("interval")?;
    let from = given_or(interval, &purging.path("interval"), INTERVAL);
    let interval = interval.unwrap_or(INTERVAL);
    let within = interval.clamp(LEAST_INTERVAL, MOST_INTERVAL);
    if within != interval {
        purging.note("interval", "is not within a minute and seven days, and the nearer of them counts");
    }
    draft.set(Table::Registry, "upload_purge_interval", Span(within).to_string(), from);
    draft.close(purging);
    let mut readonly = maintenance.inner("readonly")?;
    // Read above, as distribution reads it.
    readonly.has("enabled");
    draft.close(readonly);
    draft.close(maintenance);
    Ok(())
}

/// The key, or what counts without it.
fn given_or(given: Option<Duration>, key: &str, default: Duration) -> String {
    match given {
        Some(_) => key.to_owned(),
        None => format!("{key} (not given: {})", Span(default)),
    }
}

/// Flags that are not given are false.
fn or_default(given: Option<bool>, key: &str) -> (bool, String) {
    match given {
        Some(given) => (given, key.to_owned()),
        None => (false, format!("{key} (not given: false)")),
    }
}

/// `catalog` and `tags`.
pub(super) fn lists(document: &Document, draft: &mut Draft) -> Result<(), String> {
    for (name, theirs, ours) in [("catalog", "maxentries", "catalog_max"), ("tags", "maxtags", "tags_max")] {
        let mut section = Section::new(name, document.get(name))?;
        if let Some(count) = section.count(theirs)?.filter(|count| *count > 0) {
            draft.set(Table::Registry, ours, i64::from(count), section.path(theirs));
        }
        draft.close(section);
    }
    Ok(())
}

/// Where everything goes, unless another registry is mirrored.
pub(super) fn route(draft: &mut Draft) {
    let why = "storage (all repositories are there)";
    draft.set(Table::Route, "read", "registry", why);
    draft.set(Table::Route, "write", "registry", why);
    if !draft.settings.iter().any(|one| matches!(one.table, Table::Auth | Table::Verifier)) {
        draft.set(Table::Registry, "open_writes", true, "auth (not given: everybody may push)");
    }
}
