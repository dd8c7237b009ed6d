//! What one client may ask for, and what browsers are told.

use super::Report;
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::cors::config as cors;

pub fn check(config: &Config, report: &mut Report) {
    if let Some(limits) = &config.limits {
        let path = Path::default().key("limits");
        report.within(path.key("burst"), limits.burst, 1..=3600);
        if let Some(uploads) = limits.uploads {
            report.within(path.key("uploads"), uploads, 1..=1_000_000);
        }
    }
    let Some(cors) = &config.cors else { return };
    let path = Path::default().key("cors").key("origins");
    match cors.origins.as_slice() {
        [] => report.say(path, "is empty: name origins, or leave the section out"),
        [any] if any == cors::ANY => {}
        origins => {
            for (index, origin) in origins.iter().enumerate() {
                let fault = match origin == cors::ANY {
                    true => Some("stands for all, and has to stand alone"),
                    false => cors::fault(origin),
                };
                if let Some(fault) = fault {
                    report.say(path.index(index), format!("'{origin}' {fault}"));
                }
            }
        }
    }
}
