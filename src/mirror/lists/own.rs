//! What was pushed over a mirror, for lists that show both.

use http::StatusCode;
use http::header::LINK;
use serde::Deserialize;

use crate::mirror::{Mirror, Reply, Request, overlay};
use crate::oci::{Action, Descriptor, Digest, Manifest, Page, RepositoryName, Resource};
use crate::registry::ReplyBody;

/// Pages of the registry, each of some MiB.
const MAX_PAGES: usize = 16;

#[derive(Deserialize)]
struct TagsPage {
    tags: Vec<String>,
}

/// The registry's own tags; none where nothing is pushed over this mirror.
///
/// # Errors
/// Its refusal: a list without what was pushed would be wrong.
pub(super) async fn tags(mirror: &Mirror, request: &Request, name: &RepositoryName) -> Result<Vec<String>, Reply> {
    let (mut found, mut last) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let page = Ok(Page { n: None, last: last.take() });
        let resource = Resource::Tags { name: name.clone(), page };
        let Some((bytes, more)) = ask(mirror, request, resource).await? else { break };
        let page = serde_json::from_slice::<TagsPage>(&bytes).map(|page| page.tags).unwrap_or_default();
        found.extend(page);
        last = found.last().cloned().filter(|_| more);
        if last.is_none() {
            break;
        }
    }
    Ok(found)
}

/// The same of what is about a manifest.
pub(super) async fn referrers(
    mirror: &Mirror,
    request: &Request,
    name: &RepositoryName,
    subject: &Digest,
) -> Result<Vec<Descriptor>, Reply> {
    let (mut found, mut last) = (Vec::<Descriptor>::new(), None);
    for _ in 0..MAX_PAGES {
        let page = Ok(Page { n: None, last: last.take() });
        let (name, digest, artifact_types) = (name.clone(), *subject, Vec::new());
        let resource = Resource::Referrers { name, digest, artifact_types, page };
        let Some((bytes, more)) = ask(mirror, request, resource).await? else { break };
        found.extend(Manifest::parse(&bytes).ok().and_then(|index| index.manifests).unwrap_or_default());
        last = found.last().map(|own| own.digest.clone()).filter(|_| more);
        if last.is_none() {
            break;
        }
    }
    Ok(found)
}

/// A page, and whether there are more. `None`: the registry has no such thing, or is not asked.
async fn ask(mirror: &Mirror, request: &Request, resource: Resource) -> Result<Option<(bytes::Bytes, bool)>, Reply> {
    let Some(registry) = mirror.parts.registry.as_ref().filter(|_| request.overlay) else { return Ok(None) };
    let action = Action { method: http::Method::GET, resource, ns: None };
    let answered = overlay::ask(registry, action).await;
    match (answered.status, &answered.body) {
        (StatusCode::NOT_FOUND, _) => Ok(None),
        (StatusCode::OK, ReplyBody::Bytes(bytes)) => Ok(Some((bytes.clone(), answered.headers.contains_key(LINK)))),
        _ => Err(overlay::from_registry(answered)),
    }
}
