//! Our own acceptor: from a listening socket to one `ServerSession` for each request.
//!
//! Owns: accepting, the PROXY protocol, TLS and its certificates, the choice between HTTP/1.1 and
//! h2, the strict reading of HTTP/1 heads, deadlines and rates, the connection limit, lingering
//! close and draining. Does not own what a request means: a [`Handler`] answers it.
//!
//! A connection walks: [`accept`] → [`proxy_protocol`] → [`tls`] → [`h1`] or [`h2`] → `Handler`.
//! Its bytes pass [`stream`] (pingora's `IO`) over [`socket`]; [`sweeper`] enforces the deadlines
//! of all connections of a listener from what [`state`] tells.

mod accept;
mod body;
mod certificates;
pub mod config;
mod connection;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod h1;
mod h2;
mod handle;
mod head;
mod linger;
mod metrics;
mod pace;
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
mod transport;
mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::ReusedHttpStream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

pub use accept::Listener;
pub use config::Config;
pub use connection::Connection;
pub use handle::ListenerHandle;
pub use metrics::Metrics;
pub use pace::Pace;
pub use refusal::Refusal;

/// Who answers the requests of a listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// On HTTP/1 the head has been read and checked, but `session.read_request()` is still to be
    /// called (it does not wait), as pingora's `HttpProxy::process_new_http` does. The returned
    /// stream serves the next request; `None` ends the connection. On h2 the result is ignored.
    ///
    /// When `shutdown` is true as the response begins, `session.set_keepalive(None)` tells an
    /// HTTP/1 client that the connection ends; it ends in any case. Bodies are read and written
    /// through [`Connection::pace`].
    async fn serve(
        self: &Arc<Self>,
        session: ServerSession,
        connection: &Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream>;

    /// A request that we refused before it became a session: for the access log. `line` is the
    /// start of what the client sent, up to the end of its first line; it may be anything.
    fn refused(&self, connection: &Arc<Connection>, refusal: Refusal, line: &[u8]) {
        let _ = (connection, refusal, line);
    }
}
