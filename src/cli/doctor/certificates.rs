//! Certificates of listeners: whether clients will believe them, for which names, and for how long.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::finding::Findings;
use crate::config::Config;
use crate::outbound::tls;

const CHECK: &str = "certificates";
/// Less than this part of its life left, and something should have renewed it.
const DUE_PART: i64 = 4;
const DAY: i64 = 86_400;

/// What is looked at of one certificate.
struct Seen {
    /// Seconds of Unix time.
    from: i64,
    until: i64,
    names: Vec<String>,
    is_its_own_issuer: bool,
}

/// Blocking. `hosts` are names that routes have; `ca`: authorities that clients are given beside the system's.
pub fn check(config: &Config, hosts: &[String], ca: Option<&Path>) -> Findings {
    let mut findings = Findings::of(CHECK);
    let now = UnixTime::now();
    let mut covered = Vec::new();
    let pairs: Vec<_> = config.listener.iter().flat_map(|listener| &listener.tls).collect();
    let trust = Trust::of(ca).unwrap_or_else(|why| {
        findings.error(format!("--ca: {why}"), "name a PEM file with the authority's certificate");
        Trust { roots: tls::system_roots(), given: Vec::new() }
    });
    for pair in &pairs {
        let Some(file) = &pair.certificate else {
            findings.ok(format!(
                "one for {} comes by itself ([acme]): `entrepot status` says whether it is there, and until when",
                listed(&pair.names)
            ));
            covered.extend(pair.names.clone());
            continue;
        };
        let Some((chain, seen)) = read(file, &mut findings) else { continue };
        covered.extend(seen.names.clone());
        for name in pair.names.iter().filter(|name| !seen.names.iter().any(|own| covers(own, name))) {
            findings.error(
                format!("{} is not for '{name}', which tls.names says: {}", file.display(), listed(&seen.names)),
                "get one that has this name, or take the name away",
            );
        }
        if life(file, &seen, now, &mut findings) {
            chain_of(file, &chain, &seen, (&trust, now), &mut findings);
        }
    }
    if pairs.is_empty() {
        findings.ok("no listener has a certificate (plain HTTP: see `clients`)");
        return findings;
    }
    for host in hosts.iter().filter(|host| !covered.iter().any(|own| covers(own, host))) {
        findings.error(
            format!("no certificate is for {host}, which a route answers; certificates are for {}", listed(&covered)),
            "clients that come by https refuse to speak with it: get a certificate with this name",
        );
    }
    findings
}

/// Whom clients trust.
pub struct Trust {
    pub roots: RootCertStore,
    /// Those of `--ca`.
    given: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// The system's authorities, and those of a file. Blocking.
    pub fn of(ca: Option<&Path>) -> Result<Self, String> {
        let mut roots = tls::system_roots();
        let mut given = Vec::new();
        if let Some(ca) = ca {
            let named = |why: String| format!("{}: {why}", ca.display());
            given = tls::certificates(ca).map_err(named)?;
            roots.extend(tls::roots(&given).map_err(named)?.roots);
        }
        Ok(Trust { roots, given })
    }
}

fn read(file: &Path, findings: &mut Findings) -> Option<(Vec<CertificateDer<'static>>, Seen)> {
    let found = tls::certificates(file).and_then(|chain| {
        let seen = chain.first().and_then(|leaf| parse(leaf)).ok_or("holds what is no certificate")?;
        Ok((chain, seen))
    });
    found.map_err(|why| findings.error(format!("{}: {why}", file.display()), "put a certificate there, as PEM")).ok()
}

fn parse(der: &[u8]) -> Option<Seen> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name_of).collect(),
        _ => Vec::new(),
    };
    Some(Seen {
        from: parsed.validity().not_before.timestamp(),
        until: parsed.validity().not_after.timestamp(),
        names,
        is_its_own_issuer: parsed.subject() == parsed.issuer(),
    })
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let four: Option<[u8; 4]> = (*bytes).try_into().ok();
            let sixteen: Option<[u8; 16]> = (*bytes).try_into().ok();
            let ip = four.map(std::net::IpAddr::from).or(sixteen.map(std::net::IpAddr::from));
            ip.map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// The names in a certificate's file; none where it cannot be read, which is told elsewhere.
pub fn names_in(file: &Path) -> Vec<String> {
    let chain = tls::certificates(file).unwrap_or_default();
    chain.first().and_then(|leaf| parse(leaf)).map(|seen| seen.names).unwrap_or_default()
}

/// Whether a client that was told nothing believes it. Blocking.
pub fn is_believed(file: &Path) -> bool {
    let Ok(trust) = Trust::of(None) else { return false };
    let chain = tls::certificates(file).unwrap_or_default();
    let [leaf, between @ ..] = chain.as_slice() else { return false };
    let names = names_in(file).into_iter().map(|name| name.replacen('*', "any", 1));
    let name = names.filter_map(|name| ServerName::try_from(name).ok()).next();
    name.is_some_and(|name| verified(leaf, between, &name, &trust, UnixTime::now()).is_ok())
}

/// Whether it is good now.
fn life(file: &Path, seen: &Seen, now: UnixTime, findings: &mut Findings) -> bool {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let left = seen.until.saturating_sub(now);
    let whole = seen.until.saturating_sub(seen.from).max(1);
    let file = file.display();
    if left <= 0 {
        let what = format!("{file} has expired {} ago: clients refuse it", span(-left));
        findings.error(what, "renew it; new files are taken over within moments, without a restart");
        return false;
    }
    if seen.from > now {
        let what = format!("{file} becomes valid only in {}", span(seen.from - now));
        findings.error(what, "correct this machine's clock, or wait");
        return false;
    }
    if left < whole / DUE_PART {
        findings.warning(
            format!("{file} ({}) has {} left, of {}", listed(&seen.names), span(left), span(whole)),
            "renew it, and see why nothing has",
        );
    } else {
        findings.ok(format!("{file} ({}) has {} left", listed(&seen.names), span(left)));
    }
    true
}

/// Whether it leads to somebody whom clients trust.
fn chain_of(
    file: &Path,
    chain: &[CertificateDer<'static>],
    seen: &Seen,
    (trust, now): (&Trust, UnixTime),
    findings: &mut Findings,
) {
    let [leaf, between @ ..] = chain else { return };
    let shown = file.display();
    // Any of its names will do: they are compared apart.
    let plain = seen.names.iter().map(|name| name.replacen('*', "any", 1));
    let Some(name) = plain.filter_map(|name| ServerName::try_from(name).ok()).next() else {
        let what = format!("{shown} has no name in it (subjectAltName), so that clients refuse it");
        return findings.error(what, "get one with the name that clients use");
    };
    if seen.is_its_own_issuer {
        // Clients that trust it compare no more than that.
        if !trust.given.contains(leaf) {
            findings.warning(
                format!("{shown} is signed by itself"),
                "every client has to be told to trust it (`--clients` shows how); --ca FILE checks with it",
            );
        }
        return;
    }
    let error = match verified(leaf, between, &name, trust, now) {
        Ok(()) => return,
        Err(error) => error,
    };
    // Of two authorities of one name, the other one is found and did not sign it.
    let unknown = matches!(
        error,
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
    );
    match (unknown, trust.given.is_empty()) {
        (true, true) => findings.warning(
            format!("{shown} leads to no authority that this machine trusts"),
            "an authority of your own: give it to every client (`--clients` shows how) and check with --ca FILE; a public one: put the \
             certificates between into the same file, after it",
        ),
        (true, false) => findings.error(
            format!("{shown} does not lead to an authority of --ca or of this machine"),
            "put the certificates between it and the authority into the same file, after it",
        ),
        (false, _) => findings.error(
            format!("{shown}: clients will refuse it: {error}"),
            "get another one, or put the certificates between it and its authority into the same file",
        ),
    }
}

fn verified(
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    trust: &Trust,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(trust.roots.clone()), provider).build();
    // Where there is none, nobody at all is trusted on this machine.
    let verifier = verifier.map_err(|_| CertificateError::UnknownIssuer)?;
    verifier.verify_server_cert(leaf, between, name, &[], now).map(drop)
}

/// Whether a name of a certificate stands for another: itself, or one label for `*`.
fn covers(own: &str, name: &str) -> bool {
    let (own, name) = (own.to_ascii_lowercase(), name.to_ascii_lowercase());
    let wild = || own.strip_prefix("*.").zip(name.split_once('.')).is_some_and(|(own, (_, parent))| own == parent);
    own == name || wild()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no name".into() } else { names.join(", ") }
}

/// Whole days, or hours of the last.
fn span(seconds: i64) -> String {
    match seconds / DAY {
        0 => humantime::format_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0) / 60 * 60)).to_string(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers("*.lab", "a.lab") && covers("a.lab", "A.lab") && covers("*.lab", "*.lab"));
        assert!(!covers("*.lab", "a.b.lab") && !covers("*.lab", "lab") && !covers("a.lab", "b.lab"));
    }

    #[test]
    fn the_life_of_a_certificate_is_judged() {
        let level = |from: i64, until: i64| {
            let seen = Seen { from, until, names: vec!["a.lab".into()], is_its_own_issuer: false };
            let mut findings = Findings::of(CHECK);
            life(Path::new("a.pem"), &seen, UnixTime::since_unix_epoch(Duration::from_secs(1_000_000)), &mut findings);
            findings.found[0].level
        };
        assert_eq!(level(0, 999_999), Level::Error);
        assert_eq!(level(1_000_001, 2_000_000), Level::Error);
        assert_eq!(level(0, 1_200_000), Level::Warning);
        assert_eq!(level(900_000, 1_200_000), Level::Ok);
        assert_eq!((span(DAY), span(DAY * 9 + 5), span(3_660)), ("1 day".into(), "9 days".into(), "1h 1m".into()));
    }

    #[test]
    fn one_signed_by_itself_is_told_and_found_by_ca() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        let own = rcgen::generate_simple_self_signed(vec!["a.lab".into()]).unwrap();
        std::fs::write(&path, own.cert.pem()).unwrap();
        let told = |ca: Option<&Path>| {
            let mut findings = Findings::of(CHECK);
            let (chain, seen) = read(&path, &mut findings).unwrap();
            chain_of(&path, &chain, &seen, (&Trust::of(ca).unwrap(), UnixTime::now()), &mut findings);
            findings.found.iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(told(None), [Level::Warning]);
        assert_eq!(told(Some(&path)), []);
    }
}
