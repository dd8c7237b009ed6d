//! What is told on the admin address of mirrors and images, and images brought whole: whose an image is, routes and rules say; the rest is
//! `mirror`'s.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::stream::{BoxStream, StreamExt as _};
use http::StatusCode;
use serde_json::{Value, json};

use crate::admin::{Refusal, WarmOrder};
use crate::auth::{Asked, Asker, Identity, Permission, Policy, Why};
use crate::mirror::{Mirror, Wanted, WantedPlatforms, Wish, warm};
use crate::oci::{ImageName, Reference, RepositoryName};
use crate::remote::config::AskedAs;
use crate::routing::{Meaning, REGISTRY, RouteTold, RoutingTable, Site};
use crate::storage::{Error, Link};

/// Images of one order to warm, and platforms.
const MAX_IMAGES: usize = 10_000;
const MAX_PLATFORMS: usize = 64;
const MAX_PLATFORM: usize = 100;

/// `GET /mirror/status`
pub async fn status(site: &Site, remote: Option<&str>, limit: usize) -> Result<Value, Refusal> {
    let mirrors: Vec<_> = site.table.mirrors().collect();
    let chosen: Vec<_> =
        mirrors.iter().filter(|mirror| remote.is_none_or(|remote| mirror.remote().name() == remote)).collect();
    if let Some(remote) = remote.filter(|_| chosen.is_empty()) {
        let names: Vec<_> = mirrors.iter().map(|mirror| mirror.remote().name()).collect();
        let there =
            if names.is_empty() { "there is none".into() } else { format!("the remotes are {}", names.join(", ")) };
        let message = format!("there is no remote '{remote}': {there}");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message));
    }
    let mut told = Vec::with_capacity(chosen.len());
    for mirror in chosen {
        let is_own = |name: &RepositoryName| site.table.names().owner(name) == Some(mirror.remote().name());
        told.push(mirror.status(limit, is_own).await);
    }
    Ok(json!({ "now": now(), "remotes": told }))
}

/// `GET /explain`
pub async fn explain(site: &Site, text: &str) -> Result<Value, Refusal> {
    let image: ImageName = text.parse().map_err(|error| invalid(text, &error))?;
    let (name, mirror) = whose(&site.table, &image).map_err(|what| invalid(text, &what))?;
    let routes = site.table.routes_of(&name);
    let overlay = routes.iter().any(|route| route.overlay);
    let by_caller = mirror.as_ref().is_some_and(|mirror| mirror.remote().config().identity == AskedAs::Caller);
    let who = |route: &RouteTold| match by_caller && !route.ruled {
        true => "the remote says who may pull, by what they show".to_owned(),
        false => who(route, site.policy.as_deref(), &name),
    };
    let told: Vec<_> = routes.iter().map(|route| route_told(route, who(route))).collect();
    let mut answer = match &mirror {
        Some(mirror) => {
            serde_json::to_value(mirror.explain(&name, &image.reference, overlay).await).unwrap_or_default()
        }
        None => {
            let here = in_registry(&site.table, &routes, (&name, &image.reference)).await;
            json!({ "answer": not_mirrored(&routes), "here": here.map_err(|error| failed(text, &error))? })
        }
    };
    answer["image"] = json!(text);
    answer["name"] = json!(name.to_string());
    answer["reference"] = json!(image.reference.to_string());
    answer["now"] = json!(now());
    answer["routes"] = json!(told);
    Ok(answer)
}

/// `POST /mirror/warm`
pub fn begin(site: &Site, order: WarmOrder) -> Result<BoxStream<'static, Value>, Refusal> {
    if order.images.is_empty() || order.images.len() > MAX_IMAGES {
        let message = format!("an order has 1 to {MAX_IMAGES} images");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message));
    }
    let platforms = platforms(order.platforms)?;
    let wishes = order.images.into_iter().map(|image| {
        let found = wanted(&site.table, &image);
        Wish { image, found }
    });
    let steps = warm(wishes.collect(), platforms);
    Ok(steps.map(|step| serde_json::to_value(step).unwrap_or_default()).boxed())
}

fn platforms(given: Vec<String>) -> Result<WantedPlatforms, Refusal> {
    if given == ["all"] {
        return Ok(WantedPlatforms::All);
    }
    let is_platform = |text: &String| {
        let parts: Vec<_> = text.split('/').collect();
        (2..=3).contains(&parts.len()) && !parts.contains(&"") && text.len() <= MAX_PLATFORM
    };
    if given.len() > MAX_PLATFORMS || !given.iter().all(is_platform) {
        let message =
            format!("platforms are at most {MAX_PLATFORMS} of the form OS/ARCH or OS/ARCH/VARIANT, or \"all\" alone");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message));
    }
    Ok(WantedPlatforms::These(if given.is_empty() { vec![own_platform()] } else { given }))
}

/// What images for this machine call it.
fn own_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    format!("linux/{architecture}")
}

fn wanted(table: &RoutingTable, text: &str) -> Result<Wanted, String> {
    let image: ImageName = text.parse().map_err(|error| format!("{error}"))?;
    let (name, mirror) = whose(table, &image)?;
    let mirror = mirror.ok_or_else(|| match table.mirrors().next() {
        Some(_) => format!("{} is no image of a registry that is mirrored here", image.place),
        None => "no registry is mirrored here: the configuration has no [remote.NAME]".to_owned(),
    })?;
    Ok(Wanted { mirror, name, reference: image.reference })
}

/// The name under which an image is known here, and whose mirror it is; `None`: of no remote.
fn whose(table: &RoutingTable, image: &ImageName) -> Result<(RepositoryName, Option<Arc<Mirror>>), String> {
    let (registry, rest) = image.familiar();
    let place = image.place.parse::<RepositoryName>().ok();
    // As it stands first: it may be a canonical name, whose first part need not look like a host.
    let as_written = place.as_ref().map(|place| table.names().meaning(place, None, || None));
    let familiar = rest.parse::<RepositoryName>().ok();
    let as_docker_has_it = || familiar.as_ref().map(|rest| table.names().meaning(rest, Some(registry), || None));
    let meaning = match as_written {
        Some(Meaning::AsAsked) | None => as_docker_has_it(),
        meaning => meaning,
    };
    match meaning {
        Some(Meaning::Canonical { name, remote }) => {
            let mirror = table.mirrors().find(|mirror| mirror.remote().name() == remote).cloned();
            Ok((name, mirror))
        }
        Some(Meaning::TooLong) => Err("the name is longer than any".into()),
        Some(Meaning::Contradiction) => Err("the name is of two remotes at once".into()),
        _ => place.map(|place| (place, None)).ok_or_else(|| format!("{registry} is no registry that is mirrored here")),
    }
}

/// Whether the registry, where a route reads from it, has the image.
async fn in_registry(
    table: &RoutingTable,
    routes: &[RouteTold],
    (name, reference): (&RepositoryName, &Reference),
) -> Result<bool, Error> {
    let Some(registry) = table.registry().filter(|_| routes.iter().any(|route| route.read == REGISTRY)) else {
        return Ok(false);
    };
    let link = match reference {
        Reference::Tag(tag) => Link::Tag(name.clone(), tag.clone()),
        Reference::Digest(digest) => Link::Revision(name.clone(), *digest),
    };
    registry.storage().link_exists(&link).await
}

fn failed(text: &str, error: &Error) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", format!("'{}': {error}", text.escape_debug()))
}

fn route_told(route: &RouteTold, who: String) -> Value {
    let mut told = serde_json::to_value(route).unwrap_or_default();
    told["who"] = who.into();
    told
}

/// Who may pull by a route, as far as it can be said of everybody.
fn who(route: &RouteTold, policy: Option<&Policy>, name: &RepositoryName) -> String {
    let Some(policy) = policy.filter(|_| route.ruled) else {
        return match route.read.starts_with("cluster.") {
            true => "its peers say who may pull".into(),
            false => "everybody may pull: nobody is asked who they are".into(),
        };
    };
    let host = route.hosts.first().map(String::as_str).unwrap_or_default();
    let asker = Asker { identity: &Identity::Anonymous, host, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let decision = policy.decide(&asker, Permission::Pull, Asked::In(name));
    let why = match decision.why {
        Why::Rule(index) => format!("auth.rule.{index}"),
        Why::Robot | Why::Nothing => "no rule allows it".into(),
    };
    match decision.allowed {
        true => format!("by the rules everybody may pull ({why})"),
        false => format!("by the rules only who has logged in may pull, if at all ({why})"),
    }
}

fn not_mirrored(routes: &[RouteTold]) -> String {
    match routes.first() {
        Some(route) => format!("it is of no remote: {} answers for it", route.read),
        None => "no route answers for it, and no remote".into(),
    }
}

fn invalid(text: &str, what: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("'{}': {what}", text.escape_debug()))
}

/// Seconds since 1970, by this machine's clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_all_or_well_formed_or_this_machines() {
        let given = |texts: &[&str]| platforms(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(given(&["all"]), Ok(WantedPlatforms::All));
        assert_eq!(given(&["linux/arm/v7"]), Ok(WantedPlatforms::These(vec!["linux/arm/v7".into()])));
        let Ok(WantedPlatforms::These(own)) = given(&[]) else { panic!("one platform") };
        assert!(own.len() == 1 && own[0].starts_with("linux/"));
        for wrong in [&["linux"][..], &["linux/"], &["a/b/c/d"], &["all", "linux/amd64"], &[""]] {
            assert!(given(wrong).is_err(), "{wrong:?}");
        }
    }
}
