//! Who serves a request, a cluster or the integrated registry: hosts and repository globs, first match wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::cluster::{Cluster, PeerId};
use crate::oci::RepositoryName;
use crate::registry::Registry;

/// The routes of one configuration. Replaced whole on reload; a request keeps the table that it began with.
pub struct RoutingTable {
    routes: Vec<Route>,
    clusters: BTreeMap<String, Arc<Cluster>>,
}

/// The word for the integrated registry in `read` and `write`.
pub const REGISTRY: &str = "registry";

/// What `read` and `write` of a route name.
#[derive(Clone)]
pub enum Target {
    /// `"cluster.NAME"`
    Cluster(Arc<Cluster>),
    /// `"registry"`: the integrated one.
    Registry(Arc<Registry>),
}

struct Route {
    /// Lower case, without port; empty means any host.
    hosts: Vec<HostPattern>,
    repositories: GlobMatcher,
    read: Target,
    write: Option<Target>,
}

enum HostPattern {
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: one label more.
    OneLabel(String),
}

/// A route as configured: what `app` reads from the configuration.
pub struct RouteSpec<'a> {
    pub hosts: Option<&'a [String]>,
    pub repositories: &'a str,
    /// `cluster.NAME` or `registry`.
    pub read: &'a str,
    pub write: Option<&'a str>,
}

/// Why a table could not be built; `config` has refused these before.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    #[error("'{0}' is not a glob: {1}")]
    Glob(String, globset::Error),
    #[error("there is no '{0}'")]
    Unknown(String),
}

impl RoutingTable {
    /// `registry` may be left out when no route names it.
    pub fn new<'a>(
        specs: impl Iterator<Item = RouteSpec<'a>>,
        clusters: BTreeMap<String, Arc<Cluster>>,
        registry: Option<&Arc<Registry>>,
    ) -> Result<Self, RoutingError> {
        let find = |name: &str| {
            let cluster = name.strip_prefix("cluster.").and_then(|name| clusters.get(name)).cloned();
            let registry = registry.filter(|_| name == REGISTRY).cloned().map(Target::Registry);
            cluster.map(Target::Cluster).or(registry).ok_or_else(|| RoutingError::Unknown(name.to_owned()))
        };
        let routes = specs
            .map(|spec| {
                Ok(Route {
                    hosts: spec.hosts.unwrap_or_default().iter().map(|host| HostPattern::new(host)).collect(),
                    repositories: glob(spec.repositories)?,
                    read: find(spec.read)?,
                    write: spec.write.map(find).transpose()?,
                })
            })
            .collect::<Result<_, RoutingError>>()?;
        Ok(RoutingTable { routes, clusters })
    }

    /// Who answers reads of a repository.
    pub fn read(&self, host: &str, repository: &RepositoryName) -> Option<&Target> {
        self.of_repository(host, repository).map(|route| &route.read)
    }

    /// Who takes writes: `None` when no route matches, `Some(None)` when the route takes none.
    pub fn write(&self, host: &str, repository: &RepositoryName) -> Option<Option<&Target>> {
        self.of_repository(host, repository).map(|route| route.write.as_ref())
    }

    /// Who answers what belongs to no repository (`/v2/`, `_catalog`): the first route of the host.
    pub fn host(&self, host: &str) -> Option<&Target> {
        self.of_host(host).next().map(|route| &route.read)
    }

    /// Who gets a path outside `/v2/`: the first route of the host, when its cluster forwards that path; for an upload
    /// that lives on `peer`, any cluster of the host's routes that has that peer and forwards that path.
    pub fn forward(&self, host: &str, path: &str, peer: Option<PeerId>) -> Option<&Arc<Cluster>> {
        let forwards =
            |cluster: &Arc<Cluster>| cluster.config().forward.iter().any(|prefix| path.starts_with(prefix.as_str()));
        let targets = self.of_host(host).flat_map(|route| route.write.iter().chain([&route.read]));
        let mut clusters = targets.filter_map(|target| match target {
            Target::Cluster(cluster) => Some(cluster),
            Target::Registry(_) => None,
        });
        if let Some(peer) = peer
            && let Some(home) = clusters.find(|cluster| forwards(cluster) && cluster.address(peer).is_some())
        {
            return Some(home);
        }
        let Target::Cluster(cluster) = self.host(host)? else { return None };
        forwards(cluster).then_some(cluster)
    }

    /// The integrated registry, if reads of some route go to it: without it, this site cannot do what it is for.
    pub fn registry_read(&self) -> Option<&Arc<Registry>> {
        self.routes.iter().find_map(|route| match &route.read {
            Target::Registry(registry) => Some(registry),
            Target::Cluster(_) => None,
        })
    }

    /// The integrated registry, if writes of some route go to it.
    pub fn registry_write(&self) -> Option<&Arc<Registry>> {
        self.routes.iter().find_map(|route| match &route.write {
            Some(Target::Registry(registry)) => Some(registry),
            _ => None,
        })
    }

    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    fn of_host(&self, host: &str) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.hosts.is_empty() || route.hosts.iter().any(|p| p.matches(host)))
    }

    fn of_repository(&self, host: &str, repository: &RepositoryName) -> Option<&Route> {
        self.of_host(host).find(|route| route.repositories.is_match(repository.as_str()))
    }
}

impl HostPattern {
    fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(rest) => HostPattern::OneLabel(rest.to_owned()),
            None => HostPattern::Exact(text),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => name == host,
            HostPattern::OneLabel(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    }
}

/// `*` stays within a part of the name, `**` goes over parts.
fn glob(pattern: &str) -> Result<GlobMatcher, RoutingError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|e| RoutingError::Glob(pattern.to_owned(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_part() {
        let one = glob("team/*").unwrap();
        assert!(one.is_match("team/app") && !one.is_match("team/app/web"));
        let all = glob("**").unwrap();
        assert!(all.is_match("app") && all.is_match("team/app/web"));
        let under = glob("team/**").unwrap();
        assert!(under.is_match("team/app/web") && !under.is_match("other/app"));
    }

    #[test]
    fn a_host_pattern_covers_one_label() {
        let pattern = HostPattern::new("*.Example.com");
        assert!(pattern.matches("a.example.com"));
        assert!(!pattern.matches("example.com") && !pattern.matches("a.b.example.com"));
    }
}
