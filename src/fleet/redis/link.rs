//! The way to Redis: connections that many share, and a breaker. While Redis does not answer, requests do not wait for it,
//! and one task alone tries to reach it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::redis::{Cmd, FromRedisValue, RedisError, RedisResult, ScriptInvocation};
use futures::future::try_join_all;
use prometheus::IntGauge;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::{info, warn};

use super::connect::{Connection, Connector};
use super::words::Keys;
use crate::telemetry::spans::{self, Waiting};

/// Questions in a row without an answer in time, until we stop asking.
const TRIP: u32 = 3;
/// Between two tries to connect; each is up to a fifth earlier or later, so that instances do not try together.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Link {
    connector: Connector,
    connections: usize,
    /// `None` exactly while a task tries to connect.
    live: watch::Sender<Option<Arc<Live>>>,
    /// Timeouts in a row.
    late: AtomicU32,
    up: IntGauge,
}

/// Connections to one run of the server.
pub(super) struct Live {
    pub(super) keys: Keys,
    connections: Vec<Connection>,
    next: AtomicUsize,
    since: Instant,
}

/// No answer.
#[derive(Debug, Clone)]
pub(in crate::fleet) struct Silence(pub(super) String);

/// Ends a span with what came of it.
fn told<T>(mut waiting: Option<Waiting>, outcome: Result<T, Silence>) -> Result<T, Silence> {
    if let (Some(waiting), Err(silence)) = (&mut waiting, &outcome) {
        waiting.fail(&silence.0);
    }
    outcome
}

impl Link {
    /// Tries once; goes on trying beside if it must.
    pub(super) async fn open(connector: Connector, connections: usize, up: IntGauge) -> Arc<Self> {
        let live = watch::Sender::new(None);
        let link = Arc::new(Link { connector, connections, live, late: AtomicU32::new(0), up });
        if !link.try_connect(None).await {
            link.reconnect(RETRY, None);
        }
        link
    }

    /// `None` while Redis is down.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone()
    }

    /// One command until it is answered, for what must not be lost; `command` makes it from the keys, and harms nothing when
    /// Redis takes it twice.
    pub(super) async fn insist<T: FromRedisValue>(
        self: &Arc<Self>,
        patience: Duration,
        command: impl Fn(&Keys) -> Cmd,
    ) -> Result<T, Silence> {
        let began = Instant::now();
        let left = || patience.checked_sub(began.elapsed()).filter(|left| !left.is_zero());
        let mut silence = Silence("down".into());
        while let Some(time) = left() {
            let Some(live) = self.live_within(time).await else { break };
            match self.ask(&live, &command(&live.keys), left().unwrap_or_default()).await {
                Ok(answer) => return Ok(answer),
                Err(again) => {
                    // A server that does not take writes may be the wrong one: its name is looked up again.
                    self.trip(&live, &again.0);
                    silence = again;
                }
            }
        }
        Err(silence)
    }

    async fn live_within(&self, patience: Duration) -> Option<Arc<Live>> {
        let mut changes = self.live.subscribe();
        timeout(patience, changes.wait_for(Option::is_some)).await.ok()?.ok()?.clone()
    }

    /// One command, one answer.
    pub(super) async fn ask<T: FromRedisValue>(
        self: &Arc<Self>,
        live: &Arc<Live>,
        command: &Cmd,
        patience: Duration,
    ) -> Result<T, Silence> {
        let Some(mut handle) = live.handle() else { return Err(Silence("no connection".into())) };
        let waiting = self.waiting();
        let answer = timeout(patience, command.query_async::<T>(&mut handle)).await;
        told(waiting, self.judge(live, answer, patience))
    }

    fn waiting(&self) -> Option<Waiting> {
        let mut waiting = spans::waiting(|| "redis".into())?;
        waiting.set("server.address", self.connector.address().authority().as_str());
        Some(waiting)
    }

    /// One script, one answer. Its text is sent only when Redis does not know it yet. `telling`: no answer in time counts against the
    /// connections.
    pub(super) async fn run<T: FromRedisValue>(
        self: &Arc<Self>,
        live: &Arc<Live>,
        call: &ScriptInvocation<'_>,
        patience: Duration,
        telling: bool,
    ) -> Result<T, Silence> {
        let Some(mut handle) = live.handle() else { return Err(Silence("no connection".into())) };
        let waiting = self.waiting();
        let answer = timeout(patience, call.invoke_async::<T>(&mut handle)).await;
        match &answer {
            Ok(Err(error)) if !is_broken(error) => {
                warn!(server = %self.connector.address(), %error, "Redis refuses to run a script of ours");
            }
            Err(_) if !telling => return told(waiting, Err(Silence(format!("no answer within {patience:?}")))),
            _ => {}
        }
        told(waiting, self.judge(live, answer, patience))
    }

    /// What an answer, or none, says of the connections.
    fn judge<T>(
        self: &Arc<Self>,
        live: &Arc<Live>,
        answer: Result<RedisResult<T>, Elapsed>,
        patience: Duration,
    ) -> Result<T, Silence> {
        match answer {
            Ok(Ok(answer)) => {
                self.late.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => {
                // An error in Redis' own words came from a server that answers; most of them stay when we connect again.
                let words = error.to_string();
                if is_broken(&error) {
                    self.trip(live, &words);
                }
                Err(Silence(words))
            }
            Err(_) => {
                let words = format!("no answer within {patience:?}");
                if self.late.fetch_add(1, Ordering::Relaxed) + 1 >= TRIP {
                    self.trip(live, &words);
                }
                Err(Silence(words))
            }
        }
    }

    /// Gives these connections up.
    pub(super) fn trip(self: &Arc<Self>, live: &Arc<Live>, reason: &str) {
        let ours = |current: &mut Option<Arc<Live>>| {
            let ours = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, live));
            if ours {
                *current = None;
            }
            ours
        };
        if self.live.send_if_modified(ours) {
            self.up.set(0);
            warn!(server = %self.connector.address(), reason, "Redis does not answer: going on without it");
            // At once where it had worked for a while: a restart, or an idle connection that was closed.
            let wait = if live.since.elapsed() < RETRY { RETRY } else { Duration::ZERO };
            self.reconnect(wait, Some(reason.to_owned()));
        }
    }

    fn reconnect(self: &Arc<Self>, wait: Duration, mut said: Option<String>) {
        let link = Arc::downgrade(self);
        let mut wait = wait.mul_f64(rand::rng().random_range(0.8..1.2));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(wait).await;
                let Some(link) = link.upgrade() else { return };
                if link.try_connect(said.take()).await {
                    return;
                }
                wait = RETRY.mul_f64(rand::rng().random_range(0.8..1.2));
            }
        });
    }

    /// `said`: why the connections before were given up, in a log line.
    async fn try_connect(self: &Arc<Self>, said: Option<String>) -> bool {
        match self.connect().await {
            Ok(live) => {
                self.late.store(0, Ordering::Relaxed);
                self.up.set(1);
                self.live.send_replace(Some(Arc::new(live)));
                info!(server = %self.connector.address(), "Redis answers");
                true
            }
            Err(reason) => {
                if said.as_deref() != Some(&reason) {
                    warn!(server = %self.connector.address(), reason, "Redis cannot be reached");
                }
                false
            }
        }
    }

    async fn connect(&self) -> Result<Live, String> {
        let tries = (0..self.connections).map(|_| self.connector.connect());
        let (connections, mut keys): (Vec<_>, Vec<_>) = try_join_all(tries).await?.into_iter().unzip();
        let first = keys.pop().ok_or("no connection")?;
        if keys.iter().any(|keys| *keys != first) {
            return Err("connections lead to different servers".into());
        }
        Ok(Live { keys: first, connections, next: AtomicUsize::new(0), since: Instant::now() })
    }
}

/// The connection, and not what was asked.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}

impl Live {
    fn handle(&self) -> Option<::redis::aio::MultiplexedConnection> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = self.connections.get(next.checked_rem(self.connections.len())?)?;
        Some(connection.handle.clone())
    }
}
