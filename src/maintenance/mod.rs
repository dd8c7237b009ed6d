//! What looks after the registry's storage while it serves, or without a server, by a command:
//!
//! - `gc`: what nothing needs is taken away: first its links, then its bytes to the trash, then for good
//! - `retention`: which tags stay
//! - `verify`: whether every blob is what its digest says, and everything that is named is there
//! - `stats`: how much there is
//! - `repositories`: what an operator does with tags, manifests and repositories
//! - `journal`: what was taken away, so that it can be brought back
//! - `restored`: when tags were pushed that were brought back
//! - `pulls`: when manifests were pulled last
//! - `schedule`: when what is done by itself begins
//!
//! Opens storage itself where no registry runs. Knows no HTTP.

pub mod day;
pub mod gc;
pub mod journal;
pub mod pulls;
pub mod repositories;
pub mod restored;
pub mod retention;
pub mod schedule;
pub mod stats;
pub mod verify;
