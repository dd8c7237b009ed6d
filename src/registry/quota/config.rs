//! `[[quota]]`: how much the repositories that a pattern names may hold together.

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;

use super::amount::Amount;
use crate::units::{Size, mebibytes};

/// Quotas of one configuration: each request is matched with all of them, and each has a file.
const MOST: usize = 256;
/// Less than a small image has is a mistake, most likely of the unit.
const LEAST: Size = mebibytes(1);

/// Takes effect on reload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Glob on repositories' names: `*` within a part, `**` over parts.
    pub repositories: String,
    /// Distinct content, counted once.
    pub bytes: Option<Size>,
    /// Tags of all these repositories.
    pub tags: Option<u64>,
}

impl Config {
    /// What is wrong beyond the types: the number of the quota, its key, and what to say of it.
    pub fn faults(quotas: &[Config]) -> Vec<(usize, &'static str, String)> {
        let mut faults = Vec::new();
        for (index, quota) in quotas.iter().enumerate() {
            let pattern = &quota.repositories;
            if let Some(fault) = pattern_fault(pattern) {
                faults.push((index, "repositories", format!("is '{pattern}', {fault}")));
            } else if quotas.iter().take(index).any(|earlier| earlier.repositories == *pattern) {
                faults.push((index, "repositories", format!("is '{pattern}', which another [[quota]] has: join them")));
            }
            if quota.bytes.is_none() && quota.tags.is_none() {
                faults.push((index, "bytes", "is missing, and `tags` too: set one of them".into()));
            }
            if let Some(bytes) = quota.bytes.filter(|bytes| *bytes < LEAST) {
                faults.push((index, "bytes", format!("is {bytes}; allowed: {LEAST} and more")));
            }
            if quota.tags == Some(0) {
                faults.push((index, "tags", "is 0; allowed: 1 and more".into()));
            }
        }
        if quotas.len() > MOST {
            faults.push((MOST, "repositories", format!("is of one [[quota]] too many: there may be {MOST}")));
        }
        faults
    }

    /// What there may be; what is not bounded is as much as can be.
    pub(super) fn limit(&self) -> Amount {
        Amount { bytes: self.bytes.map_or(u64::MAX, |bytes| bytes.0), tags: self.tags.unwrap_or(u64::MAX) }
    }
}

fn pattern_fault(pattern: &str) -> Option<String> {
    if pattern.is_empty() {
        return Some("which matches nothing".into());
    }
    if pattern.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("which has upper-case letters; names of repositories have none".into());
    }
    if pattern.starts_with('/') || pattern.ends_with('/') {
        return Some("which matches nothing: names neither begin nor end with '/'".into());
    }
    glob(pattern).err().map(|fault| format!("which is no pattern: {fault}"))
}

/// `*` stays within a part of a name, `**` goes over parts.
pub(super) fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(text: &str) -> Vec<Config> {
        #[derive(Deserialize)]
        struct All {
            quota: Vec<Config>,
        }
        toml::from_str::<All>(text).unwrap().quota
    }

    #[test]
    fn one_bound_is_enough() {
        let text = "[[quota]]\nrepositories = 'a/**'\nbytes = '1GiB'\n[[quota]]\nrepositories = 'b'\ntags = 1";
        let quotas = quotas(text);
        assert_eq!(Config::faults(&quotas), []);
        assert_eq!(quotas[0].limit(), Amount { bytes: 1 << 30, tags: u64::MAX });
        assert_eq!(quotas[1].limit(), Amount { bytes: u64::MAX, tags: 1 });
    }

    #[test]
    fn every_fault_is_told_with_its_key() {
        let quotas = quotas(
            "[[quota]]\nrepositories = ''\nbytes = '1GiB'\n[[quota]]\nrepositories = 'A/**'\ntags = 0\n\
             [[quota]]\nrepositories = '{a'\nbytes = 5\n[[quota]]\nrepositories = 'a'\n\
             [[quota]]\nrepositories = 'a'\ntags = 1\n[[quota]]\nrepositories = '/a'\ntags = 1",
        );
        let told: Vec<_> = Config::faults(&quotas).into_iter().map(|(index, key, _)| (index, key)).collect();
        let expected = [
            (0, "repositories"),
            (1, "repositories"),
            (1, "tags"),
            (2, "repositories"),
            (2, "bytes"),
            (3, "bytes"),
            (4, "repositories"),
            (5, "repositories"),
        ];
        assert_eq!(told, expected);
    }
}
