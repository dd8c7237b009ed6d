//! What the fault proxy does to which request.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::super::http::Headers;

/// One fault, for the requests that it matches.
#[derive(Clone)]
pub struct Rule {
    method: String,
    part: String,
    times: Option<usize>,
    /// Of the requests that it matches.
    share: f64,
    pub(super) fault: Fault,
}

impl Rule {
    /// For requests of `method` (`""`: any) whose target holds `part`.
    pub fn new(method: &str, part: &str, fault: Fault) -> Self {
        Rule { method: method.into(), part: part.into(), times: None, share: 1.0, fault }
    }

    /// Only so many times.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Only so many of them, by chance: 0 to 1.
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    pub(super) fn matches(&self, method: &str, target: &str) -> bool {
        let matches = (self.method.is_empty() || self.method == method) && target.contains(&self.part);
        matches && (self.share >= 1.0 || rand::random::<f64>() < self.share)
    }

    /// `true` when that was the last time.
    pub(super) fn use_up(&mut self) -> bool {
        match &mut self.times {
            None => false,
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
        }
    }
}

/// Those that count bytes are for bodies with a length, as blobs and manifests have them.
#[derive(Clone)]
pub enum Fault {
    /// So long before the request goes on.
    Delay(Duration),
    /// Until the test opens the gate.
    Hold(Arc<Gate>),
    /// This, instead of the registry's answer.
    Answer(Reply),
    /// This, at once: a request's body is not waited for, and the connection ends. So does a registry that refuses an upload.
    Refuse(Reply),
    /// The connection is closed before any answer.
    Hangup,
    /// The request is carried out, so many bytes of its answer come, head included, and the connection is closed.
    Lose(usize),
    /// The request is carried out, and this is answered.
    LoseFor(Reply),
    /// The head promises everything, the connection ends at this byte of the body.
    CutAt(u64),
    /// As `CutAt`, and the whole proxy is gone with it.
    DieAt(u64),
    /// The body stands still at this byte until the gate opens.
    HoldAt(u64, Arc<Gate>),
    /// One bit of this byte is another.
    FlipAt(u64),
    /// Head and body agree on so many bytes less than there are.
    Shorten(u64),
    /// Head and body agree on so many bytes more than there are.
    Lengthen(u64),
    /// The same bytes, without a length in the head.
    Chunked,
}

/// Opened once, by the test.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    pub(super) fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = Duration::from_secs(120);
        drop(self.opened.wait_timeout_while(open, limit, |open| !*open));
    }
}

/// An answer made by a test.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Reply { status, headers: Headers::default(), body: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.0.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}
