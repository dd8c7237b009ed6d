//! Entrepot itself, as users run it: the binary, a configuration file, signals, and its admin endpoint.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use super::http::Request;
use super::process::{Ending, Process, command};
use super::{eventually, ports, scratch};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_entrepot");

/// Stands for the instance's own address in `fleet.advertise`, which nobody knows before it starts.
pub const OWN_ADDRESS: &str = "http://own.invalid";

/// A configuration in the making: one listener, one cluster `main`, one route, and what the test sets besides.
#[derive(Clone)]
pub struct Setup {
    table: toml::Table,
    environment: Vec<(String, String)>,
    cache: Option<PathBuf>,
}

impl Setup {
    /// Checks and ejections are quicker here than by default, so that tests need not wait long.
    pub fn before(peers: &[SocketAddr]) -> Self {
        let peers: Vec<String> = peers.iter().map(|peer| format!("\"{peer}\"")).collect();
        let text = format!(
            r#"
            threads = 2
            [[listener]]
            address = "127.0.0.1:0"
            [admin]
            address = "127.0.0.1:0"
            [log]
            level = "debug"
            [drain]
            timeout = "10s"
            [cache]
            memory = "64MiB"
            disk = "4GiB"
            [cluster.main]
            peers = [{}]
            health = {{ interval = "200ms", rise = 1, fall = 2 }}
            fail_timeout = "1s"
            [[route]]
            read = "cluster.main"
            write = "cluster.main"
            "#,
            peers.join(", ")
        );
        Setup { table: text.parse().expect("TOML"), environment: Vec::new(), cache: None }
    }

    /// The integrated registry alone, on a filesystem of its own until the test says where: [`Setup::storage_at`], or
    /// `Bucket::set`.
    pub fn registry() -> Self {
        let text = r#"
            threads = 2
            [[listener]]
            address = "127.0.0.1:0"
            [admin]
            address = "127.0.0.1:0"
            [log]
            level = "debug"
            [drain]
            timeout = "10s"
            [cache]
            memory = "64MiB"
            disk = "4GiB"
            [storage]
            driver = "filesystem"
            [[route]]
            read = "registry"
            write = "registry"
            "#;
        Setup { table: text.parse().expect("TOML"), environment: Vec::new(), cache: None }
    }

    /// The registry's content is in this folder.
    pub fn storage_at(self, folder: &Path) -> Self {
        let root = format!("{:?}", folder.display().to_string());
        self.set("storage.driver", "\"filesystem\"").set("storage.root", &root)
    }

    /// Sets one key by its path, list items by index: `set("cluster.main.stale", "\"10s\"")`. The value is TOML.
    pub fn set(mut self, path: &str, value: &str) -> Self {
        if ["password", "secret_access_key", "account_key"].iter().any(|key| path.ends_with(key)) {
            super::secrets::note(value.trim_matches('"'));
        }
        let value = format!("value = {value}").parse::<toml::Table>().expect("a TOML value").remove("value");
        put(&mut self.table, path, value.expect("just put there"));
        self
    }

    /// No health checks: peers see clients' requests only.
    pub fn without_health_checks(self) -> Self {
        self.set("cluster.main.health.interval", "\"0s\"")
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A cache folder that outlives this process.
    pub fn cache_at(mut self, folder: &Path) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// A configuration made by the test.
    pub fn of(table: toml::Table) -> Self {
        Setup { table, environment: Vec::new(), cache: None }
    }

    /// The configuration as a file has it.
    pub fn text(&self) -> String {
        toml::to_string(&self.table).expect("TOML")
    }

    pub fn start(self) -> Entrepot {
        for _ in 0..5 {
            let (address, admin, folder) = (ports::free(), ports::free(), scratch());
            let mut entrepot = Entrepot {
                address,
                admin,
                setup: self.clone().located(folder.path(), address, admin),
                process: None,
                config: folder.path().join("entrepot.toml"),
                access_log: folder.path().join("access.log"),
                folder,
            };
            if entrepot.launch() {
                return entrepot;
            }
            let log = std::fs::read_to_string(entrepot.folder.path().join("log")).unwrap_or_default();
            assert!(log.contains("in use"), "entrepot does not start:\n{log}\nwith\n{}", entrepot.setup.text());
        }
        panic!("no ports for entrepot");
    }

    fn located(mut self, folder: &Path, address: SocketAddr, admin: SocketAddr) -> Self {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let cache = self.cache.clone().unwrap_or_else(|| folder.join("cache"));
        if self.get("log.access").is_none() {
            self = self.set("log.access", &quoted(&folder.join("access.log")));
        }
        if self.get("storage.driver").is_some_and(|driver| driver.as_str() == Some("filesystem"))
            && self.get("storage.root").is_none()
        {
            self = self.storage_at(&folder.join("data"));
        }
        if self.get("fleet.advertise").is_some_and(|text| text.as_str() == Some(OWN_ADDRESS)) {
            self = self.set("fleet.advertise", &format!("\"http://{address}\""));
        }
        self.set("listener.0.address", &format!("\"{address}\""))
            .set("admin.address", &format!("\"{admin}\""))
            .set("cache.path", &quoted(&cache))
    }

    fn get(&self, path: &str) -> Option<&toml::Value> {
        let (section, key) = path.split_once('.')?;
        self.table.get(section)?.get(key)
    }
}

fn put(table: &mut toml::Table, path: &str, value: toml::Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.into(), value)),
        Some((key, rest)) => {
            let inner = table.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            put_into(inner, rest, value);
        }
    }
}

fn put_into(inner: &mut toml::Value, path: &str, value: toml::Value) {
    match inner {
        toml::Value::Table(table) => put(table, path, value),
        toml::Value::Array(list) => {
            let (index, rest) = path.split_once('.').map_or((path, None), |(index, rest)| (index, Some(rest)));
            let index: usize = index.parse().expect("an index of a list");
            if index == list.len() {
                list.push(toml::Value::Table(toml::Table::new()));
            }
            match rest {
                None => list[index] = value,
                Some(rest) => put_into(&mut list[index], rest, value),
            }
        }
        other => panic!("{path} below {other}"),
    }
}

/// Entrepot, running.
pub struct Entrepot {
    /// The first listener.
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub setup: Setup,
    // Ends before the folder goes.
    process: Option<Process>,
    config: PathBuf,
    access_log: PathBuf,
    folder: tempfile::TempDir,
}

impl Entrepot {
    /// With nothing but the defaults of [`Setup::before`].
    pub fn before(peers: &[SocketAddr]) -> Self {
        Setup::before(peers).start()
    }

    fn launch(&mut self) -> bool {
        std::fs::write(&self.config, self.setup.text()).expect("the configuration's file");
        let mut command = command(BINARY);
        command.args(["serve", "--config"]).arg(&self.config).current_dir(self.folder.path());
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
        {
            command.env_remove(name);
        }
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        let admin = self.admin;
        let mut process = Process::start("entrepot", command, &self.folder.path().join("log"), Ending::Kill);
        let up =
            process.wait_ready(|| Request::get("/readyz").try_send(admin).is_ok_and(|answer| answer.status != 404));
        self.process = up.then_some(process);
        up
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("entrepot runs")
    }

    /// What it wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) {
        let status = self.process().terminate(Duration::from_secs(20));
        assert!(status.success(), "{status}: {}", self.log());
        self.process = None;
    }

    /// Starts it again with the same configuration, addresses and cache.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "does not start again:\n{}", self.log());
    }

    /// Writes another configuration and sends SIGHUP; waits until the reload is counted, by its result.
    pub fn reload(&mut self, change: impl FnOnce(Setup) -> Setup, result: &str) {
        self.setup = change(self.setup.clone());
        let text = self.setup.text();
        self.reload_text(&text, result);
    }

    pub fn reload_text(&mut self, text: &str, result: &str) {
        let before = self.metric("entrepot_config_reloads_total", &[("result", result)]);
        std::fs::write(&self.config, text).expect("the configuration's file");
        self.process().signal(Signal::HUP);
        eventually(&format!("a reload ends as {result}"), || {
            self.metric("entrepot_config_reloads_total", &[("result", result)]) > before
        });
    }

    pub fn is_ready(&self) -> bool {
        Request::get("/readyz").try_send(self.admin).is_ok_and(|answer| answer.status == 200)
    }

    /// Everything that /metrics says.
    pub fn metrics(&self) -> String {
        Request::get("/metrics").send(self.admin).text()
    }

    /// The sum of all series of `name` that have these labels; 0 when there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum_of(&self.metrics(), name, labels)
    }

    /// The lines of the access log so far.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.access_log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The first line of the access log with this request id, once it is there.
    pub fn logged(&self, id: &str) -> serde_json::Value {
        let mut found = None;
        eventually("the request is in the access log", || {
            found = self.access_log().into_iter().find(|line| line["id"] == id);
            found.is_some()
        });
        found.expect("just found")
    }

    pub fn access_log_path(&self) -> &Path {
        &self.access_log
    }

    pub fn cache_path(&self) -> PathBuf {
        self.setup.cache.clone().unwrap_or_else(|| self.folder.path().join("cache"))
    }

    /// Every file of the disk cache with at least `size` bytes.
    pub fn cache_files(&self, size: u64) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.cache_path(), size, &mut files);
        files
    }

    /// Waits until all running fills have ended.
    pub fn settled(&self) {
        eventually("no fill runs", || {
            let begun = self.metric("entrepot_cache_requests_total", &[("result", "miss")]);
            self.metric("entrepot_cache_fills_total", &[]) >= begun
        });
    }

    /// Every file that it writes lines to.
    fn logs(&self) -> Vec<PathBuf> {
        let mut logs = vec![self.folder.path().join("log"), self.access_log.clone()];
        for path in ["log.access", "audit.to"] {
            let named = self.setup.get(path).and_then(toml::Value::as_str);
            logs.extend(named.map(|named| self.folder.path().join(named)));
        }
        logs
    }

    /// Runs `entrepot` with these arguments.
    pub fn cli(arguments: &[&str]) -> Output {
        Command::new(BINARY).args(arguments).output().expect("entrepot runs")
    }

    /// Accepts connections.
    pub fn listens(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }
}

impl Drop for Entrepot {
    /// However it ends, what it has written holds no secret.
    fn drop(&mut self) {
        self.process = None;
        self.logs().iter().for_each(|log| super::secrets::look_through(log));
    }
}

fn collect(folder: &Path, size: u64, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => collect(&entry.path(), size, files),
            Ok(metadata) if metadata.len() >= size => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Reads Prometheus' text format.
pub fn sum_of(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let series = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let matching = series.filter(|line| wanted.iter().all(|label| line.contains(label.as_str())));
    matching.filter_map(|line| line.rsplit_once(' ')).filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}
