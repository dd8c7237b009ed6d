//! What changed in the registry. Every verb that writes ends in a [`Change`] for each thing that it changed, and whoever
//! wants to know of changes is a [`Listener`]: counters and the log, and later audit, notifications, collection, replication.
//!
//! A change is told once it is in storage, before its request is answered, and by the instance that made it. What can not
//! be promised: a process that dies between the two, or a request that is given up by its client there, tells nothing; the
//! same request sent again then tells of the same, as a manifest that is not new or a tag that leads where it led. Of a
//! write whose outcome is not known, because storage failed in the midst of it, nothing is told.

use std::fmt;

use crate::auth::Identity;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::telemetry::RequestId;

/// One thing that a request changed in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who asked for it.
    pub actor: Identity,
    /// The request that made it; it may have made others too.
    pub request: RequestId,
    pub repository: RepositoryName,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The repository holds the blob from now on; it may have held it before.
    BlobLinked {
        digest: Digest,
        /// In bytes.
        size: u64,
        /// Mounted instead of sent.
        mounted: Option<MountedFrom>,
    },
    /// Its bytes may stay, for other repositories or until they are collected.
    BlobUnlinked {
        digest: Digest,
    },
    ManifestPushed {
        digest: Digest,
        media_type: String,
        /// In bytes.
        size: u64,
        /// The manifest that it is about.
        subject: Option<Digest>,
        /// The repository did not hold it before.
        new: bool,
    },
    ManifestDeleted {
        digest: Digest,
    },
    /// By a push; `old` is `None` for a new tag, and the same as `new` for a push of what it led to already.
    TagMoved {
        tag: Tag,
        old: Option<Digest>,
        new: Digest,
    },
    /// `old` is `None` if it was not to be read.
    TagDeleted {
        tag: Tag,
        old: Option<Digest>,
    },
}

/// Where a mounted blob was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountedFrom {
    Repository(RepositoryName),
    /// The request named none.
    Anywhere,
}

/// Is told of every change, one after the other, by the request that made it: whoever has more to do than to note it, does
/// that elsewhere, and bounds what waits there.
pub trait Listener: Send + Sync {
    fn changed(&self, change: &Change);
}

/// Writes each change to our own log, at level `debug`.
pub struct Log;

impl Listener for Log {
    fn changed(&self, change: &Change) {
        let Change { actor, request, repository, what } = change;
        tracing::debug!(%actor, %request, %repository, change = what.name(), %what, "the registry has changed");
    }
}

impl What {
    /// Every name that [`What::name`] gives.
    pub const NAMES: [&'static str; 6] =
        ["blob_linked", "blob_unlinked", "manifest_pushed", "manifest_deleted", "tag_moved", "tag_deleted"];

    /// The kind of change, as a word for labels.
    pub fn name(&self) -> &'static str {
        let [blob_linked, blob_unlinked, manifest_pushed, manifest_deleted, tag_moved, tag_deleted] = Self::NAMES;
        match self {
            What::BlobLinked { .. } => blob_linked,
            What::BlobUnlinked { .. } => blob_unlinked,
            What::ManifestPushed { .. } => manifest_pushed,
            What::ManifestDeleted { .. } => manifest_deleted,
            What::TagMoved { .. } => tag_moved,
            What::TagDeleted { .. } => tag_deleted,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::BlobLinked { digest, size, mounted } => {
                write!(f, "blob {digest} of {size} bytes")?;
                match mounted {
                    None => Ok(()),
                    Some(MountedFrom::Repository(from)) => write!(f, ", mounted from {from}"),
                    Some(MountedFrom::Anywhere) => f.write_str(", mounted"),
                }
            }
            What::BlobUnlinked { digest } => write!(f, "blob {digest}"),
            What::ManifestPushed { digest, media_type, size, subject, new } => {
                let new = if *new { "new " } else { "" };
                write!(f, "{new}manifest {digest} of {size} bytes, {media_type}")?;
                subject.map_or(Ok(()), |subject| write!(f, ", about {subject}"))
            }
            What::ManifestDeleted { digest } => write!(f, "manifest {digest}"),
            What::TagMoved { tag, old: Some(old), new } => write!(f, "tag {tag} from {old} to {new}"),
            What::TagMoved { tag, old: None, new } => write!(f, "new tag {tag} to {new}"),
            What::TagDeleted { tag, old: Some(old) } => write!(f, "tag {tag} from {old}"),
            What::TagDeleted { tag, old: None } => write!(f, "tag {tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_tells_its_digests() {
        let [one, two] = ["1", "2"].map(|text| Digest::of(Algorithm::Sha256, text.as_bytes()));
        let (tag, media_type): (Tag, _) = ("v1".parse().unwrap(), "application/x".to_owned());
        let mounted = Some(MountedFrom::Repository("base".parse().unwrap()));
        let kinds = [
            (What::BlobLinked { digest: one, size: 9, mounted }, format!("blob {one} of 9 bytes, mounted from base")),
            (What::BlobUnlinked { digest: one }, format!("blob {one}")),
            (
                What::ManifestPushed { digest: one, media_type, size: 7, subject: Some(two), new: true },
                format!("new manifest {one} of 7 bytes, application/x, about {two}"),
            ),
            (What::ManifestDeleted { digest: one }, format!("manifest {one}")),
            (What::TagMoved { tag: tag.clone(), old: Some(one), new: two }, format!("tag v1 from {one} to {two}")),
            (What::TagDeleted { tag, old: Some(one) }, format!("tag v1 from {one}")),
        ];
        for ((what, text), name) in kinds.iter().zip(What::NAMES) {
            assert_eq!((what.name(), what.to_string()), (name, text.clone()));
        }
    }
}
