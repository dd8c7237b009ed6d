//! What a request meets from its head to its line in the log. A request, from top to bottom: `listener` accepts and reads its
//! head; `door` reads what is asked and finds who answers; `front` asks a cluster's peers and answers what it can itself,
//! `registry` answers for the integrated registry; everything else is streamed to a peer by pingora, whose hooks are in
//! `proxy`, as `front::pass` decides. `journal` writes the line.

mod bridge;
mod door;
mod entrance;
mod hit;
mod journal;
mod passing;
mod proxy;
mod registry;

use std::sync::Arc;

use crate::front::Front;
use crate::front::pass::Pass;
use crate::telemetry::{AccessLog, HttpMetrics};

pub use proxy::Proxy;

/// Who goes on with a request.
enum Next {
    /// Nobody: it has been answered.
    Answered,
    /// Pingora streams it to a peer.
    Pass(Box<Pass>),
}

/// What every request shares.
pub struct Shared {
    pub front: Arc<Front>,
    pub access_log: Arc<AccessLog>,
    pub metrics: Arc<HttpMetrics>,
}
