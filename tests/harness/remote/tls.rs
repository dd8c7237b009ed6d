//! TLS before a server that speaks none: what comes is decrypted and handed on, byte for byte.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::authority::Issued;

pub struct TlsFront {
    pub address: SocketAddr,
    // Ends with it, and with all its connections.
    _runtime: tokio::runtime::Runtime,
}

impl TlsFront {
    /// Before the server at that address, with this certificate.
    pub fn before(server: SocketAddr, issued: &Issued) -> Self {
        let certificates: Vec<_> = CertificateDer::pem_file_iter(&issued.certificate)
            .expect("a certificate")
            .map(|certificate| certificate.expect("a certificate"))
            .collect();
        let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).expect("both versions");
        let mut config = builder.with_no_client_auth().with_single_cert(certificates, key).expect("a pair");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        TlsFront { address, _runtime: runtime }
    }
}
