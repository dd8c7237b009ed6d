//! Answers for all rooms on the admin address.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;
use futures::future::FutureExt as _;
use futures::stream::BoxStream;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::integrated::Integrated;
use super::jobs::Jobs;
use super::ledger::InAudit;
use super::maintenance::By;
use super::presence::{Presence, Present};
use super::rooms::Rooms;
use super::upgrade::{self, Asked, Heirloom};
use super::{Failure, operators, told};
use crate::acme::Acme;
use crate::admin::{Admin, AdminState, Asker, Config, Done, Operator, Order, Readiness, Refusal, WarmOrder};
use crate::audit::{Audit, Deed, Ending, Outcome, reason};
use crate::auth::{Authenticator, Refused, Unproven};
use crate::cache::BlobCache;
use crate::events::{Change, Listener};
use crate::fleet::FleetSecret;
use crate::front::Front;
use crate::oci::Digest;
use crate::sockets::{Address, Inherited, Role, Socket, Told};

/// What is asked on the admin address.
pub struct Status {
    front: Arc<Front>,
    cache: Arc<BlobCache>,
    registry: Arc<Integrated>,
    secret: Arc<FleetSecret>,
    audit: Arc<Audit>,
    authenticator: Arc<Authenticator>,
    acme: Arc<Acme>,
    draining: AtomicBool,
    reloads: IntCounterVec,
    upgrades: IntCounterVec,
    /// Where upgrades are ordered.
    successors: mpsc::Sender<Asked>,
    /// How the last one ended: this process began by it, or goes on though one was tried.
    last_upgrade: Mutex<Option<Value>>,
    /// What this instance says of itself; once a registry is open, to the others too.
    presence: OnceLock<Presence>,
    present: Mutex<Option<Present>>,
    jobs: OnceLock<Arc<Jobs>>,
}

impl Status {
    pub fn new(rooms: &Rooms, successors: mpsc::Sender<Asked>) -> prometheus::Result<Self> {
        let options = Opts::new("entrepot_config_reloads_total", "Reloads of the configuration on SIGHUP, by result.");
        let reloads = IntCounterVec::new(options, &["result"])?;
        for result in ["ok", "refused"] {
            reloads.with_label_values(&[result]);
        }
        rooms.registry.register(Box::new(reloads.clone()))?;
        let options = Opts::new(
            "entrepot_upgrades_total",
            "Upgrades: this process took another's place, or one that was to take its.",
        );
        let upgrades = IntCounterVec::new(options, &["result"])?;
        for result in ["ok", "refused"] {
            upgrades.with_label_values(&[result]);
        }
        rooms.registry.register(Box::new(upgrades.clone()))?;
        Ok(Status {
            front: rooms.front.clone(),
            cache: rooms.cache.clone(),
            registry: rooms.integrated.clone(),
            secret: rooms.secret.clone(),
            audit: rooms.audit.clone(),
            authenticator: rooms.authenticator.clone(),
            acme: rooms.acme.clone(),
            draining: AtomicBool::new(false),
            reloads,
            upgrades,
            successors,
            last_upgrade: Mutex::new(None),
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

    /// This process took another's place, or goes on, and why.
    pub fn upgraded(&self, outcome: Result<(), &str>) {
        self.upgrades.with_label_values(&[if outcome.is_ok() { "ok" } else { "refused" }]).inc();
        let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        *self.last_upgrade.lock() = Some(json!({ "at": at, "refused": outcome.err() }));
    }

    pub fn reloaded(&self, good: bool) {
        self.reloads.with_label_values(&[if good { "ok" } else { "refused" }]).inc();
    }
}

impl Status {
    async fn succeeded_by(&self, binary: Option<std::path::PathBuf>, operator: &Operator) -> Result<Done, Refusal> {
        let reference = binary.as_ref().map(|binary| binary.display().to_string());
        match upgrade::ask(&self.successors, binary, operator.origin.clone()).await {
            Ok(outcome) => outcome.map(Done::Told),
            Err(refusal) => {
                let ending = Ending { outcome: Outcome::Failed, status: None, reason: Some(refusal.message.clone()) };
                self.audit.note(&operator.origin, &Deed { action: "upgrade", reference, ..Deed::default() }, &ending);
                Err(refusal)
            }
        }
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
        told["upgrade"] = self.last_upgrade.lock().clone().unwrap_or_default();
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
        if let Order::Upgrade(order) = order {
            return self.succeeded_by(order.binary, operator).await;
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
            "certificates": self.acme.told(),
        })
    }
}

/// The admin endpoint, open.
pub struct Door {
    admin: Arc<Admin>,
    configured: Config,
    status: Arc<Status>,
    registry: Registry,
    serving: Option<AbortOnDropHandle<Infallible>>,
}

impl Door {
    /// Opens the address and the socket; nothing is answered yet. What listens already is taken from there.
    pub fn open(
        config: &Config,
        status: &Arc<Status>,
        rooms: &Rooms,
        inherited: &mut Inherited,
    ) -> Result<Self, Failure> {
        let name = |address: &Address| if address.tcp().is_some() { ADMIN } else { ADMIN_SOCKET };
        let mut take = |address: &Address| inherited.take(Role::Admin, address, Some(name(address)));
        let admin = Admin::at(config, &mut take).map_err(|error| format!("admin {}: {error}", config.address))?;
        let (admin, configured) = (Arc::new(admin), config.clone());
        Ok(Door { admin, configured, status: status.clone(), registry: rooms.registry.clone(), serving: None })
    }

    pub fn address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Answers from now on.
    pub fn serve(&mut self) {
        tracing::info!(address = %self.address(), "admin listening");
        self.admin.sockets().for_each(|socket| socket.own_file(true));
        let (state, registry) = (self.status.clone(), self.registry.clone());
        self.serving = Some(AbortOnDropHandle::new(tokio::spawn(self.admin.clone().serve(state, registry))));
    }

    /// Accepts nothing, until [`Self::serve`]: what comes waits.
    pub async fn pause(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// What a successor gets.
    pub fn heirlooms(&self) -> Vec<Heirloom> {
        let configured = |socket: &Socket| match (socket.local().path(), &self.configured.unix) {
            (Some(_), Some(path)) => Address::Unix(path.clone()),
            _ => self.configured.address.into(),
        };
        let told = |socket: &Arc<Socket>| (socket.clone(), upgrade::told(Role::Admin, configured(socket), socket));
        self.admin.sockets().map(told).collect()
    }

    /// Another process answers at the sockets, but at those that are `left`, which go with us.
    pub fn give_away(&self, left: &[Told]) {
        let kept = |told: &Told| left.iter().any(|left| left.role == told.role && left.address == told.address);
        self.heirlooms().iter().filter(|(_, told)| !kept(told)).for_each(|(socket, _)| socket.own_file(false));
    }

    /// Closes the sockets; what is waited for is that what was asked is answered, for a while.
    pub fn close(self) -> impl Future<Output = ()> + Send + use<> {
        self.admin.answered()
    }
}

/// What a service manager may call the sockets of the admin endpoint.
const ADMIN: &str = "admin";
const ADMIN_SOCKET: &str = "admin-socket";
