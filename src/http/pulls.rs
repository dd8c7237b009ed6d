//! Which manifests were given to clients: noted for whoever looks after the registry's storage.

use http::Method;

use super::Shared;
use super::hit::Hit;
use crate::exchange::RequestContext;
use crate::listener::Plain;
use crate::oci::{Reference, Resource};

/// A request that is over. What has not changed since a client has it (304) is in use there. HEAD is no pull: clients ask by it
/// whether there is something new, or what they need not push.
pub fn answered(shared: &Shared, ctx: &RequestContext, status: u16) {
    if !matches!(status, 200 | 304) || !shared.pulls.is_on() {
        return;
    }
    let Some(action) = ctx.action.as_ref().filter(|action| action.method == Method::GET) else { return };
    let Resource::Manifest { name, reference, .. } = &action.resource else { return };
    if !ctx.site.table.read(&ctx.host, name).is_some_and(|answerer| answerer.ours) {
        return;
    }
    if let Reference::Tag(tag) = reference {
        shared.pulls.pulled(name.as_str(), tag.as_str());
    }
    // Also what a tag led to: it may lead elsewhere tomorrow.
    if let Some(digest) = &ctx.content {
        shared.pulls.pulled(name.as_str(), &digest.text());
    }
}

/// One that was answered with what was at hand: nothing is made for it.
pub fn given(shared: &Shared, request: &Plain<'_>, hit: &Hit, status: u16) {
    if !hit.is_pull || status != 200 {
        return;
    }
    if let (Some(repository), Some(digest)) =
        (request.target.get(hit.repository.clone()), request.target.get(hit.digest.clone()))
    {
        shared.pulls.pulled(repository, digest);
    }
}
