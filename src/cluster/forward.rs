//! Which paths outside `/v2/` are handed to a cluster's peers.

/// Marks a beginning below which nothing is handed on.
pub const CLOSED: char = '!';

/// How often a path is decoded: what is still escaped then is handed on nowhere, where anything is closed.
const LEVELS: usize = 4;

/// Whether `forward` hands this path of a request on. The longest beginning that is named counts, as with nginx's locations. What is
/// closed is so in every spelling that a peer may read as the same path: escaped, also twice, in other letters, with empty parts, or with
/// parameters (`;x`), which some servers leave out before they look for what is meant.
pub fn covers(forward: &[String], path: &str) -> bool {
    let open = |path: &str| {
        let open = forward.iter().filter(|named| !named.starts_with(CLOSED) && path.starts_with(named.as_str()));
        open.map(String::len).max()
    };
    let closed = |path: &str| {
        let closed = forward.iter().filter_map(|named| named.strip_prefix(CLOSED));
        let begins = |named: &&str| begins(path, named.trim_end_matches('/'));
        closed.filter(begins).map(str::len).max()
    };
    if open(path).is_none() || !forward.iter().any(|named| named.starts_with(CLOSED)) {
        return open(path).is_some();
    }
    let counts = |path: &String| open(path).is_some_and(|open| closed(path).is_none_or(|closed| closed < open));
    readings(path).is_some_and(|readings| readings.iter().all(counts))
}

/// Whatever the case: some servers mind none.
fn begins(path: &str, named: &str) -> bool {
    path.get(..named.len()).is_some_and(|start| start.eq_ignore_ascii_case(named))
}

/// All that somebody may take the path for. `None`: it climbs, or is no text, or is escaped again and again.
fn readings(path: &str) -> Option<Vec<String>> {
    let (mut readings, mut text) = (Vec::new(), path.to_owned());
    for _ in 0..LEVELS {
        readings.extend([plain(&text, false)?, plain(&text, true)?]);
        let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().ok()?.into_owned();
        if decoded == text {
            return Some(readings);
        }
        text = decoded;
    }
    None
}

/// Without empty parts, and without parameters if they are left out.
fn plain(path: &str, without: bool) -> Option<String> {
    let mut plain = String::with_capacity(path.len());
    for part in path.split(['/', '\\']) {
        let bare = part.split(';').next().unwrap_or_default();
        if bare == ".." {
            return None;
        }
        let part = if without { bare } else { part };
        if !matches!(part, "" | ".") {
            plain.push('/');
            plain.push_str(part);
        }
    }
    if plain.is_empty() || path.ends_with('/') {
        plain.push('/');
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn what_begins_as_named_is_handed_on() {
        let forward = ["/service/".to_owned(), "/c/".to_owned()];
        for path in ["/service/", "/service/token", "/c/x/y", "/service/%2e%2e/x"] {
            assert!(covers(&forward, path), "{path}");
        }
        for path in ["/", "/service", "/api/x", "/Service/"] {
            assert!(!covers(&forward, path), "{path}");
        }
    }

    #[test]
    fn the_longest_beginning_counts() {
        let forward = ["/", "!/service/notifications", "/service/notifications/open/", "!/admin"].map(str::to_owned);
        for path in ["/", "/service/token", "/service/notifications/open/x", "/adm", "/x;y/z"] {
            assert!(covers(&forward, path), "{path}");
        }
        for path in ["/service/notifications", "/service/notifications/x", "/administration", "/admin/"] {
            assert!(!covers(&forward, path), "{path}");
        }
    }

    #[test]
    fn what_is_closed_is_closed_in_every_spelling() {
        let forward = ["/service/", "!/service/notifications", "/", "!/admin/", "!/a/b/"].map(str::to_owned);
        for path in [
            "/service/%6eotifications",
            "/service/%6Eotifications/x",
            "//service//notifications",
            "/service/./notifications",
            "/service/x/../notifications",
            "/service%2fnotifications",
            "/x/%2e%2e/service/notifications",
            "/service/%256eotifications",
            "/service/%25256eotifications",
            "/service\\notifications",
            "/service/%5cnotifications",
            "/service;x=y/notifications",
            "/service/;/notifications",
            "/service/notifications;x",
            "/service//..;/notifications",
            "/service/;/..;/notifications",
            "/service/a%2fb/..;/notifications/jobs",
            "/service/Notifications",
            "/service%c0%afnotifications",
            "/../service/notifications",
            "/%61dmin/;x",
            "/admin;x/",
            "/ADMIN/",
            "/a//b/;x",
            "/%25252525252561dmin/",
        ] {
            assert!(!covers(&forward, path), "{path}");
        }
        for path in [
            "/service/token",
            "/a%20b",
            "/service/%74oken",
            "/a/c;x",
            "/%c3%a9",
            "/api/v2.0/projects/p/repositories/a%252Fb/artifacts",
        ] {
            assert!(covers(&forward, path), "{path}");
        }
    }
}
