//! One instance's part, without a storage: what is drafted is handed back as written, or as another wrote it.

use std::time::Duration;

use tokio::time::Instant;

use super::super::account::{Account, DEAD};
use super::super::amount::Amount;
use super::super::entry::Short;
use super::super::held::Held;
use super::super::state::{Grant, State};
use crate::storage::{Precondition, Version};

const LIMIT: u64 = 1_600_000;

fn condition() -> Precondition {
    Precondition::Unchanged(Version("1".into()))
}

fn short(byte: u8) -> Short {
    Short([byte; 16])
}

/// One that has read a file.
fn account(state: State) -> Account {
    let mut account = Account::new("me", State::new("a"), Amount { bytes: LIMIT, tags: 10 });
    account.held = Held::new(None, Vec::new());
    let began = account.moment();
    account.read(state, condition(), began);
    account
}

fn write(account: &mut Account, now: Instant) -> Option<State> {
    let state = account.draft(now, false)?;
    account.written(state.clone(), condition());
    Some(state)
}

fn granted(state: &State) -> u64 {
    state.grants.get("me").map_or(0, |grant| grant.amount.bytes)
}

#[test]
fn a_push_takes_of_what_was_granted_and_something_is_granted_ahead() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    let more = Amount::bytes(1000);
    assert!(!account.take(more, now));
    let want = account.want(more);
    let state = write(&mut account, now).unwrap();
    account.wants_no_more(want);
    assert_eq!(granted(&state), 1000 + (LIMIT - 1000) / 16);
    assert!(account.take(more, now));
    // Without the file.
    assert!(account.take(Amount::bytes(90_000), now) && !account.take(Amount::bytes(10_000), now));
    assert_eq!(write(&mut account, now), None);
    account.give_back(Amount::bytes(90_000));
    // What nobody has asked for is given back, and what a push has is not.
    let state = write(&mut account, now + Duration::from_secs(2)).unwrap();
    assert_eq!((granted(&state), account.promised().bytes), (1000, 1000));
    account.give_back(more);
    assert_eq!(granted(&write(&mut account, now + Duration::from_secs(2)).unwrap()), 0);
    assert!(!account.is_restless());
}

#[test]
fn near_the_end_nothing_to_speak_of_is_taken_ahead() {
    let mut state = State::new("a");
    state.used.bytes = LIMIT - 1000;
    let (mut account, now) = (account(state), Instant::now());
    let want = account.want(Amount::bytes(984));
    assert_eq!(granted(&write(&mut account, now).unwrap()), 985);
    account.wants_no_more(want);
    assert!(account.take(Amount::bytes(984), now));
    account.want(Amount::bytes(17));
    assert!(write(&mut account, now).is_none_or(|state| granted(&state) == 985));
    let lacking = account.lacking(Amount::bytes(17));
    assert!(lacking.certain && lacking.limit.bytes == LIMIT && lacking.reserved.bytes == 984, "{lacking:?}");
    assert!(!account.lacking(Amount::bytes(16)).certain);
}

#[test]
fn of_those_who_wait_each_gets_what_it_wants_if_it_fits() {
    let mut state = State::new("a");
    state.used.bytes = LIMIT - 100;
    let mut account = account(state);
    for want in [60, 50, 30] {
        account.want(Amount::bytes(want));
    }
    // The second does not fit behind the first.
    assert_eq!(granted(&write(&mut account, Instant::now()).unwrap()), 90);
}

#[test]
fn while_a_draft_is_on_its_way_both_grants_count() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.want(Amount::bytes(1000));
    write(&mut account, now).unwrap();
    account.wants_no_more(1);
    assert!(account.take(Amount::bytes(1000), now));
    // It is about to give back what it has ahead: so nobody may take that any more.
    let state = account.draft(now + Duration::from_secs(2), false).unwrap();
    assert_eq!(granted(&state), 1000);
    assert!(!account.take(Amount::bytes(1), now));
    // Somebody else was faster, so all is as it was.
    let mut other = State::new("a");
    other.grants.insert("me".into(), Grant { amount: Amount::bytes(101_000), beat: 0 });
    let began = account.moment();
    account.read(other, condition(), began);
    assert!(account.take(Amount::bytes(1), now));
}

#[test]
fn content_is_charged_once_and_paid_of_what_was_reserved() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.want(Amount::bytes(1000));
    write(&mut account, now).unwrap();
    account.wants_no_more(1);
    assert!(account.take(Amount::bytes(1000), now));
    let mut reserved = Amount::bytes(1000);
    account.added(short(1), 600, &mut reserved);
    account.added(short(1), 600, &mut reserved);
    assert_eq!((reserved.bytes, account.used().bytes, account.promised().bytes), (400, 600, 400));
    assert!(account.holds(&short(1)) && !account.holds(&short(2)));
    account.give_back(reserved);
    let state = write(&mut account, now).unwrap();
    assert_eq!((state.used.bytes, state.recent.len(), account.used().bytes), (600, 1, 600));
    account.removed(short(1), 600);
    account.removed(short(2), 600);
    let state = write(&mut account, now).unwrap();
    assert_eq!((state.used.bytes, state.recent.len()), (0, 2));
}

#[test]
fn what_another_instance_has_told_of_meanwhile_costs_nothing() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.added(short(1), 600, &mut Amount::default());
    assert_eq!(account.used().bytes, 600);
    let mut other = State::new("a");
    other.used.bytes = 600;
    account.held = Held::new(None, vec![short(1)]);
    let began = account.moment();
    account.read(other, condition(), began);
    assert_eq!(account.used().bytes, 1200);
    assert_eq!(account.draft(now, false), None);
    assert_eq!((account.used().bytes, account.is_restless()), (600, false));
}

#[test]
fn a_draft_that_was_written_though_nobody_said_so_is_not_written_again() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.added(short(1), 600, &mut Amount::default());
    account.tag_added();
    let mut state = account.draft(now, false).unwrap();
    assert!(account.is_unsure());
    // Another instance wrote since.
    state.used.bytes += 50;
    account.held = Held::new(None, vec![short(1)]);
    let began = account.moment();
    account.read(state, condition(), began);
    assert_eq!(account.used(), Amount { bytes: 650, tags: 1 });
    assert_eq!(account.draft(now, false), None);
}

#[test]
fn a_draft_that_is_written_late_is_known_again() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.tag_added();
    let late = account.draft(now, false).unwrap();
    // Nobody heard of it, and it is not there yet.
    let began = account.moment();
    account.read(State::new("a"), condition(), began);
    account.tag_added();
    assert_eq!(account.draft(now, false).unwrap().used.tags, 2);
    // Now it is, so the second one cannot be.
    let began = account.moment();
    account.read(late, condition(), began);
    assert_eq!(account.used().tags, 2);
    assert_eq!(account.draft(now, false).unwrap().used.tags, 2);
}

#[test]
fn an_instance_that_says_nothing_for_long_holds_nothing_and_one_that_does_is_left_alone() {
    let mut state = State::new("a");
    state.grants.insert("dead".into(), Grant { amount: Amount::bytes(LIMIT / 2), beat: 7 });
    state.grants.insert("alive".into(), Grant { amount: Amount::bytes(LIMIT / 2), beat: 7 });
    let (mut account, now) = (account(state.clone()), Instant::now());
    let want = Amount::bytes(LIMIT / 2);
    account.want(want);
    assert!(write(&mut account, now).is_none_or(|state| granted(&state) == 0));
    assert!(!account.lacking(want).certain);
    // `read` looks at the clock itself: the beat of who is alive is seen later than the one that stays.
    std::thread::sleep(Duration::from_millis(1));
    let began = account.moment();
    if let Some(alive) = state.grants.get_mut("alive") {
        alive.beat += 1;
    }
    account.read(state, condition(), began);
    let later = now + DEAD;
    let state = write(&mut account, later).unwrap();
    assert!(!state.grants.contains_key("dead") && state.grants.contains_key("alive"), "{state:?}");
    assert_eq!(granted(&state), LIMIT / 2);
}

#[test]
fn an_instance_that_holds_something_says_that_it_is_there() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.want(Amount::bytes(10));
    write(&mut account, now).unwrap();
    account.wants_no_more(1);
    assert!(account.take(Amount::bytes(10), now));
    let mut beat = 0;
    let mut beats = 0;
    for seconds in (0..90).step_by(5) {
        if let Some(state) = account.draft(Instant::now() + Duration::from_secs(seconds), false) {
            beats += u64::from(state.grants["me"].beat != beat);
            beat = state.grants["me"].beat;
            account.written(state, condition());
        }
    }
    assert!(beats >= 3, "{beats}");
}

#[test]
fn what_waits_for_its_next_request_may_come_back() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.want(Amount::bytes(LIMIT));
    write(&mut account, now).unwrap();
    account.wants_no_more(1);
    let all = Amount::bytes(LIMIT);
    assert!(account.take(all, now));
    assert!(account.lacking(Amount::bytes(1)).certain);
    account.park(all);
    assert!(!account.lacking(Amount::bytes(1)).certain);
    account.unpark(all);
    assert!(account.lacking(Amount::bytes(1)).certain);
}

#[test]
fn tags_are_bounded_as_bytes_are() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    let tags = |tags| Amount { bytes: 0, tags };
    account.want(tags(9));
    write(&mut account, now).unwrap();
    account.wants_no_more(1);
    assert!(account.take(tags(9), now));
    account.give_back(tags(9));
    (0..9).for_each(|_| account.tag_added());
    assert_eq!(write(&mut account, now).unwrap().used.tags, 9);
    assert!(account.lacking(tags(2)).certain && !account.lacking(tags(1)).certain);
    account.tag_removed();
    assert_eq!((account.used().tags, write(&mut account, now).unwrap().used.tags), (8, 8));
    account.want(tags(2));
    write(&mut account, now);
    assert!(account.take(tags(2), now));
}

#[test]
fn who_closes_leaves_nothing_behind() {
    let (mut account, now) = (account(State::new("a")), Instant::now());
    account.want(Amount::bytes(1000));
    write(&mut account, now).unwrap();
    account.wants_no_more(1);
    assert!(account.take(Amount::bytes(1000), now));
    account.added(short(1), 600, &mut Amount::bytes(1000));
    let state = account.draft(now, true).unwrap();
    assert_eq!((state.used.bytes, state.grants.len()), (600, 0));
}
