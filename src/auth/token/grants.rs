//! What a token was given for.

use std::collections::BTreeMap;

use crate::auth::permission::{Permission, Permissions};
use crate::auth::policy::Asked;
#[cfg(test)]
use crate::oci::RepositoryName;

/// By repository: the words of the token protocol, which knows no moving of tags; the rules do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    repositories: BTreeMap<String, Permissions>,
    catalog: bool,
    /// The token's own name.
    token: Option<String>,
}

impl Grants {
    /// Of a token with this name, and nothing yet.
    pub fn of_token(token: &str) -> Self {
        Grants { token: Some(token.to_owned()), ..Grants::default() }
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// `actions`: `pull`, `push`, `delete`, `*`; others mean nothing here.
    pub fn add(&mut self, kind: &str, name: &str, actions: &[String]) {
        let has = |word: &str| actions.iter().any(|action| action == word || action == "*");
        match kind {
            "registry" => self.catalog |= name == "catalog" && has("*"),
            "repository" => {
                let mut given = Vec::new();
                for (word, permissions) in [
                    ("pull", &[Permission::Pull][..]),
                    ("push", &[Permission::Push, Permission::Overwrite]),
                    ("delete", &[Permission::Delete]),
                ] {
                    if has(word) {
                        given.extend_from_slice(permissions);
                    }
                }
                let old = self.repositories.get(name).copied().unwrap_or_default();
                self.repositories.insert(name.to_owned(), old.iter().chain(given).collect());
            }
            _ => {}
        }
    }

    pub fn allow(&self, permission: Permission, asked: Asked<'_>) -> bool {
        match asked {
            Asked::In(name) => self.repositories.get(name.as_str()).is_some_and(|given| given.allows(permission)),
            Asked::Anywhere => permission == Permission::Catalog && self.catalog,
            Asked::Everywhere => false,
        }
    }

    /// Whether the catalog may be asked for, of which the rules show some.
    pub fn catalog(&self) -> bool {
        self.catalog
    }

    #[cfg(test)]
    pub fn pull_of(names: &[&RepositoryName]) -> Self {
        let mut grants = Grants::default();
        names.iter().for_each(|name| grants.add("repository", name.as_str(), &["pull".to_owned()]));
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(kind: &str, name: &str, actions: &[&str]) -> Grants {
        let mut grants = Grants::default();
        grants.add(kind, name, &actions.iter().map(ToString::to_string).collect::<Vec<_>>());
        grants
    }

    #[test]
    fn words_are_what_the_protocol_means_by_them() {
        let name: RepositoryName = "a/b".parse().unwrap();
        let allowed = |actions: &[&str]| -> Vec<Permission> {
            let grants = grants("repository", "a/b", actions);
            Permission::ALL.into_iter().filter(|permission| grants.allow(*permission, Asked::In(&name))).collect()
        };
        assert_eq!(allowed(&["pull"]), [Permission::Pull]);
        assert_eq!(allowed(&["push"]), [Permission::Pull, Permission::Push, Permission::Overwrite]);
        assert_eq!(allowed(&["delete"]), [Permission::Delete]);
        assert_eq!(allowed(&["*"]), [Permission::Pull, Permission::Push, Permission::Overwrite, Permission::Delete]);
        assert_eq!(allowed(&["admin", "PULL", ""]), []);
    }

    #[test]
    fn only_the_very_repository_is_meant() {
        let grants = grants("repository", "a/bc", &["*"]);
        for name in ["a/b", "a", "a/bc/d", "b/a/bc"] {
            assert!(!grants.allow(Permission::Pull, Asked::In(&name.parse().unwrap())), "{name}");
        }
        assert!(!grants.allow(Permission::Catalog, Asked::Anywhere) && !grants.catalog());
    }

    #[test]
    fn the_catalog_is_a_right_of_its_own() {
        assert!(grants("registry", "catalog", &["*"]).catalog());
        for (kind, name, action) in
            [("registry", "catalog", "pull"), ("registry", "x", "*"), ("repository", "catalog", "*")]
        {
            assert!(!grants(kind, name, &[action]).catalog(), "{kind} {name} {action}");
        }
    }

    #[test]
    fn what_is_said_twice_adds_up() {
        let mut both = grants("repository", "a", &["pull"]);
        both.add("repository", "a", &["delete".to_owned()]);
        let name = "a".parse().unwrap();
        assert!(both.allow(Permission::Pull, Asked::In(&name)) && both.allow(Permission::Delete, Asked::In(&name)));
    }
}
