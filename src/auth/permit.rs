//! The decision, carried along with a request by those who answer it.

use std::net::IpAddr;
use std::sync::Arc;

use super::identity::Identity;
use super::permission::Permission;
use super::policy::{Asked, Asker, Decision, Policy, Why};
use super::token::Grants;
use crate::oci::RepositoryName;

/// What one request may do: who asks and what the rules say, as far as the token that was shown goes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Permit(Option<Arc<Ruled>>);

#[derive(Debug)]
struct Ruled {
    policy: Arc<Policy>,
    identity: Identity,
    host: String,
    address: IpAddr,
    /// Of a token; `None`: whatever the rules say.
    grants: Option<Arc<Grants>>,
    /// The token has ended a while ago: good for uploads that this very subject opened, and for nothing else.
    late: bool,
}

impl Permit {
    /// Where there are no rules: everything may be done.
    pub fn open() -> Self {
        Permit(None)
    }

    pub fn new(
        policy: Arc<Policy>,
        (identity, grants, late): (Identity, Option<Arc<Grants>>, bool),
        host: &str,
        address: IpAddr,
    ) -> Self {
        Permit(Some(Arc::new(Ruled { policy, identity, host: host.to_owned(), address, grants, late })))
    }

    /// Whether anybody's rules stand behind it.
    pub fn is_ruled(&self) -> bool {
        self.0.is_some()
    }

    pub fn identity(&self) -> Identity {
        self.0.as_ref().map_or(Identity::Anonymous, |ruled| ruled.identity.clone())
    }

    /// The name of the token that was shown.
    pub fn token(&self) -> Option<String> {
        self.0.as_ref()?.grants.as_ref()?.token().map(str::to_owned)
    }

    /// The groups of the configuration that the asker is in.
    pub fn groups(&self) -> Vec<String> {
        self.0.as_ref().map(|ruled| ruled.policy.groups_of(&ruled.identity)).unwrap_or_default()
    }

    /// Only uploads that this subject opened.
    pub fn is_late(&self) -> bool {
        self.0.as_ref().is_some_and(|ruled| ruled.late)
    }

    pub fn may(&self, permission: Permission, repository: &RepositoryName) -> bool {
        self.decide(permission, Asked::In(repository)).is_ok()
    }

    /// Whether the repository is to be seen in lists.
    pub fn shows(&self, repository: &RepositoryName) -> bool {
        let Some(ruled) = &self.0 else { return true };
        let asker = Asker { identity: &ruled.identity, host: &ruled.host, address: ruled.address };
        let rules = |permission| ruled.policy.decide(&asker, permission, Asked::In(repository)).allowed;
        let token = ruled.grants.as_ref().is_none_or(|grants| grants.catalog());
        token && rules(Permission::Catalog) && rules(Permission::Pull)
    }

    /// # Errors
    /// What says no: the token that was shown, or the rules.
    pub fn decide(&self, permission: Permission, asked: Asked<'_>) -> Result<Why, Refused> {
        let Some(ruled) = &self.0 else { return Ok(Why::Nothing) };
        let asker = Asker { identity: &ruled.identity, host: &ruled.host, address: ruled.address };
        let Decision { allowed, why } = ruled.policy.decide(&asker, permission, asked);
        if !allowed {
            return Err(Refused::Rules(why));
        }
        match ruled.grants.as_ref().is_none_or(|grants| grants.allow(permission, asked)) {
            true => Ok(why),
            false => Err(Refused::Token),
        }
    }

    /// Whose an upload is that is begun now; `None`: nobody's, since nobody is asked.
    pub fn owner(&self) -> Option<String> {
        self.0.as_ref().map(|ruled| ruled.identity.subject())
    }

    /// Whether this asker may go on with an upload of that owner.
    pub fn owns(&self, owner: Option<&str>) -> bool {
        match (&self.0, owner) {
            (None, _) => true,
            (Some(ruled), Some(owner)) => ruled.identity.subject() == owner,
            // From before there were rules: for whoever may push, but only while their token is good.
            (Some(ruled), None) => !ruled.late,
        }
    }
}

/// What says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The token was not given for this; another one may be.
    Token,
    Rules(Why),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::config::Config;

    fn permit(identity: Identity, grants: Option<Grants>, late: bool) -> Permit {
        let config: Config = toml::from_str(
            "[[rule]]\nrepositories = \"team/**\"\nwho = [\"user:a\"]\nallow = [\"push\", \"overwrite\", \"catalog\"]\n",
        )
        .unwrap();
        let policy = Arc::new(Policy::new(&config).unwrap());
        Permit::new(policy, (identity, grants.map(Arc::new), late), "h", [127, 0, 0, 1].into())
    }

    #[test]
    fn a_token_narrows_and_never_widens() {
        let (team, other) = ("team/x".parse().unwrap(), "other".parse().unwrap());
        let whole = permit(Identity::user("a"), None, false);
        assert!(whole.may(Permission::Push, &team) && whole.may(Permission::Pull, &team));
        assert!(!whole.may(Permission::Pull, &other));
        let pull = permit(Identity::user("a"), Some(Grants::pull_of(&[&team, &other])), false);
        assert!(pull.may(Permission::Pull, &team) && !pull.may(Permission::Push, &team));
        assert!(!pull.may(Permission::Pull, &other));
        assert_eq!(pull.decide(Permission::Push, Asked::In(&team)), Err(Refused::Token));
        assert_eq!(pull.decide(Permission::Pull, Asked::In(&other)), Err(Refused::Rules(Why::Nothing)));
        assert!(whole.shows(&team) && !whole.shows(&other));
        assert!(Permit::open().may(Permission::Delete, &other) && !Permit::open().is_ruled());
    }

    #[test]
    fn an_upload_belongs_to_who_began_it() {
        let (a, b) = (permit(Identity::user("a"), None, false), permit(Identity::user("b"), None, false));
        let owner = a.owner();
        assert!(a.owns(owner.as_deref()) && !b.owns(owner.as_deref()));
        assert!(Permit::open().owns(owner.as_deref()) && Permit::open().owner().is_none());
        assert!(a.owns(None) && !permit(Identity::user("a"), None, true).owns(None));
        assert!(permit(Identity::user("a"), None, true).owns(owner.as_deref()));
    }
}
