//! Addresses: each is one listener, whichever servers listen there.

use super::beside;
use super::general;
use super::made::{Certificate, Listener, Made};
use super::servers::{Does, Server};
use super::tree::Directive;
use super::values::{Listen, quoted};
use crate::sockets::Address;

/// The servers that get what is for no other one's name: for each address the one that says so, or else the first.
pub fn defaults(servers: &[Server<'_>]) -> Vec<usize> {
    let mut addresses: Vec<&Address> = Vec::new();
    for listen in servers.iter().flat_map(|server| &server.listens) {
        if !addresses.contains(&&listen.address) {
            addresses.push(&listen.address);
        }
    }
    let mut found = Vec::new();
    for address in addresses {
        let there = |listen: &&Listen| listen.address == *address;
        let says = |server: &Server<'_>| server.listens.iter().filter(there).any(|listen| listen.default);
        let listens = |server: &Server<'_>| server.listens.iter().any(|listen| there(&listen));
        let default = servers.iter().position(says).or_else(|| servers.iter().position(listens));
        found.extend(default);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The listeners of all servers that are served, and of those that send their clients to them.
pub fn of(servers: &[Server<'_>], served: &[usize], made: &mut Made) {
    for (index, server) in servers.iter().enumerate() {
        let serves = served.contains(&index);
        if !serves && !matches!(server.does, Does::ToHttps) {
            continue;
        }
        for listen in &server.listens {
            one(server, listen, serves, made);
        }
    }
    settle(made);
}

fn one(server: &Server<'_>, listen: &Listen, serves: bool, made: &mut Made) {
    let certificate = if listen.ssl { certificate(server, made) } else { None };
    if listen.ssl && certificate.is_none() {
        made.notes.leave(
            format!("listen {}", listen.address),
            "has no certificate that can be read at the start",
            server.at,
        );
        return;
    }
    let place = made.listeners.iter().position(|known| known.address == listen.address);
    let index = place.unwrap_or_else(|| {
        made.listeners.push(Listener {
            address: listen.address.clone(),
            from: server.at.to_string(),
            ssl: listen.ssl,
            proxy_protocol: false,
            certificates: Vec::new(),
            redirects: Vec::new(),
            serves: Vec::new(),
            keys: Default::default(),
        });
        made.listeners.len() - 1
    });
    let Made { listeners, notes, cors, .. } = made;
    let Some(listener) = listeners.get_mut(index) else { return };
    listener.ssl |= listen.ssl;
    listener.proxy_protocol |= listen.proxy_protocol;
    if let Some(certificate) = certificate.filter(|certificate| !listener.certificates.contains(certificate)) {
        // Who asks for an unknown name gets the first one.
        let at = if listen.default { 0 } else { listener.certificates.len() };
        listener.certificates.insert(at, certificate);
    }
    let away = !listen.ssl && (!serves || server.sends_plain_away());
    if away { &mut listener.redirects } else { &mut listener.serves }.push(server.at.clone());
    general::listener(&server.scope, listen.ssl, &mut listener.keys, notes);
    if let (false, Does::Serves(entries)) = (away, &server.does) {
        beside::answered(entries, server, listener, cors, notes);
        if let Ok(Some(authorities)) = general::client_certificates(&server.scope, listen.proxy_protocol, notes)
            && listen.ssl
        {
            listener.keys.put("client_ca", quoted(authorities.arg(0)), authorities, notes);
            listener.keys.put("client_certificate_required", "true".into(), authorities, notes);
            if let Some(revoked) = server.scope.one("ssl_crl") {
                listener.keys.put("client_crl", quoted(revoked.arg(0)), revoked, notes);
            }
        }
    }
}

fn certificate(server: &Server<'_>, made: &mut Made) -> Option<Certificate> {
    let certificates = server.scope.all(&["ssl_certificate"]);
    let keys = server.scope.all(&["ssl_certificate_key"]);
    let is_file = |directive: &&&Directive| !directive.arg(0).contains(['$', ':']);
    let (certificate, key) = (certificates.first().filter(is_file)?, keys.first().filter(is_file)?);
    if let Some(second) = certificates.get(1) {
        made.notes.lost("ssl_certificate", "a name has one certificate: the first of the two is used", &second.at);
    }
    for file in [certificate, key] {
        if std::fs::metadata(file.arg(0)).is_err() {
            let why = format!("{} is not here: `entrepot check` wants to read it", file.arg(0));
            made.notes.other(&*file.name, why, &file.at);
        }
    }
    Some(Certificate {
        certificate: certificate.arg(0).to_owned(),
        key: key.arg(0).to_owned(),
        names: server.hosts.clone(),
        from: format!("{}: {}", certificate.at, certificate.name),
    })
}

/// What only all servers of an address together tell.
fn settle(made: &mut Made) {
    let Made { listeners, notes, .. } = made;
    let wide: Vec<_> =
        listeners.iter().filter_map(|one| one.address.tcp()).filter(|address| address.ip().is_unspecified()).collect();
    listeners.retain(|listener| {
        let Some(own) = listener.address.tcp() else { return true };
        let covered = wide.iter().any(|any| *any != own && any.port() == own.port() && any.is_ipv4() == own.is_ipv4());
        if covered && let Some(at) = listener.serves.first().or(listener.redirects.first()) {
            notes.other(format!("listen {own}"), "the listener for all addresses has it too", at);
        }
        !covered
    });
    for listener in listeners {
        if !listener.serves.is_empty() {
            for at in &listener.redirects {
                let why = format!(
                    "{} is served in the clear: another server hands requests on there, and a listener redirects all or none",
                    listener.address
                );
                notes.opener("return 301 https://…", why, at);
            }
            listener.redirects.clear();
        }
        if listener.certificates.len() == 1 {
            // The only one answers every name.
            listener.certificates.iter_mut().for_each(|certificate| certificate.names.clear());
        }
    }
}
