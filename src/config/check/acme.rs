//! Certificates that come by themselves: names that can be ordered and proven, an authority that can be asked safely, and a place for
//! keys.

use std::collections::HashMap;
use std::path::Path as FilePath;

use url::Url;

use super::{HOUR, Report, pem};
use crate::acme::config::{Kind, MAX_CERTIFICATES, MAX_NAMES, Storage};
use crate::acme::{Config as Acme, Names, can_be_proven, hmac};
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::listener::config::Certificate;
use crate::storage::config::DriverKind;
use crate::units::seconds;

/// Of a profile, an address of mail, an account elsewhere, in bytes.
const MAX_TEXT: usize = 255;

pub fn check(config: &Config, report: &mut Report) {
    let default = Acme::default();
    let acme = config.acme.as_ref().unwrap_or(&default);
    let ways = acme.ways(config.listener.iter().any(|listener| listener.tls.is_empty()));
    let mut known: HashMap<String, (Names, Path)> = HashMap::new();
    for (index, listener) in config.listener.iter().enumerate() {
        for (entry_index, entry) in listener.tls.iter().enumerate().filter(|(_, entry)| entry.acme) {
            let path = Path::default().key("listener").index(index).key("tls").index(entry_index);
            ordered(entry, &ways, &path, report);
            once(entry, &path, &mut known, report);
        }
    }
    let count = config.ordered_names().len();
    if count > MAX_CERTIFICATES {
        let what = format!("names {count} certificates that come by themselves; allowed: up to {MAX_CERTIFICATES}");
        report.say(Path::default().key("listener"), what);
    }
    let path = Path::default().key("acme");
    if let Some(acme) = &config.acme {
        authority(acme, &path, report);
        proofs(config, acme, &path, report);
    }
    if count > 0 {
        place(config, acme, path.key("storage"), report);
    }
}

/// One entry of a listener.
fn ordered(entry: &Certificate, ways: &[Kind], path: &Path, report: &mut Report) {
    for (key, file) in [("certificate", &entry.certificate), ("key", &entry.key)] {
        if file.is_some() {
            report.say(
                path.key(key),
                "cannot stand beside `acme = true`: a certificate that comes by itself is no file of yours",
            );
        }
    }
    if entry.names.is_empty() {
        report.say(
            path.key("names"),
            "is required beside `acme = true`: a certificate is ordered for these names and no others",
        );
    }
    if entry.names.len() > MAX_NAMES {
        let what = format!("has {} names; allowed for one certificate: up to {MAX_NAMES}", entry.names.len());
        report.say(path.key("names"), what);
    }
    for (index, name) in entry.names.iter().enumerate().take(MAX_NAMES) {
        if ways.iter().any(|way| can_be_proven(name, *way)) {
            continue;
        }
        let what = match name.strip_prefix("*.") {
            Some(_) => {
                "stands for hosts that nobody can ask: an authority wants a record in DNS for it (dns in [acme])"
            }
            None => {
                "is an address, which has no zone in DNS: it is proven by http-01 or tls-alpn-01 (challenges in [acme])"
            }
        };
        report.say(path.key("names").index(index), format!("'{name}' {what}"));
    }
    let names = Names::new(&entry.names);
    let each = entry.names.iter().all(|name| ways.iter().any(|way| can_be_proven(name, *way)));
    if each && !entry.names.is_empty() && names.ways(ways).is_empty() {
        let what = "has names that can only be proven in different ways, such as a wildcard and an address: give each a certificate of its own";
        report.say(path.key("names"), what);
    }
}

/// Authorities count per name: two certificates with one name in both would each think that nobody else asks.
fn once(entry: &Certificate, path: &Path, known: &mut HashMap<String, (Names, Path)>, report: &mut Report) {
    let names = Names::new(&entry.names);
    for name in names.iter() {
        match known.get(name) {
            Some((other, first)) if *other != names => {
                let what = format!(
                    "has '{name}', which {first} has too, with other names beside it: one certificate for each name"
                );
                report.say(path.key("names"), what);
                return;
            }
            Some(_) => {}
            None => drop(known.insert(name.to_owned(), (names.clone(), path.clone()))),
        }
    }
}

fn authority(acme: &Acme, path: &Path, report: &mut Report) {
    let directories = [("directory", Some(&acme.directory)), ("staging", acme.staging.as_ref())];
    for (key, directory) in directories {
        let Some(directory) = directory else { continue };
        let good = Url::parse(directory).is_ok_and(|url| {
            url.scheme() == "https" && url.host().is_some() && url.username().is_empty() && url.password().is_none()
        });
        if !good {
            let what =
                format!("is \"{directory}\"; write the address of an ACME directory, https:// and without a login");
            report.say(path.key(key), what);
        }
    }
    if let Some(email) = &acme.email {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '?' | ':');
        let parts = email.split('@').filter(|part| !part.is_empty()).count();
        if parts != 2 || email.len() > MAX_TEXT || !email.chars().all(plain) {
            report.say(path.key("email"), format!("is \"{email}\"; write one address, such as \"admin@example.com\""));
        }
    }
    if let Some(profile) = &acme.profile
        && (profile.is_empty() || profile.len() > MAX_TEXT || !profile.chars().all(|c| c.is_ascii_graphic()))
    {
        report.say(path.key("profile"), "is not the name of a profile, such as \"shortlived\"");
    }
    if let Some(eab) = &acme.eab {
        let path = path.key("eab");
        if eab.kid.is_empty() || eab.kid.len() > MAX_TEXT || !eab.kid.chars().all(|c| c.is_ascii_graphic()) {
            report.say(path.key("kid"), "is not the id of an account: write it as the authority gave it");
        }
        if let Err(what) = hmac(&eab.hmac_file) {
            report.say(path.key("hmac_file"), what);
        }
    }
    if let Some(ca) = &acme.ca
        && let Err(what) = pem::authorities(ca)
    {
        report.say(path.key("ca"), what);
    }
}

fn proofs(config: &Config, acme: &Acme, path: &Path, report: &mut Report) {
    let plain = config.listener.iter().any(|listener| listener.tls.is_empty());
    for (index, way) in acme.challenges.iter().enumerate() {
        let path = path.key("challenges").index(index);
        if acme.challenges.iter().take(index).any(|other| other == way) {
            report.say(path.clone(), format!("is \"{}\" again", way.word()));
        }
        match way {
            Kind::Http if !plain => {
                report.say(
                    path,
                    "is \"http-01\", and no [[listener]] speaks plain HTTP, which an authority asks on port 80",
                );
            }
            Kind::Dns if acme.dns.is_none() => {
                report.say(path, "is \"dns-01\", and `dns` names no program that sets records");
            }
            _ => {}
        }
    }
    if let Some(dns) = &acme.dns {
        let path = path.key("dns");
        match dns.exec.first() {
            None => report.say(path.key("exec"), "is empty: name the program that sets records, and its arguments"),
            Some(program) if program.is_empty() || program.ends_with('/') => {
                report.say(path.key("exec").index(0), "is not the path of a program");
            }
            Some(program) if program.starts_with('/') && !FilePath::new(program).is_file() => {
                report.say(path.key("exec").index(0), format!("is \"{program}\", which is not there"));
            }
            Some(_) => {}
        }
        report.within(path.key("timeout"), dns.timeout, seconds(1)..=seconds(600));
        report.within(path.key("wait"), dns.wait, seconds(0)..=HOUR);
    }
    report.within(path.key("retry"), acme.retry, seconds(1)..=HOUR);
    report.within(path.key("renewal_check"), acme.renewal_check, seconds(1)..=super::DAY);
}

/// Where keys are kept: for all instances, and longer than a process lives.
fn place(config: &Config, acme: &Acme, path: Path, report: &mut Report) {
    match acme.place(config.seals_certificates()) {
        Storage::Registry if !config.uses_registry() => {
            let what = "is \"registry\", and no [[route]] reads from or writes to \"registry\": name a folder";
            report.say(path, what);
        }
        Storage::Registry if config.storage.driver == DriverKind::Memory => {
            let what = "is \"registry\", whose content is in this process's memory: each start would order anew, which authorities \
                        limit. Name a folder";
            report.say(path, what);
        }
        Storage::Registry if config.fleet.secret_file.is_none() => {
            let what =
                "is \"registry\", where private keys are sealed with the fleet's secret: set secret_file in [fleet]";
            report.say(path, what);
        }
        Storage::Folder(folder) if folder.as_os_str().is_empty() => {
            report.say(path, "is empty: write \"registry\", or name a folder");
        }
        Storage::Folder(_) if acme.storage.is_none() && !config.is_alone() => {
            let what = "is required where there may be other instances, or each would order for itself: write \"registry\" (and \
                        secret_file in [fleet]), or name a folder that all of them share";
            report.say(path, what);
        }
        Storage::Registry | Storage::Folder(_) => {}
    }
}
