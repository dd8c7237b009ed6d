//! The names that clients know this installation by, and whether they lead to this machine.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::certificates;
use super::finding::Findings;
use crate::config::Config;
use crate::outbound::{is_of_this_machine, system_lookup};

/// How long the resolver may take for one name.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// Names that are looked up; more have the same faults.
const MAX_NAMES: usize = 50;
const CHECK: &str = "names";

/// Each name, and which key says it; addresses and wildcards are none. The first is the one that clients are most likely to use.
pub fn of(config: &Config, address: Option<&str>) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, key: String| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_name = !name.is_empty() && !name.contains(['*', ':']) && name.parse::<IpAddr>().is_err();
        if is_name && !names.iter().any(|(known, _)| *known == name) {
            names.push((name, key));
        }
    };
    if let Some(address) = address {
        add(without_port(address), "--address".into());
    }
    for (index, listener) in config.listener.iter().enumerate() {
        for certificate in &listener.tls {
            let key = format!("listener[{index}].tls");
            match &certificate.certificate {
                Some(file) if certificate.names.is_empty() => {
                    certificates::names_in(file).iter().for_each(|name| add(name, key.clone()));
                }
                _ => certificate.names.iter().for_each(|name| add(name, key.clone())),
            }
        }
    }
    for (index, route) in config.route.iter().enumerate() {
        route.hosts.iter().flatten().for_each(|host| add(host, format!("route[{index}].hosts")));
    }
    let mut of_url = |text: &str, key: &str| {
        let url = url::Url::parse(text).ok();
        if let Some(host) = url.as_ref().and_then(url::Url::host_str) {
            add(host, key.to_owned());
        }
    };
    if let Some(realm) = config.auth.as_ref().and_then(|auth| auth.realm.as_deref()) {
        of_url(realm, "auth.realm");
    }
    if let Some(advertise) = &config.fleet.advertise {
        of_url(&advertise.to_string(), "fleet.advertise");
    }
    names
}

/// The host of `host`, `host:port` or `[address]:port`.
pub fn without_port(text: &str) -> &str {
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if text.matches(':').count() == 1 => text.split_once(':').map_or(text, |(host, _)| host),
        None => text,
    }
}

pub async fn check(names: &[(String, String)]) -> Findings {
    let mut findings = Findings::of(CHECK);
    if names.is_empty() {
        findings.ok("the configuration has no name for this installation: clients use its address (--address NAME looks a name up)");
    }
    let looks = names.iter().take(MAX_NAMES).map(|(name, key)| async move { (name, key, resolve(name).await) });
    for (name, key, found) in futures::future::join_all(looks).await {
        judge(name, key, found, &mut findings);
    }
    findings
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    match tokio::time::timeout(RESOLVE_TIME, system_lookup()(name.to_owned(), 443)).await {
        Ok(Ok(found)) => {
            let found: BTreeSet<IpAddr> = found.into_iter().map(|address| address.ip()).collect();
            Ok(found.into_iter().collect())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the resolver has not answered for {RESOLVE_TIME:?}")),
    }
}

fn judge(name: &str, key: &str, found: Result<Vec<IpAddr>, String>, findings: &mut Findings) {
    let advice =
        "give it a DNS record (or a line in /etc/hosts) with an address of this machine, or of what stands before it";
    let found = match found {
        Ok(found) if !found.is_empty() => found,
        Ok(_) => return findings.error(format!("{name} ({key}) has no address"), advice),
        Err(why) => return findings.error(format!("{name} ({key}) does not resolve: {why}"), advice),
    };
    let shown = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let elsewhere: Vec<_> = found.iter().filter(|ip| !is_of_this_machine(**ip)).map(ToString::to_string).collect();
    match elsewhere.as_slice() {
        [] => findings.ok(format!("{name} ({key}) leads here: {shown}")),
        _ => findings.warning(
            format!("{name} ({key}) leads to {shown}; not of this machine: {}", elsewhere.join(", ")),
            "right if a load balancer, a NAT or other instances stand there; else correct its DNS record",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration_once_each() {
        let text = "[[listener]]\naddress = \"127.0.0.1:1\"\n[auth]\nrealm = \"https://login.lab/token\"\n[[route]]\nread = \"registry\"\n\
                    hosts = [\"a.lab\", \"*.lab\", \"A.lab\"]\n";
        let config: Config = toml::from_str(text).unwrap();
        let names: Vec<_> = of(&config, Some("first.lab:443")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["first.lab", "a.lab", "login.lab"]);
        assert!(of(&config, Some("10.0.0.1:5000")).iter().all(|(name, _)| name != "10.0.0.1"));
    }

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (text, name) in [("a", "a"), ("a:1", "a"), ("[::1]:5", "::1"), ("::1", "::1")] {
            assert_eq!(without_port(text), name);
        }
    }

    #[test]
    fn where_a_name_leads_is_judged() {
        let level = |found: Result<Vec<IpAddr>, String>| {
            let mut findings = Findings::of(CHECK);
            judge("a.lab", "route[0].hosts", found, &mut findings);
            findings.found[0].level
        };
        assert_eq!(level(Ok(vec!["127.0.0.1".parse().unwrap()])), Level::Ok);
        // TEST-NET-1 is nobody's address (RFC 5737).
        assert_eq!(level(Ok(vec!["192.0.2.1".parse().unwrap()])), Level::Warning);
        assert_eq!((level(Ok(vec![])), level(Err("no".into()))), (Level::Error, Level::Error));
    }
}
