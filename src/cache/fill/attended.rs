//! Who waits for a fill or reads it: while there is one such handle, the fill goes on; after the last, its origins are asked.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Fill;

/// A fill, by one who wants it. The first one of each is made under the lock of the table, so that a fill that is given up is joined by
/// nobody.
pub(in crate::cache) struct Attended(Arc<Fill>);

impl Attended {
    pub(super) fn new(fill: &Arc<Fill>) -> Self {
        fill.attending.fetch_add(1, Ordering::SeqCst);
        Attended(fill.clone())
    }
}

impl Deref for Attended {
    type Target = Arc<Fill>;

    fn deref(&self) -> &Arc<Fill> {
        &self.0
    }
}

impl Clone for Attended {
    fn clone(&self) -> Self {
        Attended::new(&self.0)
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        if self.0.attending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.deserted.notify_one();
        }
    }
}
