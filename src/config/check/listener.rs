//! Listeners and the admin endpoint: addresses that do not collide, bounds, certificates.

use std::net::SocketAddr;
use std::path::Path as FilePath;

use super::names::asked_name_fault;
use super::pem::{self, PairFault};
use super::{DAY, MILLISECOND, Report};
use crate::config::model::Config;
use crate::config::tree::Path;
use crate::listener::config::{Certificate, Config as Listener, H2, MinVersion, Mode, Timeouts};
use crate::sockets::Address;
use crate::units::{Size, mebibytes, seconds};

/// Of the path of a socket, in bytes; some are left for the name that it is made under.
const MAX_SOCKET: usize = 90;
/// Of the name that a service manager gives to a socket.
const MAX_NAME: usize = 255;

pub fn check(config: &Config, report: &mut Report) {
    let root = Path::default();
    if config.listener.is_empty() {
        report.say(root.key("listener"), "there is none; at least one [[listener]] with an address is required");
    }
    let mut taken: Vec<(Address, Path)> = Vec::new();
    for (index, listener) in config.listener.iter().enumerate() {
        let path = root.key("listener").index(index);
        address(&listener.address, path.key("address"), &mut taken, report);
        one(config, listener, &path, report);
    }
    names(config, report);
    if let Some(admin) = &config.admin {
        let path = root.key("admin");
        address(&admin.address.into(), path.key("address"), &mut taken, report);
        if let Some(socket) = &admin.unix {
            address(&Address::Unix(socket.clone()), path.key("unix"), &mut taken, report);
        }
    }
}

/// What a service manager calls a socket can mean one listener only.
fn names(config: &Config, report: &mut Report) {
    let named = |listener: &Listener| listener.name.clone().filter(|name| !name.is_empty());
    for (index, listener) in config.listener.iter().enumerate() {
        let path = Path::default().key("listener").index(index).key("name");
        let Some(name) = &listener.name else { continue };
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
        {
            let what = format!(
                "is \"{name}\"; allowed: up to {MAX_NAME} letters, digits and signs without ':', as in FileDescriptorName"
            );
            report.say(path, what);
        } else if config.listener[..index].iter().any(|other| named(other).as_ref() == Some(name)) {
            report.say(path, format!("is \"{name}\", as an earlier listener's is"));
        }
    }
}

/// Commands are run in other folders than the server, and the system takes no longer path (`sun_path`).
fn socket_fault(path: &FilePath) -> Option<String> {
    if !path.is_absolute() || path.file_name().is_none() {
        return Some(format!("is \"{}\": write a whole path, such as \"/run/entrepot/admin.sock\"", path.display()));
    }
    let length = path.as_os_str().len();
    (length > MAX_SOCKET).then(|| format!("has {length} bytes; the path of a socket has {MAX_SOCKET} at most"))
}

fn address(address: &Address, path: Path, taken: &mut Vec<(Address, Path)>, report: &mut Report) {
    if let Some(fault) = address.path().and_then(socket_fault) {
        report.say(path.clone(), fault);
    }
    let collides = |other: &Address| match (other, address) {
        (Address::Tcp(a), Address::Tcp(b)) => collide(*a, *b),
        (other, address) => other == address,
    };
    if let Some((other, first)) = taken.iter().find(|(other, _)| collides(other)) {
        let own = if address.tcp().is_some() { "port" } else { "path" };
        report.say(path.clone(), format!("is {address}, but {first} has {other} already; give each its own {own}"));
    }
    taken.push((address.clone(), path));
}

/// Whether the system refuses the second of two addresses.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || any && a.is_ipv4() == b.is_ipv4())
}

fn one(config: &Config, listener: &Listener, path: &Path, report: &mut Report) {
    if listener.redirect_to_https && !listener.tls.is_empty() {
        let what = "is for plain listeners; this one has tls, and redirecting https to itself would never end";
        report.say(path.key("redirect_to_https"), what);
    }
    if listener.proxy_protocol && listener.trusted_proxies.is_empty() {
        let what = "needs trusted_proxies: without one, every connection would be closed";
        report.say(path.key("proxy_protocol"), what);
    }
    if listener.socket_mode != Mode::default() && listener.address.path().is_none() {
        report.say(path.key("socket_mode"), "is for sockets in the file system: an address \"unix:/…\"");
    }
    report.within(path.key("max_connections"), listener.max_connections, 1..=1_000_000);
    report.within(path.key("max_requests"), listener.max_requests, 1..=10_000_000);
    if listener.max_age > seconds(0) {
        report.within(path.key("max_age"), listener.max_age, seconds(1)..=DAY);
    }
    report.within(path.key("min_body_rate"), listener.min_body_rate, Size(0)..=mebibytes(1024));
    report.within(path.key("max_header"), listener.max_header, Size(4 << 10)..=mebibytes(1));
    if listener.send_buffer > Size(0) {
        report.within(path.key("send_buffer"), listener.send_buffer, Size(4 << 10)..=mebibytes(64));
    }
    timeouts(&listener.timeouts, &path.key("timeouts"), report);
    h2(&listener.h2, &path.key("h2"), report);
    tls_rules(listener, path, report);
    client_certificates(config, listener, path, report);
    for (index, certificate) in listener.tls.iter().enumerate() {
        tls(certificate, &path.key("tls").index(index), report);
    }
}

fn tls_rules(listener: &Listener, path: &Path, report: &mut Report) {
    if listener.tls.is_empty() {
        if listener.tls_min_version != MinVersion::default() {
            report.say(path.key("tls_min_version"), "is for listeners with tls; this one speaks plain http");
        }
        if !listener.tls_ciphers.is_empty() {
            report.say(path.key("tls_ciphers"), "is for listeners with tls; this one speaks plain http");
        }
    }
    if listener.tls_min_version == MinVersion::Tls13
        && let Some((index, cipher)) = listener.tls_ciphers.iter().enumerate().find(|(_, cipher)| !cipher.is_of_tls13())
    {
        let what = format!("{cipher} is of TLS 1.2, which tls_min_version = \"1.3\" does not let through");
        report.say(path.key("tls_ciphers").index(index), what);
    }
}

fn client_certificates(config: &Config, listener: &Listener, path: &Path, report: &mut Report) {
    let Some(authorities) = &listener.client_ca else {
        if listener.client_certificate_required {
            let what = "needs client_ca: whose certificates are believed";
            report.say(path.key("client_certificate_required"), what);
        }
        if listener.client_crl.is_some() {
            report.say(path.key("client_crl"), "needs client_ca: whose certificates are believed");
        }
        return;
    };
    if let Err(what) = pem::authorities(authorities) {
        report.say(path.key("client_ca"), what);
    }
    if let Some(Err(what)) = listener.client_crl.as_deref().map(pem::revocation_lists) {
        report.say(path.key("client_crl"), what);
    }
    if listener.tls.is_empty() {
        report.say(path.key("client_ca"), "is for listeners with tls: on a plain one nobody shows a certificate");
    }
    if listener.proxy_protocol {
        let what = "cannot stand beside proxy_protocol: whether a certificate is the proxy's own or its client's cannot be told";
        report.say(path.key("client_ca"), what);
    }
    if config.auth.is_none() && !listener.client_certificate_required {
        let what = "changes nothing: there is no section [auth] with rules about the users whom certificates name, and none is \
                    required either (client_certificate_required = true)";
        report.say(path.key("client_ca"), what);
    }
}

fn timeouts(timeouts: &Timeouts, path: &Path, report: &mut Report) {
    let Timeouts { handshake, first_byte, header, keepalive, body } = *timeouts;
    let spans = [
        ("handshake", handshake),
        ("first_byte", first_byte),
        ("header", header),
        ("keepalive", keepalive),
        ("body", body),
    ];
    for (key, span) in spans {
        report.within(path.key(key), span, MILLISECOND..=DAY);
    }
}

fn h2(h2: &H2, path: &Path, report: &mut Report) {
    // The least is the protocol's own window; the most keeps the memory of one connection in bounds.
    let window = Size(64 << 10)..=mebibytes(16);
    report.within(path.key("max_streams"), h2.max_streams, 1..=1024);
    report.within(path.key("stream_window"), h2.stream_window, window);
    report.within(path.key("connection_window"), h2.connection_window, Size(64 << 10)..=mebibytes(256));
    if h2.connection_window < h2.stream_window {
        let what = format!(
            "is {}, less than stream_window, {}: one stream could never fill its window",
            h2.connection_window, h2.stream_window
        );
        report.say(path.key("connection_window"), what);
    }
}

fn tls(certificate: &Certificate, path: &Path, report: &mut Report) {
    match (&certificate.certificate, &certificate.key) {
        // What is said of it has a file of its own.
        _ if certificate.acme => {}
        (Some(file), Some(key)) => match pem::pair(file, key) {
            Ok(()) => {}
            Err(PairFault::Certificate(what)) => report.say(path.key("certificate"), what),
            Err(PairFault::Key(what)) => report.say(path.key("key"), what),
        },
        (None, _) => {
            report.say(path.clone(), "needs `certificate` and `key`, or `acme = true` and the names that it is for")
        }
        (Some(_), None) => report.say(path.clone(), "needs `key`, the file of the certificate's private key"),
    }
    for (index, name) in certificate.names.iter().enumerate() {
        if let Some(fault) = asked_name_fault(name) {
            report.say(path.key("names").index(index), format!("'{name}' {fault}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_where_every_command_finds_it() {
        assert_eq!(socket_fault(FilePath::new("/run/entrepot/admin.sock")), None);
        for (path, told) in [("admin.sock", "whole path"), ("/", "whole path"), ("", "whole path")] {
            assert!(socket_fault(FilePath::new(path)).unwrap().contains(told), "{path}");
        }
        assert!(socket_fault(FilePath::new(&format!("/{}", "a".repeat(90)))).unwrap().contains("91 bytes"));
    }

    #[test]
    fn addresses_collide_when_the_system_would_say_so() {
        let collide = |a: &str, b: &str| collide(a.parse().unwrap(), b.parse().unwrap());
        assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(collide("[::1]:80", "[::]:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!collide("0.0.0.0:80", "[::1]:80"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    }
}
