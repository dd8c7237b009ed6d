//! A private certificate authority, and the certificates that it issues.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::scratch;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// DER.
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the tests' own authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a self-signed certificate");
        let authority = Authority { issuer, folder: scratch() };
        std::fs::write(authority.path(), authority.pem()).expect("the authority's file");
        authority
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The file that clients are told to trust.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// The folder that holds nothing but `ca.crt` (for `--cert-dir`), and what was issued in folders below.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for these host names and addresses, in files named after `name`.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Issued {
        self.issue_in(&self.folder.path().join(name), hosts)
    }

    /// A list that says that these certificates count no more; valid until `year`.
    pub fn revoke(&self, revoked: &[&Issued], year: i32) -> PathBuf {
        let entry = |issued: &&Issued| {
            let (_, parsed) = X509Certificate::from_der(&issued.der).expect("a certificate");
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(parsed.raw_serial()),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        let path = self.folder.path().join("revoked.crl");
        std::fs::write(&path, list.pem().expect("PEM")).expect("the list's file");
        path
    }

    pub fn issue_in(&self, folder: &Path, hosts: &[&str]) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("host names");
        params.distinguished_name.push(DnType::CommonName, folder.file_name().map_or("", |n| n.to_str().unwrap_or("")));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::create_dir_all(folder).expect("a folder");
        let issued = Issued {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            der: certificate.der().to_vec(),
        };
        std::fs::write(&issued.certificate, certificate.pem()).expect("the certificate's file");
        std::fs::write(&issued.key, key.serialize_pem()).expect("the key's file");
        issued
    }

    /// A client's TLS settings that trust this authority alone and offer these protocols.
    pub fn client(&self, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).expect("both versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
