//! Why a listener cannot be opened or changed.

use std::io;
use std::path::PathBuf;

use crate::sockets::Address;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: Address, source: io::Error },
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A certificate or key that does not parse, or a pair that does not match.
    #[error("{}: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("a listener cannot move from {from} to {to}")]
    Moved { from: Address, to: Address },
}
