//! What a running process cannot change.

use super::model::Config;

impl Config {
    /// Keys that differ in `new` and take effect only after a restart. Before the integrated registry is open, its storage
    /// may still change.
    pub fn needs_restart(&self, new: &Config, registry_open: bool) -> Vec<&'static str> {
        let keys = [
            ("admin", self.admin != new.admin),
            ("cache.path", self.cache.path != new.cache.path),
            ("log.format", self.log.format != new.log.format),
            ("redis", self.fleet_open(registry_open) && self.redis != new.redis),
            ("registry.spool", registry_open && self.registry.spool != new.registry.spool),
            ("storage", registry_open && self.storage != new.storage),
            ("threads", self.threads != new.threads),
        ];
        keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }

    /// Keeps of `self` what `new` cannot change in a running process.
    pub fn with_reload(&self, new: Config, registry_open: bool) -> Config {
        let cache = crate::cache::Config { path: self.cache.path.clone(), ..new.cache };
        let log = crate::telemetry::LogConfig { format: self.log.format, ..new.log };
        let kept = Config { admin: self.admin.clone(), threads: self.threads, cache, log, ..new };
        let redis = if self.fleet_open(registry_open) { self.redis.clone() } else { kept.redis.clone() };
        let kept = Config { redis, ..kept };
        if !registry_open {
            return kept;
        }
        let registry = crate::registry::Config { spool: self.registry.spool.clone(), ..kept.registry };
        Config { registry, storage: self.storage.clone(), ..kept }
    }

    /// Whether what the instances tell each other is open: limits that are counted together and mirrors have it so too.
    fn fleet_open(&self, registry_open: bool) -> bool {
        registry_open || self.limits.is_some() || !self.remote.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::minimal;
    use crate::storage::config::DriverKind;

    #[test]
    fn what_cannot_change_is_named_and_kept() {
        let old = minimal();
        let mut new = old.clone();
        assert!(old.needs_restart(&new, true).is_empty());
        new.cache.memory.0 += 1;
        new.listener[0].max_connections += 1;
        assert!(old.needs_restart(&new, true).is_empty());
        new.cache.path = "elsewhere".into();
        new.threads += 1;
        new.admin = None;
        new.storage.driver = DriverKind::Memory;
        new.registry.delete = false;
        new.log = toml::from_str("format = \"json\"").unwrap();
        assert_eq!(old.needs_restart(&new, true), ["cache.path", "log.format", "storage", "threads"]);
        assert_eq!(old.needs_restart(&new, false), ["cache.path", "log.format", "threads"]);
        let kept = old.with_reload(new.clone(), true);
        assert_eq!((&kept.storage, kept.registry.delete, kept.threads), (&old.storage, false, old.threads));
        assert_eq!((&kept.cache.path, kept.log.format), (&old.cache.path, old.log.format));
        assert_eq!(kept.cache.memory, new.cache.memory);
        assert_eq!(old.with_reload(new.clone(), false).storage, new.storage);
        let mut mirrored = old.clone();
        mirrored.remote.insert("hub".into(), toml::from_str("registry = \"docker.io\"").unwrap());
        let mut new = mirrored.clone();
        new.redis = Some(toml::from_str("url = \"redis://127.0.0.1:6379/0\"").unwrap());
        assert_eq!(mirrored.needs_restart(&new, false), ["redis"], "mirrors have the fleet open");
        new.remote.clear();
        assert_eq!(mirrored.with_reload(new, false).redis, None);
    }
}
