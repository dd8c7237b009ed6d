//! Our own acceptor: from a listening socket to one [`Exchange`] for each request.
//!
//! Owns: accepting, the PROXY protocol, TLS and its certificates (an [`Issuer`] has those that are no files), the choice between HTTP/1.1 and
//! h2, the strict reading of HTTP/1 heads, deadlines and rates, the connection limit, lingering
//! close and draining. Does not own what a request means: a [`Handler`] answers it.
//!
//! A connection walks: [`accept`] → [`proxy_protocol`] → [`tls`] → [`h1`] or [`h2`] → `Handler`.
//! Its bytes pass [`stream`] over [`socket`]; [`sweeper`] enforces the deadlines
//! of all connections of a listener from what [`state`] tells.

mod accept;
mod body;
mod budget;
mod certificates;
mod client_certificates;
pub mod config;
mod connection;
mod date;
mod error;
mod exchange;
mod fields;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod h1;
mod h2;
mod h2_head;
mod handle;
mod head;
mod issued;
mod linger;
mod metrics;
mod multiplexed;
mod pace;
mod prefix;
mod proxy_protocol;
mod refusal;
mod send_buffer;
mod shared;
mod slots;
mod socket;
mod stash;
mod state;
mod stream;
mod sweeper;
mod tls;
mod tls_rules;
mod transport;
mod window;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

pub use accept::Listener;
pub use config::Config;
pub use connection::Connection;
pub use date::push as push_date;
pub use exchange::{Amendment, Broken, Exchange, RequestHead, Result};
pub use handle::ListenerHandle;
pub use issued::{Held, Issuer, Slot};
pub use metrics::Metrics;
pub use prefix::Prefix;
pub use refusal::Refusal;

/// A GET that says nothing but what it wants and who asks: no body, no condition, no range. Most pulls are such.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// Path and query as received.
    pub target: &'a str,
    /// The authority, as the client wrote it.
    pub host: &'a str,
    pub authorization: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
    /// `traceparent`, where there is one.
    pub trace_parent: Option<&'a [u8]>,
    /// It comes from a page in a browser (`Origin`).
    pub from_a_page: bool,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
}

/// A whole answer that is at hand, in memory.
pub trait AtHand: Send + Sync {
    /// Appends the head as HTTP/1.1 has it, with its empty line.
    fn push_head(&self, request: &Plain<'_>, out: &mut Vec<u8>);
    /// The same for HTTP/2, without `Date`.
    fn fields(&self, request: &Plain<'_>) -> HeaderMap;
    fn body(&self) -> &Bytes;
}

/// Who answers the requests of a listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    type AtHand: AtHand;

    /// The answer, 200, if it can be given without waiting for anything. Called for every plain request, before
    /// [`serve`](Self::serve); it must not block.
    fn at_hand(&self, request: &Plain<'_>, connection: &Connection) -> Option<Self::AtHand>;

    /// `answer` was given: so many bytes of its body were `sent`, or not even its head. On HTTP/2 that is what the connection took
    /// over: of a stream that its client resets while it waits there, nobody tells how much has left.
    fn given(&self, request: &Plain<'_>, connection: &Connection, answer: Self::AtHand, sent: Option<u64>);

    /// Answers one request, and gives the exchange back when it is over. `None`, or an exchange whose answer has not ended:
    /// the connection (on HTTP/2 the stream) is cut, so that the client takes nothing for whole.
    async fn serve(self: &Arc<Self>, exchange: Box<Exchange>) -> Option<Box<Exchange>>;

    /// A request that we refused before it became an exchange: for the access log. `line` is the
    /// start of what the client sent, up to the end of its first line; it may be anything.
    fn refused(&self, connection: &Arc<Connection>, refusal: Refusal, line: &[u8]) {
        let _ = (connection, refusal, line);
    }
}
