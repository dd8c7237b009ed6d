//! What is said of one deed, and its line of JSON. What is not known is left out. Every field is bounded and escaped, so that
//! nothing that a client sends makes a line, or a field, of its own.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::Actor;
use crate::auth::{Refused, Why};
use crate::events::{MountedFrom, What};
use crate::oci::action::UploadStart;
use crate::oci::{Action, Resource};
use crate::telemetry::RequestId;
use crate::telemetry::clock::push_rfc3339;
use crate::telemetry::escape::push_json;

/// Bytes of a text from outside that a line repeats, such as a client's `User-Agent`.
const MAX_TEXT: usize = 256;
/// Groups of one actor that a line names.
const MAX_GROUPS: usize = 32;

/// Who does something and how they came: the same for all lines of one request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `X-Request-Id`.
    pub id: RequestId,
    pub actor: Actor,
    pub client: Option<Client>,
    /// As the client asked for it; empty if it named none.
    pub host: String,
    pub began: Instant,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub ip: IpAddr,
    /// The proxy of ours that it came through.
    pub forwarded: Option<IpAddr>,
    pub user_agent: Option<Vec<u8>>,
    pub tls: Option<&'static str>,
}

/// What was done, or asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    pub action: &'static str,
    pub repository: Option<String>,
    /// Tag or digest, as it was asked for.
    pub reference: Option<String>,
    pub digest: Option<String>,
    /// What the tag led to before.
    pub old: Option<String>,
    /// Where a mounted blob was.
    pub from: Option<String>,
    pub bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not done yet: another line follows, or the process has ended.
    Begun,
    Ok,
    Denied,
    Failed,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Ending {
    pub outcome: Outcome,
    /// Of the answer; `None`: there is none yet, or the client has left.
    pub status: Option<u16>,
    /// Which rule decided, or why not.
    pub reason: Option<String>,
}

/// Lines that are recorded together.
#[derive(Debug, Default)]
pub struct Lines {
    pub bytes: Vec<u8>,
    pub count: u64,
}

impl Origin {
    /// Whoever runs this process or a command: there is no request.
    pub fn operator(name: Option<String>) -> Self {
        let actor = Actor { kind: "operator", name, proof: "none", ..Actor::default() };
        Origin { id: RequestId::new(), actor, client: None, host: String::new(), began: Instant::now() }
    }
}

impl Outcome {
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Begun => "begun",
            Outcome::Ok => "ok",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }

    pub fn of(status: u16) -> Self {
        match status {
            401 | 403 => Outcome::Denied,
            200..=399 => Outcome::Ok,
            _ => Outcome::Failed,
        }
    }
}

impl Deed {
    /// What a request asks for.
    pub fn asked(action: &Action) -> Self {
        let (reference, digest) = match &action.resource {
            Resource::Manifest { reference, .. } => (Some(reference.to_string()), None),
            Resource::Blob { digest, .. } | Resource::Referrers { digest, .. } => (None, Some(digest.to_string())),
            Resource::Upload { digest, .. } => (None, digest.as_ref().map(ToString::to_string)),
            Resource::UploadStart { start: UploadStart { mount: Some(mount), .. }, .. } => {
                (None, Some(mount.digest.to_string()))
            }
            Resource::UploadStart { start, .. } => (None, start.digest.as_ref().map(ToString::to_string)),
            Resource::Base | Resource::Catalog { .. } | Resource::Tags { .. } | Resource::Outside => (None, None),
        };
        let repository = action.resource.repository().map(ToString::to_string);
        Deed { action: word(action), repository, reference, digest, ..Deed::default() }
    }

    /// What a request has done.
    pub fn done(repository: &str, what: &What) -> Self {
        let deed = Deed { action: what.name(), repository: Some(repository.to_owned()), ..Deed::default() };
        match what {
            What::BlobLinked { digest, size, mounted } => {
                let from = mounted.as_ref().map(|mounted| match mounted {
                    MountedFrom::Repository(from) => from.to_string(),
                    MountedFrom::Anywhere => "*".to_owned(),
                });
                Deed { digest: Some(digest.to_string()), bytes: Some(*size), from, ..deed }
            }
            What::BlobUnlinked { digest } | What::ManifestDeleted { digest } => {
                Deed { digest: Some(digest.to_string()), ..deed }
            }
            What::ManifestPushed { digest, size, .. } => {
                Deed { digest: Some(digest.to_string()), bytes: Some(*size), ..deed }
            }
            What::TagMoved { tag, old, new } => {
                let old = old.as_ref().map(ToString::to_string);
                Deed { reference: Some(tag.to_string()), digest: Some(new.to_string()), old, ..deed }
            }
            What::TagDeleted { tag, old } => {
                Deed { reference: Some(tag.to_string()), old: old.as_ref().map(ToString::to_string), ..deed }
            }
        }
    }
}

/// What a request asks for, as a word.
fn word(action: &Action) -> &'static str {
    use http::Method;
    let reads = matches!(action.method, Method::GET | Method::HEAD);
    match &action.resource {
        Resource::Base => "login",
        Resource::Catalog { .. } => "catalog",
        Resource::Tags { .. } => "tags",
        Resource::Referrers { .. } => "referrers",
        Resource::Manifest { .. } if reads => "manifest_pull",
        Resource::Manifest { .. } if action.method == Method::DELETE => "manifest_delete",
        Resource::Manifest { .. } => "manifest_push",
        Resource::Blob { .. } if reads => "blob_pull",
        Resource::Blob { .. } => "blob_delete",
        Resource::UploadStart { start: UploadStart { mount: Some(_), .. }, .. } => "blob_mount",
        Resource::UploadStart { .. } | Resource::Upload { .. } => "blob_push",
        Resource::Outside => "other",
    }
}

/// Whether a request may change what a repository holds. What it sends to an upload is nothing yet.
pub fn changes(action: &Action) -> bool {
    use http::Method;
    match &action.resource {
        Resource::Manifest { .. } | Resource::Blob { .. } => action.is_write(),
        Resource::Upload { .. } => action.method == Method::PUT,
        Resource::UploadStart { start, .. } => action.is_write() && (start.mount.is_some() || start.digest.is_some()),
        Resource::Base
        | Resource::Catalog { .. }
        | Resource::Tags { .. }
        | Resource::Referrers { .. }
        | Resource::Outside => false,
    }
}

/// What has decided, by the name that the configuration has for it.
pub fn reason(decided: Result<Why, Refused>) -> String {
    match decided {
        Ok(Why::Rule(number)) => format!("auth.rule.{number} allow"),
        Ok(Why::Robot) => "robot".into(),
        // Nobody's rules: everything may be done.
        Ok(Why::Nothing) => "open".into(),
        Err(Refused::Rules(Why::Rule(number))) => format!("auth.rule.{number} deny"),
        Err(Refused::Rules(Why::Robot | Why::Nothing)) => "nothing".into(),
        Err(Refused::Token) => "token".into(),
    }
}

impl Lines {
    pub fn push(&mut self, origin: &Origin, deed: &Deed, ending: &Ending) {
        self.push_at(SystemTime::now(), origin.began.elapsed(), (origin, deed, ending));
    }

    pub(super) fn push_at(
        &mut self,
        time: SystemTime,
        took: Duration,
        (origin, deed, ending): (&Origin, &Deed, &Ending),
    ) {
        let out = &mut self.bytes;
        out.extend_from_slice(b"{\"ts\":\"");
        push_rfc3339(out, time);
        out.push(b'"');
        push_text(out, "id", Some(origin.id.as_str().as_bytes()));
        push_actor(out, &origin.actor);
        if let Some(client) = &origin.client {
            push_client(out, client);
        }
        push_text(out, "host", Some(origin.host.as_bytes()).filter(|host| !host.is_empty()));
        push_text(out, "action", Some(deed.action.as_bytes()));
        for (key, value) in [
            ("repository", &deed.repository),
            ("reference", &deed.reference),
            ("digest", &deed.digest),
            ("old", &deed.old),
            ("from", &deed.from),
        ] {
            push_text(out, key, value.as_deref().map(str::as_bytes));
        }
        push_number(out, "bytes", deed.bytes);
        push_text(out, "result", Some(ending.outcome.word().as_bytes()));
        push_number(out, "status", ending.status.map(u64::from));
        push_text(out, "reason", ending.reason.as_deref().map(str::as_bytes));
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        out.extend_from_slice(format!(",\"duration_ms\":{}.{:03}}}\n", micros / 1000, micros % 1000).as_bytes());
        self.count += 1;
    }
}

fn push_actor(out: &mut Vec<u8>, actor: &Actor) {
    out.extend_from_slice(b",\"actor\":{\"kind\":");
    push_json(out, actor.kind.as_bytes());
    for (key, value) in [("name", &actor.name), ("token", &actor.token), ("secret", &actor.secret)] {
        push_text(out, key, value.as_deref().map(str::as_bytes));
    }
    if !actor.groups.is_empty() {
        out.extend_from_slice(b",\"groups\":[");
        for (index, group) in actor.groups.iter().take(MAX_GROUPS).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_json(out, shortened(group.as_bytes()));
        }
        out.push(b']');
    }
    push_text(out, "proof", Some(actor.proof.as_bytes()));
    out.push(b'}');
}

fn push_client(out: &mut Vec<u8>, client: &Client) {
    out.extend_from_slice(format!(",\"client\":{{\"ip\":\"{}\"", client.ip).as_bytes());
    push_text(out, "forwarded", client.forwarded.map(|address| address.to_string()).as_deref().map(str::as_bytes));
    push_text(out, "user_agent", client.user_agent.as_deref());
    push_text(out, "tls", client.tls.map(str::as_bytes));
    out.push(b'}');
}

fn push_text(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(format!(",\"{key}\":").as_bytes());
        push_json(out, shortened(value));
    }
}

fn push_number(out: &mut Vec<u8>, key: &str, value: Option<u64>) {
    if let Some(value) = value {
        out.extend_from_slice(format!(",\"{key}\":{value}").as_bytes());
    }
}

/// A character that is cut in two becomes one that says so.
fn shortened(text: &[u8]) -> &[u8] {
    text.get(..MAX_TEXT).unwrap_or(text)
}
