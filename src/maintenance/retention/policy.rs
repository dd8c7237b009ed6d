//! A policy, compiled; and what tells one from what it was before.

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;

use super::config::{Config, Keep, Unmatched};
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

/// One entry of `[[retention]]`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its place among them, from 0.
    pub index: usize,
    pub keep: Keep,
    pub unmatched: Unmatched,
    /// Part of a repository's tags that one run may take, in percent.
    pub most: f64,
    repositories: GlobMatcher,
    tags: GlobMatcher,
    always: Vec<GlobMatcher>,
}

/// Why there is no such policy; the check of the configuration has refused these before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("retention[{index}]: {what}")]
pub struct Invalid {
    pub index: usize,
    pub what: String,
}

impl Policy {
    pub fn new(index: usize, config: &Config) -> Result<Self, Invalid> {
        let invalid = |what: String| Invalid { index, what };
        if let Some((key, fault)) = config.faults().into_iter().next() {
            return Err(invalid(format!("{key} {fault}")));
        }
        Ok(Policy {
            index,
            keep: config.keep.clone(),
            unmatched: config.unmatched,
            most: percent(&config.most).map_err(invalid)?,
            repositories: glob(&config.repositories).map_err(invalid)?,
            tags: glob(&config.tags).map_err(invalid)?,
            always: config.keep.tags.iter().map(|tag| glob(tag).map_err(invalid)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it says anything of a repository.
    pub fn concerns(&self, name: &RepositoryName) -> bool {
        self.repositories.is_match(name.as_str())
    }

    /// Whether its rules are about a tag.
    pub fn selects(&self, tag: &Tag) -> bool {
        self.tags.is_match(tag.as_str())
    }

    /// Whether a tag always stays.
    pub fn always_keeps(&self, tag: &Tag) -> bool {
        self.always.iter().any(|glob| glob.is_match(tag.as_str()))
    }

    /// Whether it would take a tag that nothing keeps.
    pub fn takes(&self, tag: &Tag) -> bool {
        self.unmatched == Unmatched::Delete || self.selects(tag)
    }
}

/// A name of each policy that changes whenever what may be taken changes: with the policy itself, with any other one (which may
/// have kept what this one takes now), and with the tags that never move. When it runs is no part of it.
pub fn fingerprints(policies: &[Config], immutable: &[String]) -> Vec<String> {
    #[derive(Serialize)]
    struct Written<'a> {
        repositories: &'a str,
        tags: &'a str,
        latest: [Option<usize>; 2],
        /// In milliseconds.
        within: [Option<u128>; 3],
        always: &'a [String],
        unmatched: bool,
        most: &'a str,
    }
    let written = |config: &Config| {
        let Keep { latest_pushed, latest_pulled, pushed_within, pulled_within, created_within, tags } = &config.keep;
        let within = [pushed_within, pulled_within, created_within];
        let written = Written {
            repositories: &config.repositories,
            tags: &config.tags,
            latest: [*latest_pushed, *latest_pulled],
            within: within.map(|span| span.map(|span| span.0.as_millis())),
            always: tags,
            unmatched: config.unmatched == Unmatched::Delete,
            most: &config.most,
        };
        serde_json::to_string(&written).unwrap_or_default()
    };
    let all: Vec<String> = policies.iter().map(written).collect();
    let whole = serde_json::to_string(&(&all, immutable)).unwrap_or_default();
    let name = |own: &String| Digest::of(Algorithm::Sha256, format!("{own}\n{whole}").as_bytes()).hex();
    all.iter().map(name).collect()
}

/// `*` stays within a part of a name, `**` goes over parts.
pub fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.is_empty() {
        return Err("is empty: write a pattern, such as \"**\" or \"v*\"".into());
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("'{pattern}' is no pattern: {}", error.kind()))
}

/// `30%` as 30.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| format!("is \"{text}\"; allowed: \"0%\" to \"100%\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(&format!("repositories = \"dev/**\"\n{text}")).unwrap()
    }

    #[test]
    fn patterns_are_globs_as_everywhere() {
        let policy = Policy::new(3, &config("tags = \"{pr,mr}-*\"\nkeep = { tags = [\"v*\", \"stable\"] }")).unwrap();
        let concerns = |name: &str| policy.concerns(&name.parse().unwrap());
        assert!(concerns("dev/a") && concerns("dev/a/b") && !concerns("dev") && !concerns("prod/dev/a"));
        let tag = |text: &str| text.parse::<Tag>().unwrap();
        assert!(policy.selects(&tag("pr-1")) && policy.selects(&tag("mr-x")) && !policy.selects(&tag("v1")));
        assert!(policy.always_keeps(&tag("v1")) && policy.always_keeps(&tag("stable")));
        assert!(!policy.always_keeps(&tag("stable2")) && !policy.takes(&tag("v1")) && policy.takes(&tag("pr-1")));
        assert_eq!(policy.index, 3);
        let wrong = Policy::new(1, &config("keep = { tags = [\"[\"] }")).unwrap_err();
        assert!(wrong.to_string().starts_with("retention[1]: keep.tags.0 '[' is no pattern"), "{wrong}");
    }

    #[test]
    fn parts_are_percent() {
        assert_eq!(
            [percent("30%"), percent("0%"), percent("12.5 %"), percent("100%")],
            [30.0, 0.0, 12.5, 100.0].map(Ok)
        );
        for wrong in ["", "30", "%", "-1%", "101%", "x%", "NaN%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_may_be_taken_changes_every_name_and_when_changes_none() {
        let one = config("keep = { pushed_within = \"30d\" }");
        let two = config("tags = \"v*\"\nkeep = { latest_pushed = 3 }");
        let names = fingerprints(&[one.clone(), two.clone()], &[]);
        assert!(names.len() == 2 && names[0] != names[1]);
        let scheduled = Config { schedule: "0 1 * * *".into(), ..one.clone() };
        assert_eq!(fingerprints(&[scheduled, two.clone()], &[]), names);
        for changed in [
            "keep = { pushed_within = \"31d\" }",
            "keep = { created_within = \"30d\" }",
            "keep = { pushed_within = \"30d\", tags = [\"v*\"] }",
            "keep = { pushed_within = \"30d\" }\ntags = \"x\"",
            "keep = { pushed_within = \"30d\" }\nunmatched = \"delete\"",
            "keep = { pushed_within = \"30d\" }\nmost = \"100%\"",
        ] {
            let others = fingerprints(&[config(changed), two.clone()], &[]);
            assert!(others.iter().all(|name| !names.contains(name)), "{changed}");
        }
        // The same span in other words is the same.
        let same = config("keep = { pushed_within = \"720h\" }");
        assert_eq!(fingerprints(&[same, two.clone()], &[]), names);
        assert_ne!(fingerprints(&[one.clone(), two], &["prod/**:v*".into()]), names);
        assert_ne!(fingerprints(&[one], &[])[0], names[0], "another policy may have kept what this one takes");
    }
}
