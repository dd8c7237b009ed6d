//! Garbage is collected while others push, pull and collect: from outside, with real registries and clients.

mod beside_distribution;
mod book;
mod crowd;
mod killed;
mod undelete;
mod under_pushes;
mod world;
