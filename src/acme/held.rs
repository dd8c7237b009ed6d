//! A certificate as it is kept, made ready for handshakes.

use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, Der, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::kept::Certificate;
use super::names::{Names, canonical};
use super::plan::Life;
use crate::listener::Held;

/// Ready for handshakes, with what a plan needs to know of it.
pub struct Ready {
    pub held: Held,
    pub life: Life,
    /// How an authority names it that tells when to renew it (RFC 9773 §4.1); `None`: its issuer is not named in it.
    pub identifier: Option<CertificateIdentifier<'static>>,
}

/// Or why it is none for these names.
pub fn ready(kept: &Certificate, names: &Names) -> Result<Ready, String> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(kept.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "it is no chain of certificates in PEM".to_owned())?;
    let leaf = chain.first().ok_or("there is no certificate in it")?.clone();
    let key = PrivateKeyDer::from_pem_slice(kept.key.as_bytes()).map_err(|_| "its key is none".to_owned())?;
    let key =
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| format!("the key is not its own: {error}"))?;
    let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|error| format!("it is no certificate: {error}"))?;
    let found = names_of(&parsed);
    if let Some(missing) = names.iter().find(|name| !found.iter().any(|found| found == name)) {
        return Err(format!("it is not for {missing}"));
    }
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
    let life = Life {
        fingerprint: hex::encode(Sha256::digest(&leaf)),
        from: seconds(from),
        until: seconds(until),
        obtained: kept.obtained,
    };
    let identifier = identifier(&parsed);
    Ok(Ready { held: Held { key: Arc::new(key), from, until }, life, identifier })
}

fn identifier(certificate: &X509Certificate<'_>) -> Option<CertificateIdentifier<'static>> {
    let issuer = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    })?;
    Some(CertificateIdentifier::new(Der::from_slice(issuer), Der::from_slice(certificate.raw_serial())).into_owned())
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(canonical(name)),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|octets| std::net::IpAddr::from(octets).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| std::net::IpAddr::from(octets).to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        Certificate {
            directory: "https://ca.example/".into(),
            names,
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            obtained: 7,
        }
    }

    fn names(names: &[&str]) -> Names {
        Names::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_for_the_names_and_has_its_key_is_ready() {
        let certificate = kept(&["a.example", "192.0.2.1", "::1"]);
        let made = ready(&certificate, &names(&["::1", "a.example", "192.0.2.1"])).unwrap();
        assert!(made.life.until > made.life.from && made.life.obtained == 7 && made.life.fingerprint.len() == 64);
        let missing = ready(&certificate, &names(&["a.example", "b.example"])).err().unwrap();
        assert_eq!(missing, "it is not for b.example");
        let wrong = Certificate { key: kept(&["a.example"]).key, ..certificate.clone() };
        assert!(ready(&wrong, &names(&["a.example"])).err().unwrap().contains("not its own"));
        for chain in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(
                ready(&Certificate { chain: chain.into(), ..certificate.clone() }, &names(&["a.example"])).is_err()
            );
        }
    }
}
