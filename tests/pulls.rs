//! Which manifests were pulled is remembered beside the content: by what they were asked for, and what they are.

use std::path::Path;

use serde_json::Value;

use crate::harness::repository::ACCEPT;
use crate::harness::{Connection, Registry, Repository, Request, Setup, scratch};

/// What is written down of a repository; nothing if there is no such file.
fn pulls(root: &Path, repository: &str) -> Value {
    let file = root.join("entrepot/v1/pulls").join(repository).join("_pulls");
    std::fs::read(file).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).expect("JSON"))
}

/// How often something was pulled.
fn count(pulls: &Value, kind: &str, what: &str) -> Option<u64> {
    pulls[kind][what][1].as_u64()
}

#[test]
fn what_was_pulled_is_known_after_a_restart() {
    let folder = scratch();
    let mut entrepot = Setup::registry().storage_at(folder.path()).start();
    let client = Repository::at(entrepot.address, "team/app");
    let (one, two) = (client.push_random("v1", 1, 1000), client.push_random("v2", 2, 1000));
    client.push_random("v3", 3, 1000);
    for _ in 0..2 {
        client.get_manifest("v1").expect(200);
    }
    client.get_manifest(&two.digest).expect(200);
    client.head_manifest("v3").expect(200);
    client.get_manifest("absent").expect(404);
    client.get_blob(&one.layers[0]).expect(200);
    // What has not changed is in use.
    let unchanged = client.request("GET", client.manifest("v1")).header("If-None-Match", format!("\"{}\"", one.digest));
    unchanged.send(client.address).expect(304);
    entrepot.terminate();
    let found = pulls(folder.path(), "team/app");
    assert_eq!(count(&found, "tags", "v1"), Some(3), "{found}");
    assert_eq!(
        (count(&found, "digests", &one.digest), count(&found, "digests", &two.digest)),
        (Some(3), Some(1)),
        "{found}"
    );
    assert_eq!(found["tags"].as_object().map(serde_json::Map::len), Some(1), "{found}");
    assert_eq!(found["digests"].as_object().map(serde_json::Map::len), Some(2), "{found}");
    entrepot.restart();
    let client = Repository::at(entrepot.address, "team/app");
    client.get_manifest("v2").expect(200);
    entrepot.terminate();
    let found = pulls(folder.path(), "team/app");
    assert_eq!((count(&found, "tags", "v1"), count(&found, "tags", "v2")), (Some(3), Some(1)), "{found}");
    assert_eq!(count(&found, "digests", &two.digest), Some(2), "{found}");
}

/// The peers read from the same storage: their answers are pulls of what is in it, also those out of memory.
#[test]
fn pulls_through_peers_over_the_same_storage_count_too() {
    let folder = scratch();
    let registry = Registry::debian().volume(folder.path()).start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let mut entrepot =
        Setup::before(&[registry.address]).storage_at(folder.path()).set("route.0.write", "\"registry\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    client.get_manifest("v1").expect(200);
    // Kept alive, so that it is given at once when it is in memory.
    let mut connection = Connection::open(client.address).expect("a connection");
    for _ in 0..3 {
        let request = client.request("GET", client.manifest(&image.digest)).header("Accept", ACCEPT);
        let (answer, next) = connection.ask(request).expect("an answer");
        answer.expect(200);
        connection = next;
    }
    drop(connection);
    entrepot.terminate();
    let found = pulls(folder.path(), "team/app");
    assert_eq!(count(&found, "tags", "v1"), Some(1), "{found}");
    assert_eq!(count(&found, "digests", &image.digest), Some(4), "{found}");
}

#[test]
fn pulls_through_peers_with_storage_of_their_own_leave_nothing() {
    let folder = scratch();
    let registry = Registry::debian().start();
    Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let mut entrepot = Setup::before(&[registry.address])
        .storage_at(folder.path())
        .set("route.0.repositories", "\"ours/**\"")
        .set("route.0.read", "\"registry\"")
        .set("route.0.write", "\"registry\"")
        .set("route.1.read", "\"cluster.main\"")
        .start();
    Repository::at(entrepot.address, "team/app").get_manifest("v1").expect(200);
    Request::get("/v2/").send(entrepot.address).expect(200);
    entrepot.terminate();
    assert_eq!(pulls(folder.path(), "team/app"), Value::Null);
}
