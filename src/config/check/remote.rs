//! Remotes: names that tell one from the other, addresses that can be asked, logins that can be read, and what a route may say of
//! them.

use std::time::Duration;

use url::Url;

use super::cluster::{is_own, is_path, tls, valid_name};
use super::names::{asked_name_fault, is_host_name, peer_address_fault};
use super::{HOUR, MILLISECOND, Report};
use crate::config::file;
use crate::config::model::{Config, Route, RouteAuth};
use crate::config::tree::Path;
use crate::oci::RepositoryName;
use crate::remote::RemoteNames;
use crate::remote::config::{AskedAs, Config as Remote, Credentials, KeepIn, Stale, Timeouts};
use crate::routing::REGISTRY;
use crate::units::{Size, Span, seconds};

/// Credentials of one remote: each has a budget that is looked after.
const MAX_CREDENTIALS: usize = 16;
/// Longest path: what a remote calls its repositories comes behind it.
const MAX_PATH: usize = 128;
/// A password's file is no longer than this, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;

pub fn check(config: &Config, report: &mut Report) {
    let root = Path::default().key("remote");
    for (name, remote) in &config.remote {
        let path = root.key(name);
        if !valid_name(name) {
            let what = "is not a name for a remote; allowed: a lower-case letter, then up to 62 lower-case letters, digits, '-' \
                        and '_', without '__' (the environment's names could not tell it)";
            report.say(path.clone(), what);
        }
        named(config, name, remote, &path, report);
        url(config, remote, &path.key("url"), report);
        credentials(remote, &path.key("credentials"), report);
        hosts(remote, &path, report);
        times(remote, &path, report);
        kept(config, remote, &path, report);
        if let Some(settings) = &remote.tls {
            tls(settings, &path.key("tls"), report);
            if remote.url.as_deref().is_some_and(|url| url.starts_with("http:")) {
                report.say(path.key("tls"), "is given, and `url` is http://, which has none");
            }
        }
    }
    for (index, route) in config.route.iter().enumerate() {
        let named = route.remote().and_then(|name| Some((name, config.remote.get(name)?)));
        if let Some((name, remote)) = named {
            self::route(config, route, (name, remote), &Path::default().key("route").index(index), report);
        }
    }
}

/// What clients call it, and what it is called here, is nobody else's.
fn named(config: &Config, name: &str, remote: &Remote, path: &Path, report: &mut Report) {
    if let Some(fault) = registry_fault(&remote.registry) {
        report.say(path.key("registry"), format!("is \"{}\", which {fault}", remote.registry));
        return;
    }
    let names = RemoteNames::new(&remote.registry, remote.path.as_deref());
    if names.path.len() > MAX_PATH || names.path.parse::<RepositoryName>().is_err() {
        let what = format!(
            "is \"{}\", which no name can begin with; allowed: up to {MAX_PATH} lower-case letters and digits, separated by '.', '_', \
             '__' or '-', in parts separated by '/'",
            names.path
        );
        let what =
            if remote.path.is_some() { what } else { format!("{what}; it is made of `registry`: write another") };
        report.say(path.key("path"), what);
    }
    for (other, earlier) in config.remote.iter().take_while(|(other, _)| *other != name) {
        let earlier = RemoteNames::new(&earlier.registry, earlier.path.as_deref());
        if let Some(both) = names.namespaces.iter().find(|ns| earlier.is_called(ns)) {
            report.say(path.key("registry"), format!("is '{both}' to clients, and so is remote.{other}"));
        }
        if names.path == earlier.path {
            let what =
                format!("is \"{}\", and so is that of remote.{other}: give one of them another `path`", names.path);
            report.say(path.key("path"), what);
        }
    }
}

/// What is wrong with a registry's name in references: `host` or `host:port`.
fn registry_fault(registry: &str) -> Option<&'static str> {
    const SHAPE: &str =
        "is not host or host:port as references have it, such as \"docker.io\" or \"registry.example.com:5000\"";
    if registry.contains("://") || registry.contains('/') {
        return Some("has a scheme or a path; write host or host:port as references have it, and the rest in `url`");
    }
    let with_port = match registry.strip_prefix('[') {
        Some(_) => !registry.ends_with(']'),
        None => registry.contains(':'),
    };
    let known = match with_port {
        true => peer_address_fault(registry).is_none(),
        false => is_host_name(registry) || peer_address_fault(&format!("{registry}:1")).is_none(),
    };
    (!known).then_some(SHAPE)
}

fn url(config: &Config, remote: &Remote, path: &Path, report: &mut Report) {
    let Some(text) = &remote.url else { return };
    let shape =
        "must be http:// or https://, a host, perhaps a port and a path, such as \"https://registry.example.com\"";
    let Ok(url) = Url::parse(text) else {
        report.say(path.clone(), shape);
        return;
    };
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        // Not shown: there may be a password in it.
        report.say(path.clone(), "has a user in it: logins are in `credentials`");
        return;
    }
    let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
        report.say(path.clone(), format!("is \"{text}\"; it {shape}"));
        return;
    };
    if url.query().is_some() || url.fragment().is_some() || !is_path(url.path()) {
        report.say(
            path.clone(),
            format!("is \"{text}\", with a query, a fragment or a path that means nothing; it {shape}"),
        );
    } else if url.path().trim_end_matches('/').split('/').next_back() == Some("v2") {
        report.say(path.clone(), format!("is \"{text}\"; leave /v2 out: it is added"));
    }
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    if config.listener.iter().filter_map(|listener| listener.address.tcp()).any(|own| is_own(&address, own)) {
        report.say(path.clone(), format!("'{text}' is our own listener: requests would go in circles"));
    }
}

fn credentials(remote: &Remote, path: &Path, report: &mut Report) {
    if remote.identity == AskedAs::Caller && !remote.credentials.is_empty() {
        report.say(
            path.clone(),
            "are given, and `identity` is \"caller\": ours would never be shown; leave one of the two out",
        );
    }
    if remote.credentials.len() > MAX_CREDENTIALS {
        report.say(path.clone(), format!("are {}; allowed: up to {MAX_CREDENTIALS}", remote.credentials.len()));
    }
    for (index, credential) in remote.credentials.iter().enumerate().take(MAX_CREDENTIALS) {
        let path = path.index(index);
        match credential {
            Credentials::Password(login) => {
                if login.username.is_empty() || login.username.contains(|c: char| c == ':' || c.is_control()) {
                    let what =
                        "allowed: a name without ':' and control characters, which Basic authentication cannot tell";
                    report.say(path.key("username"), format!("is {:?}; {what}", login.username));
                }
                match (&login.password_file, &login.password) {
                    (Some(file), None) => {
                        if let Err(what) = password(file) {
                            report.say(path.key("password_file"), what);
                        }
                    }
                    (None, Some(secret)) if secret.reveal().is_empty() => report.say(path.key("password"), "is empty"),
                    (None, Some(_)) => {}
                    (Some(_), Some(_)) => {
                        report.say(path.key("password_file"), "is given beside `password`: write one of the two");
                    }
                    (None, None) => {
                        report.say(path.key("password_file"), "is missing: name the file that holds the password")
                    }
                }
            }
            Credentials::Exec(helper) => {
                if helper.exec.first().is_none_or(String::is_empty) {
                    report.say(path.key("exec"), "names no program; write it first, and its arguments behind it");
                }
            }
        }
    }
}

fn password(named: &std::path::Path) -> Result<(), String> {
    let text = file::text(named, MAX_PASSWORD)?;
    match text.trim() {
        "" => Err(format!("{} is empty", named.display())),
        text if text.contains(char::is_control) => Err(format!("{} holds more than one line", named.display())),
        _ => Ok(()),
    }
}

/// Where it may lead us.
fn hosts(remote: &Remote, path: &Path, report: &mut Report) {
    for (index, realm) in remote.realms.iter().enumerate() {
        if registry_fault(realm).is_some() {
            let what = format!("is \"{realm}\"; allowed: host or host:port of a token service");
            report.say(path.key("realms").index(index), what);
        }
    }
    for (index, host) in remote.redirects.iter().enumerate() {
        if let Some(fault) = asked_name_fault(host) {
            report.say(path.key("redirects").index(index), format!("'{host}' {fault}"));
        }
    }
    let Some(proxy) = &remote.proxy else {
        if !remote.redirects.is_empty() {
            let what = "are given without `proxy`: then each address is looked at itself, and nothing is to be listed";
            report.say(path.key("redirects"), what);
        }
        return;
    };
    let good = Url::parse(proxy).is_ok_and(|url| {
        let more = url.path() != "/" || url.query().is_some() || url.fragment().is_some() || proxy.contains('@');
        url.scheme() == "http" && url.host_str().is_some() && !more
    });
    if !good {
        report.say(
            path.key("proxy"),
            "must be http://HOST:PORT and nothing more, such as \"http://proxy.internal:3128\"",
        );
    }
    if remote.redirects.is_empty() {
        let what = "are missing, and `proxy` is given: a proxy resolves names itself, so that we cannot see which address is gone \
                    to. Say which hosts the remote may lead to, such as [\"*.cloudfront.net\"], or its own host";
        report.say(path.key("redirects"), what);
    }
}

fn times(remote: &Remote, path: &Path, report: &mut Report) {
    report.within(path.key("tag_ttl"), remote.tag_ttl, seconds(0)..=seconds(30 * 24 * 3600));
    if let Stale::For(span) = remote.stale {
        report.within(path.key("stale"), span, seconds(0)..=seconds(3650 * 24 * 3600));
    }
    let Timeouts { manifest, first_byte, connect, read } = remote.timeouts;
    let path = path.key("timeouts");
    let tenth = Span(Duration::from_millis(100));
    // Clients wait 30 s for the head of an answer, and then some give the whole pull up.
    for (key, span) in [("manifest", manifest), ("first_byte", first_byte)] {
        if !(tenth..=seconds(30)).contains(&span) {
            let what = format!("is {span}; allowed: {tenth} to 30s, since clients give up after 30s");
            report.say(path.key(key), what);
        }
    }
    report.within(path.key("connect"), connect, MILLISECOND..=seconds(30));
    report.within(path.key("read"), read, tenth..=HOUR);
}

/// Whether there is a place for what is kept.
fn kept(config: &Config, remote: &Remote, path: &Path, report: &mut Report) {
    if config.keeps(remote) == KeepIn::Cache && config.cache.disk == Size(0) {
        let what = "is \"cache\", and cache.disk is 0: nothing could be kept. Raise it, or write \"storage\"";
        report.say(path.key("keep"), what);
    }
}

/// What a route that reads from a remote may say.
fn route(config: &Config, route: &Route, (name, remote): (&str, &Remote), path: &Path, report: &mut Report) {
    let by_callers = remote.identity == AskedAs::Caller;
    match route.auth {
        Some(RouteAuth::Peers) if !by_callers && !remote.credentials.is_empty() => {
            let what = format!(
                "is \"peers\", and remote.{name} is asked by `credentials` of ours: everybody could read what they may. Leave it out, so \
                 that the rules say who, or take the credentials away"
            );
            report.say(path.key("auth"), what);
        }
        _ if by_callers && config.is_ruled(route) => {
            let what = format!(
                "must be \"peers\": remote.{name} has `identity = \"caller\"`, so a client's login is for that registry, and cannot be \
                 for the rules of [auth] too"
            );
            report.say(path.key("auth"), what);
        }
        _ => {}
    }
    match route.write.as_deref() {
        Some(REGISTRY) if by_callers => {
            let what = format!(
                "is \"{REGISTRY}\", and remote.{name} has `identity = \"caller\"`: who may push here cannot be told from a login of \
                 another registry"
            );
            report.say(path.key("write"), what);
        }
        Some(REGISTRY) if config.keeps(remote) == KeepIn::Cache => {
            let what = format!(
                "is \"{REGISTRY}\", and remote.{name} has `keep = \"cache\"`: what is pushed and what is mirrored are one repository \
                 here, so both are kept in its storage; leave `keep` out"
            );
            report.say(path.key("write"), what);
        }
        Some(write) if write.starts_with("cluster.") => {
            let what = format!(
                "is \"{write}\", and reads go to remote.{name}: nobody could read what is pushed; allowed: \"{REGISTRY}\", or nothing"
            );
            report.say(path.key("write"), what);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_as_references_name_it() {
        for good in
            ["docker.io", "registry.example.com:5000", "localhost:5000", "localhost", "10.0.0.1:5000", "[::1]:5000"]
        {
            assert_eq!(registry_fault(good), None, "{good}");
        }
        for bad in ["", "https://docker.io", "docker.io/library", "docker.io:", "docker.io:0", "a b", ":5000", "-a"] {
            assert!(registry_fault(bad).is_some(), "{bad}");
        }
    }
}
