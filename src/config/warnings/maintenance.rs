//! What is looked after in vain, or not as it should be.

use crate::acme::config::Storage;
use crate::config::model::Config;
use crate::maintenance::{gc, verify};

pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let sections =
        [("[gc]", config.gc != gc::Config::default()), ("[verify]", config.verify != verify::Config::default())];
    let named = sections.into_iter().filter(|(_, given)| *given && !config.uses_registry());
    warnings.extend(named.map(|(section, _)| {
        format!("{section} is for the integrated registry, and no [[route]] reads from or writes to it")
    }));
    if config.gc.short_times {
        warnings.push(
            "[gc] short_times is on, which is for tests: what is pushed while garbage is collected can be lost".into(),
        );
    }
    if config.registry.read_only && !config.gc.schedule.is_empty() {
        warnings.push("[gc] schedule does nothing in an instance that only reads: [registry] read_only = true".into());
    }
    if config.registry.read_only && keeps_certificates(config) {
        warnings.push(
            "certificates that come by themselves are kept in the registry, where nothing is written: [registry] read_only = true. \
             They end where no other instance renews them; [acme] storage can name a folder"
                .into(),
        );
    }
    warnings
}

fn keeps_certificates(config: &Config) -> bool {
    let place = config.acme.clone().unwrap_or_default().place(config.seals_certificates());
    place == Storage::Registry && !config.ordered_names().is_empty()
}

#[cfg(test)]
mod tests {
    use crate::acme::config::{Config as Acme, Storage};
    use crate::config::tests::minimal;
    use crate::listener::config::Certificate;

    #[test]
    fn sections_of_a_registry_that_there_is_not_and_times_of_tests_are_told_of() {
        let mut config = minimal();
        assert_eq!(config.warnings(), Vec::<String>::new());
        config.gc.schedule = "0 2 * * *".into();
        config.verify.schedule = "0 3 * * 0".into();
        let warnings = config.warnings();
        assert!(warnings.len() == 2 && warnings[0].starts_with("[gc] is") && warnings[1].starts_with("[verify] is"));
        config.route[0].read = "registry".into();
        assert_eq!(config.warnings(), Vec::<String>::new());
        config.gc.short_times = true;
        config.registry.read_only = true;
        let warnings = config.warnings();
        assert!(warnings[0].contains("short_times") && warnings[1].contains("read_only"), "{warnings:?}");
    }

    #[test]
    fn certificates_that_nobody_here_can_renew_are_told_of() {
        let mut config = minimal();
        config.route[0].read = "registry".into();
        config.registry.read_only = true;
        assert_eq!(config.warnings(), Vec::<String>::new());
        config.acme = Some(Acme { storage: Some(Storage::Registry), ..Acme::default() });
        assert_eq!(config.warnings(), Vec::<String>::new(), "there are none");
        let names = vec!["registry.example.com".to_owned()];
        config.listener[0].tls = vec![Certificate { certificate: None, key: None, acme: true, names }];
        let warnings = config.warnings();
        assert!(warnings.len() == 1 && warnings[0].starts_with("certificates that come by themselves"), "{warnings:?}");
    }
}
