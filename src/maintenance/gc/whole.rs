//! What of a repository can come back to its end: a manifest only with all that it names and that was taken, so that nobody is served an
//! image without its layers.
//!
//! As where links are healed (`heal`), what a manifest names and never was taken from the repository keeps nothing away: content of other
//! places, platforms that were never pushed. Nor does what it is about.

use std::collections::{BTreeSet, HashMap};

use super::undelete::{bytes_of, has_bytes};
use crate::maintenance::journal::{Kind, Taken};
use crate::oci::manifest::named::named;
use crate::oci::{Digest, Manifest};
use crate::storage::{Error, Storage};

/// What is known of the lines of one repository that shall come back.
#[derive(Debug, Default)]
pub struct Whole {
    /// Which of the manifests name something.
    parents: HashMap<Digest, Vec<Digest>>,
    /// Cannot come back; or is linked yet, and lacks something that cannot.
    gone: BTreeSet<Digest>,
    /// Of each manifest, how many others have to come before it.
    places: HashMap<Digest, usize>,
}

/// What it cannot be pulled without, and what it lists: a digest in an annotation keeps nothing away. Of other kinds, all that is named.
fn below(bytes: &[u8]) -> Vec<Digest> {
    let manifest = Manifest::parse(bytes).unwrap_or_default();
    let listed = manifest.needed().chain(manifest.manifests.iter().flatten());
    let mut below: Vec<Digest> = listed.filter_map(|one| one.digest.parse().ok()).collect();
    if below.is_empty() {
        let named = named(bytes).unwrap_or_default();
        below = named.digests.into_iter().filter(|digest| named.subject != Some(*digest)).collect();
    }
    below.sort_unstable();
    below.dedup();
    below
}

impl Whole {
    /// Asks storage, and changes nothing that any client sees.
    pub async fn of(storage: &Storage, lines: &[Taken]) -> Result<Self, Error> {
        let mut whole = Whole::default();
        let (mut lost, mut names) = (Vec::new(), HashMap::new());
        for line in lines.iter().filter(|line| matches!(line.kind, Kind::Layer | Kind::Manifest)) {
            if !has_bytes(storage, line).await? {
                lost.push(line.digest);
            }
            if line.kind == Kind::Manifest {
                let below = bytes_of(storage, line).await?.map(|bytes| below(&bytes)).unwrap_or_default();
                names.insert(line.digest, below);
            }
        }
        whole.sort(&names);
        lost.into_iter().for_each(|digest| whole.fails(digest));
        Ok(whole)
    }

    /// What is named comes before what names it.
    fn sort(&mut self, names: &HashMap<Digest, Vec<Digest>>) {
        let mut waits: HashMap<Digest, usize> = HashMap::new();
        for (manifest, below) in names {
            waits.insert(*manifest, below.iter().filter(|digest| names.contains_key(*digest)).count());
            below.iter().for_each(|digest| self.parents.entry(*digest).or_default().push(*manifest));
        }
        let mut ready: Vec<Digest> =
            waits.iter().filter(|(_, waits)| **waits == 0).map(|(manifest, _)| *manifest).collect();
        while let Some(manifest) = ready.pop() {
            self.places.insert(manifest, self.places.len());
            for parent in self.parents.get(&manifest).into_iter().flatten() {
                let Some(left) = waits.get_mut(parent) else { continue };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(*parent);
                }
            }
        }
    }

    /// In this order manifests are written.
    pub fn place(&self, digest: &Digest) -> usize {
        self.places.get(digest).copied().unwrap_or(usize::MAX)
    }

    /// It cannot come back, and neither can what names it.
    pub fn fails(&mut self, digest: Digest) {
        let mut waiting = vec![digest];
        while let Some(digest) = waiting.pop() {
            if self.gone.insert(digest) {
                waiting.extend(self.parents.get(&digest).into_iter().flatten());
            }
        }
    }

    /// Whether there is a use in linking a blob or a manifest: not in one of which only manifests would have it that do not come back.
    pub fn comes(&self, line: &Taken) -> bool {
        if self.gone.contains(&line.digest) {
            return false;
        }
        let parents = self.parents.get(&line.digest).map_or(&[][..], Vec::as_slice);
        line.kind != Kind::Layer || parents.is_empty() || parents.iter().any(|parent| !self.gone.contains(parent))
    }

    pub fn is_gone(&self, digest: &Digest) -> bool {
        self.gone.contains(digest)
    }

    /// What is told as gone for good.
    pub fn into_gone(self) -> BTreeSet<Digest> {
        self.gone
    }
}
