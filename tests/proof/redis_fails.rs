//! Redis killed, flushed and stalled during 2,000 pulls and 200 pushes at three instances.

#[path = "../fleet/instances.rs"]
pub mod instances;
#[path = "../fleet/redis_faults.rs"]
mod redis_faults;

#[test]
fn redis_that_fails_again_and_again_fails_none_of_two_thousand_pulls_and_two_hundred_pushes() {
    redis_faults::redis_fails_under(2000);
}
