//! The design holds; what is left out of it is missed. Each search goes through everything that can happen in its setup.

use super::search::{Found, search};
use super::settle::NOT_IN_PLACE;
use super::setup::*;
use super::world::{GONE, MOVED_IN_USE, NOT_PULLED};

/// Nothing that can happen is wrong.
fn holds(setup: &Setup) -> usize {
    let Found { worlds, steps, wrong } = search(setup);
    println!("{worlds} worlds, {steps} steps");
    if let Some((wrong, way)) = wrong {
        panic!("{wrong}:\n{}", way.join("\n"));
    }
    worlds
}

/// The search finds what is wrong, and how it comes to that.
fn fails(setup: &Setup, expected: &[&str]) -> String {
    let Found { worlds, wrong, .. } = search(setup);
    let Some((wrong, way)) = wrong else { panic!("nothing is wrong in {worlds} worlds") };
    assert!(expected.contains(&wrong), "{wrong}:\n{}", way.join("\n"));
    println!("{worlds} worlds; {wrong}:\n  {}", way.join("\n  "));
    way.join("\n")
}

fn without(change: impl FnOnce(&mut Design)) -> Design {
    let mut design = DESIGN;
    change(&mut design);
    design
}

const NOW: Design = Design { reap: Reap::Now, ..DESIGN };

/// Requests and late DELETEs of foreign writers take some time, and a grace is longer than both together.
const SLOW: Times = Times { grace: 3, reap_after: 3, believed: 1, request: 2, late: 2 };

const OF_FOREIGN: Setup = Setup { writers: [Some(FOREIGN), None], ..SETUP };

/// An index that is pushed names a child manifest, which names a layer; child and layer are old and nothing else needs them.
const OF_AN_INDEX: Setup = Setup { blobs: 2, deletions: false, kills: false, ..SETUP };

/// Two collections at once, and a third; the blob is unlinked since long.
const OF_TWO: Setup = Setup {
    collectors: 2,
    runs: 3,
    kills: false,
    deletions: false,
    beginning: Beginning::Unlinked,
    writers: [Some(FOREIGN), None],
    ..SETUP
};

const ON_AN_OBJECT_STORE: Setup =
    Setup { store: Store::Object, late_deletes: true, deletions: false, kills: false, ..SETUP };

#[test]
fn a_writer_of_ours_may_stall_wherever_it_likes_and_collections_may_be_killed() {
    assert!(holds(&SETUP) > 50_000);
}

#[test]
fn the_epoch_may_be_lost_at_any_time() {
    holds(&Setup { epoch_lost: true, deletions: false, ..SETUP });
}

#[test]
fn deletes_may_be_executed_after_their_time_out() {
    let store = Setup { runs: 3, ..ON_AN_OBJECT_STORE };
    holds(&store);
    holds(&Setup { times: SLOW, writers: [Some(FOREIGN), None], ..store });
}

#[test]
fn wherever_it_begins() {
    for beginning in [Beginning::Empty, Beginning::Trashed] {
        holds(&Setup { beginning, runs: 3, deletions: false, ..SETUP });
        holds(&Setup { beginning, times: SLOW, ..OF_FOREIGN });
    }
}

#[test]
fn distribution_may_push_beside_us_and_believe_itself_for_less_than_the_delays() {
    holds(&Setup { times: SLOW, ..OF_FOREIGN });
    let believes = Pusher { kind: Kind::Foreign { cache: 2 }, ..FOREIGN };
    holds(&Setup { writers: [Some(believes), None], ..SETUP });
}

#[test]
fn what_is_mounted_from_elsewhere_stays() {
    let mount = |kind| Pusher { kind, repository: 1, from: Some(0) };
    holds(&Setup { repositories: 2, deletions: false, writers: [Some(mount(Kind::Ours)), None], ..SETUP });
    holds(&Setup { repositories: 2, writers: [Some(mount(Kind::Foreign { cache: 0 })), None], times: SLOW, ..SETUP });
}

#[test]
fn whoever_pulls_what_was_acknowledged_gets_it_at_every_moment() {
    holds(&Setup { reader: true, deletions: false, ..SETUP });
    holds(&Setup { reader: true, deletions: false, store: Store::PlainDisk, ..SETUP });
}

#[test]
fn two_may_push_the_same_at_once() {
    let two = [Some(OURS), Some(FOREIGN)];
    holds(&Setup { writers: two, deletions: false, kills: false, runs: 1, beginning: Beginning::Unlinked, ..SETUP });
}

#[test]
fn two_collections_may_run_at_once_and_stall_between_look_and_move() {
    holds(&OF_TWO);
}

#[test]
fn clocks_may_be_an_hour_off_with_the_shortest_grace() {
    holds(&Setup { times: SKEWED, skew: 2, deletions: false, runs: 3, ..OF_FOREIGN });
}

#[test]
fn an_index_may_come_while_its_child_is_taken_away() {
    holds(&OF_AN_INDEX);
    holds(&Setup { design: without(|design| design.child = Child::Refuses), ..OF_AN_INDEX });
}

#[test]
fn deleting_at_once_goes_through_the_trash_and_looks_again() {
    holds(&Setup { design: NOW, deletions: false, kills: false, ..SETUP });
    holds(&Setup { design: NOW, runs: 1, ..ON_AN_OBJECT_STORE });
    holds(&Setup { design: NOW, runs: 2, kills: false, ..OF_AN_INDEX });
}

// What follows has to go wrong: else the search above says nothing.

#[test]
fn deleting_in_place_behind_a_marker_loses_an_acknowledged_image() {
    let way = fails(&Setup { design: IN_PLACE_BEHIND_A_MARKER, ..SETUP }, &[GONE]);
    // The writer has checked, and stalls; the collector looks, deletes and takes its marker away; the writer sees none.
    let at = |step: &str| way.find(step).unwrap_or_else(|| panic!("no step {step:?} in:\n{way}"));
    assert!(at("manifest: are the bytes there?") < at("deletes bytes in place"));
    assert!(at("look: lists its manifests") < at("deletes bytes in place"));
    assert!(at("look: lists its manifests") < at("manifest: writes it"));
}

#[test]
fn deleting_in_place_is_no_better_with_an_epoch() {
    fails(&Setup { design: Design { reap: Reap::InPlace, ..DESIGN }, ..SETUP }, &[GONE]);
    // A writer that refuses while the epoch is odd would do, were there no DELETE that is executed late.
    let refuses = Design { reap: Reap::InPlace, mind: Mind::Refuse, ..DESIGN };
    holds(&Setup { design: refuses, ..SETUP });
    fails(&Setup { design: refuses, ..ON_AN_OBJECT_STORE }, &[GONE, NOT_IN_PLACE]);
}

#[test]
fn without_a_look_bytes_are_moved_that_are_in_use() {
    fails(&Setup { design: without(|design| design.look = false), ..SETUP }, &[MOVED_IN_USE]);
    fails(&Setup { design: without(|design| design.look_reads_manifests = false), ..SETUP }, &[MOVED_IN_USE]);
    fails(&Setup { design: without(|design| design.look_follows = false), ..OF_AN_INDEX }, &[MOVED_IN_USE]);
}

#[test]
fn without_a_last_look_bytes_are_deleted_that_are_in_use() {
    fails(&Setup { design: without(|design| design.last_look = false), ..SETUP }, &[GONE, NOT_IN_PLACE]);
    fails(&Setup { design: Design { last_look: false, ..NOW }, ..SETUP }, &[GONE, NOT_IN_PLACE]);
}

#[test]
fn a_writer_that_does_not_look_again_loses() {
    let minds = |mind| Setup { design: without(|design| design.mind = mind), deletions: false, ..SETUP };
    fails(&minds(Mind::Nothing), &[GONE]);
    // Either half is enough where the other one is not needed: the delays carry the epoch, and the other way round.
    holds(&minds(Mind::AgeOnly));
    holds(&minds(Mind::EpochOnly));
    fails(&Setup { epoch_lost: true, ..minds(Mind::EpochOnly) }, &[GONE]);
    fails(&Setup { design: Design { mind: Mind::AgeOnly, ..NOW }, ..SETUP }, &[GONE, NOT_IN_PLACE]);
}

#[test]
fn one_name_in_the_trash_for_all_moves_of_a_blob_loses_where_two_collect() {
    fails(&Setup { design: without(|design| design.own_names = false), ..OF_TWO }, &[GONE]);
}

#[test]
fn the_time_of_a_move_that_was_taken_before_it_loses() {
    fails(&Setup { times: SLOW, design: without(|design| design.time_after_move = false), ..OF_FOREIGN }, &[GONE]);
}

#[test]
fn a_look_that_is_believed_for_ever_loses_where_bytes_are_copied_and_deleted() {
    let believes = without(|design| design.look_expires = false);
    fails(&Setup { design: believes, store: Store::Object, ..OF_TWO }, &[GONE]);
}

#[test]
fn deleting_at_once_what_may_be_deleted_twice_loses() {
    fails(&Setup { design: Design { unclear_stays: false, ..NOW }, ..ON_AN_OBJECT_STORE }, &[GONE, NOT_IN_PLACE]);
}

#[test]
fn a_child_manifest_has_to_be_looked_at_with_what_it_names_and_from_below() {
    let child = |child| Setup { design: without(|design| design.child = child), ..OF_AN_INDEX };
    fails(&child(Child::Ignored), &[GONE]);
    fails(&child(Child::Alone), &[GONE]);
    // The push is refused, rightly, but the next one finds the child linked, and believes that all below it is there.
    fails(&child(Child::FromAbove), &[GONE]);
    // The same, where it is a collection, or a read, that links the child again.
    let incomplete = without(|design| design.heals_complete = false);
    fails(&Setup { design: incomplete, ..OF_AN_INDEX }, &[GONE]);
}

#[test]
fn who_does_not_look_in_place_again_tells_that_it_is_gone_when_another_brought_it_back() {
    let once = without(|design| design.looks_in_place_again = false);
    fails(&Setup { design: once, reader: true, store: Store::PlainDisk, ..SETUP }, &[NOT_PULLED]);
}

// What is not promised, and has to be said to those who want it.

#[test]
fn distribution_that_believes_itself_for_ever_or_sleeps_in_a_request_for_ever_loses() {
    let believes = Pusher { kind: Kind::Foreign { cache: 255 }, ..FOREIGN };
    fails(&Setup { writers: [Some(believes), None], ..SETUP }, &[GONE]);
    fails(&Setup { times: Times { request: 255, ..PLAIN }, ..OF_FOREIGN }, &[GONE]);
}

#[test]
fn deleting_at_once_is_nothing_for_foreign_writers_nor_where_the_epoch_gets_lost() {
    fails(&Setup { design: NOW, ..OF_FOREIGN }, &[GONE, NOT_IN_PLACE]);
    fails(&Setup { design: NOW, epoch_lost: true, ..SETUP }, &[GONE, NOT_IN_PLACE]);
}

// The same in full, minutes each where nothing is optimised.

#[test]
#[ignore = "minutes: rustc -O --edition 2024 --test src/maintenance/gc/model/mod.rs, then --ignored"]
fn in_full_on_a_disk() {
    holds(&Setup { epoch_lost: true, ..SETUP });
    holds(&Setup { reader: true, ..SETUP });
    holds(&Setup { reader: true, store: Store::PlainDisk, ..SETUP });
    holds(&Setup { blobs: 2, kills: false, ..SETUP });
    holds(&Setup { design: NOW, ..SETUP });
    holds(&Setup { kills: true, ..OF_AN_INDEX });
    holds(&Setup { reader: true, ..OF_AN_INDEX });
    holds(&Setup { reader: true, design: without(|design| design.child = Child::Refuses), ..OF_AN_INDEX });
    holds(&Setup { kills: true, design: NOW, ..OF_AN_INDEX });
    let two = [Some(OURS), Some(FOREIGN)];
    holds(&Setup { writers: two, deletions: false, kills: false, ..SETUP });
    holds(&Setup { writers: [Some(OURS); 2], deletions: false, kills: false, beginning: Beginning::Unlinked, ..SETUP });
}

#[test]
#[ignore = "minutes: see above"]
fn in_full_on_an_object_store() {
    holds(&ON_AN_OBJECT_STORE);
    holds(&Setup { kills: true, ..ON_AN_OBJECT_STORE });
    holds(&Setup { deletions: true, ..ON_AN_OBJECT_STORE });
    holds(&Setup { design: NOW, kills: true, ..ON_AN_OBJECT_STORE });
    holds(&Setup { times: SLOW, kills: true, writers: [Some(FOREIGN), None], ..ON_AN_OBJECT_STORE });
    holds(&Setup { blobs: 2, ..ON_AN_OBJECT_STORE });
}

#[test]
#[ignore = "minutes: see above"]
fn in_full_with_two_collections_and_with_skew() {
    holds(&Setup { writers: [Some(OURS), None], ..OF_TWO });
    holds(&Setup { store: Store::Object, ..OF_TWO });
    holds(&Setup { times: SKEWED, skew: 2, ..OF_FOREIGN });
    holds(&Setup { times: SKEWED, skew: 2, deletions: false, kills: false, ..SETUP });
}
