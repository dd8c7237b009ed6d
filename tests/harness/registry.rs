//! Real registries as peers: Debian's `docker-registry` (2.8) and distribution v3.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::minio::Bucket;
use super::process::{Ending, Process, command};
use super::token_server::TokenServer;
use super::tools::run;
use super::{ports, random_bytes, scratch};

/// A registry to be started. Each has an `http.secret` of its own, as careless users leave it.
pub struct Registry {
    program: String,
    volume: Option<PathBuf>,
    bucket: Option<Bucket>,
    redirects: bool,
    /// What it believes of blobs, as `storage.cache` says; with Redis, where that is.
    remembers: Option<Option<SocketAddr>>,
    accounts: Vec<(String, String)>,
    token: Option<String>,
    address: Option<SocketAddr>,
    tls: Option<(PathBuf, PathBuf)>,
    metrics: Option<SocketAddr>,
    deletes: bool,
}

impl Registry {
    /// Debian's package.
    pub fn debian() -> Self {
        Registry {
            program: "docker-registry".into(),
            volume: None,
            bucket: None,
            redirects: false,
            remembers: None,
            accounts: Vec::new(),
            token: None,
            address: None,
            tls: None,
            metrics: None,
            deletes: true,
        }
    }

    /// Distribution v3, as `make test` installs it.
    pub fn v3() -> Self {
        Registry { program: distribution_v3(), ..Registry::debian() }
    }

    /// Two registries over one volume, as before the load balancer of our users.
    pub fn pair() -> (Serving, Serving, tempfile::TempDir) {
        let volume = scratch();
        let start = || Registry::debian().volume(volume.path()).start();
        (start(), start(), volume)
    }

    /// Content lives there, not in a folder of its own: several registries may share it.
    pub fn volume(mut self, folder: &Path) -> Self {
        self.volume = Some(folder.into());
        self
    }

    /// Content lives in an object store, and is not redirected to: for v3 only, since Debian's 2.8 panics on any.
    pub fn bucket(mut self, bucket: &Bucket) -> Self {
        self.bucket = Some(bucket.clone());
        self
    }

    /// Deletes nothing, as without `REGISTRY_STORAGE_DELETE_ENABLED`, which is the default of this make.
    pub fn keeping_all(mut self) -> Self {
        self.deletes = false;
        self
    }

    /// Clients are led to signed addresses of the object store.
    pub fn redirecting(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// Believes for as long as it runs that blobs are there which it saw (`storage.cache`, `inmemory`).
    pub fn remembering(mut self) -> Self {
        self.remembers = Some(None);
        self
    }

    /// Believes what stands in a Redis (`storage.cache`, `redis`): for v3 only.
    pub fn remembering_in(mut self, redis: SocketAddr) -> Self {
        self.remembers = Some(Some(redis));
        self
    }

    /// Asks for a password (`auth.htpasswd`). Everybody named may do everything.
    pub fn account(mut self, user: &str, password: &str) -> Self {
        self.accounts.push((user.into(), password.into()));
        self
    }

    /// Believes the tokens of that server (`auth.token`).
    pub fn token(mut self, server: &TokenServer) -> Self {
        self.token = Some(server.registry_settings());
        self
    }

    /// Believes tokens by these settings (`auth.token`, in YAML).
    pub fn token_settings(mut self, settings: &str) -> Self {
        self.token = Some(settings.into());
        self
    }

    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Serves https with this certificate and key.
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// Tells Prometheus of itself there, at /metrics (`http.debug`).
    pub fn metrics_at(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    pub fn start(self) -> Serving {
        let folder = scratch();
        for _ in 0..5 {
            let address = self.address.unwrap_or_else(ports::free);
            self.write_files(folder.path(), address);
            if let Some(process) = start_process(&self.program, folder.path(), address) {
                let volume = self.volume.unwrap_or_else(|| folder.path().join("volume"));
                return Serving { program: self.program, address, volume, folder, process: Some(process) };
            }
        }
        panic!("{} does not start:\n{}", self.program, read_log(folder.path()));
    }

    fn write_files(&self, folder: &Path, address: SocketAddr) {
        let own = folder.join("volume");
        let volume = self.volume.as_deref().unwrap_or(&own).display();
        let storage = match &self.bucket {
            Some(bucket) => format!("s3: {}\n  redirect: {{disable: {}}}", bucket.registry_settings(), !self.redirects),
            None => format!("filesystem: {{rootdirectory: {volume}}}"),
        };
        let secret = hex::encode(random_bytes(u64::from(address.port()), 16));
        let auth = match (&self.token, self.accounts.is_empty()) {
            (Some(token), _) => format!("auth: {{token: {token}}}\n"),
            (None, true) => String::new(),
            (None, false) => {
                let path = folder.join("htpasswd");
                std::fs::write(&path, self.htpasswd()).expect("the password file");
                format!("auth: {{htpasswd: {{realm: peer, path: {}}}}}\n", path.display())
            }
        };
        let tls = match &self.tls {
            Some((certificate, key)) => {
                format!("\n  tls: {{certificate: {}, key: {}}}", certificate.display(), key.display())
            }
            None => String::new(),
        };
        let metrics = match &self.metrics {
            Some(address) => {
                format!("\n  debug: {{addr: \"{address}\", prometheus: {{enabled: true, path: /metrics}}}}")
            }
            None => String::new(),
        };
        let (cache, redis) = match self.remembers {
            None => ("", String::new()),
            Some(None) => ("\n  cache: {blobdescriptor: inmemory}", String::new()),
            Some(Some(redis)) => ("\n  cache: {blobdescriptor: redis}", format!("redis: {{addrs: [\"{redis}\"]}}\n")),
        };
        let text = format!(
            "version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
{redis}storage:
  {storage}{cache}
  delete: {{enabled: {}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http:
  addr: {address}
  secret: {secret}{tls}{metrics}
{auth}",
            self.deletes
        );
        std::fs::write(folder.join("config.yml"), text).expect("the registry's configuration");
    }

    /// bcrypt, as distribution wants it, by Apache's own tool.
    fn htpasswd(&self) -> String {
        let line = |(user, password): &(String, String)| {
            let output = Command::new("htpasswd").args(["-nbB", user, password]).output().expect("htpasswd runs");
            String::from_utf8(output.stdout).expect("text").trim().to_owned() + "\n"
        };
        self.accounts.iter().map(line).collect()
    }
}

/// A registry that runs, until it is told otherwise.
pub struct Serving {
    program: String,
    pub address: SocketAddr,
    /// The root of its tree: `docker/registry/v2` is below. Empty where it has a bucket.
    pub volume: PathBuf,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Serving {
    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again where it was, on what it had.
    pub fn restart(&mut self) {
        self.kill();
        self.process = start_process(&self.program, self.folder.path(), self.address);
        assert!(self.process.is_some(), "does not start again:\n{}", read_log(self.folder.path()));
    }

    /// `garbage-collect` over its storage, as an operator runs it beside it; `-m` deletes untagged manifests too.
    /// What it says, which is what it kept and what it deleted.
    pub fn collect_garbage(&self, untagged: bool) -> String {
        let mut command = Command::new(&self.program);
        command.arg("garbage-collect").args(untagged.then_some("-m")).arg(self.folder.path().join("config.yml"));
        run(command.env("OTEL_TRACES_EXPORTER", "none"))
    }

    /// What `garbage-collect` says that it would do.
    pub fn plan_garbage(&self, untagged: bool) -> String {
        let mut command = Command::new(&self.program);
        command.args(["garbage-collect", "--dry-run"]).args(untagged.then_some("-m")).arg(self.config_path());
        run(command.env("OTEL_TRACES_EXPORTER", "none"))
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("config.yml")
    }

    /// For memory and processor time.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the registry runs")
    }

    /// Its log: one line for each request that it answered, among others.
    pub fn log(&self) -> String {
        read_log(self.folder.path())
    }

    /// How many requests it answered whose line holds all of `parts`.
    pub fn answered(&self, parts: &[&str]) -> usize {
        let log = self.log();
        let counts =
            |line: &&str| line.contains("http.response.status=") && parts.iter().all(|part| line.contains(part));
        log.lines().filter(counts).count()
    }
}

fn start_process(program: &str, folder: &Path, address: SocketAddr) -> Option<Process> {
    let mut command = command(program);
    command.arg("serve").arg(folder.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
    let mut process = Process::start(program, command, &folder.join("log"), Ending::Kill);
    process.wait_ready(|| TcpStream::connect(address).is_ok()).then_some(process)
}

fn read_log(folder: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}

fn distribution_v3() -> String {
    let path = tools_folder().join("bin/registry");
    assert!(path.exists(), "{} is missing: `make install` puts it there", path.display());
    path.display().to_string()
}

/// Where `scripts/install` keeps the peers that are no packages, and files that take long to make.
pub fn tools_folder() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("entrepot")
}
