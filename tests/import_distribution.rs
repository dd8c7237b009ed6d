//! A configuration of distribution, imported, or served as it is: the same file and variables, the same volume, and back.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::tools::output;
use crate::harness::{Image, Registry, Repository, Request, Serving, ports, scratch};

/// A folder with what the files of distribution name: users, a certificate, its key.
fn folder() -> TempDir {
    let folder = scratch();
    let made = rcgen::generate_simple_self_signed(vec!["registry.example.com".to_owned()]).expect("a certificate");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("registry.pem", &made.cert.pem());
    write("registry.key", &made.signing_key.serialize_pem());
    write("account.json", "{}");
    let users = output(Command::new("htpasswd").args(["-nbB", "ann", "a-long-password"]));
    write("htpasswd", String::from_utf8(users.stdout).expect("text").trim());
    folder
}

/// The program, in a folder, with nothing of this process's environment that concerns it.
fn entrepot(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    output(clean(&mut Command::new(BINARY)).args(arguments).current_dir(folder).envs(variables.iter().copied()))
}

fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
    {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `table/0/key`
fn value<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    let mut steps = path.split('/');
    let mut value = table.get(steps.next()?)?;
    for step in steps {
        value = match value {
            toml::Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            value => value.get(step)?,
        };
    }
    Some(value)
}

#[test]
fn every_file_becomes_one_of_ours_that_passes_check() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/distribution");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&examples).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 12, "{} files", files.len());
    for file in files {
        imported(&file);
    }
}

/// Imports one, and looks for what its first lines expect.
fn imported(file: &Path) {
    let folder = folder();
    let name = file.display();
    let theirs = std::fs::read_to_string(file).expect("it reads");
    let argument = file.to_str().expect("a path in UTF-8");
    let done = entrepot(folder.path(), &["import", "distribution", argument, "--output", "entrepot.toml"], &[]);
    assert_eq!(done.status.code(), Some(0), "{name}: {}", text(&done.stderr));
    assert_eq!(text(&done.stderr), "", "{name}");
    let ours = std::fs::read_to_string(folder.path().join("entrepot.toml")).expect("it is written");
    let table: toml::Table = ours.parse().unwrap_or_else(|error| panic!("{name}: {error}\n{ours}"));
    let checked = entrepot(folder.path(), &["check", "entrepot.toml"], &[]);
    assert_eq!(checked.status.code(), Some(0), "{name}: {}\n{ours}", text(&checked.stderr));
    // As it is, it is understood too.
    let as_it_is = entrepot(folder.path(), &["check", argument], &[]);
    assert_eq!(as_it_is.status.code(), Some(0), "{name}: {}", text(&as_it_is.stderr));
    let told = text(&as_it_is.stdout);
    let (mut wanted, mut secrets) = (0, Vec::new());
    for line in theirs.lines().map_while(|line| line.strip_prefix("# ")) {
        let Some((kind, what)) = line.split_once(": ") else { continue };
        wanted += 1;
        match kind {
            "is" => {
                let (path, expected) = what.split_once(" = ").expect("a value");
                let found = value(&table, path).map(ToString::to_string);
                assert_eq!(found.as_deref(), Some(expected), "{name}: {path}\n{ours}");
            }
            "lost" => assert!(
                told.contains(&format!("warning: distribution's {what}")) && ours.contains(&format!("# {what}")),
                "{name}: {what}\n{told}\n{ours}"
            ),
            "needless" => assert!(ours.contains(&format!("# {what}")), "{name}: {what}\n{ours}"),
            "secret" => secrets.push(what.split_once(" = ").expect("a value")),
            _ => wanted -= 1,
        }
    }
    assert!(wanted > 0, "{name} expects nothing");
    for (file, secret) in &secrets {
        let path = folder.path().join(file);
        assert_eq!(std::fs::read_to_string(&path).expect("its file").trim(), *secret);
        assert_eq!(path.metadata().expect("its file").permissions().mode() & 0o777, 0o600);
        for shown in [&ours, &told, &text(&done.stdout)] {
            assert!(!shown.contains(secret), "{name} shows {file}: {shown}");
        }
    }
    assert!(!ours.contains("not-to-be-shown") && !told.contains("not-to-be-shown"), "{name}: {ours}{told}");
    // A second time nothing is written over.
    let again = entrepot(folder.path(), &["import", "distribution", argument, "-o", "entrepot.toml"], &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
}

#[test]
fn without_a_place_to_write_to_no_secret_is_printed() {
    let folder = folder();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/distribution/seed-ha.yml");
    let file = file.to_str().expect("a path in UTF-8");
    let variables = [("REGISTRY_STORAGE_S3_BUCKET", "other"), ("REGISTRY_HTTP_ADDR", "127.0.0.1:5009")];
    let done = entrepot(folder.path(), &["import", "distribution", file], &variables);
    let (ours, said) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(ours.contains("bucket = \"other\"") && ours.contains("REGISTRY_STORAGE_S3_BUCKET"), "{ours}");
    assert!(ours.contains("address = \"127.0.0.1:5009\""), "{ours}");
    assert!(ours.contains("secret_access_key_file = \"/etc/entrepot/storage.secret_access_key\""), "{ours}");
    assert!(said.contains("write it into /etc/entrepot/storage.secret_access_key"), "{said}");
    assert!(!ours.contains("minioadmin123") && !said.contains("minioadmin123"), "{ours}{said}");
}

#[test]
fn what_is_refused_is_named_by_distributions_key() {
    let folder = folder();
    for (yaml, said) in [
        ("version: 0.1\nstorage: {inmemory: }\n", "storage.inmemory is the memory"),
        ("version: 0.1\nstorage: filesystem\nhttp: {net: udp}\n", "http.net is \"udp\""),
        (
            "version: 0.1\nstorage: filesystem\nauth: {htpasswd: {path: nowhere}}\n",
            "config.yml: auth.htpasswd.path (auth.htpasswd): ",
        ),
        ("version: 0.2\nstorage: filesystem\n", "unsupported version: \"0.2\""),
        ("storage: filesystem\n", "unsupported version: \"\""),
        ("version: 0.1\nstorage: {filesystem\nhttp: x\n", "config.yml: did not find expected"),
    ] {
        std::fs::write(folder.path().join("config.yml"), yaml).expect("written");
        for how in [
            &["check", "config.yml"][..],
            &["serve", "config.yml"],
            &["config.yml"],
            &["serve", "--config", "config.yml"],
        ] {
            let refused = entrepot(folder.path(), how, &[]);
            assert_eq!(refused.status.code(), Some(1), "{how:?}");
            assert!(text(&refused.stderr).contains(said), "{how:?} {yaml}: {}", text(&refused.stderr));
        }
    }
}

#[test]
fn both_kinds_of_configuration_at_once_are_refused() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("config.yml", "version: 0.1\nstorage: {filesystem: {rootdirectory: r}}\nhttp: {addr: '127.0.0.1:0'}\n");
    write("entrepot.toml", "[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\nread = \"registry\"\n");
    let refused = entrepot(folder.path(), &["check", "config.yml"], &[("ENTREPOT_CACHE__DISK", "1")]);
    assert_eq!(refused.status.code(), Some(1));
    let said = "ENTREPOT_CACHE__DISK: is of Entrepot's configuration, and config.yml";
    assert!(text(&refused.stderr).starts_with(said), "{}", text(&refused.stderr));
    // Beside a file of Entrepot's, a variable of distribution's does not count, and that is said.
    let warned = entrepot(folder.path(), &["check", "entrepot.toml"], &[("REGISTRY_HTTP_ADDR", "1")]);
    assert_eq!(warned.status.code(), Some(0), "{}", text(&warned.stderr));
    let all = format!("{}{}", text(&warned.stdout), text(&warned.stderr));
    assert!(all.contains("REGISTRY_HTTP_ADDR is of distribution's configuration"), "{all}");
    let variables = [("ENTREPOT_CACHE__DISK", "1GiB"), ("REGISTRY_HTTP_ADDR", "127.0.0.1:0")];
    let refused = entrepot(folder.path(), &["serve"], &variables);
    assert!(text(&refused.stderr).contains("and REGISTRY_HTTP_ADDR is of distribution's"), "{}", text(&refused.stderr));
    // What is no key of either concerns neither.
    for variable in [
        "REGISTRY_AUTH_FILE",
        "REGISTRY_USERNAME",
        "REGISTRY_HTTP_SERVICE_HOST",
        "ENTREPOT_SERVICE_HOST",
        "REGISTRY_URL",
    ] {
        for file in ["config.yml", "entrepot.toml"] {
            let good = entrepot(folder.path(), &["check", file], &[(variable, "10.0.0.1")]);
            assert_eq!(good.status.code(), Some(0), "{variable} {file}: {}", text(&good.stderr));
        }
    }
}

/// Entrepot with arguments and variables of distribution, until it is dropped.
struct InItsPlace {
    address: SocketAddr,
    process: Process,
}

impl InItsPlace {
    /// At `address`, which the arguments or variables name.
    fn start(folder: &Path, arguments: &[&str], variables: &[(&str, String)], address: SocketAddr) -> Self {
        let mut command = command(BINARY);
        clean(&mut command)
            .args(arguments)
            .current_dir(folder)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("entrepot", command, &folder.join("entrepot.log"), Ending::Kill);
        let ready = process.wait_ready(|| TcpStream::connect(address).is_ok());
        assert!(ready, "entrepot does not start:\n{}", process.log());
        InItsPlace { address, process }
    }

    fn log(&self) -> String {
        self.process.log()
    }
}

fn whole(repository: &Repository, image: &Image) {
    repository.get_manifest(&image.digest).expect(200);
    for blob in image.layers.iter().chain([&image.config]) {
        assert_eq!(crate::harness::digest(&repository.get_blob(blob).expect(200)), *blob);
    }
}

/// Distribution, Entrepot with the very same file, and distribution again.
fn taken_over_and_handed_back(mut peer: Serving, login: Option<(&str, &str)>) {
    let at = |name: &str| {
        let repository = Repository::at(peer.address, name);
        login.map_or(repository.clone(), |(user, password)| repository.basic(user, password))
    };
    let (theirs, ours) = (at("team/theirs"), at("team/ours"));
    let first = theirs.push_random("1", 1, 300_000);
    peer.kill();
    let (config, folder) = (peer.config_path(), scratch());
    let config = config.to_str().expect("a path in UTF-8");
    let entrepot = InItsPlace::start(folder.path(), &["serve", config], &[], peer.address);
    whole(&theirs, &first);
    let second = ours.push_random("1", 2, 300_000);
    if login.is_some() {
        let stranger = Repository::at(peer.address, "team/theirs");
        stranger.get_manifest("1").expect(401);
        stranger.request("POST", stranger.uploads()).send(peer.address).expect(401);
    }
    let log = entrepot.log();
    for line in [
        "distribution's http.addr is listener.address",
        "distribution's storage.filesystem.rootdirectory is storage.root",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(log.contains("distribution's http.secret is not needed"), "{log}");
    drop(entrepot);
    peer.restart();
    whole(&theirs, &first);
    whole(&ours, &second);
    assert!(peer.plan_garbage(false).contains("0 blobs and 0 manifests eligible"), "nothing of ours is garbage to it");
}

#[test]
fn entrepot_takes_over_debians_registry_by_its_file_and_hands_it_back() {
    taken_over_and_handed_back(Registry::debian().start(), None);
}

#[test]
fn entrepot_takes_over_distribution_v3_by_its_file_and_hands_it_back() {
    taken_over_and_handed_back(Registry::v3().start(), None);
}

#[test]
fn users_of_an_htpasswd_file_stay_users() {
    let login = ("ann", "correct horse battery");
    taken_over_and_handed_back(Registry::debian().account(login.0, login.1).start(), Some(login));
}

#[test]
fn variables_alone_are_enough() {
    let (volume, folder, address) = (scratch(), folder(), ports::free());
    let variables = [
        ("REGISTRY_HTTP_ADDR", address.to_string()),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", volume.path().display().to_string()),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true".to_owned()),
        ("REGISTRY_AUTH", "htpasswd".to_owned()),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm".to_owned()),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "htpasswd".to_owned()),
        ("REGISTRY_LOADBALANCER_SERVER_PORT", "5000".to_owned()),
    ];
    let entrepot = InItsPlace::start(folder.path(), &["serve"], &variables, address);
    let repository = Repository::at(entrepot.address, "team/app").basic("ann", "a-long-password");
    let image = repository.push_random("1", 3, 100_000);
    Repository::at(entrepot.address, "team/app").get_manifest("1").expect(401);
    repository.request("DELETE", repository.manifest(&image.digest)).send(entrepot.address).expect(202);
    let kept = repository.push_random("2", 4, 100_000);
    assert!(
        entrepot.log().contains("(REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY) is storage.root"),
        "{}",
        entrepot.log()
    );
    drop(entrepot);
    let peer = Registry::debian().volume(volume.path()).start();
    whole(&Repository::at(peer.address, "team/app"), &kept);
}

#[test]
fn a_pull_through_cache_goes_on_with_its_file() {
    let upstream = Registry::debian().start();
    let image = Repository::at(upstream.address, "library/app").push_random("1", 5, 300_000);
    let (folder, address) = (scratch(), ports::free());
    let config = format!(
        "version: 0.1\nproxy: {{remoteurl: \"http://{}\"}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
        upstream.address,
        folder.path().join("volume").display()
    );
    std::fs::write(folder.path().join("config.yml"), config).expect("written");
    // Alone, as the image of distribution takes it.
    let entrepot = InItsPlace::start(folder.path(), &["config.yml"], &[], address);
    let mirrored = Repository::at(entrepot.address, "library/app");
    mirrored.get_manifest("1").expect(200);
    whole(&mirrored, &image);
    drop(upstream);
    whole(&mirrored, &image);
    let refused = mirrored.request("POST", mirrored.uploads()).send(entrepot.address);
    assert_eq!(refused.status, 405, "{}", refused.text());
    Request::get("/v2/").send(entrepot.address).expect(200);
}

/// Distribution has no place for commands: the file that is made has one, and says who may use them once a name is written there.
#[test]
fn commands_reach_what_was_imported() {
    let (folder, address) = (folder(), ports::free());
    let yaml = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}/volume}}}}\nhttp: {{addr: '{address}'}}\n\
         auth: {{htpasswd: {{realm: r, path: {}/htpasswd}}}}\n",
        folder.path().display(),
        folder.path().display()
    );
    std::fs::write(folder.path().join("config.yml"), yaml).expect("written");
    let done = entrepot(folder.path(), &["import", "distribution", "config.yml", "-o", "entrepot.toml"], &[]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let path = folder.path().join("entrepot.toml");
    let made = std::fs::read_to_string(&path).expect("it is written");
    assert!(made.contains("[admin]") && made.contains("unix = \"/run/entrepot/admin.sock\""), "{made}");
    // As the comment has it.
    let named: String = made.lines().map(|line| format!("{}\n", uncommented(line))).collect();
    std::fs::write(&path, named.replace("user:NAME", "user:ann")).expect("written");
    let (socket, admin) = (folder.path().join("run/admin.sock"), ports::free().to_string());
    let socket = socket.to_str().expect("a path in UTF-8");
    let variables = [
        ("ENTREPOT_ADMIN__UNIX", socket.to_owned()),
        ("ENTREPOT_ADMIN__ADDRESS", admin),
        ("ENTREPOT_CACHE__PATH", folder.path().join("cache").display().to_string()),
    ];
    let serving = InItsPlace::start(folder.path(), &["serve", "--config", "entrepot.toml"], &variables, address);
    let image = Repository::at(serving.address, "team/app").basic("ann", "a-long-password").push_random("1", 3, 1000);
    assert!(!image.digest.is_empty(), "who logs in may push, as before");
    let ask = |arguments: &[&str]| {
        let arguments = [arguments, &["--admin", socket]].concat();
        entrepot(folder.path(), &arguments, &[("ENTREPOT_ADMIN_PASSWORD", "a-long-password")])
    };
    let stranger = entrepot(folder.path(), &["status", "--admin", socket], &[]);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(text(&stranger.stderr).contains("answered 401"), "{}", text(&stranger.stderr));
    for command in [["status", "--user", "ann"].as_slice(), &["gc", "plan", "--user", "ann"]] {
        let done = ask(command);
        assert_eq!(done.status.code(), Some(0), "{command:?}: {}", text(&done.stderr));
    }
    // It is taken there from the user who serves, and needs no login.
    let refused = entrepot(folder.path(), &["upgrade", "/bin/true", "--admin", socket], &[]);
    assert!(text(&refused.stderr).contains("the successor ended before it came to us"), "{}", text(&refused.stderr));
}

/// As who follows the comment does it.
fn uncommented(line: &str) -> &str {
    let of_rule = ["#[[auth.rule]]", "#who = ", "#allow = "].iter().any(|start| line.starts_with(start));
    if of_rule { &line[1..] } else { line }
}
