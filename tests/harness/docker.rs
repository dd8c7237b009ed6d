//! A real Docker daemon of the test's own: its own data, socket and containerd. It trusts plain HTTP on 127.0.0.0/8, as
//! every Docker daemon does.

use std::path::PathBuf;
use std::process::Command;

use super::process::{Ending, Process, command};
use super::tools;

pub struct Dockerd {
    // Ends before the folder goes.
    process: Process,
    folder: tempfile::TempDir,
}

impl Dockerd {
    pub fn start() -> Self {
        Dockerd::with(&[])
    }

    /// Asks this address for what Docker Hub has.
    pub fn mirrored(mirror: &str) -> Self {
        Dockerd::with(&[&format!("--registry-mirror={mirror}")])
    }

    /// With more on its command line.
    pub fn with(arguments: &[&str]) -> Self {
        // A socket's path has at most 107 bytes, so this folder is not under the build's.
        let folder = tempfile::Builder::new().prefix("dockerd-").tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut command = command("/usr/sbin/dockerd");
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        command.args(["--storage-driver=vfs", "--shutdown-timeout=1"]);
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
        command.arg("--pidfile").arg(path("pid"));
        command.arg("--host").arg(format!("unix://{}", path("socket").display()));
        command.args(arguments).env("HOME", folder.path());
        let process = Process::start("dockerd", command, &path("log"), Ending::Terminate);
        let mut dockerd = Dockerd { process, folder };
        let (docker, process) = (dockerd.client(), &mut dockerd.process);
        let answers =
            || Command::new("docker").envs(docker.clone()).arg("version").output().is_ok_and(|o| o.status.success());
        assert!(process.wait_ready(answers), "dockerd ended:\n{}", process.log());
        dockerd
    }

    /// Runs `docker` with these arguments; its standard output, or a panic.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        tools::run(&mut self.command(arguments))
    }

    /// Runs `docker`, which has to fail; all its output.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        tools::fails(&mut self.command(arguments))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.envs(self.client()).args(arguments);
        command
    }

    /// `docker image inspect`'s repository digests of an image.
    pub fn digest(&self, image: &str) -> String {
        let found = self.run(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", image]);
        found.rsplit_once('@').map_or(found.clone(), |(_, digest)| digest.to_owned())
    }

    /// Removes images, so that the next pull fetches every layer again.
    pub fn forget(&self, images: &[&str]) {
        self.run(&[&["image", "rm", "--force"], images].concat());
    }

    fn client(&self) -> Vec<(&'static str, PathBuf)> {
        let socket = format!("unix://{}", self.folder.path().join("socket").display());
        vec![("DOCKER_HOST", socket.into()), ("DOCKER_CONFIG", self.folder.path().join("client"))]
    }
}

/// An image in a daemon, made of an archive of files.
pub fn import(dockerd: &Dockerd, archive: &std::path::Path, image: &str) {
    dockerd.run(&["import", &archive.display().to_string(), image]);
}
