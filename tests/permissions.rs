//! Our own rules before the registry: who may do what.

mod clusters;
mod fleet;
mod late;
mod peers;

use std::path::Path;

use crate::harness::repository::{ACCEPT, Repository, location, with_digest};
use crate::harness::{Answer, Entrepot, Request, Setup, digest, eventually, random_bytes, scratch};

pub const PASSWORD: &str = "5ecret-p4ssword";
const SIZE: usize = 20_000;

/// Everybody pulls from `public/**`; ann may all, but for moving tags in `frozen/**`; bob pushes to `bob/**`.
const RULES: &str = r#"[
    { repositories = "public/**", who = ["anonymous"], allow = ["pull"] },
    { who = ["user:ann"], allow = ["pull", "push", "overwrite", "delete", "catalog"] },
    { repositories = "frozen/**", who = ["user:ann"], deny = ["overwrite"] },
    { repositories = "bob/**", who = ["user:bob"], allow = ["push", "catalog"] },
]"#;

struct Ruled {
    entrepot: Entrepot,
    folder: tempfile::TempDir,
}

pub fn htpasswd(file: &Path, verb: &str, name: &str, password: &str) {
    let folder = file.parent().expect("a folder");
    std::fs::write(folder.join("word"), password).expect("a file");
    let (file, word) = (file.display().to_string(), folder.join("word").display().to_string());
    let said = Entrepot::cli(&["user", verb, &file, name, "--password-file", &word, "--cost", "4"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn setup(folder: &Path) -> Setup {
    let users = folder.join("users");
    for name in ["ann", "bob"] {
        htpasswd(&users, "add", name, PASSWORD);
    }
    Setup::registry()
        .storage_at(&folder.join("data"))
        .set("auth.htpasswd", &format!("{:?}", users.display().to_string()))
        .set("auth.rule", RULES)
        .set("log.level", "\"trace\"")
}

fn ruled() -> Ruled {
    let folder = scratch();
    Ruled { entrepot: setup(folder.path()).start(), folder }
}

impl Ruled {
    fn repository(&self, name: &str) -> Repository {
        Repository::at(self.entrepot.address, name)
    }

    fn ann(&self, name: &str) -> Repository {
        self.repository(name).basic("ann", PASSWORD)
    }

    fn bob(&self, name: &str) -> Repository {
        self.repository(name).basic("bob", PASSWORD)
    }

    /// A token by the protocol.
    fn token(&self, login: Option<(&str, &str)>, scope: &str) -> String {
        let answer = self.ask_token(login, scope);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    fn ask_token(&self, login: Option<(&str, &str)>, scope: &str) -> Answer {
        let request = Request::get(format!("/token?service=entrepot&scope={scope}"));
        let request = login.iter().fold(request, |request, (user, password)| request.basic(user, password));
        request.send(self.entrepot.address)
    }
}

fn challenge(answer: &Answer) -> String {
    answer.header("www-authenticate").unwrap_or_default().to_owned()
}

#[test]
fn who_shows_nothing_is_sent_for_a_token() {
    let ruled = ruled();
    let address = ruled.entrepot.address;
    let base = Request::get("/v2/").send(address);
    assert_eq!((base.status, base.error_code().as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(challenge(&base), format!("Bearer realm=\"http://{address}/token\",service=\"entrepot\""));
    let blob = digest(b"x");
    for (method, target, scope) in [
        ("GET", "/v2/a/manifests/v1".to_owned(), "repository:a:pull"),
        ("HEAD", "/v2/a/manifests/v1".into(), "repository:a:pull"),
        ("GET", format!("/v2/a/blobs/{blob}"), "repository:a:pull"),
        ("GET", "/v2/a/tags/list".into(), "repository:a:pull"),
        ("PUT", "/v2/a/manifests/v1".into(), "repository:a:pull,push"),
        ("POST", "/v2/a/blobs/uploads/".into(), "repository:a:pull,push"),
        ("DELETE", "/v2/a/manifests/v1".into(), "repository:a:delete"),
        ("GET", "/v2/_catalog".into(), "registry:catalog:*"),
        ("PUT", "/v2/public/a/manifests/v1".into(), "repository:public/a:pull,push"),
    ] {
        let answer = Request::new(method, target.clone()).send(address);
        assert_eq!(answer.status, 401, "{method} {target}");
        assert!(challenge(&answer).ends_with(&format!(",scope=\"{scope}\"")), "{target}: {}", challenge(&answer));
    }
    assert_eq!(Request::get("/v2/public/a/tags/list").send(address).status, 404);
    assert_eq!(Request::get("/healthz").send(address).status, 200);
}

#[test]
fn a_wrong_password_is_never_taken_for_nobody() {
    let ruled = ruled();
    let image = ruled.ann("public/a").push_random("v1", 1, SIZE);
    assert_eq!(ruled.repository("public/a").get_manifest("v1").expect(200), image.manifest);
    for (user, password) in [("ann", "wrong"), ("eve", PASSWORD), ("ann", ""), ("", PASSWORD), ("ann", "ent_a_b_c")] {
        let wrong = ruled.repository("public/a").basic(user, password);
        let answer = wrong.get_manifest("v1");
        assert_eq!(answer.status, 401, "{user} {password}");
        assert!(challenge(&answer).starts_with("Bearer "), "{}", challenge(&answer));
        let refused = ruled.ask_token(Some((user, password)), "repository:public/a:pull");
        assert_eq!(refused.status, 401, "{user} {password}");
    }
    for field in ["Bearer a.b.c", "Bearer", "Basic %%%", "Digest x", "Bearer ent_a_b_c"] {
        let request = Request::get("/v2/public/a/manifests/v1").header("Accept", ACCEPT).header("Authorization", field);
        assert_eq!(request.send(ruled.entrepot.address).status, 401, "{field}");
    }
    // A login of nobody is nobody.
    let nobody =
        Request::get("/v2/public/a/manifests/v1").header("Accept", ACCEPT).header("Authorization", "Basic Og==");
    assert_eq!(nobody.send(ruled.entrepot.address).status, 200);
}

#[test]
fn what_may_not_be_read_looks_like_what_is_not_there() {
    let ruled = ruled();
    let image = ruled.ann("secret/a").push_random("v1", 1, SIZE);
    let mut seen = Vec::new();
    for name in ["secret/a", "nothing/a"] {
        let same = |answer: Answer| {
            let body = answer.text().replace(name, "NAME");
            (answer.status, challenge(&answer).replace(name, "NAME"), body)
        };
        let absent = |client: &Repository| same(client.get_manifest("v1"));
        let (nobody, bob) = (ruled.repository(name), ruled.bob(name));
        assert_eq!(absent(&nobody).0, 401);
        assert_eq!(absent(&bob).0, 403);
        seen.push([absent(&nobody), absent(&bob)]);
        let token = ruled.token(Some(("bob", PASSWORD)), &format!("repository:{name}:pull"));
        let answer = ruled.repository(name).bearer(&token).get_manifest("v1");
        assert_eq!(answer.status, 401);
        assert!(challenge(&answer).ends_with("error=\"insufficient_scope\""), "{}", challenge(&answer));
        assert_eq!(bob.get_blob(&image.layers[0]).status, 403);
        assert_eq!(bob.request("GET", format!("/v2/{name}/tags/list")).send(bob.address).status, 403);
        assert_eq!(bob.request("DELETE", bob.manifest("v1")).send(bob.address).status, 403);
        assert_eq!(bob.request("POST", bob.uploads()).send(bob.address).status, 403);
    }
    assert_eq!(seen[0], seen[1]);
    ruled.ann("secret/a").get_manifest("v1").expect(200);
}

#[test]
fn a_token_is_good_for_what_it_was_given_for() {
    let ruled = ruled();
    let image = ruled.ann("team/a").push_random("v1", 1, SIZE);
    let pull = ruled.repository("team/a").bearer(&ruled.token(Some(("ann", PASSWORD)), "repository:team/a:pull"));
    assert_eq!(pull.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(pull.request("GET", "/v2/").send(pull.address).status, 200);
    assert_eq!(pull.request("POST", pull.uploads()).send(pull.address).status, 401);
    assert_eq!(pull.request("GET", "/v2/team/ab/tags/list").send(pull.address).status, 401);
    let push = ruled.token(Some(("ann", PASSWORD)), "repository:team/a:pull,push");
    ruled.repository("team/a").bearer(&push).push_random("v2", 2, SIZE);
    // Asking for too much gives what there is.
    let answer =
        ruled.ask_token(Some(("bob", PASSWORD)), "repository:bob/x:pull,push,delete&scope=repository:team/a:pull");
    let token = answer.json()["token"].as_str().expect("a token").to_owned();
    assert_eq!(answer.json()["access_token"], token.as_str());
    assert!(answer.json()["expires_in"].as_u64().is_some_and(|seconds| seconds >= 60));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let bob = ruled.repository("bob/x").bearer(&token);
    bob.push_random("v1", 3, SIZE);
    assert_eq!(bob.request("DELETE", bob.manifest("v1")).send(bob.address).status, 401);
    // Nobody gets a token too, and one for nothing.
    let nobody = ruled.token(None, "repository:public/a:pull,push");
    assert_eq!(ruled.repository("public/a").bearer(&nobody).get_manifest("v1").status, 404);
    let pushes = ruled.repository("public/a").bearer(&nobody);
    assert_eq!(pushes.request("POST", pushes.uploads()).send(pushes.address).status, 401);
}

#[test]
fn tokens_are_asked_for_by_form_too() {
    let ruled = ruled();
    let post = |form: String| {
        let request = Request::new("POST", "/token").header("Content-Type", "application/x-www-form-urlencoded");
        request.body(form).send(ruled.entrepot.address)
    };
    let login = format!("username=ann&password={PASSWORD}&client_id=x&service=entrepot");
    let answer = post(format!("grant_type=password&{login}&scope=repository:a:pull,push+repository:b:pull"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["scope"], "repository:a:pull,push repository:b:pull");
    let repeated = post(format!("grant_type=password&{login}&scope=repository:a:pull&scope=repository:b:pull"));
    assert_eq!(repeated.json()["scope"], "repository:a:pull repository:b:pull");
    assert_eq!(post(format!("grant_type=password&{}", login.replace(PASSWORD, "x"))).status, 401);
    for (form, error) in [
        ("grant_type=refresh_token&refresh_token=x".to_owned(), "unsupported_grant_type"),
        ("grant_type=password&service=other".into(), "invalid_target"),
        ("x".repeat(20_000), "invalid_request"),
    ] {
        let answer = post(form);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some(error)), "{}", answer.text());
    }
    let keys = Request::get("/.well-known/jwks.json").send(ruled.entrepot.address);
    assert_eq!(keys.json()["keys"][0]["alg"], "ES256");
}

#[test]
fn a_tag_is_moved_only_by_who_may() {
    let ruled = ruled();
    let frozen = ruled.ann("frozen/a");
    let first = frozen.push_random("v1", 1, SIZE);
    // The same once more is no move.
    frozen.push_random("v1", 1, SIZE);
    let layer = random_bytes(2, SIZE);
    let other = frozen.push_image("v2", &[&layer]);
    let moving = frozen
        .request("PUT", frozen.manifest("v1"))
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json");
    let refused = moving.body(other.manifest.clone()).send(frozen.address);
    assert_eq!((refused.status, refused.error_code().as_str()), (403, "DENIED"), "{}", refused.text());
    assert_eq!(frozen.get_manifest("v1").expect(200), first.manifest);
    let free = ruled.ann("free/a");
    free.push_random("v1", 1, SIZE);
    let moved = free.push_random("v1", 2, SIZE);
    assert_eq!(free.get_manifest("v1").expect(200), moved.manifest);
}

#[test]
fn the_catalog_shows_what_the_asker_may_read() {
    let ruled = ruled();
    for name in ["bob/a", "bob/b", "bob/c", "team/a", "public/a"] {
        ruled.ann(name).push_random("v1", 1, 1000);
    }
    let list = |client: &Repository, query: &str| {
        let answer = client.request("GET", format!("/v2/_catalog{query}")).send(client.address);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let link = answer.header("link").map(str::to_owned);
        (answer.json()["repositories"].to_string(), link)
    };
    let (ann, bob) = (ruled.ann("x"), ruled.bob("x"));
    assert_eq!(list(&ann, "").0, r#"["bob/a","bob/b","bob/c","public/a","team/a"]"#);
    assert_eq!(list(&bob, ""), (r#"["bob/a","bob/b","bob/c"]"#.into(), None));
    // A page ends where there is more of what may be seen, and nowhere else.
    assert_eq!(list(&bob, "?n=3"), (r#"["bob/a","bob/b","bob/c"]"#.into(), None));
    let (page, link) = list(&bob, "?n=2");
    assert_eq!(page, r#"["bob/a","bob/b"]"#);
    assert!(link.is_some_and(|link| link.contains("last=bob")));
    let token = ruled.token(Some(("bob", PASSWORD)), "registry:catalog:*");
    assert_eq!(list(&ruled.repository("x").bearer(&token), "").0, r#"["bob/a","bob/b","bob/c"]"#);
}

#[test]
fn nothing_is_mounted_from_where_one_may_not_read() {
    let ruled = ruled();
    let blob = ruled.ann("secret/a").push_blob(&random_bytes(7, SIZE));
    let bob = ruled.bob("bob/a");
    for from in ["&from=secret/a", "&from=nothing/a", ""] {
        let answer = bob.request("POST", format!("{}?mount={blob}{from}", bob.uploads())).send(bob.address);
        assert_eq!(answer.status, 202, "{from}: {}", answer.text());
        assert_eq!(bob.head_blob(&blob).status, 404);
    }
    ruled.ann("bob/b").push_blob(&random_bytes(7, SIZE));
    let answer = bob.request("POST", format!("{}?mount={blob}&from=bob/b", bob.uploads())).send(bob.address);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn an_upload_is_its_openers() {
    let ruled = ruled();
    let (ann, bob) = (ruled.ann("bob/a"), ruled.bob("bob/a"));
    let upload = location(&bob.request("POST", bob.uploads()).send(bob.address));
    let bytes = random_bytes(3, SIZE);
    assert_eq!(ann.request("PATCH", upload.clone()).body(bytes.clone()).send(ann.address).status, 404);
    assert_eq!(ann.request("GET", upload.clone()).send(ann.address).status, 404);
    let patched = bob.request("PATCH", upload.clone()).body(bytes.clone()).send(bob.address);
    assert_eq!(patched.status, 202, "{}", patched.text());
    // By another proof of the same.
    let token = ruled.token(Some(("bob", PASSWORD)), "repository:bob/a:pull,push");
    let same = ruled.repository("bob/a").bearer(&token);
    let closed = same.request("PUT", with_digest(&upload, &digest(&bytes))).send(same.address);
    assert_eq!(closed.status, 201, "{}", closed.text());
}

#[test]
fn who_is_taken_away_or_gets_another_password_is_refused_within_seconds() {
    let ruled = ruled();
    let users = ruled.folder.path().join("users");
    ruled.ann("team/a").push_random("v1", 1, 1000);
    ruled.bob("bob/a").push_random("v1", 1, 1000);
    let scope = |name: &str| format!("repository:{name}:pull");
    let ann = ruled.repository("team/a").bearer(&ruled.token(Some(("ann", PASSWORD)), &scope("team/a")));
    let bob = ruled.repository("bob/a").bearer(&ruled.token(Some(("bob", PASSWORD)), &scope("bob/a")));
    ann.get_manifest("v1").expect(200);
    bob.get_manifest("v1").expect(200);
    htpasswd(&users, "passwd", "ann", "another");
    let removed = Entrepot::cli(&["user", "remove", &users.display().to_string(), "bob"]);
    assert!(removed.status.success());
    eventually("the tokens are refused", || {
        ann.get_manifest("v1").status == 401 && bob.get_manifest("v1").status == 401
    });
    let refused = ann.get_manifest("v1");
    assert!(challenge(&refused).ends_with("error=\"invalid_token\""), "{}", challenge(&refused));
    assert_eq!(ruled.ann("team/a").get_manifest("v1").status, 401);
    ruled.repository("team/a").basic("ann", "another").get_manifest("v1").expect(200);
}

#[test]
fn a_robot_does_what_it_was_made_for_until_it_is_revoked() {
    let ruled = ruled();
    let config = ruled.entrepot.config_path().display().to_string();
    let made = Entrepot::cli(&[
        "token",
        "create",
        "--config",
        &config,
        "--name",
        "ci",
        "--repo",
        "team/**",
        "--allow",
        "pull,push",
        "--expires",
        "90d",
    ]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secret = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    assert!(secret.starts_with("ent_"), "{secret}");
    for user in ["ci", "whoever", ""] {
        let robot = ruled.repository("team/a").basic(user, &secret);
        robot.push_random("v1", 1, 1000);
        robot.get_manifest("v1").expect(200);
        assert_eq!(robot.request("DELETE", robot.manifest("v1")).send(robot.address).status, 403);
        assert_eq!(ruled.repository("other/a").basic(user, &secret).get_manifest("v1").status, 403);
    }
    let token = ruled.token(Some(("ci", &secret)), "repository:team/a:pull,push");
    let robot = ruled.repository("team/a").bearer(&token);
    robot.get_manifest("v1").expect(200);
    let listed = Entrepot::cli(&["token", "list", "--config", &config]);
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.contains("  ci  team/**  pull,push  ends ") && !listed.contains(&secret), "{listed}");
    let explained = Entrepot::cli(&["auth", "explain", "robot:ci", "push", "team/a", "--config", &config]);
    assert!(explained.status.success(), "{}", String::from_utf8_lossy(&explained.stderr));
    let denied = Entrepot::cli(&["auth", "explain", "bob", "push", "team/a", "--config", &config]);
    let text = String::from_utf8(denied.stdout).expect("text");
    assert!(!denied.status.success() && text.contains("user:bob may not push team/a"), "{text}");
    let revoked = Entrepot::cli(&["token", "revoke", "ci", "--config", &config]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    eventually("it is refused", || robot.get_manifest("v1").status == 401);
    let basic = ruled.repository("team/a").basic("ci", &secret);
    eventually("also with its secret", || basic.get_manifest("v1").status == 401);
    assert!(!ruled.entrepot.log().contains(&secret));
}

#[test]
fn no_secret_is_in_any_log() {
    let ruled = ruled();
    let token = ruled.token(Some(("ann", PASSWORD)), "repository:team/a:pull");
    ruled.repository("team/a").bearer(&token).get_manifest("v1");
    let _ = ruled.ask_token(Some(("ann", "wr0ng-passw0rd")), "repository:team/a:pull");
    let form = format!("grant_type=password&username=ann&password={PASSWORD}&service=entrepot");
    Request::new("POST", "/token").body(form).send(ruled.entrepot.address).expect(200);
    let access = || std::fs::read_to_string(ruled.entrepot.access_log_path()).unwrap_or_default();
    eventually("the access log", || access().matches(r#""identity":"ann""#).count() >= 3);
    let access = access();
    let logs = ruled.entrepot.log() + &access;
    let signature = token.rsplit('.').next().expect("a signature");
    for secret in [PASSWORD, "wr0ng-passw0rd", signature, "scope=", "grant_type"] {
        assert!(!logs.contains(secret), "{secret}");
    }
}

#[test]
fn rules_come_before_the_peers_of_a_cluster_that_is_read_from() {
    let peer = crate::harness::Registry::debian().start();
    let direct = Repository::at(peer.address, "public/a");
    let image = direct.push_random("v1", 1, SIZE);
    let hidden = Repository::at(peer.address, "secret/a").push_random("v1", 2, SIZE);
    let folder = scratch();
    let entrepot = setup(folder.path())
        .set("cluster.main.peers", &format!("[\"{}\"]", peer.address))
        .set("route.0.read", "\"cluster.main\"")
        .start();
    let ruled = Ruled { entrepot, folder };
    let (nobody, ann) = (ruled.repository("public/a"), ruled.ann("secret/a"));
    assert_eq!(nobody.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(ann.get_manifest("v1").expect(200), hidden.manifest);
    assert_eq!(digest(&ann.get_blob(&hidden.layers[0]).expect(200)), hidden.layers[0]);
    // Cached by now, and still nobody else's.
    for client in [ruled.repository("secret/a"), ruled.bob("secret/a")] {
        assert!([401, 403].contains(&client.get_blob(&hidden.layers[0]).status));
        assert!([401, 403].contains(&client.get_manifest("v1").status));
        assert!([401, 403].contains(&client.get_manifest(&hidden.digest).status));
    }
    // Of the peer's two repositories, whoever may not read one does not see it.
    let catalog = |repository: &Repository, query: &str| {
        repository.request("GET", format!("/v2/_catalog{query}")).send(repository.address)
    };
    assert_eq!(catalog(&ann, "").json()["repositories"], serde_json::json!(["public/a", "secret/a"]));
    let page = catalog(&ann, "?n=1");
    assert_eq!(page.json()["repositories"], serde_json::json!(["public/a"]));
    assert_eq!(page.header("link"), Some("</v2/_catalog?last=public%2Fa&n=1>; rel=\"next\""));
    assert_eq!(catalog(&ann, "?n=1&last=public/a").json()["repositories"], serde_json::json!(["secret/a"]));
    assert_eq!(catalog(&ruled.bob("public/a"), "").json()["repositories"], serde_json::json!([]));
    assert_eq!(catalog(&nobody, "").status, 401);
    assert_eq!(Request::get("/v2/").send(ann.address).status, 401);
    assert_eq!(ann.request("GET", "/v2/").send(ann.address).status, 200);
    let token = ruled.token(Some(("ann", PASSWORD)), "repository:secret/a:pull");
    ruled.repository("secret/a").bearer(&token).get_manifest("v1").expect(200);
}
