//! Its variables: `REGISTRY_STORAGE_S3_BUCKET` is the key `storage.s3.bucket`, and a value is YAML. They count in the order of their
//! names, so that `REGISTRY_STORAGE`, which replaces the whole section, comes before its parts.

use serde_yaml_ng::{Mapping, Value};

use super::config::section;

const NAME: &str = "REGISTRY_STORAGE";

/// Lays the variables over the section. Others are left alone.
///
/// # Errors
/// For people; values, which may be secrets, are not told.
pub(super) fn overlay(
    storage: &mut Mapping,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(), String> {
    let mut ours: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(name, _)| name.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
        .collect();
    ours.sort();
    for (name, payload) in ours {
        let fault = |what: &str| format!("parsing environment variable {name}: {what}");
        let value: Value = serde_yaml_ng::from_str(&payload).map_err(|_| fault("its value is no YAML"))?;
        let path = name.strip_prefix(NAME).unwrap_or_default().strip_prefix('_');
        let Some(path) = path else {
            *storage = section(Some(&value)).map_err(|what| fault(&what))?;
            continue;
        };
        let steps: Vec<&str> = path.split('_').collect();
        if let [_] = steps.as_slice()
            && !matches!(value, Value::Mapping(_) | Value::Null)
        {
            return Err(fault("its value is no mapping of keys"));
        }
        set(storage, &steps, value);
    }
    Ok(())
}

/// Keys are found whatever their case, and made in lower case; below what is no mapping there is nothing to set.
fn set(mapping: &mut Mapping, path: &[&str], value: Value) {
    let Some((step, rest)) = path.split_first() else { return };
    let own = Value::String(step.to_ascii_lowercase());
    if rest.is_empty() {
        mapping.insert(own, value);
        return;
    }
    let known = mapping.iter().find_map(|(key, value)| {
        let same = key.as_str().is_some_and(|key| key.to_ascii_uppercase() == *step);
        (same && !value.is_null()).then(|| key.clone())
    });
    let inner = match known {
        Some(key) => mapping.get_mut(&key),
        None => {
            mapping.insert(own.clone(), Value::Mapping(Mapping::new()));
            mapping.get_mut(&own)
        }
    };
    if let Some(Value::Mapping(inner)) = inner {
        set(inner, rest, value);
    }
}
