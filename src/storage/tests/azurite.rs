//! An Azurite of this test process: one for all tests, each with a prefix of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::HttpRequestBody;

use super::super::Storage;
use super::super::config::{Config, DriverKind};
use super::minio::{KEEPER, free_port, tool};

/// The account that every Azurite has, with the key that Microsoft's documentation prints.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER: &str = "registry";

pub(crate) struct Azurite {
    pub port: u16,
    folder: PathBuf,
    _keeper: Child,
}

impl Azurite {
    pub(crate) fn shared() -> &'static Azurite {
        static SHARED: OnceLock<Option<Azurite>> = OnceLock::new();
        // Tried once: after a failure every test says so at once.
        let shared = SHARED.get_or_init(|| std::panic::catch_unwind(Azurite::start).ok());
        shared.as_ref().expect("no Azurite: the first test that needed it says why")
    }

    /// Blocks until it answers.
    fn start() -> Azurite {
        let program = tool("azurite/node_modules/azurite/dist/src/blob/main.js");
        let folder = tempfile::tempdir().expect("a folder").keep();
        let port = free_port();
        let log = || std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .args([&folder, &PathBuf::from("node"), &program])
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort", &port.to_string()])
            .args([&PathBuf::from("--location"), &folder.join("data")])
            .stdin(Stdio::piped())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("sh");
        let azurite = Azurite { port, folder, _keeper: keeper };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !azurite.has_made_container() {
            let log = std::fs::read_to_string(azurite.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "Azurite did not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        azurite
    }

    fn has_made_container(&self) -> bool {
        let target = format!("/{ACCOUNT}/{CONTAINER}?restype=container");
        let host = format!("127.0.0.1:{}", self.port);
        let mut request = http::Request::put(format!("http://{host}{target}"))
            .header("content-length", "0")
            .body(HttpRequestBody::empty())
            .expect("a request");
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).expect("a key"));
        AzureAuthorizer::new(&key, ACCOUNT).try_authorize(&mut request).expect("a signature");
        let mut text = format!("PUT {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in request.headers() {
            text += &format!("{name}: {}\r\n", value.to_str().expect("text"));
        }
        let Ok(mut connection) = TcpStream::connect(host) else { return false };
        let mut answer = [0; 12];
        let asked = connection.write_all(format!("{text}\r\n").as_bytes());
        asked.and_then(|()| connection.read_exact(&mut answer)).is_ok() && answer.ends_with(b"201")
    }

    /// With a fresh prefix.
    pub(crate) fn config(&self) -> Config {
        Config {
            driver: DriverKind::Azure,
            bucket: CONTAINER.into(),
            prefix: format!("/{}/", uuid::Uuid::new_v4()),
            endpoint: Some(format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)),
            account: Some(ACCOUNT.into()),
            account_key: Some(KEY.into()),
            ..Config::default()
        }
    }
}

/// On the shared one, with a prefix of its own.
pub(super) async fn storage() -> Arc<Storage> {
    let config = tokio::task::spawn_blocking(|| Azurite::shared().config()).await.expect("an Azurite");
    super::storage(&config).await
}
