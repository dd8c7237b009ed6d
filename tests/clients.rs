//! Real clients, with the two rules that most registries need: everybody pulls, who has logged in pushes. Each logs in right and
//! wrong, by the token protocol, pulls as nobody, pushes, mounts from one repository into another, and deletes if it can.

mod artifacts;
mod engines;
mod helm;
mod libraries;

use serde_json::json;

use crate::harness::repository::{OCI_MANIFEST, Repository};
use crate::harness::tools::busybox_tree;
use crate::harness::{Entrepot, Setup, digest, eventually, scratch};
use crate::permissions::{PASSWORD, htpasswd};

const TWO_RULES: &str =
    r#"[{ who = ["anonymous"], allow = ["pull"] }, { who = ["authenticated"], allow = ["push", "overwrite"] }]"#;

/// Entrepot with the two rules, and an image of busybox that is there already.
struct Open {
    entrepot: Entrepot,
    host: String,
    files: tempfile::TempDir,
    seen: std::cell::Cell<usize>,
}

impl Open {
    fn start() -> Self {
        let files = scratch();
        let users = files.path().join("users");
        htpasswd(&users, "add", "ann", PASSWORD);
        let entrepot = Setup::registry()
            .storage_at(&files.path().join("data"))
            .set("auth.htpasswd", &format!("{:?}", users.display().to_string()))
            .set("auth.rule", TWO_RULES)
            .start();
        let host = entrepot.address.to_string();
        let open = Open { entrepot, host, files, seen: std::cell::Cell::new(0) };
        open.seed();
        open
    }

    fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    fn repository(&self, name: &str) -> Repository {
        Repository::at(self.entrepot.address, name)
    }

    fn ann(&self, name: &str) -> Repository {
        self.repository(name).basic("ann", PASSWORD)
    }

    /// `seed/busybox:1`, as complete as engines want it.
    fn seed(&self) {
        let archive = busybox_tree(self.files.path());
        let layer = std::fs::read(archive).expect("the archive");
        let seed = self.ann("seed/busybox");
        let digest_of_layer = seed.push_blob(&layer);
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of_layer]},
        })
        .to_string();
        seed.push_blob(config.as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(config.as_bytes()), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of_layer, "size": layer.len(),
            }],
        })
        .to_string();
        seed.push_manifest("1", OCI_MANIFEST, manifest.as_bytes());
    }

    /// Lets ann delete too.
    fn with_deletion(&mut self) {
        let others = TWO_RULES.trim_end_matches(']');
        let rules = format!("{others}, {{ who = [\"user:ann\"], allow = [\"delete\", \"catalog\"] }}]");
        self.entrepot.reload(|setup| setup.set("auth.rule", &rules), "ok");
    }

    fn is_there(&self, name: &str, reference: &str) -> bool {
        self.repository(name).head_manifest(reference).status == 200
    }

    /// How many blobs were mounted since this was asked last: of POSTs, only those that mount are answered 201.
    fn mounted(&self) -> usize {
        let count = || {
            let log = self.entrepot.access_log();
            log.iter().filter(|line| line["method"] == "POST" && line["status"] == 201).count()
        };
        eventually("the log is written", || count() > self.seen.get());
        count() - self.seen.replace(count())
    }

    /// A robot that may push to `robots/**`.
    fn robot(&self) -> String {
        let config = self.entrepot.config_path().display().to_string();
        let told = ["--name", "ci", "--repo", "robots/**", "--allow", "push", "--config", &config];
        let made = Entrepot::cli(&[&["token", "create"], &told[..]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    }
}
