//! Tags that never move: `immutable_tags`.

use globset::{GlobBuilder, GlobMatcher};

use crate::oci::{RepositoryName, Tag};

/// The compiled patterns.
#[derive(Default)]
pub(super) struct Immutable(Vec<(GlobMatcher, GlobMatcher)>);

impl Immutable {
    /// Patterns that do not compile are left out: `faults` has told of them.
    pub(super) fn new(patterns: &[String]) -> Self {
        Immutable(patterns.iter().filter_map(|pattern| compile(pattern).ok()).collect())
    }

    /// What is wrong with patterns, for the check of the configuration.
    pub(super) fn faults(patterns: &[String]) -> impl Iterator<Item = String> {
        patterns.iter().filter_map(|pattern| {
            let fault = compile(pattern).err()?;
            Some(format!("has '{pattern}', which {fault}; write \"REPOSITORIES:TAGS\" such as \"prod/**:v*\""))
        })
    }

    /// Whether a tag of this repository may be one that never moves.
    pub(super) fn concerns(&self, name: &RepositoryName) -> bool {
        self.0.iter().any(|(names, _)| names.is_match(name.as_str()))
    }

    pub(super) fn matches(&self, name: &RepositoryName, tag: &Tag) -> bool {
        self.0.iter().any(|(names, tags)| names.is_match(name.as_str()) && tags.is_match(tag.as_str()))
    }
}

/// Neither names nor tags hold a colon, so the only one parts them.
fn compile(pattern: &str) -> Result<(GlobMatcher, GlobMatcher), String> {
    let (names, tags) = pattern.split_once(':').ok_or("has no ':' between repositories and tags")?;
    Ok((glob(names)?, glob(tags)?))
}

/// `*` stays within a part of a name, `**` goes over parts.
fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.is_empty() {
        return Err("is empty on one side of ':'".into());
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("is no pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_must_match() {
        let immutable = Immutable::new(&["prod/**:v*".into(), "**:release".into(), "no colon".into()]);
        let matches = |name: &str, tag: &str| immutable.matches(&name.parse().unwrap(), &tag.parse().unwrap());
        let concerns = |name: &str| immutable.concerns(&name.parse().unwrap());
        assert!(concerns("prod/a") && concerns("any"));
        assert!(!Immutable::new(&["prod/**:v*".into()]).concerns(&"dev".parse().unwrap()));
        assert!(matches("prod/a/b", "v1") && matches("any", "release"));
        assert!(!matches("prod/a", "latest") && !matches("dev/a", "v1") && !matches("any", "release1"));
        assert!(!Immutable::default().matches(&"a".parse().unwrap(), &"b".parse().unwrap()));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        let patterns = ["a", ":", "a:", ":b", "[:b", "a:{", "good/*:*"].map(String::from);
        assert_eq!(Immutable::faults(&patterns).count(), 6);
    }
}
