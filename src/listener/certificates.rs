//! The certificates of a listener: by name, renewed when their files change, or whenever one comes by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::Certificate;
use super::error::Error;
use super::issued::{Held, Issuer, Slot};
use super::metrics::ListenerMetrics;

/// Between two lines about handshakes that are refused: who connects must not fill the log.
const COMPLAIN: Duration = Duration::from_secs(1);

/// One certificate with its key.
pub(super) enum Pair {
    Files(Box<Files>),
    Issued(Issued),
}

/// As loaded from its files.
pub(super) struct Files {
    config: Certificate,
    /// Of the files when last looked at, even if they were refused; `None`: not readable.
    seen: Option<[u8; 32]>,
    held: Arc<Held>,
    names: Vec<String>,
}

/// One that comes by itself.
pub(super) struct Issued {
    slot: Arc<Slot>,
    names: Vec<String>,
    /// What was shown for each of its names before, until there is one: a change of the configuration takes none away.
    stand_ins: HashMap<String, Arc<Held>>,
    /// Begin and end of the one that metrics tell of.
    told: Option<(i64, i64)>,
}

/// Where the certificate of a name is.
#[derive(Clone)]
enum Source {
    Held(Arc<Held>),
    /// What stands in while it is empty, if anything does.
    Slot(Arc<Slot>, Option<Arc<Held>>),
}

impl Source {
    fn held(&self) -> Option<Arc<Held>> {
        match self {
            Source::Held(held) => Some(Arc::clone(held)),
            Source::Slot(slot, stand_in) => slot.held().or_else(|| stand_in.clone()),
        }
    }

    fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.held().map(|held| Arc::clone(&held.key))
    }
}

#[derive(Default)]
struct ByName {
    exact: HashMap<String, Source>,
    /// `*.example.com` as `example.com`.
    wildcard: HashMap<String, Source>,
    /// In the order of the configuration: the first that is there answers unknown names.
    all: Vec<Source>,
}

impl ByName {
    /// Where the certificate is that a client is shown who asks for `name`; `None`: no entry names it.
    fn named(&self, name: &str) -> Option<&Source> {
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(wildcard)
    }

    /// The same for a name as the configuration has it.
    fn configured(&self, name: &str) -> Option<&Source> {
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.get(parent),
            None => self.named(&canonical(name)),
        }
    }
}

/// Answers rustls's question for the certificate of a name.
pub(super) struct Certificates {
    by_name: ArcSwap<ByName>,
    pairs: Mutex<Vec<Pair>>,
    provider: Arc<CryptoProvider>,
    metrics: Arc<ListenerMetrics>,
    /// When a refused handshake was told last.
    complained: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    pub(super) fn new(pairs: Vec<Pair>, provider: Arc<CryptoProvider>, metrics: Arc<ListenerMetrics>) -> Certificates {
        let (by_name, none, complained) = (ArcSwap::default(), Mutex::default(), Mutex::default());
        let certificates = Certificates { by_name, pairs: none, provider, metrics, complained };
        certificates.replace(pairs);
        certificates
    }

    /// All certificates of a configuration, or why one cannot be used. One that comes by itself need not be there yet.
    pub(super) fn load(
        configs: &[Certificate],
        provider: &CryptoProvider,
        issuer: Option<&dyn Issuer>,
    ) -> Result<Vec<Pair>, Error> {
        let pair = |config: &Certificate| match issuer.filter(|_| config.acme) {
            Some(issuer) => {
                let names: Vec<String> = config.names.iter().map(|name| name.to_ascii_lowercase()).collect();
                Ok(Pair::Issued(Issued { slot: issuer.slot(&names), names, stand_ins: HashMap::new(), told: None }))
            }
            None => Files::load(config, provider).map(|files| Pair::Files(Box::new(files))),
        };
        configs.iter().map(pair).collect()
    }

    pub(super) fn replace(&self, mut pairs: Vec<Pair>) {
        let mut present = self.pairs.lock();
        let before = self.by_name.load_full();
        for pair in &mut pairs {
            if let Pair::Issued(issued) = pair {
                issued.have_stand_ins(&before);
            }
        }
        present.iter().flat_map(Pair::names).for_each(|name| self.metrics.forget_certificate(name));
        *present = pairs;
        self.publish(&mut present);
    }

    /// Looks at the files again, and takes those that changed and hold a good pair. Blocks on the
    /// disk. Returns how many were renewed.
    pub(super) fn refresh(&self) -> usize {
        let mut pairs = self.pairs.lock();
        let names: Vec<String> = pairs.iter().flat_map(Pair::names).cloned().collect();
        let renewed = pairs.iter_mut().map(|pair| pair.refresh(&self.provider)).filter(|renewed| *renewed).count();
        if renewed > 0 {
            names.iter().for_each(|name| self.metrics.forget_certificate(name));
            self.publish(&mut pairs);
        }
        renewed
    }

    fn publish(&self, pairs: &mut [Pair]) {
        let mut by_name = ByName::default();
        for pair in pairs {
            if let Pair::Issued(issued) = pair {
                issued.told = issued.slot.held().map(|held| (held.from, held.until));
                if issued.told.is_some() {
                    issued.stand_ins.clear();
                }
            }
            for name in pair.names() {
                let source = pair.source(Some(name));
                if let Some(held) = source.held() {
                    self.metrics.certificate(name, held.from, held.until);
                }
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_name.wildcard, parent.to_owned()),
                    None => (&mut by_name.exact, canonical(name)),
                };
                map.entry(key).or_insert(source);
            }
            by_name.all.push(pair.source(None));
        }
        self.by_name.store(Arc::new(by_name));
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let by_name = self.by_name.load();
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let named = name.as_ref().and_then(|name| by_name.named(name));
        let found = match named {
            // Another name's would only hide what is missing.
            Some(source) => source.key(),
            None => by_name.all.iter().find_map(Source::key),
        };
        if found.is_none() && self.may_complain() {
            let name = name.filter(|_| named.is_some());
            tracing::warn!(name, "a handshake is refused: there is no certificate yet");
        }
        found
    }

    fn may_complain(&self) -> bool {
        let mut complained = self.complained.lock();
        let may = complained.is_none_or(|at| at.elapsed() >= COMPLAIN);
        if may {
            *complained = Some(Instant::now());
        }
        may
    }

    /// The certificate that names an address of ours: for clients that ask for no name, since they came by the address.
    pub(super) fn of_address(&self, address: IpAddr) -> Option<Arc<CertifiedKey>> {
        self.by_name.load().exact.get(&address.to_canonical().to_string()).and_then(Source::key)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

impl Pair {
    fn names(&self) -> &[String] {
        match self {
            Pair::Files(files) => &files.names,
            Pair::Issued(issued) => &issued.names,
        }
    }

    /// Where the certificate is that is shown for one of its names, or for a name that nobody has.
    fn source(&self, name: Option<&str>) -> Source {
        match self {
            Pair::Files(files) => Source::Held(Arc::clone(&files.held)),
            Pair::Issued(issued) => {
                let stand_in = match name {
                    Some(name) => issued.stand_ins.get(name),
                    None => issued.names.iter().find_map(|name| issued.stand_ins.get(name)),
                };
                Source::Slot(Arc::clone(&issued.slot), stand_in.cloned())
            }
        }
    }

    /// True if it is another certificate now.
    fn refresh(&mut self, provider: &CryptoProvider) -> bool {
        match self {
            Pair::Files(files) => files.refresh(provider),
            Pair::Issued(issued) => issued.slot.held().map(|held| (held.from, held.until)) != issued.told,
        }
    }
}

impl Issued {
    fn have_stand_ins(&mut self, before: &ByName) {
        if self.slot.held().is_some() {
            return;
        }
        let shown = |name: &String| Some((name.clone(), before.configured(name)?.held()?));
        self.stand_ins = self.names.iter().filter_map(shown).collect();
    }
}

impl Files {
    fn load(config: &Certificate, provider: &CryptoProvider) -> Result<Files, Error> {
        let content = Content::read(config)?;
        Files::parse(config, &content, provider)
    }

    fn parse(config: &Certificate, content: &Content, provider: &CryptoProvider) -> Result<Files, Error> {
        let (certificate, key_file) = paths(config)?;
        let refused = |path: &Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
        let chain = CertificateDer::pem_slice_iter(&content.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refused(certificate, format!("not a PEM file: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(refused(certificate, "no certificate in it".into()));
        };
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| refused(certificate, format!("not a certificate: {error}")))?;
        let validity = parsed.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let names = match config.names.is_empty() {
            true => names_of(&parsed),
            false => config.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        };
        let key = PrivateKeyDer::from_pem_slice(&content.key)
            .map_err(|error| refused(key_file, format!("no private key in it: {error}")))?;
        let key = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| refused(key_file, format!("not the key of {}: {error}", certificate.display())))?;
        let held = Arc::new(Held { key: Arc::new(key), from, until });
        Ok(Files { config: config.clone(), seen: Some(content.hash()), held, names })
    }

    /// True if the files changed and hold a good pair, which is now this one.
    fn refresh(&mut self, provider: &CryptoProvider) -> bool {
        let content = Content::read(&self.config);
        let seen = content.as_ref().ok().map(Content::hash);
        if seen == self.seen {
            return false;
        }
        self.seen = seen;
        match content.and_then(|content| Files::parse(&self.config, &content, provider)) {
            Ok(files) => {
                let certificate = self.config.certificate.as_deref().unwrap_or(Path::new(""));
                tracing::info!(certificate = %certificate.display(), names = ?files.names, expiry = files.held.until, "certificate renewed");
                *self = files;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "changed certificate refused, the old one stays");
                false
            }
        }
    }
}

/// One spelling for each address; what is none stays as it is.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_canonical().to_string())
}

/// The files of a certificate; the configuration was checked to name both.
fn paths(config: &Certificate) -> Result<(&Path, &Path), Error> {
    match (config.certificate.as_deref(), config.key.as_deref()) {
        (Some(certificate), Some(key)) => Ok((certificate, key)),
        (named, other) => {
            let path = named.or(other).unwrap_or(Path::new("tls"));
            Err(Error::Certificate {
                path: path.to_owned(),
                reason: "a certificate needs two files, its own and its key's".into(),
            })
        }
    }
}

/// The bytes of a pair's files.
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Content {
    fn read(config: &Certificate) -> Result<Content, Error> {
        let (certificate, key) = paths(config)?;
        let read =
            |path: &Path| std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source });
        Ok(Content { certificate: read(certificate)?, key: read(key)? })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.certificate.len() as u64).to_le_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }
}

/// The DNS names that a certificate is for.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::super::metrics::Metrics;
    use super::super::tls::provider;
    use super::*;

    /// The place of one certificate, which comes when a test wants it.
    struct One(Arc<Slot>);

    #[async_trait::async_trait]
    impl Issuer for One {
        fn slot(&self, _: &[String]) -> Arc<Slot> {
            Arc::clone(&self.0)
        }

        async fn proof(&self, _: &str) -> Option<Arc<CertifiedKey>> {
            None
        }
    }

    fn held() -> Held {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
        let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider()).unwrap();
        Held { key: Arc::new(key), from: 1, until: 2 }
    }

    fn config(tls: &str) -> Config {
        toml::from_str(&format!("address = \"127.0.0.1:0\"\n[[tls]]\n{tls}")).unwrap()
    }

    /// One entry that comes by itself, with its place.
    fn issued(names: &[&str]) -> (Arc<Slot>, Vec<Pair>) {
        let slot = Arc::new(Slot::default());
        let config = config(&format!("acme = true\nnames = {names:?}"));
        let pairs = Certificates::load(&config.tls, &provider(), Some(&One(Arc::clone(&slot)))).unwrap();
        (slot, pairs)
    }

    fn certificates(pairs: Vec<Pair>) -> Certificates {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        Certificates::new(pairs, provider(), Arc::new(metrics.of(&config("").address)))
    }

    #[test]
    fn what_was_shown_for_a_name_is_shown_until_there_is_another() {
        let (slot, pairs) = issued(&["a.example"]);
        let first = held();
        slot.put(first.clone());
        let certificates = certificates(pairs);
        let shows = |name: Option<&str>, held: &Held| {
            certificates.find(name).is_some_and(|shown| Arc::ptr_eq(&shown, &held.key))
        };
        assert!(shows(Some("a.example"), &first));
        let mut slots = Vec::new();
        for names in [&["a.example", "b.example"][..], &["b.example", "a.example"]] {
            let (slot, pairs) = issued(names);
            certificates.replace(pairs);
            assert!(shows(Some("a.example"), &first) && shows(None, &first), "{names:?}");
            assert!(certificates.find(Some("b.example")).is_none(), "it was never shown for that one");
            assert_eq!(certificates.refresh(), 0);
            slots.push(slot);
        }
        let second = held();
        slots.pop().unwrap().put(second.clone());
        assert_eq!(certificates.refresh(), 1);
        assert!(shows(Some("a.example"), &second) && shows(Some("b.example"), &second) && shows(None, &second));
    }

    #[test]
    fn files_stand_in_for_what_comes_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["*.example.com".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let config = config(&format!("certificate = {certificate:?}\nkey = {key:?}"));
        let certificates = certificates(Certificates::load(&config.tls, &provider(), None).unwrap());
        let (_slot, pairs) = issued(&["one.example.com", "*.example.com", "example.com"]);
        certificates.replace(pairs);
        let shown = |name| certificates.find(Some(name)).map(|key| key.cert[0].to_vec());
        for name in ["one.example.com", "two.example.com"] {
            assert_eq!(shown(name), Some(made.cert.der().to_vec()), "{name}");
        }
        assert_eq!(shown("example.com"), None);
    }

    #[test]
    fn an_address_has_its_certificate_however_it_is_written() {
        let (slot, pairs) = issued(&["192.0.2.7", "2001:DB8:0::1"]);
        slot.put(held());
        let certificates = certificates(pairs);
        let of = |address: &str| certificates.of_address(address.parse().unwrap()).is_some();
        assert!(of("192.0.2.7") && of("::ffff:192.0.2.7") && of("2001:db8::1"));
        assert!(!of("192.0.2.8"));
    }

    #[test]
    fn who_connects_does_not_fill_the_log() {
        let certificates = certificates(issued(&["a.example"]).1);
        let told = (0..1_000).filter(|_| certificates.may_complain()).count();
        assert!((1..1_000).contains(&told), "{told}");
    }
}
