//! A server's locations → routes, rules, and what else of its paths is handed on.

use super::backends::{Backends, Wanted};
use super::beside;
use super::clients;
use super::drafts::{self, Draft};
use super::general;
use super::made::{Made, Route, Rule, Served};
use super::notes::Notes;
use super::rules;
use super::servers::{Answer, Entry, Server};

/// How a server stands among the others.
#[derive(Clone, Copy)]
pub struct Standing {
    /// It gets what is for no other server's name.
    pub default: bool,
    pub several: bool,
}

/// # Errors
/// Why a server cannot be served as nginx does, so that it is left out as a whole.
pub fn of<'a>(
    server: &Server<'a>,
    entries: &[Entry<'a>],
    standing: Standing,
    backends: &mut Backends<'a>,
    made: &mut Made,
) -> Result<(), String> {
    let (drafts, only_host, certified) = possible(server, entries, standing, &mut made.notes)?;
    let ruled = drafts.iter().any(Draft::is_ruled);
    let mut rules = rules::of(&drafts)?;
    let found = clusters(entries, &drafts, backends, &mut made.notes)?;
    let hosts = hosts(server, &drafts, &found, (standing, only_host), made)?;
    let served = served(server, ruled, certified, &mut made.notes)?;
    clients::elsewhere(&served, made)?;
    let Some(hosts) = hosts else {
        made.served.push(served);
        return Ok(());
    };
    let of_rules = rules::hosts(server, &hosts, standing.several, made);
    if ruled {
        rules::of_others(&of_rules, standing.several, made)?;
    }
    rules::users(&drafts, made)?;
    beside::conditions(entries, &mut made.notes);
    backends.cached(entries.iter().filter(|entry| matches!(entry.answer, Answer::Proxy(_))).map(|entry| &entry.scope));
    beside::refused(entries, ruled, &mut rules, &mut made.notes);
    for (draft, backend) in drafts.iter().zip(&found) {
        let mirrors = backends.get_mut(*backend).is_some_and(|backend| backend.mirrors.is_some());
        let writes = !(mirrors || draft.access.push.is_closed() && draft.access.delete.is_closed());
        general::limits(backends.http(), &draft.scope, made);
        made.routes.push(Route {
            hosts: hosts.clone(),
            repositories: draft.repositories.clone(),
            backend: *backend,
            writes,
            ruled: draft.is_ruled(),
            access: draft.access.clone(),
            from: format!("{}: {}", draft.at, draft.shown),
        });
    }
    made.served.push(served);
    for (repositories, said, from) in rules {
        made.rules.push(Rule { hosts: of_rules.clone(), repositories, said, from });
    }
    if ruled {
        let why = "who may is asked by the token protocol of registries, which docker and the like speak; Basic counts too. /v2/ asks for a \
                   login where anything does. If the registry asks for a login of its own, nobody can show both: take one of the two away";
        made.notes.other("auth_basic, allow, deny", why, server.at);
    }
    if let Some(main) = drafts.last() {
        general::log(&main.scope, made);
    }
    Ok(())
}

/// What stands for a server's repositories, the one host that it lets ask, and whether its clients need a certificate.
type Possible<'a> = (Vec<Draft<'a>>, Option<String>, bool);

/// # Errors
/// Where there is nothing to serve, or somebody is kept out in a way that cannot be said here.
fn possible<'a>(
    server: &Server<'a>,
    entries: &[Entry<'a>],
    standing: Standing,
    notes: &mut Notes,
) -> Result<Possible<'a>, String> {
    let certified = clients::certified(server, entries, notes)?;
    if !server.listens.iter().any(|listen| !listen.ssl || server.scope.one("ssl_certificate").is_some()) {
        return Err("it has no address to listen on, or no certificate".into());
    }
    if !standing.default && server.hosts.is_empty() {
        return Err("it has no name that a route could know it by, and is nobody's default".into());
    }
    if let Some(rewrite) = server.scope.every("rewrite").next() {
        return Err(format!("`rewrite` at {} changes paths, and Entrepot changes none", rewrite.at));
    }
    let only_host = clients::only_host(server, entries)?;
    let drafts = drafts::of(entries)?;
    if drafts.is_empty() {
        return Err("none of its locations hands requests for /v2/ to a registry".into());
    }
    let ruled = drafts.iter().any(Draft::is_ruled);
    if ruled && certified {
        return Err("it asks for clients' certificates and judges them by more, and here either is enough".into());
    }
    if ruled && standing.several && server.hosts.is_empty() {
        return Err("it asks who may, and has no name by which rules could tell it from the other servers".into());
    }
    clients::by_other_field(server, &drafts)?;
    Ok((drafts, only_host, certified))
}

/// Whom each of them goes to.
fn clusters<'a>(
    entries: &[Entry<'a>],
    drafts: &[Draft<'a>],
    backends: &mut Backends<'a>,
    notes: &mut Notes,
) -> Result<Vec<usize>, String> {
    let forward = beside::forward(entries, drafts, backends, notes);
    let mut found = Vec::new();
    for draft in drafts {
        // What is outside /v2/ goes to the cluster of the first.
        let is_first = drafts.first().is_some_and(|first| first.target == draft.target) && !beside::is_locked(draft);
        let forward: &[(String, String)] = if is_first { forward.as_slice() } else { &[] };
        let wanted = Wanted { target: &draft.target, ruled: draft.is_ruled(), forward, at: draft.at };
        found.push(backends.find(&wanted, &draft.scope, notes)?);
    }
    Ok(found)
}

fn served(server: &Server<'_>, ruled: bool, certified: bool, notes: &mut Notes) -> Result<Served, String> {
    let authorities = general::client_certificates(&server.scope, false, notes)?;
    let crl = server.scope.one("ssl_crl").filter(|_| certified);
    Ok(Served {
        at: server.at.clone(),
        addresses: server.listens.iter().map(|listen| listen.address.clone()).collect(),
        closed: ruled || certified,
        authorities: authorities.into_iter().chain(crl).map(|directive| directive.arg(0).to_owned()).collect(),
    })
}

/// The names of a server's routes; `None` where others' routes say the same already.
fn hosts(
    server: &Server<'_>,
    drafts: &[Draft<'_>],
    found: &[usize],
    (standing, only): (Standing, Option<String>),
    made: &Made,
) -> Result<Option<Vec<String>>, String> {
    let said = |route: &Route| {
        let same = |(draft, backend): (&Draft<'_>, &usize)| {
            draft.repositories == route.repositories && *backend == route.backend && draft.access == route.access
        };
        drafts.iter().zip(found).any(same)
    };
    let others: Vec<&Route> = made.routes.iter().filter(|route| route.hosts.is_empty()).collect();
    // Who asks for another name than the only one gets nothing: then routes have that name.
    if standing.default && only.is_none() {
        if others.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if others.len() == drafts.len() && others.into_iter().all(said) {
            return Ok(None);
        }
    }
    let taken = |host: &&String| made.routes.iter().any(|route| route.hosts.contains(host));
    let own = only.map_or_else(|| server.hosts.clone(), |host| vec![host]);
    let free: Vec<String> = own.iter().filter(|host| !taken(host)).cloned().collect();
    let shared: Vec<&Route> =
        made.routes.iter().filter(|route| own.iter().any(|host| route.hosts.contains(host))).collect();
    let same = shared.len() == drafts.len() && shared.into_iter().all(said);
    match free.is_empty() {
        false => Ok(Some(free)),
        true if !own.is_empty() && same => Ok(None),
        true => Err("routes are found by the name that is asked for, not by the port, and another server has its names already: give one of \
                     them a name of its own, or an Entrepot of its own"
            .into()),
    }
}
