//! The file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_yaml_ng::{Mapping, Value};

use super::section::Section;
use super::{Distribution, drivers, environment};

/// Names the file where no argument does.
const PATH_VARIABLE: &str = "REGISTRY_CONFIGURATION_PATH";
/// The only version that there ever was.
const VERSION: &str = "0.1";
/// The file is no longer, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// What a section `storage` has beside its driver.
const BESIDE: [&str; 5] = ["cache", "delete", "maintenance", "redirect", "tag"];
/// What it may remember of blobs in; whoever remembers is not told of what others delete.
const CACHES: [&str; 2] = ["blobdescriptor", "layerinfo"];
/// Where that is kept; whatever else stands there counts as nothing.
const MEMORIES: [&str; 2] = ["inmemory", "redis"];

/// Reads the file that the argument names, or else the environment, with its variables over it.
///
/// # Errors
/// For people, as distribution begins them: what cannot be read, or is not supported here, by its key.
pub fn find(argument: Option<PathBuf>) -> Result<Distribution, String> {
    let variables: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let named = variables.iter().find(|(name, value)| name == PATH_VARIABLE && !value.is_empty());
    let path = argument.or_else(|| named.map(|(_, value)| value.into()));
    let path = path.ok_or("configuration path unspecified")?;
    let text = text(&path).map_err(|what| format!("open {}: {what}", path.display()))?;
    parse(&text, variables).map_err(|what| format!("error parsing {}: {what}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".into())
}

pub(super) fn parse(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Distribution, String> {
    let mut whole: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    whole.apply_merge().map_err(|error| error.to_string())?;
    let version = match whole.get("version") {
        Some(Value::String(version)) => version.clone(),
        Some(Value::Number(version)) => version.to_string(),
        _ => String::new(),
    };
    if version != VERSION {
        return Err(format!("unsupported version: \"{version}\""));
    }
    let mut storage = section(whole.get("storage"))?;
    environment::overlay(&mut storage, variables)?;
    of(&storage)
}

/// A mapping of sections, or the name of a driver alone.
pub(super) fn section(value: Option<&Value>) -> Result<Mapping, String> {
    match value {
        None | Some(Value::Null) => Ok(Mapping::new()),
        Some(Value::String(driver)) => {
            Ok(Mapping::from_iter([(Value::String(driver.clone()), Value::Mapping(Mapping::new()))]))
        }
        Some(Value::Mapping(mapping)) => Ok(mapping.clone()),
        Some(_) => Err("storage is neither a mapping nor the name of a driver".into()),
    }
}

fn of(storage: &Mapping) -> Result<Distribution, String> {
    let names: Vec<&str> = storage.keys().filter_map(Value::as_str).collect();
    let mut found: Vec<&str> = names.into_iter().filter(|name| !BESIDE.contains(name)).collect();
    found.sort_unstable();
    let driver = match found.as_slice() {
        [] => return Err("no storage configuration provided".into()),
        [driver] => *driver,
        several => {
            return Err(format!("must provide exactly one storage type. Provided: [{}]", several.join(" ")));
        }
    };
    let mut notes = Vec::new();
    let storage_config = {
        let mut section = Section::new(driver, storage.get(driver))?;
        let config = drivers::of(&mut section)?;
        notes.append(&mut section.notes());
        config
    };
    let remembers = remembers(storage);
    notes.extend(remembers.map(|(key, memory)| {
        format!(
            "storage.cache.{key} is {memory}: a registry that runs with this file says of what was collected that it has it, until it \
             is restarted{}",
            if memory == "redis" { " and its keys in Redis are removed" } else { "" }
        )
    }));
    let cache = remembers.map(|(_, memory)| memory);
    Ok(Distribution { storage: storage_config, cache, read_only: is_read_only(storage), notes })
}

/// A registry that remembers what it has, and is not told when it is gone: by which key, and where.
fn remembers(storage: &Mapping) -> Option<(&'static str, &'static str)> {
    let cache = storage.get("cache")?;
    let (key, word) = CACHES.into_iter().find_map(|key| Some((key, cache.get(key)?.as_str()?)))?;
    MEMORIES.into_iter().find(|memory| *memory == word).map(|memory| (key, memory))
}

/// As distribution reads it: nothing but `true` is one.
fn is_read_only(storage: &Mapping) -> bool {
    let section = storage.get("maintenance").and_then(|maintenance| maintenance.get("readonly"));
    section.and_then(|section| section.get("enabled")).and_then(Value::as_bool) == Some(true)
}
