//! One name for what may be asked for by several: where registries are mirrored, what a request names gets its canonical name
//! here, before routes, rules, limits and the log see it.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Response};

use crate::exchange::RequestContext;
use crate::exchange::respond::problem;
use crate::listener::{Amendment, Exchange};
use crate::oci::action::query_values;
use crate::oci::{Action, ErrorCode, RepositoryName, Resource};
use crate::routing::{Meaning, RoutingTable};

/// The registry that an answer speaks for (distribution-spec, "Registry Proxying").
const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// What a peer says of it is not what the client asked.
static PEERS: [HeaderName; 1] = [OCI_NAMESPACE];

type Refusal = Box<Response<Bytes>>;

/// The action with canonical names. The context's target is made to agree, for those who hand it on.
///
/// # Errors
/// The refusal: the request names a registry that is not mirrored here, or two that contradict each other.
pub fn make_canonical(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    mut action: Action,
) -> Result<Action, Refusal> {
    let site = ctx.site.clone();
    let table = &site.table;
    // Outside `/v2/` an `ns` is somebody else's word.
    if table.names().is_empty() || matches!(action.resource, Resource::Outside) {
        return Ok(action);
    }
    let outcome = namespace(ctx.target.query()).and_then(|ns| {
        action.ns = ns;
        declared(exchange, table, &action)?;
        rename(ctx, table, &mut action)
    });
    match outcome {
        Ok(()) => Ok(action),
        Err(refusal) => {
            // For its line in the log.
            ctx.action = Some(action);
            Err(refusal)
        }
    }
}

/// What the rules of a token shall speak of, where a client asks for it by the name that it uses at this host.
pub fn scoped(table: &RoutingTable, host: &str, asked: &RepositoryName) -> Option<RepositoryName> {
    match table.meaning(host, asked, None) {
        Meaning::Canonical { name, .. } => Some(name),
        Meaning::AsAsked => Some(asked.clone()),
        Meaning::Undeclared | Meaning::Contradiction | Meaning::TooLong => None,
    }
}

/// The registry that `ns` names. Said twice it may be one all the same; two of them, or what is no text, are none that is mirrored: a
/// peer might take the one, and we the other.
fn namespace(query: Option<&str>) -> Result<Option<String>, Refusal> {
    let mut said = query_values(query.unwrap_or_default(), "ns");
    let Some(first) = said.next() else { return Ok(None) };
    if first.is_none() || said.any(|other| other != first) {
        return Err(unknown("it cannot be told which registry `ns` names"));
    }
    Ok(first)
}

/// Says in whose name the answer speaks.
fn declared(exchange: &mut Exchange, table: &RoutingTable, action: &Action) -> Result<(), Refusal> {
    let Some(ns) = &action.ns else { return Ok(()) };
    if table.names().declared(ns).is_none() {
        return Err(unknown("the registry that `ns` names is not mirrored here"));
    }
    if let Ok(value) = HeaderValue::from_str(ns) {
        exchange.amend(Amendment { without: &PEERS, with: HeaderMap::from_iter([(OCI_NAMESPACE, value)]) });
    }
    Ok(())
}

fn rename(ctx: &mut RequestContext, table: &RoutingTable, action: &mut Action) -> Result<(), Refusal> {
    let ns = action.ns.clone();
    let host = ctx.host.clone();
    let meaning = |asked: &RepositoryName| table.meaning(&host, asked, ns.as_deref());
    if let Some(name) = action.resource.repository_mut() {
        let canonical = match meaning(name) {
            Meaning::AsAsked => name.clone(),
            Meaning::Canonical { name, .. } => name,
            Meaning::Undeclared => return Err(unknown("the registry that `ns` names is not mirrored here")),
            Meaning::Contradiction => {
                return Err(unknown("`ns` and the name, or the host and the name, say different registries"));
            }
            Meaning::TooLong => {
                return Err(unknown("with its registry's path before it, the name is longer than a name may be"));
            }
        };
        if canonical != *name {
            ctx.target = named(&ctx.target, name, &canonical).ok_or_else(|| unknown("no such repository"))?;
            *name = canonical;
        }
    }
    mount(ctx, table, action, meaning);
    Ok(())
}

/// The repository that a blob shall be mounted from is named in the same way. One that means nothing is left out, and so is one whose
/// content is for those whom its remote lets have it, which is not asked here: an upload begins.
fn mount<'a>(
    ctx: &mut RequestContext,
    table: &RoutingTable,
    action: &mut Action,
    meaning: impl Fn(&RepositoryName) -> Meaning<'a>,
) {
    let Resource::UploadStart { start, .. } = &mut action.resource else { return };
    let Some(mount) = &start.mount else { return };
    let canonical = match mount.from.as_ref().map(|from| (from, meaning(from))) {
        // Whoever stores it: that may be a repository of such a remote.
        None if table.keeps_for_callers() => None,
        None | Some((_, Meaning::AsAsked)) => return,
        Some((_, Meaning::Canonical { name, .. })) if table.is_for_callers(&name) => None,
        Some((from, Meaning::Canonical { name, .. })) if name == *from => return,
        Some((_, Meaning::Canonical { name, .. })) => Some(name),
        Some((_, Meaning::Undeclared | Meaning::Contradiction | Meaning::TooLong)) => None,
    };
    match (&canonical, &mut start.mount) {
        (Some(name), Some(mount)) => mount.from = Some(name.clone()),
        _ => start.mount = None,
    }
    if let Some(target) = mounted(&ctx.target, canonical.as_ref()) {
        ctx.target = target;
    }
}

/// The same path and query with another name of the repository; names need no escapes, by their grammar.
fn named(target: &PathAndQuery, asked: &RepositoryName, canonical: &RepositoryName) -> Option<PathAndQuery> {
    let rest = target.as_str().strip_prefix("/v2/")?.strip_prefix(asked.as_str())?;
    rest.starts_with('/').then(|| format!("/v2/{canonical}{rest}"))?.parse().ok()
}

/// The same with another source of the mount; without one, none is asked for.
fn mounted(target: &PathAndQuery, from: Option<&RepositoryName>) -> Option<PathAndQuery> {
    let said = |pair: &&str, key: &str| pair.split('=').next() == Some(key);
    let pairs = target.query()?.split('&');
    let kept = pairs.filter(|pair| !said(pair, "from") && (from.is_some() || !said(pair, "mount")));
    let from = from.map(|from| format!("from={from}"));
    let query = kept.map(str::to_owned).chain(from).collect::<Vec<_>>().join("&");
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{}{separator}{query}", target.path()).parse().ok()
}

fn unknown(message: &str) -> Refusal {
    Box::new(problem(ErrorCode::NameUnknown, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> PathAndQuery {
        text.parse().unwrap()
    }

    #[test]
    fn an_ns_that_cannot_be_told_is_nobody_s() {
        let told = |query: &str| namespace(Some(query)).ok();
        assert_eq!(told("a=b"), Some(None));
        assert_eq!(told("a=b&ns=docker.io"), Some(Some("docker.io".into())));
        assert_eq!(told("ns=docker.io&ns=docker.io&%6es=docker.io"), Some(Some("docker.io".into())));
        assert_eq!(told("ns="), Some(Some(String::new())));
        for unclear in ["ns=docker.io&ns=quay.io", "ns=docker.io&%6Es=quay.io", "ns=docker.io&ns", "ns=%ff"] {
            assert_eq!(told(unclear), None, "{unclear}");
        }
    }

    #[test]
    fn a_target_follows_its_name_and_nothing_else_of_it_changes() {
        let named = |text: &str, asked: &str, canonical: &str| {
            let made = named(&target(text), &asked.parse().unwrap(), &canonical.parse().unwrap());
            made.map(|target| target.to_string())
        };
        let canonical = "docker.io/library/alpine";
        for (text, made) in [
            ("/v2/alpine/manifests/latest", Some("/v2/docker.io/library/alpine/manifests/latest")),
            ("/v2/alpine/tags/list?n=1&ns=docker.io", Some("/v2/docker.io/library/alpine/tags/list?n=1&ns=docker.io")),
            ("/v2/alpine/blobs/sha256%3Aab", Some("/v2/docker.io/library/alpine/blobs/sha256%3Aab")),
            ("/v2/alpinelinux/manifests/latest", None),
            ("/v3/alpine/manifests/latest", None),
        ] {
            assert_eq!(named(text, "alpine", canonical).as_deref(), made, "{text}");
        }
    }

    #[test]
    fn a_mount_is_asked_for_by_the_canonical_name_or_not_at_all() {
        let mounted = |from: Option<&str>| {
            let from = from.map(|from| from.parse().unwrap());
            let made = mounted(&target("/v2/a/blobs/uploads/?mount=sha256:ab&from=alpine&ns=docker.io"), from.as_ref());
            made.unwrap().to_string()
        };
        assert_eq!(
            mounted(Some("docker.io/library/alpine")),
            "/v2/a/blobs/uploads/?mount=sha256:ab&ns=docker.io&from=docker.io/library/alpine"
        );
        assert_eq!(mounted(None), "/v2/a/blobs/uploads/?ns=docker.io");
        assert_eq!(
            super::mounted(&target("/v2/a/blobs/uploads/?mount=x&from=y"), None).unwrap(),
            "/v2/a/blobs/uploads/"
        );
    }
}
