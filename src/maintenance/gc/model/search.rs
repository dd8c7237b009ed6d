//! All orders of steps, breadth first, so that what is found first is a shortest way to it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::setup::{COLLECTORS, Setup, WRITERS};
use super::world::{Manifest, Step, World};
use super::{collector, reader, settle, writer};

/// What a search came to.
#[derive(Debug)]
pub struct Found {
    pub worlds: usize,
    pub steps: usize,
    /// What was wrong first, and the way to it.
    pub wrong: Option<(&'static str, Vec<String>)>,
}

/// More worlds than any search here has; a bound for those who change the model.
const WORLDS: usize = 8_000_000;

/// Every step that can be taken.
pub fn steps(world: &World, setup: &Setup, steps: &mut Vec<Step>) {
    (0..WRITERS).for_each(|which| writer::steps(world, setup, which, steps));
    reader::steps(world, setup, steps);
    (0..setup.collectors.min(COLLECTORS)).for_each(|which| collector::steps(world, setup, which, steps));
    world.late(setup, steps);
    let mut push = |who, what, then| steps.push(Step { who, what, then, wrong: None });
    if let Some(then) = world.tick(setup).filter(|then| then != world) {
        push("time", "passes", then);
    }
    for which in 0..WRITERS {
        if setup.deletions && world.manifests[which] != Manifest::None {
            let mut then = *world;
            then.manifests[which] = Manifest::None;
            then.collectors.iter_mut().for_each(collector::Collector::owes_nothing);
            if then.writers[which].at == writer::At::Done {
                then.writers[which].at = writer::At::Head;
            }
            push("somebody", "deletes a manifest", then);
        }
    }
    if setup.epoch_lost && world.epoch != super::world::Epoch::Lost {
        let mut then = *world;
        then.write_epoch(super::world::Epoch::Lost);
        push("somebody", "loses the epoch", then);
    }
}

/// Goes through everything that can happen.
pub fn search(setup: &Setup) -> Found {
    let mut seen: HashMap<World, (u32, u8), BuildHasherDefault<Quick>> = HashMap::default();
    let mut worlds = vec![World::new(setup)];
    let mut settled = settle::Settled::default();
    seen.insert(worlds[0], (0, 0));
    let (mut next, mut taken, mut steps_of) = (0, 0, Vec::new());
    while next < worlds.len() {
        let world = worlds[next];
        let wrong = world.wrong(setup).or_else(|| settled.wrong(&world, setup));
        if let Some(wrong) = wrong {
            let way = way(setup, &worlds, &seen, next);
            return Found { worlds: worlds.len(), steps: taken, wrong: Some((wrong, way)) };
        }
        steps(&world, setup, &mut steps_of);
        for (index, step) in steps_of.drain(..).enumerate() {
            taken += 1;
            if let Some(wrong) = step.wrong {
                let mut way = way(setup, &worlds, &seen, next);
                way.push(format!("{} {}", step.who, step.what));
                return Found { worlds: worlds.len(), steps: taken, wrong: Some((wrong, way)) };
            }
            seen.entry(step.then).or_insert_with(|| {
                worlds.push(step.then);
                (next as u32, index as u8)
            });
        }
        assert!(worlds.len() < WORLDS, "the model has grown beyond what can be searched");
        next += 1;
    }
    Found { worlds: worlds.len(), steps: taken, wrong: None }
}

/// The steps from the beginning to a world.
fn way(
    setup: &Setup,
    worlds: &[World],
    seen: &HashMap<World, (u32, u8), BuildHasherDefault<Quick>>,
    mut to: usize,
) -> Vec<String> {
    let mut way = Vec::new();
    let mut all = Vec::new();
    while to != 0 {
        let (from, index) = seen[&worlds[to]];
        all.clear();
        steps(&worlds[from as usize], setup, &mut all);
        let step = &all[usize::from(index)];
        way.push(format!("{} {}", step.who, step.what));
        to = from as usize;
    }
    way.reverse();
    way
}

/// Quick even where nothing is optimised; worlds come from nobody who would make them collide.
#[derive(Default)]
pub struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        // No iterator: it is most of what a search does.
        let mut at = 0;
        while at < bytes.len() {
            self.0 = (self.0 ^ bytes[at] as u64).wrapping_mul(FACTOR);
            at += 1;
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0 ^ byte as u64).wrapping_mul(FACTOR);
    }

    fn write_i8(&mut self, byte: i8) {
        self.0 = (self.0 ^ byte as u64).wrapping_mul(FACTOR);
    }

    /// What kind of value follows.
    fn write_isize(&mut self, number: isize) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(FACTOR);
    }

    /// How many follow: as many as ever.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        (self.0 ^ self.0 >> 32).wrapping_mul(FACTOR)
    }
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
