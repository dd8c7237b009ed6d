//! What is no mistake, and may not be meant all the same: told at the start and by `entrepot check`.

use super::model::Config;
use crate::frontend::routing::REGISTRY;

impl Config {
    /// One sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let writes = |target: &Option<String>| target.as_deref() == Some(REGISTRY);
        let writable = self.route.iter().any(|route| writes(&route.write)) && !self.registry.read_only;
        let open: Vec<_> = self.listener.iter().map(|listener| listener.address).collect();
        let open: Vec<_> = open.iter().filter(|address| !address.ip().to_canonical().is_loopback()).collect();
        if writable && let Some(address) = open.first() {
            warnings.push(format!(
                "anybody who reaches {address} may push to the registry and delete from it: it asks nobody who they \
                 are. Keep the address within a network that you trust, or put something before it that asks"
            ));
        }
        let unused = self.storage != Default::default() || self.redis.is_some();
        if unused && !self.uses_registry() {
            warnings.push(format!(
                "[storage] and [redis] are for the integrated registry, and no [[route]] reads from or writes to \
                 \"{REGISTRY}\""
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::{minimal, pairs};

    fn built_in(variables: &[(&str, &str)]) -> Config {
        Config::load(None, pairs(variables)).unwrap()
    }

    #[test]
    fn an_open_registry_is_told_of_and_one_for_this_machine_is_not() {
        assert_eq!(built_in(&[]).warnings(), Vec::<String>::new());
        assert_eq!(built_in(&[("ENTREPOT_LISTENER__0__ADDRESS", "[::1]:1")]).warnings(), Vec::<String>::new());
        for address in ["0.0.0.0:5000", "[::]:5000", "10.0.0.1:5000"] {
            let warnings = built_in(&[("ENTREPOT_LISTENER__0__ADDRESS", address)]).warnings();
            assert!(warnings.len() == 1 && warnings[0].contains(address), "{warnings:?}");
        }
    }

    #[test]
    fn storage_without_a_route_to_it_is_told_of() {
        let mut config = minimal();
        assert_eq!(config.warnings(), Vec::<String>::new());
        config.storage.driver = crate::storage::config::DriverKind::Memory;
        assert!(config.warnings()[0].contains("[storage]"));
    }
}
