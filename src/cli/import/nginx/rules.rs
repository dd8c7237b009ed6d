//! Who may, of a server's locations → rules, which add up here.

use super::access::{self, Gate, Networks, Said};
use super::drafts::{ALL, Draft};
use super::made::{Made, Rule};
use super::servers::Server;
use super::values::quoted;

/// Of a server: of which repositories, what, and where from.
pub type Rules = Vec<(String, Said, String)>;

/// The rules of a server. Those of a narrower location are added to a wider one's, so what it refuses has to be said too.
pub fn of(drafts: &[Draft<'_>]) -> Result<Rules, String> {
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

/// The names that a server's rules are for: not those that another has already, as rules add up.
pub fn hosts(server: &Server<'_>, hosts: &[String], several: bool, made: &Made) -> Vec<String> {
    let taken = |host: &str| made.routes.iter().any(|route| route.hosts.iter().any(|known| known == host));
    match (several, hosts.is_empty()) {
        (false, _) => Vec::new(),
        (true, false) => hosts.to_vec(),
        (true, true) => server.hosts.iter().filter(|host| !taken(host)).cloned().collect(),
    }
}

/// Rules add up: those for `*.example.com` would count for a name of it that another server has.
pub fn of_others(hosts: &[String], several: bool, made: &Made) -> Result<(), String> {
    if several && hosts.is_empty() {
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

/// One file of users counts for all.
pub fn users(drafts: &[Draft<'_>], made: &mut Made) -> Result<(), String> {
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
