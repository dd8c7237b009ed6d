//! Values as nginx writes them, and as TOML does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::tree::Directive;
use crate::sockets::Address;
use crate::units::{Size, Span};

/// No span of nginx's is longer here: ten years, as `units` has it.
const LONGEST: u64 = 3650 * 86_400 * 1000;

/// `30`, `30s`, `1h 30m`, `500ms`; a bare number is seconds.
pub fn span(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit: u64 = match rest.get(..letters)? {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(letters..)?.trim_start();
    }
    (total <= LONGEST).then(|| Duration::from_millis(total))
}

/// `10`, `64k`, `20m`, `1g`, in bytes.
pub fn size(text: &str) -> Option<u64> {
    let (number, shift) = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => (text.get(..text.len() - 1)?, 10),
        b'm' => (text.get(..text.len() - 1)?, 20),
        b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(1 << shift)
}

/// A network or an address of `allow`, `deny` and `set_real_ip_from`.
pub fn network(text: &str) -> Option<IpNet> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(one)
}

/// Everything, of both families.
pub fn everywhere() -> Vec<IpNet> {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    any.into_iter().filter_map(|address| IpNet::new(address, 0).ok()).collect()
}

/// What is left of a network without another.
pub fn without(net: IpNet, hole: IpNet) -> Vec<IpNet> {
    let same = matches!((net, hole), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)));
    if !same || !(net.contains(&hole) || hole.contains(&net)) {
        return vec![net];
    }
    if hole.contains(&net) {
        return Vec::new();
    }
    // Halves, until the hole is one of them: at most as many as an address has bits.
    let mut left = Vec::new();
    let mut whole = net;
    while whole != hole {
        let Ok(halves) = whole.subnets(whole.prefix_len() + 1) else { break };
        for half in halves {
            match half.contains(&hole) {
                true => whole = half,
                false => left.push(half),
            }
        }
    }
    left
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: Address,
    pub ssl: bool,
    pub h2: bool,
    pub proxy_protocol: bool,
    pub default: bool,
}

/// Bytes of the path of a socket; the configuration takes no more.
const MAX_SOCKET: usize = 90;

/// Why an address of nginx's is none here.
pub type NoListen = &'static str;

/// One `listen`.
pub fn listen(directive: &Directive) -> Result<Vec<Listen>, NoListen> {
    let text = directive.arg(0);
    if directive.says("quic") || directive.says("http3") {
        return Err("there is no HTTP/3: clients of registries do not speak it");
    }
    let listen = |address| Listen {
        address,
        ssl: directive.says("ssl"),
        h2: directive.says("http2"),
        proxy_protocol: directive.says("proxy_protocol"),
        default: directive.says("default_server") || directive.says("default"),
    };
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') && (2..=MAX_SOCKET).contains(&path.len()) && !path.contains('$') {
            true => Ok(vec![listen(Address::Unix(path.into()))]),
            false => Err("is no whole path of a socket, of 90 bytes at most"),
        };
    }
    let addresses = addresses(text).ok_or("is no IP address with a port, which an address of a listener is")?;
    // On Linux such a socket takes both families.
    let both = directive.value("ipv6only") == Some("off");
    let mut found = vec![listen(Address::Tcp(addresses))];
    if both && addresses.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        found.push(listen(Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addresses.port()))));
    }
    Ok(found)
}

/// `80`, `*:80`, `127.0.0.1`, `127.0.0.1:80`, `[::]:80`, `localhost:80`.
fn addresses(text: &str) -> Option<SocketAddr> {
    const HTTP: u16 = 80;
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address).filter(|address| address.port() > 0);
    }
    if let Ok(port) = text.parse::<u16>() {
        return Some(SocketAddr::new(any, port)).filter(|_| port > 0);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (text, HTTP),
    };
    let host = match host {
        "*" => any,
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host.trim_start_matches('[').trim_end_matches(']').parse().ok()?,
    };
    Some(SocketAddr::new(host, port))
}

/// Text as TOML has it.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(format!("\\u{:04X}", u32::from(c)).chars()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts.
pub fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}

/// Within bounds that the configuration has for it.
pub fn shown_span(span: Duration, least: Duration, most: Duration) -> String {
    quoted(&Span(span.clamp(least, most)).to_string())
}

pub fn shown_size(bytes: u64) -> String {
    quoted(&Size(bytes).to_string())
}
