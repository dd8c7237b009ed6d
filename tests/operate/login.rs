//! Who may: with a section [auth], `admin` is asked for, of everybody and everywhere but at the probes.

use std::path::Path;

use super::world::{Kept, Told, as_user, command, on, quoted, tags};
use crate::harness::{Entrepot, Request, Setup, eventually, scratch, secrets};

const PASSWORD: &str = "operators-p4ssword";
const RULES: &str = r#"[
    { who = ["user:root"], allow = ["admin", "push", "pull", "delete", "catalog", "overwrite"] },
    { repositories = "team/**", who = ["user:lead"], allow = ["admin", "push"] },
    { who = ["user:reader"], allow = ["pull"] },
]"#;

fn with_users(setup: Setup, folder: &Path) -> Setup {
    secrets::note(PASSWORD);
    let users = folder.join("users");
    let word = folder.join("word");
    std::fs::write(&word, PASSWORD).expect("a file");
    for name in ["root", "lead", "reader"] {
        let (file, word) = (users.display().to_string(), word.display().to_string());
        let said = Entrepot::cli(&["user", "add", &file, name, "--password-file", &word, "--cost", "4"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    setup.set("auth.htpasswd", &quoted(&users)).set("auth.rule", RULES)
}

fn guarded() -> (Kept, tempfile::TempDir) {
    let folder = scratch();
    let audit = quoted(&folder.path().join("audit.log"));
    let kept = Kept::start(|setup| with_users(setup, folder.path()).set("audit.to", &audit));
    (kept, folder)
}

#[test]
fn probes_and_metrics_stay_open_and_nothing_else() {
    let (kept, _folder) = guarded();
    let admin = kept.server.admin;
    for path in ["/metrics", "/healthz", "/readyz"] {
        Request::get(path).send(admin).expect(200);
    }
    for (path, login) in [("/status", None), ("/status", Some("wrong")), ("/openapi.json", None), ("/", None)] {
        let request = match login {
            Some(password) => Request::get(path).header("Authorization", crate::harness::http::basic("root", password)),
            None => Request::get(path),
        };
        let answer = request.send(admin);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").is_some_and(|field| field.starts_with("Basic ")), "{path}");
    }
    let own = crate::harness::http::basic("root", PASSWORD);
    assert_eq!(Request::get("/status").header("Authorization", &own).send(admin).status, 200);
    let reader = crate::harness::http::basic("reader", PASSWORD);
    assert_eq!(Request::get("/status").header("Authorization", &reader).send(admin).status, 403);
    // So is HEALTHCHECK, which has no password.
    assert_eq!(on(&kept.server, &["health"]).well(), "ready\n");
}

/// Every command that asks a server.
fn commands() -> Vec<Vec<&'static str>> {
    [
        "status",
        "uploads",
        "maintenance status",
        "maintenance on",
        "tag team/app:1 team/app:x",
        "untag team/app:1",
        "rm team/app:1",
        "cp team/app:1 team/other:1",
        "repo rm team/app --yes",
        "gc plan",
        "gc run",
        "gc status",
        "gc pause",
        "gc undelete team/app",
        "retention plan",
        "retention run --yes",
        "mirror status",
        "explain team/app",
        "mirror warm alpine",
        "cache purge sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ]
    .iter()
    .map(|line| line.split(' ').collect())
    .collect()
}

#[test]
fn every_command_needs_a_login_that_may_and_says_so() {
    let (kept, _folder) = guarded();
    kept.repository("team/app").basic("root", PASSWORD).push_random("1", 1, 10_000);
    for arguments in commands() {
        let said = on(&kept.server, &arguments).badly();
        assert!(
            said.contains("answered 401") && said.contains("--user") && said.contains("ENTREPOT_ADMIN_PASSWORD"),
            "{arguments:?}: {said}"
        );
        let said = as_user(&kept.server, "root", "wrong", &arguments).badly();
        assert!(said.contains("answered 401: the credentials are wrong"), "{arguments:?}: {said}");
        let said = as_user(&kept.server, "reader", PASSWORD, &arguments).badly();
        assert!(said.contains("user:reader needs the permission 'admin' in "), "{arguments:?}: {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
    let root = kept.repository("team/app").basic("root", PASSWORD);
    assert_eq!(root.get_manifest("1").status, 200, "nothing was done");
    let failed = kept.server.metric("entrepot_auth_logins_total", &[("kind", "basic"), ("result", "wrong")]);
    assert!(failed >= commands().len() as f64, "{failed}");
}

#[test]
fn who_may_does_it_and_it_is_recorded_who_it_was() {
    let (kept, folder) = guarded();
    let root = kept.repository("team/app").basic("root", PASSWORD);
    root.push_random("1", 1, 10_000);
    as_user(&kept.server, "root", PASSWORD, &["tag", "team/app:1", "team/app:stable"]).well();
    as_user(&kept.server, "root", PASSWORD, &["mirror", "status"]).well();
    as_user(&kept.server, "root", PASSWORD, &["explain", "team/app:1"]).well();
    let digest = format!("sha256:{}", "a".repeat(64));
    as_user(&kept.server, "root", PASSWORD, &["cache", "purge", &digest]).well();
    // The password from a file, and the name from the command.
    let word = folder.path().join("word");
    let mut command = command(&["untag", "team/app:stable", "--user", "root"]);
    command.arg("--config").arg(kept.server.config_path()).env("ENTREPOT_ADMIN_PASSWORD_FILE", &word);
    Told::of(&command.output().expect("entrepot runs")).well();
    assert_eq!(root.get_manifest("stable").status, 404);
    let text = || std::fs::read_to_string(folder.path().join("audit.log")).unwrap_or_default();
    eventually("all is recorded", || {
        let text = text();
        ["\"tag_set\"", "\"tag_moved\"", "\"cache_purge\"", "\"tag_removed\"", "\"tag_deleted\""]
            .iter()
            .all(|word| text.contains(word))
    });
    for line in text().lines().filter(|line| line.contains("\"tag_set\"") || line.contains("\"cache_purge\"")) {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (line["actor"]["name"].as_str(), line["actor"]["proof"].as_str()),
            (Some("root"), Some("basic")),
            "{line}"
        );
        assert!(line["client"]["ip"] == "127.0.0.1", "{line}");
    }
    // Without a server it is whoever runs the command.
    on(&kept.server, &["tag", "team/app:1", "team/app:again", "--no-server"]).well();
    let line = text().lines().rfind(|line| line.contains("\"tag_set\"")).expect("a line").to_owned();
    assert!(line.contains("\"operator\"") && line.contains("uid "), "{line}");
}

#[test]
fn who_administers_some_repositories_does_what_is_about_them() {
    let (kept, _folder) = guarded();
    let root = |name: &str| kept.repository(name).basic("root", PASSWORD);
    root("team/app").push_random("1", 1, 10_000);
    root("other/app").push_random("1", 2, 10_000);
    let lead = |arguments: &[&str]| as_user(&kept.server, "lead", PASSWORD, arguments);
    lead(&["tag", "team/app:1", "team/app:2"]).well();
    lead(&["cp", "team/app:1", "team/copy:1"]).well();
    for (arguments, place) in [
        (&["cp", "other/app:1", "team/app:stolen"][..], "other/app"),
        (&["cp", "team/app:1", "other/app:2"], "other/app"),
        (&["tag", "other/app:1", "other/app:2"], "other/app"),
        (&["untag", "other/app:1"], "other/app"),
        (&["gc", "run"], "**"),
        (&["maintenance", "on"], "**"),
        (&["status"], "**"),
    ] {
        let said = lead(arguments).badly();
        let needs = format!("user:lead needs the permission 'admin' in {place}: ");
        assert!(said.contains(&needs), "{arguments:?}: {said}");
    }
    assert_eq!(root("team/app").get_manifest("stolen").status, 404);
}

#[test]
fn half_a_login_is_told_before_anybody_is_asked() {
    let (kept, _folder) = guarded();
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = command(arguments);
        command.arg("--config").arg(kept.server.config_path()).envs(variables.iter().copied());
        Told::of(&command.output().expect("entrepot runs")).badly()
    };
    let said = with(&[], &["status", "--user", "root"]);
    assert!(said.contains("the password of 'root' is missing"), "{said}");
    let said = with(&[("ENTREPOT_ADMIN_PASSWORD", PASSWORD)], &["status"]);
    assert!(said.contains("nobody whose it is: --user or ENTREPOT_ADMIN_USER") && !said.contains(PASSWORD), "{said}");
    let both = [("ENTREPOT_ADMIN_PASSWORD", PASSWORD), ("ENTREPOT_ADMIN_PASSWORD_FILE", "/x")];
    let said = with(&both, &["status", "--user", "root"]);
    assert!(said.contains("one of them is enough") && !said.contains(PASSWORD), "{said}");
    let said = with(&[("ENTREPOT_ADMIN_PASSWORD_FILE", "/nowhere")], &["status", "--user", "root"]);
    assert!(said.contains("/nowhere: No such file"), "{said}");
}

#[test]
fn the_socket_is_for_who_serves_and_asks_for_a_login_too() {
    let (short, folder) = (tempfile::tempdir().expect("a short path"), scratch());
    let socket = short.path().join("admin.sock");
    let kept = Kept::start(|setup| with_users(setup, folder.path()).set("admin.unix", &quoted(&socket)));
    kept.repository("team/app").basic("root", PASSWORD).push_random("1", 1, 10_000);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let path = socket.display().to_string();
    let at = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.args(["--admin", &path]).env("ENTREPOT_ADMIN_USER", "root").env("ENTREPOT_ADMIN_PASSWORD", PASSWORD);
        Told::of(&command.output().expect("entrepot runs"))
    };
    at(&["tag", "team/app:1", "team/app:2"]).well();
    assert!(at(&["status"]).well().contains("who asks has to log in"));
    assert_eq!(at(&["health"]).well(), "ready\n");
    let said = Told::of(&command(&["status", "--admin", &path]).output().expect("entrepot runs")).badly();
    assert!(said.contains("answered 401"), "{said}");
    assert_eq!(tags_of(&kept), ["1", "2"]);
    let mut kept = kept;
    kept.server.terminate();
    assert!(!socket.exists(), "it goes with the server");
    let said = at(&["status"]).badly();
    assert!(said.contains(&format!("no answer from the admin endpoint {path}")), "{said}");
    kept.server.restart();
    assert_eq!(at(&["health"]).well(), "ready\n");
    kept.server.kill();
    assert!(socket.exists(), "nobody was there to take it away");
    kept.server.restart();
    assert_eq!(at(&["health"]).well(), "ready\n");
}

fn tags_of(kept: &Kept) -> Vec<String> {
    let root = kept.repository("team/app").basic("root", PASSWORD);
    let answer = root.request("GET", "/v2/team/app/tags/list").send(root.address).json();
    answer["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()).map(str::to_owned).collect()
}

#[test]
fn a_reload_closes_what_was_open() {
    let folder = scratch();
    let mut kept = Kept::new();
    kept.repository("team/app").push_random("1", 1, 10_000);
    on(&kept.server, &["tag", "team/app:1", "team/app:2"]).well();
    kept.server.reload(|setup| with_users(setup, folder.path()), "ok");
    let said = on(&kept.server, &["tag", "team/app:1", "team/app:3"]).badly();
    assert!(said.contains("answered 401"), "{said}");
    as_user(&kept.server, "root", PASSWORD, &["tag", "team/app:1", "team/app:3"]).well();
    assert!(tags(&kept.server, "team/app").is_empty(), "nobody in particular sees nothing");
}
