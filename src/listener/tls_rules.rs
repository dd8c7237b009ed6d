//! Which TLS a listener speaks: from which version on, and with which cipher suites.

use std::fmt;

use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};
use serde::Deserialize;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MinVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

impl MinVersion {
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            MinVersion::Tls12 => &VERSIONS,
            MinVersion::Tls13 => VERSIONS.split_at(1).0,
        }
    }
}

/// A cipher suite that can be spoken, by the name that rustls or IANA has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cipher(CipherSuite);

impl TryFrom<String> for Cipher {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wanted = text.to_ascii_uppercase();
        let found = ring::ALL_CIPHER_SUITES.iter().map(SupportedCipherSuite::suite).find(|suite| {
            // IANA's names of 1.3 have no number.
            name(*suite) == wanted || name(*suite).replacen("TLS13_", "TLS_", 1) == wanted
        });
        found.map(Cipher).ok_or_else(|| {
            let known: Vec<_> = ring::ALL_CIPHER_SUITES.iter().map(|suite| name(suite.suite())).collect();
            format!("'{text}' is no cipher suite that we speak; known: {}", known.join(", "))
        })
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self.0))
    }
}

impl Cipher {
    pub fn is_of_tls13(self) -> bool {
        name(self.0).starts_with("TLS13_")
    }
}

fn name(suite: CipherSuite) -> &'static str {
    suite.as_str().unwrap_or_default()
}

/// What a handshake can do: of each version the suites that are named, or all where none of it is named.
pub(super) fn provider(ciphers: &[Cipher]) -> CryptoProvider {
    let mut provider = ring::default_provider();
    for tls13 in [true, false] {
        if ciphers.iter().any(|cipher| cipher.is_of_tls13() == tls13) {
            let other = |suite: &SupportedCipherSuite| (suite.version().version == TLS13.version) != tls13;
            provider.cipher_suites.retain(|suite| other(suite) || ciphers.contains(&Cipher(suite.suite())));
        }
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(text: &str) -> Cipher {
        Cipher::try_from(text.to_owned()).unwrap()
    }

    fn left(ciphers: &[Cipher]) -> Vec<&'static str> {
        provider(ciphers).cipher_suites.iter().map(|suite| name(suite.suite())).collect()
    }

    #[test]
    fn suites_are_known_by_two_names_and_others_are_told_which_there_are() {
        let aes = cipher("TLS13_AES_256_GCM_SHA384");
        assert_eq!(cipher("TLS_AES_256_GCM_SHA384"), aes);
        assert!(aes.is_of_tls13() && !cipher("tls_ecdhe_rsa_with_aes_128_gcm_sha256").is_of_tls13());
        let refused = Cipher::try_from("RC4-MD5".to_owned()).unwrap_err();
        assert!(
            refused.contains("'RC4-MD5'") && refused.contains("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
            "{refused}"
        );
    }

    #[test]
    fn a_version_of_which_none_is_named_keeps_all_of_its_own() {
        let all = left(&[]).len();
        assert_eq!(all, ring::ALL_CIPHER_SUITES.len());
        let one = left(&[cipher("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]);
        assert_eq!(one.iter().filter(|name| !name.starts_with("TLS13_")).count(), 1, "{one:?}");
        assert_eq!(one.iter().filter(|name| name.starts_with("TLS13_")).count(), 3, "{one:?}");
        let both = left(&[cipher("TLS13_AES_128_GCM_SHA256"), cipher("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]);
        assert_eq!(both.len(), 2, "{both:?}");
    }
}
