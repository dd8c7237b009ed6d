//! Several accounts over one file, step by step in any order: answers are lost, others are faster, and at no time is more held and
//! promised than there may be.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::time::Instant;

use super::super::account::Account;
use super::super::amount::Amount;
use super::super::entry::Short;
use super::super::held::Held;
use super::super::state::State;
use crate::storage::{Precondition, Version};

const LIMIT: u64 = 1000;
const INSTANCES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A push wants so much.
    Want(u64),
    /// It takes it, if it can.
    Take,
    /// What it has becomes a content, or comes back.
    Link(u8),
    GiveBack,
    /// It waits for its next request, or goes on.
    Park,
    /// The instance reads the file, or begins to write it.
    Read,
    Draft {
        idle: bool,
    },
    /// The write arrives, and its answer comes or is lost.
    Arrive {
        lost: bool,
    },
    /// It never arrives.
    Vanish,
    /// A content is gone from all repositories.
    Remove(u8),
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let op = prop_oneof![
        4 => (1..400_u64).prop_map(Op::Want),
        6 => Just(Op::Take),
        4 => (0..12_u8).prop_map(Op::Link),
        2 => Just(Op::GiveBack),
        1 => Just(Op::Park),
        2 => Just(Op::Read),
        6 => any::<bool>().prop_map(|idle| Op::Draft { idle }),
        6 => prop::bool::weighted(0.2).prop_map(|lost| Op::Arrive { lost }),
        1 => Just(Op::Vanish),
        1 => (0..12_u8).prop_map(Op::Remove),
    ];
    (0..INSTANCES, op)
}

struct Instance {
    account: Account,
    wanted: Option<(u64, u64)>,
    /// Of one push.
    have: Amount,
    parked: bool,
    /// On its way: the state, and the version that it replaces.
    sent: Option<(State, u64)>,
    /// As it was read or written.
    known: u64,
}

struct World {
    instances: Vec<Instance>,
    file: State,
    version: u64,
    /// By short name: size, if some repository holds it.
    held: BTreeMap<u8, u64>,
}

fn size(content: u8) -> u64 {
    20 + u64::from(content) * 15
}

fn short(content: u8) -> Short {
    Short([content; 16])
}

fn condition() -> Precondition {
    Precondition::Unchanged(Version(String::new()))
}

impl World {
    fn new() -> Self {
        let instance = |number: usize| {
            let limit = Amount { bytes: LIMIT, tags: u64::MAX };
            let account = Account::new(&format!("i{number}"), State::new("a"), limit);
            Instance { account, wanted: None, have: Amount::NOTHING, parked: false, sent: None, known: 0 }
        };
        let mut world = World {
            instances: (0..INSTANCES).map(instance).collect(),
            file: State::new("a"),
            version: 1,
            held: BTreeMap::new(),
        };
        (0..INSTANCES).for_each(|number| world.read(number));
        world
    }

    fn read(&mut self, number: usize) {
        let (file, version) = (self.file.clone(), self.version);
        let instance = &mut self.instances[number];
        let mut held = Held::new(None, Vec::new());
        held.apply(&file.recent);
        instance.account.held = held;
        let began = instance.account.moment();
        instance.account.read(file, condition(), began);
        (instance.known, instance.sent) = (version, None);
    }

    #[expect(clippy::too_many_lines, reason = "one operation of the model an arm")]
    fn step(&mut self, number: usize, op: Op) {
        let now = Instant::now();
        // Whoever looked into all repositories and found it nowhere has not said so yet: who links it at this moment is lost
        // until the next count, or until a manifest names it.
        let leaving = |world: &World, content| {
            world.instances.iter().any(|other| other.account.news_of(&short(content)) == Some(false))
        };
        let skipped = match op {
            Op::Link(content) => leaving(self, content),
            Op::Remove(content) => {
                let told = self.file.recent.iter().rfind(|entry| entry.short == short(content));
                let untold = self.instances.iter().any(|other| other.account.news_of(&short(content)).is_some());
                untold || !told.is_some_and(|entry| entry.added) || !self.held.contains_key(&content)
            }
            _ => false,
        };
        if skipped {
            return;
        }
        let instance = &mut self.instances[number];
        match op {
            Op::Want(more) => {
                if let Some((want, _)) = instance.wanted.take() {
                    instance.account.wants_no_more(want);
                }
                instance.wanted = Some((instance.account.want(Amount::bytes(more)), more));
            }
            Op::Take => {
                let Some((want, more)) = instance.wanted else { return };
                if !instance.parked && instance.account.take(Amount::bytes(more), now) {
                    instance.account.wants_no_more(want);
                    instance.wanted = None;
                    instance.have = instance.have.plus(Amount::bytes(more));
                }
            }
            Op::Link(content) => {
                // A verb looks whether it is held, and links only what it could afford.
                let known = instance.account.holds(&short(content));
                if instance.parked || (!known && instance.have.bytes < size(content)) {
                    return;
                }
                // Where it is known to be held, and somebody takes it away at this moment, only a count finds out.
                if !known || self.held.contains_key(&content) {
                    self.held.insert(content, size(content));
                    let mut have = instance.have;
                    instance.account.added(short(content), size(content), &mut have);
                    instance.have = have;
                }
            }
            Op::GiveBack => {
                if instance.parked {
                    instance.account.unpark(instance.have);
                }
                instance.account.give_back(instance.have);
                (instance.have, instance.parked) = (Amount::NOTHING, false);
            }
            Op::Park => {
                match instance.parked {
                    true => instance.account.unpark(instance.have),
                    false => instance.account.park(instance.have),
                }
                instance.parked = !instance.parked;
            }
            Op::Read => {
                if instance.sent.is_none() {
                    self.read(number);
                }
            }
            Op::Draft { idle } => {
                if instance.account.is_unsure() {
                    return;
                }
                let later = if idle { now + std::time::Duration::from_secs(5) } else { now };
                if let Some(state) = instance.account.draft(later, false) {
                    instance.sent = Some((state, instance.known));
                }
            }
            Op::Arrive { lost } => {
                let Some((state, replaces)) = instance.sent.take() else { return };
                if replaces != self.version {
                    // Conflict: it is read again.
                    return self.read(number);
                }
                self.file = state.clone();
                self.version += 1;
                if lost {
                    // Nobody knows; others may write before it is read again.
                    return;
                }
                instance.known = self.version;
                instance.account.written(state, condition());
            }
            Op::Vanish => {
                if instance.sent.take().is_some() {
                    self.read(number);
                }
            }
            Op::Remove(content) => {
                // Whoever does not know that it is held says nothing: it looks into the file before.
                if instance.account.holds(&short(content)) {
                    instance.account.removed(short(content), size(content));
                    self.held.remove(&content);
                }
            }
        }
    }

    fn check(&self) {
        let held: u64 = self.held.values().sum();
        let promised: u64 = self.instances.iter().map(|instance| instance.have.bytes).sum();
        assert!(held + promised <= LIMIT, "{held} held, {promised} promised");
    }

    /// Everybody tells what is new, and gives everything back.
    fn rest(&mut self) {
        for number in 0..INSTANCES {
            self.step(number, Op::GiveBack);
        }
        for _ in 0..3 {
            for number in 0..INSTANCES {
                self.read(number);
                self.step(number, Op::Draft { idle: true });
                self.step(number, Op::Arrive { lost: false });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_more_is_held_and_promised_than_there_may_be(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for (number, op) in ops {
            world.step(number, op);
            world.check();
        }
        world.instances.iter_mut().for_each(|instance| {
            if let Some((want, _)) = instance.wanted.take() {
                instance.account.wants_no_more(want);
            }
        });
        world.rest();
        world.check();
        prop_assert_eq!(world.file.used.bytes, world.held.values().sum::<u64>());
        prop_assert_eq!(world.file.granted(None), Amount::NOTHING);
    }
}
