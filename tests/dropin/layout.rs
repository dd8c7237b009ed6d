//! A layout on disk, for skopeo.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::ground::pieces::descriptor;
use crate::harness::repository::{OCI_INDEX, OCI_MANIFEST};
use crate::harness::tools::{Containers, busybox_tree, run};
use crate::harness::{Repository, digest, random_bytes, scratch};

/// An OCI layout with an index `all` of two images: gzipped layers, one of them shared.
pub struct Layout {
    folder: tempfile::TempDir,
    containers: Containers,
    pub index: String,
}

impl Layout {
    pub fn make(seed: u64) -> Self {
        let folder = scratch();
        let layout = Layout { folder, containers: Containers::new(), index: String::new() };
        std::fs::create_dir_all(layout.path().join("blobs/sha256")).expect("a folder");
        std::fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        let shared = layout.layer(&busybox_tree(layout.folder.path()));
        let entries = ["amd64", "arm64"].iter().enumerate().map(|(at, architecture)| {
            let tree = layout.folder.path().join(format!("{architecture}.tar"));
            let file = layout.folder.path().join(format!("bytes-{architecture}"));
            std::fs::write(&file, random_bytes(seed + at as u64, 300_000)).expect("a file");
            run(Command::new("tar")
                .arg("-C")
                .arg(layout.folder.path())
                .arg("-cf")
                .arg(&tree)
                .arg(file.file_name().expect("a name")));
            layout.image(architecture, &[shared.clone(), layout.layer(&tree)])
        });
        let entries: Vec<Value> = entries.collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        let mut top = layout.put(OCI_INDEX, index.to_string().as_bytes());
        top["annotations"] = json!({"org.opencontainers.image.ref.name": "all"});
        let index = top["digest"].as_str().expect("a digest").to_owned();
        let list = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
        std::fs::write(layout.path().join("index.json"), list).expect("a file");
        Layout { index, ..layout }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    /// A gzipped layer of an archive: its descriptor, and the digest of what is in it.
    fn layer(&self, archive: &Path) -> (Value, String) {
        let packed = Command::new("gzip").arg("-nc").arg(archive).output().expect("gzip runs").stdout;
        let bytes = std::fs::read(archive).expect("an archive");
        (self.put("application/vnd.oci.image.layer.v1.tar+gzip", &packed), digest(&bytes))
    }

    fn image(&self, architecture: &str, layers: &[(Value, String)]) -> Value {
        let unpacked: Vec<&String> = layers.iter().map(|(_, digest)| digest).collect();
        let config =
            json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": unpacked}});
        let config = self.put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layers: Vec<&Value> = layers.iter().map(|(descriptor, _)| descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        let mut entry = self.put(OCI_MANIFEST, manifest.to_string().as_bytes());
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        entry
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let file = self.path().join("blobs").join(digest.replace(':', "/"));
        std::fs::write(file, bytes).expect("a file of the layout");
        descriptor(media_type, &digest, bytes.len())
    }

    /// By skopeo, with all its images and to the byte.
    pub fn push(&self, repository: &Repository, tag: &str) {
        let source = format!("oci:{}:all", self.path().display());
        self.copy("--dest-tls-verify=false", &source, &reference(repository, tag));
    }

    /// skopeo checks every digest as it pulls; the whole is a layout again.
    pub fn pull(&self, repository: &Repository, tag: &str) {
        let target = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let copy = format!("oci:{}:all", target.path().display());
        self.copy("--src-tls-verify=false", &reference(repository, tag), &copy);
        let list = std::fs::read_to_string(target.path().join("index.json")).expect("a list");
        assert!(list.contains(&self.index), "{list}");
        for file in crate::ground::walk(&self.path().join("blobs")) {
            let (ours, theirs) = (self.path().join("blobs").join(&file), target.path().join("blobs").join(&file));
            assert_eq!(std::fs::read(ours).ok(), std::fs::read(theirs).ok(), "{file}");
        }
    }

    fn copy(&self, option: &str, from: &str, to: &str) {
        run(self.containers.skopeo().args(["copy", "--all", "--preserve-digests", option, from, to]));
    }
}

fn reference(repository: &Repository, tag: &str) -> String {
    format!("docker://{}/{}:{tag}", repository.address, repository.name)
}
