//! What a `location` is about: which repositories, or what else of a registry's addresses.

use super::tree::Directive;

/// Of a location's pattern, as far as it means something before a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// `/`: everything that no other location has.
    Everything,
    /// `/v2/`: the registry's whole interface.
    Api,
    /// Repositories of this glob.
    Repositories(String),
    /// `/v2/` alone, or the catalog.
    Part(&'static str),
    /// Requests of some kind, whatever the repository.
    Kind,
    /// `/v1/`, which nobody speaks any more.
    Version1,
    /// Below a path outside `/v2/`, which begins and ends with `/`.
    Outside(String),
    /// `/` alone, and nothing below it.
    Root,
    /// Some paths outside `/v2/`, which no beginning tells.
    Elsewhere,
    /// A name for others of the server's words, by which no request finds it.
    Named,
    /// It may be about repositories.
    Unclear,
}

/// Which of several locations counts: the lower, the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Exact,
    /// `^~`: longest first.
    Firm(usize),
    /// In the order of the file.
    Pattern(usize),
    Prefix(usize),
}

/// No path is longer.
const LONGEST: usize = 1 << 16;
/// What stands behind a repository's name in addresses.
const KINDS: [&str; 5] = ["blobs", "manifests", "tags", "referrers", "uploads"];

/// What a `location` at this place of its server is about, its rank, and the path that `proxy_pass` may repeat.
pub fn about(location: &Directive, index: usize) -> (About, Order, Option<String>) {
    let longest = |path: &str| LONGEST.saturating_sub(path.len());
    match (location.arg(0), location.arg(1)) {
        ("=", path) => (exact(path), Order::Exact, Some(path.to_owned())),
        ("^~", path) => (prefix(path), Order::Firm(longest(path)), Some(path.to_owned())),
        ("~" | "~*", regex) => (pattern(regex), Order::Pattern(index), None),
        (path, "") if path.starts_with('@') => (About::Named, Order::Pattern(index), None),
        (path, "") if path.starts_with('=') => {
            (exact(path.trim_start_matches('=')), Order::Exact, Some(path.trim_start_matches('=').to_owned()))
        }
        (path, "") => (prefix(path), Order::Prefix(longest(path)), Some(path.to_owned())),
        _ => (About::Unclear, Order::Pattern(index), None),
    }
}

fn exact(path: &str) -> About {
    match path {
        "/" => About::Root,
        "/v2/" | "/v2" => About::Part("/v2/"),
        "/v2/_catalog" => About::Part("the catalog"),
        _ if path.starts_with("/v2/") => About::Unclear,
        _ if path.starts_with("/v1") => About::Version1,
        _ => outside(path),
    }
}

fn prefix(path: &str) -> About {
    match path.strip_prefix("/v2/") {
        None => match path {
            "/" => About::Everything,
            "/v" => About::Unclear,
            "/v2" => About::Api,
            "/v1" => About::Version1,
            _ if path.starts_with("/v1/") => About::Version1,
            _ => outside(path),
        },
        Some("") => About::Api,
        Some(rest) if rest.starts_with("_catalog") => About::Part("the catalog"),
        // Here these are no signs: no name has them.
        Some(rest) if rest.contains(['*', '?', '{', '}', ',']) => About::Unclear,
        Some(rest) => match repositories(rest) {
            Some(glob) => About::Repositories(glob),
            None => About::Unclear,
        },
    }
}

/// Repositories whose names begin so.
fn repositories(start: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/{,}*?".contains(&byte);
    if !start.bytes().all(plain) || start.starts_with('/') || start.contains("//") {
        return None;
    }
    match start.strip_suffix('/') {
        Some(folder) => Some(format!("{folder}/**")),
        None if start.ends_with("/**") => Some(start.to_owned()),
        None if start.ends_with('*') => Some(format!("{{{start},{start}/**}}")),
        None => Some(format!("{{{start}*,{start}*/**}}")),
    }
}

fn outside(path: &str) -> About {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"<>".contains(&byte);
    let dots = path.split('/').any(|part| part == "." || part == "..");
    if !path.starts_with('/') || path.contains("//") || dots || !path.bytes().all(plain) {
        return if path.starts_with("/v2") { About::Unclear } else { About::Elsewhere };
    }
    let end = if path.ends_with('/') { "" } else { "/" };
    About::Outside(format!("{path}{end}"))
}

/// A regular expression, if it says no more than globs can.
fn pattern(regex: &str) -> About {
    let regex = regex.replace("\\/", "/");
    if KINDS.iter().any(|kind| regex.contains(kind)) {
        return About::Kind;
    }
    let other = if is_elsewhere(&regex) { About::Elsewhere } else { About::Unclear };
    let Some(rest) = regex.strip_prefix('^') else { return other };
    match rest {
        "/" | "/.*" | "/.*$" | "/(.*)" | "/(.*)$" => return About::Everything,
        "/v2" | "/v2/" | "/v2/.*" | "/v2/.*$" | "/v2/(.*)" | "/v2/(.*)$" | "/v2/?" | "/v2(/|$)" => return About::Api,
        "/v2/$" | "/v2/?$" => return About::Part("/v2/"),
        _ if rest.starts_with("/v1") && other == About::Elsewhere => return About::Version1,
        _ if rest.starts_with("/v2/_catalog") && !rest.contains('|') => return About::Part("the catalog"),
        _ => {}
    }
    let Some(rest) = rest.strip_prefix("/v2/") else {
        let plain = rest.trim_end_matches('$').trim_end_matches(".*").trim_end_matches("(.*)");
        let literal = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
        return if literal && other == About::Elsewhere { outside(plain) } else { other };
    };
    match glob(rest).and_then(|glob| repositories(&glob)) {
        Some(glob) => About::Repositories(glob),
        None => About::Unclear,
    }
}

/// Whether a regular expression cannot stand for anything below `/v2/`: it begins with another path, or asks for a part that begins with
/// a dot, which no name, tag or digest does.
fn is_elsewhere(regex: &str) -> bool {
    if regex.contains('|') {
        return false;
    }
    let Some(start) = regex.strip_prefix('^') else {
        return regex.strip_prefix("/\\.").is_some_and(|rest| !rest.starts_with(['?', '*', '{']));
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    let length = start.bytes().take_while(|byte| is_plain(*byte)).count();
    // What a sign behind it may take away does not count.
    let optional = start.get(length..).is_some_and(|rest| rest.starts_with(['?', '*', '{']));
    let plain = start.get(..length.saturating_sub(usize::from(optional))).unwrap_or_default().to_ascii_lowercase();
    plain.starts_with('/') && !"/v2/".starts_with(&plain) && !plain.starts_with("/v2/")
}

/// The part of a regular expression that stands for names, as a glob that names begin with.
fn glob(regex: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = regex;
    while !rest.is_empty() {
        if matches!(rest, ".*" | ".+" | ".*$" | ".+$" | "(.*)" | "(.+)" | "(.*)$" | "(.+)$") {
            // Only a whole part of a name can stand for any number of parts.
            return out.ends_with('/').then(|| format!("{out}**"));
        }
        if let Some((after, least)) = any_part(rest) {
            // Where a part begins there is something anyway.
            let begins = out.is_empty() || out.ends_with('/');
            match least > 0 && !begins {
                true => out.push_str("?*"),
                // Two of them would go over parts.
                false if out.ends_with('*') => {}
                false => out.push('*'),
            }
            rest = after;
        } else if let Some(group) = rest.strip_prefix('(') {
            let (inner, after) = group.split_once(')')?;
            let names: Vec<&str> = inner.trim_start_matches("?:").split('|').collect();
            let literal = |name: &&str| {
                !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-/".contains(&b))
            };
            if !names.iter().all(literal) || after.starts_with(['?', '*', '+', '{']) {
                return None;
            }
            out.push_str(&format!("{{{}}}", names.join(",")));
            rest = after;
        } else {
            let escaped = rest.strip_prefix('\\');
            let text = escaped.unwrap_or(rest);
            let c = text.chars().next()?;
            let literal =
                c.is_ascii_lowercase() || c.is_ascii_digit() || "/_-".contains(c) || (c == '.' && escaped.is_some());
            let after = text.get(c.len_utf8()..)?;
            let is_class = escaped.is_some() && c.is_ascii_alphanumeric();
            if !literal || is_class || after.starts_with(['?', '*', '+', '{']) {
                return None;
            }
            out.push(c);
            rest = after;
        }
    }
    Some(out)
}

/// `[…]+` or `[…]*`, in parentheses or not, for any part of a name: what follows, and how much there is of it at least.
fn any_part(text: &str) -> Option<(&str, usize)> {
    let (inner, grouped) = match text.strip_prefix('(') {
        Some(inner) => (inner.trim_start_matches("?:"), true),
        None => (text, false),
    };
    let (class, after) = inner.strip_prefix('[')?.split_once(']')?;
    if class != "^/" && !is_any_of_a_name(class) {
        return None;
    }
    let (after, least) = match after.strip_prefix('+') {
        Some(after) => (after, 1),
        None => (after.strip_prefix('*')?, 0),
    };
    match grouped {
        true => after.strip_prefix(')').map(|after| (after, least)),
        false => Some((after, least)),
    }
}

/// Whether a class has every byte that a part of a name may have, and not the one between parts.
fn is_any_of_a_name(class: &str) -> bool {
    if class.starts_with('^') {
        return false;
    }
    let mut has = [false; 128];
    let mut add = |from: char, to: char| {
        for (byte, has) in has.iter_mut().enumerate() {
            *has |= (u32::from(from)..=u32::from(to)).contains(&u32::try_from(byte).unwrap_or(u32::MAX));
        }
    };
    let mut rest: Vec<char> = class.chars().rev().collect();
    while let Some(c) = rest.pop() {
        match (c, rest.last().copied()) {
            ('\\', Some('w')) => {
                rest.pop();
                [('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')].into_iter().for_each(|(from, to)| add(from, to));
            }
            ('\\', Some('d')) => {
                rest.pop();
                add('0', '9');
            }
            ('\\', Some(escaped)) if !escaped.is_ascii_alphanumeric() => {
                rest.pop();
                add(escaped, escaped);
            }
            ('\\', _) => return false,
            (from, Some('-')) if rest.len() > 1 => {
                rest.pop();
                match rest.pop() {
                    Some(to) if to != '\\' => add(from, to),
                    _ => return false,
                }
            }
            (one, _) => add(one, one),
        }
    }
    let has = |byte: u8| has.get(usize::from(byte)).copied().unwrap_or_default();
    (b'a'..=b'z').chain(b'0'..=b'9').chain(*b"._-").all(has) && !has(b'/')
}
