//! MinIO, as `make test` builds it: one process on a folder of its own, stopped, frozen and started again as a test says.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt};

use super::entrepot::Setup;
use super::http::Request;
use super::process::{Ending, Process, command};
use super::registry::tools_folder;
use super::{ports, scratch};

pub const ACCESS_KEY: &str = "minio";
pub const SECRET_KEY: &str = "minio123456";
pub const REGION: &str = "us-east-1";

/// A MinIO that runs, until it is told otherwise.
pub struct Minio {
    pub address: SocketAddr,
    console: SocketAddr,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

/// One bucket of it, or of something that stands before it: a fault proxy, a balancer.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub address: SocketAddr,
    pub name: String,
    /// `rootdirectory` of distribution, `prefix` of Entrepot; empty: none.
    pub prefix: String,
}

impl Minio {
    /// With these buckets, empty.
    pub fn start(buckets: &[&str]) -> Self {
        Minio::start_in(scratch(), buckets)
    }

    /// On a folder that the test made: a small file system, say.
    pub fn start_in(folder: tempfile::TempDir, buckets: &[&str]) -> Self {
        for bucket in buckets {
            // A folder is a bucket to MinIO, when it starts.
            std::fs::create_dir_all(folder.path().join("data").join(bucket)).expect("a bucket's folder");
        }
        for _ in 0..5 {
            let (address, console) = (ports::free(), ports::free());
            if let Some(process) = start_process(folder.path(), address, console) {
                return Minio { address, console, folder, process: Some(process) };
            }
        }
        panic!("minio does not start:\n{}", read_log(folder.path()));
    }

    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket { address: self.address, name: name.into(), prefix: String::new() }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again where it was, on what it had.
    pub fn restart(&mut self) {
        self.kill();
        self.process = start_process(self.folder.path(), self.address, self.console);
        assert!(self.process.is_some(), "minio does not start again:\n{}", read_log(self.folder.path()));
    }

    /// Takes connections, and answers nothing until `thaw`.
    pub fn freeze(&self) {
        self.process().freeze();
    }

    pub fn thaw(&self) {
        self.process().thaw();
    }

    /// For memory and processor time.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("minio runs")
    }

    /// How many multipart uploads were begun and neither completed nor aborted, in all buckets: read from its own folder,
    /// because S3's list of them wants their exact keys here.
    pub fn open_multiparts(&self) -> usize {
        let folders = |path: &Path| {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
            entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let keys = folders(&self.folder.path().join("data/.minio.sys/multipart"));
        keys.iter().flat_map(|key| folders(key)).filter(|upload| upload.join("xl.meta").exists()).count()
    }

    pub fn log(&self) -> String {
        read_log(self.folder.path())
    }
}

fn start_process(folder: &Path, address: SocketAddr, console: SocketAddr) -> Option<Process> {
    let program = tools_folder().join("bin/minio");
    assert!(program.exists(), "{} is missing: `make install` puts it there", program.display());
    let mut command = command(&program.display().to_string());
    command.args(["server", "--quiet", "--address", &address.to_string(), "--console-address", &console.to_string()]);
    command.arg(folder.join("data"));
    command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY).env("HOME", folder);
    command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off").env("MINIO_CALLHOME_ENABLE", "off");
    let mut process = Process::start("minio", command, &folder.join("log"), Ending::Kill);
    let ready = || {
        TcpStream::connect(address).is_ok()
            && Request::get("/minio/health/ready").try_send(address).is_ok_and(|answer| answer.status == 200)
    };
    process.wait_ready(ready).then_some(process)
}

fn read_log(folder: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}

impl Bucket {
    /// The same bucket, its content under a prefix.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The same bucket through something that stands before MinIO.
    pub fn through(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same bucket as `[storage]` of Entrepot.
    pub fn set(&self, setup: Setup) -> Setup {
        let quoted = |text: &str| format!("{text:?}");
        let setup = setup
            .set("storage.driver", "\"s3\"")
            .set("storage.bucket", &quoted(&self.name))
            .set("storage.endpoint", &quoted(&self.endpoint()))
            .set("storage.region", &quoted(REGION))
            .set("storage.access_key_id", &quoted(ACCESS_KEY))
            .set("storage.secret_access_key", &quoted(SECRET_KEY));
        if self.prefix.is_empty() { setup } else { setup.set("storage.prefix", &quoted(&self.prefix)) }
    }

    /// As `storage.s3` of distribution, in YAML.
    pub fn registry_settings(&self) -> String {
        format!(
            "{{accesskey: {ACCESS_KEY}, secretkey: {SECRET_KEY}, region: {REGION}, regionendpoint: \"{}\", \
             forcepathstyle: true, secure: false, bucket: {}, rootdirectory: \"/{}\"}}",
            self.endpoint(),
            self.name,
            self.prefix
        )
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.run(async |store| {
            let mut keys = Vec::new();
            let mut list = store.list(None);
            while let Some(object) = list.next().await {
                keys.push(object.expect("a key").location.to_string());
            }
            keys.sort();
            keys
        })
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.run(async |store| match store.get(&key.into()).await {
            Ok(found) => Some(found.bytes().await.expect("an object's bytes").to_vec()),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => panic!("{key}: {error}"),
        })
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.run(async |store| store.put(&key.into(), bytes.into()).await.expect("an object is put"));
    }

    pub fn delete(&self, key: &str) {
        self.run(async |store| store.delete(&key.into()).await.expect("an object is deleted"));
    }

    fn run<T>(&self, work: impl AsyncFnOnce(AmazonS3) -> T) -> T {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let builder = AmazonS3Builder::new().with_endpoint(self.endpoint()).with_allow_http(true);
        let builder = builder.with_bucket_name(&self.name).with_region(REGION).with_virtual_hosted_style_request(false);
        let store = builder.with_access_key_id(ACCESS_KEY).with_secret_access_key(SECRET_KEY).build();
        runtime.block_on(work(store.expect("a store")))
    }
}
