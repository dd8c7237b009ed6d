//! What a fake registry answers, request by request.

use std::sync::Arc;

use serde_json::{Value, json};

use super::World;
use super::manners::{Manner, Referrers};
use super::store::{Signed, ranged, sign};
use super::tokens::{admitted, error, nobody_knows};
use crate::harness::{Reply, Seen, digest};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub fn answer(world: &World, seen: &Seen) -> Reply {
    let reply = route(world, seen);
    reply.header("Docker-Distribution-Api-Version", "registry/2.0")
}

fn route(world: &World, seen: &Seen) -> Reply {
    if !matches!(seen.method.as_str(), "GET" | "HEAD") {
        return error(405, "UNSUPPORTED", "this registry is read by tests alone");
    }
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let Some(path) = path.strip_prefix("/v2/") else { return error(404, "UNSUPPORTED", "no such page") };
    if path.is_empty() {
        return admitted(world, seen, None).err().unwrap_or_else(|| json_reply(&json!({})));
    }
    if path == "_catalog" {
        return admitted(world, seen, None).err().unwrap_or_else(|| {
            let names: Vec<String> = world.shelf.lock().repositories.keys().cloned().collect();
            page(world, "/v2/_catalog", query, "repositories", None, names)
        });
    }
    let kinds = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    let found = kinds.iter().filter_map(|kind| path.rfind(kind).map(|at| (at, *kind))).max();
    let Some((at, kind)) = found else { return error(404, "NAME_UNKNOWN", "no such page") };
    let (name, what) = (&path[..at], &path[at + kind.len()..]);
    let user = match admitted(world, seen, Some(name)) {
        Ok(user) => user,
        Err(reply) => return reply,
    };
    if !world.shelf.lock().repositories.contains_key(name) {
        return nobody_knows(world, name);
    }
    match kind {
        "/manifests/" => manifest(world, seen, &user, name, what),
        "/blobs/" => blob(world, seen, name, what),
        "/tags/" => {
            let tags: Vec<String> = world.shelf.lock().repository(name).tags.keys().cloned().collect();
            page(world, &format!("/v2/{name}/tags/list"), query, "tags", Some(name), tags)
        }
        _ => referrers(world, name, what),
    }
}

fn json_reply(value: &Value) -> Reply {
    Reply::new(200).header("Content-Type", "application/json").body(value.to_string())
}

fn manifest(world: &World, seen: &Seen, user: &str, name: &str, reference: &str) -> Reply {
    let manner = world.manner.lock().clone();
    if seen.method == "HEAD" && !manner.head {
        return error(405, "UNSUPPORTED", "The operation is unsupported.");
    }
    let found = world.shelf.lock().repository(name).manifest(reference);
    let Some((digest, media_type, bytes)) = found else {
        return with_budget(world, &manner, user, error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    };
    if let Some(refusal) = counted(world, &manner, user, seen, &media_type) {
        return refusal;
    }
    let mut headers = vec![("Content-Type".to_owned(), media_type)];
    if manner.digest_header {
        headers.push(("Docker-Content-Digest".into(), digest));
    }
    if manner.manifests_redirect {
        let signed = Signed { bytes: Arc::new(bytes), headers, lasting: true };
        return Reply::new(307).header("Location", sign(world, "manifest", signed));
    }
    let reply = Reply::new(200).body(bytes);
    let reply = headers.into_iter().fold(reply, |reply, (name, value)| reply.header(&name, value));
    with_budget(world, &manner, user, reply)
}

/// Counts a pull; an answer if there is none left.
fn counted(world: &World, manner: &Manner, user: &str, seen: &Seen, media_type: &str) -> Option<Reply> {
    let budget = manner.budget.as_ref().filter(|_| seen.method == "GET" && media_type != INDEX)?;
    let (source, limit) = (budget.source(user), *budget.limits.get(user)?);
    let mut pulled = world.pulled.lock();
    let count = pulled.entry(source).or_default();
    if *count < limit {
        *count += 1;
        return None;
    }
    drop(pulled);
    let message = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit";
    let reply = with_budget(world, manner, user, error(429, "TOOMANYREQUESTS", message));
    Some(budget.retry_after.iter().fold(reply, |reply, seconds| reply.header("Retry-After", seconds.to_string())))
}

fn with_budget(world: &World, manner: &Manner, user: &str, reply: Reply) -> Reply {
    let Some((budget, limit)) = manner.budget.as_ref().and_then(|budget| Some((budget, *budget.limits.get(user)?)))
    else {
        return reply;
    };
    let source = budget.source(user);
    let left = limit.saturating_sub(world.pulled.lock().get(&source).copied().unwrap_or(0));
    reply
        .header("ratelimit-limit", format!("{limit};w=21600"))
        .header("ratelimit-remaining", format!("{left};w=21600"))
        .header("docker-ratelimit-source", source)
}

fn blob(world: &World, seen: &Seen, name: &str, wanted: &str) -> Reply {
    let manner = world.manner.lock().clone();
    let Some(bytes) = world.shelf.lock().repository(name).blobs.get(wanted).cloned() else {
        return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let kind = ("Content-Type".to_owned(), "application/octet-stream".to_owned());
    if manner.blobs_redirect {
        let signed = Signed { bytes, headers: vec![kind], lasting: false };
        return Reply::new(307).header("Location", sign(world, wanted, signed));
    }
    ranged(seen.header("range"), &bytes).header("Content-Type", kind.1).header("Docker-Content-Digest", wanted)
}

fn referrers(world: &World, name: &str, subject: &str) -> Reply {
    match world.manner.lock().referrers {
        Referrers::Refused(429) => Reply::new(429).header("Content-Type", "text/html").body("<html>slow down</html>"),
        Referrers::Refused(status) => error(status, "UNSUPPORTED", "The operation is unsupported."),
        Referrers::LedAstray => {
            let store = world.places.get().map_or("", |places| places.store.as_str());
            Reply::new(303).header("Location", format!("{store}/-/v2/packages/container/{name}"))
        }
        Referrers::Listed => {
            let list = world.shelf.lock().repository(name).referrers(subject);
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list});
            Reply::new(200).header("Content-Type", INDEX).body(index.to_string())
        }
    }
}

/// One page of a list. Where there are more, only the token in `Link` leads on, as at quay: `last` is not understood.
fn page(world: &World, path: &str, query: &str, kind: &str, name: Option<&str>, all: Vec<String>) -> Reply {
    let most = world.manner.lock().page;
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let count = field("n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(most).clamp(1, most);
    let token = |at: usize| digest(format!("{path} from {at}").as_bytes())[7..39].to_owned();
    let from = match field("next_page") {
        None => 0,
        Some(asked) => match (0..=all.len()).find(|at| token(*at) == asked) {
            Some(from) => from,
            None => return error(400, "PAGINATION_NUMBER_INVALID", "no such page"),
        },
    };
    let end = (from + count).min(all.len());
    let mut list = json!({ kind: all[from..end] });
    if let Some(name) = name {
        list["name"] = name.into();
    }
    let reply = json_reply(&list);
    if end == all.len() {
        return reply;
    }
    reply.header("Link", format!("<{path}?n={count}&next_page={}>; rel=\"next\"", token(end)))
}
