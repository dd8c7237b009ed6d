//! What storage holds, and where each process stands.

use super::collector::Collector;
use super::reader::Reader;
use super::setup::{BLOBS, Beginning, COLLECTORS, COPIES, REPOSITORIES, Setup, Store, WRITERS};
use super::writer::{EpochRead, Writer};

/// Units of time since something happened, up to `Setup::oldest`.
pub type Age = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Buried {
    #[default]
    None,
    /// Nobody has written down since when it is there.
    Unrecorded,
    Since(Age),
}

/// A manifest that names the first blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Manifest {
    #[default]
    None,
    Written,
    /// Its client has its 201.
    Acknowledged,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Epoch {
    /// No file.
    #[default]
    Lost,
    Even,
    Odd,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct World {
    pub place: [Option<Age>; BLOBS],
    pub trash: [[Buried; COPIES]; BLOBS],
    /// Since when nobody links it, as collections wrote down.
    pub unlinked: [Option<Age>; BLOBS],
    pub links: [[Option<Age>; BLOBS]; REPOSITORIES],
    /// By writer.
    pub manifests: [Manifest; WRITERS],
    pub epoch: Epoch,
    /// DELETEs that had no answer, and may be executed yet.
    pub late_place: [Option<Age>; BLOBS],
    pub late_link: [[Option<Age>; BLOBS]; REPOSITORIES],
    pub late_trash: [Option<Age>; BLOBS],
    pub writers: [Writer; WRITERS],
    pub reader: Reader,
    pub collectors: [Collector; COLLECTORS],
    /// How many collections may begin yet.
    pub runs: u8,
}

/// A step that can be taken: whose, what, and what is then; or what is wrong with it.
pub struct Step {
    pub who: &'static str,
    pub what: &'static str,
    pub then: World,
    pub wrong: Option<&'static str>,
}

pub fn bits(set: u8, bit: usize) -> bool {
    set >> bit & 1 == 1
}

impl World {
    pub fn new(setup: &Setup) -> World {
        let mut world = World { runs: setup.runs, ..World::default() };
        let old = setup.oldest();
        for blob in 0..setup.blobs {
            match setup.beginning {
                Beginning::Empty => {}
                Beginning::Orphan => (world.place[blob], world.links[0][blob]) = (Some(old), Some(old)),
                Beginning::Unlinked => (world.place[blob], world.unlinked[blob]) = (Some(old), Some(old)),
                Beginning::Trashed => world.trash[blob][0] = Buried::Since(0),
            }
        }
        world
    }

    pub fn linked(&self, repository: usize, blob: usize) -> bool {
        self.links[repository][blob].is_some()
    }

    pub fn in_trash(&self, blob: usize) -> bool {
        self.trash[blob].iter().any(|copy| *copy != Buried::None)
    }

    /// What the manifests of a repository name, directly.
    pub fn named(&self, setup: &Setup, repository: usize) -> u8 {
        let names = |writer: usize| {
            self.manifests[writer] != Manifest::None
                && setup.writers[writer].is_some_and(|pusher| pusher.repository == repository)
        };
        u8::from((0..WRITERS).any(names))
    }

    /// Whether somebody was told of a manifest that it is there.
    pub fn acknowledged(&self) -> bool {
        self.manifests.contains(&Manifest::Acknowledged)
    }

    /// Brings a blob back from the trash, in one step. False: there is nothing.
    pub fn rescue(&mut self, setup: &Setup, blob: usize) -> bool {
        let Some(copy) = (0..COPIES).find(|copy| self.trash[blob][*copy] != Buried::None) else { return false };
        if setup.store == Store::PlainDisk && self.place[blob].is_none() {
            self.free(setup, blob, copy);
        }
        self.place[blob] = Some(0);
        true
    }

    /// A copy in the trash is gone; whoever meant it by its own name means nothing any more.
    pub fn free(&mut self, setup: &Setup, blob: usize, copy: usize) {
        self.trash[blob][copy] = Buried::None;
        if setup.design.own_names {
            self.collectors.iter_mut().for_each(|collector| collector.forget_copy(blob, copy));
        }
    }

    /// Bytes leave their place for the trash in one step; false where the model has no room for another copy.
    pub fn bury(&mut self, setup: &Setup, blob: usize, collector: usize) -> bool {
        let room = if setup.design.own_names {
            (0..COPIES).find(|copy| self.trash[blob][*copy] == Buried::None)
        } else {
            Some(0)
        };
        let Some(copy) = room else { return false };
        if self.trash[blob][copy] == Buried::None {
            self.trash[blob][copy] = Buried::Unrecorded;
        }
        self.collectors[collector].moved_to(blob, copy);
        true
    }

    pub fn write_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        for writer in &mut self.writers {
            if matches!(writer.epoch, EpochRead::Even | EpochRead::Odd) {
                writer.epoch = EpochRead::Past;
            }
        }
    }

    /// What is wrong with the world as it is.
    pub fn wrong(&self, setup: &Setup) -> Option<&'static str> {
        let gone = |blob: usize| self.place[blob].is_none() && !self.in_trash(blob);
        (self.acknowledged() && (0..setup.blobs).any(gone)).then_some(GONE)
    }

    /// A unit of time passes, unless somebody who may not wait so long has something to do before.
    pub fn tick(&self, setup: &Setup) -> Option<World> {
        let late = |age: &Option<Age>| age.is_some_and(|age| age + 1 >= setup.times.late);
        let deletes = self.late_place.iter().chain(&self.late_trash).chain(self.late_link.iter().flatten());
        if deletes.into_iter().any(late) || self.writers.iter().any(|writer| writer.hurries(setup)) {
            return None;
        }
        // A pull takes no time that counts.
        if self.reader != Reader::Idle {
            return None;
        }
        let mut next = *self;
        let older = |age: &mut Age| *age = age.saturating_add(1).min(setup.oldest());
        let ages = next.place.iter_mut().chain(&mut next.unlinked).chain(next.links.iter_mut().flatten());
        ages.chain(&mut next.late_place)
            .chain(&mut next.late_trash)
            .chain(next.late_link.iter_mut().flatten())
            .flatten()
            .for_each(older);
        for copy in next.trash.iter_mut().flatten() {
            if let Buried::Since(age) = copy {
                older(age);
            }
        }
        next.writers.iter_mut().for_each(|writer| writer.tick(setup));
        next.collectors.iter_mut().for_each(|collector| collector.tick(setup));
        Some(next)
    }

    /// A DELETE that had no answer is executed.
    pub fn late(&self, setup: &Setup, steps: &mut Vec<Step>) {
        let mut push = |what, then| steps.push(Step { who: "store", what, then, wrong: None });
        for blob in 0..setup.blobs {
            if self.late_place[blob].is_some() {
                let mut then = *self;
                (then.place[blob], then.late_place[blob]) = (None, None);
                push("executes a DELETE of bytes, late", then);
            }
            if self.late_trash[blob].is_some() {
                let mut then = *self;
                then.late_trash[blob] = None;
                then.free(setup, blob, 0);
                push("executes a DELETE of a copy in the trash, late", then);
            }
            for repository in 0..setup.repositories {
                if self.late_link[repository][blob].is_some() {
                    let mut then = *self;
                    (then.links[repository][blob], then.late_link[repository][blob]) = (None, None);
                    push("executes a DELETE of a link, late", then);
                }
            }
        }
    }
}

/// Bytes of an acknowledged manifest are neither in their place nor in the trash.
pub const GONE: &str = "an acknowledged manifest names bytes that are gone for good";
/// A pull of an acknowledged manifest was told that something is not there.
pub const NOT_PULLED: &str = "an acknowledged manifest is not pulled";
/// Bytes were moved that an acknowledged manifest had named since before the look.
pub const MOVED_IN_USE: &str = "bytes are moved that an acknowledged manifest named before the look";
