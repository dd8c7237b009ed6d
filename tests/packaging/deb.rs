//! The Debian package: lintian has nothing to say of it, a small Debian installs it, serves with it, upgrades and purges it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::script;
use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::tools::{debian_tree, fails, run};
use crate::harness::{PATIENCE, Repository, Request, eventually, ports, registry, scratch};

/// The package, in `folder`.
fn built(folder: &Path) -> PathBuf {
    run(script("packaging/deb/build").args(["--fast", BINARY]).arg(folder)).into()
}

/// A small Debian without systemd, but for its programs that make users and folders, and with authorities that TLS trusts.
struct Debian {
    folder: tempfile::TempDir,
}

impl Debian {
    fn new() -> Self {
        let debian = Debian { folder: scratch() };
        let root = debian.folder.path();
        run(Command::new("tar").arg("-xf").arg(debian_tree()).arg("-C").arg(root));
        for folder in ["dev", "proc", "var/cache/debconf"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        run(Command::new("mknod").args(["-m", "666"]).arg(root.join("dev/null")).args(["c", "1", "3"]));
        let needed = registry::tools_folder().join("debs");
        let packages = fs::read_dir(&needed).expect("`make install` puts them there").flatten();
        for package in packages.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "deb")) {
            fs::copy(package.path(), root.join("tmp").join(package.file_name())).expect("copied");
        }
        debian.run("dpkg -i /tmp/*.deb && rm /tmp/*.deb");
        debian
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What runs in it sees only its own /proc, which goes with it.
    fn inside(mut command: Command, root: &Path, user: &str) -> Command {
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(
            "mount -t proc proc \"$0/proc\" && user=\"$1\" && shift && exec chroot --userspec=\"$user\" \"$0\" \"$@\"",
        );
        command.arg(root).arg(user);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Debian::inside(Command::new("unshare"), self.folder.path(), "root:root");
        command.args(["sh", "-ec", line]);
        command
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        run(&mut self.command(line))
    }

    /// Every path of it that has our name, but for what is below such a folder.
    fn ours(&self) -> Vec<String> {
        let found =
            self.run("find / -xdev -path /proc -prune -o -path /tmp -prune -o -name '*entrepot*' -print -prune | sort");
        found.lines().map(str::to_owned).collect()
    }

    /// The service, as systemd would start it: its user, its folder for sockets, its command.
    fn serving(&self, address: std::net::SocketAddr, admin: std::net::SocketAddr) -> Process {
        self.run("mkdir -p /run/entrepot && chown entrepot:entrepot /run/entrepot && chmod 750 /run/entrepot");
        let mut command = Debian::inside(command("unshare"), self.folder.path(), "entrepot:entrepot");
        command.args(["/usr/bin/entrepot", "serve", "--config", "/etc/entrepot/entrepot.toml"]);
        command.env("ENTREPOT_LISTENER__0__ADDRESS", address.to_string());
        command.env("ENTREPOT_ADMIN__ADDRESS", admin.to_string());
        let mut process = Process::start("the package's entrepot", command, &self.path("tmp/log"), Ending::Terminate);
        let ready =
            process.wait_ready(|| Request::get("/readyz").try_send(admin).is_ok_and(|answer| answer.status == 200));
        assert!(ready, "{}", process.log());
        process
    }
}

#[test]
fn lintian_has_nothing_to_say_and_a_second_one_is_the_same_to_the_byte() {
    let (one, other) = (scratch(), scratch());
    let package = built(one.path());
    let name = package.file_name().expect("a name").to_string_lossy().into_owned();
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    assert_eq!(name, format!("entrepot_{}-1_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    assert!(fs::read(&package).expect("a package") == fs::read(built(other.path())).expect("a package"));
    let said = run(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(&package));
    assert_eq!(said, "");
    let about = run(Command::new("dpkg-deb").arg("--info").arg(&package));
    assert!(about.contains("Depends: libc6 (>= "), "{about}");
}

#[test]
fn it_is_installed_serves_is_upgraded_and_purged_and_images_stay() {
    let (debian, folder) = (Debian::new(), scratch());
    fs::copy(built(folder.path()), debian.path("tmp/entrepot.deb")).expect("copied");
    debian.run("dpkg -i /tmp/entrepot.deb");
    let folders =
        debian.run("stat -c '%U:%G %a %n' /var/lib/entrepot /var/cache/entrepot /var/log/entrepot /etc/entrepot");
    assert_eq!(
        folders,
        "entrepot:entrepot 750 /var/lib/entrepot\nentrepot:entrepot 750 /var/cache/entrepot\n\
         entrepot:entrepot 750 /var/log/entrepot\nroot:entrepot 750 /etc/entrepot"
    );
    assert!(debian.run("getent passwd entrepot").ends_with(":/var/lib/entrepot:/usr/sbin/nologin"));
    let enabled = debian.path("etc/systemd/system/multi-user.target.wants/entrepot.service");
    assert!(enabled.symlink_metadata().is_ok(), "the service begins with the machine");
    assert!(debian.run("entrepot check /etc/entrepot/entrepot.toml").starts_with("/etc/entrepot/entrepot.toml: ok"));
    for page in ["entrepot.1.gz", "entrepot-serve.1.gz", "entrepot-gc-run.1.gz"] {
        assert!(debian.path("usr/share/man/man1").join(page).exists(), "{page}");
    }

    let (address, admin) = (ports::free(), ports::free());
    let serving = debian.serving(address, admin);
    let image = Repository::at(address, "team/app").push_image("1", &[b"a layer"]);
    let blobs = debian.path("var/lib/entrepot/registry/docker/registry/v2/blobs");
    assert!(blobs.is_dir(), "images are where the configuration says");
    assert!(debian.run("entrepot status").contains(": ready"), "by its socket");
    assert!(fs::read_to_string(debian.path("var/log/entrepot/access.log")).expect("a log").contains("team/app"));
    drop(serving);

    // What somebody changed stays over an upgrade.
    let config = debian.path("etc/entrepot/entrepot.toml");
    let changed = fs::read_to_string(&config).expect("the configuration") + "# ours\n";
    fs::write(&config, &changed).expect("written");
    fs::write(debian.path("etc/entrepot/fleet.secret"), "a secret\n").expect("written");
    debian.run("dpkg -i /tmp/entrepot.deb");
    assert_eq!(fs::read_to_string(&config).expect("the configuration"), changed);
    let serving = debian.serving(address, admin);
    assert_eq!(Repository::at(address, "team/app").get_manifest("1").expect(200), image.manifest);
    drop(serving);

    debian.run("dpkg -r entrepot");
    assert!(config.exists() && !debian.path("usr/bin/entrepot").exists());
    let told = debian.run("dpkg -P entrepot");
    assert!(
        told.contains("what is in /var/lib/entrepot stays") && told.contains("what is in /etc/entrepot stays"),
        "{told}"
    );
    assert_eq!(debian.ours(), ["/etc/entrepot", "/var/lib/entrepot"]);
    assert!(blobs.is_dir() && debian.path("etc/entrepot/fleet.secret").exists() && !config.exists());
    assert!(fails(&mut debian.command("dpkg -s entrepot")).contains("is not installed"));
}

/// Ended with the test, by its own id: it is another's child.
struct Successor(i32);

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(process) = Pid::from_raw(self.0) {
            let _ = kill_process(process, Signal::KILL); // it may have ended
        }
    }
}

/// There is no systemd here: what asks it is answered by a program that says yes and writes down what it was asked.
#[test]
fn an_upgrade_gives_the_place_of_the_process_that_serves_to_the_new_program() {
    let (debian, folder) = (Debian::new(), scratch());
    fs::copy(built(folder.path()), debian.path("tmp/entrepot.deb")).expect("copied");
    debian.run("dpkg -i /tmp/entrepot.deb");
    let (address, admin) = (ports::free(), ports::free());
    let mut serving = debian.serving(address, admin);
    let process = || -> Option<i32> {
        let answer = Request::get("/api/v1/status").try_send(admin).ok()?;
        let told: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        told["instance"]["process"].as_i64().and_then(|process| i32::try_from(process).ok())
    };
    let first = process().expect("a process that serves");
    let image = Repository::at(address, "team/app").push_image("1", &[b"a layer"]);

    let systemctl = debian.path("usr/bin/systemctl");
    assert!(!systemctl.exists());
    fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >>/tmp/asked\n").expect("written");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::create_dir_all(debian.path("run/systemd/system")).expect("a folder");
    debian.run("dpkg -i /tmp/entrepot.deb");
    eventually("another process serves", || process().is_some_and(|process| process != first));
    let _successor = Successor(process().expect("a process that serves"));
    assert!(serving.wait(PATIENCE * 3).expect("the old one ends").success(), "{}", serving.log());
    assert_eq!(Repository::at(address, "team/app").get_manifest("1").expect(200), image.manifest);
    let asked = fs::read_to_string(debian.path("tmp/asked")).expect("what was asked");
    assert!(asked.contains("is-active entrepot.service") && !asked.contains("restart"), "{asked}");
}

#[test]
fn who_never_used_it_has_nothing_left_of_it() {
    let (debian, folder) = (Debian::new(), scratch());
    fs::copy(built(folder.path()), debian.path("tmp/entrepot.deb")).expect("copied");
    debian.run("dpkg -i /tmp/entrepot.deb && dpkg -P entrepot");
    assert_eq!(debian.ours(), Vec::<String>::new());
    // Files could still be its own.
    assert!(debian.run("getent passwd entrepot").starts_with("entrepot:"));
    assert!(!debian.path("etc/systemd/system/entrepot.service").exists());
}

#[test]
fn what_is_no_entrepot_is_refused() {
    let folder = scratch();
    let told = |arguments: &[&str]| fails(script("packaging/deb/build").args(arguments).arg(folder.path()));
    assert!(told(&["/bin/true"]).contains("/bin/true is no Entrepot"));
    assert!(told(&["/nowhere"]).contains("/nowhere is no program"));
    assert!(told(&[]).contains("usage: "));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
