//! What a request changed at a peer, or may have: whoever asked before must not be believed.

use http::{Method, StatusCode};

use super::Front;
use crate::exchange::RequestContext;
use crate::oci::{Reference, Resource, Tag};

/// What a request changed at a peer.
pub enum Changed {
    Tag(Tag),
    /// Anything else in the repository, by digest.
    Repository,
}

/// Called before the client hears of it, so that it never meets what it deleted. Never for what a peer refused: anybody may
/// try.
pub fn changed(front: &Front, ctx: &RequestContext) {
    let Some(action) = &ctx.action else { return };
    let (puts, deletes) = (action.method == Method::PUT, action.method == Method::DELETE);
    let (name, what) = match &action.resource {
        Resource::Manifest { name, reference: Reference::Tag(tag), .. } if puts || deletes => {
            (name, Changed::Tag(tag.clone()))
        }
        // By digest, a PUT changes nothing that is known, but for the tags that it may name.
        Resource::Manifest { name, tags, .. } if deletes || (puts && *tags != Ok(Vec::new())) => {
            (name, Changed::Repository)
        }
        Resource::Blob { name, .. } if deletes => (name, Changed::Repository),
        _ => return,
    };
    front.forget(&ctx.site, name, &what);
}

/// A manifest that was streamed to a peer was refused, perhaps because the repository lacks what it names: what we said
/// was there is asked anew.
pub fn refused(front: &Front, ctx: &RequestContext, status: StatusCode) {
    if let Some(action) = &ctx.action
        && let Resource::Manifest { name, .. } = &action.resource
        && action.method == Method::PUT
        && matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
    {
        front.forget(&ctx.site, name, &Changed::Repository);
    }
}

/// Whether a peer's answer to a change leaves it possible that something was changed, or is known to be gone.
pub fn may_have_changed(status: StatusCode) -> bool {
    status.is_success() || status.is_server_error() || status == StatusCode::NOT_FOUND
}
