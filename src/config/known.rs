//! The keys that there are, as the reference file has them; a test compares it with the structs.

use std::sync::LazyLock;

use super::environment::PREFIX;
use super::fault::suggestion;

/// Every key with its default, unit and reason.
const REFERENCE: &str = include_str!("../../conf/entrepot.toml");

/// Paths of keys in lower case, joined by `__` as variables do it, without names and numbers of what there may be many of.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in REFERENCE.lines() {
        // A key without a default is shown in a comment without a space.
        let line = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])).unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_start_matches('[').split(']').next().unwrap_or_default();
            let fixed: Vec<&str> = name.split('.').collect();
            section = fixed.join("__");
            keys.push(section.clone());
        } else if let Some((key, _)) = line.split_once('=').filter(|(key, _)| is_key(key.trim())) {
            let key = key.trim().replace('.', "__");
            keys.push(if section.is_empty() { key } else { format!("{section}__{key}") });
        }
    }
    keys
});

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.'))
}

/// Whether a path is one name that no key and no table at the top has.
pub fn is_alone(path: &str) -> bool {
    is_key(path) && !path.contains('.') && !KEYS.iter().any(|key| key.split("__").next() == Some(path))
}

/// `; did you mean ENTREPOT_CACHE__DISK?` for a variable that lacks an underscore, or is nearly another.
pub fn meant(given: &str) -> String {
    let plain = |key: &str| key.replace("__", "_");
    let distance = |key: &String| strsim::damerau_levenshtein(&plain(key), &plain(given));
    let nearest = KEYS.iter().map(|key| (distance(key), key)).min();
    match nearest.filter(|(distance, key)| *distance <= key.len() / 6) {
        Some((_, key)) => format!("; did you mean {PREFIX}{}?", key.to_ascii_uppercase()),
        None => {
            let mut sections: Vec<&str> = KEYS.iter().filter_map(|key| key.split("__").next()).collect();
            sections.sort_unstable();
            sections.dedup();
            suggestion(given, &sections)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_underscore_is_found() {
        for (given, meant_key) in [
            ("cache_disk", "CACHE__DISK"),
            ("cache_dsik", "CACHE__DISK"),
            ("cache_memory_max_object", "CACHE__MEMORY_MAX_OBJECT"),
            ("storage_bucket", "STORAGE__BUCKET"),
            ("log_level", "LOG__LEVEL"),
            ("admin_address", "ADMIN__ADDRESS"),
            ("threds", "THREADS"),
        ] {
            assert_eq!(meant(given), format!("; did you mean ENTREPOT_{meant_key}?"));
        }
        assert!(
            meant("nothing_of_the_kind").starts_with("; allowed: acme, admin, audit, auth, cache, "),
            "{}",
            meant("nothing_of_the_kind")
        );
    }

    #[test]
    fn sections_are_known() {
        for name in [
            "threads", "listener", "admin", "log", "drain", "cache", "cluster", "registry", "storage", "fleet",
            "redis", "limits", "cors", "route", "auth", "audit", "remote", "acme",
        ] {
            assert!(!is_alone(name), "{name}");
        }
        assert!(is_alone("cache_disk") && !is_alone("cache.dsik") && !is_alone(""));
    }
}
