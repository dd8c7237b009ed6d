//! What must hold for everything that this room reads from outside, whatever it is.

use std::sync::LazyLock;

use super::credential::Credential;
use super::permission::Permission;
use super::policy::{Asked, Asker, Policy};
use super::robot::{Reach, Secret};
use super::service;
use super::token::{Access, KeySet, Scope, Subject, read_claims};
use super::{Identity, config, htpasswd, jwt, workload};
use crate::oci::RepositoryName;

/// A moment for tokens that nobody else gives.
const NOW: u64 = 1_800_000_000;
static KEYS: LazyLock<Option<KeySet>> = LazyLock::new(|| KeySet::fresh(NOW).ok());

/// `Authorization`: what is read says the same when it is written again.
pub fn authorization(bytes: &[u8]) {
    use base64::Engine as _;
    let Ok(field) = http::HeaderValue::from_bytes(bytes) else { return };
    let Ok(read) = Credential::read(Some(&field)) else { return };
    let written = match &read {
        Credential::None => return,
        Credential::Basic { user, password } => {
            assert!(!user.contains(':'));
            let pair = format!("{user}:{password}");
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Credential::Bearer(token) => {
            assert!(!token.is_empty() && !token.contains(' '));
            format!("Bearer {token}")
        }
    };
    // Padding that was left away is there now, so it may be a little longer than what is read.
    let again = http::HeaderValue::from_str(&written).ok().and_then(|field| Credential::read(Some(&field)).ok());
    assert!(again.is_none_or(|again| again == read));
}

/// The robot's secret that a text is, if it is one: nothing but itself.
pub fn secret(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(secret) = Secret::read(&text) {
        assert!(secret.reveal() == text && Secret::is_meant(&text) && super::robot::is_id(secret.id()));
    }
}

/// Scopes: what is read is bounded, names repositories, and reads back.
pub fn scope(bytes: &[u8]) {
    let name = |text: &str| text.parse::<RepositoryName>().ok().map(|name| name.to_string());
    let read = Scope::parse(std::iter::once(String::from_utf8_lossy(bytes).into_owned()), name);
    assert!(read.access.len() <= 32);
    let written = read.access.iter().map(|one| format!("{}:{}:{}", one.kind, one.name, one.actions.join(",")));
    assert_eq!(Scope::parse(written, name), read);
}

/// A query or form of the token endpoint: nobody is given what the rules do not allow, or what was not asked for.
pub fn token_form(bytes: &[u8]) {
    static POLICY: LazyLock<Option<Policy>> = LazyLock::new(|| {
        let rules = "[[rule]]\nrepositories = \"a/**\"\nwho = [\"anonymous\"]\nallow = [\"pull\"]\n";
        Policy::new(&toml::from_str::<config::Config>(rules).ok()?).ok()
    });
    let Some(policy) = &*POLICY else { return };
    for access in service::given_for(policy, &String::from_utf8_lossy(bytes)) {
        assert!(
            access.kind == "repository" && access.name.starts_with("a/") && access.actions == ["pull"],
            "{access:?}"
        );
    }
}

/// Tokens: nothing but what we have signed is good, also when it is nearly that.
pub fn jwt(bytes: &[u8]) {
    let Some(keys) = &*KEYS else { return };
    let text = String::from_utf8_lossy(bytes);
    let is_good = |token: &str| keys.verify(NOW, token, "svc", "svc").is_ok();
    let _ = jwt::strict::read(&text);
    let _ = jwt::keys::PublicKeys::read(bytes);
    let _ = text.parse::<workload::Template>();
    let _ = read_claims(&text);
    assert!(!is_good(&text));
    let access = vec![Access { kind: "repository".into(), name: "a".into(), actions: vec!["pull".into()] }];
    let token = config::Token { service: "svc".into(), ..config::Token::default() };
    let Ok(minted) = keys.mint(NOW, &token, ("", Subject::Anonymous), access) else { return };
    assert!(is_good(&minted.token));
    // The bytes in the place of as many of its own.
    let at = bytes.first().map_or(0, |byte| usize::from(*byte) * minted.token.len() / 256);
    let mut changed = minted.token.clone().into_bytes();
    for (own, other) in changed.iter_mut().skip(at).zip(bytes) {
        *own = *other;
    }
    let changed = String::from_utf8_lossy(&changed).into_owned();
    assert!(changed == minted.token || !is_good(&changed));
}

/// The set of signing keys: what is read reads back.
pub fn keys(bytes: &[u8]) {
    if let Ok(read) = KeySet::from_json(bytes) {
        let written = read.to_json();
        assert!(KeySet::from_json(&written).is_ok_and(|again| again.to_json() == written));
    }
}

/// The file of users: an edit does what it says and leaves the others.
pub fn htpasswd(bytes: &[u8]) {
    const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuO1S0sBEjPp0Zn2Zq0Qm7oZq0Qm7oZq0";
    let Ok(before) = htpasswd::parse(bytes) else { return };
    let name = "nobody-of-this-name";
    if before.find(name).is_some() {
        return;
    }
    let Ok(added) = htpasswd::edit(bytes, &htpasswd::Edit::Add { name, hash: HASH }) else { return };
    let Ok(removed) = htpasswd::edit(&added, &htpasswd::Edit::Remove { name }) else { return };
    assert!(htpasswd::parse(&removed).is_ok_and(|after| after.find(name).is_none()));
    let text = String::from_utf8_lossy(bytes);
    for change in [htpasswd::Edit::Remove { name: &text }, htpasswd::Edit::Add { name: "a", hash: &text }] {
        let _ = htpasswd::edit(bytes, &change);
    }
}

/// Rules: logging in takes nothing away, and the decision depends on nothing else than what it is asked.
pub fn rules(bytes: &[u8]) {
    let Ok(read) = toml::from_str::<config::Config>(&String::from_utf8_lossy(bytes)) else { return };
    let Ok(policy) = Policy::new(&read) else { return };
    let repositories: Vec<RepositoryName> =
        ["a", "a/b", "public/x/y"].iter().filter_map(|name| name.parse().ok()).collect();
    let people = [Identity::Anonymous, Identity::user("alice"), Identity::robot("ci", "1", Reach::default())];
    let denies = read.rule.iter().any(|rule| !rule.deny.is_empty());
    for (permission, repository) in
        Permission::ALL.into_iter().flat_map(|one| repositories.iter().map(move |name| (one, name)))
    {
        let may = people.each_ref().map(|identity| {
            let asker = Asker { identity, host: "r.example.com", address: [10, 0, 0, 1].into() };
            let decision = policy.decide(&asker, permission, Asked::In(repository));
            assert_eq!(decision, policy.decide(&asker, permission, Asked::In(repository)));
            decision.allowed
        });
        assert!(denies || !may[0] || (may[1] && may[2]), "{permission} {repository}");
    }
}

/// All of them on the same bytes.
#[cfg(test)]
pub fn try_all(bytes: &[u8]) {
    for target in [authorization, secret, scope, token_form, jwt, keys, htpasswd, rules] {
        target(bytes);
    }
}
