//! The registry's storage: there, and ours to do everything with that a registry does.

use std::sync::Arc;

use prometheus::Registry as Prometheus;
use rustix::fs::{Access, access};

use super::clock::Clocks;
use super::disk::nearest;
use super::finding::Findings;
use crate::cli::opened::of_another_user;
use crate::config::Config;
use crate::registry::Maintenance;
use crate::storage::config::DriverKind;
use crate::storage::{self, Error, Rights, Storage};

const CHECK: &str = "storage";
/// What a right is needed for, and its name where S3's rules are written.
const NEEDED: [(&str, &str); 7] = [
    ("write", "s3:PutObject"),
    ("read", "s3:GetObject"),
    ("write on a condition", "s3:PutObject"),
    ("list", "s3:ListBucket"),
    ("copy", "s3:GetObject and s3:PutObject"),
    ("upload in parts", "s3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts"),
    ("delete", "s3:DeleteObject"),
];

/// The storage, where it could be opened: others look into it too.
pub async fn check(config: &Config, clocks: &Clocks) -> (Findings, Option<Arc<Storage>>) {
    let mut findings = Findings::of(CHECK);
    let place = config.storage.place();
    match config.storage.driver {
        DriverKind::Memory => {
            findings.warning(
                "the registry's content is in the memory of the process that serves, and ends with it",
                "name a folder or a bucket in [storage] for what shall stay",
            );
            return (findings, None);
        }
        DriverKind::Filesystem if !config.storage.root.exists() => {
            to_be_made(config, &place, &mut findings);
            return (findings, None);
        }
        _ => {}
    }
    let storage = match opened(config).await {
        Ok(storage) => storage,
        Err(error) => {
            failed((config.storage.driver, &place), "open it", &error, &mut findings);
            return (findings, None);
        }
    };
    if let Ok(Some(_)) = Maintenance::read(&storage).await {
        // Somebody may be copying it.
        findings.warning(
            format!("{place}: maintenance is on, and so nothing was written there to see whether that works"),
            "`entrepot maintenance off` ends it",
        );
        return (findings, Some(storage));
    }
    let rights = storage.rights().await;
    if let Some((theirs, own)) = rights.clock {
        clocks.told_at(format!("the storage ({place})"), theirs, own);
    }
    let is_well = judge(&place, &rights, config, &mut findings);
    if let Some(note) = of_another_user(&config.storage) {
        findings.warning(note.trim_start_matches("note: ").to_owned(), "run this command as the user who serves");
    }
    (findings, is_well.then_some(storage))
}

/// Whether there is something to be opened that would not be made by that.
pub fn is_there(config: &Config) -> bool {
    match config.storage.driver {
        DriverKind::Memory => false,
        DriverKind::Filesystem => config.storage.root.is_dir(),
        _ => true,
    }
}

async fn opened(config: &Config) -> Result<Arc<Storage>, Error> {
    let metrics = storage::Metrics::new(&Prometheus::new()).map_err(|error| Error::Failed(error.to_string()))?;
    Storage::open(&config.storage, Arc::new(metrics)).await
}

/// The first start makes the folder, and we leave none.
fn to_be_made(config: &Config, place: &str, findings: &mut Findings) {
    let there = nearest(&config.storage.root);
    let may = access(&there, Access::WRITE_OK | Access::EXEC_OK);
    match (there.is_dir(), may) {
        (false, _) => findings.error(format!("{place}: {} is a file", there.display()), "name a folder"),
        (true, Ok(())) => findings.ok(format!("{place} is not there yet, and will be made at the first start")),
        (true, Err(error)) => findings.error(
            format!("{place} is not there and cannot be made: {}: {error}", there.display()),
            "make it, and give it to the user who serves",
        ),
    }
}

fn judge(place: &str, rights: &Rights, config: &Config, findings: &mut Findings) -> bool {
    let mut works = Vec::new();
    for right in &rights.tried {
        match &right.outcome {
            Ok(()) => works.push(right.what),
            Err(error) => failed((config.storage.driver, place), right.what, error, findings),
        }
    }
    let is_well = findings.is_all_ok();
    if rights.minds_conditions == Some(false) {
        findings.warning(
            format!("{place} minds no conditions of writes (If-None-Match, If-Match)"),
            "one instance alone may serve from it, and jobs are kept apart by time only; newer stores know conditions",
        );
    }
    if is_well {
        findings.ok(format!("{place} lets us {}", works.join(", ")));
    }
    if config.registry.read_only {
        findings.warning(
            "[registry] read_only = true: whatever the storage allows, nothing is written",
            "right if nobody shall push or delete; else set it to false",
        );
    }
    is_well
}

fn failed((driver, place): (DriverKind, &str), what: &str, error: &Error, findings: &mut Findings) {
    let needed = NEEDED.iter().find(|(name, _)| *name == what).map_or("", |(_, right)| right);
    let is_folder = driver == DriverKind::Filesystem;
    let advice = match error {
        Error::Unavailable(_) | Error::Failed(_) if is_folder => {
            "see whether its disk is mounted and well: `dmesg`, `df`".to_owned()
        }
        Error::Unavailable(_) => "see whether it runs, and whether this machine reaches it".to_owned(),
        Error::Full(_) => "make room there".to_owned(),
        Error::Refused(why) if why.contains("NoSuchBucket") || why.contains("ContainerNotFound") => {
            "make the bucket, or correct storage.bucket".to_owned()
        }
        Error::Refused(why)
            if ["InvalidAccessKeyId", "SignatureDoesNotMatch"].iter().any(|sign| why.contains(sign)) =>
        {
            "correct access_key_id and secret_access_key in [storage] (and this machine's clock)".to_owned()
        }
        Error::Refused(_) if is_folder => {
            "let the user who serves read and write there: `chown -R USER FOLDER`, and mount it for writing".to_owned()
        }
        Error::Refused(_) if needed.is_empty() => {
            "give the keys of [storage] the rights of a registry on the bucket".to_owned()
        }
        Error::Refused(_) => format!("give the keys of [storage] the right to it: on S3 {needed}"),
        _ => "the store's own log may say more".to_owned(),
    };
    findings.error(format!("{place} does not let us {what}: {error}"), advice);
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn config(root: &str) -> Config {
        let text = format!("listener = []\nroute = [{{ read = \"registry\" }}]\n[storage]\nroot = {root:?}\n");
        toml::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn a_folder_is_tried_and_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let clocks = Clocks::default();
        let (findings, storage) = check(&config(root.to_str().unwrap()), &clocks).await;
        assert!(findings.is_all_ok() && storage.is_none() && !root.exists(), "{:?}", findings.found);
        std::fs::create_dir(&root).unwrap();
        let (findings, storage) = check(&config(root.to_str().unwrap()), &clocks).await;
        assert!(findings.is_all_ok() && storage.is_some(), "{:?}", findings.found);
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        std::fs::write(root.join("entrepot"), "").unwrap();
        let (findings, storage) = check(&config(root.to_str().unwrap()), &clocks).await;
        assert!(findings.found[0].level == Level::Error && storage.is_none(), "{:?}", findings.found);
        let (findings, _) = check(&config(root.join("entrepot/below").to_str().unwrap()), &clocks).await;
        assert!(findings.found[0].what.contains("is a file"), "{:?}", findings.found);
    }

    #[test]
    fn what_a_store_says_leads_to_what_to_do() {
        let of = |driver: DriverKind, error: Error| {
            let mut findings = Findings::of(CHECK);
            failed((driver, "b"), "write", &error, &mut findings);
            findings.found.remove(0).advice
        };
        let advice = |error: Error| of(DriverKind::S3, error);
        assert!(advice(Error::Refused("NoSuchBucket".into())).contains("make the bucket"));
        assert!(advice(Error::Refused("SignatureDoesNotMatch".into())).contains("secret_access_key"));
        assert!(advice(Error::Refused("AccessDenied".into())).contains("s3:PutObject"));
        assert!(advice(Error::Unavailable("x".into())).contains("runs"));
        let folder = of(DriverKind::Filesystem, Error::Refused("Permission denied".into()));
        assert!(folder.contains("chown") && !folder.contains("s3:"), "{folder}");
        assert!(of(DriverKind::Filesystem, Error::Unavailable("x".into())).contains("df"));
    }
}
