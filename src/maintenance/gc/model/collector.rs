//! A collection: mark and condemn, write down what nobody links, look, move, look again, delete for good.

use super::setup::{COPIES, Reap, Setup, Store};
use super::world::{Age, Buried, Epoch, MOVED_IN_USE, Step, World, bits};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum At {
    #[default]
    Idle,
    /// Lists the links of a repository, then its manifests.
    Links,
    Manifests,
    /// Deletes the condemned links, lists the manifests once more, writes again what one came for.
    Condemn,
    ManifestsAgain,
    LinkAgain,
    /// Goes through what is in place and in the trash.
    Shard,
    EpochOdd,
    LookLinks,
    LookManifests,
    Act,
    /// The copy is made, the bytes are to be deleted.
    Delete,
    Record,
    LastLookLinks,
    LastLookManifests,
    ActLast,
    EpochEven,
}

/// Sets are bits: of blobs, or (in `due_copies`, `mine`) of copies of blobs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Collector {
    pub at: At,
    repository: u8,
    blob: u8,
    copy: u8,
    /// By how much it measures ages too high.
    skew: i8,
    /// Of the repository that it is at.
    listed: u8,
    old: u8,
    condemned: u8,
    /// Linked or named in any repository so far.
    marked: u8,
    due: u8,
    due_copies: u8,
    /// Moved in this run, with every DELETE answered.
    mine: u8,
    hits: u8,
    /// Named by a manifest of the first, second repository, and not linked there.
    unhealed: [u8; 2],
    /// Named by an acknowledged manifest when the look began.
    owed: bool,
    looked: Age,
    /// A DELETE of these bytes had no answer.
    unclear: bool,
}

impl Collector {
    pub fn tick(&mut self, setup: &Setup) {
        let counts = setup.store == Store::Object || !setup.design.time_after_move;
        if counts && matches!(self.at, At::LookLinks | At::LookManifests | At::Act | At::Delete | At::Record) {
            self.looked = self.looked.saturating_add(1).min(setup.oldest());
        }
    }

    pub fn forget_copy(&mut self, blob: usize, copy: usize) {
        self.due_copies &= !copy_bit(blob, copy);
        self.mine &= !copy_bit(blob, copy);
    }

    pub fn moved_to(&mut self, blob: usize, copy: usize) {
        self.copy = copy as u8;
        self.mine |= copy_bit(blob, copy);
    }

    /// What it does without storage belongs to the step before; false: nothing.
    fn goes_on(&mut self, setup: &Setup) -> bool {
        let repository = usize::from(self.repository);
        let last = repository + 1 == setup.repositories;
        let done = usize::from(self.blob) >= setup.blobs;
        let now = setup.design.reap == Reap::Now && self.mine != 0;
        let next = match self.at {
            At::Condemn if self.condemned == 0 => At::LinkAgain,
            At::Condemn if self.listed & self.condemned == 0 => At::ManifestsAgain,
            At::LinkAgain if self.unhealed[repository] == 0 => {
                self.repository = if last { 0 } else { self.repository + 1 };
                (self.listed, self.old, self.condemned) = (0, 0, 0);
                if last { At::Shard } else { At::Links }
            }
            At::Act if !done && !bits(self.due, self.blob.into()) && self.copies() == 0 => {
                self.blob += 1;
                At::Act
            }
            At::Act if done => {
                (self.hits, self.unhealed, self.blob) = (0, [0; 2], 0);
                match (now, setup.design.last_look) {
                    (true, true) => At::LastLookLinks,
                    (true, false) => At::ActLast,
                    (false, _) => At::EpochEven,
                }
            }
            At::ActLast if done => At::EpochEven,
            At::ActLast if self.mine >> (self.blob as usize * COPIES) & 0b11 == 0 => {
                self.blob += 1;
                At::ActLast
            }
            _ => return false,
        };
        self.at = next;
        true
    }

    /// Copies of the blob that it is at, which are due.
    fn copies(&self) -> u8 {
        self.due_copies >> (usize::from(self.blob) * COPIES) & 0b11
    }

    /// A manifest was deleted: nobody has a claim that its bytes stay where they are.
    pub fn owes_nothing(&mut self) {
        self.owed = false;
    }

    fn old(&self, age: Age, than: u8) -> bool {
        i16::from(age) + i16::from(self.skew) >= i16::from(than)
    }
}

fn copy_bit(blob: usize, copy: usize) -> u8 {
    1 << (blob * COPIES + copy)
}

/// Collects the steps of one collector.
struct Steps<'a> {
    world: &'a World,
    setup: &'a Setup,
    which: usize,
    steps: &'a mut Vec<Step>,
}

pub fn steps(world: &World, setup: &Setup, which: usize, steps: &mut Vec<Step>) {
    let at = world.collectors[which].at;
    let mut taken = Steps { world, setup, which, steps };
    if setup.kills && at != At::Idle {
        taken.push("is killed", |world, which| world.collectors[which] = Collector::default());
    }
    match at {
        At::Idle => taken.begin(),
        At::Links => taken.links(),
        At::Manifests => taken.manifests(),
        At::Condemn => taken.condemn(),
        At::ManifestsAgain => taken.manifests_again(),
        At::LinkAgain => taken.link_again(),
        At::Shard => taken.shard(),
        At::EpochOdd => taken.epoch_odd(),
        At::LookLinks | At::LastLookLinks => taken.look_links(),
        At::LookManifests | At::LastLookManifests => taken.look_manifests(),
        At::Act => taken.act(),
        At::Delete => taken.delete(),
        At::Record => taken.record(),
        At::ActLast => taken.act_last(),
        At::EpochEven => taken.push("writes an even epoch, and is done", |world, which| {
            world.write_epoch(Epoch::Even);
            world.collectors[which] = Collector::default();
        }),
    }
}

impl Steps<'_> {
    fn mine(&self) -> Collector {
        self.world.collectors[self.which]
    }

    fn push(&mut self, what: &'static str, change: impl FnOnce(&mut World, usize)) {
        self.push_wrong(what, None, change);
    }

    fn push_wrong(&mut self, what: &'static str, wrong: Option<&'static str>, change: impl FnOnce(&mut World, usize)) {
        let mut then = *self.world;
        change(&mut then, self.which);
        while then.collectors[self.which].goes_on(self.setup) {}
        self.steps.push(Step { who: ["collector 1", "collector 2"][self.which], what, then, wrong });
    }

    /// Goes on to `at`, with what `change` makes of it.
    fn to(&mut self, what: &'static str, at: At, change: impl FnOnce(&mut Collector)) {
        self.push(what, |world, which| {
            let collector = &mut world.collectors[which];
            collector.at = at;
            change(collector);
        });
    }

    fn begin(&mut self) {
        let skew = self.setup.skew as i8;
        for (skew, what) in
            [(0, "begins"), (skew, "begins, and its ages are too high"), (-skew, "begins, and its ages are too low")]
        {
            if self.world.runs == 0 || skew == 0 && what != "begins" {
                continue;
            }
            self.push(what, |world, which| {
                world.runs -= u8::from(world.runs < u8::MAX);
                (world.collectors[which].at, world.collectors[which].skew) = (At::Links, skew);
            });
        }
    }

    fn links(&mut self) {
        let mine = self.mine();
        let links = self.world.links[usize::from(mine.repository)];
        let set = |keep: &dyn Fn(Age) -> bool| {
            (0..self.setup.blobs).filter(|blob| links[*blob].is_some_and(keep)).fold(0, |set, blob| set | 1 << blob)
        };
        let grace = self.setup.times.grace;
        let (listed, old) = (set(&|_| true), set(&|age| mine.old(age, grace)));
        self.to("mark: lists the links of a repository", At::Manifests, |collector| {
            (collector.listed, collector.old) = (listed, old);
        });
    }

    /// What is named in the repository, given the manifests that are there now and the links that were listed:
    /// `kept` are the child manifests that count though nothing names them.
    fn closure(&self, kept: u8, follows: bool) -> u8 {
        let repository = usize::from(self.mine().repository);
        let mut named = self.world.named(self.setup, repository);
        // With two blobs the first is a manifest that names the second.
        let counts = bits(kept, 0) || bits(named, 0) && (follows || bits(self.mine().listed, 0));
        if self.setup.blobs > 1 && counts {
            named |= 0b10;
        }
        named
    }

    fn manifests(&mut self) {
        let mine = self.mine();
        let named = self.closure(mine.listed & !mine.old, true);
        let condemned = mine.old & !named;
        let repository = usize::from(mine.repository);
        self.to("mark: lists its manifests, writes the journal", At::Condemn, |collector| {
            collector.condemned = condemned;
            collector.marked |= mine.listed & !condemned | named;
            collector.unhealed[repository] = named & !mine.listed;
            collector.blob = 0;
        });
    }

    fn condemn(&mut self) {
        let mine = self.mine();
        let repository = usize::from(mine.repository);
        let Some(blob) = (0..self.setup.blobs).find(|blob| bits(mine.listed & mine.condemned, *blob)) else { return };
        self.push("condemn: deletes a link", |world, which| {
            world.links[repository][blob] = None;
            world.collectors[which].listed &= !(1 << blob);
        });
        if self.setup.late_deletes {
            self.push("condemn: deletes a link, has no answer, and tries again", |world, _| {
                world.late_link[repository][blob] = Some(0);
            });
        }
    }

    fn manifests_again(&mut self) {
        let mine = self.mine();
        let named = self.closure(mine.listed & !mine.old, true);
        let repository = usize::from(mine.repository);
        self.to("condemn: lists the manifests once more", At::LinkAgain, |collector| {
            collector.unhealed[repository] |= named & mine.condemned;
            collector.marked |= named;
        });
    }

    fn link_again(&mut self) {
        let repository = usize::from(self.mine().repository);
        self.heals(repository, "condemn: writes a link again that a manifest needs");
    }

    /// Writes one link that a manifest needs, if one is missing: from below, and no child manifest's where something below
    /// it is nowhere, because a link that is there lets the next push believe that all below it is.
    fn heals(&mut self, repository: usize, what: &'static str) -> bool {
        let (unhealed, complete) = (self.mine().unhealed[repository], self.setup.design.heals_complete);
        let blobs = self.setup.blobs;
        let mut needed = (0..blobs).filter(|blob| bits(unhealed, *blob));
        let Some(blob) = (if complete { needed.next_back() } else { needed.next() }) else { return false };
        self.push(what, |world, which| {
            world.collectors[which].unhealed[repository] &= !(1 << blob);
            let there = |blob: usize| world.place[blob].is_some() || world.in_trash(blob);
            if there(blob) && (!complete || (blob..blobs).all(there)) {
                world.links[repository][blob] = world.links[repository][blob].or(Some(0));
            }
        });
        true
    }

    fn shard(&mut self) {
        let (mine, times, setup) = (self.mine(), self.setup.times, self.setup);
        self.push("goes through a shard, and writes down what nobody links", |world, which| {
            for blob in 0..setup.blobs {
                let old = world.place[blob].is_some_and(|age| mine.old(age, times.grace));
                world.unlinked[blob] = match world.unlinked[blob] {
                    _ if bits(mine.marked, blob) => None,
                    None if old => Some(0),
                    since => since,
                };
                let now = setup.design.reap != Reap::Trash && old;
                let due = world.unlinked[blob].is_some_and(|since| now || mine.old(since, times.reap_after));
                if due && world.place[blob].is_some() {
                    world.collectors[which].due |= 1 << blob;
                }
                for copy in 0..COPIES {
                    match world.trash[blob][copy] {
                        Buried::None => {}
                        Buried::Unrecorded => world.trash[blob][copy] = Buried::Since(0),
                        Buried::Since(age) if mine.old(age, times.grace) => {
                            world.collectors[which].due_copies |= copy_bit(blob, copy);
                        }
                        Buried::Since(_) => {}
                    }
                }
            }
            let collector = &mut world.collectors[which];
            if collector.due == 0 && collector.due_copies == 0 {
                *collector = Collector::default();
            } else {
                collector.at = At::EpochOdd;
                (collector.marked, collector.unhealed) = (0, [0; 2]);
            }
        });
    }

    fn epoch_odd(&mut self) {
        let owed = self.world.acknowledged();
        let look = self.setup.design.look;
        self.push("writes an odd epoch", |world, which| {
            world.write_epoch(Epoch::Odd);
            let collector = &mut world.collectors[which];
            (collector.owed, collector.looked) = (owed, 0);
            collector.at = if look { At::LookLinks } else { At::Act };
        });
    }

    fn look_links(&mut self) {
        let mine = self.mine();
        let links = self.world.links[usize::from(mine.repository)];
        let linked = (0..self.setup.blobs).filter(|blob| links[*blob].is_some()).fold(0, |set, blob| set | 1 << blob);
        let (what, at) = match mine.at {
            At::LookLinks => ("look: lists the links of a repository", At::LookManifests),
            _ => ("look after the move: lists the links of a repository", At::LastLookManifests),
        };
        self.to(what, at, |collector| {
            collector.hits |= linked;
            collector.listed = linked;
        });
    }

    fn look_manifests(&mut self) {
        let (mine, design) = (self.mine(), self.setup.design);
        let named = if design.look_reads_manifests { self.closure(mine.listed, design.look_follows) } else { 0 };
        let repository = usize::from(mine.repository);
        let last = repository + 1 == self.setup.repositories;
        let (what, links, act) = match mine.at {
            At::LookManifests => ("look: lists its manifests", At::LookLinks, At::Act),
            _ => ("look after the move: lists its manifests", At::LastLookLinks, At::ActLast),
        };
        self.to(what, if last { act } else { links }, |collector| {
            collector.hits |= named;
            collector.unhealed[repository] = named & !collector.listed;
            collector.repository = if last { 0 } else { collector.repository + 1 };
            (collector.listed, collector.blob) = (0, 0);
        });
    }

    /// What a look found is done: blob by blob.
    fn act(&mut self) {
        let (mine, setup) = (self.mine(), self.setup);
        let blob = usize::from(mine.blob);
        let copies = mine.copies();
        if !bits(mine.due, blob) && copies == 0 {
            return self.to("finds that a copy is gone that was due", At::Act, |_| {});
        }
        if bits(mine.hits, blob) && (setup.design.last_look || copies == 0) {
            return self.used(blob, copies);
        }
        if copies != 0 {
            return self.delete_copy(blob, "deletes a copy from the trash, for good");
        }
        if !self.looks_anew() {
            self.moves(blob);
        }
    }

    /// A look that is too old to delete by is made anew.
    fn looks_anew(&mut self) -> bool {
        let setup = self.setup;
        let old = self.mine().looked >= setup.times.believed;
        if !(setup.design.look_expires && setup.store == Store::Object && old) {
            return false;
        }
        self.to("does not believe its look any more", At::LookLinks, |collector| {
            (collector.looked, collector.hits, collector.unhealed, collector.repository) = (0, 0, [0; 2], 0);
            (collector.copy, collector.unclear) = (0, false);
        });
        true
    }

    fn not_due(&mut self, blob: usize, what: &'static str) {
        self.push(what, |world, which| world.collectors[which].due &= !(1 << blob));
    }

    /// A look has hit it: links are written again, bytes brought back, and it is forgotten.
    fn used(&mut self, blob: usize, copies: u8) {
        for repository in 0..self.setup.repositories {
            if self.heals(repository, "look: writes a link again that a manifest needs") {
                return;
            }
        }
        let setup = self.setup;
        if self.world.place[blob].is_none() && self.world.in_trash(blob) {
            return self.push("look: brings bytes back", |world, _| {
                world.rescue(setup, blob);
            });
        }
        if copies != 0 && self.world.place[blob].is_some() {
            return self.delete_copy(blob, "deletes a copy of what is used from the trash");
        }
        self.push("forgets that it was not linked", |world, which| {
            world.unlinked[blob] = None;
            let collector = &mut world.collectors[which];
            collector.due &= !(1 << blob);
        });
    }

    fn delete_copy(&mut self, blob: usize, what: &'static str) {
        let mine = self.mine();
        let Some(copy) = (0..COPIES).find(|copy| bits(mine.due_copies, blob * COPIES + copy)) else { return };
        let setup = self.setup;
        self.push(what, |world, which| {
            world.free(setup, blob, copy);
            world.collectors[which].forget_copy(blob, copy);
        });
        if setup.late_deletes && !setup.design.own_names {
            self.push("deletes a copy, has no answer, and tries again", |world, _| world.late_trash[blob] = Some(0));
        }
    }

    fn moves(&mut self, blob: usize) {
        let setup = self.setup;
        if self.world.place[blob].is_none() {
            return self.not_due(blob, "finds nothing to move");
        }
        let wrong = self.in_use();
        match (setup.design.reap, setup.store) {
            (Reap::InPlace, Store::Disk | Store::PlainDisk) => {
                self.push_wrong("deletes bytes in place", wrong, |world, which| {
                    (world.place[blob], world.unlinked[blob]) = (None, None);
                    world.collectors[which].due &= !(1 << blob);
                })
            }
            (Reap::InPlace, Store::Object) => self.to("is about to delete bytes", At::Delete, |_| {}),
            (_, store) => {
                let mut then = *self.world;
                if !then.bury(setup, blob, self.which) {
                    return self.not_due(blob, "has no name for another copy");
                }
                self.push_wrong("moves bytes to the trash", wrong, |world, which| {
                    *world = then;
                    if store == Store::Object {
                        world.collectors[which].at = At::Delete;
                    } else {
                        (world.place[blob], world.unlinked[blob]) = (None, None);
                        world.collectors[which].at = At::Record;
                    }
                });
            }
        }
    }

    /// What nobody may move: it was acknowledged before the look, and is still wanted.
    fn in_use(&self) -> Option<&'static str> {
        (self.mine().owed && self.world.acknowledged()).then_some(MOVED_IN_USE)
    }

    /// An object store: the copy is there, now the bytes go.
    fn delete(&mut self) {
        let setup = self.setup;
        let blob = usize::from(self.mine().blob);
        if self.looks_anew() {
            return;
        }
        self.push("deletes the bytes that it copied", |world, which| {
            (world.place[blob], world.unlinked[blob]) = (None, None);
            world.collectors[which].at = At::Record;
        });
        if setup.late_deletes {
            self.push("deletes the bytes that it copied, and has no answer", |world, which| {
                world.late_place[blob] = Some(0);
                world.collectors[which].unclear = true;
            });
        }
    }

    fn record(&mut self) {
        let (mine, design) = (self.mine(), self.setup.design);
        let (blob, copy) = (usize::from(mine.blob), usize::from(mine.copy));
        if design.reap == Reap::InPlace {
            return self.to("is done with a blob", At::Act, |collector| collector.due &= !(1 << blob));
        }
        let age = if design.time_after_move { 0 } else { mine.looked };
        self.push("writes down when it moved them", |world, which| {
            if world.trash[blob][copy] != Buried::None {
                world.trash[blob][copy] = Buried::Since(age);
            }
            let collector = &mut world.collectors[which];
            if collector.unclear && design.unclear_stays || design.reap != Reap::Now {
                collector.mine &= !copy_bit(blob, copy);
            }
            (collector.unclear, collector.copy) = (false, 0);
            (collector.at, collector.due) = (At::Act, collector.due & !(1 << blob));
        });
    }

    /// `Reap::Now`: what this run moved goes for good, or comes back.
    fn act_last(&mut self) {
        let (mine, setup) = (self.mine(), self.setup);
        let blob = usize::from(mine.blob);
        if mine.mine >> (blob * COPIES) & 0b11 == 0 {
            return self.to("finds that a copy is gone that it moved", At::ActLast, |_| {});
        }
        if bits(mine.hits, blob) {
            for repository in 0..setup.repositories {
                if self.heals(repository, "look after the move: writes a link again") {
                    return;
                }
            }
            return self.push("look after the move: brings bytes back", |world, which| {
                if world.place[blob].is_none() {
                    world.rescue(setup, blob);
                }
                world.collectors[which].mine &= !(0b11 << (blob * COPIES));
                world.collectors[which].blob += 1;
            });
        }
        let Some(copy) = (0..COPIES).find(|copy| bits(mine.mine, blob * COPIES + copy)) else { return };
        self.push("deletes what it moved, for good", |world, which| {
            world.free(setup, blob, copy);
            world.collectors[which].forget_copy(blob, copy);
        });
    }
}
