//! The configuration: a TOML file with the environment laid over it, read into the rooms' own
//! structs and checked across them. Owns where values come from and what is wrong with them; what a
//! key means belongs to the room whose struct it fills. Rooms get their struct and never import this.
//!
//! [`tree`] parses, [`environment`] overlays, [`secrets`] follows `…_file`, [`read`] gives types,
//! [`check`] looks across sections, [`warnings`] says what is allowed and may not be meant, [`reload`] what a running
//! process cannot change, [`written`] the texts as they stand. [`distribution`] understands the files and variables of registry:2.

mod check;
pub mod distribution;
mod environment;
mod errors;
mod fault;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod known;
pub mod model;
mod read;
mod reload;
mod secrets;
mod source;
mod tree;
mod warnings;
mod written;

pub use environment::{PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, SUCCESSOR_VARIABLE, USER_VARIABLE};
pub use errors::Errors;
pub use file::text_after_name as text_of;
pub use model::Config;
pub use source::Source;
pub use written::Written;

#[cfg(test)]
mod tests;
