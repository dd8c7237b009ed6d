//! 200 times `kill -9` during pushes, on a volume and over a bucket.

use crate::ground::Ground;

#[path = "../crash/kills.rs"]
mod kills;
#[path = "../crash/pushes.rs"]
mod pushes;

const KILLS: u64 = 200;

#[test]
fn two_hundred_kills_on_a_volume_lose_nothing_acknowledged() {
    kills::kill_during_pushes(&Ground::volume(), KILLS);
}

#[test]
fn two_hundred_kills_over_a_bucket_lose_nothing_acknowledged() {
    kills::kill_during_pushes(&Ground::bucket(), KILLS);
}
