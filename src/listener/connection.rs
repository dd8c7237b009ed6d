//! What is known of a client's connection, for those who answer its requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::config::Config;
use super::state::ConnectionState;

/// One connection, from its handshake to its end; its requests share it.
#[derive(Debug)]
pub struct Connection {
    client: SocketAddr,
    trusted: bool,
    tls: Option<TlsInfo>,
    settings: Arc<Config>,
    state: Arc<ConnectionState>,
    /// Becomes true when the listener drains.
    draining: watch::Receiver<bool>,
}

/// What the TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// The user that the client's certificate names, and when it ends; it was believed.
    pub user: Option<(Box<str>, SystemTime)>,
}

impl Connection {
    pub(super) fn new(
        client: SocketAddr,
        tls: Option<TlsInfo>,
        settings: Arc<Config>,
        state: Arc<ConnectionState>,
        draining: watch::Receiver<bool>,
    ) -> Connection {
        let trusted = is_trusted(&settings, client.ip());
        Connection { client, trusted, tls, settings, state, draining }
    }

    /// The client: the socket's other end, or who the PROXY protocol says it is.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// The user that the client's certificate names. One of a trusted proxy is the proxy's own, and says nothing of its clients.
    pub fn certified_user(&self) -> Option<&str> {
        let tls = self.tls.as_ref().filter(|_| !self.trusted)?;
        let (user, until) = tls.user.as_ref()?;
        (SystemTime::now() < *until).then_some(&**user)
    }

    /// The listener's configuration when this connection came.
    pub fn settings(&self) -> &Config {
        &self.settings
    }

    /// The client is one of `trusted_proxies`: its `X-Forwarded-*` and the like may be believed.
    pub fn is_of_a_trusted_proxy(&self) -> bool {
        self.trusted
    }

    /// The request that is being answered is the last: clients of HTTP/1 are told so.
    pub(super) fn ends_soon(&self) -> bool {
        self.state.is_retired() || *self.draining.borrow()
    }

    pub(super) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }
}

/// `address`, as IPv4 if it is an IPv4 address in IPv6 clothes, is one of `trusted_proxies`.
pub(super) fn is_trusted(settings: &Config, address: IpAddr) -> bool {
    let address = address.to_canonical();
    settings.trusted_proxies.iter().any(|network| network.contains(&address))
}
