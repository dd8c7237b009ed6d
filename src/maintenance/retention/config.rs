//! `[[retention]]`: which tags of which repositories stay.

use std::time::Duration;

use serde::Deserialize;

use super::policy::{glob, percent};
use crate::units::Span;

/// Most that `latest_pushed` and `latest_pulled` may say: more tags than a repository of any use has.
const MOST_COUNT: usize = 100_000;
/// Pulls are remembered by the day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// One policy. Takes effect on reload; its first run after a change only shows what it would do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Glob on repositories' names: `*` within a part, `**` over parts.
    pub repositories: String,
    /// Glob on tags.
    #[serde(default = "any")]
    pub tags: String,
    /// Any of these keeps a tag.
    pub keep: Keep,
    /// What happens to tags of these repositories that `tags` does not match.
    #[serde(default)]
    pub unmatched: Unmatched,
    /// Part of a repository's tags that one run may take, such as `30%`: beyond, it takes none of them.
    #[serde(default = "third")]
    pub most: String,
    /// When it runs, as cron has it; empty: only by hand.
    #[serde(default)]
    pub schedule: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// So many that were pushed last.
    pub latest_pushed: Option<usize>,
    /// So many that were pulled last.
    pub latest_pulled: Option<usize>,
    pub pushed_within: Option<Span>,
    /// A push counts as well.
    pub pulled_within: Option<Span>,
    /// By the image's own `created`.
    pub created_within: Option<Span>,
    /// Globs on tags that always stay, also of those that `tags` does not match.
    pub tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They are none of this policy's business; another one may take them.
    #[default]
    Keep,
    /// They go, unless something keeps them.
    Delete,
}

impl Keep {
    /// Whether nothing is kept by any rule.
    pub fn is_empty(&self) -> bool {
        *self == Keep::default()
    }

    /// Whether it matters when something was pulled.
    pub fn asks_for_pulls(&self) -> bool {
        self.latest_pulled.is_some() || self.pulled_within.is_some()
    }
}

impl Config {
    /// What is wrong beyond the types, but for the schedule: the key below this entry of `[[retention]]`, and what to say of it.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults: Vec<(String, String)> = Vec::new();
        let mut say = |key: &str, what: String| faults.push((key.to_owned(), what));
        for (key, pattern) in [("repositories", &self.repositories), ("tags", &self.tags)] {
            if let Err(fault) = glob(pattern) {
                say(key, fault);
            }
        }
        if self.keep.is_empty() {
            say(
                "keep",
                "keeps nothing: every tag would go but the last; write such as { pushed_within = \"30d\" }".into(),
            );
        }
        for (key, count) in
            [("keep.latest_pushed", self.keep.latest_pushed), ("keep.latest_pulled", self.keep.latest_pulled)]
        {
            if let Some(count) = count.filter(|count| !(1..=MOST_COUNT).contains(count)) {
                say(key, format!("is {count}; allowed: 1 to {MOST_COUNT}"));
            }
        }
        for (key, span) in
            [("keep.pushed_within", self.keep.pushed_within), ("keep.created_within", self.keep.created_within)]
        {
            if span.is_some_and(|span| span.0 < Duration::from_secs(1)) {
                say(key, "is no time: allowed: 1s and more".into());
            }
        }
        if let Some(span) = self.keep.pulled_within.filter(|span| span.0 < DAY) {
            say(
                "keep.pulled_within",
                format!("is {span}; allowed: 1d and more, since pulls are remembered by the day"),
            );
        }
        for (index, pattern) in self.keep.tags.iter().enumerate() {
            if let Err(fault) = glob(pattern) {
                say(&format!("keep.tags.{index}"), fault);
            }
        }
        if let Err(fault) = percent(&self.most) {
            say("most", fault);
        }
        faults
    }

    /// What may not be meant, though it is allowed.
    pub fn warnings(&self) -> Vec<String> {
        let only_created = Keep { created_within: None, tags: Vec::new(), ..self.keep.clone() }.is_empty();
        let mut warnings = Vec::new();
        if self.keep.created_within.is_some() && only_created {
            warnings.push(
                "goes by `created_within` alone: an old image that is pushed today goes with the next run. Add \
                 `pushed_within` if it shall stay for a while"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn any() -> String {
    "*".into()
}

fn third() -> String {
    "30%".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.faults().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_example_of_the_manual_is_good() {
        let text = r#"repositories = "dev/**"
            tags = "*"
            keep = { latest_pushed = 10, pushed_within = "30d", pulled_within = "14d", tags = ["v*", "stable"] }
            unmatched = "keep"
            schedule = "30 1 * * *""#;
        assert_eq!(faults(text), Vec::<String>::new());
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!((config.most.as_str(), config.unmatched), ("30%", Unmatched::Keep));
        assert!(config.keep.asks_for_pulls() && config.warnings().is_empty());
    }

    #[test]
    fn every_fault_is_told_with_its_key() {
        let text = r#"repositories = "[a"
            tags = ""
            keep = { latest_pushed = 0, latest_pulled = 1000000, pushed_within = "0s", pulled_within = "1h", created_within = "5ms", tags = ["a", "{"] }
            most = "much""#;
        assert_eq!(
            faults(text),
            [
                "repositories",
                "tags",
                "keep.latest_pushed",
                "keep.latest_pulled",
                "keep.pushed_within",
                "keep.created_within",
                "keep.pulled_within",
                "keep.tags.1",
                "most"
            ]
        );
        assert_eq!(faults("repositories = \"**\"\nkeep = {}\n"), ["keep"]);
        assert!(toml::from_str::<Config>("repositories = \"**\"\n").is_err(), "what stays has to be said");
        assert!(toml::from_str::<Config>("repositories = \"**\"\nkeep = { days = 3 }\n").is_err());
        assert!(toml::from_str::<Config>("repositories = \"**\"\nkeep = {}\nunmatched = \"drop\"\n").is_err());
    }

    #[test]
    fn who_goes_by_created_alone_is_warned() {
        let warnings = |keep: &str| {
            toml::from_str::<Config>(&format!("repositories = \"**\"\nkeep = {keep}\n")).unwrap().warnings().len()
        };
        assert_eq!(warnings("{ created_within = \"30d\" }"), 1);
        assert_eq!(warnings("{ created_within = \"30d\", tags = [\"v*\"] }"), 1);
        assert_eq!(warnings("{ created_within = \"30d\", pushed_within = \"1d\" }"), 0);
        assert_eq!(warnings("{ pushed_within = \"1d\" }"), 0);
    }
}
