//! The registry's storage, opened by a command itself: beside whatever serves it, or without.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prometheus::Registry as Prometheus;

use crate::config::{Config, Source};
use crate::fleet::{self, Fleet};
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::uploads::{Limits, Uploads};

/// Memory for what is put into storage, in bytes.
const UPLOAD_MEMORY: u64 = 64 << 20;
/// What is in the root of every storage.
const TREE: &str = "docker";

/// Which storage a command works on.
#[derive(Args)]
pub struct StorageArguments {
    /// The configuration file, whose [storage] is opened [default: as `serve` finds it]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A storage as the configuration names it.
pub struct Opened {
    pub config: Config,
    pub storage: Arc<Storage>,
}

impl Opened {
    /// Opens the storage and asks it something. Makes nothing, not even its folder.
    ///
    /// # Errors
    /// For people.
    pub async fn open(arguments: StorageArguments) -> Result<Self, String> {
        let config = Source::find(arguments.config).load().map_err(|errors| errors.to_string())?;
        reachable(&config.storage)?;
        let metrics = storage::Metrics::new(&Prometheus::new()).map_err(|error| error.to_string())?;
        let storage = Storage::open(&config.storage, Arc::new(metrics)).await;
        let storage = storage.map_err(|error| format!("storage: {error}"))?;
        storage.check().await.map_err(|error| format!("storage: {error}"))?;
        Ok(Opened { config, storage })
    }

    /// For whoever puts blobs into it. Takes no part of a server's spool.
    pub async fn uploads(&self) -> Result<Arc<Uploads>, String> {
        let limits = Limits { memory: UPLOAD_MEMORY, spool: self.config.registry.spool.clone(), spool_size: 0 };
        Uploads::open(&self.storage, limits).await.map_err(|error| format!("storage: {error}"))
    }

    /// The instances that share the storage, as far as a Redis reaches them.
    pub async fn fleet(&self) -> Result<Arc<Fleet>, String> {
        let metrics = fleet::Metrics::new(&Prometheus::new()).map_err(|error| error.to_string())?;
        Ok(Fleet::open(self.config.redis.as_ref(), false, Arc::new(metrics)).await)
    }
}

/// What a command makes among the files of another user, that user's server may not be able to change later. `None`: they are ours.
pub fn of_another_user(config: &storage::Config) -> Option<String> {
    if config.driver != DriverKind::Filesystem {
        return None;
    }
    // A folder that is mounted may be root's, and what is in it the server's.
    let found = std::fs::metadata(config.root.join(TREE)).or_else(|_| std::fs::metadata(&config.root)).ok()?;
    let (theirs, ours) = (found.uid(), rustix::process::geteuid().as_raw());
    (theirs != ours).then(|| {
        let root = config.root.display();
        format!(
            "note: what is in {root} belongs to uid {theirs}, and this is uid {ours}: a server of that uid may not be able to change \
             what is made now; run it as that user"
        )
    })
}

fn reachable(config: &storage::Config) -> Result<(), String> {
    match config.driver {
        DriverKind::Memory => {
            Err("[storage] driver = \"memory\": what is kept there, only the process that serves it can see".to_owned())
        }
        DriverKind::Filesystem if !config.root.is_dir() => {
            Err(format!("there is no folder {} (storage.root): nothing was ever kept there", config.root.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_cannot_see_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let of = |driver, root: PathBuf| storage::Config { driver, root, ..storage::Config::default() };
        let memory = reachable(&of(DriverKind::Memory, PathBuf::new())).unwrap_err();
        assert!(memory.contains("only the process that serves it"), "{memory}");
        let absent = reachable(&of(DriverKind::Filesystem, folder.path().join("absent"))).unwrap_err();
        assert!(absent.contains("absent (storage.root)"), "{absent}");
        assert_eq!(reachable(&of(DriverKind::Filesystem, folder.path().to_owned())), Ok(()));
        assert_eq!(reachable(&of(DriverKind::S3, PathBuf::new())), Ok(()));
    }

    #[test]
    fn files_of_another_user_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let of = |driver| storage::Config { driver, root: folder.path().to_owned(), ..storage::Config::default() };
        assert_eq!(of_another_user(&of(DriverKind::Filesystem)), None);
        // Only root may give files away.
        if std::fs::create_dir(folder.path().join(TREE)).is_ok()
            && std::os::unix::fs::chown(folder.path().join(TREE), Some(12_345), None).is_ok()
        {
            assert!(of_another_user(&of(DriverKind::Filesystem)).unwrap().contains("belongs to uid 12345"));
            assert_eq!(of_another_user(&of(DriverKind::S3)), None);
        }
    }
}
