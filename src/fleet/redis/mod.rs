//! The state of a fleet, in one Redis.

mod claim;
mod connect;
mod count;
mod inspection;
mod link;
mod notes;
mod words;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Cmd, FromRedisValue, cmd};
use prometheus::Histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

pub(super) use self::claim::{Claimed, HeldClaim};
use self::connect::Connector;
pub use self::inspection::{Inspected, inspect};
use self::link::{Link, Live, Silence};
use self::words::{CLOSE, Generation, Keys, OPEN_AGAIN, RELEASE};
use super::{CLOSED_FOR, Config, Holding, Lookup, Metrics, Proof, Unreachable};
use crate::oci::{Digest, RepositoryName};

/// For what must not be lost: a deletion, and its end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to say that a deletion is done.
const DONE_AGAIN: Duration = Duration::from_secs(1);
/// Deletions whose end is being told again; beyond, the mark in Redis expires by itself.
const MAX_UNTOLD: usize = 1000;
/// Longer than entries, so that a repository that is read is not asked about again each hour.
const GENERATIONS_PER_TTL: u32 = 24;

pub(super) struct Redis {
    link: Arc<Link>,
    command_timeout: Duration,
    ttl: Duration,
    untold: Arc<Semaphore>,
    seconds: Seconds,
}

/// Handles resolved once.
struct Seconds {
    lookup: Histogram,
    remember: Histogram,
    deleting: Histogram,
    done: Histogram,
    lease: Histogram,
    count: Histogram,
    claim: Histogram,
    renew: Histogram,
    note: Histogram,
    noted: Histogram,
}

#[derive(Debug)]
pub(super) enum Ticket {
    /// Storage was asked in this generation.
    Of(Generation),
    /// The repository had none. It is given one when something of it proves to exist, so that asking for repositories
    /// that do not exist leaves nothing in Redis.
    None,
    Closed,
}

impl Redis {
    /// Fails only for what will not get better: a file that cannot be read.
    pub(super) async fn open(config: &Config, metrics: &Metrics) -> Result<Arc<Self>, String> {
        let to_read = config.clone();
        let connector = tokio::task::spawn_blocking(move || Connector::new(&to_read));
        let connector = connector.await.map_err(|error| error.to_string())??;
        let up = metrics.up(&config.url.to_string());
        Ok(Arc::new(Redis {
            link: Link::open(connector, config.connections, up).await,
            command_timeout: config.command_timeout.0,
            ttl: config.ttl.0,
            untold: Arc::new(Semaphore::new(MAX_UNTOLD)),
            seconds: Seconds {
                lookup: metrics.operation("lookup"),
                remember: metrics.operation("remember"),
                deleting: metrics.operation("deleting"),
                done: metrics.operation("done"),
                lease: metrics.operation("lease"),
                count: metrics.operation("count"),
                claim: metrics.operation("claim"),
                renew: metrics.operation("renew"),
                note: metrics.operation("note"),
                noted: metrics.operation("noted"),
            },
        }))
    }

    pub(super) fn answers(&self) -> bool {
        self.link.live().is_some()
    }

    pub(super) async fn lookup(&self, name: &RepositoryName, digest: &Digest) -> Result<Lookup, Silence> {
        let live = self.link.live().ok_or_else(|| Silence("down".into()))?;
        let mut command = cmd("MGET");
        command.arg(live.keys.generation(name)).arg(live.keys.entry(name, digest));
        type Two = (Option<Vec<u8>>, Option<Vec<u8>>);
        let (generation, entry) = self.ask::<Two>(&live, &command, &self.seconds.lookup).await?;
        let Some(generation) = generation else { return Ok(unknown(Ticket::None)) };
        let Some(generation) = Generation::read(&generation) else { return Ok(unknown(Ticket::Closed)) };
        Ok(match entry.and_then(|entry| words::read_entry(&entry, &generation)) {
            Some(descriptor) => Lookup::Held(descriptor),
            None => unknown(Ticket::Of(generation)),
        })
    }

    pub(super) async fn remember(&self, ticket: Ticket, name: &RepositoryName, digest: &Digest, descriptor: &Holding) {
        let Some(live) = self.link.live() else { return };
        let mut command = cmd("SET");
        match ticket {
            Ticket::Closed => return,
            // What storage said is not remembered: nobody knows what was deleted since.
            Ticket::None => command
                .arg(live.keys.generation(name))
                .arg(Generation::fresh().as_str())
                .arg("NX")
                .arg("PX")
                .arg(milliseconds(self.generation_ttl())),
            Ticket::Of(generation) => {
                let Some(value) = words::entry(&generation, descriptor) else { return };
                command.arg(live.keys.entry(name, digest)).arg(value).arg("PX").arg(milliseconds(self.ttl))
            }
        };
        // Not remembered is no harm: what Redis refuses (no memory left, say) is in its own metrics.
        let _ = self.ask::<Option<String>>(&live, &command, &self.seconds.remember).await;
    }

    pub(super) async fn deleting(self: &Arc<Self>, name: &RepositoryName) -> Result<Deleting, Unreachable> {
        let mark = words::word();
        let close = |keys: &Keys| {
            let mut command = cmd("EVAL");
            command.arg(CLOSE).arg(1).arg(keys.generation(name)).arg(&mark).arg(milliseconds(CLOSED_FOR));
            command
        };
        let _timer = self.seconds.deleting.start_timer();
        match self.link.insist::<i64>(PATIENCE, close).await {
            Ok(_) => Ok(Deleting { mark, name: name.clone(), redis: Arc::clone(self) }),
            Err(Silence(reason)) => Err(Unreachable(reason)),
        }
    }

    /// False if Redis could not be told.
    async fn open_again(&self, name: &RepositoryName, mark: &str) -> bool {
        let open = |keys: &Keys| {
            let mut command = cmd("EVAL");
            command.arg(OPEN_AGAIN).arg(1).arg(keys.generation(name)).arg(mark).arg(Generation::fresh().as_str());
            command.arg(milliseconds(self.generation_ttl()));
            command
        };
        let _timer = self.seconds.done.start_timer();
        self.link.insist::<i64>(PATIENCE, open).await.is_ok()
    }

    pub(super) async fn lease(self: &Arc<Self>, job: &'static str, time: Duration) -> Option<super::Lease> {
        let live = self.link.live()?;
        let (key, holder) = (live.keys.lease(job), words::word());
        let mut command = cmd("SET");
        command.arg(&key).arg(&holder).arg("NX").arg("PX").arg(milliseconds(time));
        let timer = self.seconds.lease.start_timer();
        let answer = self.link.ask::<Option<String>>(&live, &command, PATIENCE).await;
        drop(timer);
        answer.ok()??;
        Some(super::Lease::new(RedisLease { key, holder, live, link: Arc::clone(&self.link) }))
    }

    async fn ask<T: FromRedisValue>(&self, live: &Arc<Live>, command: &Cmd, seconds: &Histogram) -> Result<T, Silence> {
        let _timer = seconds.start_timer();
        self.link.ask(live, command, self.command_timeout).await
    }

    fn generation_ttl(&self) -> Duration {
        self.ttl.saturating_mul(GENERATIONS_PER_TTL)
    }
}

fn unknown(ticket: Ticket) -> Lookup {
    Lookup::Unknown(super::Ticket(Proof::Redis(ticket)))
}

fn milliseconds(time: Duration) -> u64 {
    // Redis refuses 0, and more than fits into a signed number together with its clock.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50)
}

pub(super) struct Deleting {
    mark: String,
    name: RepositoryName,
    redis: Arc<Redis>,
}

impl Deleting {
    /// If Redis cannot be told, it is told later: the mark keeps everybody from believing for a while, but if that were
    /// lost as well, something of before the deletion could be believed until it expires.
    pub(super) async fn done(self) {
        if self.redis.open_again(&self.name, &self.mark).await {
            return;
        }
        match Arc::clone(&self.redis.untold).try_acquire_owned() {
            Ok(permit) => drop(tokio::spawn(self.tell_later(permit))),
            Err(_) => warn!(repository = %self.name, "too many deletions that Redis was not told of"),
        }
    }

    async fn tell_later(self, _permit: OwnedSemaphorePermit) {
        let began = Instant::now();
        while began.elapsed() < self.redis.ttl {
            tokio::time::sleep(DONE_AGAIN).await;
            if self.redis.open_again(&self.name, &self.mark).await {
                return;
            }
        }
    }
}

pub(super) struct RedisLease {
    key: String,
    holder: String,
    live: Arc<Live>,
    link: Arc<Link>,
}

impl Drop for RedisLease {
    /// Best effort: otherwise it ends with its time.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut command = cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(&self.key).arg(&self.holder);
        let (live, link) = (Arc::clone(&self.live), Arc::clone(&self.link));
        runtime.spawn(async move { link.ask::<i64>(&live, &command, PATIENCE).await });
    }
}
