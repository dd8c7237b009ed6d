//! `entrepot check FILE`: what `serve` would make of a file, without serving.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::audit::Target;
use crate::auth::{Config as Auth, Permission, htpasswd_unused};
use crate::config::{Config, Source};
use crate::remote::RemoteNames;
use crate::remote::config::KeepIn;

pub fn run(file: PathBuf) -> ExitCode {
    let name = file.display().to_string();
    match (Source { path: Some(file) }).load() {
        Ok(config) => {
            super::out(&format!("{name}: ok\n{}", summary(&config).trim_end()));
            if let Some(told) = &config.translated {
                told.keys.iter().chain(&told.needless).for_each(|what| super::out(&format!("  key      {what}")));
            }
            for warning in config.warnings() {
                super::out(&format!("  warning: {warning}"));
            }
            for (what, remedy) in
                config.auth.iter().filter_map(|auth| auth.htpasswd.as_deref()).flat_map(htpasswd_unused)
            {
                super::out(&format!("  warning: {what}: {remedy}"));
            }
            ExitCode::SUCCESS
        }
        Err(errors) => super::fail(errors),
    }
}

/// What it amounts to, a line for each thing.
fn summary(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for listener in &config.listener {
        let speaks = if listener.tls.is_empty() { "http" } else { "https" };
        let below = if listener.prefix.is_none() { String::new() } else { format!(" below {}", listener.prefix) };
        let _ = writeln!(text, "  listener {} {speaks}{below}", listener.address);
    }
    if let Some(admin) = &config.admin {
        let socket = admin.unix.as_ref().map(|path| format!(" and {}", path.display())).unwrap_or_default();
        let login = if config.auth.is_some() { ", for those with `admin`" } else { ", for everybody who reaches it" };
        let _ = writeln!(text, "  admin    {}{socket}{login}", admin.address);
    }
    let cache = &config.cache;
    let _ = writeln!(text, "  cache    {} of memory, {} of disk in {}", cache.memory, cache.disk, cache.path.display());
    for (name, cluster) in &config.cluster {
        let peers: Vec<_> = cluster.peers.iter().map(|peer| peer.address.as_str()).collect();
        let _ = writeln!(text, "  cluster  {name}: {}", peers.join(", "));
    }
    for (name, remote) in &config.remote {
        let path = RemoteNames::new(&remote.registry, remote.path.as_deref()).path;
        let kept = match config.keeps(remote) {
            KeepIn::Storage => "the registry's storage",
            KeepIn::Cache => "the cache",
        };
        let _ = writeln!(text, "  remote   {name}: {} as {path}/…, kept in {kept}", remote.registry);
    }
    if config.uses_registry() {
        let state = if config.redis.is_some() { "redis" } else { "this process" };
        let _ = writeln!(text, "  registry {}; shared state in {state}", storage(&config.storage));
    }
    if let Some(address) = &config.fleet.advertise {
        let _ = writeln!(text, "  fleet    reached at {address}");
    }
    if let Some(file) = &config.fleet.secret_file {
        let _ = writeln!(text, "  fleet    secret in {}", file.display());
    }
    for route in &config.route {
        let hosts = route.hosts.as_ref().map_or("any host".into(), |hosts| hosts.join(", "));
        let write = route.write.as_deref().unwrap_or("refused");
        let judge = if config.is_ruled(route) { ", by the rules" } else { "" };
        let _ = writeln!(text, "  route    {hosts}, {}: read {}, write {write}{judge}", route.repositories, route.read);
    }
    if let Some(auth) = &config.auth {
        rules(auth, &mut text);
    }
    if let Some(audit) = &config.audit {
        let required = if audit.required { ", without which nothing is changed" } else { "" };
        let _ = match &audit.to {
            Target::Stdout => writeln!(text, "  audit    to stdout{required}"),
            Target::File(file) => writeln!(text, "  audit    to {}{required}", file.display()),
        };
    }
    text
}

/// A line for each rule, in columns.
fn rules(auth: &Auth, text: &mut String) {
    if auth.rule.is_empty() {
        text.push_str("  rules    none: who has logged in may do everything but admin\n");
        return;
    }
    let who: Vec<String> = auth.rule.iter().map(|rule| rule.who.join(", ")).collect();
    let width = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let wide = width(&mut auth.rule.iter().map(|rule| rule.repositories.as_str()));
    let names = width(&mut who.iter().map(String::as_str));
    for (index, (rule, who)) in auth.rule.iter().zip(&who).enumerate() {
        let words = |list: &[Permission]| list.iter().map(|one| one.word()).collect::<Vec<_>>().join(", ");
        let mut says = Vec::new();
        for (verb, list) in [("allow", &rule.allow), ("deny", &rule.deny)] {
            if !list.is_empty() {
                says.push(format!("{verb} {}", words(list)));
            }
        }
        if let Some(hosts) = &rule.hosts {
            says.push(format!("on {}", hosts.join(", ")));
        }
        if let Some(from) = &rule.from {
            let nets: Vec<_> = from.iter().map(ToString::to_string).collect();
            says.push(format!("from {}", nets.join(", ")));
        }
        let _ = writeln!(text, "  rule {index:<3} {:wide$}  {who:names$}  {}", rule.repositories, says.join("; "));
    }
}

/// Where the registry's content is.
fn storage(config: &crate::storage::Config) -> String {
    format!("{:?}", config.driver).to_lowercase()
}
