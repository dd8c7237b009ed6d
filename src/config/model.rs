//! The whole configuration: the rooms' own structs, joined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::distribution::Told;
use crate::acme::{self, Names};
use crate::maintenance::{gc, retention, verify};
use crate::registry::quota;
use crate::remote::config::{AskedAs, KeepIn};
use crate::routing::{REGISTRY, REMOTE};
use crate::storage::config::DriverKind;
use crate::units::{Span, seconds};
use crate::{admin, audit, auth, cache, cluster, cors, fleet, limits, listener, registry, remote, storage, telemetry};

/// A whole configuration, as read; `Config::load` also checks it across sections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Worker threads; 0 means one for each processor. Needs a restart to change.
    #[serde(default)]
    pub threads: usize,
    pub listener: Vec<listener::Config>,
    /// The authority of certificates that come by themselves.
    pub acme: Option<acme::Config>,
    pub admin: Option<admin::Config>,
    #[serde(default)]
    pub log: telemetry::LogConfig,
    /// Which requests are told to a collector.
    pub tracing: Option<telemetry::spans::Config>,
    #[serde(default)]
    pub drain: Drain,
    #[serde(default)]
    pub cache: cache::Config,
    #[serde(default)]
    pub cluster: BTreeMap<String, cluster::Config>,
    /// Other registries that are mirrored.
    #[serde(default)]
    pub remote: BTreeMap<String, remote::Config>,
    #[serde(default)]
    pub registry: registry::Config,
    #[serde(default)]
    pub storage: storage::Config,
    #[serde(default)]
    pub fleet: fleet::MemberConfig,
    pub redis: Option<fleet::Config>,
    pub auth: Option<auth::Config>,
    pub limits: Option<limits::Config>,
    pub cors: Option<cors::Config>,
    pub audit: Option<audit::Config>,
    /// When and how garbage is collected.
    #[serde(default)]
    pub gc: gc::Config,
    /// Which tags stay.
    #[serde(default)]
    pub retention: Vec<retention::Config>,
    /// How much repositories may hold.
    #[serde(default)]
    pub quota: Vec<quota::Config>,
    /// Looking for damage.
    #[serde(default)]
    pub verify: verify::Config,
    pub route: Vec<Route>,
    /// What is told of a configuration of distribution that this was made of.
    #[serde(skip)]
    pub translated: Option<Arc<Told>>,
    /// Variables of distribution's, which do not count beside a configuration of ours.
    #[serde(skip)]
    pub stray: Vec<String>,
}

impl Config {
    /// Whether nothing speaks of other instances: then this one may make what all would need to have. A store that others reach is
    /// such a sign too.
    pub fn is_alone(&self) -> bool {
        let own_store = matches!(self.storage.driver, DriverKind::Filesystem | DriverKind::Memory);
        self.redis.is_none() && self.fleet.advertise.is_none() && (own_store || !self.uses_registry())
    }

    /// The names of each certificate that comes by itself.
    pub fn ordered_names(&self) -> Vec<Names> {
        let entries = self.listener.iter().flat_map(|listener| &listener.tls).filter(|entry| entry.acme);
        let names: BTreeSet<Names> = entries.map(|entry| Names::new(&entry.names)).collect();
        names.into_iter().collect()
    }

    /// Whether certificates can be kept beside the registry's content: it is there for all instances, and outlives them, and there
    /// is a secret to seal keys with.
    pub fn seals_certificates(&self) -> bool {
        self.uses_registry() && self.storage.driver != DriverKind::Memory && self.fleet.secret_file.is_some()
    }

    /// Whether the rules of `[auth]` count on a route.
    pub fn is_ruled(&self, route: &Route) -> bool {
        match route.auth {
            Some(RouteAuth::Rules) => true,
            Some(RouteAuth::Peers) => false,
            None => self.auth.is_some() && (route.names_registry() || route.remote().is_some()),
        }
    }

    /// Whether any route goes to the integrated registry, or what is kept of a remote is its content.
    pub fn uses_registry(&self) -> bool {
        let kept = |remote: &remote::Config| remote.keep == Some(KeepIn::Storage);
        self.route.iter().any(Route::names_registry) || self.remote.values().any(kept)
    }

    /// Where what is kept of a remote stays.
    pub fn keeps(&self, remote: &remote::Config) -> KeepIn {
        // The registry would list names of repositories of which each caller has to be asked about.
        let by_callers = remote.identity == AskedAs::Caller;
        let place = if self.uses_registry() && !by_callers { KeepIn::Storage } else { KeepIn::Cache };
        remote.keep.unwrap_or(place)
    }
}

/// `[drain]`: how we stop.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// /readyz says no this long before we stop accepting.
    pub delay: Span,
    /// Requests under way have this long to end.
    pub timeout: Span,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { delay: seconds(0), timeout: seconds(300) }
    }
}

/// `[[route]]`: who serves a repository; the first that matches wins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Host names without port; `*.example.com` stands for one label. Left out: any host.
    pub hosts: Option<Vec<String>>,
    /// Glob on the repository name: `*` within a part, `**` over parts.
    #[serde(default = "everything")]
    pub repositories: String,
    /// `"cluster.NAME"`, `"remote.NAME"` or `"registry"`.
    pub read: String,
    /// `"cluster.NAME"` or `"registry"`. Left out: pushes are refused with 405.
    pub write: Option<String>,
    /// Who says who may: our own rules, or the peers. Left out: the rules, where there are any and the route names the registry or
    /// a remote, and else the peers.
    pub auth: Option<RouteAuth>,
}

impl Route {
    /// The remote that it reads from.
    pub fn remote(&self) -> Option<&str> {
        self.read.strip_prefix(REMOTE)
    }

    fn names_registry(&self) -> bool {
        self.read == REGISTRY || self.write.as_deref() == Some(REGISTRY)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAuth {
    /// `[auth]`; before a cluster, its peers are asked too.
    Rules,
    Peers,
}

fn everything() -> String {
    "**".into()
}
