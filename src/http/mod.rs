//! What a request meets from its head to its line in the log. A request, from top to bottom: `listener` accepts and reads its
//! head; `door` tells an authority at once what it looks for; `limit` counts it; `door` reads what is asked and finds who answers; `gate` finds out who asks and whether they may, where
//! there are rules, and `token` gives tokens; `admitted` remembers for a moment who was; `front` asks a cluster's peers and answers
//! what it can itself,
//! `registry` answers for the integrated registry; everything else is streamed to a peer by pingora, whose hooks are in
//! `proxy`, as `front::pass` decides. `journal` writes the line, and `recording` tells the
//! audit; `pulls` notes which manifests were given, and `traced` says what a trace is told.

mod admitted;
mod bridge;
mod door;
mod entrance;
mod fleet;
mod gate;
mod hit;
mod journal;
mod limit;
mod mirror;
mod names;
mod passing;
mod proxy;
mod pulls;
mod recording;
mod registry;
mod token;
mod traced;

use std::sync::Arc;

use crate::acme::Acme;
use crate::audit::Audit;
use crate::auth::Authenticator;
use crate::front::Front;
use crate::front::pass::Pass;
use crate::maintenance::pulls::Pulls;
use crate::mirror::Fetching;
use crate::telemetry::{AccessLog, HttpMetrics, Tracer};

pub use admitted::Admitted;
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
    pub fetching: Arc<Fetching>,
    pub authenticator: Arc<Authenticator>,
    pub admitted: Admitted,
    pub access_log: Arc<AccessLog>,
    pub audit: Arc<Audit>,
    pub pulls: Arc<Pulls>,
    /// What authorities ask who look whether a name leads here.
    pub acme: Arc<Acme>,
    pub metrics: Arc<HttpMetrics>,
    pub tracer: Arc<Tracer>,
}
