//! Which storage this is: two processes that have the same one find so out without asking it.

use super::config::{Config, DriverKind};
use super::{Error, Storage};

/// An object store and the part of it that is ours, by whatever login it is asked: what the configuration says of it. `None`: a folder,
/// which is known by itself.
///
/// Versions compare what each of them makes of this: another form would keep them from taking each other's place.
pub(super) fn of_bucket(config: &Config) -> Option<String> {
    let kind = match config.driver {
        DriverKind::Filesystem => return None,
        DriverKind::S3 => "s3",
        DriverKind::Gcs => "gcs",
        DriverKind::Azure => "azure",
        DriverKind::Memory => return Some("memory".to_owned()),
    };
    // Port, case and a last '/' as they are always written.
    let endpoint = config.endpoint.as_deref().unwrap_or_default();
    let endpoint = url::Url::parse(endpoint).map_or_else(|_| endpoint.to_owned(), String::from);
    let parts = [
        endpoint.trim_end_matches('/'),
        // Its containers are its own.
        config.account.as_deref().filter(|_| config.driver == DriverKind::Azure).unwrap_or_default(),
        &config.bucket,
        config.prefix.trim_matches('/'),
    ];
    Some(format!("{kind} {}", parts.join(" ")))
}

impl Storage {
    /// The same in each process of this machine that has this storage, and another one where it has not. A folder is told by what it is
    /// and not by its path: a symlink to it is the same, what was mounted over it since is not.
    ///
    /// # Errors
    /// The disk does not say.
    pub async fn identity(&self) -> Result<String, Error> {
        match (&self.bucket, self.store().files()) {
            (Some(bucket), _) => Ok(bucket.clone()),
            (None, Some(disk)) => {
                let (device, inode) = super::disk::on_disk(disk, |disk| disk.root_identity()).await?;
                Ok(format!("folder {device}:{inode}"))
            }
            (None, None) => Err(super::driver::wrong_kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::Metrics;
    use super::*;

    fn s3() -> Config {
        let endpoint = Some("http://minio:9000".into());
        Config { driver: DriverKind::S3, bucket: "images".into(), endpoint, ..Config::default() }
    }

    #[test]
    fn a_bucket_is_another_one_where_its_content_is_and_not_by_how_it_is_asked() {
        let same = [
            Config { endpoint: Some("HTTP://Minio:9000/".into()), prefix: "/".into(), ..s3() },
            Config { access_key_id: Some("ann".into()), secret_access_key: Some("hush".into()), ..s3() },
            Config { retries: 1, region: Some("eu-west-1".into()), root: "/unused".into(), ..s3() },
        ];
        assert!(same.iter().all(|config| of_bucket(config) == of_bucket(&s3())));
        let others = [
            Config { bucket: "image".into(), prefix: "s".into(), ..s3() },
            Config { bucket: "others".into(), ..s3() },
            Config { prefix: "below".into(), ..s3() },
            Config { endpoint: None, ..s3() },
            Config { endpoint: Some("http://minio:9001".into()), ..s3() },
            Config { driver: DriverKind::Gcs, ..s3() },
            Config { driver: DriverKind::Azure, account: Some("a".into()), ..s3() },
            Config { driver: DriverKind::Azure, account: Some("b".into()), ..s3() },
            Config { driver: DriverKind::Memory, ..s3() },
            Config::default(),
        ];
        let mut all: Vec<_> = others.iter().chain([&s3()]).map(of_bucket).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1, "{all:?}");
    }

    async fn identity(root: &Path) -> String {
        let config = Config { root: root.to_owned(), ..Config::default() };
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        Storage::open(&config, Arc::new(metrics)).await.unwrap().identity().await.unwrap()
    }

    #[tokio::test]
    async fn a_folder_is_known_by_itself_and_not_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other, link) = (folder.path().join("one"), folder.path().join("other"), folder.path().join("link"));
        let known = identity(&one).await;
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert_eq!(identity(&link).await, known);
        assert_ne!(identity(&other).await, known);
        // Another one in its place.
        std::fs::rename(&one, folder.path().join("moved")).unwrap();
        assert_ne!(identity(&one).await, known);
        assert_eq!(identity(&folder.path().join("moved")).await, known);
    }
}
