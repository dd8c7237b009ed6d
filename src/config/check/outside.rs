//! `[[auth.workload]]`, `[[auth.verifier]]`: issuers that can be asked safely, names that are nobody else's, and keys that are there.

use std::path::Path as FilePath;

use url::Url;

use super::auth::realm_fault;
use super::{Report, pem};
use crate::auth::config::Config as Auth;
use crate::auth::workload::config::{Verifier, Workload};
use crate::auth::workload::{self, Bundle, KeyPlace, Template};
use crate::config::tree::Path;

/// Entries of each kind: they are looked at one after the other.
const MAX_ENTRIES: usize = 64;
/// Of an issuer, an audience, a service, in bytes.
const MAX_NAME: usize = 1024;

/// `certificates`: users come by certificates too.
pub fn check(auth: &Auth, certificates: bool, path: &Path, report: &mut Report) {
    for (key, count) in [("workload", auth.workload.len()), ("verifier", auth.verifier.len())] {
        if count > MAX_ENTRIES {
            report.say(path.key(key), format!("has {count} entries; allowed: up to {MAX_ENTRIES}"));
        }
    }
    for (index, entry) in auth.workload.iter().take(MAX_ENTRIES).enumerate() {
        workload(entry, &path.key("workload").index(index), report);
        beside_others(auth, index, &path.key("workload").index(index), report);
    }
    for (index, entry) in auth.verifier.iter().take(MAX_ENTRIES).enumerate() {
        verifier((auth, certificates), entry, &path.key("verifier").index(index), report);
        apart_from_others(auth, index, &path.key("verifier").index(index), report);
    }
    if !auth.workload.is_empty() && auth.username.as_deref() == Some(workload::USER) {
        let what = format!("is \"{}\", the name that workloads log in with: choose another", workload::USER);
        report.say(path.key("username"), what);
    }
    let mut realms = auth.verifier.iter().enumerate().filter(|(_, entry)| entry.realm.is_some());
    if let Some((first, _)) = realms.next() {
        if auth.realm.is_some() {
            report.say(
                path.key("realm"),
                format!("is given, and verifier {first} has one too: clients are sent to one place"),
            );
        }
        for (index, _) in realms {
            let what = format!("is given, and verifier {first} has one already: clients are sent to one place");
            report.say(path.key("verifier").index(index).key("realm"), what);
        }
    }
}

fn workload(entry: &Workload, path: &Path, report: &mut Report) {
    if let Some(fault) = issuer_fault(&entry.issuer) {
        report.say(path.key("issuer"), format!("is \"{}\", which {fault}", entry.issuer));
    }
    name(&entry.audience, path.key("audience"), report);
    if entry.require.is_empty() {
        let what = format!(
            "is empty: everybody to whom the issuer gives tokens could log in. Say what has to stand in them; if everybody is meant, \
             `require = {{ iss = \"{}\" }}`",
            entry.issuer
        );
        report.say(path.key("require"), what);
    }
    match entry.user.parse::<Template>() {
        Err(error) => report.say(path.key("user"), format!("'{}' {error}", entry.user)),
        Ok(template) if template.prefix().is_none() => {
            let what = format!(
                "'{}' has no word and ':' before its claims, so it could be a user's name: write \"gh:{{…}}\"",
                entry.user
            );
            report.say(path.key("user"), what);
        }
        Ok(_) => {}
    }
    if entry.groups.iter().any(String::is_empty) {
        report.say(path.key("groups"), "has a group without a name");
    }
    if let Some(jwks) = &entry.jwks {
        keys(jwks, path.key("jwks"), report);
    }
    authorities(entry.ca.as_deref(), path, report);
}

/// What two entries may not have in common, or must.
fn beside_others(auth: &Auth, index: usize, path: &Path, report: &mut Report) {
    let Some(entry) = auth.workload.get(index) else { return };
    let prefix = |user: &str| user.parse::<Template>().ok().and_then(|template| template.prefix().map(str::to_owned));
    for (other_index, other) in auth.workload.iter().enumerate().take(index) {
        if other.issuer == entry.issuer && (&other.jwks, &other.ca) != (&entry.jwks, &entry.ca) {
            let what = format!(
                "is of the same issuer as workload {other_index}, with another `jwks` or `ca`: its keys are in one place"
            );
            report.say(path.key("issuer"), what);
        }
        if other.issuer != entry.issuer && prefix(&other.user).is_some() && prefix(&other.user) == prefix(&entry.user) {
            let what = format!(
                "'{}' begins as that of workload {other_index}, and two issuers could give one name",
                entry.user
            );
            report.say(path.key("user"), what);
        }
    }
}

fn verifier((auth, certificates): (&Auth, bool), entry: &Verifier, path: &Path, report: &mut Report) {
    name(&entry.issuer, path.key("issuer"), report);
    if entry.issuer == auth.token.service {
        report.say(
            path.key("issuer"),
            format!("is \"{}\", which is the issuer of our own tokens: see `token.service`", entry.issuer),
        );
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte);
    if entry.service.is_empty() || entry.service.len() > MAX_NAME || !entry.service.bytes().all(plain) {
        report.say(path.key("service"), "is empty or has characters that end it in clients");
    }
    match (&entry.jwks, &entry.certificates) {
        (Some(jwks), None) => keys(jwks, path.key("jwks"), report),
        (None, Some(file)) => {
            if let Err(what) = pem::certificates(file) {
                report.say(path.key("certificates"), what);
            } else if let Err(what) = Bundle::read(file) {
                report.say(path.key("certificates"), format!("{} {what}", file.display()));
            }
        }
        (Some(_), Some(_)) => report.say(path.key("certificates"), "is given beside `jwks`: write one of the two"),
        (None, None) => report
            .say(path.key("jwks"), "is missing, and so is `certificates`: one of them says how its keys are known"),
    }
    authorities(entry.ca.as_deref(), path, report);
    match entry.user.parse::<Template>() {
        Err(error) => report.say(path.key("user"), format!("'{}' {error}", entry.user)),
        Ok(template)
            if template.prefix().is_none() && (auth.htpasswd.is_some() || auth.username.is_some() || certificates) =>
        {
            let what = format!(
                "'{}' could be the name of a user of ours, who has a password or a certificate: write a word and ':' before it, as in \"hub:{{sub}}\"",
                entry.user
            );
            report.say(path.key("user"), what);
        }
        Ok(_) => {}
    }
    if let Some(realm) = &entry.realm
        && let Some(fault) = realm_fault(realm)
    {
        report.say(path.key("realm"), format!("is \"{realm}\", which {fault}"));
    }
}

/// Whose a name is must be told by how it begins.
fn apart_from_others(auth: &Auth, index: usize, path: &Path, report: &mut Report) {
    let Some(entry) = auth.verifier.get(index) else { return };
    let prefix =
        |user: &str| user.parse::<Template>().ok().map(|template| template.prefix().unwrap_or_default().to_owned());
    let Some(own) = prefix(&entry.user) else { return };
    for (other_index, other) in auth.verifier.iter().enumerate().take(index) {
        if (&other.issuer, &other.service) == (&entry.issuer, &entry.service) {
            report.say(
                path.key("issuer"),
                format!("and `service` are those of verifier {other_index}: one of them would never be asked"),
            );
        } else if prefix(&other.user).as_ref() == Some(&own) && other.issuer != entry.issuer {
            let what = format!(
                "'{}' begins as that of verifier {other_index}, and two services could give one name",
                entry.user
            );
            report.say(path.key("user"), what);
        }
    }
    for (other_index, other) in auth.workload.iter().enumerate() {
        if prefix(&other.user).as_ref() == Some(&own) && !own.is_empty() {
            let what =
                format!("'{}' begins as that of workload {other_index}, and both could give one name", entry.user);
            report.say(path.key("user"), what);
        }
    }
}

/// Compared letter by letter, so nothing is made of it but the address of its discovery document.
fn issuer_fault(issuer: &str) -> Option<&'static str> {
    let Some(url) = Url::parse(issuer).ok().filter(|_| issuer.len() <= MAX_NAME) else {
        return Some("is no address such as \"https://issuer.example.com\"");
    };
    match () {
        () if !workload::is_safe(&url) => Some("is not https; http is taken from this machine only"),
        () if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some() =>
        {
            Some("has more than scheme, host and path")
        }
        () => None,
    }
}

fn name(text: &str, path: Path, report: &mut Report) {
    if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        report.say(path, format!("is empty, longer than {MAX_NAME} bytes, or has control characters"));
    }
}

fn keys(jwks: &str, path: Path, report: &mut Report) {
    match KeyPlace::of(jwks) {
        Err(what) => report.say(path, format!("'{jwks}' {what}")),
        Ok(KeyPlace::File(file)) => {
            if let Err(what) = workload::check_keys(&file) {
                report.say(path, what);
            }
        }
        Ok(_) => {}
    }
}

fn authorities(file: Option<&FilePath>, path: &Path, report: &mut Report) {
    if let Some(Err(what)) = file.map(pem::authorities) {
        report.say(path.key("ca"), what);
    }
}
