//! Repositories whose first manifest is being pushed. Another push finds such a repository there, but whether any catalog will
//! be told of it is not certain yet: so both tell.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::oci::RepositoryName;

/// How many pushes are bringing each.
#[derive(Default)]
pub(super) struct Arriving(Mutex<HashMap<RepositoryName, usize>>);

/// One push; until it is dropped.
pub(super) struct Arrival<'a> {
    all: &'a Arriving,
    name: RepositoryName,
}

impl Arriving {
    pub(super) fn begin(&self, name: &RepositoryName) -> Arrival<'_> {
        *self.0.lock().entry(name.clone()).or_default() += 1;
        Arrival { all: self, name: name.clone() }
    }

    pub(super) fn has(&self, name: &RepositoryName) -> bool {
        self.0.lock().contains_key(name)
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(count) = all.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_arrives_until_the_last_push_of_it_has_ended() {
        let (all, name): (Arriving, RepositoryName) = (Arriving::default(), "a".parse().unwrap());
        let (one, other) = (all.begin(&name), all.begin(&name));
        drop(one);
        assert!(all.has(&name));
        drop(other);
        assert!(!all.has(&name));
    }
}
