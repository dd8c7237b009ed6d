//! Answers for all rooms on the admin address.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;
use futures::future::FutureExt as _;
use futures::stream::BoxStream;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts};
use serde_json::{Value, json};

use super::integrated::Integrated;
use super::jobs::Jobs;
use super::ledger::InAudit;
use super::maintenance::By;
use super::presence::{Presence, Present};
use super::rooms::Rooms;
use super::{Failure, operators, told};
use crate::admin::{Admin, AdminState, Asker, Config, Done, Operator, Order, Readiness, Refusal, WarmOrder};
use crate::audit::{Audit, Deed, Ending, Outcome, reason};
use crate::auth::{Authenticator, Refused, Unproven};
use crate::cache::BlobCache;
use crate::events::{Change, Listener};
use crate::fleet::FleetSecret;
use crate::front::Front;
use crate::oci::Digest;

/// What is asked on the admin address.
pub struct Status {
    front: Arc<Front>,
    cache: Arc<BlobCache>,
    registry: Arc<Integrated>,
    secret: Arc<FleetSecret>,
    audit: Arc<Audit>,
    authenticator: Arc<Authenticator>,
    draining: AtomicBool,
    reloads: IntCounterVec,
    /// What this instance says of itself; once a registry is open, to the others too.
    presence: OnceLock<Presence>,
    present: Mutex<Option<Present>>,
    jobs: OnceLock<Arc<Jobs>>,
}

impl Status {
    pub fn new(rooms: &Rooms) -> prometheus::Result<Self> {
        let options = Opts::new("entrepot_config_reloads_total", "Reloads of the configuration on SIGHUP, by result.");
        let reloads = IntCounterVec::new(options, &["result"])?;
        for result in ["ok", "refused"] {
            reloads.with_label_values(&[result]);
        }
        rooms.registry.register(Box::new(reloads.clone()))?;
        Ok(Status {
            front: rooms.front.clone(),
            cache: rooms.cache.clone(),
            registry: rooms.integrated.clone(),
            secret: rooms.secret.clone(),
            audit: rooms.audit.clone(),
            authenticator: rooms.authenticator.clone(),
            draining: AtomicBool::new(false),
            reloads,
            presence: OnceLock::new(),
            present: Mutex::new(None),
            jobs: OnceLock::new(),
        })
    }

    /// This instance serves at these addresses, and does that by itself.
    pub fn serves(&self, presence: Presence, jobs: Arc<Jobs>) {
        let _ = self.presence.set(presence);
        let _ = self.jobs.set(jobs);
        self.registry_may_be_open();
    }

    /// After a reload too: then a route may have named the registry.
    pub fn registry_may_be_open(&self) {
        let (Some(presence), Some(registry)) = (self.presence.get(), self.registry.get()) else { return };
        self.present.lock().get_or_insert_with(|| Present::begin(registry, presence.clone()));
    }

    /// The others are told that this instance serves no more.
    pub async fn leave(&self) {
        let present = self.present.lock().take();
        if let Some(present) = present {
            present.leave().await;
        }
    }

    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn reloaded(&self, good: bool) {
        self.reloads.with_label_values(&[if good { "ok" } else { "refused" }]).inc();
    }
}

/// Where reads go to a cluster, what was remembered of its answers is old when an operator has changed something.
struct Forgetting(Arc<Front>);

impl Listener for Forgetting {
    fn changed(&self, change: &Change) {
        self.0.repository_changed(&change.repository);
    }
}

impl Status {
    /// `GET /api/v1/status`: this instance, and the registry with all that serve from it.
    async fn told_whole(&self) -> Value {
        let mut told = self.status();
        let readiness = self.ready();
        told["ready"] = json!(readiness.is_ready());
        told["reasons"] = json!(readiness.reasons);
        told["instance"] = self.presence.get().map_or(Value::Null, Presence::told);
        if let Some(present) = self.present.lock().as_ref() {
            told["instance"]["id"] = json!(present.id());
        }
        let site = self.front.site();
        told["remotes"] = site
            .table
            .mirrors()
            .map(|mirror| {
                json!({
                    "remote": mirror.remote().name(),
                    "registry": mirror.remote().config().registry.to_string(),
                })
            })
            .collect();
        told["login"] = json!(site.policy.is_some());
        told["jobs"] = self.jobs.get().map_or(Value::Null, |jobs| jobs.told(SystemTime::now()));
        if let Some(works) = self.registry.works()
            && let Value::Object(of_registry) = works.status().await
        {
            for (key, value) in of_registry {
                told[key] = value;
            }
        }
        told
    }
}

#[async_trait]
impl AdminState for Status {
    fn ready(&self) -> Readiness {
        // Peers that are down are no reason to take an edge cache away: it goes on serving what it holds. /status and
        // the metrics tell of them.
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Acquire) {
            reasons.push("draining".to_owned());
        }
        // Without its storage a registry answers nothing; one that only takes the writes of others' reads may stay.
        let site = self.front.site();
        if let Some(trouble) = site.table.registry_read().and_then(|registry| registry.trouble()) {
            reasons.push(format!("registry: {trouble}"));
        }
        // What will not get better by itself is said even so.
        if let Some(trouble) = site.table.registry_write().and_then(|registry| registry.write_trouble()) {
            reasons.push(format!("registry, writes: {trouble}"));
        }
        Readiness { reasons }
    }

    async fn identify(&self, asker: &Asker<'_>) -> Result<Operator, Unproven> {
        operators::identify(&self.front.site(), &self.authenticator, &self.audit, asker).await
    }

    fn refused(&self, operator: &Operator, refused: Refused, what: &str) {
        self.authenticator.denied(refused, operator.permit.identity().is_anonymous());
        let deed = Deed { action: "admin", reference: Some(what.to_owned()), ..Deed::default() };
        let ending = Ending { outcome: Outcome::Denied, status: Some(403), reason: Some(reason(Err(refused))) };
        self.audit.refused(&operator.origin, &deed, &ending);
    }

    async fn perform(&self, order: Order, operator: &Operator) -> Result<Done, Refusal> {
        if order == Order::Status {
            return Ok(Done::Told(self.told_whole().await));
        }
        let Some(works) = self.registry.works() else {
            let message = "no route of this instance leads to the registry: there is nothing to look after";
            return Err(Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message));
        };
        let ledger = Arc::new(InAudit { audit: self.audit.clone(), origin: operator.origin.clone() });
        let listener = Arc::new(Forgetting(self.front.clone()));
        let by = By { name: operators::name(operator), ledger, listener: Some(listener) };
        works.perform(order, by).await
    }

    async fn purge(&self, digest: &Digest, operator: &Operator) -> bool {
        let was_there = self.cache.purge(digest).await;
        let deed = Deed { action: "cache_purge", digest: Some(digest.to_string()), ..Deed::default() };
        let reason = if was_there { None } else { Some("it was not there".to_owned()) };
        self.audit.note(&operator.origin, &deed, &Ending { outcome: Outcome::Ok, status: None, reason });
        was_there
    }

    async fn mirror_status(&self, remote: Option<&str>, limit: usize) -> Result<Value, Refusal> {
        told::status(&self.front.site(), remote, limit).boxed().await
    }

    async fn explain(&self, image: &str) -> Result<Value, Refusal> {
        told::explain(&self.front.site(), image).boxed().await
    }

    fn warm(&self, order: WarmOrder, operator: &Operator) -> Result<BoxStream<'static, Value>, Refusal> {
        let images = order.images.len();
        let begun = told::begin(&self.front.site(), order);
        let deed = Deed { action: "mirror_warm", reference: Some(format!("{images} images")), ..Deed::default() };
        let reason = begun.as_ref().err().map(|refusal| refusal.message.clone());
        let outcome = if begun.is_ok() { Outcome::Ok } else { Outcome::Failed };
        self.audit.note(&operator.origin, &deed, &Ending { outcome, status: None, reason });
        begun
    }

    fn status(&self) -> Value {
        let site = self.front.site();
        let clusters = site.table.clusters().map(|cluster| {
            let peers: Vec<_> = cluster
                .snapshot()
                .into_iter()
                .map(|peer| {
                    json!({
                        "id": peer.id.to_string(),
                        "address": peer.authority,
                        "healthy": peer.healthy,
                        "in_flight": peer.in_flight,
                    })
                })
                .collect();
            (cluster.name().to_owned(), json!({ "available": cluster.available(), "peers": peers }))
        });
        let clusters: serde_json::Map<_, _> = clusters.collect();
        // Null while no route has named it.
        let registry = self
            .registry
            .get()
            .map(|registry| json!({ "trouble": registry.trouble(), "write_trouble": registry.write_trouble(), "disk": registry.disk_level().word() }));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.draining.load(Ordering::Acquire),
            "clusters": clusters,
            "fleet": { "secret": if self.secret.is_present() { "present" } else { "absent" } },
            "registry": registry,
        })
    }
}

/// Opens the admin address, and says which it is.
pub async fn start(config: &Config, status: &Arc<Status>, rooms: &Rooms) -> Result<SocketAddr, Failure> {
    let admin = Admin::bind(config).await.map_err(|error| format!("admin {}: {error}", config.address))?;
    let address = admin.address();
    tracing::info!(%address, "admin listening");
    let (state, registry) = (status.clone(), rooms.registry.clone());
    tokio::spawn(async move { admin.serve(state, registry).await });
    Ok(address)
}
