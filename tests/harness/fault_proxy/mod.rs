//! A peer that a test can spoil: an HTTP/1.1 proxy before a real registry, or a server that answers by a script. It
//! records every request as it came, and makes the faults that its rules ask for.

mod rule;
mod wire;

pub use rule::{Fault, Gate, Reply, Rule};

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::http::Head;
use super::ports;

/// A request as it came, and what it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub head: Head,
    /// Only kept when a script answers.
    pub body: Vec<u8>,
    /// 0 until the answer's head was sent.
    pub status: u16,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)
    }
}

type Script = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

enum Target {
    Registry(SocketAddr),
    Script(Script),
}

pub struct FaultProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    target: Target,
    alive: AtomicBool,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<HashMap<u64, TcpStream>>,
    next_connection: AtomicU64,
    /// Bytes of answers' bodies that crossed, by all requests together.
    body_bytes: AtomicU64,
    pace: Mutex<Pace>,
}

/// One rate for everything that the proxy sends, as a network card has it.
struct Pace {
    bytes_per_second: Option<u64>,
    next: Instant,
}

impl FaultProxy {
    /// Stands before this registry.
    pub fn before(registry: SocketAddr) -> Self {
        FaultProxy::start(Target::Registry(registry))
    }

    /// Answers by itself.
    pub fn scripted(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        FaultProxy::scripted_at(None, script)
    }

    /// The same at an address of the test's choice.
    pub fn scripted_at(address: Option<SocketAddr>, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        FaultProxy::start_at(address, Target::Script(Box::new(script)))
    }

    /// Answers 200 `{}` to everything, as a registry does to `/v2/`: for tests that only look at what arrives.
    pub fn recording() -> Self {
        FaultProxy::scripted(|_| Reply::new(200).header("Content-Type", "application/json").body("{}"))
    }

    fn start(target: Target) -> Self {
        FaultProxy::start_at(None, target)
    }

    fn start_at(address: Option<SocketAddr>, target: Target) -> Self {
        let begun = Instant::now();
        let (address, listener) = loop {
            let tried = address.unwrap_or_else(ports::free);
            if let Ok(listener) = TcpListener::bind(tried) {
                break (tried, listener);
            }
            // Whoever listened there before may be about to end.
            std::thread::sleep(Duration::from_millis(10));
            assert!(begun.elapsed() < super::PATIENCE, "{tried} is in use");
        };
        let shared = Arc::new(Shared {
            address,
            target,
            alive: AtomicBool::new(true),
            rules: Mutex::default(),
            seen: Mutex::default(),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            pace: Mutex::new(Pace { bytes_per_second: None, next: Instant::now() }),
        });
        accept(listener, Arc::clone(&shared));
        FaultProxy { address, shared }
    }

    /// Adds a rule; the first that matches a request is applied.
    pub fn on(&self, rule: Rule) -> &Self {
        lock(&self.shared.rules).push(rule);
        self
    }

    pub fn forget_rules(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Limits what all its answers' bodies together may take.
    pub fn throttle(&self, bytes_per_second: impl Into<Option<u64>>) -> &Self {
        lock(&self.shared.pace).bytes_per_second = bytes_per_second.into();
        self
    }

    /// Closes the port and every connection, as a killed process does: when this returns, nobody is taken any more.
    pub fn die(&self) {
        self.shared.die();
        super::eventually("the fault proxy's port is closed", || TcpStream::connect(self.address).is_err());
        // Who was taken while the thread that accepts was woken.
        self.shared.cut();
    }

    /// Listens again where it did.
    pub fn revive(&self) {
        let mut listener = None;
        super::eventually("the fault proxy's port is free again", || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        self.shared.alive.store(true, Ordering::SeqCst);
        accept(listener.expect("just bound"), Arc::clone(&self.shared));
    }

    pub fn is_alive(&self) -> bool {
        self.shared.alive.load(Ordering::SeqCst)
    }

    /// Every request so far, health checks included.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The requests of a method (`""`: any) whose target holds `part`.
    pub fn seen_of(&self, method: &str, part: &str) -> Vec<Seen> {
        let matches = |seen: &Seen| (method.is_empty() || seen.method == method) && seen.target.contains(part);
        self.seen().into_iter().filter(matches).collect()
    }

    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen_of(method, part).len()
    }

    pub fn forget_seen(&self) {
        lock(&self.shared.seen).clear();
        self.shared.body_bytes.store(0, Ordering::SeqCst);
    }

    /// Bytes of answers' bodies that crossed it.
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.die();
    }
}

impl Shared {
    fn die(&self) {
        if self.alive.swap(false, Ordering::SeqCst) {
            // Wakes the thread that accepts, which then closes the port.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        }
        self.cut();
    }

    fn cut(&self) {
        for (_, connection) in lock(&self.connections).drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    /// What to do with this request. A rule that is used up is gone.
    fn fault(&self, method: &str, target: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let at = rules.iter().position(|rule| rule.matches(method, target))?;
        let fault = rules[at].fault.clone();
        if rules[at].use_up() {
            rules.remove(at);
        }
        Some(fault)
    }

    /// Waits for this many bytes' turn.
    fn wait_turn(&self, bytes: usize) {
        let until = {
            let mut pace = lock(&self.pace);
            let Some(rate) = pace.bytes_per_second else { return };
            pace.next = pace.next.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            pace.next
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

fn accept(listener: TcpListener, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            if !shared.is_alive() {
                return;
            }
            let Ok(handle) = client.try_clone() else { continue };
            let id = shared.next_connection.fetch_add(1, Ordering::Relaxed);
            lock(&shared.connections).insert(id, handle);
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                // An end by fault or by the client is how most connections end.
                let _ = wire::serve(&client, &shared);
                let _ = client.shutdown(Shutdown::Both);
                lock(&shared.connections).remove(&id);
            });
        }
    });
}

/// A thread that panicked took its own test down already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
