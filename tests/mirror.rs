//! Other registries through Entrepot: named in every way that clients know, asked as little as can be, and served when they are gone.

mod blobs;
mod breaker;
mod budget;
mod callers;
mod complete;
mod credentials;
mod edges;
mod engines;
mod faults;
mod fleet;
mod lists;
mod names;
mod operators;
mod overlay;
mod permissions;
mod ranges;
mod reach;
mod restarts;
mod small_cache;
mod tags;
mod upstreams;
pub mod world;

#[test]
fn a_remote_that_fails_in_every_way_at_every_step_poisons_nothing() {
    faults::a_remote_fails(110, 1);
}
