//! Everybody at once, for twenty minutes shared by five soaks: on a volume and in a bucket, beside distribution that has no cache, that
//! remembers in its memory (on the volume) or in Redis (in the bucket), and in a bucket alone. `ENTREPOT_SOAK=3h make proof` for longer.

#[path = "../collect/book.rs"]
mod book;
#[path = "../collect/crowd.rs"]
mod crowd;
#[path = "../collect/world.rs"]
mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use crowd::{Beside, Scale};

use crate::ground::Ground;

/// All together, if nothing is said.
const USUAL: Duration = Duration::from_secs(20 * 60);
/// For each second of all soaks: 20,000 in twenty minutes. Each soak ends with some time in which nothing is pushed, which is in it.
const PUSHES: f64 = 20_000.0 / (20.0 * 60.0);

#[test]
fn nothing_is_lost_and_nothing_is_left_while_everybody_pushes_for_long() {
    let all = match std::env::var("ENTREPOT_SOAK") {
        Ok(text) => humantime::parse_duration(&text).expect("ENTREPOT_SOAK is a time such as 3h"),
        Err(_) => USUAL,
    };
    let scale = Scale {
        time: all / 5,
        instances: 3,
        pushers: 8,
        beside: Beside::Uncached,
        redis: false,
        grace: 10,
        reap_after: 12,
        kills: 50,
    };
    let soaks = [
        ("a volume, distribution without a cache", Ground::volume(), scale),
        ("a bucket, distribution without a cache, Redis", Ground::bucket(), Scale { redis: true, ..scale }),
        ("a volume, distribution that remembers", Ground::volume(), Scale { beside: Beside::InMemory, ..scale }),
        (
            "a bucket, distribution that remembers in Redis",
            Ground::bucket(),
            Scale { beside: Beside::InRedis, redis: true, ..scale },
        ),
        ("a bucket, nobody else", Ground::bucket(), Scale { beside: Beside::Nobody, ..scale }),
    ];
    let (mut pushes, mut kills) = (0, 0);
    for (what, ground, scale) in soaks {
        println!("== {what}, {:?}", scale.time);
        let tally = crowd::crowd(ground, scale);
        pushes += tally.pushes.load(Ordering::Relaxed);
        kills += tally.kills.load(Ordering::Relaxed);
    }
    println!("{pushes} pushes, {kills} collections killed, in {all:?}");
    assert!(pushes as f64 >= PUSHES * all.as_secs_f64(), "{pushes} pushes are too few to show anything");
    assert!(kills >= 200 || all < USUAL, "{kills} collections were killed");
}
