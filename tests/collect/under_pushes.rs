//! A minute of everybody at once, at the scale of every commit. `make proof` has the long ones.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::crowd::{Beside, Scale, crowd};
use crate::ground::Ground;

const MINUTE: Scale = Scale {
    time: Duration::from_secs(60),
    pushes: 0,
    instances: 2,
    pushers: 4,
    beside: Beside::Nobody,
    redis: false,
    grace: 6,
    reap_after: 8,
    kills: 5,
};

#[test]
fn nothing_is_lost_and_nothing_is_left_on_a_volume_that_distribution_writes_too() {
    let tally = crowd(Ground::volume(), Scale { beside: Beside::Uncached, ..MINUTE });
    assert!(tally.pushes.load(Ordering::Relaxed) > 0 && tally.freed.load(Ordering::Relaxed) > 0);
}

#[test]
fn nothing_is_lost_and_nothing_is_left_in_a_bucket_of_a_fleet_with_redis() {
    let tally = crowd(Ground::bucket(), Scale { redis: true, ..MINUTE });
    assert!(tally.pushes.load(Ordering::Relaxed) > 0 && tally.freed.load(Ordering::Relaxed) > 0);
}
