//! When manifests were pulled last, and how often: for retention, for what a collection may take that no tag leads to, for
//! statistics. By the day, which costs a write a day for what is pulled all the time.
//!
//! - [`Pulls`] notes pulls in memory as they are answered, and writes them down every minute, one file a repository
//! - [`Pulled`] is what such a file says; `recording`, since when there are any; [`WrittenPulls`] answers collections by them
//!
//! Wherever something is not known (nobody recorded yet, memory was full, a file is damaged), what there is counts as pulled
//! then: rather too much is kept. Pulls that other programs answer are not seen, nor those of the last minute of a process that
//! is killed.

mod asked;
mod memory;
mod recording;
mod stored;

#[cfg(test)]
mod tests;

pub use asked::WrittenPulls;
pub use memory::{Metrics, Pulls};
#[cfg(test)]
pub use recording::Recording;
pub use stored::{Pulled, recorded_since};
