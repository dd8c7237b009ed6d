//! Tokens by which the peers of a cluster that believe ours are told who asks, and what for. The client never sees them: it has
//! shown whatever it has to us, and the rules have said yes.

use std::time::Duration;

use http::{HeaderValue, Method};
use moka::sync::Cache;

use super::authenticator::{Authenticator, Unproven, now};
use super::challenge;
use super::identity::Identity;
use super::permission::Permission;
use super::permit::Permit;
use super::token::{Access, Subject};
use crate::oci::{Action, Resource};

/// One that was made is handed out again for so long; the shortest life of a token is a minute.
const KEPT: Duration = Duration::from_secs(30);
/// A KiB each.
const MOST: u64 = 4096;

/// Those that were made a moment ago, by who asks and for what.
pub(super) struct Vouched(Cache<String, HeaderValue>);

impl Default for Vouched {
    fn default() -> Self {
        Vouched(Cache::builder().max_capacity(MOST).time_to_live(KEPT).build())
    }
}

impl Vouched {
    pub(super) fn forget(&self) {
        self.0.invalidate_all();
    }
}

impl Authenticator {
    /// `Authorization` for the peers, for a request that was admitted.
    ///
    /// # Errors
    /// There are no keys to sign with.
    pub async fn vouch(&self, identity: &Identity, permit: &Permit, action: &Action) -> Result<HeaderValue, Unproven> {
        let unavailable = |why: String| Unproven::Unavailable(why);
        let setup = self.setup().ok_or_else(|| unavailable("there are no rules".into()))?;
        let access = access(permit, action);
        let what: Vec<_> =
            access.iter().map(|access| format!("{}:{}", access.name, access.actions.join(","))).collect();
        let key = format!("{identity}\0{}", what.join("\0"));
        if let Some(made) = self.vouched.0.get(&key) {
            return Ok(made);
        }
        let token = &setup.config.token;
        let now = now();
        let keys = self.signing.keys(token, now).await.map_err(|error| unavailable(error.to_string()))?;
        // With the kind: a user and a robot may have one name.
        let name = identity.known().map(|_| identity.subject()).unwrap_or_default();
        // Should it ever come back to us, it is nobody's.
        let minted = keys.mint(now, token, (&name, Subject::Anonymous), access);
        let minted = minted.map_err(|error| unavailable(error.to_string()))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", minted.token))
            .map_err(|error| unavailable(error.to_string()))?;
        value.set_sensitive(true);
        self.vouched.0.insert(key, value.clone());
        Ok(value)
    }
}

/// What the request needs at a peer, and no more.
fn access(permit: &Permit, action: &Action) -> Vec<Access> {
    // Nothing was decided about what browsers ask beforehand.
    let scope = challenge::scope(action).filter(|_| action.method != Method::OPTIONS);
    let Some(scope) = scope else { return Vec::new() };
    let mut given: Vec<Access> = one(&scope).into_iter().collect();
    if let Resource::UploadStart { start, .. } = &action.resource
        && let Some(from) = start.mount.as_ref().and_then(|mount| mount.from.as_ref())
        && permit.may(Permission::Pull, from)
    {
        given.extend(one(&format!("repository:{from}:pull")));
    }
    given
}

fn one(scope: &str) -> Option<Access> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions = actions.split(',').map(str::to_owned).collect();
    Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_of_what_is_asked_and_nothing_else() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mount = format!("mount={digest}&from=b/c");
        for (method, path, query, expected) in [
            ("GET", "/v2/", None, vec![]),
            ("GET", "/v2/a/tags/list", None, vec!["repository a pull"]),
            ("PUT", "/v2/a/manifests/v1", None, vec!["repository a pull,push"]),
            ("DELETE", "/v2/a/manifests/v1", None, vec!["repository a delete"]),
            ("GET", "/v2/_catalog", None, vec!["registry catalog *"]),
            ("OPTIONS", "/v2/a/manifests/v1", None, vec![]),
            ("POST", "/v2/a/blobs/uploads/", Some(&*mount), vec!["repository a pull,push", "repository b/c pull"]),
        ] {
            let action = Action::parse(&method.parse().unwrap(), path, query).unwrap();
            let given = access(&Permit::open(), &action);
            let given: Vec<_> =
                given.iter().map(|one| format!("{} {} {}", one.kind, one.name, one.actions.join(","))).collect();
            assert_eq!(given, expected, "{method} {path}");
        }
    }
}
