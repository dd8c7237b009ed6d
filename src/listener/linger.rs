//! Lingering close: after our last byte, what the client still sends is read and thrown away.
//!
//! Closing a socket with unread bytes makes the kernel send a reset, and a reset makes the
//! client's kernel forget the answer (a 401 or 413) that it had not read yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

use rustix::net::Shutdown;

use super::wire::Wire;

/// No connection lingers longer than this …
const TIME: Duration = Duration::from_secs(5);
/// … or for more bytes than this.
const BYTES: usize = 16 << 20;
/// Connections of the whole process that may linger at once; others are closed at once.
const CONNECTIONS: usize = 1_000;

static LINGERING: AtomicUsize = AtomicUsize::new(0);

struct Lingering;

impl Lingering {
    fn take() -> Option<Lingering> {
        let taken = LINGERING.fetch_update(AcqRel, Acquire, |count| (count < CONNECTIONS).then_some(count + 1));
        taken.ok().map(|_| Lingering)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, AcqRel);
    }
}

/// Closes our side and drains the other in a task of its own.
pub(super) fn start(wire: Arc<Wire>) {
    if rustix::net::shutdown(&*wire, Shutdown::Write).is_err() {
        return;
    }
    let (Some(place), Ok(runtime)) = (Lingering::take(), tokio::runtime::Handle::try_current()) else {
        return;
    };
    runtime.spawn(async move {
        let _place = place;
        let _ = tokio::time::timeout(TIME, drain(&wire)).await;
    });
}

async fn drain(wire: &Wire) {
    let mut scratch = vec![0; 16 << 10];
    let mut drained = 0;
    while drained < BYTES && wire.readable().await.is_ok() {
        match wire.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(count) => drained += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
