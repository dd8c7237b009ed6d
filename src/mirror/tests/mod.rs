//! Behaviour of tags and manifests, by a scripted registry on loopback and the integrated registry over storage in memory.

mod blobs;
mod callers;
mod down;
mod fake;
mod kept;
mod lists;
mod manifests;
mod overlay;
mod tags;
mod warm;
mod world;

use fake::{Fake, Mode, Scripted};
use world::World;
