//! What is no mistake, and may not be meant all the same: told at the start and by `entrepot check`.

mod maintenance;
mod patterns;
mod remotes;
mod retention;
mod rules;

use super::model::Config;
use crate::cluster::config::Authorization;
use crate::fleet::secret;
use crate::routing::REGISTRY;
use crate::telemetry;

impl Config {
    /// One sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let open = self.listener.iter().map(|listener| &listener.address);
        let open: Vec<_> = open.filter(|address| !address.is_of_this_machine()).collect();
        let logins = self.cluster.iter().filter_map(|(name, cluster)| match &cluster.authorization {
            Authorization::Login(login) => Some((name, &login.username)),
            Authorization::Pass | Authorization::Drop | Authorization::Token => None,
        });
        if let Some(address) = open.first() {
            warnings.extend(logins.map(|(name, username)| {
                format!(
                    "anybody who reaches {address} may do at the peers of cluster.{name} what their user '{username}' \
                     may: `authorization` gives its login to every request. Keep the address within a network that you \
                     trust, or put something before it that asks"
                )
            }));
        }
        if let Some(file) = self.fleet.secret_file.as_deref().filter(|file| secret::may_be_read_by_others(file)) {
            warnings.push(format!(
                "{} may be read or written by others than its owner, and whoever knows the fleet's secret is taken for an \
                 instance: `chmod 600` it",
                file.display()
            ));
        }
        if let Some(unused) = self.unused() {
            warnings.push(format!(
                "{unused} for the integrated registry, and no [[route]] reads from or writes to \"{REGISTRY}\""
            ));
        }
        if !self.quota.is_empty() && !self.uses_registry() {
            warnings.push(format!(
                "[[quota]] is for the integrated registry, and no [[route]] reads from or writes to \"{REGISTRY}\""
            ));
        }
        if let Some(limits) = &self.limits
            && limits.requests.is_none()
            && limits.logins.is_none()
            && limits.uploads.is_none()
        {
            warnings.push("[limits] limits nothing: neither `requests` nor `logins` nor `uploads` is set there".into());
        }
        if self.tracing.as_ref().is_some_and(telemetry::spans::Config::tells_in_the_clear) {
            warnings
                .push("the fields of tracing.headers_file go over plain http: who is on the way can read them".into());
        }
        warnings.extend(remotes::warnings(self));
        warnings.extend(maintenance::warnings(self));
        warnings.extend(retention::warnings(self));
        warnings.extend(rules::warnings(self));
        warnings.extend(self.stray.iter().map(|name| {
            format!("{name} is of distribution's configuration, and this one is Entrepot's: it does not count")
        }));
        warnings.extend(
            self.translated.iter().flat_map(|told| told.lost.iter().map(|what| format!("distribution's {what}"))),
        );
        warnings
    }

    /// What is said of a registry that there is not.
    fn unused(&self) -> Option<&'static str> {
        let storage = self.storage != Default::default();
        // What [limits] count, they count there too; and mirrors share what they fetch.
        let redis = self.redis.is_some() && self.limits.is_none() && self.remote.is_empty();
        match (storage, redis) {
            _ if self.uses_registry() => None,
            (false, false) => None,
            (true, false) => Some("[storage] is"),
            (false, true) => Some("[redis] is"),
            (true, true) => Some("[storage] and [redis] are"),
        }
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
    fn a_login_that_everybody_gets_is_told_of() {
        let variables = |address: &'static str| {
            built_in(&[
                ("ENTREPOT_LISTENER__0__ADDRESS", address),
                ("ENTREPOT_CLUSTER__MAIN__PEERS__0", "a:5000"),
                ("ENTREPOT_CLUSTER__MAIN__AUTHORIZATION__USERNAME", "ann"),
                ("ENTREPOT_CLUSTER__MAIN__AUTHORIZATION__PASSWORD", "1234"),
                ("ENTREPOT_ROUTE__0__READ", "cluster.main"),
            ])
        };
        assert_eq!(variables("127.0.0.1:1").warnings(), Vec::<String>::new());
        let warnings = variables("0.0.0.0:1").warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("'ann'") && !warnings[0].contains("1234"), "{warnings:?}");
    }

    #[test]
    fn a_secret_that_others_may_read_is_told_of() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, crate::fleet::secret::fresh()).unwrap();
        for (mode, count) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let warnings = built_in(&[("ENTREPOT_FLEET__SECRET_FILE", file.to_str().unwrap())]).warnings();
            assert_eq!(warnings.iter().filter(|warning| warning.contains("chmod 600")).count(), count, "{mode:o}");
        }
    }

    #[test]
    fn storage_without_a_route_to_it_is_told_of() {
        let mut config = minimal();
        assert_eq!(config.warnings(), Vec::<String>::new());
        config.storage.driver = crate::storage::config::DriverKind::Memory;
        assert!(config.warnings()[0].starts_with("[storage] is for"), "{:?}", config.warnings());
        config.redis = Some(toml::from_str("url = \"redis://127.0.0.1:6379/0\"").unwrap());
        assert!(config.warnings()[0].starts_with("[storage] and [redis] are for"), "{:?}", config.warnings());
        config.limits = Some(toml::from_str("requests = \"1/s\"").unwrap());
        assert!(config.warnings()[0].starts_with("[storage] is for"), "{:?}", config.warnings());
        config.storage = Default::default();
        assert_eq!(config.warnings(), Vec::<String>::new());
        config.limits = Some(toml::from_str("").unwrap());
        assert!(config.warnings()[0].contains("[limits] limits nothing"), "{:?}", config.warnings());
    }
}
