//! Where files are. The whole tree:
//!
//! | path | what |
//! |---|---|
//! | `blobs/<algorithm>/<first two hex digits>/<hex>` | one content and its trailer |
//! | `fills/<process>-<number>` | a download under way; whatever is left there at start is removed |
//! | `fills/.lock` | held locked while an entrepot uses the folder |
//! | `index` | the eviction order as last saved; only a hint |

use std::path::{Path, PathBuf};

use crate::oci::Digest;

pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Layout { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.blobs();
        path.push(digest.algorithm().name());
        path.push(&hex[..2]); // a hash has at least 64 digits
        path.push(hex);
        path
    }

    pub(super) fn fills(&self) -> PathBuf {
        self.root.join("fills")
    }

    pub(super) fn fill(&self, number: u64) -> PathBuf {
        self.fills().join(format!("{}-{number}", std::process::id()))
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.fills().join(".lock")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }
}
