//! Whether PEM files hold what they should, before anything depends on them. Keeps nothing: whoever
//! uses a file reads it again, since it may have been renewed by then.

use std::path::Path;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{Error as PemError, PemObject as _};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::super::file;

/// A PEM file is no longer than this, in bytes; all the authorities of the web are some 300 KiB.
const MAX_PEM: u64 = 4 << 20;

/// Something wrong with one file of a pair, or with the two together.
#[derive(Debug, PartialEq, Eq)]
pub enum PairFault {
    Certificate(String),
    Key(String),
}

/// The certificates of a PEM file; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = file::bytes(path, MAX_PEM)?;
    let found: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| broken(path, &error))?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate; it must be PEM with a BEGIN CERTIFICATE line", path.display()));
    }
    Ok(found)
}

/// Whether every certificate of a PEM file can be trusted as an authority.
pub fn authorities(path: &Path) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|_| format!("{} holds a certificate that does not parse", path.display()))?;
    }
    Ok(())
}

/// Whether a PEM file holds lists of revoked certificates that can be read.
pub fn revocation_lists(path: &Path) -> Result<(), String> {
    let bytes = file::bytes(path, MAX_PEM)?;
    let found: Result<Vec<_>, PemError> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| broken(path, &error))?;
    if found.is_empty() {
        return Err(format!(
            "{} holds no list of revoked certificates; it must be PEM with a BEGIN X509 CRL line",
            path.display()
        ));
    }
    let readable = |list: &CertificateRevocationListDer<'_>| webpki::BorrowedCertRevocationList::from_der(list).is_ok();
    match found.iter().all(readable) {
        true => Ok(()),
        false => Err(format!("{} holds a list of revoked certificates that does not parse", path.display())),
    }
}

/// Whether `key` is the private key of the first certificate in `certificate`.
pub fn pair(certificate: &Path, key: &Path) -> Result<(), PairFault> {
    let chain = certificates(certificate).map_err(PairFault::Certificate)?;
    let bytes = file::bytes(key, MAX_PEM).map_err(PairFault::Key)?;
    let private =
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| PairFault::Key(key_fault(key, &bytes, &error)))?;
    let signing = any_supported_type(&private).map_err(|_| {
        PairFault::Key(format!(
            "{} holds a kind of key that is not supported; allowed: RSA, ECDSA P-256 or P-384, Ed25519",
            key.display()
        ))
    })?;
    match CertifiedKey::new(chain, signing).keys_match() {
        // Some keys do not tell their public half; then the first handshake will show.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) => Err(PairFault::Key(format!(
            "{} is not the key of the certificate in {}",
            key.display(),
            certificate.display()
        ))),
        Err(_) => {
            Err(PairFault::Certificate(format!("{} holds a certificate that does not parse", certificate.display())))
        }
    }
}

fn key_fault(path: &Path, bytes: &[u8], error: &PemError) -> String {
    let encrypted = b"ENCRYPTED";
    match error {
        PemError::NoItemsFound if bytes.windows(encrypted.len()).any(|window| window == encrypted) => {
            format!("{} is protected by a passphrase; write it without one", path.display())
        }
        PemError::NoItemsFound => {
            format!("{} holds no private key; it must be PEM with a BEGIN PRIVATE KEY line", path.display())
        }
        error => broken(path, error),
    }
}

/// Without the bytes at fault: they may be of a private key.
fn broken(path: &Path, error: &PemError) -> String {
    let what = match error {
        PemError::MissingSectionEnd { .. } => "a section does not end",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        PemError::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be decoded",
    };
    format!("{} is not a valid PEM file: {what}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_its_key_and_an_authority_are_told_from_what_they_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let own = rcgen::generate_simple_self_signed(vec!["registry.example".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["registry.example".into()]).unwrap();
        let certificate = write("a.pem", &own.cert.pem());
        let key = write("a.key", &own.signing_key.serialize_pem());
        let wrong_key = write("b.key", &other.signing_key.serialize_pem());
        let nothing = write("c.pem", "nothing\n");
        let cut = write("d.pem", own.cert.pem().split("-----END").next().unwrap());
        let garbage = write("e.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let locked =
            write("f.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");

        assert_eq!(pair(&certificate, &key), Ok(()));
        assert_eq!(authorities(&certificate), Ok(()));
        let key_says = |path: &Path| match pair(&certificate, path) {
            Err(PairFault::Key(what)) => what,
            other => panic!("{other:?}"),
        };
        assert!(key_says(&wrong_key).contains("not the key of the certificate"));
        assert!(key_says(&nothing).contains("no private key"));
        assert!(key_says(&locked).contains("passphrase"));
        assert!(key_says(&folder.path().join("absent")).contains("cannot read"));
        assert!(authorities(&nothing).unwrap_err().contains("no certificate"));
        assert!(authorities(&cut).unwrap_err().contains("does not end"));
        assert!(revocation_lists(&certificate).unwrap_err().contains("no list of revoked"));
        assert!(authorities(&garbage).unwrap_err().contains("does not parse"));
        assert!(matches!(pair(&garbage, &key), Err(PairFault::Certificate(_))));
    }
}
