//! Lines that nothing from outside can break, and a file that says what it has kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

use prometheus::Registry;
use serde_json::{Value, json};

use super::record::{changes, reason};
use super::*;
use crate::auth::{Asked, Permit, Refused, Why};
use crate::events::{Change, Listener as _, What};
use crate::oci::{Action, Algorithm, Digest};
use crate::telemetry::RequestId;

fn origin() -> Origin {
    let client =
        Client { ip: [10, 0, 0, 7].into(), forwarded: None, user_agent: Some(b"docker/20".to_vec()), tls: None };
    let actor =
        Actor { kind: "user", name: Some("ann".into()), groups: vec!["ci".into()], proof: "basic", ..Actor::default() };
    Origin {
        id: RequestId::accept(Some(b"abc")),
        actor,
        client: Some(client),
        host: "r.example".into(),
        began: Instant::now(),
    }
}

fn ok(status: u16) -> Ending {
    Ending { outcome: Outcome::Ok, status: Some(status), reason: Some("auth.rule.1 allow".into()) }
}

fn to_file(folder: &tempfile::TempDir, required: bool) -> (Config, PathBuf) {
    let path = folder.path().join("audit.log");
    (Config { to: Target::File(path.clone()), required }, path)
}

fn read(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn put(method: &str, path: &str) -> Action {
    Action::parse(&method.parse().unwrap(), path, None).unwrap()
}

#[test]
fn a_line_says_who_did_what_and_why_it_was_allowed() {
    let mut lines = Lines::default();
    let deed = Deed { action: "tag_moved", repository: Some("a/b".into()), bytes: Some(7), ..Deed::default() };
    let (time, took) = (UNIX_EPOCH + Duration::from_millis(1_500), Duration::from_micros(2_045));
    lines.push_at(time, took, (&origin(), &deed, &ok(201)));
    let line: Value = serde_json::from_slice(&lines.bytes).unwrap();
    let expected = json!({
        "ts": "1970-01-01T00:00:01.500Z", "id": "abc",
        "actor": { "kind": "user", "name": "ann", "groups": ["ci"], "proof": "basic" },
        "client": { "ip": "10.0.0.7", "user_agent": "docker/20" },
        "host": "r.example", "action": "tag_moved", "repository": "a/b", "bytes": 7,
        "result": "ok", "status": 201, "reason": "auth.rule.1 allow", "duration_ms": 2.045,
    });
    assert_eq!(line, expected);
}

#[test]
fn nothing_from_outside_makes_a_line_of_its_own_or_a_long_one() {
    let hostile = "x\"}\n{\"ts\":\u{2028}\u{7f}\\".repeat(1_000);
    let mut origin = origin();
    origin.actor.name = Some(hostile.clone());
    origin.actor.groups = vec![hostile.clone(); 1_000];
    origin.host.clone_from(&hostile);
    origin.client.as_mut().unwrap().user_agent = Some([hostile.as_bytes(), &[0xff; 100]].concat());
    let deed = Deed {
        action: "login",
        repository: Some(hostile.clone()),
        reference: Some(hostile.clone()),
        ..Deed::default()
    };
    let mut lines = Lines::default();
    lines.push(&origin, &deed, &Ending { outcome: Outcome::Failed, status: None, reason: Some(hostile) });
    let text = String::from_utf8(lines.bytes).unwrap();
    assert!(text.len() < 100_000 && text.matches('\n').count() == 1 && text.ends_with("}\n"), "{}", text.len());
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["result"], "failed");
}

#[test]
fn lines_come_in_order_and_the_file_is_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = to_file(&folder, false);
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    for number in 0..500 {
        audit.note(&origin(), &Deed { action: "tag_moved", bytes: Some(number), ..Deed::default() }, &ok(201));
    }
    audit.shutdown().unwrap();
    let numbers: Vec<_> = read(&path).iter().map(|line| line["bytes"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(audit.lines.with_label_values(&["written"]).get(), 500);
}

#[test]
fn a_file_that_was_moved_away_is_made_again_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = to_file(&folder, false);
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    let note = |action| audit.note(&origin(), &Deed { action, ..Deed::default() }, &ok(201));
    note("one");
    let old = folder.path().join("audit.log.1");
    fs::rename(&path, &old).unwrap();
    note("two");
    audit.reopen().unwrap();
    note("three");
    // Elsewhere by a reload, and nowhere by another.
    let elsewhere = folder.path().join("other.log");
    let other = Config { to: Target::File(elsewhere.clone()), required: true };
    audit.commit(audit.prepare(Some(&other)).unwrap());
    note("four");
    assert!(audit.is_required());
    audit.commit(audit.prepare(None).unwrap());
    note("five");
    assert!(!audit.is_on() && !audit.is_required());
    audit.shutdown().unwrap();
    assert_eq!((read(&old).len(), read(&path).len(), read(&elsewhere).len()), (2, 2, 2));
    for left in [&path, &elsewhere] {
        assert_eq!(read(left)[1]["action"], "reload", "where the audit went on, or that it ended, is told");
    }
    assert!(audit.prepare(Some(&Config { to: Target::File("/nowhere/x".into()), required: false })).is_err());
}

#[tokio::test]
async fn what_is_required_is_on_the_disk_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = to_file(&folder, true);
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    let trail = Trail::begin(&audit, origin(), Permit::open(), put("PUT", "/v2/a/manifests/v1")).await.unwrap();
    let lines = read(&path);
    assert_eq!((lines.len(), &lines[0]["result"], &lines[0]["action"]), (1, &json!("begun"), &json!("manifest_push")));
    let new = Digest::of(Algorithm::Sha256, b"x");
    let what = What::TagMoved { tag: "v1".parse().unwrap(), old: None, new };
    trail.changed(&Change {
        actor: crate::auth::Identity::Anonymous,
        request: RequestId::new(),
        repository: "a".parse().unwrap(),
        what,
    });
    trail.end(201).await;
    drop(trail);
    let lines = read(&path);
    assert_eq!((lines.len(), &lines[1]["result"], &lines[1]["action"]), (2, &json!("ok"), &json!("tag_moved")));
    assert_eq!(
        (&lines[1]["reference"], &lines[1]["status"], &lines[1]["reason"]),
        (&json!("v1"), &json!(201), &json!("open"))
    );
}

/// A disk without space takes nothing: /dev/full is one.
#[tokio::test]
async fn what_cannot_be_recorded_must_not_begin() {
    let config = Config { to: Target::File("/dev/full".into()), required: true };
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    for _ in 0..3 {
        let begun = Trail::begin(&audit, origin(), Permit::open(), put("PUT", "/v2/a/manifests/v1")).await;
        assert_eq!(begun.err(), Some(Unrecorded));
    }
    // Two lines each: that it begins, and that it did not.
    audit.shutdown().unwrap();
    assert_eq!(audit.lines.with_label_values(&["lost"]).get(), 6);
    assert_eq!(audit.lines.with_label_values(&["written"]).get(), 0);
}

#[tokio::test]
async fn whose_client_leaves_is_recorded_too() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = to_file(&folder, false);
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    drop(Trail::begin(&audit, origin(), Permit::open(), put("DELETE", "/v2/a/manifests/v1")).await.unwrap());
    audit.shutdown().unwrap();
    let lines = read(&path);
    assert_eq!(
        (lines.len(), &lines[0]["result"], &lines[0]["reason"]),
        (1, &json!("failed"), &json!("the client left"))
    );
}

#[test]
fn strangers_do_not_keep_changes_out() {
    let (items, _unread) = crossbeam_channel::unbounded();
    let audit = Audit {
        on: AtomicBool::new(true),
        required: AtomicBool::new(false),
        config: Mutex::new(None),
        items,
        waiting: Arc::default(),
        refusals: Allowance::default(),
        lines: IntCounterVec::new(Opts::new("x", "x"), &["result"]).unwrap(),
    };
    let lost = || audit.lines.with_label_values(&["lost"]).get();
    let deed = Deed { action: "login", ..Deed::default() };
    let mut address = 0_u32;
    while lost() == 0 {
        address += 1;
        let mut from = origin();
        from.client.as_mut().unwrap().ip = std::net::Ipv4Addr::from(address).into();
        audit.refused(&from, &deed, &ok(401));
    }
    let waiting = audit.waiting.load(Ordering::Acquire);
    assert!(waiting <= QUEUE_OF_REFUSALS && waiting > QUEUE_OF_REFUSALS - 1_000, "{waiting}");
    audit.note(&origin(), &deed, &ok(201));
    assert_eq!(lost(), 1);
    while lost() == 1 {
        audit.note(&origin(), &deed, &ok(201));
    }
    assert!(audit.waiting.load(Ordering::Acquire) <= QUEUE);
}

#[test]
fn one_address_does_not_fill_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = to_file(&folder, false);
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    let deed = Deed { action: "login", ..Deed::default() };
    let failed = |why: &str| Ending { outcome: Outcome::Failed, status: Some(401), reason: Some(why.into()) };
    for _ in 0..200 {
        audit.refused(&origin(), &deed, &failed("wrong"));
        audit.limited(&origin(), &deed, &failed("limited"));
    }
    audit.note(&origin(), &deed, &ok(201));
    audit.shutdown().unwrap();
    let lines = read(&path);
    let of = |why: &str| lines.iter().filter(|line| line["reason"].as_str().unwrap().starts_with(why)).count();
    assert_eq!((lines.len(), of("wrong"), of("limited")), (53, 51, 1));
    let told = |line: &&Value| line["reason"].as_str().unwrap().ends_with("are left out");
    assert_eq!(lines.iter().filter(told).count(), 2);
    assert_eq!(audit.lines.with_label_values(&["left_out"]).get(), 149 + 199);
}

/// As a process leaves it that was killed in a write.
#[test]
fn what_follows_a_torn_line_begins_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = to_file(&folder, false);
    let deed = Deed { action: "purge", ..Deed::default() };
    fs::write(&path, "{\"torn").unwrap();
    append(&path, &deed, &ok(200)).unwrap();
    append(&path, &deed, &ok(200)).unwrap();
    let mut text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"torn\n{\"ts\"") && text.lines().count() == 3, "{text}");

    text.push_str("{\"again");
    fs::write(&path, text).unwrap();
    let audit = Audit::start(Some(&config), &Registry::new()).unwrap();
    audit.note(&origin(), &deed, &ok(200));
    audit.shutdown().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("{\"again\n{\"ts\"") && text.lines().count() == 5, "{text}");
}

#[test]
fn only_what_changes_content_is_told_of_before_it_begins() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let asked = |method: &str, path: &str, query: Option<&str>| {
        changes(&Action::parse(&method.parse().unwrap(), path, query).unwrap())
    };
    let query = format!("digest={digest}");
    assert!(asked("PUT", "/v2/a/blobs/uploads/1", Some(&query)) && asked("POST", "/v2/a/blobs/uploads/", Some(&query)));
    assert!(asked("DELETE", &format!("/v2/a/blobs/{digest}"), None) && asked("PUT", "/v2/a/manifests/v", None));
    assert!(asked("POST", "/v2/a/blobs/uploads/", Some(&format!("mount={digest}&from=b"))));
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PATCH", "/v2/a/blobs/uploads/1"),
        ("DELETE", "/v2/a/blobs/uploads/1"),
        ("GET", "/v2/a/manifests/v"),
        ("HEAD", "/v2/a/manifests/v"),
        ("GET", "/v2/"),
        ("OPTIONS", "/v2/a/manifests/v"),
    ] {
        assert!(!asked(method, path, None), "{method} {path}");
    }
}

#[test]
fn every_decision_has_a_name() {
    let open = Permit::open().decide(crate::auth::Permission::Push, Asked::Anywhere);
    let names = [
        open,
        Ok(Why::Rule(3)),
        Ok(Why::Robot),
        Err(Refused::Rules(Why::Rule(0))),
        Err(Refused::Rules(Why::Nothing)),
        Err(Refused::Token),
    ];
    assert_eq!(names.map(reason), ["open", "auth.rule.3 allow", "robot", "auth.rule.0 deny", "nothing", "token"]);
}
