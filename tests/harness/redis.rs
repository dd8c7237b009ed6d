//! Debian's redis-server: nothing is written to a disk, so that it starts empty, as after `FLUSHALL`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::entrepot::Setup;
use super::process::{Ending, Process, command};
use super::{Authority, PATIENCE, ports, scratch};

/// A redis-server to be started.
#[derive(Default)]
pub struct Redis {
    settings: Vec<String>,
    password: Option<String>,
    authority: Option<PathBuf>,
}

/// A redis-server that runs, until it is told otherwise.
pub struct ServingRedis {
    pub address: SocketAddr,
    redis: Redis,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Redis {
    pub fn new() -> Self {
        Redis::default()
    }

    /// Asks for a password (`requirepass`).
    pub fn password(mut self, password: &str) -> Self {
        self.settings.extend(["--requirepass".into(), password.into()]);
        self.password = Some(password.into());
        self
    }

    /// Has so much memory, and evicts anything when it is full, as a shared cache does.
    pub fn evicting(mut self, bytes: u64) -> Self {
        let settings = ["--maxmemory", &bytes.to_string(), "--maxmemory-policy", "allkeys-lru"];
        self.settings.extend(settings.map(String::from));
        self
    }

    /// Speaks TLS only, with a certificate of that authority.
    pub fn tls(mut self, authority: &Authority) -> Self {
        let issued = authority.issue("redis", &["localhost", "127.0.0.1"]);
        self.authority = Some(authority.path());
        for (setting, value) in [
            ("--tls-cert-file", issued.certificate.display().to_string()),
            ("--tls-key-file", issued.key.display().to_string()),
            ("--tls-auth-clients", "no".into()),
        ] {
            self.settings.extend([setting.to_owned(), value]);
        }
        self
    }

    pub fn start(self) -> ServingRedis {
        let folder = scratch();
        for _ in 0..5 {
            let address = ports::free();
            if let Some(process) = start_process(&self, &folder, address) {
                return ServingRedis { address, redis: self, folder, process: Some(process) };
            }
        }
        panic!("redis-server does not start:\n{}", read_log(&folder));
    }
}

impl ServingRedis {
    pub fn url(&self) -> String {
        let scheme = if self.redis.authority.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address)
    }

    /// It as `[redis]` of Entrepot.
    pub fn set(&self, setup: Setup) -> Setup {
        let mut setup = setup.set("redis.url", &format!("{:?}", self.url()));
        if let Some(password) = &self.redis.password {
            setup = setup.set("redis.password", &format!("{password:?}"));
        }
        if let Some(authority) = &self.redis.authority {
            setup = setup.set("redis.tls_ca", &format!("{:?}", authority.display().to_string()));
        }
        setup
    }

    /// SIGKILL: everything that it held is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again where it was, empty.
    pub fn restart(&mut self) {
        self.kill();
        self.process = start_process(&self.redis, &self.folder, self.address);
        assert!(self.process.is_some(), "redis-server does not start again:\n{}", read_log(&self.folder));
    }

    /// Takes connections, and answers nothing until `thaw`.
    pub fn freeze(&self) {
        self.process().freeze();
    }

    pub fn thaw(&self) {
        self.process().thaw();
    }

    /// Answers nothing for so long.
    pub fn stall(&self, time: Duration) {
        self.freeze();
        std::thread::sleep(time);
        self.thaw();
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("redis-server runs")
    }

    pub fn flush(&self) {
        assert_eq!(self.ask(&["FLUSHALL"]), "+OK");
    }

    /// How many keys it holds.
    pub fn keys(&self) -> u64 {
        let answer = self.ask(&["DBSIZE"]);
        answer.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("DBSIZE says {answer}"))
    }

    /// Its answer as it is on the wire (RESP2), without TLS.
    pub fn ask(&self, words: &[&str]) -> String {
        assert!(self.redis.authority.is_none(), "the harness speaks no TLS to redis");
        let mut stream = TcpStream::connect(self.address).expect("a connection to redis");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut text = String::new();
        let login = self.redis.password.iter().map(|password| vec!["AUTH", password]);
        for command in login.chain([words.to_vec(), vec!["QUIT"]]) {
            text += &format!("*{}\r\n", command.len());
            text.extend(command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())));
        }
        stream.write_all(text.as_bytes()).expect("a question to redis");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer of redis");
        let login = if self.redis.password.is_some() { "+OK\r\n" } else { "" };
        let answer = answer.strip_prefix(login).unwrap_or_else(|| panic!("no login: {answer}"));
        answer.trim_end().strip_suffix("+OK").unwrap_or(answer).trim_end().into()
    }

    pub fn log(&self) -> String {
        read_log(&self.folder)
    }
}

fn start_process(redis: &Redis, folder: &tempfile::TempDir, address: SocketAddr) -> Option<Process> {
    let mut command = command("redis-server");
    let port = address.port().to_string();
    let (plain, tls) = if redis.authority.is_some() { ("0", port.as_str()) } else { (port.as_str(), "0") };
    command.args(["--bind", "127.0.0.1", "--port", plain, "--tls-port", tls, "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder.path()).args(&redis.settings);
    let mut process = Process::start("redis-server", command, &folder.path().join("log"), Ending::Kill);
    process.wait_ready(|| TcpStream::connect(address).is_ok()).then_some(process)
}

fn read_log(folder: &tempfile::TempDir) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.path().join("log")).unwrap_or_default()).into_owned()
}
