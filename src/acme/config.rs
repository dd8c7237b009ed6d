//! `[acme]`: the authority that certificates come from by themselves, and how a name is proven to it. SIGHUP reads it again.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::units::{Span, seconds};

/// Let's Encrypt, and where it lets clients try.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
/// Where certificates are kept if nothing says where.
const FOLDER: &str = "data/acme";
/// Of one certificate; what Let's Encrypt takes.
pub const MAX_NAMES: usize = 100;
/// Each is looked at by a task of its own.
pub const MAX_CERTIFICATES: usize = 1_000;
/// Of the file of the key of an external account, in bytes.
pub const MAX_HMAC: u64 = 4 << 10;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Its directory (RFC 8555).
    pub directory: String,
    /// The directory that is tried first after failures. Left out: that of Let's Encrypt, where it is the authority, and else none.
    pub staging: Option<String>,
    /// Where the authority writes to, if it does.
    pub email: Option<String>,
    /// Which of its kinds of certificates.
    pub profile: Option<String>,
    /// An account elsewhere that ours belongs to.
    pub eab: Option<Eab>,
    /// PEM file of roots that its own certificate is checked by, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Left out: see [`Config::place`].
    pub storage: Option<Storage>,
    /// How names are proven, in this order. Empty: in all ways that there are.
    pub challenges: Vec<Kind>,
    /// The program that sets records in DNS.
    pub dns: Option<Dns>,
    /// After a failure; twice as long after each one more, up to a day.
    pub retry: Span,
    /// The authority is asked at least so often whether it wants a certificate renewed.
    pub renewal_check: Span,
}

/// External account binding.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eab {
    pub kid: String,
    /// File of its key, in base64.
    pub hmac_file: PathBuf,
}

/// Where account, certificates and tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Beside the registry's content, for all instances; secrets are sealed.
    Registry,
    Folder(PathBuf),
}

/// A way to prove that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
pub enum Kind {
    #[serde(rename = "http-01")]
    Http,
    #[serde(rename = "tls-alpn-01")]
    Tls,
    #[serde(rename = "dns-01")]
    Dns,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The program and its arguments; `present` or `cleanup`, the record's name and its value are added.
    pub exec: Vec<String>,
    /// Until the program has ended.
    #[serde(default = "one_minute")]
    pub timeout: Span,
    /// Between the program's end and the word to the authority: until all servers of the zone have the record.
    #[serde(default = "at_once")]
    pub wait: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            directory: LETS_ENCRYPT.to_owned(),
            staging: None,
            email: None,
            profile: None,
            eab: None,
            ca: None,
            storage: None,
            challenges: Vec::new(),
            dns: None,
            retry: one_minute(),
            renewal_check: seconds(6 * 3600),
        }
    }
}

impl Config {
    /// Where things are kept; `sealed`: whether the registry's storage is there, and a secret to seal with.
    pub fn place(&self, sealed: bool) -> Storage {
        match &self.storage {
            Some(storage) => storage.clone(),
            None if sealed => Storage::Registry,
            None => Storage::Folder(FOLDER.into()),
        }
    }

    /// Where it is tried first after failures.
    pub fn tried_first(&self) -> Option<&str> {
        let of_lets_encrypt = (self.directory == LETS_ENCRYPT).then_some(LETS_ENCRYPT_STAGING);
        self.staging.as_deref().or(of_lets_encrypt)
    }

    /// The ways to prove a name, in order; `plain`: whether any listener speaks plain HTTP.
    pub fn ways(&self, plain: bool) -> Vec<Kind> {
        if !self.challenges.is_empty() {
            return self.challenges.clone();
        }
        let dns = self.dns.is_some().then_some(Kind::Dns);
        dns.into_iter().chain(plain.then_some(Kind::Http)).chain([Kind::Tls]).collect()
    }
}

impl FromStr for Storage {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "registry" => Storage::Registry,
            folder => Storage::Folder(folder.into()),
        })
    }
}

impl<'de> Deserialize<'de> for Storage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Ok(storage) = String::deserialize(deserializer)?.parse();
        Ok(storage)
    }
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Http => "http-01",
            Kind::Tls => "tls-alpn-01",
            Kind::Dns => "dns-01",
        }
    }
}

fn one_minute() -> Span {
    seconds(60)
}

fn at_once() -> Span {
    seconds(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_said_is_lets_encrypt_by_all_ways() {
        let config = config("");
        assert_eq!((config.directory.as_str(), config.tried_first()), (LETS_ENCRYPT, Some(LETS_ENCRYPT_STAGING)));
        assert_eq!((config.ways(true), config.ways(false)), (vec![Kind::Http, Kind::Tls], vec![Kind::Tls]));
        assert_eq!((config.place(true), config.place(false)), (Storage::Registry, Storage::Folder(FOLDER.into())));
    }

    #[test]
    fn what_is_said_counts() {
        let config = config(
            "directory = \"https://ca.example/dir\"\nstorage = \"/var/lib/acme\"\n[dns]\nexec = [\"/bin/hook\", \"-v\"]",
        );
        assert_eq!(config.tried_first(), None, "of another authority nobody knows where to try");
        assert_eq!(config.ways(true), [Kind::Dns, Kind::Http, Kind::Tls]);
        assert_eq!(config.place(true), Storage::Folder("/var/lib/acme".into()));
        let config = self::config("storage = \"registry\"\nchallenges = [\"tls-alpn-01\"]");
        assert_eq!((config.ways(true), config.place(false)), (vec![Kind::Tls], Storage::Registry));
        assert!(toml::from_str::<Config>("challenges = [\"http\"]").is_err());
    }
}
