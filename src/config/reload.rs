//! What a running process cannot change.

use super::model::Config;

impl Config {
    /// Keys that differ in `new` and take effect only after a restart.
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let keys = [
            ("admin", self.admin != new.admin),
            ("cache.path", self.cache.path != new.cache.path),
            ("threads", self.threads != new.threads),
        ];
        keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::minimal;

    #[test]
    fn only_admin_cache_path_and_threads_need_a_restart() {
        let old = minimal();
        let mut new = old.clone();
        assert!(old.needs_restart(&new).is_empty());
        new.cache.memory.0 += 1;
        new.listener[0].max_connections += 1;
        assert!(old.needs_restart(&new).is_empty());
        new.cache.path = "elsewhere".into();
        new.threads += 1;
        new.admin = None;
        assert_eq!(old.needs_restart(&new), ["cache.path", "threads"]);
    }
}
