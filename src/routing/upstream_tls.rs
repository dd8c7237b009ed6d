//! A cluster's authorities and client certificate in pingora's types, made once per configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::cluster::PeerTls;

/// What pingora needs to speak TLS to the peers of one cluster.
#[derive(Clone, Default)]
pub struct UpstreamTls {
    /// `None`: the system's authorities.
    pub authorities: Option<Arc<CaType>>,
    pub identity: Option<Arc<CertKey>>,
}

/// By name of the cluster; filled when its first TLS peer is used.
#[derive(Default)]
pub struct UpstreamTlsTable(BTreeMap<String, OnceLock<UpstreamTls>>);

impl UpstreamTlsTable {
    pub fn new<'a>(clusters: impl Iterator<Item = &'a str>) -> Self {
        UpstreamTlsTable(clusters.map(|name| (name.to_owned(), OnceLock::new())).collect())
    }

    pub fn of(&self, cluster: &str, tls: &PeerTls) -> UpstreamTls {
        match self.0.get(cluster) {
            Some(made) => made.get_or_init(|| UpstreamTls::new(tls)).clone(),
            None => UpstreamTls::new(tls),
        }
    }
}

impl UpstreamTls {
    fn new(tls: &PeerTls) -> Self {
        let authorities = tls.authorities().map(|authorities| {
            let wrapped = authorities.iter().filter_map(|der| wrap(der.as_ref()));
            wrapped.collect::<Vec<_>>().into()
        });
        let identity = tls.identity().map(|identity| {
            let certificates = identity.chain.iter().map(|der| der.as_ref().to_vec()).collect();
            Arc::new(CertKey::new(certificates, identity.key.secret_der().to_vec()))
        });
        UpstreamTls { authorities, identity }
    }
}

/// Pingora's parser panics on what is no certificate, so it is tried first.
fn wrap(der: &[u8]) -> Option<WrappedX509> {
    X509Certificate::from_der(der).ok()?;
    Some(WrappedX509::new(der.to_vec(), parse_x509))
}
