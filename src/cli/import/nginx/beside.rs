//! What else a server's locations say than who serves repositories: other paths, refusals, conditions, fields of answers.

use super::access::{Access, Condition};
use super::backends::Backends;
use super::drafts::Draft;
use super::fields::{self, Told};
use super::made::{Keys, Listener};
use super::notes::{Notes, Weight};
use super::paths::{About, Order};
use super::rules::Rules;
use super::servers::{Answer, Entry, Server};
use crate::cluster::forward::CLOSED;

/// Paths outside /v2/ go to the cluster of the first route, or nowhere: which do, and whose word that is.
pub fn forward<'a>(
    entries: &[Entry<'a>],
    drafts: &[Draft<'a>],
    backends: &Backends<'a>,
    notes: &mut Notes,
) -> Vec<(String, String)> {
    let Some(first) = drafts.first() else { return Vec::new() };
    let mut forward = opened(entries, first, backends.is_mirror(&first.target), notes);
    let mut closed: Vec<(String, String)> = Vec::new();
    // What goes elsewhere, or is answered by nginx itself, the peers of the first route are not asked for.
    let is_elsewhere = |entry: &&Entry<'_>| match &entry.answer {
        Answer::Proxy(Ok(target)) => *target != first.target,
        Answer::Returns(_) => true,
        _ => false,
    };
    for entry in entries.iter().filter(is_elsewhere).filter(|entry| !is_closed(entry)) {
        if let Some(path) = closed_by(entry, &forward) {
            close(&mut closed, path, entry);
        }
    }
    for entry in entries.iter().filter(|entry| is_closed(entry)) {
        if let Some(path) = closed_by(entry, &forward) {
            close(&mut closed, path, entry);
            without_exceptions(&mut forward, entry, path, entries, notes);
            continue;
        }
        forward.retain(|(path, from)| {
            let kept = !is_below(entry, path);
            if !kept {
                let why = format!(
                    "nothing below {path} is handed on ({from}), as this is below it: name what may be in `forward` of the cluster"
                );
                entry.lost(Weight::Lost, why, notes);
            }
            kept
        });
    }
    closed.retain(|(path, _)| forward.iter().any(|(open, _)| path[CLOSED.len_utf8()..].starts_with(open.as_str())));
    if forward.iter().any(|(path, _)| path == "/") {
        let within = |path: &str| closed.iter().any(|(closed, _)| path.starts_with(&closed[CLOSED.len_utf8()..]));
        forward.retain(|(path, _)| path == "/" || within(path));
    }
    widened(entries, &forward, notes);
    forward.extend(closed);
    forward
}

/// Which are handed on with what is below them, and are not so in nginx.
fn widened(entries: &[Entry<'_>], forward: &[(String, String)], notes: &mut Notes) {
    for entry in entries.iter().filter(|entry| !entry.shown.ends_with('/')) {
        if let About::Outside(path) = &entry.about
            && forward.iter().any(|(known, _)| known == path)
        {
            entry.lost(Weight::Other, format!("what is below {path} is handed on"), notes);
        }
    }
}

/// What nginx hands to where the first route leads, and asks nobody who may; by its beginning, and who says so.
fn opened<'a>(entries: &[Entry<'a>], first: &Draft<'a>, mirror: bool, notes: &mut Notes) -> Vec<(String, String)> {
    let mut forward: Vec<(String, String)> = Vec::new();
    let locked = is_locked(first);
    for entry in entries {
        let path = match &entry.about {
            About::Everything => "/",
            About::Outside(path) => path.as_str(),
            _ => continue,
        };
        match &entry.answer {
            Answer::Proxy(Ok(target)) if *target != first.target => {
                let why = format!(
                    "paths outside /v2/ go to the cluster of the host's first route, and it goes to {}",
                    target.authority
                );
                entry.lost(Weight::Lost, why, notes);
            }
            Answer::Proxy(Ok(_)) if locked || !is_open(entry) => {
                let why = "what is outside /v2/ is not handed on: no rule judges it, and nginx asks who may";
                entry.lost(Weight::Other, why, notes);
            }
            Answer::Proxy(Ok(_)) if !mirror && forward.iter().all(|(known, _)| known != path) => {
                forward.push((path.to_owned(), format!("{}: {}", entry.at, entry.shown)));
            }
            Answer::Proxy(Err(why)) if entry.about != About::Everything => entry.lost(Weight::Lost, why, notes),
            _ => {}
        }
    }
    forward
}

fn close(closed: &mut Vec<(String, String)>, path: &str, entry: &Entry<'_>) {
    let path = format!("{CLOSED}{path}");
    if closed.iter().all(|(known, _)| *known != path) {
        closed.push((path, format!("{}: {}", entry.at, entry.shown)));
    }
}

/// Below what is closed, `forward` can open a beginning again, and nothing less: not one path alone, nor what a pattern finds that nginx
/// does not come to (`^~`).
fn without_exceptions(
    forward: &mut Vec<(String, String)>,
    closed: &Entry<'_>,
    path: &str,
    entries: &[Entry<'_>],
    notes: &mut Notes,
) {
    let firm = matches!(closed.order, Order::Firm(_) | Order::Exact);
    for entry in entries {
        let About::Outside(open) = &entry.about else { continue };
        let less = entry.order == Order::Exact || firm && matches!(entry.order, Order::Pattern(_));
        if less && open.starts_with(path) && matches!(entry.answer, Answer::Proxy(Ok(_))) {
            let whole = entries.iter().any(|other| {
                other.about == entry.about && matches!(other.order, Order::Firm(_) | Order::Prefix(_)) && is_open(other)
            });
            let before = forward.len();
            forward.retain(|(known, _)| whole || known != open);
            if forward.len() < before {
                entry.lost(Weight::Lost, format!("is not handed on, as what is around it, {path}, is not"), notes);
            }
        }
    }
}

/// The beginning below which nginx keeps somebody from what is handed on, if `forward` can say it: the longest beginning counts there,
/// too, but no pattern does.
fn closed_by<'e>(entry: &'e Entry<'_>, forward: &[(String, String)]) -> Option<&'e str> {
    let path = match &entry.about {
        About::Outside(path) if !matches!(entry.order, Order::Pattern(_)) => path.trim_end_matches('/'),
        About::Version1 if !matches!(entry.order, Order::Pattern(_)) => "/v1",
        _ => return None,
    };
    let mut around = forward.iter().filter(|(open, _)| path.starts_with(open.as_str())).peekable();
    around.peek()?;
    // What is open at its very place, or before it as a pattern is, would count instead.
    forward.iter().all(|(open, _)| open.trim_end_matches('/') != path).then_some(path)
}

/// Who may is judged by rules, and then a login of ours is shown: what no rule judges must not be had with it.
pub fn is_locked(draft: &Draft<'_>) -> bool {
    draft.is_ruled() && matches!(fields::asked(&draft.scope, &mut Notes::default()), Told::Login { .. })
}

fn is_open(entry: &Entry<'_>) -> bool {
    Access::of(&entry.scope).is_ok_and(|access| access.is_open())
}

/// Whether nginx keeps somebody from what the peers would answer there.
fn is_closed(entry: &Entry<'_>) -> bool {
    match &entry.answer {
        Answer::Returns(400..) | Answer::Proxy(Err(_)) => true,
        Answer::Proxy(Ok(_)) => !is_open(entry),
        // Files of its own stand in front of the peers'.
        Answer::Other(_) => entry.scope.own("stub_status").is_none() && !is_of_acme(entry),
        Answer::Returns(_) | Answer::ToHttps => false,
    }
}

/// Whether some of what a location is about would be handed on with a path.
fn is_below(entry: &Entry<'_>, path: &str) -> bool {
    match &entry.about {
        About::Outside(own) => {
            // A pattern goes before any beginning, also before a longer one.
            let wide = matches!(entry.order, Order::Pattern(_)) && path.starts_with(own.trim_end_matches('/'));
            own.starts_with(path) || wide
        }
        About::Version1 => "/v1/".starts_with(path),
        About::Root => path == "/",
        About::Elsewhere | About::Unclear => true,
        About::Everything | About::Api | About::Repositories(_) | About::Part(_) | About::Kind | About::Named => false,
    }
}

/// Where a client of an authority of certificates puts its proofs.
fn is_of_acme(entry: &Entry<'_>) -> bool {
    entry.shown.contains("/.well-known/acme-challenge")
}

/// What becomes of an `if` that keeps nobody out who has to be kept out.
pub fn conditions(entries: &[Entry<'_>], notes: &mut Notes) {
    for condition in entries.iter().flat_map(|entry| entry.scope.every("if")) {
        match Condition::of(condition) {
            Condition::Agents => {
                let why =
                    "nobody is judged by the name of their program; what speaks version 1 alone finds nothing here";
                notes.say(Weight::Needless, "if ($http_user_agent …)", why, &condition.at);
            }
            Condition::Harmless if !condition.arg(0).contains("host") => {
                notes.lost(
                    format!("if {} …", condition.arg(0)),
                    "there are no conditions: what is in it does not count",
                    &condition.at,
                );
            }
            _ => {}
        }
    }
}

/// Locations that hand nothing on.
pub fn refused(entries: &[Entry<'_>], ruled: bool, rules: &mut Rules, notes: &mut Notes) {
    for entry in entries {
        match (&entry.about, &entry.answer) {
            (About::Version1, _) => entry.lost(Weight::Needless, "version 1 of the interface is not served", notes),
            (About::Part("the catalog"), Answer::Returns(400..)) if ruled => {
                // Nobody is listed to whom no rule says so.
                rules
                    .iter_mut()
                    .filter(|(_, said, _)| said.allow)
                    .for_each(|(_, said, _)| said.words.retain(|word| *word != "catalog"));
                rules.retain(|(_, said, _)| !said.words.is_empty());
                entry.lost(Weight::Other, "no rule allows it", notes);
            }
            (About::Part(_) | About::Api, Answer::Returns(400..)) => {
                let why = "is handed on: what is refused to all needs rules ([auth], with `deny`), which would ask for logins here";
                entry.lost(Weight::Opener, why, notes);
            }
            _ if is_of_acme(entry) => {
                let why = "certificates come by themselves here, by handshakes: `tls = [{ acme = true, names = […] }]` of the listener";
                entry.lost(Weight::Other, why, notes);
            }
            (About::Root | About::Elsewhere, Answer::Proxy(_)) => {
                entry.lost(Weight::Lost, "is not handed on: `forward` has beginnings of paths", notes);
            }
            (About::Outside(_), Answer::Returns(200..=299)) => {
                entry.lost(Weight::Other, "ask /healthz of the listener, or /readyz of the [admin] address", notes);
            }
            (_, Answer::Returns(_) | Answer::ToHttps) if entry.about != About::Everything => {
                entry.lost(Weight::Needless, "what is not handed on is answered with 404", notes);
            }
            (_, Answer::Other(why)) => entry.lost(Weight::Lost, *why, notes),
            (About::Kind | About::Part(_) | About::Unclear, Answer::Proxy(_)) => {
                entry.lost(Weight::Other, "is served as the other requests of its repository are", notes);
            }
            _ => {}
        }
    }
}

/// Fields of answers, by the location that the registry's interface is served by.
pub fn answered(
    entries: &[Entry<'_>],
    server: &Server<'_>,
    listener: &mut Listener,
    cors: &mut Keys,
    notes: &mut Notes,
) {
    let main = entries.iter().find(|entry| {
        matches!(entry.about, About::Api | About::Everything) && matches!(entry.answer, Answer::Proxy(_))
    });
    let scope = main.map_or(&server.scope, |entry| &entry.scope);
    fields::answered(scope, &mut listener.keys, cors, notes);
}
