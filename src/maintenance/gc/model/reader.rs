//! A pull through Entrepot of what the first writer pushed: it brings back what it needs.

use super::setup::Setup;
use super::world::{Manifest, NOT_PULLED, Step, World};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Reader {
    #[default]
    Idle,
    Link,
    /// Whether a manifest of the repository names what has no link.
    Named,
    Bytes {
        linked: bool,
    },
    Rescue {
        linked: bool,
    },
    BytesAgain {
        linked: bool,
    },
    /// What the child manifest names comes back before the child is linked.
    Below,
    LinkBelow,
    WriteLink,
}

#[expect(clippy::too_many_lines, reason = "one step of the protocol an arm")]
pub fn steps(world: &World, setup: &Setup, steps: &mut Vec<Step>) {
    let (true, Some(pusher)) = (setup.reader, setup.writers[0]) else { return };
    let repository = pusher.repository;
    let mut then = *world;
    let mut wrong = None;
    let acknowledged = world.manifests[0] == Manifest::Acknowledged;
    // An index that was refused is there, too, and whoever knows its child may ask for that; but has no claim.
    let asks = acknowledged || setup.blobs > 1 && world.manifests[0] == Manifest::Written;
    let mut fails = |then: &mut World| {
        wrong = acknowledged.then_some(NOT_PULLED);
        then.reader = Reader::Idle;
    };
    let below = setup.blobs > 1 && setup.design.heals_complete;
    let got = |linked: bool| match linked {
        true => Reader::Idle,
        false if below => Reader::Below,
        false => Reader::WriteLink,
    };
    if !asks {
        then.reader = Reader::Idle;
        if then.reader != world.reader {
            steps.push(Step { who: "reader", what: "gives up what was deleted", then, wrong: None });
        }
        return;
    }
    let what = match world.reader {
        Reader::Idle => {
            then.reader = Reader::Link;
            "begins"
        }
        Reader::Link => {
            let linked = world.linked(repository, 0);
            then.reader = if linked { Reader::Bytes { linked } } else { Reader::Named };
            "is it linked?"
        }
        Reader::Named => {
            match world.named(setup, repository) {
                0 => fails(&mut then),
                _ => then.reader = Reader::Bytes { linked: false },
            }
            "does a manifest name it?"
        }
        Reader::Bytes { linked } => {
            then.reader = if world.place[0].is_some() { got(linked) } else { Reader::Rescue { linked } };
            "are the bytes there?"
        }
        Reader::Rescue { linked } => {
            match (then.rescue(setup, 0), setup.design.looks_in_place_again) {
                (true, _) => then.reader = got(linked),
                (false, true) => then.reader = Reader::BytesAgain { linked },
                (false, false) => fails(&mut then),
            }
            "brings the bytes back"
        }
        Reader::BytesAgain { linked } => {
            match world.place[0] {
                Some(_) => then.reader = got(linked),
                None => fails(&mut then),
            }
            "did somebody else bring them back?"
        }
        Reader::Below => {
            let there = world.place[1].is_some() || then.rescue(setup, 1);
            then.reader = if there { Reader::LinkBelow } else { Reader::Idle };
            "brings back what the child names"
        }
        Reader::LinkBelow => {
            then.links[repository][1] = world.links[repository][1].or(Some(0));
            then.reader = Reader::WriteLink;
            "links what the child names again"
        }
        Reader::WriteLink => {
            then.links[repository][0] = world.links[repository][0].or(Some(0));
            then.reader = Reader::Idle;
            "writes the link again"
        }
    };
    steps.push(Step { who: "reader", what, then, wrong });
}
