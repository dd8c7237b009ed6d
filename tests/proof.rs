//! What is too long for every commit: `make proof`. Counts and contents are asserted; times are printed.

mod harness;

#[path = "proof/cold_herd.rs"]
mod cold_herd;
#[path = "proof/many_entries.rs"]
mod many_entries;
#[path = "proof/registry_killed.rs"]
mod registry_killed;
#[path = "proof/rolling_changes.rs"]
mod rolling_changes;
#[path = "proof/six_gibibytes.rs"]
mod six_gibibytes;
