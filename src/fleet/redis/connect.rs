//! From an address to connections that are logged in. The socket and its TLS are ours, not the client crate's: it would read
//! the system's authorities for every connection, and fail where there are none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, RedisConnectionInfo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::words::Keys;
use crate::fleet::config::{Address, Config};
use crate::outbound::tls;

/// Questions that one connection takes before its answers; beyond, they wait for their turn until their timeout.
const PIPELINE: usize = 1024;
/// So that a firewall does not forget an idle connection, and a dead server is found out.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How to connect, with every file read.
pub(super) struct Connector {
    address: Address,
    login: RedisConnectionInfo,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    prefix: String,
}

/// Ends when dropped, also for questions under way.
pub(super) struct Connection {
    pub(super) handle: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
}

impl Connector {
    /// Reads the files. Blocking.
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let mut login = RedisConnectionInfo::default().set_db(config.url.database.into()).set_skip_set_lib_name();
        if let Some(username) = &config.username {
            login = login.set_username(username);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password.reveal());
        }
        let tls = config.url.tls.then(|| connector(&config.url.host, config.tls_ca.as_deref())).transpose()?;
        Ok(Connector {
            address: config.url.clone(),
            login,
            tls,
            timeout: config.connect_timeout.0,
            prefix: config.prefix.clone(),
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// One connection, and the keys of the run of the server that it leads to.
    pub(super) async fn connect(&self) -> Result<(Connection, Keys), String> {
        let host = (self.address.host.as_str(), self.address.port);
        let socket = self.in_time("connecting", TcpStream::connect(host)).await?;
        let options = socket2::SockRef::from(&socket);
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        // Neither is needed to work.
        let _ = (socket.set_nodelay(true), options.set_tcp_keepalive(&keepalive));
        match &self.tls {
            None => self.log_in(socket).await,
            Some((connector, name)) => {
                let stream = self.in_time("TLS", connector.connect(name.clone(), socket)).await?;
                self.log_in(stream).await
            }
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<(Connection, Keys), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Every question has a timeout of its own kind: see `Link`.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(PIPELINE);
        let begun = MultiplexedConnection::new_with_config(&self.login, stream, config);
        let (mut handle, driver) = self.in_time("logging in", begun).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let mut command = ::redis::cmd("INFO");
        let question = command.arg("server").query_async::<String>(&mut handle);
        let info = self.in_time("its INFO", question).await?;
        let keys = Keys::of_run(&self.prefix, &info).ok_or("its INFO has no run_id, which tells its restarts apart")?;
        Ok((Connection { handle, _driver: driver }, keys))
    }

    async fn in_time<T, E: std::fmt::Display>(
        &self,
        what: &str,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(self.timeout, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(format!("{what}: {error}")),
            Err(_) => Err(format!("{what} took longer than {:?}", self.timeout)),
        }
    }
}

fn connector(host: &str, ca: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("'{host}' is no name for a certificate"))?;
    let roots = match ca {
        Some(path) => tls::certificates(path)
            .and_then(|authorities| tls::roots(&authorities))
            .map_err(|reason| format!("tls_ca {}: {reason}", path.display()))?,
        None => tls::system_roots(),
    };
    let config = tls::client(roots, None).map_err(|error| error.to_string())?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
