//! The rules, and the one decision: a pure function of who asks, from where, by which host, for what.
//!
//! What any rule allows is allowed, unless a rule denies it; what no rule speaks of is denied. Two readings make rules do what
//! people mean by them:
//! - what is allowed to `anonymous` is allowed to everybody: logging in takes nothing away. Denied to `anonymous` is what is
//!   denied to who has not logged in.
//! - a robot was made for some repositories and some actions: that is a rule of its own. `authenticated` allows it nothing
//!   more; `robot:NAME` and `anonymous` do. What is denied to `authenticated` is denied to it too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use globset::{GlobBuilder, GlobMatcher};
use ipnet::IpNet;

use super::config;
use super::identity::{Identity, Kind, Known};
use super::permission::{Permission, Permissions};
use super::robot::Reach;
use crate::oci::RepositoryName;

/// All rules of one configuration. Replaced whole on reload.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    groups: BTreeMap<String, Vec<String>>,
    needs_login: bool,
}

#[derive(Debug)]
pub struct Rule {
    pub repositories: String,
    pub allow: Permissions,
    pub deny: Permissions,
    glob: GlobMatcher,
    who: Vec<Who>,
    hosts: Option<Vec<String>>,
    from: Option<Vec<IpNet>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Who {
    Anonymous,
    Authenticated,
    /// Of one kind, by name.
    One(Kind, String),
    Group(String),
}

/// Why rules cannot be read; the index is the rule's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "'{0}' is nobody: write \"anonymous\", \"authenticated\", \"user:NAME\", \"group:NAME\", \"robot:NAME\", \"workload:NAME\" or \"*\""
    )]
    Who(String),
    #[error("'{0}' is not a pattern of repositories: {1}")]
    Glob(String, String),
}

/// Who asks, and how they came.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub identity: &'a Identity,
    /// Lower case, without port; empty if the client named none.
    pub host: &'a str,
    pub address: IpAddr,
}

/// What for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    In(&'a RepositoryName),
    /// In any repository at all: whether it is worth asking of each.
    Anywhere,
    /// In all repositories: what concerns the whole service. Only a rule for `**` allows it, and a rule for any denies it.
    Everywhere,
}

/// What the rules say, and which one decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The number of the rule, from 0: it allows or denies.
    Rule(usize),
    /// What the robot was made for.
    Robot,
    /// No rule allows it.
    Nothing,
}

impl Policy {
    pub fn new(config: &config::Config) -> Result<Self, (usize, RuleError)> {
        let implied = [config::Rule {
            repositories: "**".into(),
            who: vec!["authenticated".into()],
            allow: Permission::ALL.into_iter().filter(|permission| *permission != Permission::Admin).collect(),
            deny: Vec::new(),
            hosts: None,
            from: None,
        }];
        let given = if config.rule.is_empty() { &implied[..] } else { &config.rule[..] };
        let rules = given.iter().enumerate().map(|(index, rule)| Rule::new(rule).map_err(|error| (index, error)));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let needs_login = !is_open(&rules);
        Ok(Policy { rules, groups: config.groups.clone(), needs_login })
    }

    /// Whether anything is not allowed to everybody, so that clients have to be asked to log in: a robot may be allowed it.
    pub fn needs_login(&self) -> bool {
        self.needs_login
    }

    /// Whether who asks may do anything by any rule that not everybody may: else they are asked to log in, as if they were nobody.
    pub fn favours(&self, asker: &Asker<'_>) -> bool {
        let nobody = Asker { identity: &Identity::Anonymous, ..*asker };
        let favours = |rule: &Rule| {
            !rule.allow.is_empty()
                && self.counts(rule, asker, Reading::Allow)
                && !self.counts(rule, &nobody, Reading::Allow)
        };
        self.rules.iter().any(favours)
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn decide(&self, asker: &Asker<'_>, permission: Permission, asked: Asked<'_>) -> Decision {
        let mut found = None;
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.deny.contains(permission) && rule.denies_in(asked) && self.counts(rule, asker, Reading::Deny) {
                return Decision { allowed: false, why: Why::Rule(index) };
            }
            if found.is_none()
                && rule.allow.allows(permission)
                && rule.concerns(asked)
                && self.counts(rule, asker, Reading::Allow)
            {
                found = Some(Why::Rule(index));
            }
        }
        let reach = asker.identity.known().and_then(|known| known.reach.as_ref());
        if found.is_none() && reach.is_some_and(|reach| reaches(reach, permission, asked)) {
            found = Some(Why::Robot);
        }
        Decision { allowed: found.is_some(), why: found.unwrap_or(Why::Nothing) }
    }

    /// Whether the rule is about this asker, whatever it says.
    pub fn speaks_of(&self, rule: &Rule, asker: &Asker<'_>) -> bool {
        self.counts(rule, asker, Reading::Allow) || self.counts(rule, asker, Reading::Deny)
    }

    fn counts(&self, rule: &Rule, asker: &Asker<'_>, reading: Reading) -> bool {
        let host =
            rule.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|pattern| host_matches(pattern, asker.host)));
        let address = asker.address.to_canonical();
        let from = rule.from.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&address)));
        host && from && rule.who.iter().any(|who| self.is(who, asker.identity, reading))
    }

    fn is(&self, who: &Who, identity: &Identity, reading: Reading) -> bool {
        match (who, identity.known()) {
            (Who::Anonymous, None) => true,
            (Who::Anonymous, Some(_)) => reading == Reading::Allow,
            (Who::Authenticated, Some(known)) => known.kind != Kind::Robot || reading == Reading::Deny,
            (Who::One(kind, name), Some(known)) => is_meant(*kind, known.kind) && known.name == *name,
            (Who::Group(group), Some(known)) => self.is_in(group, known),
            (_, None) => false,
        }
    }

    /// Names of the groups that somebody is in.
    pub fn groups_of(&self, identity: &Identity) -> Vec<String> {
        let Some(known) = identity.known() else { return Vec::new() };
        let given = known.groups.iter().filter(|group| !self.groups.contains_key(*group));
        self.groups.keys().filter(|group| self.is_in(group, known)).chain(given).cloned().collect()
    }

    fn is_in(&self, group: &str, known: &Known) -> bool {
        let members = self.groups.get(group).map(Vec::as_slice).unwrap_or_default();
        let by_name = members.iter().any(|member| {
            let of_kind = || member.strip_prefix(known.kind.word()).and_then(|rest| rest.strip_prefix(':'));
            (is_meant(Kind::User, known.kind) && *member == known.name)
                || (known.kind != Kind::User && of_kind() == Some(&known.name))
        });
        by_name || known.groups.iter().any(|own| own == group)
    }
}

/// Workloads are named as users are too: nobody of either kind has a name of the other's.
fn is_meant(named: Kind, kind: Kind) -> bool {
    named == kind || (named == Kind::User && kind == Kind::Workload)
}

/// Whether everybody may do everything that a login could be for.
fn is_open(rules: &[Rule]) -> bool {
    let logins = Permission::ALL.into_iter().filter(|permission| *permission != Permission::Admin);
    let by_one = |permission| {
        rules.iter().any(|rule| {
            let everybody = rule.who.contains(&Who::Anonymous) && rule.hosts.is_none() && rule.from.is_none();
            everybody && rule.repositories == "**" && rule.allow.allows(permission)
        })
    };
    logins.into_iter().all(by_one) && rules.iter().all(|rule| rule.deny.is_empty())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Allow,
    Deny,
}

impl Rule {
    fn new(rule: &config::Rule) -> Result<Self, RuleError> {
        let glob = GlobBuilder::new(&rule.repositories).literal_separator(true).build();
        let glob = glob.map_err(|error| RuleError::Glob(rule.repositories.clone(), error.kind().to_string()))?;
        let mut who = Vec::new();
        for word in &rule.who {
            match word.as_str() {
                "*" => who.extend([Who::Anonymous, Who::Authenticated]),
                _ => who.push(named(word).ok_or_else(|| RuleError::Who(word.clone()))?),
            }
        }
        // "*" denies robots too: who is anybody.
        Ok(Rule {
            repositories: rule.repositories.clone(),
            allow: rule.allow.iter().copied().collect(),
            deny: rule.deny.iter().copied().collect(),
            glob: glob.compile_matcher(),
            who,
            hosts: rule.hosts.as_ref().map(|hosts| hosts.iter().map(|host| host.to_ascii_lowercase()).collect()),
            from: rule.from.clone(),
        })
    }

    fn concerns(&self, asked: Asked<'_>) -> bool {
        match asked {
            Asked::In(name) => self.glob.is_match(name.as_str()),
            Asked::Anywhere => true,
            Asked::Everywhere => self.repositories == "**",
        }
    }

    fn denies_in(&self, asked: Asked<'_>) -> bool {
        match asked {
            Asked::In(name) => self.glob.is_match(name.as_str()),
            Asked::Anywhere => false,
            Asked::Everywhere => true,
        }
    }

    pub fn matches(&self, repository: &RepositoryName) -> bool {
        self.glob.is_match(repository.as_str())
    }
}

fn named(word: &str) -> Option<Who> {
    let one = |kind: Kind| {
        let name = word.strip_prefix(kind.word())?.strip_prefix(':')?;
        (!name.is_empty()).then(|| Who::One(kind, name.to_owned()))
    };
    match word {
        "anonymous" => Some(Who::Anonymous),
        "authenticated" => Some(Who::Authenticated),
        _ => {
            let group =
                || word.strip_prefix("group:").filter(|name| !name.is_empty()).map(|name| Who::Group(name.to_owned()));
            [Kind::User, Kind::Robot, Kind::Workload].into_iter().find_map(one).or_else(group)
        }
    }
}

fn reaches(reach: &Reach, permission: Permission, asked: Asked<'_>) -> bool {
    match asked {
        Asked::In(name) => reach.allows(permission, name),
        Asked::Anywhere => reach.allow().allows(permission),
        Asked::Everywhere => false,
    }
}

/// `*.example.com` is kept as it was written.
fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests;
