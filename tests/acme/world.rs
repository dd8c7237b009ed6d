//! A registry whose certificates come from Pebble, and clients that trust those.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::harness::pebble::Settings;
use crate::harness::{Connection, Entrepot, Pebble, Request, Setup, scratch, within};

/// An authority, its DNS and several processes on a slow machine: how long what they do together may take.
const LONG: Duration = Duration::from_secs(90);

/// Waits until `holds`, longer than [`eventually`](crate::harness::eventually).
pub fn patiently(what: &str, holds: impl FnMut() -> bool) {
    within(LONG, what, holds);
}

/// A registry with one listener where the authority asks over HTTP, and one with TLS, where it asks by handshakes.
pub struct Place {
    pub pebble: Pebble,
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place::with(&Settings::default())
    }

    pub fn with(settings: &Settings) -> Self {
        Place { pebble: Pebble::with(settings), folder: scratch() }
    }

    /// In a folder of the test's.
    pub fn setup(&self, names: &[&str]) -> Setup {
        let setup = self.pebble.set(Setup::registry()).set("acme.storage", &quoted(&self.acme()));
        setup
            .set("listener.1.address", &format!("\"{}\"", self.pebble.http))
            .set("listener.2.address", &format!("\"{}\"", self.pebble.tls))
            .set("listener.2.tls", &format!("[{{ acme = true, names = {names:?} }}]"))
    }

    pub fn acme(&self) -> PathBuf {
        self.folder.path().join("acme")
    }

    /// What is kept of one kind; there is one, beside what is being written.
    pub fn kept(&self, kind: &str) -> Value {
        let mut all = self.all_kept(kind);
        assert_eq!(all.len(), 1, "{kind}");
        all.remove(0)
    }

    /// All that is kept of one kind.
    pub fn all_kept(&self, kind: &str) -> Vec<Value> {
        let files = std::fs::read_dir(self.acme().join(kind)).expect("a folder").flatten();
        let whole = files.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        let read = |path: PathBuf| serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON");
        whole.map(|entry| read(entry.path())).collect()
    }

    pub fn chain(&self) -> String {
        self.kept("certificates")["chain"].as_str().expect("a chain").to_owned()
    }

    /// The certificate that clients are shown for a name, once there is one that they trust.
    pub fn shown(&self, name: &str) -> Vec<u8> {
        let client = self.pebble.client(&["http/1.1"]);
        let mut shown = None;
        patiently("a certificate is shown", || {
            shown = connect(&client, self.pebble.tls, name).ok();
            shown.is_some()
        });
        shown.expect("just shown").1
    }
}

pub fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// A connection whose certificate is good for the name.
pub fn open(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let session = ClientConnection::new(client.clone(), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(LONG))?;
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The same, and that certificate.
pub fn connect(client: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> io::Result<(Connection, Vec<u8>)> {
    let stream = open(client, address, name)?;
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec());
    Ok((Connection::over(stream, "registry"), shown.unwrap_or_default()))
}

pub fn leaf(chain: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate").to_vec()
}

pub fn told(entrepot: &Entrepot) -> Value {
    Request::get("/status").send(entrepot.admin).json()["certificates"][0].clone()
}

pub fn last_error(entrepot: &Entrepot) -> String {
    told(entrepot)["last_error"]["what"].as_str().unwrap_or_default().to_owned()
}
