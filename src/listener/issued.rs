//! Certificates that come by themselves: whoever has them gives each its place here, and fills it when it comes and when it is
//! renewed. No connection waits for one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use rustls::sign::CertifiedKey;

/// A certificate with its key.
#[derive(Clone)]
pub struct Held {
    pub key: Arc<CertifiedKey>,
    /// Seconds of Unix time.
    pub from: i64,
    pub until: i64,
}

/// The place of one certificate; empty until there is one. It is never emptied: one that has ended tells clients what is wrong.
#[derive(Default)]
pub struct Slot(ArcSwapOption<Held>);

impl Slot {
    /// Handshakes from now on show this one.
    pub fn put(&self, held: Held) {
        self.0.store(Some(Arc::new(held)));
    }

    pub fn held(&self) -> Option<Arc<Held>> {
        self.0.load_full()
    }
}

/// Who has certificates that are no files.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// The place of the certificate for these names: the same for all listeners that ask for them.
    fn slot(&self, names: &[String]) -> Arc<Slot>;

    /// The certificate by which an authority knows that `name`, as the handshake has it, leads here (RFC 8737).
    async fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>>;
}
