//! Pushes: as docker does them with Entrepot, and with distribution.
//!
//! HEAD of the blob → there: left out; else uploaded or mounted → the manifest. A push that is refused begins again.

use super::setup::{Child, Kind, Mind, Pusher, Setup};
use super::world::{Age, Epoch, Manifest, Step, World};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum At {
    #[default]
    Head,
    HeadBytes,
    HeadRescue,
    // The blob's PUT, or a mount.
    BlobEpoch,
    MountLink,
    BlobStat,
    BlobBytes,
    BlobLink,
    BlobEpochAgain,
    BlobStatAgain,
    BlobRescue,
    BlobStatOnceMore,
    // The manifest's PUT.
    Epoch,
    Link,
    Stat,
    Rescue,
    StatOnceMore,
    Write,
    EpochAgain,
    LinkAgain,
    StatAgain,
    RescueAgain,
    StatLast,
    /// The same of what the first blob names, where that is a manifest.
    FollowLink,
    FollowStat,
    FollowRescue,
    FollowStatLast,
    Acknowledge,
    Done,
}

/// What the writer knows of the epoch that it read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum EpochRead {
    #[default]
    None,
    /// There was no file.
    Lost,
    /// What it read is still what is there.
    Even,
    Odd,
    /// It was written anew since.
    Past,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Writer {
    pub at: At,
    pub epoch: EpochRead,
    /// Since the first check of this request.
    pub age: Age,
    /// Of a foreign writer: since when it believes that the repository holds the blob.
    pub believes: Option<Age>,
}

impl Writer {
    pub fn tick(&mut self, setup: &Setup) {
        if self.in_request() || self.at == At::HeadBytes {
            self.age = self.age.saturating_add(1).min(setup.oldest());
        }
        if let Some(age) = &mut self.believes {
            *age = age.saturating_add(1).min(setup.oldest() + setup.times.reap_after);
        }
    }

    fn in_request(&self) -> bool {
        !matches!(self.at, At::Head | At::HeadBytes | At::HeadRescue | At::BlobEpoch | At::Epoch | At::Done)
    }

    /// Between requests it remembers nothing of the epoch.
    fn rests(&mut self) {
        if !self.in_request() && self.at != At::HeadBytes {
            (self.epoch, self.age) = (EpochRead::None, 0);
        }
    }

    /// A foreign request is over before much time has passed. Ours stall as long as they like.
    pub fn hurries(&self, setup: &Setup) -> bool {
        let foreign = self.in_request() && self.epoch == EpochRead::None || self.at == At::HeadBytes;
        foreign && self.age + 1 >= setup.times.request
    }

    fn read_epoch(&mut self, world: Epoch) {
        self.epoch = match world {
            Epoch::Lost => EpochRead::Lost,
            Epoch::Even => EpochRead::Even,
            Epoch::Odd => EpochRead::Odd,
        };
        self.age = 0;
    }

    /// What it does after its last write.
    fn minds(&self, setup: &Setup, now: Epoch) -> Minds {
        let changed = match self.epoch {
            EpochRead::None | EpochRead::Past => true,
            EpochRead::Lost => now != Epoch::Lost,
            EpochRead::Even | EpochRead::Odd => false,
        };
        let odd = now == Epoch::Odd || self.epoch == EpochRead::Odd;
        let long = self.age >= setup.times.believed;
        let again = match setup.design.mind {
            Mind::Epoch => changed || odd || long,
            Mind::EpochOnly => changed || odd,
            Mind::AgeOnly => long,
            Mind::Marker => now == Epoch::Odd,
            Mind::Refuse if now == Epoch::Odd => return Minds::Refuses,
            Mind::Refuse => changed || odd || long,
            Mind::Nothing => false,
        };
        if again { Minds::LooksAgain } else { Minds::Believes }
    }
}

enum Minds {
    Believes,
    LooksAgain,
    Refuses,
}

/// The next step of a writer; there is one at most.
pub fn steps(world: &World, setup: &Setup, which: usize, steps: &mut Vec<Step>) {
    let Some(pusher) = setup.writers[which] else { return };
    let mut then = *world;
    let what = match pusher.kind {
        Kind::Ours => ours(&mut then, setup, which, pusher),
        Kind::Foreign { cache } => foreign(&mut then, setup, which, (pusher, cache)),
    };
    if let Some(what) = what {
        then.writers[which].rests();
        steps.push(Step { who: ["writer 1", "writer 2"][which], what, then, wrong: None });
    }
}

fn either(yes: bool, there: At, else_: At) -> At {
    if yes { there } else { else_ }
}

/// What a push that finds no blob goes on with: a chain's child is not uploaded here.
fn without(setup: &Setup) -> At {
    either(setup.blobs > 1, At::Head, At::BlobEpoch)
}

fn ours(world: &mut World, setup: &Setup, which: usize, pusher: Pusher) -> Option<&'static str> {
    let repository = pusher.repository;
    let (linked, bytes) = (world.linked(repository, 0), world.place[0].is_some());
    let again = setup.design.looks_in_place_again;
    let mut at = world.writers[which].at;
    let what = match at {
        At::Head => {
            at = either(linked, At::HeadBytes, without(setup));
            "HEAD: is it linked?"
        }
        At::HeadBytes => {
            at = either(bytes, At::Epoch, At::HeadRescue);
            "HEAD: are the bytes there?"
        }
        At::HeadRescue => {
            at = either(world.rescue(setup, 0), At::Epoch, without(setup));
            "HEAD: brings the bytes back"
        }
        At::BlobEpoch => {
            let epoch = world.epoch;
            world.writers[which].read_epoch(epoch);
            at = either(pusher.from.is_some(), At::MountLink, At::BlobStat);
            "blob: reads the epoch"
        }
        At::MountLink => {
            at = either(pusher.from.is_some_and(|from| world.linked(from, 0)), At::BlobStat, At::Head);
            "mount: is it linked there?"
        }
        At::BlobStat => {
            at = either(bytes, At::BlobLink, either(pusher.from.is_some(), At::Head, At::BlobBytes));
            "blob: are the bytes there?"
        }
        At::BlobBytes => {
            world.place[0] = Some(0);
            at = At::BlobLink;
            "blob: writes the bytes"
        }
        At::BlobLink => {
            world.links[repository][0] = Some(0);
            at = At::BlobEpochAgain;
            "blob: writes the link"
        }
        At::BlobEpochAgain => {
            at = match world.writers[which].minds(setup, world.epoch) {
                Minds::Believes => At::Epoch,
                Minds::LooksAgain => At::BlobStatAgain,
                Minds::Refuses => At::Head,
            };
            "blob: reads the epoch again"
        }
        At::BlobStatAgain => {
            at = either(bytes, At::Epoch, At::BlobRescue);
            "blob: are the bytes still there?"
        }
        At::BlobRescue => {
            at = either(world.rescue(setup, 0), At::Epoch, either(again, At::BlobStatOnceMore, At::Head));
            "blob: brings the bytes back"
        }
        At::BlobStatOnceMore => {
            at = either(bytes, At::Epoch, At::Head);
            "blob: did somebody else bring them back?"
        }
        _ => return manifest(world, setup, which, pusher),
    };
    world.writers[which].at = at;
    Some(what)
}

/// The manifest's PUT of ours.
#[expect(clippy::too_many_lines, reason = "one step of the protocol an arm")]
fn manifest(world: &mut World, setup: &Setup, which: usize, pusher: Pusher) -> Option<&'static str> {
    let repository = pusher.repository;
    let (linked, bytes) = (world.linked(repository, 0), world.place[0].is_some());
    let again = setup.design.looks_in_place_again;
    let mut at = world.writers[which].at;
    let what = match at {
        At::Epoch => {
            let epoch = world.epoch;
            world.writers[which].read_epoch(epoch);
            at = At::Link;
            "manifest: reads the epoch"
        }
        At::Link => {
            at = either(linked, At::Stat, At::Head);
            "manifest: is what it names linked?"
        }
        At::Stat => {
            at = either(bytes, At::Write, At::Rescue);
            "manifest: are the bytes there?"
        }
        At::Rescue => {
            at = either(world.rescue(setup, 0), At::Write, either(again, At::StatOnceMore, At::Head));
            "manifest: brings the bytes back"
        }
        At::StatOnceMore => {
            at = either(bytes, At::Write, At::Head);
            "manifest: did somebody else bring them back?"
        }
        At::Write => {
            world.manifests[which] = Manifest::Written;
            at = At::EpochAgain;
            "manifest: writes it"
        }
        At::EpochAgain => {
            at = match world.writers[which].minds(setup, world.epoch) {
                Minds::Believes => At::Acknowledge,
                Minds::LooksAgain => again_from(setup),
                Minds::Refuses => At::Head,
            };
            "manifest: reads the epoch again"
        }
        At::LinkAgain if !linked && child(setup) == Some(Child::Refuses) => {
            at = At::Head;
            "manifest: refuses, since its child's link is gone"
        }
        At::LinkAgain if !linked && child(setup) == Some(Child::Ignored) => {
            at = At::Acknowledge;
            "manifest: does not mind that its child's link is gone"
        }
        At::LinkAgain => {
            world.links[repository][0] = world.links[repository][0].or(Some(0));
            at = At::StatAgain;
            "manifest: writes the link again if it is missing"
        }
        At::StatAgain => {
            at = either(bytes, follow(setup), At::RescueAgain);
            "manifest: are the bytes still there?"
        }
        At::RescueAgain => {
            at = either(world.rescue(setup, 0), follow(setup), either(again, At::StatLast, At::Head));
            "manifest: brings the bytes back, after all"
        }
        At::StatLast => {
            at = either(bytes, follow(setup), At::Head);
            "manifest: did somebody else bring them back, after all?"
        }
        At::Acknowledge => {
            return acknowledge(world, which, At::Done);
        }
        _ => return followed(world, setup, which, repository),
    };
    world.writers[which].at = at;
    Some(what)
}

/// Where a child manifest is named, how it is looked at again.
fn child(setup: &Setup) -> Option<Child> {
    (setup.blobs > 1).then_some(setup.design.child)
}

/// Whoever looks again at a child manifest looks at what it names, before it writes the child's link again: a link
/// that is there lets the next push believe that all below it is.
fn again_from(setup: &Setup) -> At {
    either(child(setup) == Some(Child::FromBelow), At::FollowLink, At::LinkAgain)
}

fn follow(setup: &Setup) -> At {
    either(child(setup) == Some(Child::FromAbove), At::FollowLink, At::Acknowledge)
}

fn followed(world: &mut World, setup: &Setup, which: usize, repository: usize) -> Option<&'static str> {
    let bytes = world.place[1].is_some();
    let done = either(setup.design.child == Child::FromBelow, At::LinkAgain, At::Acknowledge);
    let (at, what) = match world.writers[which].at {
        At::FollowLink => {
            world.links[repository][1] = world.links[repository][1].or(Some(0));
            (At::FollowStat, "manifest: writes the link again of what its child names")
        }
        At::FollowStat => {
            (either(bytes, done, At::FollowRescue), "manifest: are the bytes there that its child names?")
        }
        At::FollowRescue => {
            let at = either(world.rescue(setup, 1), done, At::FollowStatLast);
            (at, "manifest: brings the bytes back that its child names")
        }
        At::FollowStatLast => {
            (either(bytes, done, At::Head), "manifest: did somebody else bring them back, of its child?")
        }
        _ => return None,
    };
    world.writers[which].at = at;
    Some(what)
}

/// 201, unless the manifest was deleted meanwhile: then nobody has a claim on it.
fn acknowledge(world: &mut World, which: usize, done: At) -> Option<&'static str> {
    if world.manifests[which] == Manifest::Written {
        world.manifests[which] = Manifest::Acknowledged;
    }
    let believes = world.writers[which].believes;
    world.writers[which] = Writer { at: done, believes, ..Writer::default() };
    Some("manifest: 201")
}

/// Distribution: what it checked once it may believe; it writes no link with a manifest; no epoch.
fn foreign(world: &mut World, setup: &Setup, which: usize, (pusher, cache): (Pusher, u8)) -> Option<&'static str> {
    let repository = pusher.repository;
    let (linked, bytes) = (world.linked(repository, 0), world.place[0].is_some());
    let believed = world.writers[which].believes.is_some_and(|age| age < cache);
    let seen = (cache > 0).then_some(0);
    let mut writer = world.writers[which];
    let what = match writer.at {
        At::Head if believed => {
            writer = Writer { at: At::Epoch, ..writer };
            "HEAD: believes that it is there"
        }
        At::Head => {
            writer = Writer { at: either(linked, At::HeadBytes, without(setup)), ..writer };
            "HEAD: is it linked?"
        }
        At::HeadBytes => {
            writer = Writer {
                at: either(bytes, At::Epoch, without(setup)),
                believes: if bytes { seen } else { None },
                ..writer
            };
            "HEAD: are the bytes there?"
        }
        At::BlobEpoch => {
            writer = Writer { at: either(pusher.from.is_some(), At::MountLink, At::BlobStat), age: 0, ..writer };
            "blob: begins"
        }
        At::MountLink => {
            writer.at = either(pusher.from.is_some_and(|from| world.linked(from, 0)), At::BlobStat, At::Head);
            "mount: is it linked there?"
        }
        At::BlobStat => {
            writer.at = either(bytes, At::BlobLink, either(pusher.from.is_some(), At::Head, At::BlobBytes));
            "blob: are the bytes there?"
        }
        At::BlobBytes => {
            world.place[0] = Some(0);
            writer.at = At::BlobLink;
            "blob: writes the bytes"
        }
        At::BlobLink => {
            world.links[repository][0] = Some(0);
            writer = Writer { at: At::Epoch, believes: seen, ..writer };
            "blob: writes the link"
        }
        At::Epoch => {
            writer = Writer { at: either(believed, At::Write, At::Link), age: 0, ..writer };
            "manifest: begins"
        }
        At::Link => {
            writer.at = either(linked, At::Stat, At::Head);
            "manifest: is what it names linked?"
        }
        At::Stat => {
            writer.at = either(bytes, At::Write, At::Head);
            "manifest: are the bytes there?"
        }
        At::Write => {
            world.manifests[which] = Manifest::Written;
            return acknowledge(world, which, At::Done);
        }
        _ => return None,
    };
    world.writers[which] = writer;
    Some(what)
}
