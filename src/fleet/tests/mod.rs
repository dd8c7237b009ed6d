//! The room as others use it, on a real redis-server. The fixture: servers that end with the test.

mod claims;
mod counts;
mod faults;
mod orders;
mod protocol;
mod settings;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use rustix::process::{Pid, Signal, kill_process};

use super::{Config, Fleet, Holding, Lookup, Metrics, Ticket};
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::units::Secret;
use crate::units::{Span, seconds};

/// Until something that must happen is said not to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server on a port of its own, killed with its owner.
pub struct Server {
    port: u16,
    settings: Vec<String>,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

impl Server {
    pub fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|setting| setting.to_string()).collect();
        let mut server = Server { port: 0, settings, child: None, folder };
        for _ in 0..20 {
            // Below what the kernel gives to outgoing connections: one of those could take it before a restart.
            server.port = rand::random_range(10_000..32_000);
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port)).is_ok();
            if free && server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// False when another process took the port meanwhile.
    fn launch(&mut self) -> bool {
        let port = self.port.to_string();
        let tls = self.settings.iter().any(|setting| setting == "--tls-cert-file");
        let (plain, secure) = if tls { ("0", port.as_str()) } else { (port.as_str(), "0") };
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", plain, "--tls-port", secure, "--save", ""]);
        command.arg("--dir").arg(self.folder.path()).args(&self.settings).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "redis-server takes no connection");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        true
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "its port was taken");
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill_process(Pid::from_raw(id as i32).unwrap(), signal).unwrap();
    }

    /// Like the real thing, but patient: a machine that is busy is not a Redis that stalls.
    fn config(&self) -> Config {
        let mut config = Config::at(format!("redis://127.0.0.1:{}", self.port).parse().unwrap());
        config.connect_timeout = seconds(2);
        config.command_timeout = seconds(2);
        config
    }

    pub async fn state(&self) -> Arc<Fleet> {
        open(&self.config()).await
    }

    /// Of another program that uses this Redis.
    async fn connection(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// What our keys have of the server's run id.
    async fn run(&self) -> String {
        let info = self.ask(&["INFO", "server"]).await;
        let (_, id) = info.split_once("run_id:").unwrap();
        id[..16].to_owned()
    }

    async fn ask(&self, words: &[&str]) -> String {
        let mut connection = self.connection().await;
        let mut command = ::redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        let value: ::redis::Value = command.query_async(&mut connection).await.unwrap();
        format!("{value:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&Registry::new()).unwrap())
}

async fn open(config: &Config) -> Arc<Fleet> {
    Fleet::open(Some(config), false, metrics()).await
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

fn descriptor(size: u64) -> Holding {
    Holding { size, media_type: Some("application/vnd.oci.image.index.v1+json".into()) }
}

async fn held(state: &Fleet, name: &RepositoryName, digest: &Digest) -> Option<Holding> {
    match state.lookup(name, digest).await {
        Lookup::Held(descriptor) => Some(descriptor),
        Lookup::Unknown(_) => None,
    }
}

async fn ticket(state: &Fleet, name: &RepositoryName, digest: &Digest) -> Ticket {
    match state.lookup(name, digest).await {
        Lookup::Unknown(ticket) => ticket,
        Lookup::Held(_) => panic!("held"),
    }
}

/// What a pull does: looks up, asks storage (which has it), remembers.
async fn pull(state: &Fleet, name: &RepositoryName, digest: &Digest) -> bool {
    match state.lookup(name, digest).await {
        Lookup::Held(_) => true,
        Lookup::Unknown(ticket) => {
            state.remember(ticket, name, digest, &descriptor(7)).await;
            false
        }
    }
}

/// Pulls until it is remembered, which takes two pulls in a repository that Redis does not know.
async fn pull_until_held(state: &Fleet, name: &RepositoryName, digest: &Digest) {
    let began = Instant::now();
    let mut tries = 0;
    while !pull(state, name, digest).await {
        assert!(began.elapsed() < PATIENCE, "never remembered");
        tries += 1;
        if tries > 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
