//! What requests may hold of memory beside their bodies, all connections together: heads as they were received, streams, and
//! what answers wait in. Each connection has limits of its own (fields, bytes of a head, streams); this bounds their product.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

use super::state::ConnectionState;

/// Bytes of the whole process.
const PROCESS: u64 = 96 << 20;
/// Bytes of one connection: all its streams with usual heads, or a few with heads as large as may be.
const CONNECTION: u64 = 4 << 20;
/// So much every connection may hold even when the process is at its bound: one usual request.
const ALWAYS: u64 = 12 << 10;
/// What a request takes beside its head: its task, its context, its place in the library's tables.
const REQUEST: u64 = 4 << 10;
/// What a field takes beside its bytes.
const FIELD: u64 = 100;

static HELD: AtomicU64 = AtomicU64::new(0);

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: u64,
    connection: Arc<ConnectionState>,
}

/// Who holds too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// This connection, by itself: its client asks for too much.
    Connection,
    /// All together: whoever comes now is turned away, and loses nothing that is under way.
    Process,
}

/// Takes what a request with so many fields of so many bytes needs.
pub(super) fn hold(connection: &Arc<ConnectionState>, fields: usize, bytes: usize) -> Result<Held, Excess> {
    let bytes = REQUEST + fields as u64 * FIELD + bytes as u64;
    let own = connection.held().fetch_add(bytes, Relaxed) + bytes;
    let all = HELD.fetch_add(bytes, Relaxed) + bytes;
    let held = Held { bytes, connection: Arc::clone(connection) };
    // Dropped, it gives back what is too much.
    match (own, all) {
        (..=ALWAYS, _) => Ok(held),
        (..=CONNECTION, ..=PROCESS) => Ok(held),
        (..=CONNECTION, _) => Err(Excess::Process),
        _ => Err(Excess::Connection),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.held().fetch_sub(self.bytes, Relaxed);
        HELD.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_holds_so_much_and_no_more() {
        let connection = Arc::new(ConnectionState::new());
        let mut held = Vec::new();
        while let Ok(more) = hold(&connection, 100, 60 << 10) {
            held.push(more);
        }
        assert!((40..100).contains(&held.len()), "{}", held.len());
        held.pop();
        assert!(hold(&connection, 10, 500).is_ok());
        held.extend((0..3).map_while(|_| hold(&connection, 100, 60 << 10).ok()));
        assert_eq!(hold(&connection, 100, 60 << 10).err(), Some(Excess::Connection));
        drop(held);
        assert_eq!(connection.held().load(Relaxed), 0);
    }
}
