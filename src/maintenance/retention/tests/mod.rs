//! The rules by a table of what others document of theirs, and by properties; runs over a registry, with its lists and storage.

mod cases;
mod properties;
mod runs;
mod table;
mod world;
