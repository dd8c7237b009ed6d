//! Routes: patterns that compile, targets that exist, and no route behind one that takes all it could.

use globset::GlobBuilder;

use super::Report;
use super::names::asked_name_fault;
use crate::config::model::{Config, Route};
use crate::config::tree::Path;
use crate::routing::{REGISTRY, REMOTE};

pub fn check(config: &Config, report: &mut Report) {
    let routes = Path::default().key("route");
    if config.route.is_empty() {
        report.say(routes.clone(), "there is none; at least one [[route]] with 'read' is required");
    }
    for (index, route) in config.route.iter().enumerate() {
        let path = routes.index(index);
        hosts(route, &path, report);
        if let Some(fault) = pattern_fault(&route.repositories) {
            report.say(path.key("repositories"), format!("'{}' {fault}", route.repositories));
        }
        match route.remote() {
            Some(remote) if config.remote.contains_key(remote) => {}
            _ => target(&route.read, path.key("read"), config, report),
        }
        match &route.write {
            Some(write) if write.starts_with(REMOTE) => {
                let what = format!(
                    "is \"{write}\", and nothing is pushed to other registries from here; with \"{REGISTRY}\", what is pushed \
                     stays here and goes before what the remote has"
                );
                report.say(path.key("write"), what);
            }
            Some(write) => target(write, path.key("write"), config, report),
            None => {}
        }
        if let Some(earlier) = config.route.iter().take(index).position(|earlier| covers(earlier, route)) {
            let what = format!("is never reached: {} before it matches all that it does", routes.index(earlier));
            report.say(path, what);
        }
    }
}

fn hosts(route: &Route, path: &Path, report: &mut Report) {
    let Some(hosts) = &route.hosts else { return };
    let path = path.key("hosts");
    if hosts.is_empty() {
        report.say(path.clone(), "is empty, so the route would match nothing; leave it out for any host");
    }
    for (index, host) in hosts.iter().enumerate() {
        if let Some(fault) = asked_name_fault(host) {
            report.say(path.index(index), format!("'{host}' {fault}"));
        }
    }
}

/// `read` and `write` name a cluster or the registry, and `read` may name a remote.
fn target(target: &str, path: Path, config: &Config, report: &mut Report) {
    if target == REGISTRY || target.strip_prefix("cluster.").is_some_and(|name| config.cluster.contains_key(name)) {
        return;
    }
    let clusters = config.cluster.keys().map(|name| format!("\"cluster.{name}\""));
    let remotes = config.remote.keys().map(|name| format!("\"{REMOTE}{name}\" (read)"));
    let known: Vec<String> = clusters.chain(remotes).chain([format!("\"{REGISTRY}\"")]).collect();
    let more = match (target.starts_with(REMOTE), config.cluster.is_empty()) {
        (true, _) => ", or write a section [remote.NAME] and name it \"remote.NAME\"",
        (false, true) => ", or write a section [cluster.NAME] and name it \"cluster.NAME\"",
        (false, false) => "",
    };
    report.say(path, format!("is \"{target}\", which does not exist; allowed: {}{more}", known.join(", ")));
}

pub fn pattern_fault(pattern: &str) -> Option<String> {
    if pattern.is_empty() {
        return Some("is empty; \"**\" matches every repository".into());
    }
    if pattern.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("has upper-case letters, which no repository name has".into());
    }
    if pattern.starts_with('/') || pattern.ends_with('/') {
        return Some("begins or ends with '/', which no repository name does".into());
    }
    let error = GlobBuilder::new(pattern).literal_separator(true).build().err()?;
    Some(format!("is not a pattern: {}; allowed: names with '*' within a part and '**' over parts", error.kind()))
}

/// Whether everything that `later` matches is taken by `earlier`. Tells only the plain cases: every
/// repository, or the same pattern; any host, or the same ones.
fn covers(earlier: &Route, later: &Route) -> bool {
    let repositories = earlier.repositories == "**" || earlier.repositories == later.repositories;
    let hosts = match (&earlier.hosts, &later.hosts) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => later.iter().all(|host| earlier.iter().any(|known| host_covers(known, host))),
    };
    repositories && hosts
}

fn host_covers(known: &str, host: &str) -> bool {
    let by_wildcard =
        || known.strip_prefix("*.").zip(host.split_once('.')).is_some_and(|(known, (_, rest))| known == rest);
    known == host || by_wildcard()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(hosts: &[&str], repositories: &str) -> Route {
        let hosts = (!hosts.is_empty()).then(|| hosts.iter().map(ToString::to_string).collect());
        Route { hosts, repositories: repositories.into(), read: "cluster.main".into(), write: None, auth: None }
    }

    #[test]
    fn a_route_covers_what_it_matches_anyway() {
        assert!(covers(&route(&[], "**"), &route(&["a.example"], "x/*")));
        assert!(covers(&route(&["*.example"], "**"), &route(&["a.example"], "x")));
        assert!(covers(&route(&[], "x/**"), &route(&[], "x/**")));
        assert!(!covers(&route(&["a.example"], "**"), &route(&[], "**")));
        assert!(!covers(&route(&[], "x/**"), &route(&[], "**")));
        assert!(!covers(&route(&["*.example"], "**"), &route(&["a.b.example"], "**")));
    }

    #[test]
    fn patterns_are_globs_on_names() {
        for good in ["**", "library/*", "team-*/**", "{a,b}/**", "a.b_c/d"] {
            assert_eq!(pattern_fault(good), None, "{good}");
        }
        for bad in ["", "Library/*", "/a", "a/", "{a,b", "[a"] {
            assert!(pattern_fault(bad).is_some(), "{bad}");
        }
    }
}
