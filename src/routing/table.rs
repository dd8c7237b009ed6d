//! Who serves a request, a cluster, the integrated registry or a mirror: hosts and repository globs, first match wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use super::names::{Meaning, Names};
use crate::cluster::{Cluster, PeerId};
use crate::mirror::Mirror;
use crate::oci::RepositoryName;
use crate::registry::Registry;
use crate::remote::config::AskedAs;

/// The routes of one configuration. Replaced whole on reload; a request keeps the table that it began with.
pub struct RoutingTable {
    routes: Vec<Route>,
    targets: Targets,
    names: Names,
}

/// Whom routes may name, by their names in the configuration.
#[derive(Default)]
pub struct Targets {
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    pub mirrors: BTreeMap<String, Arc<Mirror>>,
    /// May be left out when no route names it.
    pub registry: Option<Arc<Registry>>,
}

/// The word for the integrated registry in `read` and `write`.
pub const REGISTRY: &str = "registry";
/// What stands before a remote's name in `read`.
pub const REMOTE: &str = "remote.";

/// What `read` and `write` of a route name.
#[derive(Clone)]
pub enum Target {
    /// `"cluster.NAME"`
    Cluster(Arc<Cluster>),
    /// `"registry"`: the integrated one.
    Registry(Arc<Registry>),
    /// `"remote.NAME"`, of reads only.
    Mirror(Arc<Mirror>),
}

struct Route {
    /// Lower case, without port; empty means any host.
    hosts: Vec<HostPattern>,
    repositories: GlobMatcher,
    read: Target,
    write: Option<Target>,
    ruled: bool,
}

/// Who answers a request.
#[derive(Clone, Copy)]
pub struct Answerer<'a> {
    pub target: &'a Target,
    /// Whether our own rules say who may.
    pub ruled: bool,
    /// What is pushed to the registry goes before what the mirror has.
    pub overlay: bool,
    /// Whether what is read here is, or may be, in the registry's storage: it answers itself, keeps what a remote gives, or takes the
    /// writes of a cluster that reads from the same bucket.
    pub ours: bool,
}

/// A route, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RouteTold {
    /// Empty: any.
    pub hosts: Vec<String>,
    pub repositories: String,
    pub read: String,
    pub write: Option<String>,
    pub ruled: bool,
    #[serde(skip)]
    pub overlay: bool,
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
    /// `cluster.NAME`, `remote.NAME` or `registry`.
    pub read: &'a str,
    pub write: Option<&'a str>,
    /// Whether our own rules say who may.
    pub ruled: bool,
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
    pub fn new<'a>(specs: impl Iterator<Item = RouteSpec<'a>>, targets: Targets) -> Result<Self, RoutingError> {
        let find = |name: &str| targets.find(name).ok_or_else(|| RoutingError::Unknown(name.to_owned()));
        let routes = specs
            .map(|spec| {
                Ok(Route {
                    hosts: spec.hosts.unwrap_or_default().iter().map(|host| HostPattern::new(host)).collect(),
                    repositories: glob(spec.repositories)?,
                    read: find(spec.read)?,
                    write: spec.write.map(find).transpose()?,
                    ruled: spec.ruled,
                })
            })
            .collect::<Result<_, RoutingError>>()?;
        let remotes = targets.mirrors.iter().map(|(name, mirror)| (name.as_str(), mirror.remote().names()));
        let names = Names::new(remotes);
        Ok(RoutingTable { routes, targets, names })
    }

    /// By what names remotes are asked.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What a name means at this host, in a request with that `ns`.
    pub fn meaning(&self, host: &str, asked: &RepositoryName, ns: Option<&str>) -> Meaning<'_> {
        self.names.meaning(asked, ns, || match &self.of_repository(host, asked)?.read {
            Target::Mirror(mirror) => Some(mirror.remote().name()),
            Target::Cluster(_) | Target::Registry(_) => None,
        })
    }

    /// Whether this repository's content is for those alone whom its remote lets have it (`identity = "caller"`): whoever does not ask
    /// the remote may not give it.
    pub fn is_for_callers(&self, canonical: &RepositoryName) -> bool {
        self.names.owner(canonical).is_some_and(|remote| self.targets.mirrors.get(remote).is_some_and(is_for_callers))
    }

    /// Whether any repository's is.
    pub fn keeps_for_callers(&self) -> bool {
        self.targets.mirrors.values().any(is_for_callers)
    }

    /// Whether a name means itself at this host.
    pub fn is_canonical(&self, host: &str, asked: &RepositoryName) -> bool {
        match self.meaning(host, asked, None) {
            Meaning::AsAsked => true,
            Meaning::Canonical { name, .. } => name == *asked,
            Meaning::Undeclared | Meaning::Contradiction | Meaning::TooLong => false,
        }
    }

    /// Who answers reads of a repository.
    pub fn read(&self, host: &str, repository: &RepositoryName) -> Option<Answerer<'_>> {
        self.of_repository(host, repository).map(Route::reader)
    }

    /// Who takes writes: `None` when no route matches, `Some(None)` when the route takes none.
    pub fn write(&self, host: &str, repository: &RepositoryName) -> Option<Option<Answerer<'_>>> {
        self.of_repository(host, repository).map(Route::writer)
    }

    /// Who answers what belongs to no repository (`/v2/`, `_catalog`): the first route of the host.
    pub fn host(&self, host: &str) -> Option<Answerer<'_>> {
        self.of_host(host).next().map(Route::reader)
    }

    /// Who lists the repositories of the host: the first route that reads from no remote, or has all repositories of the host; the first
    /// of all where none does. A remote among others is asked for its list by its `ns`.
    pub fn catalog(&self, host: &str) -> Option<Answerer<'_>> {
        let whole = |route: &Route| route.repositories.glob().glob() == "**";
        let own = self.of_host(host).find(|route| whole(route) || !matches!(route.read, Target::Mirror(_)));
        own.map(Route::reader).or_else(|| self.host(host))
    }

    /// Who answers what belongs to no repository of a remote: the first route of the host that reads from it.
    pub fn of_remote(&self, host: &str, remote: &str) -> Option<Answerer<'_>> {
        let reads = |route: &&Route| matches!(&route.read, Target::Mirror(mirror) if mirror.remote().name() == remote);
        self.of_host(host).find(reads).map(Route::reader)
    }

    /// Whether our rules count for anything on this host, so that it needs a place where tokens are given.
    pub fn is_ruled(&self, host: &str) -> bool {
        self.of_host(host).any(|route| route.ruled)
    }

    /// Who gets a path outside `/v2/`: the first route of the host, when its cluster forwards that path; for an upload
    /// that lives on `peer`, any cluster of the host's routes that has that peer and forwards that path.
    pub fn forward(&self, host: &str, path: &str, peer: Option<PeerId>) -> Option<&Arc<Cluster>> {
        let forwards = |cluster: &Arc<Cluster>| cluster.forwards(path);
        let targets = self.of_host(host).flat_map(|route| route.write.iter().chain([&route.read]));
        let mut clusters = targets.filter_map(|target| match target {
            Target::Cluster(cluster) => Some(cluster),
            Target::Registry(_) | Target::Mirror(_) => None,
        });
        if let Some(peer) = peer
            && let Some(home) = clusters.find(|cluster| forwards(cluster) && cluster.address(peer).is_some())
        {
            return Some(home);
        }
        let Target::Cluster(cluster) = self.host(host)?.target else { return None };
        forwards(cluster).then_some(cluster)
    }

    /// The integrated registry, if reads of some route go to it: without it, this site cannot do what it is for.
    pub fn registry_read(&self) -> Option<&Arc<Registry>> {
        self.routes.iter().find_map(|route| match &route.read {
            Target::Registry(registry) => Some(registry),
            Target::Cluster(_) | Target::Mirror(_) => None,
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
        self.targets.clusters.values()
    }

    /// The routes that answer for a repository, at whatever host: up to the first that stands for any host.
    pub fn routes_of(&self, repository: &RepositoryName) -> Vec<RouteTold> {
        let matching = self.routes.iter().filter(|route| route.repositories.is_match(repository.as_str()));
        let mut told: Vec<RouteTold> = Vec::new();
        for route in matching {
            told.push(route.told());
            if route.hosts.is_empty() {
                break;
            }
        }
        told
    }

    /// All mirrors, also those that no route names.
    pub fn mirrors(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.targets.mirrors.values()
    }

    /// The integrated registry, if anything names it.
    pub fn registry(&self) -> Option<&Arc<Registry>> {
        self.targets.registry.as_ref()
    }

    fn of_host(&self, host: &str) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.hosts.is_empty() || route.hosts.iter().any(|p| p.matches(host)))
    }

    fn of_repository(&self, host: &str, repository: &RepositoryName) -> Option<&Route> {
        self.of_host(host).find(|route| route.repositories.is_match(repository.as_str()))
    }
}

impl Target {
    /// As `read` and `write` have it.
    fn text(&self) -> String {
        match self {
            Target::Cluster(cluster) => format!("cluster.{}", cluster.name()),
            Target::Registry(_) => REGISTRY.to_owned(),
            Target::Mirror(mirror) => format!("{REMOTE}{}", mirror.remote().name()),
        }
    }
}

impl Targets {
    fn find(&self, name: &str) -> Option<Target> {
        if name == REGISTRY {
            return self.registry.clone().map(Target::Registry);
        }
        let cluster = || self.clusters.get(name.strip_prefix("cluster.")?).cloned().map(Target::Cluster);
        let mirror = || self.mirrors.get(name.strip_prefix(REMOTE)?).cloned().map(Target::Mirror);
        cluster().or_else(mirror)
    }
}

impl Route {
    fn told(&self) -> RouteTold {
        RouteTold {
            hosts: self.hosts.iter().map(HostPattern::text).collect(),
            repositories: self.repositories.glob().glob().to_owned(),
            read: self.read.text(),
            write: self.write.as_ref().map(Target::text),
            ruled: self.ruled,
            overlay: self.reader().overlay,
        }
    }

    fn reader(&self) -> Answerer<'_> {
        self.answerer(&self.read)
    }

    fn writer(&self) -> Option<Answerer<'_>> {
        self.write.as_ref().map(|target| self.answerer(target))
    }

    fn answerer<'a>(&'a self, target: &'a Target) -> Answerer<'a> {
        let overlay = matches!((&self.read, &self.write), (Target::Mirror(_), Some(Target::Registry(_))));
        let ours = matches!(self.write, Some(Target::Registry(_))) || !matches!(self.read, Target::Cluster(_));
        Answerer { target, ruled: self.ruled, overlay, ours }
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

    fn text(&self) -> String {
        match self {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::OneLabel(suffix) => format!("*{suffix}"),
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

/// Each client has of it what its remote gives them.
fn is_for_callers(mirror: &Arc<Mirror>) -> bool {
    mirror.remote().config().identity == AskedAs::Caller
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
