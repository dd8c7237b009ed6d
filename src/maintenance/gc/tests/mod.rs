//! Collections of a registry over storage in memory and on a disk, with time moved by the test.

mod counts;
mod garbage;
mod kills;
mod orders;
mod races;
mod schedules;
mod turns;
mod two;
mod undelete;
mod untagged;
mod yard;

/// How many times as many orders as usual.
fn times() -> u64 {
    std::env::var("ENTREPOT_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
