//! What nginx says of a server as a whole, and what is one section here for all of them.

use std::time::Duration;

use super::access::Condition;
use super::made::{Keys, Made};
use super::notes::{Notes, Weight};
use super::scope::Scope;
use super::tree::Directive;
use super::upstream::disk;
use super::values::{list, network, quoted, shown_size, shown_span, size, span};

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Who a balancer usually is that speaks the PROXY protocol and that nginx believes from wherever it comes.
const PRIVATE: [&str; 6] = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"];
const MAX_BURST: u64 = 3600;
/// Ciphers of TLS 1.2, as nginx calls those that are spoken here, and as `tls_ciphers` does.
const CIPHERS: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// The keys of a listener that a server's own words make.
pub fn listener(scope: &Scope<'_>, ssl: bool, keys: &mut Keys, notes: &mut Notes) {
    for (name, key) in [
        ("client_header_timeout", "timeouts.header"),
        ("client_body_timeout", "timeouts.body"),
        ("send_timeout", "timeouts.body"),
        ("keepalive_timeout", "timeouts.keepalive"),
    ] {
        let Some(directive) = scope.one(name) else { continue };
        match span(directive.arg(0)) {
            Some(span) if key != "timeouts.body" || !keys.has(key) => {
                keys.put(key, shown_span(span, MILLISECOND, DAY), directive, notes);
            }
            Some(_) => {}
            None => notes.lost(name, "is no span of time", &directive.at),
        }
    }
    if let Some(directive) = scope.one("large_client_header_buffers") {
        let count = directive.arg(0).parse::<u64>().ok();
        match count.zip(size(directive.arg(1))).and_then(|(count, size)| count.checked_mul(size)) {
            Some(bytes) => keys.put("max_header", shown_size(bytes.clamp(4 << 10, 1 << 20)), directive, notes),
            None => notes.lost("large_client_header_buffers", "is no number and size", &directive.at),
        }
    }
    let streams = scope.one("http2_max_concurrent_streams");
    if let Some((directive, count)) = streams.and_then(|one| Some((one, one.arg(0).parse::<u32>().ok()?))) {
        keys.put("h2.max_streams", count.clamp(1, 1024).to_string(), directive, notes);
    }
    trusted(scope, keys, notes);
    if ssl {
        protocols(scope, keys, notes);
        ciphers(scope, keys, notes);
    }
}

fn trusted(scope: &Scope<'_>, keys: &mut Keys, notes: &mut Notes) {
    let lines = scope.all(&["set_real_ip_from"]);
    let mut nets = Vec::new();
    for line in &lines {
        match network(line.arg(0)) {
            Some(net) => nets.push(net.to_string()),
            None => notes.lost("set_real_ip_from", format!("{} is no network", line.arg(0)), &line.at),
        }
    }
    if let Some(first) = lines.first().filter(|_| !nets.is_empty()) {
        keys.put("trusted_proxies", list(nets), first, notes);
    }
    if let Some(field) = scope.one("real_ip_header").filter(|field| !is_known_address(field.arg(0))) {
        let why = "clients' addresses are read from X-Forwarded-For, X-Real-IP, Forwarded or the PROXY protocol";
        notes.lost(format!("real_ip_header {}", field.arg(0)), why, &field.at);
    }
}

/// Whether clients' addresses are read from such a field.
pub fn is_known_address(field: &str) -> bool {
    ["x-forwarded-for", "x-real-ip", "proxy_protocol"].contains(&field.to_ascii_lowercase().as_str())
}

/// Of a listener that must have somebody to believe.
pub fn private_networks() -> String {
    list(PRIVATE)
}

fn protocols(scope: &Scope<'_>, keys: &mut Keys, notes: &mut Notes) {
    let Some(directive) = scope.one("ssl_protocols") else { return };
    for old in directive.args.iter().filter(|protocol| !["TLSv1.2", "TLSv1.3"].contains(&protocol.as_str())) {
        notes.lost(format!("ssl_protocols {old}"), "TLS 1.2 and 1.3 are spoken, and nothing older", &directive.at);
    }
    match only_newest(scope) {
        true => {
            keys.put("tls_min_version", quoted("1.3"), directive, notes);
            // Another server of the address may have named those of 1.2.
            keys.0.retain(|line| line.key != "tls_ciphers");
        }
        false => notes.say(Weight::Needless, "ssl_protocols", "TLS 1.2 and 1.3 are spoken", &directive.at),
    }
}

/// TLS 1.3 and nothing older.
fn only_newest(scope: &Scope<'_>) -> bool {
    scope.one("ssl_protocols").is_some_and(|protocols| protocols.args.iter().all(|protocol| protocol == "TLSv1.3"))
}

/// What is named is of TLS 1.2: those of 1.3 have another directive.
fn ciphers(scope: &Scope<'_>, keys: &mut Keys, notes: &mut Notes) {
    let Some(directive) = scope.one("ssl_ciphers").filter(|_| !keys.has("tls_min_version")) else { return };
    let named: Option<Vec<&str>> = directive
        .arg(0)
        .split(':')
        .filter(|name| !name.starts_with("TLS_"))
        .map(|name| CIPHERS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours))
        .collect();
    match named.filter(|named| !named.is_empty()) {
        Some(named) => keys.put("tls_ciphers", list(named), directive, notes),
        None => {
            let why = "names others than TLS 1.3 has, and of 1.2 those with ECDHE and AEAD: these are spoken, and none is weak";
            notes.say(Weight::Needless, "ssl_ciphers", why, &directive.at);
        }
    }
}

/// Certificates of clients.
///
/// # Errors
/// Where they are asked for in a way that cannot be kept up, so that the server must not be served.
pub fn client_certificates<'a>(
    scope: &Scope<'a>,
    proxied: bool,
    notes: &mut Notes,
) -> Result<Option<&'a Directive>, String> {
    let Some(directive) = scope.one("ssl_verify_client").filter(|directive| directive.arg(0) != "off") else {
        return Ok(None);
    };
    let refused = scope.every("if").any(|condition| Condition::of(condition) == Condition::Certificate);
    match directive.arg(0) {
        "on" => {}
        "optional" if refused => {}
        "optional" => {
            let why = "nobody is asked for a certificate: nginx only tells the registry of it, or asks in a way that is not seen here";
            notes.lost("ssl_verify_client optional", why, &directive.at);
            return Ok(None);
        }
        _ => return Err("`ssl_verify_client` takes certificates that are not looked at".into()),
    }
    if proxied {
        return Err("it asks for clients' certificates behind the PROXY protocol, which Entrepot cannot tell from the proxy's own".into());
    }
    match scope.one("ssl_client_certificate") {
        Some(authorities) => Ok(Some(authorities)),
        None => Err("`ssl_verify_client` has no `ssl_client_certificate`".into()),
    }
}

/// `[cache]`, of all `proxy_cache_path` that are used.
pub fn cache(http: &Scope<'_>, used: &[&Directive], made: &mut Made) {
    let zones: Vec<&str> = used.iter().map(|directive| directive.arg(0)).filter(|zone| *zone != "off").collect();
    let paths = http.every("proxy_cache_path").filter(|path| {
        let zone = path.value("keys_zone").and_then(|zone| zone.split(':').next());
        zone.is_some_and(|zone| zones.contains(&zone) || zones.iter().any(|used| used.contains('$')))
    });
    let (mut total, mut first) = (0u64, None);
    for path in paths {
        first = first.or(Some(path));
        match path.value("max_size").and_then(disk) {
            Some(bytes) => total = total.saturating_add(bytes),
            None => made.notes.other(
                "proxy_cache_path",
                "has no `max_size`: [cache] has a bound, 10 GiB where nothing else is said",
                &path.at,
            ),
        }
    }
    let Some(first) = first else { return };
    if total > 0 {
        made.cache.put("disk", shown_size(total), first, &mut made.notes);
    }
    let why = "content is kept by its digest, in a folder of its own, and given to those alone whom the registry lets have it";
    made.notes.other("proxy_cache", why, &first.at);
}

/// `[limits]`, of zones that count clients by address.
pub fn limits(http: &Scope<'_>, scope: &Scope<'_>, made: &mut Made) {
    for limit in scope.all(&["limit_req"]) {
        let Some(zone) = limit.value("zone") else { continue };
        let defined = by_address(http, "limit_req_zone", zone);
        let rate = defined.and_then(|zone| zone.value("rate")).and_then(rate);
        let Some((count, unit, each)) = rate else {
            made.notes.lost("limit_req", "[limits] counts requests by client, per second or minute", &limit.at);
            continue;
        };
        made.limits.put("requests", quoted(&format!("{count}/{unit}")), limit, &mut made.notes);
        if let Some(burst) = limit.value("burst").and_then(|burst| burst.parse::<u64>().ok()) {
            let seconds = burst.saturating_mul(each).div_ceil(count.max(1)).clamp(1, MAX_BURST);
            made.limits.put("burst", seconds.to_string(), limit, &mut made.notes);
        }
        let why = "counts for all that a client asks, and refuses with 429: HEAD and /v2/ are a quarter of a request, a token is four";
        made.notes.other("limit_req", why, &limit.at);
    }
    for limit in scope.all(&["limit_conn"]) {
        let address = by_address(http, "limit_conn_zone", limit.arg(0)).is_some();
        match limit.arg(1).parse::<u32>().ok().filter(|count| address && *count > 0) {
            Some(count) => {
                made.limits.put("uploads", count.min(1_000_000).to_string(), limit, &mut made.notes);
                made.notes.other("limit_conn", "bounds the uploads of a client, not all of its connections", &limit.at);
            }
            None => made.notes.lost(
                "limit_conn",
                "[limits] counts by client: connections of a listener are `max_connections`",
                &limit.at,
            ),
        }
    }
}

/// A zone, if its key is a client's address.
fn by_address<'a>(http: &Scope<'a>, kind: &'a str, zone: &str) -> Option<&'a Directive> {
    http.every(kind).find(|directive| {
        let name = directive.value("zone").and_then(|value| value.split(':').next());
        name == Some(zone) && ["$binary_remote_addr", "$remote_addr"].contains(&directive.arg(0))
    })
}

/// `10r/s`, `30r/m`: how many, the unit, and its seconds.
fn rate(text: &str) -> Option<(u64, &'static str, u64)> {
    let (count, unit) = text.split_once("r/")?;
    let count = count.parse::<u64>().ok().filter(|count| *count > 0)?.min(1_000_000);
    match unit {
        "s" => Some((count, "s", 1)),
        "m" => Some((count, "m", 60)),
        _ => None,
    }
}

/// `[log]`.
pub fn log(scope: &Scope<'_>, made: &mut Made) {
    if let Some(directive) = scope.one("access_log") {
        let none = directive.arg(0) == "off";
        made.log.put("access", quoted(if none { "off" } else { "stdout" }), directive, &mut made.notes);
        if !none {
            let why = "one JSON line for each request goes to stdout; name a file of its own in `access` of [log]";
            made.notes.other("access_log", why, &directive.at);
        }
    }
    if let Some(directive) = scope.one("error_log").filter(|directive| directive.says("debug")) {
        made.log.put("level", quoted("debug"), directive, &mut made.notes);
    }
}
