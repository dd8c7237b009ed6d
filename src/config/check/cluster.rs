//! Clusters: their names, peers, bounds of time and number, files of TLS.

use std::collections::HashMap;
use std::net::SocketAddr;

use rustls_pki_types::ServerName;

use super::names::peer_address_fault;
use super::pem::{self, PairFault};
use super::{DAY, HOUR, MILLISECOND, Report};
use crate::cluster::config::{Authorization, Config, Health, PeerConfig, Retry, Timeouts, TlsSettings};
use crate::cluster::forward::CLOSED;
use crate::config::model::Config as Whole;
use crate::config::tree::Path;
use crate::units::seconds;

pub fn check(config: &Whole, report: &mut Report) {
    let own: Vec<_> = config.listener.iter().filter_map(|listener| listener.address.tcp()).collect();
    for (name, cluster) in &config.cluster {
        let path = Path::default().key("cluster").key(name);
        if !valid_name(name) {
            let what = "is not a name for a cluster; allowed: a lower-case letter, then up to 62 lower-case letters, \
                        digits, '-' and '_', without '__' (the environment's names could not tell it)";
            report.say(path.clone(), what);
        }
        peers(&cluster.peers, &own, &path.key("peers"), report);
        health(&cluster.health, &path.key("health"), report);
        timeouts(&cluster.timeouts, &path.key("timeouts"), report);
        retry(&cluster.retry, &path.key("retry"), report);
        bounds(cluster, &path, report);
        forward(&cluster.forward, &path.key("forward"), report);
        if cluster.rewrite_realm && cluster.forward.is_empty() {
            let what = "needs 'forward': only a realm whose path is handed to the peers leads anywhere here";
            report.say(path.key("rewrite_realm"), what);
        }
        authorization(&cluster.authorization, &path.key("authorization"), report);
        if let Some(settings) = cluster.tls.settings() {
            tls(&settings, &path.key("tls"), report);
        }
    }
}

pub(super) fn valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
        && !name.contains("__")
}

fn peers(peers: &[PeerConfig], own: &[SocketAddr], path: &Path, report: &mut Report) {
    if peers.is_empty() {
        report.say(path.clone(), "is empty; at least one \"host:port\" is required");
        return;
    }
    let mut known: HashMap<String, usize> = HashMap::new();
    for (index, peer) in peers.iter().enumerate() {
        let path = path.index(index);
        if let Some(fault) = peer_address_fault(&peer.address) {
            report.say(path.clone(), format!("'{}' {fault}", peer.address));
        }
        if let Some(first) = known.insert(peer.address.to_ascii_lowercase(), index) {
            let what =
                format!("'{}' is peer {first} already; to give it a larger share, raise its weight", peer.address);
            report.say(path.clone(), what);
        }
        if own.iter().any(|own| is_own(&peer.address, *own)) {
            report.say(path.clone(), format!("'{}' is our own listener: requests would go in circles", peer.address));
        }
        report.within(path.key("weight"), peer.weight, 1..=1000);
        report.within(path.key("max_connections"), peer.max_connections, 0..=1_000_000);
    }
    if peers.iter().all(|peer| peer.backup) {
        report.say(path.clone(), "are all backup; at least one must not be");
    }
}

/// Whether a peer, given as an address, is one of our listeners.
pub(super) fn is_own(peer: &str, own: SocketAddr) -> bool {
    let Ok(peer) = peer.parse::<SocketAddr>() else { return false };
    let same_ip = peer.ip() == own.ip() || (own.ip().is_unspecified() && peer.ip().is_loopback());
    peer.port() == own.port() && same_ip
}

fn health(health: &Health, path: &Path, report: &mut Report) {
    if !is_path(&health.path) {
        report.say(path.key("path"), format!("is \"{}\"; allowed: a path that begins with '/'", health.path));
    }
    report.within(path.key("rise"), health.rise, 1..=100);
    report.within(path.key("fall"), health.fall, 1..=100);
    if health.interval.0.is_zero() {
        return; // the checks are off
    }
    report.within(path.key("interval"), health.interval, MILLISECOND..=HOUR);
    report.within(path.key("timeout"), health.timeout, MILLISECOND..=HOUR);
}

fn timeouts(timeouts: &Timeouts, path: &Path, report: &mut Report) {
    let Timeouts { connect, first_byte, read, write } = *timeouts;
    report.within(path.key("connect"), connect, MILLISECOND..=HOUR);
    for (key, span) in [("first_byte", first_byte), ("read", read), ("write", write)] {
        report.within(path.key(key), span, MILLISECOND..=DAY);
    }
}

fn retry(retry: &Retry, path: &Path, report: &mut Report) {
    report.within(path.key("tries"), retry.tries, 1..=16);
    for (index, status) in retry.statuses.iter().enumerate() {
        report.within(path.key("statuses").index(index), *status, 500..=599);
    }
}

fn bounds(cluster: &Config, path: &Path, report: &mut Report) {
    report.within(path.key("max_fails"), cluster.max_fails, 0..=1_000_000);
    report.within(path.key("fail_timeout"), cluster.fail_timeout, MILLISECOND..=HOUR);
    report.within(path.key("verdict_ttl"), cluster.verdict_ttl, seconds(0)..=DAY);
    report.within(path.key("holds_ttl"), cluster.holds_ttl, seconds(0)..=seconds(30 * 24 * 3600));
    report.within(path.key("stale"), cluster.stale, seconds(0)..=seconds(30 * 24 * 3600));
    report.within(path.key("slow_start"), cluster.slow_start, seconds(0)..=HOUR);
    report.within(path.key("queue_timeout"), cluster.queue_timeout, seconds(0)..=seconds(300));
    report.within(path.key("upload_patience"), cluster.upload_patience, seconds(0)..=seconds(300));
    report.within(path.key("keepalive"), cluster.keepalive, 0..=65_536);
    report.within(path.key("keepalive_timeout"), cluster.keepalive_timeout, MILLISECOND..=HOUR);
    report.within(path.key("resolve_interval"), cluster.resolve_interval, seconds(1)..=DAY);
}

fn forward(paths: &[String], path: &Path, report: &mut Report) {
    for (index, prefix) in paths.iter().enumerate() {
        let path = path.index(index);
        if let Some(closed) = prefix.strip_prefix(CLOSED) {
            if !is_path(closed) || closed.contains(';') {
                report.say(
                    path,
                    format!("is \"{prefix}\"; allowed behind '!': a path that begins with '/', without ';'"),
                );
            } else if !paths.iter().any(|open| !open.starts_with(CLOSED) && closed.starts_with(open.as_str())) {
                report.say(path, format!("is \"{prefix}\", but nothing there is handed on"));
            }
        } else if !is_path(prefix) || !prefix.ends_with('/') {
            report.say(path, format!("is \"{prefix}\"; allowed: a path that begins and ends with '/'"));
        } else if prefix.starts_with("/v2/") {
            report.say(path, format!("is \"{prefix}\", but /v2/ is ours: routes decide where it goes"));
        } else if paths.iter().take(index).any(|earlier| earlier == prefix) {
            report.say(path, format!("'{prefix}' is there already"));
        }
    }
}

/// RFC 7617 §2: no control characters, and no colon in the user's name.
fn authorization(authorization: &Authorization, path: &Path, report: &mut Report) {
    let Authorization::Login(login) = authorization else { return };
    let username = &login.username;
    if username.is_empty() || username.contains(|c: char| c == ':' || c.is_control()) {
        let what = "allowed: a name without ':' and control characters, which Basic authentication cannot tell";
        report.say(path.key("username"), format!("is {username:?}; {what}"));
    }
    let password = login.password.reveal();
    if password.is_empty() || password.contains(char::is_control) {
        report
            .say(path.key("password"), "is empty or holds control characters, which Basic authentication cannot tell");
    }
}

/// A path as it stands in a request, written without escapes, so that it is compared as it is.
pub(super) fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\' | b'"' | b'<' | b'>');
    let no_dots = |part: &str| part != "." && part != "..";
    text.starts_with('/') && !text.contains("//") && text.bytes().all(plain) && text.split('/').all(no_dots)
}

pub(super) fn tls(settings: &TlsSettings, path: &Path, report: &mut Report) {
    if let Some(ca) = &settings.ca
        && let Err(what) = pem::authorities(ca)
    {
        report.say(path.key("ca"), what);
    }
    if let Some(name) = &settings.server_name
        && ServerName::try_from(name.as_str()).is_err()
    {
        report.say(path.key("server_name"), format!("'{name}' is not a host name or IP address"));
    }
    match (&settings.client_certificate, &settings.client_key) {
        (Some(certificate), Some(key)) => match pem::pair(certificate, key) {
            Ok(()) => {}
            Err(PairFault::Certificate(what)) => report.say(path.key("client_certificate"), what),
            Err(PairFault::Key(what)) => report.say(path.key("client_key"), what),
        },
        (Some(_), None) => report.say(path.key("client_certificate"), "needs client_key beside it"),
        (None, Some(_)) => report.say(path.key("client_key"), "needs client_certificate beside it"),
        (None, None) => {}
    }
}
