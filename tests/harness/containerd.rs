//! A real containerd of the test's own, and `ctr`, which speaks with it as Kubernetes does.

use std::process::Command;

use super::process::{Ending, Process, command};

pub struct Containerd {
    // Ends before the folder goes.
    process: Process,
    folder: tempfile::TempDir,
}

impl Containerd {
    pub fn start() -> Self {
        // A socket's path has at most 107 bytes, so this folder is not under the build's.
        let folder = tempfile::Builder::new().prefix("containerd-").tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            path("root"),
            path("state"),
            path("socket"),
            path("ttrpc")
        );
        std::fs::write(folder.path().join("config.toml"), config).expect("containerd's configuration");
        let mut command = command("containerd");
        command.args(["--config", &path("config.toml")]);
        let process = Process::start("containerd", command, &folder.path().join("log"), Ending::Terminate);
        let mut containerd = Containerd { process, folder };
        let mut asked = containerd.ctr(&["version"]);
        let answers = || asked.output().is_ok_and(|output| output.status.success());
        assert!(containerd.process.wait_ready(answers), "containerd ended:\n{}", containerd.process.log());
        containerd
    }

    pub fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.folder.path().join("socket")).args(arguments);
        command
    }
}
