//! What is left when everybody is done: collections run, time passes, and then all that was acknowledged is in its place and
//! linked, and where no manifest is left, nothing else is.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::collector;
use super::search::Quick;
use super::setup::Setup;
use super::world::{Manifest, World};
use super::writer::{At, Writer};

/// Collections until nothing changes any more: one condemns, one finds it unlinked, one moves, one deletes.
const COLLECTIONS: usize = 6;

/// What is in storage, which was looked at already.
#[derive(Default)]
pub struct Settled(HashSet<World, BuildHasherDefault<Quick>>);

pub const NOT_IN_PLACE: &str = "after quiet collections an acknowledged manifest's bytes are not in their place";
pub const NOT_LINKED: &str = "after quiet collections an acknowledged manifest's bytes have no link";
pub const GARBAGE: &str = "after quiet collections something is left that nobody needs";

impl Settled {
    /// Only of worlds in which no push is under way.
    pub fn wrong(&mut self, world: &World, setup: &Setup) -> Option<&'static str> {
        let quiet = |writer: &Writer| matches!(writer.at, At::Head | At::Done);
        if !world.writers.iter().all(quiet) {
            return None;
        }
        let mut left = World {
            writers: Default::default(),
            collectors: Default::default(),
            reader: Default::default(),
            runs: 255,
            ..*world
        };
        if !self.0.insert(left) {
            return None;
        }
        left.late_place.iter_mut().zip(&mut left.place).for_each(executed);
        left.late_link.iter_mut().flatten().zip(left.links.iter_mut().flatten()).for_each(executed);
        for blob in 0..setup.blobs {
            if left.late_trash[blob].take().is_some() {
                left.free(setup, blob, 0);
            }
        }
        let quiet = Setup { kills: false, late_deletes: false, skew: 0, ..*setup };
        for _ in 0..COLLECTIONS {
            (0..=setup.oldest()).for_each(|_| left = left.tick(&quiet).unwrap_or(left));
            left = collected(left, &quiet);
        }
        judge(&left, setup)
    }
}

fn executed((late, what): (&mut Option<u8>, &mut Option<u8>)) {
    if late.take().is_some() {
        *what = None;
    }
}

/// One collection from beginning to end, alone.
fn collected(mut world: World, setup: &Setup) -> World {
    let mut steps = Vec::new();
    loop {
        collector::steps(&world, setup, 0, &mut steps);
        let Some(step) = steps.drain(..).next() else { return world };
        world = step.then;
        if world.collectors[0].at == collector::At::Idle {
            return world;
        }
    }
}

fn judge(world: &World, setup: &Setup) -> Option<&'static str> {
    for (writer, manifest) in world.manifests.iter().enumerate() {
        let (Manifest::Acknowledged, Some(pusher)) = (manifest, setup.writers[writer]) else { continue };
        for blob in 0..setup.blobs {
            if world.place[blob].is_none() {
                return Some(NOT_IN_PLACE);
            }
            if !world.linked(pusher.repository, blob) {
                return Some(NOT_LINKED);
            }
        }
    }
    let left = (0..setup.blobs).any(|blob| {
        world.place[blob].is_some() || world.in_trash(blob) || (0..setup.repositories).any(|at| world.linked(at, blob))
    });
    let unnamed = world.manifests.iter().all(|manifest| *manifest == Manifest::None);
    (unnamed && left).then_some(GARBAGE)
}
