//! 10,000 pulls and 1,000 pushes, while the three instances behind one that balances are restarted one after the other.

#[path = "../fleet/rolling.rs"]
mod rolling;

use crate::redis_fails::instances;

#[test]
fn rolling_restarts_fail_none_of_ten_thousand_pulls_and_a_thousand_pushes() {
    rolling::rolling_restarts_fail_nothing(10_000, 3);
}
