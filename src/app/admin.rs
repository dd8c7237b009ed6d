//! Answers for all rooms on the admin address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use prometheus::{IntCounterVec, Opts};
use serde_json::{Value, json};

use super::integrated::Integrated;
use super::rooms::Rooms;
use super::{Failure, told};
use crate::admin::{Admin, AdminState, Config, Readiness, Refusal, WarmOrder};
use crate::audit::{Audit, Deed, Ending, Origin, Outcome};
use crate::cache::BlobCache;
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
    draining: AtomicBool,
    reloads: IntCounterVec,
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
            draining: AtomicBool::new(false),
            reloads,
        })
    }

    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn reloaded(&self, good: bool) {
        self.reloads.with_label_values(&[if good { "ok" } else { "refused" }]).inc();
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

    async fn purge(&self, digest: &Digest) -> bool {
        let was_there = self.cache.purge(digest).await;
        let deed = Deed { action: "cache_purge", digest: Some(digest.to_string()), ..Deed::default() };
        let reason = if was_there { None } else { Some("it was not there".to_owned()) };
        self.audit.note(&Origin::operator(None), &deed, &Ending { outcome: Outcome::Ok, status: None, reason });
        was_there
    }

    async fn mirror_status(&self, remote: Option<&str>, limit: usize) -> Result<Value, Refusal> {
        told::status(&self.front.site(), remote, limit).await
    }

    async fn explain(&self, image: &str) -> Result<Value, Refusal> {
        told::explain(&self.front.site(), image).await
    }

    fn warm(&self, order: WarmOrder) -> Result<BoxStream<'static, Value>, Refusal> {
        let images = order.images.len();
        let begun = told::begin(&self.front.site(), order);
        let deed = Deed { action: "mirror_warm", reference: Some(format!("{images} images")), ..Deed::default() };
        let reason = begun.as_ref().err().map(|refusal| refusal.message.clone());
        let outcome = if begun.is_ok() { Outcome::Ok } else { Outcome::Failed };
        self.audit.note(&Origin::operator(None), &deed, &Ending { outcome, status: None, reason });
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
            .map(|registry| json!({ "trouble": registry.trouble(), "write_trouble": registry.write_trouble() }));
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
