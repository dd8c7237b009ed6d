//! Rules that can never match or say nothing new, and logins that cannot work with any client. What cannot be said for sure is not
//! said.

use super::patterns::{apart, covers};
use crate::auth::config::{Config as Auth, Rule};
use crate::auth::{Permission, Policy};
use crate::cluster::config::Authorization;
use crate::config::model::{Config, Route};

/// One sentence each.
pub fn warnings(config: &Config) -> Vec<String> {
    let Some(auth) = &config.auth else { return Vec::new() };
    let mut warnings = Vec::new();
    warnings.extend(in_clear(config, auth));
    warnings.extend(nobody_logs_in(config, auth));
    for (name, _) in auth.groups.iter().filter(|(name, _)| is_empty(auth, name)) {
        warnings.push(format!("auth.groups.{name} has no members"));
    }
    let routes: Vec<_> = config.route.iter().filter(|route| config.is_ruled(route)).collect();
    if routes.is_empty() {
        warnings.push(
            "[auth] is asked by no route: none names the registry, and none says `auth = \"rules\"`, so who asks is nobody's \
             matter but the peers'"
                .into(),
        );
        return warnings;
    }
    warnings.extend(handed_on(config, &routes));
    for (index, rule) in auth.rule.iter().enumerate() {
        let said = never(auth, &routes, rule).or_else(|| idle(auth, index, rule));
        warnings.extend(said.map(|what| format!("auth.rule.{index} {what}")));
        warnings.extend(half(auth, rule).map(|what| format!("auth.rule.{index} {what}")));
        warnings.extend(for_anybody(rule).map(|what| format!("auth.rule.{index} {what}")));
    }
    warnings
}

/// Passwords and tokens over a network that others hear.
fn in_clear(config: &Config, auth: &Auth) -> Option<String> {
    if auth.realm.is_some() {
        return None;
    }
    let open = config.listener.iter().find(|listener| {
        let reached = !listener.address.is_of_this_machine();
        reached && listener.tls.is_empty() && listener.trusted_proxies.is_empty() && !listener.redirect_to_https
    })?;
    Some(format!(
        "passwords and tokens travel in clear to {}: it is plain http, and clients are sent to http://…/token for tokens. Give it \
         `tls`, or name the proxy that has it in `trusted_proxies`, or the address that clients know in `realm` of [auth]",
        open.address
    ))
}

fn nobody_logs_in(config: &Config, auth: &Auth) -> Option<String> {
    let by_others = !auth.workload.is_empty()
        || !auth.verifier.is_empty()
        || config.listener.iter().any(|listener| listener.client_ca.is_some());
    let someone = auth.htpasswd.is_some() || auth.username.is_some() || by_others || config.uses_registry();
    let needed = Policy::new(auth).is_ok_and(|policy| policy.needs_login());
    (!someone && needed).then(|| {
        "nobody can ever log in: [auth] has neither `htpasswd` nor `username`, and without a route to the registry there is no place \
         for robots"
            .into()
    })
}

/// Whether a group that the configuration has is nobody's: workloads bring theirs along.
fn is_empty(auth: &Auth, group: &str) -> bool {
    let brought = auth.workload.iter().any(|workload| workload.groups.iter().any(|own| own == group));
    auth.groups.get(group).is_some_and(Vec::is_empty) && !brought
}

/// Why a rule can never match.
fn never(auth: &Auth, routes: &[&Route], rule: &Rule) -> Option<String> {
    let empty = |who: &String| who.strip_prefix("group:").is_some_and(|group| is_empty(auth, group));
    if !rule.who.is_empty() && rule.who.iter().all(empty) {
        return Some("can never match: its groups have no members".into());
    }
    if routes.iter().all(|route| apart(&route.repositories, &rule.repositories)) {
        return Some(format!("can never match: no route with rules serves '{}'", rule.repositories));
    }
    let hosts = rule.hosts.as_ref()?;
    let served = |route: &&&Route| route.hosts.as_ref().is_none_or(|served| served.iter().any(|one| meet(one, hosts)));
    routes
        .iter()
        .find(served)
        .is_none()
        .then(|| format!("can never match: no route with rules serves {}", hosts.join(", ")))
}

/// Clients keep one login for a host, and show it for all that they ask there: also to peers that judge for themselves.
fn handed_on(config: &Config, ruled: &[&Route]) -> Vec<String> {
    let passes = |route: &&(usize, &Route)| {
        let targets = [Some(&route.1.read), route.1.write.as_ref()];
        let mut clusters = targets.into_iter().flatten().filter_map(|target| target.strip_prefix("cluster."));
        let shown = clusters
            .any(|name| config.cluster.get(name).is_some_and(|cluster| cluster.authorization == Authorization::Pass));
        let same = |other: &&Route| match (&route.1.hosts, &other.hosts) {
            (Some(one), Some(other)) => one.iter().any(|host| meet(host, other)),
            _ => true,
        };
        shown && !config.is_ruled(route.1) && ruled.iter().any(same)
    };
    let routes: Vec<_> = config.route.iter().enumerate().collect();
    let told = routes.iter().filter(passes).map(|(index, _)| {
        format!(
            "route.{index}: clients log in at its host because of the rules of other routes, and what they show is handed on to its \
             peers: give the cluster `authorization = \"drop\"`, or the route hosts of its own, unless its peers take our tokens"
        )
    });
    told.collect()
}

/// Whether some host may be meant by both.
fn meet(one: &str, hosts: &[String]) -> bool {
    hosts.iter().any(|host| one.eq_ignore_ascii_case(host) || one.starts_with('*') || host.starts_with('*'))
}

/// Why a rule changes nothing.
fn idle(auth: &Auth, index: usize, rule: &Rule) -> Option<String> {
    if rule.deny.is_empty() {
        let by = |(other, earlier): &(usize, &Rule)| {
            // Of two that say the same, the second is told of.
            *other != index && says_all_of(auth, earlier, rule) && (*other < index || !says_all_of(auth, rule, earlier))
        };
        let (by, _) = auth.rule.iter().enumerate().find(by)?;
        return Some(format!("says nothing that auth.rule.{by} does not say"));
    }
    let people = rule.who.iter().all(|who| who.starts_with("user:") || who == "anonymous");
    let allowed = |permission: &Permission| {
        auth.rule.iter().any(|other| {
            allows(other, *permission) && !apart(&other.repositories, &rule.repositories) && touch(auth, other, rule)
        })
    };
    // What a robot was made for stands in no rule; and where there are no rules, there is one.
    let idle = people && rule.allow.is_empty() && !rule.deny.iter().any(allowed);
    idle.then(|| "denies what nobody is allowed whom it is about".into())
}

/// What a rule gives that is of no use without more.
fn half(auth: &Auth, rule: &Rule) -> Option<String> {
    let with = |needed: Permission| {
        auth.rule.iter().any(|other| {
            allows(other, needed) && !apart(&other.repositories, &rule.repositories) && touch(auth, other, rule)
        })
    };
    if rule.allow.contains(&Permission::Overwrite) && !with(Permission::Push) {
        return Some("allows `overwrite` to who may not `push`: no client can move a tag so".into());
    }
    if rule.allow.contains(&Permission::Catalog) && !with(Permission::Pull) {
        return Some("allows `catalog` to who may not `pull`: the catalog shows only what may be read".into());
    }
    None
}

fn for_anybody(rule: &Rule) -> Option<String> {
    let anybody = rule.who.iter().any(|who| who == "anonymous" || who == "*") && rule.from.is_none();
    let changes = [Permission::Push, Permission::Overwrite, Permission::Delete, Permission::Admin];
    let given: Vec<&str> = changes.into_iter().filter(|one| rule.allow.contains(one)).map(Permission::word).collect();
    (anybody && !given.is_empty())
        .then(|| format!("lets everybody {}, whoever they are and from wherever they come", given.join(", ")))
}

fn allows(rule: &Rule, permission: Permission) -> bool {
    rule.allow.iter().any(|one| *one == permission || (*one == Permission::Push && permission == Permission::Pull))
}

/// Whether everything that `rule` allows, `other` allows too, to all whom it is about.
fn says_all_of(auth: &Auth, other: &Rule, rule: &Rule) -> bool {
    let everywhere =
        (other.hosts.is_none() || other.hosts == rule.hosts) && (other.from.is_none() || other.from == rule.from);
    everywhere
        && covers(&other.repositories, &rule.repositories)
        && rule.allow.iter().all(|permission| allows(other, *permission))
        && rule.who.iter().all(|who| is_among(auth, who, &other.who))
}

/// Whether what is allowed to `list` is allowed to `who`.
fn is_among(auth: &Auth, who: &str, list: &[String]) -> bool {
    let people = match who.strip_prefix("group:") {
        Some(group) => auth.groups.get(group).is_some_and(|members| members.iter().all(|one| !one.contains(':'))),
        None => who == "authenticated" || who.starts_with("user:"),
    };
    list.iter().any(|one| match one.as_str() {
        "*" | "anonymous" => true,
        "authenticated" => people,
        one => one == who,
    })
}

/// Whether two rules may be about the same somebody.
fn touch(auth: &Auth, one: &Rule, other: &Rule) -> bool {
    one.who.iter().any(|one| other.who.iter().any(|other| may_be_same(auth, one, other)))
}

fn may_be_same(auth: &Auth, one: &str, other: &str) -> bool {
    let named = |who: &str| who.starts_with("user:") || who.starts_with("robot:");
    let holds = |group: &str, who: &str| {
        let member = who.strip_prefix("user:").unwrap_or(who);
        auth.groups.get(group).is_some_and(|members| members.iter().any(|one| one == member))
    };
    match (one.strip_prefix("group:"), other.strip_prefix("group:")) {
        (None, None) => one == other || !named(one) || !named(other),
        (Some(group), None) if named(other) => holds(group, other),
        (None, Some(group)) if named(one) => holds(group, one),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of these rules on a registry, without what is told of listeners.
    fn told(rules: &str) -> Vec<String> {
        let route = |name| format!("[[route]]\nrepositories = \"{name}/**\"\nread = \"registry\"\n");
        config(&["public", "team", "t"].map(route).concat(), rules).map(|config| warnings(&config)).unwrap()
    }

    fn config(routes: &str, rules: &str) -> Option<Config> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("entrepot.toml");
        let auth = "[auth]\nusername = \"ann\"\npassword = \"x\"\ngroups = { none = [], ci = [\"bob\"], bots = [\"robot:r\"] }\n";
        let text = format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{auth}{rules}{routes}");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), std::iter::empty()).ok()
    }

    fn rule(repositories: &str, who: &str, rest: &str) -> String {
        format!("[[auth.rule]]\nrepositories = \"{repositories}\"\nwho = [\"{who}\"]\n{rest}\n")
    }

    const NO_MEMBERS: &str = "auth.groups.none has no members";

    #[test]
    fn rules_that_do_something_are_not_told_of() {
        let push = "allow = [\"push\", \"overwrite\", \"delete\", \"catalog\"]";
        for rules in [
            rule("**", "anonymous", "allow = [\"pull\"]") + &rule("**", "user:ann", push),
            rule("team/*", "authenticated", push) + &rule("team/x", "robot:r", push),
            rule("**", "group:ci", push) + &rule("team/**", "user:bob", "deny = [\"overwrite\"]"),
            rule("team/**", "group:bots", push) + &rule("**", "authenticated", push),
            rule("t*/**", "user:ann", push) + &rule("team/**", "*", "deny = [\"delete\"]"),
            rule("**", "user:ann", "allow = [\"pull\"]\nfrom = [\"10.0.0.0/8\"]")
                + &rule("**", "user:ann", "allow = [\"pull\"]"),
        ] {
            let told = told(&rules);
            // The last one's first rule says nothing that its second does not.
            let expected: &[&str] = match rules.contains("from") {
                true => &[NO_MEMBERS, "auth.rule.0 says nothing that auth.rule.1 does not say"],
                false => &[NO_MEMBERS],
            };
            assert_eq!(told, expected, "{rules}");
        }
    }

    #[test]
    fn rules_that_do_nothing_are_told_of() {
        let pull = "allow = [\"pull\"]";
        for (rules, expected) in [
            (
                rule("private/**", "user:ann", pull),
                "auth.rule.0 can never match: no route with rules serves 'private/**'",
            ),
            (rule("team", "user:ann", pull), "auth.rule.0 can never match: no route"),
            (rule("**", "group:none", pull), "auth.rule.0 can never match: its groups have no members"),
            (
                rule("**", "anonymous", pull) + &rule("team/**", "user:ann", pull),
                "auth.rule.1 says nothing that auth.rule.0",
            ),
            (
                rule("**", "authenticated", "allow = [\"push\"]") + &rule("t/x", "group:ci", pull),
                "auth.rule.1 says nothing",
            ),
            (rule("**", "user:ann", pull) + &rule("**", "user:ann", pull), "auth.rule.1 says nothing that auth.rule.0"),
            (
                rule("**", "user:bob", pull) + &rule("team/**", "user:ann", "deny = [\"pull\"]"),
                "auth.rule.1 denies what nobody",
            ),
            (rule("**", "user:ann", "allow = [\"overwrite\"]"), "auth.rule.0 allows `overwrite` to who may not `push`"),
            (rule("**", "user:ann", "allow = [\"catalog\"]"), "auth.rule.0 allows `catalog` to who may not `pull`"),
            (rule("**", "*", "allow = [\"push\", \"delete\"]"), "auth.rule.0 lets everybody push, delete, whoever"),
        ] {
            let told = told(&rules);
            assert!(told.iter().any(|line| line.starts_with(expected)), "{expected}: {told:?}");
        }
    }

    #[test]
    fn rules_that_nobody_asks_are_told_of() {
        let routes = "[cluster.main]\npeers = [\"a:1\"]\n[[route]]\nread = \"cluster.main\"\n";
        let told = warnings(&config(routes, "").unwrap());
        assert!(told.iter().any(|line| line.starts_with("[auth] is asked by no route")), "{told:?}");
        let mut ruled = config(&format!("{routes}auth = \"rules\"\n"), "").unwrap();
        assert_eq!(warnings(&ruled), [NO_MEMBERS]);
        let auth = ruled.auth.as_mut().unwrap();
        (auth.username, auth.password) = (None, None);
        assert!(warnings(&ruled)[0].starts_with("nobody can ever log in"));
    }

    #[test]
    fn logins_over_a_plain_network_are_told_of() {
        let mut config = config("[[route]]\nread = \"registry\"\n", "").unwrap();
        assert!(in_clear(&config, config.auth.as_ref().unwrap()).is_none());
        config.listener[0].address = "0.0.0.0:80".parse().unwrap();
        let told = |config: &Config| in_clear(config, config.auth.as_ref().unwrap());
        assert!(told(&config).is_some_and(|text| text.contains("0.0.0.0:80")));
        let mut behind = config.clone();
        behind.listener[0].trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(told(&behind), None);
        config.auth.as_mut().unwrap().realm = Some("https://r.example/token".into());
        assert_eq!(told(&config), None);
    }
}
