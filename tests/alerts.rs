//! Alerts go off when they should, by promtool, and ask only for what there is.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::tools::run;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/prometheus")
}

#[test]
fn they_go_off_when_they_should_and_not_before() {
    run(Command::new("promtool").args(["check", "rules", "rules.yml"]).current_dir(folder()));
    run(Command::new("promtool").args(["test", "rules", "tests.yml", "tests_of_days.yml"]).current_dir(folder()));
}

/// A metric that was renamed would leave an alert silent for ever.
#[test]
fn they_ask_for_metrics_that_there_are() {
    let rules = std::fs::read_to_string(folder().join("rules.yml")).expect("the rules");
    let page = std::fs::read_to_string(folder().join("../../METRICS.md")).expect("the page of metrics");
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let expressions = rules.lines().filter(|line| !line.trim_start().starts_with("summary:"));
    let words = expressions.flat_map(|line| line.split(|c: char| !is_part(c)));
    let names: Vec<&str> = words
        .filter(|word| ["entrepot_", "registry_", "process_"].iter().any(|start| word.starts_with(start)))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(page.contains(&format!("`{base}`")) || page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn each_is_tested() {
    let text = |name: &str| std::fs::read_to_string(folder().join(name)).expect("a file");
    let (rules, tests) = (text("rules.yml"), text("tests.yml") + &text("tests_of_days.yml"));
    let names = |text: &str, key: &str| -> std::collections::BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key))
            .map(|name| name.trim().to_owned())
            .collect()
    };
    let missing: Vec<_> = names(&rules, "alert:").difference(&names(&tests, "alertname:")).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}
