//! `[storage]`: where the registry's bytes are.

use std::path::PathBuf;

use serde::Deserialize;

use crate::units::{Secret, Span, seconds};

/// Where the registry's bytes are. Needs a restart to change.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub driver: DriverKind,
    /// `filesystem`: the folder that holds `docker/registry/v2`; distribution's `rootdirectory`.
    pub root: PathBuf,
    /// `s3`, `gcs`: the bucket; `azure`: the container.
    pub bucket: String,
    /// Before every key in the bucket: distribution's `rootdirectory` there.
    pub prefix: String,
    /// Other than the provider's own: MinIO, Ceph, an emulator. `http://` is spoken only when it is written here.
    pub endpoint: Option<String>,
    /// `s3`. Left out: what the environment says if the credentials come from there, else `us-east-1`.
    pub region: Option<String>,
    /// `s3`. Left out, with the secret: credentials of the environment, of the container or of the instance.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    /// `s3`: the bucket in the path instead of the host name. Left out: on when there is an `endpoint`.
    pub path_style: Option<bool>,
    /// `s3`: blobs are hashed a second time for the signatures of requests. For stores that refuse `UNSIGNED-PAYLOAD`
    /// without TLS, as AWS itself does.
    pub sign_payload: bool,
    /// `s3`: how the store encrypts what is written. Left out: as the bucket's defaults say.
    pub encryption: Option<Encryption>,
    /// `s3`, with `aws:kms`: the key. Left out: the store's own.
    pub kms_key: Option<String>,
    /// `s3`: of blobs of 1 MiB and more. Left out: as the store has it.
    pub storage_class: Option<String>,
    /// PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// `gcs`: the JSON file of a service account. Left out: the environment's or the instance's.
    pub service_account: Option<PathBuf>,
    /// `azure`: the storage account and its key. Key left out: the environment's or the instance's identity.
    pub account: Option<String>,
    pub account_key: Option<Secret>,
    pub timeouts: Timeouts,
    /// Further tries after 503, SlowDown, other 5xx and broken connections, within `timeouts.request`.
    pub retries: u32,
    /// Requests to an object store that wait for their answer at once; further ones wait. As many idle connections are kept.
    pub max_connections: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    #[default]
    Filesystem,
    S3,
    Gcs,
    Azure,
    Memory,
}

/// As S3 calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Encryption {
    #[serde(rename = "AES256")]
    Aes256,
    #[serde(rename = "aws:kms")]
    Kms,
}

impl Encryption {
    pub fn word(self) -> &'static str {
        match self {
            Encryption::Aes256 => "AES256",
            Encryption::Kms => "aws:kms",
        }
    }
}

/// Classes whose objects can be read at once.
pub const STORAGE_CLASSES: [&str; 7] =
    ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "OUTPOSTS", "GLACIER_IR"];

/// Of calls to an object store.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    pub connect: Span,
    /// One call with all its tries; a long body may take longer, but never stand still for so long.
    pub request: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            driver: DriverKind::Filesystem,
            root: "data/registry".into(),
            bucket: String::new(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            path_style: None,
            sign_payload: false,
            encryption: None,
            kms_key: None,
            storage_class: None,
            ca: None,
            service_account: None,
            account: None,
            account_key: None,
            timeouts: Timeouts::default(),
            retries: 5,
            max_connections: 512,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: seconds(2), request: seconds(10) }
    }
}

impl Config {
    /// What is wrong beyond the types: (key within the section, what it is and what is allowed).
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        match self.driver {
            DriverKind::Filesystem if self.root.as_os_str().is_empty() => {
                faults.push(("root", "is empty: name the folder of the registry".to_owned()));
            }
            DriverKind::S3 | DriverKind::Gcs | DriverKind::Azure => self.check_bucket(&mut faults),
            DriverKind::Filesystem | DriverKind::Memory => {}
        }
        match self.driver {
            DriverKind::S3 => {
                if self.access_key_id.is_some() && self.secret_access_key.is_none() {
                    faults.push(("secret_access_key", "is missing beside access_key_id".to_owned()));
                }
                if self.access_key_id.is_none() && self.secret_access_key.is_some() {
                    faults.push(("access_key_id", "is missing beside secret_access_key".to_owned()));
                }
            }
            DriverKind::Azure if self.account.is_none() => {
                faults.push(("account", "is missing: name the storage account".to_owned()));
            }
            _ => {}
        }
        self.check_kept(&mut faults);
        let bounds = [("timeouts.connect", self.timeouts.connect), ("timeouts.request", self.timeouts.request)];
        for (key, span) in bounds {
            if !(seconds(1)..=seconds(300)).contains(&span) {
                faults.push((key, format!("is {span}; allowed: 1s to 5m")));
            }
        }
        if self.retries > 20 {
            faults.push(("retries", format!("is {}; allowed: 0 to 20", self.retries)));
        }
        if !(1..=10_000).contains(&self.max_connections) {
            faults.push(("max_connections", format!("is {}; allowed: 1 to 10000", self.max_connections)));
        }
        faults
    }

    /// How an object store keeps what is written.
    fn check_kept(&self, faults: &mut Vec<(&'static str, String)>) {
        let keys = [
            ("encryption", self.encryption.is_some()),
            ("kms_key", self.kms_key.is_some()),
            ("storage_class", self.storage_class.is_some()),
        ];
        if self.driver != DriverKind::S3 {
            let given = keys.into_iter().filter(|(_, given)| *given);
            faults.extend(given.map(|(key, _)| (key, "is for driver = \"s3\"".to_owned())));
            return;
        }
        if self.kms_key.is_some() && self.encryption != Some(Encryption::Kms) {
            faults.push(("kms_key", "is for encryption = \"aws:kms\"".to_owned()));
        }
        let visible = |key: &String| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if self.kms_key.as_ref().is_some_and(|key| !visible(key)) {
            faults.push(("kms_key", "is empty or has other characters than a key's name".to_owned()));
        }
        if let Some(class) = self.storage_class.as_deref().filter(|class| !STORAGE_CLASSES.contains(class)) {
            faults.push(("storage_class", format!("is \"{class}\"; allowed: {}", STORAGE_CLASSES.join(", "))));
        }
    }

    /// As an operator looks for it: for the log and readiness.
    pub fn place(&self) -> String {
        match self.driver {
            DriverKind::Filesystem => format!("storage.root {}", self.root.display()),
            DriverKind::Memory => "memory".to_owned(),
            _ => {
                let at = self.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
                let below = match self.prefix.trim_matches('/') {
                    "" => String::new(),
                    prefix => format!(" below {prefix}/"),
                };
                format!("storage.bucket \"{}\"{at}{below}", self.bucket)
            }
        }
    }

    fn check_bucket(&self, faults: &mut Vec<(&'static str, String)>) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if self.bucket.is_empty() {
            faults.push(("bucket", "is empty: name the bucket or container".to_owned()));
        } else if !self.bucket.bytes().all(plain) {
            faults.push(("bucket", format!("is \"{}\"; allowed: letters, digits, '.', '-' and '_'", self.bucket)));
        }
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        let prefix = self.prefix.trim_matches('/');
        if !prefix.is_empty() && !prefix.split('/').all(part) {
            let what =
                format!("is \"{}\"; allowed: names of letters, digits, '.', '-' and '_' between '/'", self.prefix);
            faults.push(("prefix", what));
        }
        if let Some(endpoint) = &self.endpoint {
            let good = url::Url::parse(endpoint).is_ok_and(|url| {
                let bare = url.query().is_none() && url.fragment().is_none();
                let nobody = url.username().is_empty() && url.password().is_none();
                matches!(url.scheme(), "http" | "https") && url.host().is_some() && bare && nobody
            });
            if !good {
                faults.push(("endpoint", "is no address; write \"https://host\" or \"http://host:port\"".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3() -> Config {
        Config { driver: DriverKind::S3, bucket: "b".into(), ..Config::default() }
    }

    #[test]
    fn defaults_are_good_and_a_bucket_is_enough_for_s3() {
        assert_eq!(Config::default().check(), []);
        assert_eq!(s3().check(), []);
    }

    #[test]
    fn each_fault_names_its_key() {
        let secret = || Some(Secret::from("x"));
        for (key, config) in [
            ("root", Config { root: "".into(), ..Config::default() }),
            ("bucket", Config { bucket: String::new(), ..s3() }),
            ("bucket", Config { bucket: "a/b".into(), ..s3() }),
            ("prefix", Config { prefix: "a//b".into(), ..s3() }),
            ("prefix", Config { prefix: "a/../b".into(), ..s3() }),
            ("endpoint", Config { endpoint: Some("minio:9000".into()), ..s3() }),
            ("endpoint", Config { endpoint: Some("http://user:word@minio".into()), ..s3() }),
            ("access_key_id", Config { secret_access_key: secret(), ..s3() }),
            ("secret_access_key", Config { access_key_id: Some("a".into()), ..s3() }),
            ("account", Config { driver: DriverKind::Azure, ..s3() }),
            ("encryption", Config { encryption: Some(Encryption::Aes256), ..Config::default() }),
            ("kms_key", Config { kms_key: Some("k".into()), encryption: Some(Encryption::Aes256), ..s3() }),
            ("kms_key", Config { kms_key: Some("a b".into()), encryption: Some(Encryption::Kms), ..s3() }),
            ("storage_class", Config { storage_class: Some("GLACIER".into()), ..s3() }),
            ("retries", Config { retries: 21, ..Config::default() }),
            ("max_connections", Config { max_connections: 0, ..Config::default() }),
            ("timeouts.request", Config { timeouts: Timeouts { request: seconds(0), ..Default::default() }, ..s3() }),
        ] {
            let faults = config.check();
            assert_eq!(faults.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key], "{faults:?}");
        }
    }

    #[test]
    fn a_place_is_told_with_all_that_makes_it_another_one() {
        assert_eq!(s3().place(), "storage.bucket \"b\"");
        let endpoint = Some("http://minio:9000".into());
        let whole = Config { endpoint, prefix: "/team/images/".into(), ..s3() };
        assert_eq!(whole.place(), "storage.bucket \"b\" at http://minio:9000 below team/images/");
        assert_eq!(Config { root: "/srv".into(), ..Config::default() }.place(), "storage.root /srv");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = Config { secret_access_key: Some("hush".into()), account_key: Some("hush".into()), ..s3() };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
