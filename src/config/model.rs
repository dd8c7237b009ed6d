//! The whole configuration: the rooms' own structs, joined.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::routing::REGISTRY;
use crate::storage::config::DriverKind;
use crate::units::{Span, seconds};
use crate::{admin, cache, cluster, fleet, listener, registry, storage, telemetry};

/// A whole configuration, as read; `Config::load` also checks it across sections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Worker threads; 0 means one for each processor. Needs a restart to change.
    #[serde(default)]
    pub threads: usize,
    pub listener: Vec<listener::Config>,
    pub admin: Option<admin::Config>,
    #[serde(default)]
    pub log: telemetry::LogConfig,
    #[serde(default)]
    pub drain: Drain,
    #[serde(default)]
    pub cache: cache::Config,
    #[serde(default)]
    pub cluster: BTreeMap<String, cluster::Config>,
    #[serde(default)]
    pub registry: registry::Config,
    #[serde(default)]
    pub storage: storage::Config,
    #[serde(default)]
    pub fleet: fleet::MemberConfig,
    pub redis: Option<fleet::Config>,
    pub route: Vec<Route>,
}

impl Config {
    /// Whether nothing speaks of other instances: then this one may make what all would need to have. A store that others reach is
    /// such a sign too.
    pub fn is_alone(&self) -> bool {
        let own_store = matches!(self.storage.driver, DriverKind::Filesystem | DriverKind::Memory);
        self.redis.is_none() && self.fleet.advertise.is_none() && (own_store || !self.uses_registry())
    }

    /// Whether any route goes to the integrated registry.
    pub fn uses_registry(&self) -> bool {
        let ours = |target: &str| target == REGISTRY;
        self.route.iter().any(|route| ours(&route.read) || route.write.as_deref().is_some_and(ours))
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
    /// `"cluster.NAME"` or `"registry"`.
    pub read: String,
    /// `"cluster.NAME"` or `"registry"`. Left out: pushes are refused with 405.
    pub write: Option<String>,
}

fn everything() -> String {
    "**".into()
}
