//! The grammar of `Forwarded` (RFC 7239 §4): `for="[2001:db8::1]:4711";proto=https, for=10.0.0.1`.

use super::MAX_CHAIN;
use super::hop::{Hop, host, scheme};
use super::node::Node;

/// Commas before which a broken text is given up, one by one: a chain of [`MAX_CHAIN`] bytes of nothing but faults ends here.
const MAX_FAULTS: usize = 64;

/// The elements of all lines, from the last place on where the grammar is broken: proxies append, so what a client broke is
/// on the left, and what they wrote behind it still counts. Of a text longer than [`MAX_CHAIN`], its end.
pub fn believable(text: &str) -> Vec<Hop> {
    let mut rest = text;
    while rest.len() > MAX_CHAIN {
        let Some((_, after)) = rest.split_once(',') else { return Vec::new() };
        rest = after;
    }
    for _ in 0..MAX_FAULTS {
        if let Some(hops) = parse(rest) {
            return hops;
        }
        let Some((_, after)) = rest.split_once(',') else { break };
        rest = after;
    }
    Vec::new()
}

/// All elements; `None` when it breaks the grammar anywhere.
pub fn parse(text: &str) -> Option<Vec<Hop>> {
    let mut rest = text;
    let mut hops = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(hops);
        }
        let (hop, after) = element(rest)?;
        hops.push(hop);
        rest = after;
    }
}

/// One element, and what follows it: nothing, or a comma.
fn element(text: &str) -> Option<(Hop, &str)> {
    let mut hop = Hop { node: Node::unknown(), https: None, host: None };
    let mut seen: Vec<String> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() || rest.starts_with(',') {
            return Some((hop, rest));
        }
        let (name, after) = token(rest)?;
        let (value, after) = value(after.strip_prefix('=')?)?;
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            // No parameter may come twice in an element.
            _ if seen.contains(&name) => return None,
            "for" => hop.node = Node::parse(&value)?,
            "proto" => hop.https = scheme(&value),
            "host" => hop.host = host(&value),
            _ => {}
        }
        seen.push(name);
        rest = after.trim_start_matches([' ', '\t']);
        if !(rest.is_empty() || rest.starts_with([';', ','])) {
            return None;
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token or a quoted-string. An address with its port is often seen without quotes, and can be nothing else.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c) && !matches!(c, ':' | '[' | ']')).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// RFC 9110 §5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}
