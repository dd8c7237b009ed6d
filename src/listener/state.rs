//! What a connection is doing, as its task tells the sweeper: atomics, no locks, no timers.
//!
//! Times are milliseconds of one coarse clock, which the sweepers advance: a stamp costs a load
//! and a store, and may be early by one [`TICK`].

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::*};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

/// How often the sweepers look, and so how late a deadline may be noticed.
pub(super) const TICK: Duration = Duration::from_millis(250);

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
static NOW: AtomicU64 = AtomicU64::new(0);

/// The coarse clock: milliseconds since the process began to listen.
pub(super) fn now() -> u64 {
    NOW.load(Relaxed)
}

/// Brings the coarse clock up to date, and returns it.
pub(super) fn advance_clock() -> u64 {
    let elapsed = u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX);
    NOW.fetch_max(elapsed, Relaxed).max(elapsed)
}

/// What a connection waits for; each phase has its own deadline, except `Exchange`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// PROXY header and TLS handshake.
    Handshake,
    /// Nothing of the first request has come.
    FirstByte,
    /// A request head has begun.
    Head,
    /// A handler is at work (h2: at least one stream is open).
    Exchange,
    /// Between two requests.
    Idle,
    /// We have said our last word.
    Closing,
}

impl Phase {
    fn from_bits(bits: u64) -> Phase {
        match bits {
            0 => Phase::Handshake,
            1 => Phase::FirstByte,
            2 => Phase::Head,
            3 => Phase::Exchange,
            4 => Phase::Idle,
            _ => Phase::Closing,
        }
    }
}

/// A phase and when it began, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Moment {
    const SHIFT: u32 = 56;

    fn new(phase: Phase, since: u64) -> Moment {
        Moment((phase as u64) << Self::SHIFT | since & ((1 << Self::SHIFT) - 1))
    }

    pub(super) fn phase(self) -> Phase {
        Phase::from_bits(self.0 >> Self::SHIFT)
    }

    /// Milliseconds of the coarse clock.
    pub(super) fn since(self) -> u64 {
        self.0 & ((1 << Self::SHIFT) - 1)
    }
}

/// Why the sweeper ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Deadline {
    Handshake = 1,
    FirstByte,
    Header,
    KeepAlive,
    RequestBody,
    ResponseBody,
    Closing,
}

impl Deadline {
    pub(super) const ALL: [Deadline; 7] = [
        Deadline::Handshake,
        Deadline::FirstByte,
        Deadline::Header,
        Deadline::KeepAlive,
        Deadline::RequestBody,
        Deadline::ResponseBody,
        Deadline::Closing,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Deadline::Handshake => "handshake",
            Deadline::FirstByte => "first_byte",
            Deadline::Header => "header",
            Deadline::KeepAlive => "keepalive",
            Deadline::RequestBody => "request_body",
            Deadline::ResponseBody => "response_body",
            Deadline::Closing => "closing",
        }
    }
}

/// Written by the connection's task (one writer at a time), read by the sweeper.
#[derive(Debug)]
pub(super) struct ConnectionState {
    moment: AtomicU64,
    /// A read of the socket waits for the client.
    reading: AtomicBool,
    /// A write waits for the client to take what the kernel already holds.
    writing: AtomicBool,
    /// HTTP/1: bytes of a request body are still to come.
    body_open: AtomicBool,
    multiplexed: AtomicBool,
    received: AtomicU64,
    sent: AtomicU64,
    streams: AtomicU32,
    expired: AtomicU8,
    finish: AtomicBool,
    finisher: AtomicWaker,
    /// It is as old as connections get: the present request is its last.
    retired: AtomicBool,
    /// Bytes that its requests hold: see `budget`.
    held: AtomicU64,
}

impl ConnectionState {
    pub(super) fn new() -> ConnectionState {
        ConnectionState {
            moment: AtomicU64::new(Moment::new(Phase::Handshake, advance_clock()).0),
            reading: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            body_open: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            streams: AtomicU32::new(0),
            expired: AtomicU8::new(0),
            finish: AtomicBool::new(false),
            finisher: AtomicWaker::new(),
            retired: AtomicBool::new(false),
            held: AtomicU64::new(0),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.moment.store(Moment::new(phase, now()).0, Relaxed);
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.moment.load(Relaxed))
    }

    /// Moves to `Closing` unless the connection moved on since `seen`; true if it did not.
    pub(super) fn close_from(&self, seen: Moment) -> bool {
        let closing = Moment::new(Phase::Closing, now());
        self.moment.compare_exchange(seen.0, closing.0, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn set_reading(&self, waits: bool) {
        self.reading.store(waits, Relaxed);
    }

    pub(super) fn set_writing(&self, waits: bool) {
        self.writing.store(waits, Relaxed);
    }

    pub(super) fn set_body_open(&self, open: bool) {
        self.body_open.store(open, Relaxed);
    }

    /// True while an HTTP/1 handler waits for bytes of a request body.
    pub(super) fn waits_for_body(&self) -> bool {
        self.reading.load(Relaxed) && self.body_open.load(Relaxed)
    }

    pub(super) fn waits_to_write(&self) -> bool {
        self.writing.load(Relaxed)
    }

    // Loads and stores instead of locked additions: a socket has one reader and one writer.
    pub(super) fn add_received(&self, bytes: usize) {
        self.received.store(self.received.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.store(self.sent.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn expire(&self, deadline: Deadline) {
        self.expired.store(deadline as u8, Release);
    }

    pub(super) fn expired(&self) -> Option<Deadline> {
        let code = self.expired.load(Acquire);
        Deadline::ALL.into_iter().find(|deadline| *deadline as u8 == code)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    pub(super) fn held(&self) -> &AtomicU64 {
        &self.held
    }

    pub(super) fn set_multiplexed(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.load(Acquire)
    }

    pub(super) fn stream_opened(&self) {
        self.streams.fetch_add(1, AcqRel);
        self.enter(Phase::Exchange);
    }

    pub(super) fn stream_ended(&self) {
        if self.streams.fetch_sub(1, AcqRel) == 1 {
            self.enter(if self.finish.load(Relaxed) { Phase::Closing } else { Phase::Idle });
        }
    }

    /// h2: asks the connection's task to say GOAWAY and to end with its last stream.
    pub(super) fn ask_to_finish(&self) {
        self.finish.store(true, Release);
        self.finisher.wake();
    }

    /// Ready when someone called [`Self::ask_to_finish`].
    pub(super) fn poll_asked_to_finish(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.finish.load(Acquire) {
            return Poll::Ready(());
        }
        self.finisher.register(context.waker());
        if self.finish.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_phase_and_time() {
        for phase in [Phase::Handshake, Phase::Head, Phase::Exchange, Phase::Idle, Phase::Closing] {
            let moment = Moment::new(phase, 123_456_789);
            assert_eq!((moment.phase(), moment.since()), (phase, 123_456_789));
        }
    }

    #[test]
    fn a_connection_that_moved_on_is_not_closed() {
        let state = ConnectionState::new();
        state.enter(Phase::Idle);
        let seen = state.moment();
        state.enter(Phase::Head);
        assert!(!state.close_from(seen));
        assert_eq!(state.moment().phase(), Phase::Head);
    }
}
