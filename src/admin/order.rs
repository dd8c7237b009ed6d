//! What an operator may order: one value for the admin endpoint, for commands that ask it, and for those that do it themselves.
//! [`ROUTES`] is the table of the API; a test holds its document to it.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Refusal;
use crate::maintenance::repositories::{Image, Place};
use crate::oci::{Digest, RepositoryName};

/// Where the API begins.
pub const API: &str = "/api/v1";
/// Uploads of one order to cancel.
pub const MAX_CANCELLED: usize = 1000;
/// Of a reason, in characters: it is repeated in each refusal.
pub const MAX_REASON: usize = 500;

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Status,
    Uploads,
    CancelUploads(CancelUploads),
    Maintenance,
    SetMaintenance(SetMaintenance),
    Tag(Copying),
    Untag(Named),
    Remove(Removing),
    Copy(Copying),
    RemoveRepository(RemovingRepository),
    Gc,
    GcRun(GcRun),
    GcUndelete(Undelete),
    GcPause,
    GcResume,
    Retention(RetentionRun),
    Quota,
    QuotaRecount,
    Verify(Verifying),
    Stats,
    Upgrade(Upgrading),
}

/// Uploads to be given up, by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelUploads {
    pub ids: Vec<String>,
    /// Those of another program too.
    #[serde(default)]
    pub foreign: bool,
}

/// Whether writes are refused for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMaintenance {
    pub on: bool,
    /// For those whose writes are refused.
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copying {
    pub source: Place,
    pub target: Place,
    /// Of a whole repository: a pattern on its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// What is about an image (signatures, attestations) comes along.
    #[serde(default = "yes")]
    pub referrers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub image: Image,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removing {
    pub image: Image,
    /// By a tag: other tags of the same manifest go as well.
    #[serde(default)]
    pub all_tags: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovingRepository {
    #[serde(with = "as_text")]
    pub repository: RepositoryName,
    /// Otherwise it is only said what would go.
    #[serde(default)]
    pub yes: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcRun {
    /// Only says what would go.
    pub dry: bool,
    /// Deletes at once what is old enough: no quarantine, no trash.
    pub now: bool,
    /// For this run: manifests that nothing leads to go when nobody has pulled them for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<String>,
    /// Though other programs write into the same storage.
    pub careful: bool,
    /// Though there are blobs and no repositories.
    pub empty: bool,
}

/// What is to come back, one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Undelete {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", with = "as_text_if_any")]
    pub repository: Option<RepositoryName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionRun {
    /// Only says what would go.
    pub dry: bool,
    /// Acts also by policies that have not been shown yet.
    pub yes: bool,
    /// Though a repository would lose more of its tags than is usual.
    pub force: bool,
    /// A pattern on the names of repositories that are looked at; left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<String>,
    /// Tells of tags that stay, too.
    pub kept: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verifying {
    /// Which part of all blobs is read, such as `5%`; left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// A registry's URL, a folder, or `trash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair_from: Option<String>,
}

/// Another process takes this one's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrading {
    /// The program; left out: the file that this process was started from, as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

/// One route of the API.
pub struct Route {
    pub method: &'static str,
    /// Below [`API`].
    pub path: &'static str,
    /// Answered line by line, as it is done; otherwise at once.
    pub steps: bool,
    /// What its body orders.
    pub read: fn(&[u8]) -> Result<Order, Refusal>,
}

const fn told(path: &'static str, read: fn(&[u8]) -> Result<Order, Refusal>) -> Route {
    Route { method: "GET", path, steps: false, read }
}

const fn done(path: &'static str, read: fn(&[u8]) -> Result<Order, Refusal>) -> Route {
    Route { method: "POST", path, steps: false, read }
}

const fn done_in_steps(path: &'static str, read: fn(&[u8]) -> Result<Order, Refusal>) -> Route {
    Route { method: "POST", path, steps: true, read }
}

/// All of them.
pub const ROUTES: [Route; 21] = [
    told("/status", |_| Ok(Order::Status)),
    told("/uploads", |_| Ok(Order::Uploads)),
    done("/uploads/cancel", |body| read(body).map(Order::CancelUploads)),
    told("/maintenance", |_| Ok(Order::Maintenance)),
    done("/maintenance", |body| read(body).map(Order::SetMaintenance)),
    done("/tag", |body| read(body).map(Order::Tag)),
    done("/untag", |body| read(body).map(Order::Untag)),
    done("/rm", |body| read(body).map(Order::Remove)),
    done_in_steps("/cp", |body| read(body).map(Order::Copy)),
    done_in_steps("/repositories/rm", |body| read(body).map(Order::RemoveRepository)),
    told("/gc", |_| Ok(Order::Gc)),
    done_in_steps("/gc/run", |body| read(body).map(Order::GcRun)),
    done_in_steps("/gc/undelete", |body| read(body).map(Order::GcUndelete)),
    done("/gc/pause", |body| nothing(body, Order::GcPause)),
    done("/gc/resume", |body| nothing(body, Order::GcResume)),
    done_in_steps("/retention/run", |body| read(body).map(Order::Retention)),
    told("/quota", |_| Ok(Order::Quota)),
    done_in_steps("/quota/recount", |body| nothing(body, Order::QuotaRecount)),
    done_in_steps("/verify", |body| read(body).map(Order::Verify)),
    done_in_steps("/stats", |body| nothing(body, Order::Stats)),
    done("/upgrade", |body| read(body).map(Order::Upgrade)),
];

/// How an order is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: &'static str,
    /// With [`API`].
    pub path: String,
    pub body: Option<Value>,
    pub steps: bool,
}

/// Whose right an order needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// That of who administers everything.
    Everything,
    /// That of who administers each of these.
    Repositories(Vec<RepositoryName>),
}

impl Order {
    pub fn call(&self) -> Call {
        let (method, path, body) = match self {
            Order::Status => ("GET", "/status", None),
            Order::Uploads => ("GET", "/uploads", None),
            Order::CancelUploads(order) => ("POST", "/uploads/cancel", Some(json(order))),
            Order::Maintenance => ("GET", "/maintenance", None),
            Order::SetMaintenance(order) => ("POST", "/maintenance", Some(json(order))),
            Order::Tag(order) => ("POST", "/tag", Some(json(order))),
            Order::Untag(order) => ("POST", "/untag", Some(json(order))),
            Order::Remove(order) => ("POST", "/rm", Some(json(order))),
            Order::Copy(order) => ("POST", "/cp", Some(json(order))),
            Order::RemoveRepository(order) => ("POST", "/repositories/rm", Some(json(order))),
            Order::Gc => ("GET", "/gc", None),
            Order::GcRun(order) => ("POST", "/gc/run", Some(json(order))),
            Order::GcUndelete(order) => ("POST", "/gc/undelete", Some(json(order))),
            Order::GcPause => ("POST", "/gc/pause", None),
            Order::GcResume => ("POST", "/gc/resume", None),
            Order::Retention(order) => ("POST", "/retention/run", Some(json(order))),
            Order::Quota => ("GET", "/quota", None),
            Order::QuotaRecount => ("POST", "/quota/recount", None),
            Order::Verify(order) => ("POST", "/verify", Some(json(order))),
            Order::Stats => ("POST", "/stats", None),
            Order::Upgrade(order) => ("POST", "/upgrade", Some(json(order))),
        };
        let steps = ROUTES.iter().any(|route| route.method == method && route.path == path && route.steps);
        Call { method, path: format!("{API}{path}"), body, steps }
    }

    pub fn needs(&self) -> Needs {
        Needs::Repositories(match self {
            Order::Tag(order) | Order::Copy(order) => vec![order.source.name().clone(), order.target.name().clone()],
            Order::Untag(order) => vec![order.image.name.clone()],
            Order::Remove(order) => vec![order.image.name.clone()],
            Order::RemoveRepository(order) => vec![order.repository.clone()],
            Order::GcUndelete(Undelete { run: None, repository: Some(name), digest: None }) => vec![name.clone()],
            _ => return Needs::Everything,
        })
    }

    /// Why it is not taken by whoever has not come through the socket, whatever they may: a program to be started is named by who
    /// could start it anyway.
    pub fn only_at_socket(&self) -> Option<&'static str> {
        let what = "an upgrade is ordered at the socket of the admin endpoint, which only the user who serves may open: set `unix` in \
                    [admin], or send the process SIGUSR2";
        matches!(self, Order::Upgrade(_)).then_some(what)
    }

    /// What the audit calls it, if it changes anything.
    pub fn action(&self) -> Option<&'static str> {
        Some(match self {
            Order::Status | Order::Uploads | Order::Maintenance | Order::Gc | Order::Quota | Order::Stats => {
                return None;
            }
            Order::CancelUploads(_) => "uploads_cancelled",
            Order::SetMaintenance(SetMaintenance { on: true, .. }) => "maintenance_on",
            Order::SetMaintenance(_) => "maintenance_off",
            Order::Tag(_) => "tag_set",
            Order::Untag(_) => "tag_removed",
            Order::Remove(_) => "manifest_removed",
            Order::Copy(_) => "copied",
            Order::RemoveRepository(order) if !order.yes => return None,
            Order::RemoveRepository(_) => "repository_removed",
            Order::GcRun(order) if order.dry => return None,
            Order::GcRun(_) => "gc_run",
            Order::GcUndelete(_) => "gc_undelete",
            Order::GcPause => "gc_paused",
            Order::GcResume => "gc_resumed",
            Order::Retention(order) if order.dry => return None,
            Order::Retention(_) => "retention_run",
            Order::QuotaRecount => "quota_recounted",
            Order::Verify(order) if order.repair_from.is_none() => return None,
            Order::Verify(_) => "repaired",
            Order::Upgrade(_) => "upgrade",
        })
    }
}

fn json(order: &impl Serialize) -> Value {
    serde_json::to_value(order).unwrap_or_default()
}

/// An empty body says as much as `{}`.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let useless = |error: serde_json::Error| {
        Refusal::new(hyper::StatusCode::BAD_REQUEST, "UNSUPPORTED", format!("the body is no such order: {error}"))
    };
    // By the names of its fields only: an array would be taken as their values in order.
    let fields: serde_json::Map<String, Value> = serde_json::from_slice(body).map_err(useless)?;
    serde_json::from_value(Value::Object(fields)).map_err(useless)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn nothing(body: &[u8], order: Order) -> Result<Order, Refusal> {
    read::<Nothing>(body).map(|_| order)
}

/// A value as its text.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

mod as_text_if_any {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of each, with something in every field.
    pub fn orders() -> Vec<Order> {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let image = |text: &str| text.parse::<Image>().unwrap();
        let copying = || Copying {
            source: place("dev/app:1"),
            target: place("prod/app:1"),
            tags: Some("v*".into()),
            referrers: false,
        };
        vec![
            Order::Status,
            Order::Uploads,
            Order::CancelUploads(CancelUploads { ids: vec!["x".into()], foreign: true }),
            Order::Maintenance,
            Order::SetMaintenance(SetMaintenance { on: true, reason: "a move".into() }),
            Order::Tag(copying()),
            Order::Untag(Named { image: image("a:1") }),
            Order::Remove(Removing { image: image("a:1"), all_tags: true }),
            Order::Copy(copying()),
            Order::RemoveRepository(RemovingRepository { repository: "a/b".parse().unwrap(), yes: true }),
            Order::Gc,
            Order::GcRun(GcRun { dry: true, now: true, untagged: Some("0s".into()), careful: true, empty: true }),
            Order::GcUndelete(Undelete { repository: Some("a/b".parse().unwrap()), ..Undelete::default() }),
            Order::GcPause,
            Order::GcResume,
            Order::Retention(RetentionRun {
                dry: true,
                yes: true,
                force: true,
                repositories: Some("dev/**".into()),
                kept: true,
            }),
            Order::Quota,
            Order::QuotaRecount,
            Order::Verify(Verifying { sample: Some("5%".into()), repair_from: Some("trash".into()) }),
            Order::Stats,
            Order::Upgrade(Upgrading { binary: Some("/usr/bin/entrepot".into()) }),
        ]
    }

    #[test]
    fn every_order_is_read_as_it_was_sent() {
        let orders = orders();
        for (order, route) in orders.iter().zip(&ROUTES) {
            let Call { method, path, body, steps } = order.call();
            assert_eq!((method, path.as_str(), steps), (route.method, &*format!("{API}{}", route.path), route.steps));
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            assert_eq!((route.read)(body.as_bytes()).unwrap(), *order);
            if route.method == "POST" {
                assert!((route.read)(br#"{"unheard_of":1}"#).is_err(), "{path}");
                assert!((route.read)(b"<html>").is_err(), "{path}");
            }
        }
        assert_eq!(orders.len(), ROUTES.len());
    }

    #[test]
    fn who_administers_a_repository_may_order_what_is_about_it() {
        let needs = |order: &Order| match order.needs() {
            Needs::Everything => String::new(),
            Needs::Repositories(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        let told: Vec<String> = orders().iter().map(needs).filter(|names| !names.is_empty()).collect();
        assert_eq!(told, ["dev/app prod/app", "a", "a", "dev/app prod/app", "a/b", "a/b"]);
        let run = Undelete { run: Some("x".into()), repository: Some("a".parse().unwrap()), digest: None };
        assert_eq!(Order::GcUndelete(run).needs(), Needs::Everything);
    }
}
