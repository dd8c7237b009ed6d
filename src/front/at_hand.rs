//! Content in memory that may be given at once: the permission is remembered, and nobody has to be asked. Whatever is not so
//! plain takes the long way of `blob` and `manifest`, which says the same.

use std::sync::Arc;

use super::Front;
use crate::cache::InMemory;
use crate::cluster::Cluster;
use crate::cluster::config::{Permission, VerdictBy};
use crate::oci::{Digest, RepositoryName};
use crate::verdicts::PermissionResult;

/// Content that a client asks of a cluster, by digest.
pub struct Asked<'a> {
    pub cluster: &'a Arc<Cluster>,
    /// In lower case, without a port.
    pub host: &'a str,
    pub authorization: Option<&'a [u8]>,
    pub repository: &'a RepositoryName,
    pub digest: &'a Digest,
    pub as_manifest: bool,
}

impl Front {
    /// What is asked for, if this client may have it by what the peers said before, and it is in memory. Permission first.
    pub fn at_hand(&self, asked: &Asked<'_>) -> Option<InMemory> {
        let config = asked.cluster.config();
        // Answers that speak for silent peers say so; verdicts by address need to know who the client is.
        if config.verdict_by != VerdictBy::Credential || asked.cluster.is_silent() {
            return None;
        }
        let verdicts = &self.verdicts;
        let jurisdiction = verdicts.jurisdiction(asked.cluster.name(), Some(asked.host));
        let holding = match asked.as_manifest {
            true => self.holding_manifests(asked.cluster, asked.host, None),
            false => jurisdiction,
        };
        let may_read = config.permission == Permission::Public || {
            let credential = verdicts.credential(asked.cluster.told(asked.authorization));
            verdicts.may_read(&jurisdiction, &credential, asked.repository, config.verdict_ttl.0)
        };
        if !may_read || !verdicts.holds(&holding, asked.repository, asked.digest, Some(config.holds_ttl.0)) {
            return None;
        }
        let content = self.cache.in_memory(asked.digest)?;
        verdicts.metrics().permission(PermissionResult::Remembered);
        Some(content)
    }
}
