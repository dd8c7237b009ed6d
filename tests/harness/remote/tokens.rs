//! The token service of a fake registry, and who a request is by what it shows.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::World;
use super::manners::{Login, Manner};
use crate::harness::http::basic;
use crate::harness::{Reply, Seen};

/// A token that was given.
pub struct Issued {
    user: String,
    repositories: Vec<String>,
    ends: Instant,
}

pub fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"errors": [{"code": code, "message": message, "detail": null}]});
    Reply::new(status).header("Content-Type", "application/json").body(body.to_string())
}

/// GET with Basic, or POST of a form, as clients of both kinds ask.
pub fn answer(world: &World, seen: &Seen) -> Reply {
    let manner = world.manner.lock().clone();
    let url = url::Url::parse(&format!("http://tokens{}", seen.target)).expect("a target");
    let mut fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if seen.method == "POST" {
        fields.extend(url::form_urlencoded::parse(&seen.body).into_owned());
    }
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let user = match (seen.header("authorization"), field("username")) {
        (Some(value), _) => by_basic(&manner, value),
        (None, Some(name)) => {
            let right = manner.users.get(&name) == field("password").as_ref();
            if right { Ok(name) } else { Err(error(401, "UNAUTHORIZED", "incorrect username or password")) }
        }
        (None, None) => Ok(String::new()),
    };
    let user = match user {
        Ok(user) => user,
        Err(reply) => return reply,
    };
    let scopes = fields.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
    let asked: Vec<String> = scopes.filter_map(repository_of).collect();
    let granted: Vec<String> = asked.iter().filter(|name| manner.may_pull(&user, name)).cloned().collect();
    if let (Some(status), true) = (manner.token_refusal, granted.len() < asked.len()) {
        return error(status, "DENIED", "requested access to the resource is denied");
    }
    let token = format!("tok{}", Uuid::new_v4().simple());
    crate::harness::secrets::note(&token);
    let ends = Instant::now() + Duration::from_secs(manner.token_life);
    world.issued.lock().insert(token.clone(), Issued { user, repositories: granted, ends });
    let body = json!({"token": token, "access_token": token, "expires_in": manner.token_life});
    Reply::new(200).header("Content-Type", "application/json").body(body.to_string())
}

fn repository_of(scope: &str) -> Option<String> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    (kind == "repository" && actions.split(',').any(|action| action == "pull")).then(|| name.to_owned())
}

fn by_basic(manner: &Manner, value: &str) -> Result<String, Reply> {
    match manner.users.iter().find(|(user, password)| basic(user, password) == value) {
        Some((user, _)) => Ok(user.clone()),
        None => Err(error(401, "UNAUTHORIZED", "incorrect username or password")),
    }
}

/// Who asks for something of `repository`; an answer if they may not.
pub fn admitted(world: &World, seen: &Seen, repository: Option<&str>) -> Result<String, Reply> {
    let manner = world.manner.lock().clone();
    let shown = seen.header("authorization").unwrap_or_default();
    let refused = |error: &str| Err(challenge(world, &manner, repository, error));
    let user = match (manner.login, shown.split_once(' ')) {
        (Login::None, _) => String::new(),
        (Login::Basic | Login::Both | Login::Joined, Some(("Basic", _))) => match by_basic(&manner, shown) {
            Ok(user) if manner.ended_passwords.contains(&manner.users[&user]) => {
                return Err(error(
                    403,
                    "DENIED",
                    "Your authorization token has expired. Reauthenticate and try again.",
                ));
            }
            Ok(user) => user,
            Err(_) => return refused(""),
        },
        (Login::Bearer | Login::Both | Login::Joined, Some(("Bearer", token))) => {
            let issued = world.issued.lock();
            match issued.get(token).filter(|issued| issued.ends > Instant::now()) {
                None => return refused("invalid_token"),
                Some(issued) => match repository {
                    Some(name) if !issued.repositories.iter().any(|granted| granted == name) => {
                        return refused("insufficient_scope");
                    }
                    _ => issued.user.clone(),
                },
            }
        }
        _ => return refused(""),
    };
    match repository {
        Some(name) if !manner.may_pull(&user, name) => Err(error(403, "DENIED", "requested access is denied")),
        _ => Ok(user),
    }
}

fn challenge(world: &World, manner: &Manner, repository: Option<&str>, said: &str) -> Reply {
    let realm = world.places.get().map_or("", |places| places.tokens.as_str());
    let scope = repository.map(|name| format!(",scope=\"repository:{name}:pull\"")).unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!(",error=\"{said}\"") };
    let bearer = format!("Bearer realm=\"{realm}/token\",service=\"registry.fake\"{scope}{said}");
    let basic = "Basic realm=\"the fake, of course\"".to_owned();
    let lines = match manner.login {
        Login::None => vec![],
        Login::Basic => vec![basic],
        Login::Bearer => vec![bearer],
        Login::Both => vec![basic, bearer],
        Login::Joined => vec![format!("Negotiate, {basic}, {bearer}")],
    };
    let reply = error(401, "UNAUTHORIZED", "authentication required");
    lines.into_iter().fold(reply, |reply, line| reply.header("WWW-Authenticate", line))
}

/// Docker Hub's answer about a name that is not there.
pub fn nobody_knows(world: &World, repository: &str) -> Reply {
    let manner = world.manner.lock().clone();
    match manner.unknown {
        401 => challenge(world, &manner, Some(repository), "insufficient_scope"),
        status => error(status, "NAME_UNKNOWN", "repository name not known to registry"),
    }
}
