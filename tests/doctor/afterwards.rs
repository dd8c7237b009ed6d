//! What is wrong with an installation that runs: it is asked as its clients ask it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::patient::{Patient, Told, doctor, quoted, well};
use crate::harness::{Authority, Entrepot, Minio, Registry, Request, Setup, scratch, secrets};

const PASSWORD: &str = "a-password-of-ann";

/// A registry on a disk where `ann` may what `allow` says, and whoever has logged in nothing else.
struct Ruled {
    folder: tempfile::TempDir,
    server: Entrepot,
}

impl Ruled {
    fn new(allow: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let folder = scratch();
        let (users, word) = (folder.path().join("users"), folder.path().join("word"));
        std::fs::write(&word, PASSWORD).expect("a file");
        secrets::note(PASSWORD);
        let (users_text, word_text) = (users.display().to_string(), word.display().to_string());
        let added = Entrepot::cli(&["user", "add", &users_text, "ann", "--cost", "4", "--password-file", &word_text]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let rules = format!("[{{ repositories = \"**\", who = [\"user:ann\"], allow = [{allow}] }}]");
        let setup = well(Setup::registry(), folder.path())
            .storage_at(&folder.path().join("data"))
            .set("auth.htpasswd", &quoted(&users))
            .set("auth.rule", &rules);
        let server = change(setup).start();
        // It may hold a secret of the storage.
        std::fs::set_permissions(server.config_path(), std::fs::Permissions::from_mode(0o600)).expect("its mode");
        Ruled { folder, server }
    }

    fn doctor(&self, more: &[&str]) -> Told {
        let word = self.folder.path().join("word").display().to_string();
        let login = ["--user", "ann", "--password-file", &word];
        doctor(self.server.config_path(), &[&login[..], more].concat())
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        collect(&self.folder.path().join("data"), &mut files);
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => collect(&entry.path(), files),
            false => drop(files.insert(entry.path())),
        }
    }
}

#[test]
fn a_whole_installation_is_all_well_and_nothing_is_left_but_bytes_to_be_collected() {
    let ruled = Ruled::new("\"pull\", \"push\", \"delete\", \"catalog\"", |setup| setup);
    let before = ruled.files();
    for _ in 0..2 {
        let told = ruled.doctor(&[]);
        assert_eq!((told.code, &told.json["stage"]), (Some(0), &"after".into()), "{:#}", told.json);
        assert_eq!((told.lines("error", "").len(), told.lines("warning", "").len()), (0, 0), "{:#}", told.json);
        for check in ["config", "ports", "ready", "storage", "login", "push", "pull", "delete", "limits", "clients"] {
            assert!(!told.lines("ok", check).is_empty(), "{check}: {:#}", told.json);
        }
    }
    let new: Vec<_> = ruled.files().difference(&before).map(|path| path.display().to_string()).collect();
    let blobs = new.iter().filter(|path| path.contains("/docker/registry/v2/blobs/")).count();
    // Config and layer of all, and a manifest of each.
    assert_eq!(blobs, 4, "{new:#?}");
    let ours: Vec<_> =
        new.iter().filter(|path| path.contains("/repositories/") || path.contains("/v1/doctor/")).collect();
    assert_eq!(ours, Vec::<&String>::new());
    let catalog = Request::get("/v2/_catalog").basic("ann", PASSWORD).send(ruled.server.address).text();
    assert!(!catalog.contains("entrepot-doctor"), "{catalog}");
}

#[test]
fn a_wrong_password_and_none_are_named() {
    let ruled = Ruled::new("\"pull\", \"push\", \"delete\"", |setup| setup);
    let wrong = ruled.folder.path().join("wrong");
    std::fs::write(&wrong, "not-the-password-of-ann").expect("a file");
    secrets::note("not-the-password-of-ann");
    let login = ["--user", "ann", "--password-file", wrong.to_str().expect("UTF-8")];
    doctor(ruled.server.config_path(), &login).names("error", "login", "the password is wrong");
    let told = doctor(ruled.server.config_path(), &[]);
    told.names("ok", "login", "asks for a login; none was given").names("warning", "push", "without a login");
    assert_eq!(told.lines("error", ""), Vec::<String>::new(), "{:#}", told.json);
}

#[test]
fn a_rule_that_forbids_pushes_or_deletions_is_named() {
    let reader = Ruled::new("\"pull\"", |setup| setup);
    reader.doctor(&[]).only("error", "push", "no rule allows it");
    let writer = Ruled::new("\"pull\", \"push\"", |setup| setup);
    let told = writer.doctor(&[]);
    told.only("warning", "delete", "lets this user push and not delete").names("ok", "pull", "comes back");
}

#[test]
fn a_registry_that_takes_nothing_is_named() {
    let closed = Ruled::new("\"pull\", \"push\", \"delete\"", |setup| setup.set("registry.read_only", "true"));
    let told = closed.doctor(&[]);
    told.only("error", "push", "read_only is true").names("warning", "storage", "read_only = true");
    let kept = Ruled::new("\"pull\", \"push\", \"delete\"", |setup| setup.set("registry.delete", "false"));
    kept.doctor(&[]).only("warning", "delete", "deleting is switched off");
    let nowhere =
        Ruled::new("\"pull\", \"push\", \"delete\"", |setup| setup.set("route.0.repositories", "\"team/**\""));
    nowhere.doctor(&[]).only("error", "push", "cannot be pushed to");
    nowhere.doctor(&["--repository", "team/probe"]).names("ok", "push", "team/probe");
    let maintained = Ruled::new("\"pull\", \"push\", \"delete\"", |setup| setup);
    let config = maintained.server.config_path().display().to_string();
    let on = Entrepot::cli(&["maintenance", "on", "--no-server", "--config", &config]);
    assert!(on.status.success(), "{}", String::from_utf8_lossy(&on.stderr));
    crate::harness::eventually("maintenance is known", || {
        Request::new("POST", "/v2/a/blobs/uploads/").basic("ann", PASSWORD).send(maintained.server.address).status
            == 503
    });
    maintained.doctor(&[]).names("error", "push", "maintenance").names("warning", "storage", "maintenance is on");
}

#[test]
fn who_does_not_run_and_who_runs_in_its_place_are_named() {
    let patient = Patient::registry();
    let told = patient.doctor(&["--after"]);
    told.names("error", "ports", "nobody listens at").names("error", "ports", "no answer from the admin endpoint");
    // A registry of somebody else's at our address.
    let other = Registry::debian().start();
    let patient = Patient::registry().set("listener.0.address", &format!("\"{}\"", other.address));
    patient.doctor(&["--after"]).names("error", "ports", "is not answered by this configuration's Entrepot");
    patient.doctor(&[]).only("error", "ports", "in use by another program");
}

#[test]
fn one_that_speaks_tls_is_asked_by_its_name() {
    let authority = Authority::new();
    let issued = authority.issue("doctor", &["localhost"]);
    let minio = Minio::start(&["doctor"]);
    let tls = format!("[{{ certificate = {}, key = {} }}]", quoted(&issued.certificate), quoted(&issued.key));
    std::fs::set_permissions(&issued.key, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let ruled = Ruled::new("\"pull\", \"push\", \"delete\"", |setup| {
        minio.bucket("doctor").set(setup).set("listener.0.tls", &tls).set("route.0.hosts", "[\"localhost\"]")
    });
    let ca = authority.path().display().to_string();
    let told = ruled.doctor(&["--ca", &ca]);
    assert_eq!(told.lines("error", ""), Vec::<String>::new(), "{:#}", told.json);
    told.names("ok", "push", "was pushed").names("ok", "delete", "was deleted").names(
        "ok",
        "certificates",
        "localhost",
    );
    told.names("warning", "clients", "do not believe its certificate");
    let left: Vec<_> = minio.bucket("doctor").keys().into_iter().filter(|key| key.contains("doctor")).collect();
    assert!(left.iter().all(|key| key.contains("/pulls/")), "{left:?}");
}

#[test]
fn an_image_goes_through_to_the_peers_and_back() {
    let registry = Registry::debian().start();
    let folder = scratch();
    let server = well(Setup::before(&[registry.address]), folder.path()).start();
    let told = doctor(server.config_path(), &[]);
    assert_eq!(told.lines("error", ""), Vec::<String>::new(), "{:#}", told.json);
    told.names("ok", "pull", "comes back").names("ok", "delete", "was deleted");
    let tags = Request::get("/v2/entrepot-doctor/probe/tags/list").send(registry.address).text();
    assert!(!tags.contains("doctor-"), "{tags}");
}
