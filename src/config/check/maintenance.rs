//! What is looked after while it serves: each room says itself what is wrong with its own section; schedules have one time zone.

use super::Report;
use super::registry::tell;
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::maintenance::schedule::{Schedule, zone};

pub fn check(config: &Config, report: &mut Report) {
    let root = Path::default();
    tell(root.key("gc"), config.gc.faults(), report);
    tell(root.key("verify"), config.verify.faults(), report);
    let zone = match zone(&config.gc.timezone) {
        Ok(zone) => zone,
        Err(what) => return report.say(root.key("gc").key("timezone"), what),
    };
    let mut schedule = |path: Path, text: &str| {
        if let Err(what) = Schedule::parse(text, zone) {
            report.say(path.key("schedule"), what);
        }
    };
    schedule(root.key("gc"), &config.gc.schedule);
    schedule(root.key("verify"), &config.verify.schedule);
    for (index, policy) in config.retention.iter().enumerate() {
        schedule(root.key("retention").index(index), &policy.schedule);
    }
}
