//! A MinIO of this test process: one for all tests, each with a prefix of its own.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::Storage;
use super::super::config::{Config, DriverKind};

const USER: &str = "minio";
const PASSWORD: &str = "minio123456";
pub(super) const BUCKET: &str = "registry";

/// Starts the program, and ends it, with its folder, when our end of the pipe closes: also when we are killed.
pub(super) const KEEPER: &str = r#"folder=$1; shift; "$@" </dev/null & read -r _; kill -9 $!; wait; rm -rf "$folder""#;

pub(crate) struct Minio {
    pub port: u16,
    folder: PathBuf,
    tls: bool,
    _keeper: Child,
}

impl Minio {
    /// A plain one, shared.
    pub(crate) fn shared() -> &'static Minio {
        static SHARED: OnceLock<Option<Minio>> = OnceLock::new();
        // Tried once: after a failure every test says so at once.
        let shared = SHARED.get_or_init(|| std::panic::catch_unwind(|| Minio::start(None)).ok());
        shared.as_ref().expect("no MinIO: the first test that needed it says why")
    }

    /// With TLS if there is a certificate and its key, in PEM. Blocks until it answers.
    pub(super) fn start(certificate: Option<(&str, &str)>) -> Minio {
        let program = tool("bin/minio");
        let folder = tempfile::tempdir().expect("a folder").keep();
        std::fs::create_dir_all(folder.join("data").join(BUCKET)).expect("a bucket");
        let certificates = folder.join("certs");
        std::fs::create_dir_all(&certificates).expect("a folder");
        if let Some((certificate, key)) = certificate {
            std::fs::write(certificates.join("public.crt"), certificate).expect("a certificate");
            std::fs::write(certificates.join("private.key"), key).expect("a key");
        }
        let (port, console) = (free_port(), free_port());
        let log = || std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .args([&folder, &program])
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
            .args(["--console-address", &format!("127.0.0.1:{console}"), "--certs-dir"])
            .args([&certificates, &folder.join("data")])
            .env("MINIO_DOMAIN", "localhost")
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("sh");
        let minio = Minio { port, folder, tls: certificate.is_some(), _keeper: keeper };
        minio.wait();
        minio
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(mut connection) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
                let mut answer = [0; 12];
                let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
                let asked = connection
                    .write_all(b"GET /minio/health/ready HTTP/1.1\r\nHost: minio\r\nConnection: close\r\n\r\n");
                let read = asked.and_then(|()| std::io::Read::read_exact(&mut connection, &mut answer));
                if self.tls || (read.is_ok() && answer.ends_with(b"200")) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("MinIO did not start: {log}");
    }

    /// With a fresh prefix.
    pub(crate) fn config(&self) -> Config {
        let scheme = if self.tls { "https" } else { "http" };
        Config {
            driver: DriverKind::S3,
            bucket: BUCKET.into(),
            prefix: format!("/{}/", uuid::Uuid::new_v4()),
            endpoint: Some(format!("{scheme}://127.0.0.1:{}", self.port)),
            access_key_id: Some(USER.into()),
            secret_access_key: Some(PASSWORD.into()),
            ..Config::default()
        }
    }
}

/// On the shared one, with a prefix of its own.
pub(super) async fn storage() -> Arc<Storage> {
    let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.expect("a MinIO");
    super::storage(&config).await
}

/// A file of those that `scripts/install` keeps.
pub(super) fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    let program = cache.unwrap_or_default().join("entrepot").join(name);
    assert!(program.is_file(), "{} is not there: `make test` installs it", program.display());
    program
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
