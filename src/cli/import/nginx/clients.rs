//! What a server asks of all its clients, whoever they are: a certificate, one host, an address, the place that they come to.

use super::access::Condition;
use super::drafts::Draft;
use super::general;
use super::made::{Made, Served};
use super::notes::Notes;
use super::scope::Scope;
use super::servers::{Entry, Server};
use crate::sockets::Address;

/// Whether its clients need a certificate.
///
/// # Errors
/// Where that counts for a part only of what a listener is here.
pub fn certified(server: &Server<'_>, entries: &[Entry<'_>], notes: &mut Notes) -> Result<bool, String> {
    let proxied = server.listens.iter().any(|listen| listen.proxy_protocol);
    let certified = general::client_certificates(&server.scope, proxied, notes)?.is_some();
    let asks = |scope: &Scope<'_>| scope.every("if").any(|one| Condition::of(one) == Condition::Certificate);
    let plain = !server.sends_plain_away() && server.listens.iter().any(|listen| !listen.ssl);
    match entries.iter().any(|entry| asks(&entry.scope)) {
        true if !certified => {
            Err("clients' certificates are asked for at some locations, and a listener asks for them at all".into())
        }
        true if plain => Err("clients' certificates are asked for, and an address without TLS has none".into()),
        _ => Ok(certified),
    }
}

/// The one host that a server lets nobody ask for another than.
///
/// # Errors
/// Where that counts for a part of its locations, or is no name of its own.
pub fn only_host(server: &Server<'_>, entries: &[Entry<'_>]) -> Result<Option<String>, String> {
    let mut only: Option<String> = None;
    for condition in entries.iter().flat_map(|entry| entry.scope.every("if")) {
        let Condition::OtherHosts(host) = Condition::of(condition) else { continue };
        let of_server = server.directive.inner().iter().any(|inner| std::ptr::eq(inner, condition));
        let other = only.as_ref().is_some_and(|only| *only != host);
        if !of_server || other || !server.hosts.contains(&host) || host.starts_with("*.") {
            return Err(format!("an `if` at {} refuses hosts, and no route can say which", condition.at));
        }
        only = Some(host);
    }
    Ok(only)
}

/// nginx judges clients by an address that we would not read, or reads it in another way.
pub fn by_other_field(server: &Server<'_>, drafts: &[Draft<'_>]) -> Result<(), String> {
    let scope = &server.scope;
    if !drafts.iter().any(|draft| draft.access.is_by_network()) {
        return Ok(());
    }
    if server.listens.iter().any(|listen| matches!(listen.address, Address::Unix(_))) {
        return Err(
            "it judges clients by their address, and who comes through a socket of the file system has none".into()
        );
    }
    let believes = !scope.all(&["set_real_ip_from"]).is_empty();
    let field = scope.value("real_ip_header").unwrap_or("X-Real-IP");
    let proxied = server.listens.iter().any(|listen| listen.proxy_protocol);
    if proxied != (believes && field == "proxy_protocol") {
        return Err("it judges clients by their address, and Entrepot knows it by the PROXY protocol where nginx does not, or the other way".into());
    }
    match field {
        _ if !believes || proxied => Ok(()),
        field if !general::is_known_address(field) => {
            Err(format!("it judges clients by the address in {field}, which Entrepot does not read"))
        }
        field if field.eq_ignore_ascii_case("x-forwarded-for") && scope.value("real_ip_recursive") == Some("on") => {
            Ok(())
        }
        field => Err(format!(
            "it judges clients by the address in {field}, and Entrepot walks X-Forwarded-For as far as it names `trusted_proxies`, which \
             nginx does with `real_ip_recursive on` alone"
        )),
    }
}

/// Routes count at all addresses: who may come to one server's address only must not come to another's by its name.
pub fn elsewhere(served: &Served, made: &mut Made) -> Result<(), String> {
    let everywhere = |addresses: &[Address]| {
        addresses.iter().all(|address| address.tcp().is_some_and(|address| address.ip().is_unspecified()))
    };
    let own = &served.addresses;
    for other in &made.served {
        if own.iter().any(|address| other.addresses.contains(address)) && served.authorities != other.authorities {
            return Err(format!(
                "it asks its clients for other certificates than the server at {} on the same address, and a listener asks all for the same",
                other.at
            ));
        }
        let same = own.len() == other.addresses.len() && own.iter().all(|address| other.addresses.contains(address));
        if same {
            continue;
        }
        if served.closed || other.closed || !everywhere(own) || !everywhere(&other.addresses) {
            return Err(format!(
                "it listens elsewhere than the server at {}, and routes count at all addresses, so that one could be reached where the \
                 other is: import it by --server into a file of its own, for an Entrepot of its own",
                other.at
            ));
        }
        let why = format!(
            "is reached at the ports of the server at {} too, by its name, and that one at its ports",
            other.at
        );
        made.notes.opener("server", why, &served.at);
    }
    Ok(())
}
