//! Who was admitted to read a repository a moment ago, so that the next layer of the same pull needs no look at tokens and rules:
//! only whether the same client says the same again.
//!
//! What is kept here is good for [`GOOD`], and only under the rules that were in force when it was found. So a revocation comes
//! later by that at most. Passwords and robots' secrets are not kept.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::auth::{Identity, Permit, Policy, Proof};
use crate::oci::RepositoryName;

/// How long it is believed that who was admitted still would be.
const GOOD: Duration = Duration::from_secs(1);
/// Clients and repositories that are known at once; each has one place, and who comes later takes it.
const PLACES: usize = 4096;
/// Longer fields are not kept, in bytes: all of them together are 16 MiB.
const MAX_AUTHORIZATION: usize = 4096;
/// The end of a token is its signature, which tells it from others well enough to find its place.
const TELLING: usize = 32;

/// Shared by all connections.
pub struct Admitted {
    places: Box<[Mutex<Option<Entry>>]>,
    hasher: RandomState,
}

/// Who reads what.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// `Authorization`, as it came.
    pub authorization: Option<&'a [u8]>,
    /// The name that the client's certificate gives it.
    pub certificate: Option<&'a str>,
    /// In lower case, without a port.
    pub host: &'a str,
    pub address: IpAddr,
    pub repository: &'a RepositoryName,
}

struct Entry {
    authorization: Option<Box<[u8]>>,
    certificate: Option<Box<str>>,
    host: Box<str>,
    address: IpAddr,
    repository: RepositoryName,
    policy: Arc<Policy>,
    caller: Admission,
    since: Instant,
}

/// Who was admitted, and what they may do.
#[derive(Clone)]
pub struct Admission {
    pub identity: Identity,
    pub permit: Permit,
    pub proof: Proof,
    /// For the log.
    pub name: Option<Arc<str>>,
    /// By what requests are counted; `None`: by the address alone.
    pub subject: Option<Arc<str>>,
}

impl Default for Admitted {
    fn default() -> Self {
        let places = std::iter::repeat_with(Mutex::default).take(PLACES).collect();
        Admitted { places, hasher: RandomState::new() }
    }
}

impl Admitted {
    /// Notes that `reader`, who is `identity`, may read.
    pub fn note(
        &self,
        reader: &Reader<'_>,
        policy: &Arc<Policy>,
        (identity, permit, proof): (&Identity, &Permit, Proof),
        now: Instant,
    ) {
        if reader.authorization.is_some_and(|field| field.len() > MAX_AUTHORIZATION || !is_token(field)) {
            return;
        }
        let entry = Entry {
            authorization: reader.authorization.map(Into::into),
            certificate: reader.certificate.map(Into::into),
            host: reader.host.into(),
            address: reader.address,
            repository: reader.repository.clone(),
            policy: policy.clone(),
            caller: Admission {
                identity: identity.clone(),
                permit: permit.clone(),
                proof,
                name: identity.log_name().map(Into::into),
                subject: identity.known().map(|_| identity.subject().into()),
            },
            since: now,
        };
        *self.place(reader).lock() = Some(entry);
    }

    /// What `take` takes of a reader who was admitted; `None`: that has to be found out.
    pub fn recall<T>(
        &self,
        reader: &Reader<'_>,
        policy: &Arc<Policy>,
        now: Instant,
        take: impl FnOnce(&Admission) -> T,
    ) -> Option<T> {
        let place = self.place(reader).lock();
        let entry = place.as_ref()?;
        let same = entry.authorization.as_deref() == reader.authorization
            && entry.certificate.as_deref() == reader.certificate
            && &*entry.host == reader.host
            && entry.address == reader.address
            && entry.repository == *reader.repository
            && Arc::ptr_eq(&entry.policy, policy);
        (same && now.saturating_duration_since(entry.since) < GOOD).then(|| take(&entry.caller))
    }

    fn place(&self, reader: &Reader<'_>) -> &Mutex<Option<Entry>> {
        let field = reader.authorization.unwrap_or_default();
        let end = field.get(field.len().saturating_sub(TELLING)..);
        let hash = self.hasher.hash_one((end, reader.repository.as_str(), reader.address));
        &self.places[hash as usize % PLACES]
    }
}

/// A JWT: what else is shown is a secret that outlives the moment.
fn is_token(field: &[u8]) -> bool {
    let Some((scheme, token)) = field.split_at_checked(b"bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer ") && token.iter().filter(|byte| **byte == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Config;

    #[test]
    fn only_the_very_same_is_recalled_and_only_for_a_moment() {
        let (policy, other) = (policy(), policy());
        let (team, lib): (RepositoryName, RepositoryName) = ("team/a".parse().unwrap(), "lib/a".parse().unwrap());
        let reader = Reader {
            authorization: Some(b"Bearer a.b.c"),
            certificate: None,
            host: "registry",
            address: [127, 0, 0, 1].into(),
            repository: &team,
        };
        let (admitted, now) = (Admitted::default(), Instant::now());
        assert!(name(&admitted, &reader, &policy, now).is_none());
        admitted.note(&reader, &policy, (&Identity::user("ann"), &Permit::open(), Proof::None), now);
        let found = name(&admitted, &reader, &policy, now + GOOD / 2);
        assert_eq!(found.flatten().as_deref(), Some("ann"));
        for different in [
            Reader { authorization: Some(b"Bearer a.b.d"), ..reader },
            Reader { authorization: Some(b"bearer a.b.c"), ..reader },
            Reader { authorization: None, ..reader },
            Reader { certificate: Some("ann"), ..reader },
            Reader { host: "other", ..reader },
            Reader { address: [127, 0, 0, 2].into(), ..reader },
            Reader { repository: &lib, ..reader },
        ] {
            assert!(name(&admitted, &different, &policy, now).is_none());
        }
        assert!(name(&admitted, &reader, &other, now).is_none());
        assert!(name(&admitted, &reader, &policy, now + GOOD).is_none());
    }

    #[test]
    fn who_shows_nothing_is_kept_and_secrets_are_not() {
        let (policy, team): (_, RepositoryName) = (policy(), "team/a".parse().unwrap());
        let (admitted, now) = (Admitted::default(), Instant::now());
        let long = [&b"Bearer a.b."[..], &[b'c'; MAX_AUTHORIZATION]].concat();
        let fields: [(Option<&[u8]>, bool); 5] = [
            (None, true),
            (Some(b"Basic YWxpY2U6c2VjcmV0"), false),
            (Some(b"Bearer ent_abc_def"), false),
            (Some(b"Bearer a.b.c"), true),
            (Some(&long), false),
        ];
        for (authorization, kept) in fields {
            let (host, address) = ("registry", [127, 0, 0, 1].into());
            let reader = Reader { authorization, certificate: None, host, address, repository: &team };
            admitted.note(&reader, &policy, (&Identity::Anonymous, &Permit::open(), Proof::None), now);
            assert_eq!(name(&admitted, &reader, &policy, now).is_some(), kept, "{authorization:?}");
        }
    }

    fn name(admitted: &Admitted, reader: &Reader<'_>, policy: &Arc<Policy>, now: Instant) -> Option<Option<Arc<str>>> {
        admitted.recall(reader, policy, now, |admission| admission.name.clone())
    }

    fn policy() -> Arc<Policy> {
        Arc::new(Policy::new(&Config::default()).unwrap())
    }
}
