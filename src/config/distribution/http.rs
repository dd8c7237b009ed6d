//! The section `http`: `[[listener]]`, `[admin]`, `[drain]`, `[cors]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde_yaml_ng::Value as Yaml;
use toml::{Table as Fields, Value};

use super::Machine;
use super::document::{Document, section};
use super::draft::{Draft, Table, Weight};
use super::section::{Section, texts_of};
use crate::units::Span;

/// Fields that `[cors]` says itself.
const CORS: &str = "access-control-";
const ORIGIN: &str = "access-control-allow-origin";
/// Beside the file in which distribution keeps what it ordered.
const ACME_FOLDER: &str = "entrepot-acme";
/// Cipher suites of TLS 1.2 that are spoken here, by the names of Go.
const CIPHERS: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// `login`: whether variables name a user, who counts where there is no section `auth`.
pub(super) fn http(document: &Document, machine: Machine, login: bool, draft: &mut Draft) -> Result<(), String> {
    let auth = section("auth", document.get("auth"))?;
    let asks = !auth.is_empty() || login;
    let mut http = Section::new("http", document.get("http"))?;
    address(&mut http, machine, draft)?;
    let prefix = http.text("prefix")?.filter(|prefix| !prefix.trim_matches('/').is_empty());
    let below = prefix.as_ref().map(|prefix| format!("/{}", prefix.trim_matches('/'))).unwrap_or_default();
    if let Some(prefix) = prefix {
        draft.set(Table::Listener, "prefix", prefix, "http.prefix");
    }
    if let Some(host) = http.text("host")? {
        // Of a token service elsewhere, clients know the address already.
        if auth.contains_key("htpasswd") || (auth.is_empty() && login) {
            draft.set(Table::Auth, "realm", format!("{}{below}/token", host.trim_end_matches('/')), "http.host");
        } else {
            let why = "is not needed: addresses are given as paths at the host that was asked";
            draft.leave("http.host", Weight::Needless, why);
        }
    }
    if let Some(span) = http.span("draintimeout")?.filter(|span| !span.is_zero()) {
        draft.set(Table::Drain, "timeout", Span(span).to_string(), "http.draintimeout");
    }
    http.leave(&[
        (
            "secret",
            Weight::Needless,
            "is not needed: the state of an upload is in storage, where every instance finds it",
        ),
        ("relativeurls", Weight::Needless, "is not needed: addresses are always given as paths"),
    ]);
    let tls = http.inner("tls")?;
    self::tls(tls, asks, draft)?;
    let given = http.value("headers");
    headers(given, draft)?;
    protocols(&mut http, draft)?;
    let debug = http.inner("debug")?;
    self::debug(debug, machine, asks, draft)?;
    draft.close(http);
    Ok(())
}

fn address(http: &mut Section<'_>, machine: Machine, draft: &mut Draft) -> Result<(), String> {
    let net = http.text("net")?.unwrap_or_else(|| "tcp".into());
    let given = http.text("addr")?;
    if net == "unix" {
        let path = given.ok_or("http.net is \"unix\", and http.addr does not say where")?;
        draft.set(Table::Listener, "address", format!("unix:{path}"), "http.net, http.addr");
        return Ok(());
    }
    if !matches!(net.as_str(), "tcp" | "tcp4" | "tcp6") {
        return Err(format!(
            "http.net is \"{}\", and Entrepot listens on TCP and at sockets in the file system: write tcp or unix",
            net.escape_debug()
        ));
    }
    let from = if given.is_some() { "http.addr" } else { "http.addr (not given: :5000)" };
    let text = given.unwrap_or_else(|| ":5000".into());
    let machine = Machine { ipv6: machine.ipv6 && net != "tcp4" };
    let address = listens(&text, machine).map_err(|what| format!("http.addr {what}"))?;
    draft.set(Table::Listener, "address", address.to_string(), from);
    Ok(())
}

/// What Go listens at: without a host, at all addresses of the machine.
fn listens(text: &str, machine: Machine) -> Result<SocketAddr, String> {
    let shape =
        || format!("is \"{}\": write an IP address and a port, such as 127.0.0.1:5000 or :5000", text.escape_debug());
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
    let port = port.parse().map_err(|_| shape())?;
    let host: IpAddr = match host {
        // Where there is IPv6, this takes IPv4 too.
        "" if machine.ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        "" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => return Err(shape()),
    };
    Ok(SocketAddr::new(host, port))
}

fn tls(mut tls: Section<'_>, asks: bool, draft: &mut Draft) -> Result<(), String> {
    let (certificate, key) = (tls.text("certificate")?, tls.text("key")?);
    let ordered = letsencrypt(tls.inner("letsencrypt")?, certificate.is_some(), draft)?;
    let spoken = certificate.is_some() || ordered;
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let pair =
                Fields::from_iter([("certificate".into(), certificate.into()), ("key".into(), Value::from(key))]);
            draft.set(Table::Listener, "tls", vec![Value::Table(pair)], "http.tls.certificate, http.tls.key");
        }
        (Some(_), None) => return Err("http.tls.key is missing".into()),
        (None, Some(_)) => return Err("http.tls.certificate is missing".into()),
        (None, None) => {}
    }
    clients(&mut tls, spoken, asks, draft)?;
    let oldest = tls.text("minimumtls")?;
    match oldest.as_deref() {
        None | Some("tls1.2") => {}
        Some(_) if !spoken => tls.note("minimumtls", "is for TLS, which is not spoken: there is no certificate"),
        Some("tls1.0" | "tls1.1") => tls.note("minimumtls", "is older than what is spoken here: TLS 1.2 and 1.3"),
        Some("tls1.3") => draft.set(Table::Listener, "tls_min_version", "1.3", "http.tls.minimumtls"),
        Some(_) => tls.note("minimumtls", "is no version of TLS: 1.2 and 1.3 are spoken"),
    }
    let newest = oldest.as_deref() == Some("tls1.3");
    ciphers(&mut tls, spoken && !newest, draft)?;
    draft.close(tls);
    Ok(())
}

/// Certificates that are ordered: whether any is.
fn letsencrypt(mut section: Section<'_>, given: bool, draft: &mut Draft) -> Result<bool, String> {
    let (cache, email) = (section.text("cachefile")?, section.text("email")?);
    let (directory, hosts) = (section.text("directoryurl")?, section.texts("hosts")?);
    draft.close(section);
    if cache.is_none() && hosts.is_empty() {
        return Ok(false);
    }
    if given {
        return Err("http.tls.letsencrypt stands beside http.tls.certificate: one of the two counts".into());
    }
    if hosts.is_empty() {
        return Err("http.tls.letsencrypt.hosts is missing: here a certificate is ordered for the names that are given, and for no others"
            .into());
    }
    let entry = Fields::from_iter([("acme".into(), Value::from(true)), ("names".into(), Value::from(hosts))]);
    draft.set(Table::Listener, "tls", vec![Value::Table(entry)], "http.tls.letsencrypt.hosts");
    if let Some(cache) = cache {
        let folder = Path::new(&cache).with_file_name(ACME_FOLDER);
        draft.set(Table::Acme, "storage", folder.display().to_string(), "http.tls.letsencrypt.cachefile");
    }
    if let Some(email) = email {
        draft.set(Table::Acme, "email", email, "http.tls.letsencrypt.email");
    }
    if let Some(directory) = directory {
        draft.set(Table::Acme, "directory", directory, "http.tls.letsencrypt.directoryurl");
    }
    Ok(true)
}

/// Those of TLS 1.2: those of 1.3 cannot be chosen there.
fn ciphers(tls: &mut Section<'_>, counts: bool, draft: &mut Draft) -> Result<(), String> {
    let named = tls.texts("ciphersuites")?;
    let old: Vec<&String> = named.iter().filter(|name| name.contains("_WITH_")).collect();
    if old.is_empty() || !counts {
        return Ok(());
    }
    let (known, others): (Vec<&String>, Vec<&String>) =
        old.into_iter().partition(|name| CIPHERS.contains(&name.as_str()));
    if let Some(other) = others.first() {
        let other = other.escape_debug();
        tls.note(
            "ciphersuites",
            format!("names {other}, which is not spoken: of TLS 1.2 there are those with ECDHE and AEAD"),
        );
    }
    if !known.is_empty() {
        let known: Vec<String> = known.into_iter().cloned().collect();
        draft.set(Table::Listener, "tls_ciphers", known, "http.tls.ciphersuites");
    }
    Ok(())
}

fn clients(tls: &mut Section<'_>, spoken: bool, asks: bool, draft: &mut Draft) -> Result<(), String> {
    let authorities = tls.texts("clientcas")?;
    let how = tls.text("clientauth")?.unwrap_or_else(|| "require-and-verify-client-cert".into());
    let file = match authorities.as_slice() {
        [] => return Ok(()),
        [file] => file.clone(),
        _ => return Err("http.tls.clientcas names several files: put all authorities into one PEM file".into()),
    };
    if !spoken {
        return Err("http.tls.clientcas is given without a certificate: on a plain address nobody shows one".into());
    }
    if asks {
        return Err("http.tls.clientcas stands beside auth: here a certificate alone is a login too, so [[auth.rule]] has to say \
                    what it is good for; write a configuration of Entrepot"
            .into());
    }
    match how.as_str() {
        "require-and-verify-client-cert" => {
            draft.set(Table::Listener, "client_ca", file, "http.tls.clientcas");
            draft.set(Table::Listener, "client_certificate_required", true, "http.tls.clientauth");
        }
        "verify-client-cert-if-given" => {
            tls.note("clientcas", "changes nothing: nobody needs to show a certificate, and no rule asks for one");
        }
        other => {
            return Err(format!(
                "http.tls.clientauth is \"{}\", which asks for certificates and checks none: write \
                 require-and-verify-client-cert",
                other.escape_debug()
            ));
        }
    }
    Ok(())
}

fn headers(given: Option<&Yaml>, draft: &mut Draft) -> Result<(), String> {
    Section::new("http.headers", given)?;
    let mut fields = Fields::new();
    for (name, values) in given.and_then(Yaml::as_mapping).into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        let key = format!("http.headers.{}", name.escape_debug());
        let values = texts_of(values).map_err(|what| format!("{key} {what}"))?;
        let lower = name.to_ascii_lowercase();
        if lower == ORIGIN {
            draft.set(Table::Cors, "origins", values, key);
        } else if lower.starts_with(CORS) {
            let why = "is not needed: what browsers are told of methods and fields follows from [cors] origins";
            draft.leave(key, Weight::Needless, why);
        } else if !values.is_empty() {
            fields.insert(name.to_owned(), values.join(", ").into());
        }
    }
    if !fields.is_empty() {
        draft.set(Table::Listener, "headers", Value::Table(fields), "http.headers");
    }
    Ok(())
}

fn protocols(http: &mut Section<'_>, draft: &mut Draft) -> Result<(), String> {
    let mut http2 = http.inner("http2")?;
    if http2.flag("disabled")? == Some(true) {
        http2.note("disabled", "has no counterpart: where there is TLS, clients that ask for HTTP/2 get it");
    }
    draft.close(http2);
    let mut h2c = http.inner("h2c")?;
    h2c.leave(&[("enabled", Weight::Needless, "is not needed: a plain address takes HTTP/2 from who begins with it")]);
    draft.close(h2c);
    Ok(())
}

fn debug(mut debug: Section<'_>, machine: Machine, asks: bool, draft: &mut Draft) -> Result<(), String> {
    let address = debug.text("addr")?;
    if let Some(text) = &address {
        let address = listens(text, machine).map_err(|what| format!("http.debug.addr {what}"))?;
        draft.set(Table::Admin, "address", address.to_string(), "http.debug.addr");
        match address.ip().to_canonical().is_loopback() {
            true => {}
            false if asks => debug.note(
                "addr",
                "is reached from other machines: here it takes orders of operators too; keep it within a network that you trust, or \
                 write 127.0.0.1 before the port",
            ),
            false => {
                return Err(format!(
                    "http.debug.addr is \"{}\", which other machines reach, and here it takes orders of operators too, from everybody \
                     where there is no auth: write 127.0.0.1 before the port, or a section auth",
                    text.escape_debug()
                ));
            }
        }
    }
    let mut prometheus = debug.inner("prometheus")?;
    prometheus.leave(&[("enabled", Weight::Needless, "is not needed: where there is [admin], /metrics is there")]);
    if let Some(path) = prometheus.text("path")?.filter(|path| path != "/metrics") {
        prometheus.note("path", format!("is \"{}\", and metrics are at /metrics", path.escape_debug()));
    }
    draft.close(prometheus);
    draft.close(debug);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_go_listens() {
        for (text, ipv6, address) in [
            (":5000", true, "[::]:5000"),
            (":5000", false, "0.0.0.0:5000"),
            ("0.0.0.0:5000", true, "0.0.0.0:5000"),
            ("localhost:5001", true, "127.0.0.1:5001"),
            ("[::1]:5000", false, "[::1]:5000"),
        ] {
            assert_eq!(listens(text, Machine { ipv6 }).map(|at| at.to_string()), Ok(address.into()), "{text}");
        }
        for text in ["5000", "registry:5000", ":", ":http", "::1:5000:", "127.0.0.1:70000"] {
            assert!(listens(text, Machine { ipv6: true }).is_err(), "{text}");
        }
    }
}
