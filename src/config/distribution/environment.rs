//! Its variables: `REGISTRY_STORAGE_S3_BUCKET` is the key `storage.s3.bucket`, and a value is YAML. They count in the order of their
//! names, so that `REGISTRY_STORAGE`, which replaces the whole section, comes before its parts.

use serde_yaml_ng::{Mapping, Value};

use super::auth::USUAL;
use super::document::{PATH_VARIABLE, section};

/// Every variable of its configuration begins so.
const PREFIX: &str = "REGISTRY_";
/// The sections that it has, as variables call them. What begins otherwise (`REGISTRY_USERNAME`) is none of its own.
pub(super) const SECTIONS: [&str; 17] = [
    "AUTH",
    "CATALOG",
    "COMPATIBILITY",
    "HEALTH",
    "HTTP",
    "LOG",
    "LOGLEVEL",
    "MIDDLEWARE",
    "NOTIFICATIONS",
    "POLICY",
    "PROXY",
    "REDIS",
    "REPORTING",
    "STORAGE",
    "TAGS",
    "VALIDATION",
    "VERSION",
];
/// Of podman, skopeo and buildah: the file of their logins.
const OF_OTHERS: &str = "REGISTRY_AUTH_FILE";
/// What begins so and is no key, and is known all the same: by whoever starts it, by us, by others.
const OF_NO_FILE: [&str; 4] = [PATH_VARIABLE, USUAL[0], USUAL[1], OF_OTHERS];
/// Sections that may be the name of what they hold alone.
const NAMED: [&str; 2] = ["AUTH", "STORAGE"];
/// Fields that its variables call otherwise than its file: the section, the variable's word, and the file's; an empty one is no step.
static ALIASES: [(&str, &str, &str); 5] = [
    ("REDIS", "OPTIONS", ""),
    ("HEALTH", "FILECHECKERS", "FILE"),
    ("HEALTH", "HTTPCHECKERS", "HTTP"),
    ("HEALTH", "TCPCHECKERS", "TCP"),
    ("NOTIFICATIONS", "EVENTCONFIG", "EVENTS"),
];

/// Whether a variable is a key of one of `sections`.
pub(super) fn is_key_of(name: &str, sections: &[&str]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX).filter(|_| name != OF_OTHERS) else { return false };
    sections.contains(&rest.split('_').next().unwrap_or_default())
}

/// Whether a variable begins as its keys do, and with no section that it has: distribution ignores it, and says so.
pub(super) fn is_unknown(name: &str) -> bool {
    name.starts_with(PREFIX) && !OF_NO_FILE.contains(&name) && !is_key_of(name, &SECTIONS)
}

/// Lays the variables of `sections` over the whole; others are left alone. Tells which key each of them is.
///
/// # Errors
/// For people; values, which may be secrets, are not told.
pub(super) fn overlay(
    whole: &mut Mapping,
    variables: impl IntoIterator<Item = (String, String)>,
    sections: &[&str],
) -> Result<Vec<(String, String)>, String> {
    let mut ours: Vec<(String, String)> = variables.into_iter().filter(|(name, _)| is_key_of(name, sections)).collect();
    ours.sort();
    let mut set_by = Vec::new();
    for (name, payload) in ours {
        let fault = |what: &str| format!("parsing environment variable {name}: {what}");
        let value: Value = serde_yaml_ng::from_str(&payload).map_err(|_| fault("its value is no YAML"))?;
        let steps = steps(&name);
        let [section_name, below @ ..] = steps.as_slice() else { continue };
        if NAMED.contains(section_name) {
            let key = Value::String(section_name.to_ascii_lowercase());
            match below {
                [] => {
                    let whole_section = section(section_name, Some(&value)).map_err(|what| fault(&what))?;
                    whole.insert(key, Value::Mapping(whole_section));
                    set_by.push((path(&steps), name));
                    continue;
                }
                [_] if !matches!(value, Value::Mapping(_) | Value::Null) => {
                    return Err(fault("its value is no mapping of keys"));
                }
                // The file may have its name alone.
                _ => {
                    let given = section(section_name, whole.get(&key)).map_err(|what| fault(&what))?;
                    whole.insert(key, Value::Mapping(given));
                }
            }
        }
        set(whole, &steps, value);
        set_by.push((path(&steps), name));
    }
    Ok(set_by)
}

fn steps(name: &str) -> Vec<&str> {
    let mut steps: Vec<&str> = name.strip_prefix(PREFIX).unwrap_or_default().split('_').collect();
    let found = match steps.as_slice() {
        [section, word, ..] => ALIASES.iter().find(|(of, theirs, _)| of == section && theirs == word),
        _ => None,
    };
    match found {
        Some((.., "")) => drop(steps.remove(1)),
        Some((.., ours)) => steps[1] = ours,
        None => {}
    }
    steps
}

/// As keys are told of.
fn path(steps: &[&str]) -> String {
    steps.join(".").to_ascii_lowercase()
}

/// Keys are found whatever their case, and made in lower case; items of a list go by number, and the next number adds one. Below what
/// is neither there is nothing to set.
fn set(mapping: &mut Mapping, path: &[&str], value: Value) {
    let Some((step, rest)) = path.split_first() else { return };
    let own = Value::String(step.to_ascii_lowercase());
    let known = mapping.iter().find_map(|(key, value)| {
        let same = key.as_str().is_some_and(|key| key.eq_ignore_ascii_case(step));
        (same && (!value.is_null() || rest.is_empty())).then(|| key.clone())
    });
    let key = known.unwrap_or(own);
    if rest.is_empty() {
        mapping.insert(key, value);
        return;
    }
    if !mapping.contains_key(&key) || mapping.get(&key).is_some_and(Value::is_null) {
        mapping.insert(key.clone(), made_for(rest));
    }
    if let Some(inner) = mapping.get_mut(&key) {
        go_down(inner, rest, value);
    }
}

/// What holds the rest of a path that is not there yet.
fn made_for(rest: &[&str]) -> Value {
    match rest.first().is_some_and(|step| *step == "0") {
        true => Value::Sequence(Vec::new()),
        false => Value::Mapping(Mapping::new()),
    }
}

fn go_down(inner: &mut Value, rest: &[&str], value: Value) {
    match inner {
        Value::Mapping(inner) => set(inner, rest, value),
        Value::Sequence(items) => {
            let Some((step, below)) = rest.split_first() else { return };
            let Ok(index) = step.parse::<usize>() else { return };
            if index == items.len() {
                items.push(if below.is_empty() { Value::Null } else { made_for(below) });
            }
            match items.get_mut(index) {
                Some(item) if below.is_empty() => *item = value,
                Some(item) => go_down(item, below, value),
                None => {}
            }
        }
        _ => {}
    }
}
