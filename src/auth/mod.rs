//! Who asks, and what they may do: found out once for each request, by the door, before anything is looked up.
//!
//! - `identity`: who somebody is; `permission`: what can be allowed; `policy`: the rules, and the one decision
//! - `credential`: what `Authorization` says; `authenticator`: whose it is; `logins`: how many are looked at
//! - `htpasswd`, `passwords`: users; `robot`: secrets made for programs; `token`, `jwt`: tokens of our own
//! - `workload`: those whom others vouch for: OIDC issuers, another token service
//! - `service`: what the token endpoint answers, with `refresh` for what clients keep instead of a password; `challenge`: how a
//!   client is told to go there; `vouch`: tokens of ours for peers that believe them
//! - `permit`: the decision, as those who answer carry it along: they ask it what only they know enough to ask
//! - `turned_away`: why somebody was not let in, for those who record it
//! - `shelf`: what the instances of a fleet keep together (robots, keys), given by whoever wires the rooms
//!
//! Before a cluster the peers' own verdicts count too (`verdicts`); this room knows nothing of them.

mod authenticator;
pub mod challenge;
pub mod config;
mod credential;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod htpasswd;
mod identity;
mod jwt;
mod logins;
mod metrics;
pub mod passwords;
mod permission;
mod permit;
mod policy;
mod refresh;
pub mod robot;
pub mod robots;
mod service;
pub mod shelf;
mod token;
mod turned_away;
mod vouch;
pub mod workload;

pub use authenticator::{Authenticator, Caller, Prepared, Proof, Unproven};
pub use challenge::{Challenge, ChallengeError};
pub use config::Config;
pub use credential::Credential;
pub use htpasswd::{fault as htpasswd_fault, unused as htpasswd_unused};
pub use identity::Identity;
pub use logins::Shown;
pub use metrics::Metrics;
pub use permission::Permission;
pub use permit::{Permit, Refused};
pub use policy::{Asked, Asker, Decision, Policy, RuleError, Why};
pub use service::{Answer, Ask, MAX_FORM};
pub use shelf::Shelf;
pub use token::{Claims, KeySet, Signing, Subject, read_claims};
pub use turned_away::TurnedAway;
