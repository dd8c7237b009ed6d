//! The endpoint behind the commands, as programs ask it.

use serde_json::{Value, json};

use super::world::{Kept, tags};
use crate::harness::{Connection, Registry, Request, Setup};

fn post(path: &str, body: &Value) -> Request {
    Request::new("POST", path).header("Content-Type", "application/json").body(body.to_string().as_bytes())
}

fn steps(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn programs_do_what_commands_do() {
    let kept = Kept::new();
    let (admin, image) = (kept.server.admin, kept.repository("dev/app").push_random("1", 1, 10_000));
    let told = post("/api/v1/tag", &json!({ "source": "dev/app:1", "target": "dev/app:2" })).send(admin).json();
    assert_eq!(told["digest"], image.digest.as_str());
    let answer = post("/api/v1/cp", &json!({ "source": "dev/app", "target": "prod/app" })).send(admin);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let steps = steps(&answer.text());
    assert!(steps.iter().any(|step| step["event"] == "tag" && step["of"] == 2), "{steps:?}");
    let end = steps.last().expect("an end");
    assert_eq!((&end["event"], &end["report"]["tags"]), (&json!("end"), &json!(2)));
    assert_eq!(tags(&kept.server, "prod/app"), ["1", "2"]);
    let gone = post("/api/v1/rm", &json!({ "image": "prod/app:1", "all_tags": true })).send(admin).json();
    assert_eq!(gone["tags"], json!(["1", "2"]));
    let failed = self::steps(&post("/api/v1/cp", &json!({ "source": "absent", "target": "b" })).send(admin).text());
    assert_eq!(failed.last().map(|step| step["event"].clone()), Some(json!("failed")));
}

#[test]
fn the_document_is_served_and_every_path_of_it_is_there() {
    let kept = Kept::new();
    let admin = kept.server.admin;
    let document = Request::get("/openapi.json").send(admin).json();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|method| *method == "get") {
            let answer = Request::new(&method.to_uppercase(), path).send(admin);
            assert!(!matches!(answer.status, 404 | 405), "{method} {path}: {}", answer.text());
        }
        // A method that it has not.
        assert_eq!(Request::new("DELETE", path).send(admin).status, 405, "{path}");
    }
}

#[test]
fn what_is_no_order_is_refused_and_web_pages_order_nothing() {
    let kept = Kept::new();
    kept.repository("a").push_random("1", 1, 10_000);
    let admin = kept.server.admin;
    for (path, body) in [
        ("/api/v1/untag", json!({})),
        ("/api/v1/untag", json!({ "image": "a" })),
        ("/api/v1/untag", json!({ "image": "a:1", "more": 1 })),
        ("/api/v1/uploads/cancel", json!({ "ids": [] })),
        ("/api/v1/maintenance", json!({ "on": "yes" })),
        ("/api/v1/rm", json!(["a:1"])),
    ] {
        let answer = post(path, &body).send(admin);
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (400, "UNSUPPORTED"),
            "{path} {body}: {}",
            answer.text()
        );
    }
    let forged = post("/api/v1/untag", &json!({ "image": "a:1" })).header("Origin", "http://page").send(admin);
    assert_eq!(forged.status, 403);
    assert_eq!(kept.repository("a").get_manifest("1").status, 200);
    let mut connection = Connection::open(admin).expect("a connection");
    connection.send_raw(b"POST /api/v1/untag HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n").expect("sent");
    assert_eq!(connection.read_head().expect("an answer").status(), 413);
}

#[test]
fn an_instance_without_a_registry_says_that_there_is_nothing_to_look_after() {
    let registry = Registry::debian().start();
    let front = Setup::before(&[registry.address]).start();
    let answer = Request::get("/api/v1/uploads").send(front.admin);
    assert!(
        answer.status == 404 && answer.text().contains("no route of this instance leads to the registry"),
        "{}",
        answer.text()
    );
    let told = Request::get("/api/v1/status").send(front.admin).json();
    assert!(told["clusters"]["main"].is_object() && told["storage"].is_null(), "{told}");
}
