//! Contents that are worth something together only, such as the layers of an image: who knows of them is asked before one goes.

use crate::oci::Digest;

/// Whoever knows which contents belong together. Asked while the disk tier's books are locked: must answer at once, and not come back
/// to the cache.
pub trait Groups: Send + Sync + 'static {
    /// Room is needed, and `victim` would leave by itself. What leaves instead of it, which may be other contents alone; they are
    /// forgotten as a group by now. Empty: it belongs to none, and leaves.
    fn leaving(&self, victim: &Digest) -> Vec<Digest>;
}
