//! Deadlines and least rates of all connections of a listener: one look at each, every [`TICK`].
//!
//! A connection costs no timer. Only time in which we wait for the client counts: a read that is
//! pending with nothing in the kernel's buffer, a write that is pending while the client takes
//! nothing. A slow peer of ours leaves neither.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pingora_core::protocols::l4::ext::get_tcp_info;
use rustix::net::Shutdown;

use super::config::Config;
use super::metrics::ListenerMetrics;
use super::state::{ConnectionState, Deadline, Moment, Phase, TICK, advance_clock, now};
use super::window::Window;
use super::wire::Wire;

/// After our last word (an error, GOAWAY, close_notify) a client has this long to take it.
const CLOSING: Duration = Duration::from_secs(10);

/// A connection that is too old and has had an answer sooner than that may be asking again just now: the next answer tells it.
const QUIET: Duration = Duration::from_secs(1);

pub(super) struct Table {
    inner: Mutex<Inner>,
    metrics: Arc<ListenerMetrics>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<u64, Entry>,
    next: u64,
    swept: u64,
}

struct Entry {
    state: Arc<ConnectionState>,
    wire: Weak<Wire>,
    settings: Arc<Config>,
    /// When it is too old, on the coarse clock.
    ends_at: Option<u64>,
    seen: Option<Moment>,
    request: Window,
    response: Window,
}

/// A connection's place in the table, given back when dropped.
pub(super) struct Registration {
    table: Arc<Table>,
    id: u64,
}

/// What the sweeper does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Bear,
    /// Let its task say a last word.
    Finish(Deadline),
    /// Close it now.
    Shut(Deadline),
}

impl Table {
    pub(super) fn new(metrics: Arc<ListenerMetrics>) -> Table {
        let inner = Inner { swept: advance_clock(), ..Inner::default() };
        Table { inner: Mutex::new(inner), metrics }
    }

    pub(super) fn register(
        self: &Arc<Self>,
        state: &Arc<ConnectionState>,
        wire: &Arc<Wire>,
        settings: &Arc<Config>,
    ) -> Registration {
        let mut inner = self.inner.lock();
        let id = inner.next;
        inner.next += 1;
        let entry = Entry {
            state: Arc::clone(state),
            wire: Arc::downgrade(wire),
            settings: Arc::clone(settings),
            ends_at: ends_at(settings.max_age.0),
            seen: None,
            request: Window::default(),
            response: Window::default(),
        };
        inner.entries.insert(id, entry);
        Registration { table: Arc::clone(self), id }
    }

    /// Judges every connection.
    pub(super) fn sweep(&self) {
        let now = advance_clock();
        let mut inner = self.inner.lock();
        // When we were late, or stopped for a while, clients are not to blame for all of it.
        let passed = now.saturating_sub(inner.swept).min(4 * millis(TICK));
        inner.swept = now;
        for entry in inner.entries.values_mut() {
            if entry.retire_when_old(now) {
                self.metrics.retired();
            }
            let first = entry.state.expired().is_none();
            let deadline = match entry.judge(now, passed) {
                Verdict::Bear => continue,
                Verdict::Finish(deadline) => {
                    entry.state.expire(deadline);
                    entry.finish();
                    deadline
                }
                Verdict::Shut(deadline) => {
                    entry.state.expire(deadline);
                    entry.shut(Shutdown::Both);
                    deadline
                }
            };
            if first {
                self.metrics.expired(deadline);
            }
        }
    }

    /// For a drain: ends what is idle now, and h2 connections with their last stream.
    pub(super) fn finish_idle(&self) {
        for entry in self.inner.lock().entries.values() {
            let seen = entry.state.moment();
            let idle = matches!(seen.phase(), Phase::Idle | Phase::FirstByte);
            // Not if a request has come meanwhile: its answer says that it is the last.
            if entry.state.is_multiplexed() || (idle && entry.unread() == 0 && entry.state.close_from(seen)) {
                entry.finish();
            }
        }
    }

    /// Lets no connection outlive its present requests, or, where there is none, its next one.
    pub(super) fn retire_all(&self) {
        for entry in self.inner.lock().entries.values() {
            entry.state.retire();
            if entry.state.is_multiplexed() {
                entry.finish();
            }
        }
    }

    /// Closes every connection now.
    pub(super) fn kill(&self) {
        for entry in self.inner.lock().entries.values() {
            entry.state.expire(Deadline::Closing);
            entry.shut(Shutdown::Both);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.inner.lock().entries.remove(&self.id);
    }
}

/// With a tenth of jitter in both directions.
fn ends_at(max_age: Duration) -> Option<u64> {
    let age = millis(max_age);
    let tenth = age / 10;
    (age > 0).then(|| now() + age - tenth + rand::random_range(0..=2 * tenth))
}

impl Entry {
    /// From then on every answer says that it is the last; who waits between requests is told now. True the first time.
    fn retire_when_old(&mut self, now: u64) -> bool {
        if self.ends_at.is_none_or(|end| now < end) {
            return false;
        }
        let first = !self.state.is_retired();
        self.state.retire();
        if self.state.is_multiplexed() {
            self.ends_at = None;
            self.finish();
            return first;
        }
        let seen = self.state.moment();
        let quiet = seen.phase() == Phase::Idle && now.saturating_sub(seen.since()) >= millis(QUIET);
        // Not if a request has come meanwhile: that one is told.
        if quiet && self.unread() == 0 && self.state.close_from(seen) {
            self.ends_at = None;
            self.finish();
        }
        first
    }

    fn judge(&mut self, now: u64, passed: u64) -> Verdict {
        let seen = self.state.moment();
        if self.seen.replace(seen) != Some(seen) {
            (self.request, self.response) = (Window::default(), Window::default());
        }
        // Stamps may be early by one tick.
        let overdue = |limit: Duration| now.saturating_sub(seen.since()) > millis(limit.saturating_add(TICK));
        let finish = |entry: &Entry, deadline| match entry.state.close_from(seen) {
            true => Verdict::Finish(deadline),
            false => Verdict::Bear,
        };
        let timeouts = &self.settings.timeouts;
        match seen.phase() {
            _ if self.state.streams() > 0 => self.judge_bodies(passed),
            Phase::Exchange => self.judge_bodies(passed),
            Phase::Handshake if overdue(timeouts.handshake.0) => Verdict::Shut(Deadline::Handshake),
            Phase::FirstByte if overdue(timeouts.first_byte.0) => finish(self, Deadline::FirstByte),
            Phase::Head if overdue(timeouts.header.0) => finish(self, Deadline::Header),
            // Not if a request has come meanwhile.
            Phase::Idle if overdue(timeouts.keepalive.0) && self.unread() == 0 => finish(self, Deadline::KeepAlive),
            Phase::Closing if overdue(CLOSING) => Verdict::Shut(Deadline::Closing),
            _ => Verdict::Bear,
        }
    }

    fn judge_bodies(&mut self, passed: u64) -> Verdict {
        let window = millis(self.settings.timeouts.body.0);
        let rate = self.settings.min_body_rate.0;
        let waits_for_client = self.state.waits_for_body() && self.unread() == 0;
        if !self.request.judge(waits_for_client, self.state.received(), passed, window, rate) {
            return Verdict::Shut(Deadline::RequestBody);
        }
        let taken = if self.state.waits_to_write() { self.taken() } else { None };
        if !self.response.judge(taken.is_some(), taken.unwrap_or_default(), passed, window, rate) {
            return Verdict::Shut(Deadline::ResponseBody);
        }
        Verdict::Bear
    }

    /// Bytes that the client has sent and we have not read.
    fn unread(&self) -> u64 {
        self.wire.upgrade().and_then(|wire| rustix::io::ioctl_fionread(&*wire).ok()).unwrap_or(0)
    }

    /// Bytes that the client has taken; `None` when nothing is left for it to take. What the
    /// socket took would say little: its buffer may hold megabytes, and asks for more only when a
    /// third of it is free.
    fn taken(&self) -> Option<u64> {
        let wire = self.wire.upgrade()?;
        match get_tcp_info(wire.as_raw_fd()) {
            Ok(info) if info.tcpi_unacked == 0 && info.tcpi_notsent_bytes == 0 => None,
            Ok(info) => Some(info.tcpi_bytes_acked),
            Err(_) => Some(self.state.sent()),
        }
    }

    /// Lets the connection's task end it: h2 says GOAWAY, HTTP/1 sees the end of its input.
    fn finish(&self) {
        if self.state.is_multiplexed() {
            self.state.ask_to_finish();
        } else {
            self.shut(Shutdown::Read);
        }
    }

    fn shut(&self, how: Shutdown) {
        if let Some(wire) = self.wire.upgrade() {
            let _ = rustix::net::shutdown(&*wire, how);
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
