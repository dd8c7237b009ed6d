//! `[[retention]]`: the room says itself what is wrong with an entry.

use super::Report;
use crate::config::model::Config;
use crate::config::tree::Path;

pub fn check(config: &Config, report: &mut Report) {
    for (index, policy) in config.retention.iter().enumerate() {
        for (key, what) in policy.faults() {
            let entry = Path::default().key("retention").index(index);
            let below = |path: Path, step: &str| match step.parse() {
                Ok(number) => path.index(number),
                Err(_) => path.key(step),
            };
            report.say(key.split('.').fold(entry, below), what);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::pairs;

    const BASE: &str =
        "[[listener]]\naddress = \"127.0.0.1:5000\"\n[[route]]\nread = \"registry\"\nwrite = \"registry\"\n";

    fn load(entries: &str) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("entrepot.toml");
        std::fs::write(&file, format!("{BASE}{entries}")).unwrap();
        let told = |errors: crate::config::errors::Errors| {
            let lines = errors.0.iter().map(ToString::to_string);
            lines
                .map(|line| line.split_once("entrepot.toml:").map_or(line.clone(), |(_, rest)| rest.to_owned()))
                .collect()
        };
        Config::load(Some(&file), pairs(&[])).map_err(told)
    }

    #[test]
    fn a_fault_is_told_with_its_line_and_its_key() {
        for (entry, expected) in [
            ("repositories = \"[\"\nkeep = { latest_pushed = 1 }", "7: retention[0].repositories: '[' is no pattern"),
            ("repositories = \"**\"", "6: retention[0].keep: is missing, and it is required"),
            ("keep = { latest_pushed = 1 }", "6: retention[0].repositories: is missing, and it is required"),
            ("repositories = \"**\"\nkeep = {}", "8: retention[0].keep: keeps nothing"),
            (
                "repositories = \"**\"\nkeep = { latest_pushed = 0 }",
                "8: retention[0].keep.latest_pushed: is 0; allowed: 1 to",
            ),
            ("repositories = \"**\"\nkeep = { latest = 3 }", "8: retention[0].keep.latest: is not a key; "),
            (
                "repositories = \"**\"\nkeep = { pushed_within = \"30\" }",
                "8: retention[0].keep.pushed_within: '30' is not a span",
            ),
            (
                "repositories = \"**\"\nkeep = { pulled_within = \"5h\" }",
                "8: retention[0].keep.pulled_within: is 5h; allowed: 1d",
            ),
            (
                "repositories = \"**\"\nkeep = { tags = [\"v*\", \"[\"] }",
                "8: retention[0].keep.tags[1]: '[' is no pattern",
            ),
            ("repositories = \"**\"\ntags = \"\"\nkeep = { latest_pushed = 1 }", "8: retention[0].tags: is empty"),
            (
                "repositories = \"**\"\nkeep = { latest_pushed = 1 }\nmost = \"30\"",
                "9: retention[0].most: is \"30\"; allowed:",
            ),
            (
                "repositories = \"**\"\nkeep = { latest_pushed = 1 }\nunmatched = \"drop\"",
                "9: retention[0].unmatched: is \"drop\", which is not known",
            ),
        ] {
            let found = load(&format!("[[retention]]\n{entry}\n")).unwrap_err();
            assert!(found.len() == 1 && found[0].starts_with(expected), "{entry}: {found:?}");
        }
        let two = "[[retention]]\nrepositories = \"a\"\nkeep = { latest_pushed = 1 }\n[[retention]]\nrepositories = \"\"\nkeep = {}\n";
        let found = load(two).unwrap_err();
        assert!(found.len() == 2 && found.iter().all(|line| line.contains("retention[1].")), "{found:?}");
    }

    #[test]
    fn what_may_not_be_meant_is_told() {
        let config = load("[[retention]]\nrepositories = \"**\"\nkeep = { created_within = \"30d\" }\n").unwrap();
        assert!(
            config.warnings()[0].starts_with("retention.0 goes by `created_within` alone"),
            "{:?}",
            config.warnings()
        );
        let config = load("[[retention]]\nrepositories = \"**\"\nkeep = { pushed_within = \"30d\" }\n").unwrap();
        assert_eq!(config.warnings(), Vec::<String>::new());
    }
}
