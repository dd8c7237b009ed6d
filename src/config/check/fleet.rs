//! This instance as one of a fleet: whether its secret is one. Makes nothing.

use super::Report;
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::fleet::secret;

pub fn check(config: &Config, report: &mut Report) {
    let key = Path::default().key("fleet").key("secret_file");
    let Some(file) = &config.fleet.secret_file else { return };
    if file.as_os_str().is_empty() {
        report.say(key, "is empty: name the file of the fleet's secret");
    } else if let Err(error) = secret::inspect(file, config.is_alone()) {
        report.say(key, error.to_string());
    }
}
