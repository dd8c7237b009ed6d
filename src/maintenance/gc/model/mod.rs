//! The protocol of collection as a small machine, searched through completely: writers, readers and collectors whose every
//! call to storage is one step, and every order of steps.
//!
//! It imports nothing of the crate, so that it can be searched without building it:
//! `rustc --edition 2024 --test src/maintenance/gc/model/mod.rs`.
//!
//! - `world`: what storage holds, and where each process stands
//! - `setup`: the design (and what may be left out of it), and who is there
//! - `writer`: pushes, as ours and as distribution's do them
//! - `reader`: a pull that brings back what it needs
//! - `collector`: mark, condemn, look, move, look again, delete
//! - `search`: all orders of steps, and the shortest one that ends badly
//! - `settle`: what is left when everybody is done and collections have run
//!
//! What is not in it: the content of manifests is known to whoever needs it (a manifest that cannot be read keeps its whole
//! repository); a write is there or it is not; at most two blobs, of which the first may be a manifest that names the second.
//!
//! # What the search found
//! Each is a test: with the rule nothing is lost, without it the search tells how it is.
//! 1. Each move has a name of its own in the trash. With one name for all, a collector that deletes an old copy deletes the one that
//!    another, late one has just moved there, of a blob that was pushed again meanwhile.
//! 2. Where bytes are copied and then deleted, a look is believed for a while only, also between the copy and the deletion: a
//!    collector that slept there, while another one went through a whole grace, deletes what was pushed again, and no copy is left.
//! 3. Deleting at once goes through the trash and looks once more after the move: a writer that looked again while
//!    the epoch was odd saw the bytes, rightly, just before they went. What a DELETE without an answer may
//!    delete once more stays in the trash for a grace. It is nothing for foreign writers.
//! 4. The time of a move is taken after it. Taken before, a collector that stalls between the two makes the grace short, and a
//!    foreign writer between its check and its link loses.
//! 5. A look follows what manifests name to the end, also through one whose own link is missing.
//! 6. A writer of an index that looks again does not let be a child whose link was taken away. It refuses, or brings back what the
//!    child names *before* it links the child: a link that is there lets the next push believe that all below it is. The
//!    same holds for a collector, or a read, that links a child again: first the bytes below it are in their place and linked.
//! 7. Who finds no bytes in place, and then none in the trash, looks in place once more: another may have brought them back.
//! 8. A grace is longer than the longest request of a foreign writer and the latest execution of a DELETE together.

mod collector;
mod reader;
pub(crate) mod search;
pub(crate) mod settle;
pub(crate) mod setup;
mod tests;
pub(crate) mod world;
pub(crate) mod writer;
