//! Storage that is filled, damaged in known ways, and looked at.

mod damages;
mod meanwhile;
mod repairs;
mod samples;
mod world;
