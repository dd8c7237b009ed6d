//! A server's locations → routes, rules, and what else of its paths is handed on.

use super::access::{self, Access, Condition, Gate, Networks, Said};
use super::backends::{Backends, Wanted};
use super::beside;
use super::general;
use super::globs;
use super::made::{Made, Route, Rule, Served};
use super::notes::Notes;
use super::paths::{About, Order};
use super::scope::Scope;
use super::servers::{Answer, Entry, Server};
use super::tree::Place;
use super::upstream::Target;
use super::values::quoted;
use crate::sockets::Address;

/// How a server stands among the others.
#[derive(Clone, Copy)]
pub struct Standing {
    /// It gets what is for no other server's name.
    pub default: bool,
    pub several: bool,
}

/// Every repository.
const ALL: &str = "**";

/// A route in the making.
pub struct Draft<'a> {
    repositories: String,
    pub target: Target,
    access: Access,
    pub scope: Scope<'a>,
    at: &'a Place,
    shown: String,
    order: Order,
    nested: bool,
}

impl Draft<'_> {
    pub fn is_ruled(&self) -> bool {
        !self.access.is_open() && !self.access.only_reads()
    }
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
    let mut rules = rules(&drafts)?;
    let found = clusters(entries, &drafts, backends, &mut made.notes)?;
    let hosts = hosts(server, &drafts, &found, (standing, only_host), made)?;
    let served = served(server, ruled, certified, &mut made.notes)?;
    elsewhere(&served, made)?;
    let Some(hosts) = hosts else {
        made.served.push(served);
        return Ok(());
    };
    let of_rules = hosts_of_rules(server, &hosts, standing, made);
    if ruled {
        other_rules(&of_rules, standing, made)?;
    }
    users(&drafts, made)?;
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
    let certified = certified(server, entries, notes)?;
    if !server.listens.iter().any(|listen| !listen.ssl || server.scope.one("ssl_certificate").is_some()) {
        return Err("it has no address to listen on, or no certificate".into());
    }
    if !standing.default && server.hosts.is_empty() {
        return Err("it has no name that a route could know it by, and is nobody's default".into());
    }
    if let Some(rewrite) = server.scope.every("rewrite").next() {
        return Err(format!("`rewrite` at {} changes paths, and Entrepot changes none", rewrite.at));
    }
    let only_host = only_host(server, entries)?;
    let drafts = drafts(entries)?;
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
    by_other_field(server, &drafts)?;
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

/// The names that a server's rules are for: not those that another has already, as rules add up.
fn hosts_of_rules(server: &Server<'_>, hosts: &[String], standing: Standing, made: &Made) -> Vec<String> {
    let taken = |host: &str| made.routes.iter().any(|route| route.hosts.iter().any(|known| known == host));
    match (standing.several, hosts.is_empty()) {
        (false, _) => Vec::new(),
        (true, false) => hosts.to_vec(),
        (true, true) => server.hosts.iter().filter(|host| !taken(host)).cloned().collect(),
    }
}

/// Rules add up: those for `*.example.com` would count for a name of it that another server has.
fn other_rules(hosts: &[String], standing: Standing, made: &Made) -> Result<(), String> {
    if standing.several && hosts.is_empty() {
        return Err("it asks who may, and other servers have all of its names".into());
    }
    let covers = |wide: &str, name: &str| {
        let of = wide.strip_prefix("*.");
        wide == name || of.is_some_and(|of| name.split_once('.').is_some_and(|(_, rest)| rest == of))
    };
    for rule in &made.rules {
        let meets = |own: &String| rule.hosts.iter().any(|host| covers(host, own) || covers(own, host));
        if let Some(host) = hosts.iter().find(|own| meets(own)) {
            return Err(format!("it asks who may at {host}, and so do the rules of another server ({})", rule.from));
        }
    }
    Ok(())
}

/// Whether its clients need a certificate.
///
/// # Errors
/// Where that counts for a part only of what a listener is here.
fn certified(server: &Server<'_>, entries: &[Entry<'_>], notes: &mut Notes) -> Result<bool, String> {
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
fn only_host(server: &Server<'_>, entries: &[Entry<'_>]) -> Result<Option<String>, String> {
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
fn by_other_field(server: &Server<'_>, drafts: &[Draft<'_>]) -> Result<(), String> {
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
fn elsewhere(served: &Served, made: &mut Made) -> Result<(), String> {
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

/// The locations that hand requests for repositories to somebody, the narrowest first.
fn drafts<'a>(entries: &[Entry<'a>]) -> Result<Vec<Draft<'a>>, String> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    // The interface itself goes before what is for everything, whatever is done there.
    let of = |about: &About| entries.iter().find(|entry| entry.about == *about);
    let whole = of(&About::Api).or_else(|| of(&About::Everything));
    for entry in entries {
        let fault = |why: &str| format!("of {} at {}, {why}", entry.shown, entry.at);
        let is_whole = whole.is_some_and(|whole| std::ptr::eq(whole, entry));
        let repositories = match (&entry.about, &entry.answer) {
            (About::Repositories(_) | About::Kind, Answer::Returns(400..)) => {
                return Err(format!("{} at {} refuses something to all, which no route does", entry.shown, entry.at));
            }
            (About::Repositories(_) | About::Kind | About::Unclear, Answer::Proxy(Err(why))) => return Err(fault(why)),
            (About::Unclear, Answer::Returns(400..)) => {
                return Err(fault("something is refused to all, and it may be about repositories"));
            }
            (
                About::Repositories(_) | About::Kind | About::Unclear,
                Answer::Returns(_) | Answer::ToHttps | Answer::Other(_),
            ) => {
                return Err(fault("requests that may be about repositories are not handed to a registry"));
            }
            (About::Repositories(glob), Answer::Proxy(Ok(_))) => glob.clone(),
            (About::Api | About::Everything, _) if is_whole => ALL.to_owned(),
            _ => continue,
        };
        let target = match &entry.answer {
            Answer::Proxy(Ok(target)) => target.clone(),
            Answer::Proxy(Err(why)) => return Err(fault(why)),
            Answer::Returns(_) | Answer::ToHttps | Answer::Other(_) => continue,
        };
        let access = Access::of(&entry.scope).map_err(|why| fault(&why))?;
        let known = drafts.iter().find(|draft| draft.repositories == repositories);
        if known.is_some_and(|known| known.access != access) {
            return Err(fault("others may there than at another location of the same repositories"));
        }
        if known.is_none() {
            let (scope, shown) = (entry.scope.clone(), entry.shown.clone());
            let (order, nested) = (entry.order, entry.nested);
            drafts.push(Draft { repositories, target, access, scope, at: entry.at, shown, order, nested });
        }
    }
    drafts.sort_by_key(|draft| draft.repositories == ALL);
    apart(&drafts)?;
    same_for_parts(entries, whole, &drafts)?;
    Ok(drafts)
}

/// What rules of one location allow counts in another that is about some of the same repositories: then both have to allow the same,
/// unless the other is about all of them, and nginx prefers the narrower one as routes do.
fn apart(drafts: &[Draft<'_>]) -> Result<(), String> {
    for (index, one) in drafts.iter().enumerate() {
        for other in drafts.iter().skip(index + 1).filter(|other| other.access != one.access) {
            let told_apart =
                other.repositories == ALL && !one.nested && !other.nested && goes_before(one.order, other.order);
            if !told_apart && globs::may_meet(&one.repositories, &other.repositories) {
                return Err(format!(
                    "{} at {} and {} at {} may be about the same repositories, and others may here than there",
                    one.shown, one.at, other.shown, other.at
                ));
            }
        }
    }
    Ok(())
}

/// Whether nginx takes the location of some repositories before the one of all.
fn goes_before(narrow: Order, wide: Order) -> bool {
    match (narrow, wide) {
        (Order::Pattern(narrow), Order::Pattern(wide)) => narrow < wide,
        (Order::Pattern(_), Order::Firm(_)) | (Order::Prefix(_), Order::Pattern(_)) => false,
        _ => true,
    }
}

/// Locations for some kind of requests are served as the others are: only if nobody is kept out by them alone.
fn same_for_parts(entries: &[Entry<'_>], whole: Option<&Entry<'_>>, drafts: &[Draft<'_>]) -> Result<(), String> {
    for entry in entries {
        let of = |why: String| format!("of {} at {}, {why}", entry.shown, entry.at);
        let is_whole = whole.is_some_and(|whole| std::ptr::eq(whole, entry));
        // A pattern goes before what is compared by its beginning, and may so be about all of it.
        let is_wide = matches!(entry.about, About::Api | About::Everything)
            && matches!(entry.order, Order::Pattern(_))
            && !is_whole;
        if !is_wide && !matches!(entry.about, About::Kind | About::Part(_) | About::Unclear) {
            continue;
        }
        match &entry.answer {
            Answer::Proxy(_) => {}
            _ if is_wide => return Err(of("requests for repositories are not handed to a registry".into())),
            _ => continue,
        }
        let access = Access::of(&entry.scope).map_err(of)?;
        if !access.is_open() && drafts.iter().any(|draft| draft.access != access) {
            return Err(of("others may there than elsewhere, and rules are about repositories".into()));
        }
    }
    Ok(())
}

/// Of a server: of which repositories, what, and where from.
pub type Rules = Vec<(String, Said, String)>;

/// The rules of a server. Those of a narrower location are added to a wider one's, so what it refuses has to be said too.
fn rules(drafts: &[Draft<'_>]) -> Result<Rules, String> {
    let mut rules = Vec::new();
    let main = drafts.last().filter(|draft| draft.repositories == ALL && draft.is_ruled());
    for draft in drafts {
        let from = format!("{}: {}", draft.at, draft.shown);
        let narrow = main.filter(|main| main.repositories != draft.repositories && main.access != draft.access);
        if let Some(main) = narrow {
            for (own, wide, words) in [
                (&draft.access.pull, &main.access.pull, ["pull"].as_slice()),
                (&draft.access.push, &main.access.push, ["push", "overwrite"].as_slice()),
                (&draft.access.delete, &main.access.delete, ["delete"].as_slice()),
            ] {
                let who = narrower(own, wide).map_err(|why| format!("of {} at {}, {why}", draft.shown, draft.at))?;
                if let Some(who) = who {
                    let said = Said { who, allow: false, words: words.to_vec(), from: Vec::new() };
                    rules.push((draft.repositories.clone(), said, from.clone()));
                }
            }
        }
        // What is the same in the wider one is said there.
        let said = main.is_some_and(|main| main.repositories != draft.repositories && main.access == draft.access);
        if (draft.is_ruled() && !said) || narrow.is_some() {
            rules.extend(
                access::rules(&draft.access).into_iter().map(|said| (draft.repositories.clone(), said, from.clone())),
            );
        }
    }
    Ok(rules)
}

/// Whom a narrower gate keeps out that a wider one lets in.
fn narrower(own: &Gate, wide: &Gate) -> Result<Option<&'static str>, String> {
    if own == wide || own.is_open() || wide.is_closed() {
        return Ok(None);
    }
    if own.is_closed() {
        return Ok(Some("*"));
    }
    match (&own.users, &own.networks) {
        (Some(_), Networks::All) if wide.users.is_none() => Ok(Some("anonymous")),
        (Some(_), Networks::All) if !wide.either => Ok(None),
        (Some(_), Networks::All) => Ok(Some("anonymous")),
        _ => Err("others may there than elsewhere, in a way that rules cannot tell apart".into()),
    }
}

/// One file of users counts for all.
fn users(drafts: &[Draft<'_>], made: &mut Made) -> Result<(), String> {
    for draft in drafts {
        for file in draft.access.users() {
            let value = quoted(file);
            let known = made.auth.0.iter().find(|line| line.key == "htpasswd");
            if known.is_some_and(|line| line.value != value) {
                return Err(format!(
                    "its users are in {file}, those of others in another file, and there is one file of users here"
                ));
            }
            let directive = draft.scope.one("auth_basic_user_file").or_else(|| draft.scope.own("limit_except"));
            let Some(directive) = directive else { continue };
            if known.is_none()
                && let Some(fault) = crate::auth::htpasswd_fault(std::path::Path::new(file))
            {
                made.notes.other(
                    "auth_basic_user_file",
                    format!("{file} is not good as it is: {fault}"),
                    &directive.at,
                );
            }
            made.auth.put("htpasswd", value, directive, &mut made.notes);
        }
    }
    Ok(())
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

/// What is left at the end: routes in an order in which each can be reached, and rules that keep out where there is no other.
pub fn shut(made: &mut Made) {
    // nginx prefers a name to a wildcard, and a wildcard to its default.
    made.routes.sort_by_key(|route| (route.hosts.is_empty(), route.hosts.iter().any(|host| host.starts_with("*."))));
    let mut shut = Vec::new();
    if made.rules.is_empty() {
        // Without any rule, whoever logs in could do everything.
        for route in made.routes.iter().filter(|route| route.ruled) {
            let said = Said {
                who: "*",
                allow: false,
                words: vec!["pull", "push", "overwrite", "delete", "catalog"],
                from: Vec::new(),
            };
            shut.push(Rule {
                hosts: Vec::new(),
                repositories: route.repositories.clone(),
                said,
                from: route.from.clone(),
            });
        }
    }
    made.rules.append(&mut shut);
}
