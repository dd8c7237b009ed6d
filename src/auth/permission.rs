//! What can be allowed.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::oci::{Action, Resource};
use http::Method;

/// What somebody may do in a repository, as rules, robots and explanations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Manifests, blobs, tags and referrers may be read.
    Pull,
    /// Blobs, manifests and new tags may be written; whoever may push to a repository may pull from it.
    Push,
    /// A tag may be moved to another manifest.
    Overwrite,
    /// Tags, manifests and blobs may be deleted.
    Delete,
    /// The repository is shown in the catalog, if it may be read too.
    Catalog,
    /// What concerns the service and not its content.
    Admin,
}

/// A set of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permission {
    pub const ALL: [Permission; 6] = [
        Permission::Pull,
        Permission::Push,
        Permission::Overwrite,
        Permission::Delete,
        Permission::Catalog,
        Permission::Admin,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Permission::Pull => "pull",
            Permission::Push => "push",
            Permission::Overwrite => "overwrite",
            Permission::Delete => "delete",
            Permission::Catalog => "catalog",
            Permission::Admin => "admin",
        }
    }

    /// What a request needs before it may be looked into; `None`: nothing, as for `/v2/` itself and for what a browser asks
    /// beforehand. Whether a tag would be moved, only who writes it can tell.
    pub fn needed(action: &Action) -> Option<Permission> {
        if action.method == Method::OPTIONS {
            return None;
        }
        match &action.resource {
            Resource::Base | Resource::Outside => None,
            Resource::Catalog { .. } => Some(Permission::Catalog),
            Resource::Tags { .. } | Resource::Referrers { .. } => Some(Permission::Pull),
            Resource::UploadStart { .. } | Resource::Upload { .. } => Some(Permission::Push),
            Resource::Manifest { .. } | Resource::Blob { .. } => Some(match action.method {
                Method::GET | Method::HEAD => Permission::Pull,
                Method::DELETE => Permission::Delete,
                _ => Permission::Push,
            }),
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Permission::Pull => 1,
            Permission::Push => 2,
            Permission::Overwrite => 4,
            Permission::Delete => 8,
            Permission::Catalog => 16,
            Permission::Admin => 32,
        }
    }
}

impl Permissions {
    pub fn of(list: &[Permission]) -> Self {
        list.iter().copied().collect()
    }

    /// Literally: that push implies pull is [`allows`](Self::allows).
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether who is allowed these may do it: pushing needs to see what is there already.
    pub fn allows(self, permission: Permission) -> bool {
        self.contains(permission) || (permission == Permission::Pull && self.contains(Permission::Push))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Permissions(permissions.into_iter().fold(0, |set, permission| set | permission.bit()))
    }
}

/// A word that is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is nothing that can be allowed; known: pull, push, overwrite, delete, catalog, admin")]
pub struct UnknownPermission(String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(word: &str) -> Result<Self, UnknownPermission> {
        let found = Permission::ALL.into_iter().find(|permission| permission.word() == word);
        found.ok_or_else(|| UnknownPermission(word.chars().take(40).collect()))
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, permission) in self.iter().enumerate() {
            write!(f, "{}{permission}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for permission in Permission::ALL {
            assert_eq!(permission.word().parse(), Ok(permission));
        }
        assert!("Pull".parse::<Permission>().is_err() && "".parse::<Permission>().is_err());
        assert_eq!(Permissions::of(&Permission::ALL).iter().collect::<Vec<_>>(), Permission::ALL);
    }

    #[test]
    fn who_may_push_may_pull_and_nothing_else() {
        for given in Permission::ALL {
            for asked in Permission::ALL {
                let implied = given == Permission::Push && asked == Permission::Pull;
                assert_eq!(Permissions::of(&[given]).allows(asked), given == asked || implied, "{given} {asked}");
            }
        }
    }

    /// Every route with every method that it has: a new one must be placed here.
    #[test]
    fn every_request_needs_what_it_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let upload = "/v2/a/blobs/uploads/1";
        let put = format!("{upload}?digest={digest}");
        let (manifest, blob) = ("/v2/a/manifests/v1".to_owned(), format!("/v2/a/blobs/{digest}"));
        for (methods, path, needed) in [
            (&["GET", "HEAD", "OPTIONS"][..], "/v2/", None),
            (&["GET", "HEAD", "POST"], "/x", None),
            (&["OPTIONS"], &manifest, None),
            (&["OPTIONS"], upload, None),
            (&["GET", "HEAD"], "/v2/_catalog", Some(Permission::Catalog)),
            (&["GET", "HEAD"], "/v2/a/tags/list", Some(Permission::Pull)),
            (&["GET", "HEAD"], &format!("/v2/a/referrers/{digest}"), Some(Permission::Pull)),
            (&["GET", "HEAD"], &manifest, Some(Permission::Pull)),
            (&["GET", "HEAD"], &blob, Some(Permission::Pull)),
            (&["PUT"], &manifest, Some(Permission::Push)),
            (&["DELETE"], &manifest, Some(Permission::Delete)),
            (&["DELETE"], &blob, Some(Permission::Delete)),
            (&["POST"], "/v2/a/blobs/uploads/", Some(Permission::Push)),
            (&["GET", "HEAD", "PATCH", "DELETE"], upload, Some(Permission::Push)),
            (&["PUT"], &put, Some(Permission::Push)),
        ] {
            for method in methods {
                let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
                let action = Action::parse(&method.parse().unwrap(), path, query).unwrap();
                assert_eq!(Permission::needed(&action), needed, "{method} {path}");
            }
        }
    }
}
