//! How a peer is connected to, in pingora's words.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pingora::Error;
use pingora::prelude::{HttpPeer, Result};
use tokio::net::TcpStream;

use super::NO_PEER;
use crate::cluster::{Cluster, InFlight};
use crate::routing::Site;

/// Between two looks whether a peer takes connections again, and at first between two tries with one that does and then
/// breaks them; doubled at each further try up to [`LOOK`], so that a patience of seconds is not used up by pingora's 16 tries.
const PAUSE: Duration = Duration::from_millis(100);
/// One look takes no longer.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the peer takes connections, or the patience is over; the `waits`th time for one request. Nothing is sent.
pub(super) async fn wait_for(address: SocketAddr, until: Instant, waits: u32) {
    let mut pause = PAUSE.saturating_mul(1 << waits.saturating_sub(1).min(4)).min(LOOK);
    loop {
        tokio::time::sleep(std::mem::replace(&mut pause, PAUSE)).await;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero()
            || matches!(tokio::time::timeout(left.min(LOOK), TcpStream::connect(address)).await, Ok(Ok(_)))
        {
            return;
        }
    }
}

/// The peer of a try. `own`: on a connection that nobody used before, and nobody will after.
pub(super) fn http_peer(in_flight: &InFlight, cluster: &Cluster, site: &Site, own: bool) -> Result<Box<HttpPeer>> {
    let peer = in_flight.peer();
    let tls = peer.tls();
    let name = tls.map(|tls| tls.server_name().to_owned()).unwrap_or_default();
    if tls.is_some() && name.is_empty() {
        // An empty SNI would switch the verification of certificates off in pingora.
        return Error::e_explain(NO_PEER, "a TLS peer without a name");
    }
    let mut http = Box::new(HttpPeer::new(peer.address(), tls.is_some(), name));
    if let Some(tls) = tls {
        let tls = site.tls.of(cluster.name(), tls);
        http.options.ca = tls.authorities;
        http.client_cert_key = tls.identity;
    }
    if own {
        // A key of its own: no connection that was kept alive is taken for it.
        http.group_key = rand::random();
    }
    let config = cluster.config();
    let timeouts = &config.timeouts;
    http.options.connection_timeout = Some(timeouts.connect.0);
    http.options.total_connection_timeout = Some(timeouts.connect.0);
    // One clock for both waits: pingora does not tell the first byte from the others.
    http.options.read_timeout = Some(timeouts.first_byte.0.max(timeouts.read.0));
    http.options.write_timeout = Some(timeouts.write.0);
    http.options.idle_timeout = Some(config.keepalive_timeout.0);
    Ok(http)
}
