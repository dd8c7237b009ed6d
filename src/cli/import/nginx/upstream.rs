//! `proxy_pass` and `upstream` → whom requests go to.

use super::made::{Keys, Peer};
use super::notes::Notes;
use super::scope::Scope;
use super::tree::Directive;
use super::values::{quoted, shown_span, size, span};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Registries that everybody knows, by the host that nginx asks, and what references call them.
const PUBLIC: [(&str, &str); 9] = [
    ("registry-1.docker.io", "docker.io"),
    ("index.docker.io", "docker.io"),
    ("ghcr.io", "ghcr.io"),
    ("quay.io", "quay.io"),
    ("gcr.io", "gcr.io"),
    ("registry.k8s.io", "registry.k8s.io"),
    ("mcr.microsoft.com", "mcr.microsoft.com"),
    ("public.ecr.aws", "public.ecr.aws"),
    ("registry.gitlab.com", "registry.gitlab.com"),
];

/// Whom a `proxy_pass` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub secure: bool,
    /// An upstream's name, or host and perhaps port.
    pub authority: String,
}

impl Target {
    /// # Errors
    /// Why it cannot be gone to from here, for people.
    pub fn of(proxy_pass: &Directive, scope: &Scope<'_>, path: Option<&str>) -> Result<Target, String> {
        let text = proxy_pass.arg(0);
        // What stands for the address as it was asked changes nothing.
        let text = ["$request_uri", "$uri$is_args$args"].iter().find_map(|all| text.strip_suffix(all)).unwrap_or(text);
        let whole =
            scope.resolved(text).ok_or("it goes to where a variable says that nobody knows before a request")?;
        let (scheme, rest) = whole.split_once("://").ok_or("it has no scheme")?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(format!("it speaks {scheme}")),
        };
        if rest.starts_with("unix:") {
            return Err("it goes to a socket of the file system, and peers are host:port: let the registry listen on an address".into());
        }
        let (authority, uri) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            // Not shown: there may be a password in it.
            return Err("there is a user in its address".into());
        }
        if !uri.is_empty() && path != Some(uri) {
            return Err(format!(
                "it asks for other paths than clients do ({} for {}), and Entrepot changes none",
                uri,
                path.unwrap_or("the pattern")
            ));
        }
        Ok(Target { secure, authority: authority.to_ascii_lowercase() })
    }

    /// The registry that everybody knows, if it is one.
    pub fn public(&self, upstream: Option<&Directive>) -> Option<&'static str> {
        let only = upstream.and_then(|upstream| {
            let mut servers = upstream.inner().iter().filter(|directive| directive.name == "server");
            servers.next().filter(|_| servers.next().is_none()).map(|server| server.arg(0))
        });
        let authority = only.unwrap_or(&self.authority);
        let host = authority.strip_suffix(":443").unwrap_or(authority);
        PUBLIC.iter().find(|(known, _)| self.secure && *known == host).map(|(_, registry)| *registry)
    }

    /// As the only peer.
    pub fn peer(&self, from: String) -> Option<Peer> {
        let address = with_port(&self.authority, if self.secure { 443 } else { 80 })?;
        Some(Peer { address, weight: 1, max_connections: 0, backup: false, from })
    }
}

/// `host:port`; `None` where it is none.
fn with_port(text: &str, usual: u16) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        _ => (text, usual),
    };
    let good = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            host.parse::<std::net::Ipv4Addr>().is_ok()
        }
        None => {
            let part = |part: &str| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                (1..=63).contains(&part.len())
                    && part.bytes().all(plain)
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            };
            host.len() <= 253 && host.split('.').all(part)
        }
    };
    good.then(|| format!("{host}:{port}"))
}

/// The peers of an `upstream`, and its keys.
pub fn read(upstream: &Directive, keys: &mut Keys, notes: &mut Notes) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for directive in upstream.inner() {
        match directive.name.as_str() {
            "server" => server(directive, keys, notes, &mut peers),
            "least_conn" => keys.put("balance", quoted("least_connections"), directive, notes),
            "random" => {
                let balance = if directive.says("least_conn") { "least_connections" } else { "random" };
                keys.put("balance", quoted(balance), directive, notes);
            }
            "ip_hash" => notes.other(
                "ip_hash",
                "requests go to the peer with the fewest under way; an upload finds its registry by its address, so that clients need \
                 not be bound to one",
                &directive.at,
            ),
            "hash" if directive.arg(0).contains("uri") => {
                keys.put("balance", quoted("consistent_hash"), directive, notes);
                notes.other("hash", "content goes to peers by its digest, other requests by repository", &directive.at);
            }
            "hash" => notes.other("hash", "requests go to the peer with the fewest under way", &directive.at),
            "keepalive" => match directive.arg(0).parse::<u32>() {
                Ok(count) => keys.put("keepalive", count.min(65_536).to_string(), directive, notes),
                Err(_) => notes.lost("keepalive", "is no number", &directive.at),
            },
            "keepalive_timeout" => match span(directive.arg(0)) {
                Some(span) => keys.put("keepalive_timeout", shown_span(span, MILLISECOND, HOUR), directive, notes),
                None => notes.lost("keepalive_timeout", "is no span of time", &directive.at),
            },
            _ => {}
        }
    }
    if peers.iter().all(|peer| peer.backup) {
        peers.iter_mut().for_each(|peer| peer.backup = false);
    }
    peers
}

fn server(directive: &Directive, keys: &mut Keys, notes: &mut Notes, peers: &mut Vec<Peer>) {
    let text = directive.arg(0);
    if directive.says("down") {
        notes.other(
            "server … down",
            format!("{text} is left out; add it to `peers` when it serves again"),
            &directive.at,
        );
        return;
    }
    if text.starts_with("unix:") {
        let why = format!(
            "{text} is a socket of the file system, and peers are host:port: let the registry listen on an address"
        );
        notes.lost("server", why, &directive.at);
        return;
    }
    let Some(address) = with_port(&text.to_ascii_lowercase(), 80) else {
        notes.lost("server", format!("{text} is no host:port"), &directive.at);
        return;
    };
    let number = |key: &str| directive.value(key).and_then(|value| value.parse::<u32>().ok());
    let weight = number("weight").unwrap_or(1).clamp(1, 1000);
    if let Some(fails) = number("max_fails") {
        keys.put("max_fails", fails.min(1_000_000).to_string(), directive, notes);
    }
    if let Some(span) = directive.value("fail_timeout").and_then(span) {
        keys.put("fail_timeout", shown_span(span, MILLISECOND, HOUR), directive, notes);
    }
    if let Some(span) = directive.value("slow_start").and_then(span) {
        keys.put("slow_start", shown_span(span, Duration::ZERO, HOUR), directive, notes);
    }
    match peers.iter_mut().find(|peer| peer.address == address) {
        Some(known) => known.weight = (known.weight + weight).min(1000),
        None => peers.push(Peer {
            address,
            weight,
            max_connections: number("max_conns").unwrap_or(0).min(1_000_000),
            backup: directive.says("backup"),
            from: directive.at.to_string(),
        }),
    }
}

/// How long is waited for peers, what is tried again, and how they are spoken to over TLS.
pub fn toward(scope: &Scope<'_>, secure: bool, keys: &mut Keys, notes: &mut Notes) {
    let day = Duration::from_secs(86_400);
    for (name, key, most) in [
        ("proxy_connect_timeout", ["timeouts.connect"].as_slice(), HOUR),
        ("proxy_read_timeout", ["timeouts.first_byte", "timeouts.read"].as_slice(), day),
        ("proxy_send_timeout", ["timeouts.write"].as_slice(), day),
    ] {
        let Some(directive) = scope.one(name) else { continue };
        match span(directive.arg(0)) {
            Some(span) => {
                key.iter().for_each(|key| keys.put(key, shown_span(span, MILLISECOND, most), directive, notes))
            }
            None => notes.lost(name, "is no span of time", &directive.at),
        }
    }
    again(scope, keys, notes);
    if secure {
        tls(scope, keys, notes);
    }
    health(scope, keys, notes);
}

fn again(scope: &Scope<'_>, keys: &mut Keys, notes: &mut Notes) {
    if let Some(directive) = scope.one("proxy_next_upstream") {
        let statuses: Vec<&str> = directive
            .args
            .iter()
            .filter_map(|word| word.strip_prefix("http_"))
            .filter(|status| {
                status.len() == 3 && status.starts_with('5') && status.bytes().all(|byte| byte.is_ascii_digit())
            })
            .collect();
        match directive.says("off") {
            true => keys.put("retry.tries", "1".into(), directive, notes),
            false => keys.put("retry.statuses", format!("[{}]", statuses.join(", ")), directive, notes),
        }
        for word in directive.args.iter().filter(|word| word.starts_with("http_4")) {
            notes.lost(
                format!("proxy_next_upstream {word}"),
                "what a peer says to a client's request is its answer",
                &directive.at,
            );
        }
        if directive.says("non_idempotent") {
            let why = "nothing is sent again once a byte of its body was taken, but what can be: manifests, and uploads without bytes";
            notes.other("proxy_next_upstream non_idempotent", why, &directive.at);
        }
    }
    let tries = scope.one("proxy_next_upstream_tries");
    if let Some((directive, count)) = tries.and_then(|one| Some((one, one.arg(0).parse::<u32>().ok()?)))
        && count > 0
        && !keys.has("retry.tries")
    {
        keys.put("retry.tries", count.min(16).to_string(), directive, notes);
    }
}

/// nginx does not look at a peer's certificate unless it is told to; we always do.
fn tls(scope: &Scope<'_>, keys: &mut Keys, notes: &mut Notes) {
    let mut table = Vec::new();
    let mut from = None;
    for (name, key) in [
        ("proxy_ssl_trusted_certificate", "ca"),
        ("proxy_ssl_name", "server_name"),
        ("proxy_ssl_certificate", "client_certificate"),
        ("proxy_ssl_certificate_key", "client_key"),
    ] {
        let Some(directive) = scope.one(name).filter(|directive| !directive.arg(0).contains('$')) else { continue };
        table.push(format!("{key} = {}", quoted(directive.arg(0))));
        from = from.or(Some(directive));
    }
    let verified = scope.value("proxy_ssl_verify") == Some("on");
    let Some(directive) = from.or_else(|| scope.one("proxy_ssl_verify")).or_else(|| scope.one("proxy_pass")) else {
        return;
    };
    let value = if table.is_empty() { "true".to_owned() } else { format!("{{ {} }}", table.join(", ")) };
    keys.put("tls", value, directive, notes);
    if !verified {
        let why = "nginx takes any certificate of a peer; here it must be good: for one of your own authority, or one that is signed by \
                   itself, name its file in `tls = { ca = … }`";
        notes.other("proxy_ssl_verify", why, &directive.at);
    }
}

/// Of NGINX Plus.
fn health(scope: &Scope<'_>, keys: &mut Keys, notes: &mut Notes) {
    let Some(directive) = scope.one("health_check") else { return };
    if let Some(span) = directive.value("interval").and_then(span) {
        keys.put("health.interval", shown_span(span, MILLISECOND, HOUR), directive, notes);
    }
    for (theirs, ours) in [("fails", "health.fall"), ("passes", "health.rise")] {
        if let Some(count) = directive.value(theirs).and_then(|count| count.parse::<u32>().ok()) {
            keys.put(ours, count.clamp(1, 100).to_string(), directive, notes);
        }
    }
    let plain = |uri: &&str| {
        uri.starts_with('/')
            && !uri.contains("//")
            && uri.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-.".contains(&b))
    };
    let no_dots = |uri: &&str| uri.split('/').all(|part| part != "." && part != "..");
    if let Some(uri) = directive.value("uri").filter(plain).filter(no_dots) {
        keys.put("health.path", quoted(uri), directive, notes);
    }
}

/// Bytes of a cache, in the bounds that `[cache]` has.
pub fn disk(text: &str) -> Option<u64> {
    size(text).map(|bytes| bytes.max(1 << 20))
}
