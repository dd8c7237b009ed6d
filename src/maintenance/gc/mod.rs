//! Garbage collection, while everybody pushes: what nothing needs is unlinked, moved to a trash after a while, and deleted for good
//! after another.
//!
//! A run walks over everything once or twice, in phases that are written down as they end (`state`), so that one that was cut off goes
//! on:
//!
//! 1. `mark`: what is needed. A repository after the other (`view`): what its manifests name (`references`), what follows from that
//!    (`reach`, `roots`), which of its links nothing needs: these are taken away (`condemn`), and written again where a manifest turns
//!    out to need them (`heal`, `evidence`). All that is needed is held in memory (`marks`).
//! 2. `unlinked`: which blobs no repository links, and since when.
//! 3. `look`, `reap`: of those that were unlinked for long enough, or lie in the trash for long enough, it is looked once more, over
//!    all links, whether anybody needs them; then they are moved, or deleted. Why nothing is lost by that: see `reap`.
//!
//! `run` is what holds that together; `missing` refuses blobs without repositories, `lease` keeps others from the same work, `pace` and `hours` from taking storage for itself;
//! `undelete` brings back what was taken, as far as it can come back `whole`. `report` has the values that are ordered and told.
//!
//! The races that others lost images to, and where they are met:
//!
//! | a writer | and a collection | met by |
//! |---|---|---|
//! | pushes a blob, its manifest comes later | sees a blob that nothing needs | `reach`: younger than `grace` stays, by the link's age |
//! | asks for an old blob by HEAD, leaves it out, pushes the manifest | takes the link between the two | `heal`: the journal knows the link, the bytes are there for `reap_after`; pushes and reads of ours bring it back at once |
//! | mounts, or uploads, an old blob again | sees old bytes | the link is new: `condemn` looks at it again before it goes; `look` finds links of any age |
//! | checks what a manifest names, stalls, writes it | deletes in between | `condemn` lists the manifests once more, twice; `look`; the trash |
//! | moves a tag, or pushes an index for old manifests | takes those manifests | `reach` follows every digest in every list; `heal`, also by tag |
//! | believes its own memory (another program) | has deleted | the bytes are in the trash for `grace` more: `look` brings them back |

mod collector;
mod condemn;
mod config;
mod error;
mod evidence;
mod heal;
mod hours;
mod lease;
mod look;
mod mark;
mod marks;
mod metrics;
mod missing;
#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "model/longer.rs"]
mod model_longer;
mod pace;
mod reach;
mod reap;
mod references;
mod report;
mod roots;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod undelete;
mod unlinked;
mod view;
mod whole;
mod work;

pub use collector::Collector;
#[cfg(test)]
pub use config::Untagged;
pub use config::{Config, Foreign};
pub use error::GcError;
pub use lease::given_back;
pub use metrics::Metrics;
pub use report::{Needs, Order, Report, Step, Tell, Trash, Undelete, Young};
#[cfg(test)]
pub use state::Phase;
pub use time::Time;
pub use work::{LastPulls, Parts};
