//! `[auth]`: rules that can be read and can match, users that exist, tokens that others can check, and writes that are open to all.

use super::names::asked_name_fault;
use super::{Report, outside};
use crate::auth::config::{Config as Auth, Keys, Rule};
use crate::auth::{Policy, RuleError, htpasswd_fault};
use crate::cluster::config::Authorization;
use crate::config::model::{Config, Route, RouteAuth};
use crate::config::tree::Path;
use crate::routing::REGISTRY;
use crate::units::seconds;

pub fn check(config: &Config, report: &mut Report) {
    let path = Path::default().key("auth");
    routes(config, report);
    open_writes(config, report);
    let Some(auth) = &config.auth else { return };
    users(auth, &path, report);
    tokens(config, auth, &path, report);
    let certificates = config.listener.iter().any(|listener| listener.client_ca.is_some());
    outside::check(auth, certificates, &path, report);
    if certificates && auth.rule.is_empty() {
        let what = "is missing, and a listener has client_ca: without rules, whoever shows any certificate of that authority could push and \
                    delete; write [[auth.rule]]";
        report.say(path.key("rule"), what);
    }
    if let Some(realm) = &auth.realm
        && let Some(fault) = realm_fault(realm)
    {
        report.say(path.key("realm"), format!("is \"{realm}\", which {fault}"));
    }
    for (index, rule) in auth.rule.iter().enumerate() {
        self::rule(auth, rule, &path.key("rule").index(index), report);
    }
    if let Err((index, error)) = Policy::new(auth) {
        let key = match error {
            RuleError::Who(_) => "who",
            RuleError::Glob(..) => "repositories",
        };
        report.say(path.key("rule").index(index).key(key), error.to_string());
    }
    for (name, members) in &auth.groups {
        if members.iter().any(|member| member.is_empty()) {
            report.say(path.key("groups").key(name), "has a member without a name");
        }
    }
}

fn routes(config: &Config, report: &mut Report) {
    for (index, route) in config.route.iter().enumerate() {
        let path = Path::default().key("route").index(index).key("auth");
        let targets = [Some(route.read.as_str()), route.write.as_deref()];
        for name in targets.into_iter().flatten().filter_map(|target| target.strip_prefix("cluster.")) {
            let cluster = config.cluster.get(name);
            if let Some(cluster) = cluster.filter(|cluster| !cluster.forward.is_empty() && config.is_ruled(route))
                && matches!(cluster.authorization, Authorization::Login(_))
            {
                let what = format!(
                    "is \"rules\", and cluster.{name} has a login in `authorization` and paths in `forward`, which no rule judges: \
                     anybody could do there what that user may"
                );
                report.say(path.clone(), what);
            }
            if cluster.is_some_and(|cluster| cluster.authorization == Authorization::Token) && !config.is_ruled(route) {
                let what = format!(
                    "must be \"rules\": cluster.{name} has `authorization = \"token\"`, and without rules there is nobody whom a \
                     token could name"
                );
                report.say(path.clone(), what);
            }
        }
        match route.auth {
            Some(RouteAuth::Rules) if config.auth.is_none() => {
                report.say(path, "is \"rules\", and there are none: write a section [auth]");
            }
            Some(RouteAuth::Peers) if route.read == REGISTRY || route.write.as_deref() == Some(REGISTRY) => {
                report.say(path, "is \"peers\", and the registry has none: leave it out, or write \"rules\"");
            }
            _ => {}
        }
    }
}

/// Whoever reaches an address that is not this machine's own could push and delete.
fn open_writes(config: &Config, report: &mut Report) {
    if config.registry.open_writes || config.registry.read_only {
        return;
    }
    let writes = |route: &&Route| route.write.as_deref() == Some(REGISTRY) && !config.is_ruled(route);
    let reached = config.listener.iter().find(|listener| !listener.address.is_of_this_machine());
    if let (Some(_), Some(listener)) = (config.route.iter().find(writes), reached) {
        let what = format!(
            "is missing: anybody who reaches {} could push to the registry and delete from it. Write a section [auth], listen on \
             127.0.0.1, or say that this is meant with `open_writes = true`",
            listener.address
        );
        report.say(Path::default().key("registry").key("open_writes"), what);
    }
}

fn users(auth: &Auth, path: &Path, report: &mut Report) {
    match (&auth.username, &auth.password) {
        (Some(name), _) if name.is_empty() || name.contains(':') => {
            report.say(path.key("username"), "is empty or has a ':', which no login can have");
        }
        (Some(_), None) => report.say(path.key("password"), "is missing for `username`; or write `password_file`"),
        (None, Some(_)) => report.say(path.key("username"), "is missing for `password`"),
        (Some(_), Some(password)) if password.reveal().is_empty() => report.say(path.key("password"), "is empty"),
        _ => {}
    }
    if let Some(file) = &auth.htpasswd
        && let Some(fault) = htpasswd_fault(file)
    {
        report.say(path.key("htpasswd"), fault);
    }
}

fn tokens(config: &Config, auth: &Auth, path: &Path, report: &mut Report) {
    let (auth_path, path, token) = (path, path.key("token"), &auth.token);
    // RFC-less, but distribution's: clients take nothing shorter for a token's life.
    report.within(path.key("ttl"), token.ttl, seconds(60)..=seconds(3600));
    report.within(path.key("rotate"), token.rotate, seconds(3600)..=seconds(366 * 86_400));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if token.service.is_empty() || !token.service.bytes().all(plain) {
        report.say(path.key("service"), "is empty or has other characters than letters, digits and . _ - : /");
    }
    if auth.refresh_tokens && !config.uses_registry() {
        let what = "is true, and no route leads to the registry, in whose storage they would be kept";
        report.say(auth_path.key("refresh_tokens"), what);
    }
    if token.keys == Keys::Storage {
        if !config.uses_registry() {
            report.say(path.key("keys"), "is \"storage\", and no route leads to the registry: name a folder");
        }
        if config.fleet.secret_file.is_none() {
            report.say(path.key("keys"), "is \"storage\", where they are sealed: `secret_file` in [fleet] is missing");
        }
    }
}

/// Quotation marks and spaces would end it early in clients.
pub(super) fn realm_fault(realm: &str) -> Option<&'static str> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "\"\\,".contains(c);
    if realm.contains(bad) {
        return Some("has characters that end it in clients");
    }
    let url = url::Url::parse(realm).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    match url {
        None => Some("is no address such as \"https://registry.example.com/token\""),
        Some(url) if !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() => {
            Some("has more than scheme, host and path")
        }
        Some(_) => None,
    }
}

fn rule(auth: &Auth, rule: &Rule, path: &Path, report: &mut Report) {
    if rule.who.is_empty() {
        report.say(path.key("who"), "is empty, so the rule could never match");
    }
    if rule.allow.is_empty() && rule.deny.is_empty() {
        report.say(path.key("allow"), "is missing, and so is `deny`: the rule says nothing");
    }
    if let Some(fault) = super::route::pattern_fault(&rule.repositories) {
        report.say(path.key("repositories"), format!("'{}' {fault}", rule.repositories));
    }
    let of_workloads = || auth.workload.iter().flat_map(|entry| &entry.groups);
    for group in rule.who.iter().filter_map(|who| who.strip_prefix("group:")) {
        if !auth.groups.contains_key(group) && !of_workloads().any(|known| known == group) {
            let known: Vec<&str> = auth.groups.keys().chain(of_workloads()).map(String::as_str).collect();
            let known = match known.as_slice() {
                [] => "there are none: write `groups = { NAME = [\"alice\"] }` in [auth]".to_owned(),
                known => format!("known: {}", known.join(", ")),
            };
            let what = format!("names the group '{group}', which is not in [auth.groups]; {known}");
            report.say(path.key("who"), what);
        }
    }
    for (key, empty) in
        [("hosts", rule.hosts.as_ref().map(Vec::is_empty)), ("from", rule.from.as_ref().map(Vec::is_empty))]
    {
        if empty == Some(true) {
            report.say(path.key(key), "is empty, so the rule could never match; leave it out for any");
        }
    }
    for (index, host) in rule.hosts.iter().flatten().enumerate() {
        if let Some(fault) = asked_name_fault(host) {
            report.say(path.key("hosts").index(index), format!("'{host}' {fault}"));
        }
    }
}
