//! Who did what stands in the audit: each change, each failed login, each refusal, and what operators do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::repository::OCI_MANIFEST;
use crate::harness::{
    Entrepot, FaultProxy, Registry, Reply, Repository, Request, Setup, digest, eventually, random_bytes, scratch,
    secrets,
};

const PASSWORD: &str = "audited-p4ssword";
const SIZE: usize = 20_000;
const RULES: &str = r#"[
    { repositories = "public/**", who = ["anonymous"], allow = ["pull"] },
    { repositories = "**", who = ["group:staff"], allow = ["pull", "push", "overwrite", "delete", "catalog"] },
    { repositories = "frozen/**", who = ["user:ann"], deny = ["overwrite"] },
    { repositories = "bob/**", who = ["user:bob"], allow = ["push"] },
]"#;

struct Audited {
    entrepot: Entrepot,
    file: PathBuf,
    folder: tempfile::TempDir,
}

fn setup(folder: &Path) -> Setup {
    let users = folder.join("users");
    for name in ["ann", "bob"] {
        let word = folder.join("word");
        std::fs::write(&word, PASSWORD).expect("a file");
        let (file, word) = (users.display().to_string(), word.display().to_string());
        succeeds(&["user", "add", &file, name, "--password-file", &word, "--cost", "4"]);
    }
    Setup::registry()
        .storage_at(&folder.join("data"))
        .set("auth.htpasswd", &quoted(&users))
        .set("auth.rule", RULES)
        .set("auth.groups", "{ staff = [\"ann\"] }")
        .set("audit.to", &quoted(&folder.join("audit.log")))
        .set("log.level", "\"trace\"")
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn succeeds(arguments: &[&str]) -> Output {
    let said = Entrepot::cli(arguments);
    assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    said
}

fn audited(change: impl FnOnce(Setup) -> Setup) -> Audited {
    let folder = scratch();
    let entrepot = change(setup(folder.path())).start();
    Audited { entrepot, file: folder.path().join("audit.log"), folder }
}

fn lines_of(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

impl Audited {
    fn ann(&self, name: &str) -> Repository {
        Repository::at(self.entrepot.address, name).basic("ann", PASSWORD)
    }

    /// The first line of which this holds, once there is one.
    fn that(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(&format!("{what} is recorded"), || {
            found = lines_of(&self.file).into_iter().find(|line| holds(line));
            found.is_some()
        });
        found.expect("just found")
    }

    /// All lines with this action, once there are some.
    fn lines(&self, action: &str) -> Vec<Value> {
        let mut found = Vec::new();
        eventually(&format!("{action} is recorded"), || {
            found = lines_of(&self.file).into_iter().filter(|line| line["action"] == action).collect();
            !found.is_empty()
        });
        found
    }

    /// The first line with this action and result, once it is there.
    fn one(&self, action: &str, result: &str) -> Value {
        self.that(action, |line| line["action"] == action && line["result"] == result)
    }
}

#[test]
fn every_change_is_recorded_with_who_made_it_and_the_rule_that_let_them() {
    let audited = audited(|setup| setup);
    let image = audited.ann("team/app").push_random("v1", 1, SIZE);
    for blob in [&image.config, &image.layers[0]] {
        audited.that("a blob", |line| line["action"] == "blob_linked" && line["digest"] == **blob);
    }
    let pushed = audited.one("manifest_pushed", "ok");
    assert_eq!(
        (pushed["digest"].as_str(), pushed["repository"].as_str()),
        (Some(&*digest(&image.manifest)), Some("team/app"))
    );
    let moved = audited.one("tag_moved", "ok");
    assert_eq!((moved["reference"].as_str(), moved["status"].as_u64()), (Some("v1"), Some(201)));
    assert_eq!((moved["actor"]["kind"].as_str(), moved["actor"]["name"].as_str()), (Some("user"), Some("ann")));
    assert_eq!(
        (moved["actor"]["groups"][0].as_str(), moved["actor"]["proof"].as_str()),
        (Some("staff"), Some("basic"))
    );
    assert_eq!(
        (moved["client"]["ip"].as_str(), moved["reason"].as_str()),
        (Some("127.0.0.1"), Some("auth.rule.1 allow"))
    );
    assert!(moved["ts"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{moved}");
    assert!(moved["duration_ms"].as_f64().is_some_and(|took| took > 0.0) && moved["id"] == pushed["id"]);

    // Another image under the tag, mounted layers, and all of it taken away again.
    let second = audited.ann("team/app").push_random("v1", 2, SIZE);
    audited.that("a moved tag", |line| line["action"] == "tag_moved" && line["old"] == *digest(&image.manifest));
    let mount = format!("/v2/team/copy/blobs/uploads/?mount={}&from=team/app", second.layers[0]);
    Request::new("POST", mount).basic("ann", PASSWORD).send(audited.entrepot.address).expect(201);
    audited.that("a mount", |line| line["from"] == "team/app" && line["repository"] == "team/copy");
    for path in [
        "manifests/v1".to_owned(),
        format!("manifests/{}", digest(&image.manifest)),
        format!("blobs/{}", image.layers[0]),
    ] {
        let request = Request::new("DELETE", format!("/v2/team/app/{path}")).basic("ann", PASSWORD);
        request.send(audited.entrepot.address).expect(202);
    }
    audited.one("tag_deleted", "ok");
    audited.one("manifest_deleted", "ok");
    audited.one("blob_unlinked", "ok");
    // What is pulled is no change.
    assert!(lines_of(&audited.file).iter().all(|line| !line["action"].as_str().unwrap_or_default().ends_with("pull")));
    assert_eq!(std::fs::metadata(&audited.file).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(audited.entrepot.metric("entrepot_audit_lines_total", &[("result", "lost")]), 0.0);
}

#[test]
fn every_refusal_and_failed_login_is_recorded_with_its_reason() {
    let audited = audited(|setup| setup);
    let address = audited.entrepot.address;
    audited.ann("frozen/app").push_random("v1", 1, SIZE);
    let wrong = Request::get("/v2/team/app/manifests/v1").basic("ann", "not-the-password").header("User-Agent", "a\"b");
    assert_eq!(wrong.send(address).status, 401);
    let login = audited.one("login", "failed");
    assert_eq!((login["actor"]["kind"].as_str(), login["actor"]["name"].as_str()), (Some("claimed"), Some("ann")));
    assert_eq!((login["reason"].as_str(), login["status"].as_u64()), (Some("wrong"), Some(401)));
    assert_eq!(
        (login["client"]["user_agent"].as_str(), login["repository"].as_str()),
        (Some("a\"b"), Some("team/app"))
    );

    // By the form of the token endpoint, and with a secret in the place of the name.
    let form = "grant_type=password&username=eve&password=eves-longest-password";
    assert_eq!(Request::new("POST", "/token?service=entrepot").body(form).send(address).status, 401);
    let query = Request::get("/token?service=entrepot&account=ann").basic("ent_abcdefghij_x_y", "whatever-it-is");
    assert_eq!(query.send(address).status, 401);
    eventually("both are recorded", || {
        lines_of(&audited.file).iter().filter(|line| line["action"] == "login").count() == 3
    });
    let claimed: Vec<_> = audited.lines("login").iter().map(|line| line["actor"]["name"].clone()).collect();
    assert_eq!(claimed, [Value::from("ann"), Value::from("eve"), Value::Null]);

    // Nobody, somebody else, somebody by a token that is for less, and who may push but not move.
    assert_eq!(Request::get("/v2/team/app/manifests/v1").send(address).status, 401);
    let nobody = audited.one("manifest_pull", "denied");
    assert_eq!((nobody["actor"]["kind"].as_str(), nobody["reason"].as_str()), (Some("anonymous"), Some("nothing")));
    let other = Request::new("DELETE", "/v2/bob/app/manifests/v1").basic("bob", PASSWORD);
    assert_eq!(other.send(address).status, 403);
    assert_eq!(audited.one("manifest_delete", "denied")["actor"]["name"], "bob");
    let scope = "/token?service=entrepot&scope=repository:team/app:pull";
    let token =
        Request::get(scope).basic("ann", PASSWORD).send(address).json()["token"].as_str().expect("a token").to_owned();
    secrets::note(&token);
    let push = Request::new("POST", "/v2/team/app/blobs/uploads/").header("Authorization", format!("Bearer {token}"));
    assert_eq!(push.send(address).status, 401);
    let narrow = audited.one("blob_push", "denied");
    assert_eq!((narrow["reason"].as_str(), narrow["actor"]["proof"].as_str()), (Some("token"), Some("bearer")));
    assert!(narrow["actor"]["token"].as_str().is_some_and(|id| id.len() > 20), "{narrow}");
    let moved = audited.ann("frozen/app").push_random("v2", 2, SIZE);
    let frozen = audited.ann("frozen/app");
    let again = frozen.request("PUT", frozen.manifest("v1")).header("Content-Type", OCI_MANIFEST).body(moved.manifest);
    let again = again.send(address);
    assert_eq!(again.status, 403, "{}", again.text());
    assert_eq!(audited.one("manifest_push", "denied")["reason"], "auth.rule.2 deny");
}

#[test]
fn what_cannot_be_recorded_is_not_done_where_it_has_to_be() {
    // A disk that is always full.
    let mut audited = audited(|setup| setup.set("audit.to", "\"/dev/full\"").set("audit.required", "true"));
    let address = audited.entrepot.address;
    let blob = random_bytes(1, SIZE);
    let whole = || {
        let target = format!("/v2/team/app/blobs/uploads/?digest={}", digest(&blob));
        Request::new("POST", target).basic("ann", PASSWORD).body(blob.clone()).send(address)
    };
    let refused = whole();
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "UNAVAILABLE"), "{}", refused.text());
    assert_eq!(audited.ann("team/app").head_blob(&digest(&blob)).status, 404);
    assert!(audited.entrepot.metric("entrepot_audit_lines_total", &[("result", "lost")]) >= 1.0);
    // What changes nothing goes on.
    assert_eq!(Request::get("/v2/").basic("ann", PASSWORD).send(address).status, 200);

    let file = quoted(&audited.file);
    audited.entrepot.reload(|setup| setup.set("audit.to", &file), "ok");
    whole().expect(201);
    let lines: Vec<_> = lines_of(&audited.file).into_iter().filter(|line| line["client"].is_object()).collect();
    let said: Vec<_> = lines.iter().map(|line| (line["action"].as_str(), line["result"].as_str())).collect();
    assert_eq!(said, [(Some("blob_push"), Some("begun")), (Some("blob_linked"), Some("ok"))], "{lines:?}");
    assert_eq!(lines[0]["id"], lines[1]["id"]);
    assert_eq!(audited.one("reload", "ok")["actor"]["kind"], "operator");
}

#[test]
fn an_audit_that_cannot_be_opened_is_told_by_its_key() {
    let folder = scratch();
    let config = folder.path().join("entrepot.toml");
    let text = setup(folder.path()).set("audit.to", "\"/nowhere/audit.log\"").text();
    std::fs::write(&config, text).expect("a file");
    let said = Entrepot::cli(&["serve", "--config", &config.display().to_string()]);
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && told.contains("audit.to: /nowhere/audit.log cannot be opened"), "{told}");
}

#[test]
fn the_file_is_opened_again_on_sigusr1_and_stdout_will_do() {
    let mut audited = audited(|setup| setup);
    audited.ann("team/a").push_random("v1", 1, SIZE);
    let old = audited.folder.path().join("audit.log.1");
    std::fs::rename(&audited.file, &old).expect("moved");
    audited.entrepot.process().signal(Signal::USR1);
    eventually("it is there again", || audited.file.exists());
    audited.ann("team/b").push_random("v1", 2, SIZE);
    assert!(audited.lines("tag_moved").iter().all(|line| line["repository"] == "team/b"));
    assert!(lines_of(&old).iter().any(|line| line["repository"] == "team/a"));
    audited.entrepot.reload(|setup| setup.set("audit.to", "\"stdout\""), "ok");
    audited.ann("team/c").push_random("v1", 3, SIZE);
    let on_stdout =
        |line: &str| line.starts_with("{\"ts\":") && line.contains("\"team/c\"") && line.contains("tag_moved");
    eventually("it is on stdout", || audited.entrepot.log().lines().any(on_stdout));
}

#[test]
fn what_commands_change_is_recorded_beside() {
    let audited = audited(|setup| setup.set("audit.required", "true"));
    let config = audited.entrepot.config_path().display().to_string();
    let made =
        succeeds(&["token", "create", "--name", "ci", "--repo", "team/**", "--allow", "push", "--config", &config]);
    let secret = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    secrets::note(&secret);
    let id = secret.split('_').nth(1).expect("an id").to_owned();
    let robot = Repository::at(audited.entrepot.address, "team/app").basic("any", &secret);
    robot.push_random("v1", 1, SIZE);
    let pushed = audited.one("tag_moved", "ok");
    assert_eq!((pushed["actor"]["kind"].as_str(), pushed["actor"]["name"].as_str()), (Some("robot"), Some("ci")));
    assert_eq!((pushed["actor"]["secret"].as_str(), pushed["reason"].as_str()), (Some(&*id), Some("robot")));
    succeeds(&["token", "revoke", "ci", "--config", &config]);
    for action in ["robot_created", "robot_revoked"] {
        audited.one(action, "begun");
        let line = audited.one(action, "ok");
        assert_eq!(line["reference"].as_str(), Some(&*format!("robot:ci {id}")));
        assert_eq!(line["actor"]["kind"], "operator");
    }
    let (users, word) = (audited.folder.path().join("users"), audited.folder.path().join("word"));
    let arguments = [
        "user",
        "add",
        &users.display().to_string(),
        "cid",
        "--cost",
        "4",
        "--password-file",
        &word.display().to_string(),
    ];
    let mut command = std::process::Command::new(crate::harness::entrepot::BINARY);
    let said = command.args(arguments).env("ENTREPOT_CONFIG", &config).output().expect("entrepot runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(audited.one("user_added", "ok")["reference"], "user:cid");
}

#[test]
fn what_goes_to_peers_is_recorded_by_their_answer() {
    let folder = scratch();
    let file = folder.path().join("audit.log");
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).set("audit.to", &quoted(&file)).start();
    Repository::at(entrepot.address, "team/app").push_random("v1", 1, SIZE);
    let audited = Audited { entrepot, file, folder };
    let pushed = audited.one("manifest_push", "ok");
    assert_eq!((pushed["actor"]["kind"].as_str(), pushed["reason"].as_str()), (Some("peers"), Some("peers")));
    assert_eq!((pushed["reference"].as_str(), pushed["status"].as_u64()), (Some("v1"), Some(201)));
    audited.one("blob_push", "ok");
    drop(audited);

    let folder = scratch();
    let file = folder.path().join("audit.log");
    let refusing = FaultProxy::scripted(|_| Reply::new(403));
    let entrepot = Setup::before(&[refusing.address]).without_health_checks().set("audit.to", &quoted(&file)).start();
    let delete = Request::new("DELETE", format!("/v2/team/app/manifests/{}", digest(b"x")));
    assert_eq!(delete.send(entrepot.address).status, 403);
    let audited = Audited { entrepot, file, folder };
    assert_eq!(audited.one("manifest_delete", "denied")["status"], 403);
}
