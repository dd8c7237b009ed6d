//! Policies of retention that may not be meant.

use crate::config::model::Config;

pub fn warnings(config: &Config) -> Vec<String> {
    if !config.retention.is_empty() && !config.uses_registry() {
        return vec![
            "[[retention]] is for the integrated registry, and no [[route]] reads from or writes to it".to_owned(),
        ];
    }
    let policies = config.retention.iter().enumerate();
    policies
        .flat_map(|(index, policy)| policy.warnings().into_iter().map(move |what| format!("retention.{index} {what}")))
        .collect()
}
