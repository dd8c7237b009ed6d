//! `entrepot check FILE`: what `serve` would make of a file, without serving.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, Source};

pub fn run(file: PathBuf) -> ExitCode {
    let name = file.display().to_string();
    match (Source { path: Some(file) }).load() {
        Ok(config) => {
            println!("{name}: ok\n{}", summary(&config).trim_end());
            for warning in config.warnings() {
                println!("  warning: {warning}");
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
        let _ = writeln!(text, "  listener {} {speaks}", listener.address);
    }
    if let Some(admin) = &config.admin {
        let _ = writeln!(text, "  admin    {}", admin.address);
    }
    let cache = &config.cache;
    let _ = writeln!(text, "  cache    {} of memory, {} of disk in {}", cache.memory, cache.disk, cache.path.display());
    for (name, cluster) in &config.cluster {
        let peers: Vec<_> = cluster.peers.iter().map(|peer| peer.address.as_str()).collect();
        let _ = writeln!(text, "  cluster  {name}: {}", peers.join(", "));
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
        let _ = writeln!(text, "  route    {hosts}, {}: read {}, write {write}", route.repositories, route.read);
    }
    text
}

/// Where the registry's content is.
fn storage(config: &crate::storage::Config) -> String {
    format!("{:?}", config.driver).to_lowercase()
}
