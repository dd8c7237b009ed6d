//! A push whose token ends before it does: who began an upload may end it, and nothing else.

use std::path::PathBuf;

use super::{PASSWORD, RULES, Ruled, SIZE, challenge, htpasswd, setup};
use crate::harness::forge::{Signer, Token};
use crate::harness::repository::{ACCEPT, OCI_MANIFEST, Repository, location, with_digest};
use crate::harness::{Answer, Entrepot, digest, eventually, random_bytes, scratch};

const HOUR: u64 = 3600;

struct Late {
    ruled: Ruled,
    keys: PathBuf,
}

/// Entrepot whose signing key is the test's to use: tokens need not be waited for to end.
fn late() -> Late {
    let folder = scratch();
    let keys = folder.path().join("keys");
    let token = format!("{{ keys = {:?} }}", keys.display().to_string());
    let entrepot = setup(folder.path()).set("auth.token", &token).start();
    Late { ruled: Ruled { entrepot, folder }, keys }
}

impl Late {
    fn token(&self, user: &str, scope: &str) -> String {
        self.ruled.token(Some((user, PASSWORD)), scope)
    }

    /// The same token as if it had been given long ago.
    fn ended(&self, token: &str, seconds: u64) -> String {
        Signer::of_folder(&self.keys).sign(&Token::read(token).ended(seconds))
    }

    fn client(&self, name: &str, token: &str) -> Repository {
        self.ruled.repository(name).bearer(token)
    }
}

const BOB: &str = "repository:bob/a:pull,push";

#[track_caller]
fn asks_for_another_token(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(challenge(answer).ends_with("error=\"invalid_token\""), "{}", challenge(answer));
}

#[test]
fn an_upload_goes_on_after_the_end_of_the_token_that_it_was_begun_with() {
    let late = late();
    let token = late.token("bob", BOB);
    for seconds in [1, 600, 23 * HOUR] {
        let (before, after) = (late.client("bob/a", &token), late.client("bob/a", &late.ended(&token, seconds)));
        let bytes = random_bytes(seconds, SIZE);
        let upload = before.start_upload();
        let patched = after.request("PATCH", upload.clone()).body(&bytes[..SIZE / 2]).send(after.address);
        assert_eq!(patched.status, 202, "{seconds}: {}", patched.text());
        assert_eq!(after.request("GET", location(&patched)).send(after.address).status, 204);
        let target = with_digest(&location(&patched), &digest(&bytes));
        let closed = after.request("PUT", target).body(&bytes[SIZE / 2..]).send(after.address);
        assert_eq!(closed.status, 201, "{seconds}: {}", closed.text());
        before.head_blob(&digest(&bytes)).expect(200);
        let other = before.start_upload();
        assert_eq!(after.request("DELETE", other).send(after.address).status, 204);
    }
}

#[test]
fn nothing_but_its_own_upload_is_asked_by_a_token_that_has_ended() {
    let late = late();
    let image = late.ruled.bob("bob/a").push_random("v1", 1, SIZE);
    let token = late.token("bob", &format!("{BOB}&scope=registry:catalog:*"));
    let ended = late.client("bob/a", &late.ended(&token, 100));
    for (method, target) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/_catalog".into()),
        ("GET", ended.manifest("v1")),
        ("HEAD", ended.manifest("v1")),
        ("GET", ended.blob(&image.layers[0])),
        ("GET", "/v2/bob/a/tags/list".into()),
        ("GET", "/v2/public/a/tags/list".into()),
        ("POST", ended.uploads()),
        ("POST", format!("{}?mount={}&from=bob/a", ended.uploads(), image.layers[0])),
        ("DELETE", ended.manifest("v1")),
    ] {
        let answer = ended.request(method, target.clone()).header("Accept", ACCEPT).send(ended.address);
        assert_eq!(answer.status, 401, "{method} {target}");
        assert!(challenge(&answer).ends_with("error=\"invalid_token\""), "{method} {target}: {}", challenge(&answer));
    }
    let put = ended.request("PUT", ended.manifest("v2")).header("Content-Type", OCI_MANIFEST);
    asks_for_another_token(&put.body(image.manifest.clone()).send(ended.address));
    // With the next token the push comes to its end.
    late.client("bob/a", &late.token("bob", BOB)).push_manifest("v2", OCI_MANIFEST, &image.manifest);
}

#[test]
fn an_upload_of_somebody_else_is_not_ended_by_a_token_that_has_ended() {
    let late = late();
    let (ann, bob) = (late.token("ann", BOB), late.token("bob", &format!("{BOB}&scope=repository:bob/b:pull,push")));
    let ended = late.ended(&bob, 100);
    let of_ann = late.client("bob/a", &ann).start_upload();
    let elsewhere = late.client("bob/b", &bob).start_upload().replace("bob/b", "bob/a");
    let nothing = "/v2/bob/a/blobs/uploads/4d1e4b63-9e2b-4d5c-8f0a-0a1b2c3d4e5f".to_owned();
    let client = late.client("bob/a", &ended);
    for upload in [of_ann.clone(), elsewhere, nothing] {
        for method in ["PATCH", "GET", "DELETE"] {
            asks_for_another_token(&client.request(method, upload.clone()).send(client.address));
        }
        let closed = client.request("PUT", with_digest(&upload, &digest(b"x"))).body("x").send(client.address);
        asks_for_another_token(&closed);
    }
    // Nor by one that had been given for less, or for elsewhere.
    for scope in ["repository:bob/a:pull", "repository:bob/b:pull,push"] {
        let own = late.client("bob/a", &bob).start_upload();
        let less = late.client("bob/a", &late.ended(&late.token("bob", scope), 100));
        assert_eq!(less.request("PATCH", own).body("x").send(less.address).status, 401, "{scope}");
    }
    let fine = late.client("bob/a", &ann);
    assert_eq!(fine.request("PATCH", of_ann).body("x").send(fine.address).status, 202);
}

#[test]
fn a_day_after_its_end_a_token_is_good_for_nothing() {
    let late = late();
    let token = late.token("bob", BOB);
    let upload = late.client("bob/a", &token).start_upload();
    let client = late.client("bob/a", &late.ended(&token, 24 * HOUR + 10));
    asks_for_another_token(&client.request("PATCH", upload).body("x").send(client.address));
}

#[test]
fn an_upload_does_not_go_on_for_who_is_gone() {
    let late = late();
    let users = late.ruled.folder.path().join("users").display().to_string();
    htpasswd(&late.ruled.folder.path().join("users"), "add", "eve", PASSWORD);
    let mut rules = RULES.replace("\"user:bob\"", "\"user:bob\", \"user:eve\"");
    let mut late = late;
    late.ruled.entrepot.reload(|setup| setup.set("auth.rule", &rules), "ok");
    eventually("eve can log in", || late.ruled.ask_token(Some(("eve", PASSWORD)), BOB).status == 200);
    let late_client = |late: &Late, user: &str| {
        let token = late.token(user, BOB);
        let upload = late.client("bob/a", &token).start_upload();
        (late.client("bob/a", &late.ended(&token, 100)), upload)
    };
    let goes_on = |(client, upload): &(Repository, String)| {
        let answer = client.request("GET", upload.clone()).send(client.address);
        assert!(matches!(answer.status, 204 | 401), "{}", answer.status);
        answer.status == 204
    };
    let (bob, eve) = (late_client(&late, "bob"), late_client(&late, "eve"));
    assert!(goes_on(&bob) && goes_on(&eve));
    // Gone from the file.
    assert!(Entrepot::cli(&["user", "remove", &users, "eve"]).status.success());
    eventually("eve's upload is closed to her", || !goes_on(&eve));
    assert!(goes_on(&bob));
    // Gone from the rules.
    rules = RULES.replace("who = [\"user:bob\"]", "who = [\"user:ann\"]");
    late.ruled.entrepot.reload(|setup| setup.set("auth.rule", &rules), "ok");
    assert!(!goes_on(&bob));
    late.ruled.entrepot.reload(|setup| setup.set("auth.rule", RULES), "ok");
    assert!(goes_on(&bob));
    // Another password is another proof.
    htpasswd(&late.ruled.folder.path().join("users"), "passwd", "bob", "another");
    eventually("bob's old token is no good", || !goes_on(&bob));
}
