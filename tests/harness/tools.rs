//! Command-line clients: skopeo, buildah and podman, those that are built from Go modules, and whatever else a test runs and reads.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{registry, scratch};

/// Runs to the end; its standard output, or a panic that shows everything.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, both(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs to the end; everything that it wrote, or a panic if it succeeded.
#[track_caller]
pub fn fails(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "{command:?} succeeded:\n{}", both(&output));
    both(&output)
}

pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// skopeo, buildah and podman with storage, credentials and trust of their own.
pub struct Containers {
    folder: tempfile::TempDir,
    /// podman takes no longer path for its own than 50 bytes.
    short: tempfile::TempDir,
}

impl Containers {
    pub fn new() -> Self {
        let folder = scratch();
        std::fs::write(folder.path().join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)
            .expect("a policy");
        std::fs::write(folder.path().join("registries.conf"), "").expect("a list of registries");
        std::fs::write(folder.path().join("auth.json"), "{}").expect("no credentials");
        let short = tempfile::Builder::new().prefix("podman-").tempdir().expect("a folder");
        Containers { folder, short }
    }

    /// What their `registries.conf` says.
    pub fn registries(&self, text: &str) {
        std::fs::write(self.folder.path().join("registries.conf"), text).expect("a list of registries");
    }

    pub fn skopeo(&self) -> Command {
        let mut command = self.command("skopeo");
        command.arg("--policy").arg(self.folder.path().join("policy.json"));
        // It does not look into the environment for this.
        command.arg("--registries-conf").arg(self.folder.path().join("registries.conf"));
        command
    }

    /// Its storage is `vfs`, its isolation `chroot`: nothing of the machine is needed or changed.
    pub fn buildah(&self) -> Command {
        let mut command = self.command("buildah");
        command.arg("--root").arg(self.folder.path().join("root"));
        command.arg("--runroot").arg(self.folder.path().join("run"));
        command.args(["--storage-driver", "vfs"]);
        command.env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// Nothing is run with it: images only.
    pub fn podman(&self) -> Command {
        let mut command = self.command("podman");
        command.arg("--root").arg(self.short.path().join("root"));
        command.arg("--runroot").arg(self.short.path().join("run"));
        command.arg("--tmpdir").arg(self.short.path().join("tmp"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        command
    }

    /// crane, oras or helm, as `scripts/install` builds them.
    pub fn built(&self, program: &str) -> Command {
        let path = registry::tools_folder().join("bin").join(program);
        assert!(path.exists(), "{} is missing: `make install` puts it there", path.display());
        let mut command = self.command(&path.display().to_string());
        for (name, folder) in [
            ("DOCKER_CONFIG", "docker"),
            ("HELM_CACHE_HOME", "helm-cache"),
            ("HELM_CONFIG_HOME", "helm-config"),
            ("HELM_DATA_HOME", "helm-data"),
        ] {
            command.env(name, self.folder.path().join(folder));
        }
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.folder.path());
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command.env("REGISTRY_AUTH_FILE", self.folder.path().join("auth.json"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.folder.path().join("registries.conf"));
        command
    }
}

/// A file tree with nothing but busybox, as a tar archive in `folder`: the smallest image that runs.
pub fn busybox_tree(folder: &Path) -> PathBuf {
    let tree = folder.join("busybox");
    std::fs::create_dir_all(tree.join("bin")).expect("a folder");
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static is installed");
    std::os::unix::fs::symlink("busybox", tree.join("bin/sh")).expect("a link");
    let archive = folder.join("busybox.tar");
    run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg("."));
    archive
}

/// A whole Debian of real files, more than 100 MB: made by debootstrap when it is first needed (`scripts/install`).
pub fn debian_tree() -> PathBuf {
    let path = registry::tools_folder().join("debian-tree.tar");
    assert!(path.exists(), "{} is missing: `make install` makes it", path.display());
    path
}
