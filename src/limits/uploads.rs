//! Uploads under way, by client. Only who has one is in the table, so it is no larger than the requests under way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

pub(super) struct Uploads {
    most: u32,
    under_way: Arc<Mutex<HashMap<u64, u32>>>,
}

/// One upload under way.
#[derive(Debug)]
pub struct Place {
    key: u64,
    under_way: Arc<Mutex<HashMap<u64, u32>>>,
}

impl Uploads {
    pub(super) fn new(most: u32) -> Self {
        Uploads { most, under_way: Arc::default() }
    }

    /// `None`: the client has as many as it may.
    pub(super) fn begin(&self, key: u64) -> Option<Place> {
        let mut under_way = self.under_way.lock();
        let count = under_way.get(&key).copied().unwrap_or_default();
        if count >= self.most {
            return None;
        }
        under_way.insert(key, count + 1);
        Some(Place { key, under_way: self.under_way.clone() })
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.under_way.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.under_way.lock().entry(self.key) {
            match *count.get() {
                0 | 1 => {
                    count.remove();
                }
                more => *count.get_mut() = more - 1,
            }
        }
    }
}
