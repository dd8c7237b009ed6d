//! Long, random orders of steps of the model, with more of everybody than can be searched through completely.
//!
//! Apart from the model, which imports nothing.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::model::search::steps;
use super::model::settle::Settled;
use super::model::setup::*;
use super::model::world::World;
use super::model::writer;

/// Steps of one order.
const STEPS: usize = 1200;
const CASES: u32 = 200;

/// What would leave no collection its time, and is taken by choices from `RARELY` on only.
const RARE: [&str; 3] = ["is killed", "loses the epoch", "deletes a manifest"];
const RARELY: u8 = 236;

/// Everybody there is, twice where that goes.
const CROWD: Setup = Setup {
    repositories: 2,
    writers: [Some(OURS), Some(Pusher { repository: 1, from: Some(0), ..FOREIGN })],
    epoch_lost: true,
    ..SETUP
};

const SLOW: Times = Times { grace: 4, reap_after: 5, believed: 1, request: 2, late: 2 };

fn setups() -> impl Strategy<Value = Setup> {
    let mount = Pusher { kind: Kind::Ours, repository: 1, from: Some(0) };
    let believes = Pusher { kind: Kind::Foreign { cache: 3 }, ..FOREIGN };
    let writers = prop_oneof![
        Just([Some(OURS), Some(OURS)]),
        Just([Some(OURS), Some(mount)]),
        Just([Some(OURS), Some(FOREIGN)]),
        Just([Some(believes), Some(mount)]),
        Just([Some(mount), Some(believes)]),
    ];
    let store = prop_oneof![Just(Store::Disk), Just(Store::PlainDisk), Just(Store::Object)];
    let beginning = prop_oneof![
        Just(Beginning::Orphan),
        Just(Beginning::Unlinked),
        Just(Beginning::Trashed),
        Just(Beginning::Empty),
    ];
    let child = prop_oneof![Just(Child::FromBelow), Just(Child::Refuses)];
    (writers, store, beginning, child, 1..=BLOBS, 0..=2_u8, 1..=COLLECTORS).prop_map(
        |(writers, store, beginning, child, blobs, skew, collectors)| Setup {
            collectors,
            // One question more is enough where one collection runs.
            reader: collectors == 1,
            writers,
            store,
            beginning,
            blobs,
            skew,
            times: Times { grace: SLOW.grace + skew, ..SLOW },
            late_deletes: store == Store::Object,
            design: Design { child, ..DESIGN },
            ..CROWD
        },
    )
}

/// Each choice takes one of the steps that can be taken.
fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..STEPS)
}

/// Goes that way, lets pushes end, and collects until all is quiet. What is wrong, and how it came to that.
fn walk(setup: &Setup, choices: &[u8]) -> Result<(), String> {
    let mut world = World::new(setup);
    let (mut possible, mut way, mut settled) = (Vec::new(), Vec::new(), Settled::default());
    for choice in choices {
        steps(&world, setup, &mut possible);
        if *choice < RARELY {
            possible.retain(|step| !RARE.contains(&step.what));
        }
        let step = possible.swap_remove(usize::from(*choice) % possible.len().max(1));
        possible.clear();
        way.push(format!("{} {}", step.who, step.what));
        world = step.then;
        if let Some(wrong) = step.wrong.or_else(|| world.wrong(setup)).or_else(|| settled.wrong(&world, setup)) {
            return Err(format!("{wrong}:\n{}", way.join("\n")));
        }
    }
    // More than any push has.
    for _ in 0..100 {
        for which in 0..WRITERS {
            writer::steps(&world, setup, which, &mut possible);
            world = possible.drain(..).next_back().map_or(world, |step| step.then);
        }
        if let Some(wrong) = world.wrong(setup).or_else(|| settled.wrong(&world, setup)) {
            return Err(format!("{wrong}, in the end:\n{}", way.join("\n")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_in_a_crowd(setup in setups(), choices in choices()) {
        walk(&setup, &choices).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_random_order_finds_what_a_marker_loses() {
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let setup = Setup { design: IN_PLACE_BEHIND_A_MARKER, ..SETUP };
    // The same orders each time: how often chance finds one is not what is tested.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&choices(), |choices| walk(&setup, &choices).map_err(TestCaseError::fail));
    let Err(TestError::Fail(reason, _)) = outcome else { panic!("nothing was found: {outcome:?}") };
    assert!(reason.message().contains("gone for good"), "{reason}");
}
