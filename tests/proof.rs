//! What is too long for every commit: `make proof`. Counts and contents are asserted; times are printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, and its helpers are tests too"
)]
#![allow(
    clippy::too_many_lines,
    clippy::too_many_arguments,
    reason = "a behaviour is told from its beginning to its end"
)]

mod ground;
mod harness;

#[path = "proof/cold_herd.rs"]
mod cold_herd;
#[path = "proof/collect_soak.rs"]
mod collect_soak;
#[path = "proof/ended_tokens.rs"]
mod ended_tokens;
#[path = "proof/key_swaps.rs"]
mod key_swaps;
#[path = "proof/killed_pushes.rs"]
mod killed_pushes;
#[path = "proof/large_pushes.rs"]
mod large_pushes;
#[path = "proof/lost_answers.rs"]
mod lost_answers;
#[path = "proof/many_entries.rs"]
mod many_entries;
#[path = "proof/mirror_faults.rs"]
mod mirror_faults;
#[path = "proof/redis_fails.rs"]
mod redis_fails;
#[path = "proof/registry_killed.rs"]
mod registry_killed;
#[path = "proof/rolling_changes.rs"]
mod rolling_changes;
#[path = "proof/rolling_restart.rs"]
mod rolling_restart;
#[path = "proof/rotating_keys.rs"]
mod rotating_keys;
#[path = "proof/six_gibibytes.rs"]
mod six_gibibytes;
#[path = "proof/upgrade_load.rs"]
mod upgrade_load;
