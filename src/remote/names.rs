//! What a remote's repositories are called: there, and here.

use crate::oci::RepositoryName;

/// The names of one remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteNames {
    /// In lower case: what `?ns=` may say, the first one is `registry`.
    pub namespaces: Vec<String>,
    /// First component(s) of canonical names, without a slash at the end.
    pub path: String,
    /// Docker Hub: a name of one component stands below `library/`.
    pub library: bool,
}

impl RemoteNames {
    /// By `registry` and `path` of the configuration.
    pub fn new(registry: &str, path: Option<&str>) -> Self {
        let registry = registry.to_ascii_lowercase();
        let hub = matches!(registry.as_str(), "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let without_port = registry.split(':').next().unwrap_or_default().to_owned();
        let path = path.map_or(without_port, str::to_owned);
        let namespaces = match hub {
            true => ["docker.io", "index.docker.io", "registry-1.docker.io"].map(str::to_owned).to_vec(),
            false => vec![registry],
        };
        RemoteNames { namespaces, path, library: hub }
    }

    /// The canonical name here of what the remote calls `name`; `None`: it would be too long.
    pub fn canonical(&self, name: &RepositoryName) -> Option<RepositoryName> {
        let library = if self.library && !name.as_str().contains('/') { "library/" } else { "" };
        format!("{}/{library}{name}", self.path).parse().ok()
    }

    /// What the remote calls a canonical name; `None`: it is no name of this remote's.
    pub fn at_remote(&self, canonical: &RepositoryName) -> Option<RepositoryName> {
        canonical.as_str().strip_prefix(&self.path)?.strip_prefix('/')?.parse().ok()
    }

    pub fn is_called(&self, ns: &str) -> bool {
        self.namespaces.iter().any(|known| known.eq_ignore_ascii_case(ns))
    }
}
