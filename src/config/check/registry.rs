//! The integrated registry's sections: each room says itself what is wrong with its own.

use super::Report;
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::registry::quota;

pub fn check(config: &Config, report: &mut Report) {
    let root = Path::default();
    tell(root.key("registry"), config.registry.faults(), report);
    if let Some(redis) = &config.redis {
        tell(root.key("redis"), redis.check(), report);
    }
    tell(root.key("storage"), config.storage.check(), report);
    for (index, key, what) in quota::Config::faults(&config.quota) {
        report.say(root.key("quota").index(index).key(key), what);
    }
}

/// Faults as a room tells them: a key of its section, perhaps of a table in it, and what is wrong.
pub(super) fn tell(section: Path, faults: Vec<(&'static str, String)>, report: &mut Report) {
    for (key, what) in faults {
        let path = key.split('.').fold(section.clone(), |path, step| path.key(step));
        report.say(path, what);
    }
}
