//! The registries under test: one process for each storage and set of rules, started when first needed and shared by all
//! tests, which keep to repositories of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};

use crate::harness::{Azurite, Entrepot, Minio, Setup, scratch};

use super::Repo;
use super::login::{Login, PASSWORD, USER};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    Filesystem,
    Minio,
    Azurite,
    /// The filesystem, with a section `[auth]`.
    Guarded,
}

/// What the registry is told to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    AsByDefault,
    /// Manifests whose blobs are not there are accepted.
    Sparse,
    DeletionDisabled,
}

/// `filesystem::test`, `minio::test` and `azurite::test` for each test of the list, with a repository of its own, and on the
/// filesystem by logins: `basic::test` and `bearer::test`.
macro_rules! on_every_storage {
    ($rules:ident: $($test:ident),* $(,)?) => {
        mod filesystem {
            $(#[test] fn $test() {
                use $crate::conformance::server::{Rules, Storage, repository};
                super::$test(&repository(Storage::Filesystem, Rules::$rules, stringify!($test)));
            })*
        }
        mod minio {
            $(#[test] fn $test() {
                use $crate::conformance::server::{Rules, Storage, repository};
                super::$test(&repository(Storage::Minio, Rules::$rules, stringify!($test)));
            })*
        }
        mod azurite {
            $(#[test] fn $test() {
                use $crate::conformance::server::{Rules, Storage, repository};
                super::$test(&repository(Storage::Azurite, Rules::$rules, stringify!($test)));
            })*
        }
        mod basic {
            $(#[test] fn $test() {
                use $crate::conformance::{login::Login, server::{Rules, repository_by}};
                super::$test(&repository_by(Login::Basic, Rules::$rules, stringify!($test)));
            })*
        }
        mod bearer {
            $(#[test] fn $test() {
                use $crate::conformance::{login::Login, server::{Rules, repository_by}};
                super::$test(&repository_by(Login::Bearer, Rules::$rules, stringify!($test)));
            })*
        }
    };
    ($($test:ident),* $(,)?) => { on_every_storage!(AsByDefault: $($test),*); };
}

/// An empty repository for `test`.
pub fn repository(storage: Storage, rules: Rules, test: &str) -> Repo {
    named(address(storage, rules), Login::None, test)
}

/// The same where users log in.
pub fn repository_by(login: Login, rules: Rules, test: &str) -> Repo {
    named(address(Storage::Guarded, rules), login, test)
}

fn named(address: SocketAddr, login: Login, test: &str) -> Repo {
    Repo::new(address, login, &format!("conformance/{}", test.replace('_', "-")))
}

fn address(storage: Storage, rules: Rules) -> SocketAddr {
    // `None`: it did not start, and would not for the next test either.
    static SERVERS: [[OnceLock<Option<SocketAddr>>; 3]; 4] = [const { [const { OnceLock::new() }; 3] }; 4];
    if let Ok(elsewhere) = std::env::var("ENTREPOT_CONFORMANCE_AT") {
        return elsewhere.parse().expect("ENTREPOT_CONFORMANCE_AT is an address and a port");
    }
    let server = SERVERS[storage as usize][rules as usize].get_or_init(|| keep(move || start(storage, rules)));
    server.unwrap_or_else(|| panic!("the registry on {storage:?}, {rules:?}, did not start"))
}

/// What runs, where it listens, and the folders that it leaves.
struct Running {
    address: SocketAddr,
    folders: Vec<PathBuf>,
    _entrepot: Entrepot,
    /// Ends after who stands on it.
    _store: Store,
}

enum Store {
    Folder,
    Minio(#[allow(dead_code, reason = "it runs as long as it is held")] Minio),
    Azurite(#[allow(dead_code, reason = "it runs as long as it is held")] Azurite),
}

/// Starts on a thread that never ends, because processes end with the thread that started them, and tests are threads.
fn keep(start: impl FnOnce() -> Running + Send + 'static) -> Option<SocketAddr> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let running = start();
        let mut broom = sweep(&running.folders);
        // Its input stays open as long as we live, and so does it.
        let _input = broom.stdin.take();
        tell.send(running.address).expect("somebody waits");
        broom.wait()
    });
    told.recv().ok()
}

fn start(storage: Storage, rules: Rules) -> Running {
    let content = scratch().keep();
    let setup = Setup::before(&[])
        .set("cluster", "{}")
        .set("route", r#"[{ read = "registry", write = "registry" }]"#)
        .set("registry.missing_references", if rules == Rules::Sparse { r#""accept""# } else { r#""refuse""# })
        .set("registry.delete", if rules == Rules::DeletionDisabled { "false" } else { "true" });
    let folder = || tempfile::Builder::new().tempdir_in(&content).expect("a folder for the store");
    let (setup, store) = match storage {
        Storage::Filesystem => (setup.storage_at(&content), Store::Folder),
        Storage::Guarded => {
            let setup = setup.set("auth.username", &format!("{USER:?}")).set("auth.password", &format!("{PASSWORD:?}"));
            (setup.storage_at(&content), Store::Folder)
        }
        Storage::Minio => {
            let minio = Minio::start_in(folder(), &["conformance"]);
            (minio.bucket("conformance").set(setup), Store::Minio(minio))
        }
        Storage::Azurite => {
            let azurite = Azurite::start_in(folder(), &["conformance"]);
            (azurite.container("conformance").set(setup), Store::Azurite(azurite))
        }
    };
    let entrepot = setup.start();
    let own = entrepot.config_path().parent().expect("a file is in a folder").to_owned();
    Running { address: entrepot.address, folders: vec![own, content], _entrepot: entrepot, _store: store }
}

/// Nothing static is ever dropped: a process that outlives ours, when its standard input ends, removes the folders.
fn sweep(folders: &[PathBuf]) -> Child {
    let mut broom = Command::new("sh");
    // Twice, since the registry too is just ending and may still write.
    broom.args(["-c", r#"cat >/dev/null; rm -rf "$@"; sleep 12; rm -rf "$@""#, "broom"]).args(folders);
    broom.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs")
}
