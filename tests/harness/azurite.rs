//! Azurite, Microsoft's own emulator of Azure's blob storage: one process on a folder of its own.
//!
//! What it cannot do, and Azure can: identities (managed or workload: it knows the account's key alone), copies that go on
//! after their answer (here they are done at once), throttling (503 `ServerBusy`, which the fault proxy answers instead).

use std::net::SocketAddr;
use std::path::Path;

use futures::StreamExt;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::HttpRequestBody;
use object_store::{ObjectStore, ObjectStoreExt};

use super::entrepot::Setup;
use super::http::Request;
use super::process::{Ending, Process, command};
use super::registry::tools_folder;
use super::{ports, scratch};

/// The account that every Azurite has, with the key that Microsoft's documentation prints.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An Azurite that runs.
pub struct Azurite {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    process: Process,
}

/// One container of it, or of something that stands before it.
#[derive(Clone, Debug)]
pub struct Container {
    pub address: SocketAddr,
    pub name: String,
    /// `prefix` of Entrepot; empty: none.
    pub prefix: String,
}

impl Azurite {
    /// With these containers, empty.
    pub fn start(containers: &[&str]) -> Self {
        Azurite::start_in(scratch(), containers)
    }

    pub fn start_in(folder: tempfile::TempDir, containers: &[&str]) -> Self {
        for _ in 0..5 {
            let address = ports::free();
            if let Some(process) = start_process(folder.path(), address) {
                let azurite = Azurite { address, folder, process };
                containers.iter().for_each(|name| azurite.make(name));
                return azurite;
            }
        }
        panic!("azurite does not start:\n{}", read_log(folder.path()));
    }

    pub fn container(&self, name: &str) -> Container {
        Container { address: self.address, name: name.into(), prefix: String::new() }
    }

    /// For memory and processor time.
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn log(&self) -> String {
        read_log(self.folder.path())
    }

    /// One more container.
    pub fn make(&self, container: &str) {
        let target = format!("/{ACCOUNT}/{container}?restype=container");
        let mut signed: http::Request<HttpRequestBody> = http::Request::put(format!("http://{}{target}", self.address))
            .header("content-length", "0")
            .body(HttpRequestBody::empty())
            .expect("a request");
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(ACCOUNT_KEY).expect("a key"));
        AzureAuthorizer::new(&key, ACCOUNT).try_authorize(&mut signed).expect("a signature");
        let mut request = Request::new("PUT", &target);
        for (name, value) in signed.headers().iter().filter(|(name, _)| *name != "content-length") {
            request = request.header(name.as_str(), value.to_str().expect("text"));
        }
        let answer = request.body("").send(self.address);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

fn start_process(folder: &Path, address: SocketAddr) -> Option<Process> {
    let program = tools_folder().join("azurite/node_modules/azurite/dist/src/blob/main.js");
    assert!(program.exists(), "{} is missing: `make install` puts it there", program.display());
    let mut command = command("node");
    command.arg(program).arg("--location").arg(folder.join("data"));
    command.args(["--blobHost", &address.ip().to_string(), "--blobPort", &address.port().to_string()]);
    command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]).env("HOME", folder);
    let mut process = Process::start("azurite", command, &folder.join("log"), Ending::Kill);
    let ready = || Request::get("/").try_send(address).is_ok();
    process.wait_ready(ready).then_some(process)
}

fn read_log(folder: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}

impl Container {
    /// The same container, its content under a prefix.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The same container through something that stands before Azurite.
    pub fn through(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// With the account in its path, as emulators and private endpoints have it.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    /// The same container as `[storage]` of Entrepot.
    pub fn set(&self, setup: Setup) -> Setup {
        let quoted = |text: &str| format!("{text:?}");
        let setup = setup
            .set("storage.driver", "\"azure\"")
            .set("storage.bucket", &quoted(&self.name))
            .set("storage.endpoint", &quoted(&self.endpoint()))
            .set("storage.account", &quoted(ACCOUNT))
            .set("storage.account_key", &quoted(ACCOUNT_KEY))
            // One thread of JavaScript: how fast it is on a busy machine is nobody's question.
            .set("storage.timeouts.request", "\"60s\"");
        if self.prefix.is_empty() { setup } else { setup.set("storage.prefix", &quoted(&self.prefix)) }
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

    fn run<T>(&self, work: impl AsyncFnOnce(MicrosoftAzure) -> T) -> T {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let builder = MicrosoftAzureBuilder::new().with_endpoint(self.endpoint()).with_allow_http(true);
        let builder = builder.with_account(ACCOUNT).with_access_key(ACCOUNT_KEY).with_container_name(&self.name);
        runtime.block_on(work(builder.build().expect("a store")))
    }
}
