//! Where a fake registry's redirects lead: signed addresses as of object stores. Each is good for one GET, an `Authorization` is 400,
//! and a HEAD is another operation than the one that was signed.

use std::sync::Arc;

use uuid::Uuid;

use super::World;
use crate::harness::{Reply, Seen};

/// What an address that was told leads to.
pub struct Signed {
    pub bytes: Arc<Vec<u8>>,
    /// Fields of the answer beside the length.
    pub headers: Vec<(String, String)>,
    /// Good again and again, and for HEAD: what is redirected to without being signed.
    pub lasting: bool,
}

/// The address of this content from now on.
pub fn sign(world: &World, what: &str, signed: Signed) -> String {
    let signature = Uuid::new_v4().simple().to_string();
    crate::harness::secrets::note(&signature);
    world.signed.lock().insert(signature.clone(), signed);
    let store = world.places.get().map_or("", |places| places.store.as_str());
    format!("{store}/store/{what}?X-Amz-Expires=600&X-Amz-Signature={signature}")
}

pub fn answer(world: &World, seen: &Seen) -> Reply {
    let refusal = |status: u16, code: &str| {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        Reply::new(status).header("Content-Type", "application/xml").body(body)
    };
    if seen.header("authorization").is_some() {
        return refusal(400, "InvalidArgument");
    }
    let signature = seen.target.split_once("X-Amz-Signature=").map_or("", |(_, signature)| signature);
    let mut signed = world.signed.lock();
    let Some(found) = signed.get(signature) else { return refusal(403, "AccessDenied") };
    if seen.method != "GET" && !found.lasting {
        return refusal(403, "SignatureDoesNotMatch");
    }
    let reply = ranged(seen.header("range"), &found.bytes);
    let reply = found.headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value.as_str()));
    if !found.lasting {
        signed.remove(signature);
    }
    reply
}

/// The whole, or one range of it.
pub fn ranged(range: Option<&str>, bytes: &[u8]) -> Reply {
    let whole = || Reply::new(200).header("Accept-Ranges", "bytes").body(bytes);
    let Some((from, to)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return whole();
    };
    let last = bytes.len().saturating_sub(1);
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, to.min(last)),
        (Ok(from), Err(_)) => (from, last),
        (Err(_), Ok(suffix)) => (bytes.len().saturating_sub(suffix), last),
        _ => return whole(),
    };
    if from >= bytes.len() || from > to {
        return Reply::new(416).header("Content-Range", format!("bytes */{}", bytes.len()));
    }
    let place = format!("bytes {from}-{to}/{}", bytes.len());
    Reply::new(206).header("Content-Range", place).body(&bytes[from..=to])
}
