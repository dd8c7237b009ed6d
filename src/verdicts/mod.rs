//! Who may read what, as the peers said: in front of registries that hold the permissions, their own answers are the
//! only truth, and this room remembers them for a while, bounded, and over restarts. It asks nobody (`front`
//! does) and knows no peers.
//!
//! Two facts are kept apart: a credential *may read* a repository, and a repository *holds* a digest. Beside them, for
//! the time when no peer answers, what a tag meant and how `/v2/` was answered. Only good answers are remembered, and how `/v2/` challenges.
//!
//! - [`Verdicts`]: the facts and what withdraws them
//! - [`Credential`]: who is asking, without the secret
//! - [`Metrics`]: what is counted

mod clock;
mod credential;
mod facts;
mod journal;
#[cfg(any(test, fuzzing))]
pub use journal::fuzz;
mod jwt;
mod key;
mod memory;
mod metrics;
mod table;

pub use credential::Credential;
pub use facts::{PingAnswer, TagAnswer};
pub use key::Jurisdiction;
pub use memory::{Generation, Verdicts};
pub use metrics::{Metrics, PermissionResult};
