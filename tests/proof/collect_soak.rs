//! Everybody at once, for twenty minutes shared by five soaks: on a volume and in a bucket, beside distribution that has no cache, that
//! remembers in its memory (on the volume) or in Redis (in the bucket), and in a bucket alone. `ENTREPOT_SOAK=3h make proof` for longer.
//! Where the machine is too slow for so many pushes in that time, it goes on for up to twice of it.

#[path = "../collect/book.rs"]
mod book;
#[path = "../collect/crowd.rs"]
mod crowd;
#[path = "../collect/world.rs"]
mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crowd::{Beside, Scale};

use crate::ground::Ground;

/// All together, if nothing is said.
const USUAL: Duration = Duration::from_secs(20 * 60);
/// Of all soaks, in the usual time. Two cores push three times as much onto a volume as into a bucket of a MinIO beside them.
const PUSHES: u64 = 20_000;
const PUSHES_VOLUME: u64 = 7000;
const PUSHES_BUCKET: u64 = 2000;
const KILLS: u64 = 200;

#[test]
fn nothing_is_lost_and_nothing_is_left_while_everybody_pushes_for_long() {
    let all = match std::env::var("ENTREPOT_SOAK") {
        Ok(text) => humantime::parse_duration(&text).expect("ENTREPOT_SOAK is a time such as 3h"),
        Err(_) => USUAL,
    };
    let of_usual = |count: u64| (count as f64 * all.as_secs_f64() / USUAL.as_secs_f64()) as u64;
    let bucket = Scale {
        time: all.mul_f64(0.16),
        pushes: of_usual(PUSHES_BUCKET),
        instances: 3,
        pushers: 8,
        beside: Beside::Uncached,
        redis: false,
        grace: 10,
        reap_after: 12,
        kills: of_usual(KILLS),
    };
    let volume = Scale { time: all.mul_f64(0.26), pushes: of_usual(PUSHES_VOLUME), ..bucket };
    let soaks = [
        ("a volume, distribution without a cache", Ground::volume(), volume),
        ("a bucket, distribution without a cache, Redis", Ground::bucket(), Scale { redis: true, ..bucket }),
        ("a volume, distribution that remembers", Ground::volume(), Scale { beside: Beside::InMemory, ..volume }),
        (
            "a bucket, distribution that remembers in Redis",
            Ground::bucket(),
            Scale { beside: Beside::InRedis, redis: true, ..bucket },
        ),
        ("a bucket, nobody else", Ground::bucket(), Scale { beside: Beside::Nobody, ..bucket }),
    ];
    let (begun, mut pushes, mut kills) = (Instant::now(), 0, 0);
    for (what, ground, scale) in soaks {
        println!("== {what}, {:?}", scale.time);
        let tally = crowd::crowd(ground, scale);
        pushes += tally.pushes.load(Ordering::Relaxed);
        kills += tally.kills.load(Ordering::Relaxed);
    }
    println!("{pushes} pushes, {kills} collections killed, in {:?}", begun.elapsed());
    assert!(pushes >= of_usual(PUSHES), "{pushes} pushes are too few to show anything");
    assert!(kills >= of_usual(KILLS), "{kills} collections were killed");
}
