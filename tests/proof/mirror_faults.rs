//! A thousand ways for a remote to fail, one after the other.

#[path = "../mirror/faults.rs"]
mod faults;
#[path = "../mirror/world.rs"]
mod world;

#[test]
fn a_remote_that_fails_a_thousand_times_poisons_nothing() {
    for seed in 2..6 {
        faults::a_remote_fails(250, seed);
    }
}
