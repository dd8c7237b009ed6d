//! Alerts go off when they should, by promtool, and ask only for what there is; and they go where they are meant to, by amtool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::scratch;
use crate::harness::tools::{fails, run};

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
    let names = |text: &str, key: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key))
            .map(|name| name.trim().to_owned())
            .collect()
    };
    let missing: Vec<_> = names(&rules, "alert:").difference(&names(&tests, "alertname:")).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_samples_are_what_prometheus_and_alertmanager_take() {
    run(Command::new("promtool").args(["check", "config", "prometheus.yml"]).current_dir(folder()));
    run(Command::new("amtool").args(["check-config", "alertmanager.yml"]).current_dir(folder()));
    let bad = scratch();
    std::fs::write(bad.path().join("alertmanager.yml"), "route: {receiver: nobody}\nreceivers: []\n")
        .expect("a mistake");
    fails(Command::new("amtool").arg("check-config").arg(bad.path().join("alertmanager.yml")));
}

/// Each severity that a rule has has its way, and no other is meant by the routes.
#[test]
fn each_severity_goes_where_it_is_meant_to() {
    let yaml = |name: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(folder().join(name)).expect("a file");
        serde_yaml::from_str(&text).expect("YAML")
    };
    let (rules, routes) = (yaml("rules.yml"), yaml("alertmanager.yml"));
    let groups = rules["groups"].as_array().expect("groups").iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    let severities: BTreeSet<&str> =
        alerts.map(|alert| alert["labels"]["severity"].as_str().expect("a severity")).collect();
    assert_eq!(severities, BTreeSet::from(["page", "ticket"]));
    assert_eq!(routes["route"]["routes"].as_array().map(Vec::len), Some(severities.len()));
    let goes_to = |labels: &[&str]| {
        let test = ["config", "routes", "test", "--config.file=alertmanager.yml"];
        run(Command::new("amtool").args(test).args(labels).current_dir(folder()))
    };
    assert_eq!(goes_to(&["alertname=EntrepotDown", "severity=page"]), "pages");
    assert_eq!(goes_to(&["alertname=EntrepotPeerDown", "severity=ticket"]), "tickets");
    // Somebody else's alert is not lost.
    assert_eq!(goes_to(&["alertname=Another"]), "tickets");
}

/// An alert that was renamed would silence nothing any more, or be silenced by nothing.
#[test]
fn inhibitions_name_alerts_that_there_are() {
    let rules = std::fs::read_to_string(folder().join("rules.yml")).expect("the rules");
    let routes = std::fs::read_to_string(folder().join("alertmanager.yml")).expect("the routes");
    let named = routes.lines().filter(|line| line.contains("_matchers:")).flat_map(|line| line.split('"'));
    let named: Vec<&str> = named.filter(|word| word.starts_with("Entrepot") && !word.contains('.')).collect();
    assert!(named.len() > 6, "{named:?}");
    for alert in named {
        assert!(rules.contains(&format!("- alert: {alert}\n")), "{alert}");
    }
}
