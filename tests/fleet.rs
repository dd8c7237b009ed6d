//! Several Entrepots over one bucket are one registry.

mod deletions;
pub mod instances;
mod redis_evicts;
mod redis_faults;
pub mod register;
mod rolling;
mod tag_race;
mod uploads_of_many;

#[test]
fn redis_killed_flushed_and_stalled_fails_no_pull_and_no_push() {
    redis_faults::redis_fails_under(400);
}

#[test]
fn a_rolling_restart_fails_no_pull_and_no_push() {
    rolling::rolling_restarts_fail_nothing(200, 1);
}
