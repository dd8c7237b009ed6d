//! The section `storage` alone, for who collects garbage with this file.

use std::path::PathBuf;

use serde_yaml_ng::{Mapping, Value};

use super::document::{Document, MAX_FILE, PATH_VARIABLE, section};
use super::drivers;
use super::section::Section;
use crate::config::file;
use crate::storage::Config as Storage;

/// What a section `storage` has beside its driver.
const BESIDE: [&str; 5] = ["cache", "delete", "maintenance", "redirect", "tag"];
/// What it may remember of blobs in; whoever remembers is not told of what others delete.
const CACHES: [&str; 2] = ["blobdescriptor", "layerinfo"];
/// Where that is kept; whatever else stands there counts as nothing.
const MEMORIES: [&str; 2] = ["inmemory", "redis"];

/// What was read.
#[derive(Debug, PartialEq)]
pub struct Distribution {
    pub storage: Storage,
    /// Where a registry that runs with this file remembers blobs that it saw: `inmemory`, `redis`.
    pub cache: Option<&'static str>,
    /// Such a registry takes no pushes.
    pub read_only: bool,
    /// Of keys that mean nothing here, and of what its operator should know; a sentence each.
    pub notes: Vec<String>,
}

/// Reads the file that the argument names, or else the environment, with its variables over it.
///
/// # Errors
/// For people, as distribution begins them: what cannot be read, or is not supported here, by its key.
pub fn find(argument: Option<PathBuf>) -> Result<Distribution, String> {
    let variables = super::variables();
    let named = variables.iter().find(|(name, value)| name == PATH_VARIABLE && !value.is_empty());
    let path = argument.or_else(|| named.map(|(_, value)| value.into()));
    let path = path.ok_or("configuration path unspecified")?;
    let text = file::text_after_name(&path, MAX_FILE).map_err(|what| format!("open {}: {what}", path.display()))?;
    parse(&text, variables).map_err(|what| format!("error parsing {}: {what}", path.display()))
}

pub(super) fn parse(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Distribution, String> {
    let document = Document::parse(text, variables, &["STORAGE"])?;
    of(&section("storage", document.get("storage"))?)
}

/// Which of the drivers is named: exactly one.
pub(super) fn driver(storage: &Mapping) -> Result<&str, String> {
    let names: Vec<&str> = storage.keys().filter_map(Value::as_str).collect();
    let mut found: Vec<&str> = names.into_iter().filter(|name| !BESIDE.contains(name)).collect();
    found.sort_unstable();
    match found.as_slice() {
        [] => Err("no storage configuration provided".into()),
        [driver] => Ok(*driver),
        several => Err(format!("must provide exactly one storage type. Provided: [{}]", several.join(" "))),
    }
}

fn of(storage: &Mapping) -> Result<Distribution, String> {
    let driver = driver(storage)?;
    let mut section = Section::new(format!("storage.{driver}"), storage.get(driver))?;
    let (_, config) = drivers::of(driver, &mut section)?;
    let (notes, _) = section.done();
    let mut notes: Vec<String> = notes.into_iter().map(|note| format!("{} {}", note.key, note.why)).collect();
    let remembers = remembers(storage);
    notes.extend(remembers.map(|(key, memory)| {
        format!(
            "storage.cache.{key} is {memory}: a registry that runs with this file says of what was collected that it has it, until it \
             is restarted{}",
            if memory == "redis" { " and its keys in Redis are removed" } else { "" }
        )
    }));
    let cache = remembers.map(|(_, memory)| memory);
    Ok(Distribution { storage: config, cache, read_only: is_read_only(storage), notes })
}

/// A registry that remembers what it has, and is not told when it is gone: by which key, and where.
fn remembers(storage: &Mapping) -> Option<(&'static str, &'static str)> {
    let cache = storage.get("cache")?;
    let (key, word) = CACHES.into_iter().find_map(|key| Some((key, cache.get(key)?.as_str()?)))?;
    MEMORIES.into_iter().find(|memory| *memory == word).map(|memory| (key, memory))
}

/// As distribution reads it: nothing but `true` is one.
pub(super) fn is_read_only(storage: &Mapping) -> bool {
    let section = storage.get("maintenance").and_then(|maintenance| maintenance.get("readonly"));
    section.and_then(|section| section.get("enabled")).and_then(Value::as_bool) == Some(true)
}
