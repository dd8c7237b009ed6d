//! `[registry]`: what the integrated registry allows and keeps.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::immutable::Immutable;
use crate::units::{Percent, Size, Span, mebibytes, seconds};
use crate::uploads::Limits;

/// Everything but `spool` takes effect on reload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether DELETE of tags, manifests and blobs is allowed; otherwise 405. Uploads can always be given up.
    pub delete: bool,
    /// Anybody may write who reaches an address of ours that others reach: without it, such a configuration is refused.
    pub open_writes: bool,
    /// Refuses every write with 405.
    pub read_only: bool,
    /// Answers GET and HEAD of blobs in an object store with 307 to a signed address of the store.
    pub redirect: bool,
    /// Tags that never move and are never deleted: `"REPOSITORIES:TAGS"`, both globs, such as `"prod/**:v*"`.
    pub immutable_tags: Vec<String>,
    /// Uploads begun longer ago are removed, however often somebody goes on with them.
    pub upload_expiry: Span,
    /// Uploads for which no bytes came for so long are removed.
    pub upload_idle: Span,
    /// Whether such uploads are removed by this instance, also those that distribution began in the same tree.
    pub upload_purge: Purge,
    /// How often, once for all instances.
    pub upload_purge_interval: Span,
    /// Bytes that unfinished uploads of one repository may hold; 0 for any number.
    pub upload_unfinished: Size,
    /// Memory of all uploads together.
    pub upload_memory: Size,
    /// How much of the storage's file system is in use when its operator is told.
    pub disk_warn: Percent,
    /// … and when nothing new is taken: writes answer 507.
    pub disk_full: Percent,
    /// How long a list may lack what another program wrote into the same storage.
    pub list_ttl: Span,
    /// Whether an image may be pushed whose config or layers the repository does not have.
    pub missing_references: MissingReferences,
    /// Folder for bytes on their way to an object store. Needs a restart to change.
    pub spool: PathBuf,
    /// Bytes that it may hold; 0 switches it off.
    pub spool_size: Size,
    /// Largest `n` of the catalog: more is refused, as distribution does.
    pub catalog_max: usize,
    /// Largest page of tags for a client that asks for pages; a larger `n` gets this many.
    pub tags_max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingReferences {
    #[default]
    Refuse,
    Accept,
}

/// `true`, `false` or `"dry-run"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purge {
    #[default]
    On,
    Off,
    /// Only told of, in the log.
    Dry,
}

impl<'de> Deserialize<'de> for Purge {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PurgeVisitor;
        impl serde::de::Visitor<'_> for PurgeVisitor {
            type Value = Purge;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or \"dry-run\"")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Purge, E> {
                Ok(if on { Purge::On } else { Purge::Off })
            }

            /// A variable of the environment is a text.
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Purge, E> {
                match text {
                    "true" => Ok(Purge::On),
                    "false" => Ok(Purge::Off),
                    "dry-run" => Ok(Purge::Dry),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(PurgeVisitor)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            delete: true,
            open_writes: false,
            read_only: false,
            redirect: false,
            immutable_tags: Vec::new(),
            upload_expiry: seconds(168 * 3600),
            upload_idle: seconds(24 * 3600),
            upload_purge: Purge::On,
            upload_purge_interval: seconds(3600),
            upload_unfinished: mebibytes(1 << 20),
            upload_memory: mebibytes(256),
            disk_warn: Percent::of_hundred(85),
            disk_full: Percent::of_hundred(95),
            list_ttl: seconds(5),
            missing_references: MissingReferences::Refuse,
            spool: "data/spool".into(),
            spool_size: mebibytes(2 << 10),
            catalog_max: 1000,
            tags_max: 1000,
        }
    }
}

impl Config {
    /// What uploads may take of this process.
    pub fn upload_limits(&self) -> Limits {
        Limits { memory: self.upload_memory.0, spool: self.spool.clone(), spool_size: self.spool_size.0 }
    }

    /// What is wrong beyond the types: the key below `[registry]`, and what to say of it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut within = |key, good: bool, is: String, allowed: &str| {
            if !good {
                faults.push((key, format!("is {is}; allowed: {allowed}")));
            }
        };
        let expiry = self.upload_expiry.0;
        let hour = Duration::from_secs(3600);
        within("upload_expiry", expiry >= hour, self.upload_expiry.to_string(), "1h and more");
        let idle = self.upload_idle;
        within("upload_idle", idle.0 >= hour, idle.to_string(), "1h and more");
        let interval = self.upload_purge_interval;
        let interval_good = (seconds(60)..=seconds(7 * 86_400)).contains(&interval);
        within("upload_purge_interval", interval_good, interval.to_string(), "1m to 7d");
        let unfinished = self.upload_unfinished;
        let unfinished_good = unfinished == Size(0) || unfinished >= mebibytes(16);
        within("upload_unfinished", unfinished_good, unfinished.to_string(), "0 for any number, or 16MiB and more");
        let (warn, full) = (self.disk_warn, self.disk_full);
        within("disk_warn", warn <= full, warn.to_string(), &format!("0% to disk_full, {full}"));
        within("disk_full", full >= Percent::of_hundred(1), full.to_string(), "1% to 100%, which switches it off");
        let ttl_good = self.list_ttl.0 <= hour;
        within("list_ttl", ttl_good, self.list_ttl.to_string(), "0s to 1h");
        let memory_good = self.upload_memory >= mebibytes(32);
        within("upload_memory", memory_good, self.upload_memory.to_string(), "32MiB and more");
        let spool_good = self.spool_size == Size(0) || self.spool_size >= mebibytes(16);
        within("spool_size", spool_good, self.spool_size.to_string(), "0 for none, or 16MiB and more");
        for (key, max) in [("catalog_max", self.catalog_max), ("tags_max", self.tags_max)] {
            within(key, (1..=100_000).contains(&max), max.to_string(), "1 to 100000");
        }
        if self.spool.as_os_str().is_empty() {
            faults.push(("spool", "is empty: name a folder".into()));
        }
        faults.extend(Immutable::faults(&self.immutable_tags).map(|fault| ("immutable_tags", fault)));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(Config::default().faults(), []);
    }

    #[test]
    fn every_fault_is_told_with_its_key() {
        let config: Config = toml::from_str(
            r#"upload_expiry = "1m"
            upload_idle = "1m"
            upload_purge_interval = "1s"
            upload_unfinished = "1MiB"
            disk_warn = "1%"
            disk_full = "0%"
            list_ttl = "2h"
            upload_memory = "1MiB"
            spool = ""
            spool_size = "1MiB"
            catalog_max = 0
            tags_max = 1000000
            immutable_tags = ["a", "[:b"]"#,
        )
        .unwrap();
        let keys: Vec<_> = config.faults().into_iter().map(|(key, _)| key).collect();
        let expected = "upload_expiry upload_idle upload_purge_interval upload_unfinished disk_warn disk_full list_ttl \
                        upload_memory spool_size catalog_max tags_max spool";
        assert_eq!(keys.join(" "), format!("{expected} immutable_tags immutable_tags"));
    }

    #[test]
    fn purging_is_on_off_or_only_told_of() {
        for (text, meant) in [("true", Purge::On), ("false", Purge::Off), ("\"dry-run\"", Purge::Dry)] {
            let config: Config = toml::from_str(&format!("upload_purge = {text}")).unwrap();
            assert_eq!(config.upload_purge, meant);
        }
        assert!(toml::from_str::<Config>("upload_purge = \"often\"").is_err());
    }
}
