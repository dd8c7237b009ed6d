//! What one client may ask for, what browsers are told, and what a listener says with every answer.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use http::Method;

use crate::harness::h2_client::{End, H2Client, Streamed};
use crate::harness::{
    Answer, Connection, Entrepot, FaultProxy, Redis, Registry, Reply, Repository, Request, Setup, eventually, scratch,
};

const PASSWORD: &str = "5ecret-p4ssword";
const UI: &str = "https://ui.example.com";
const LIST: &str = "/v2/team/app/tags/list";
/// A rate of so many an hour, all of which may come at once: what wears off meanwhile is next to nothing.
const AT_ONCE: &str = "3600";

/// An address of this machine.
fn client(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn limited(setup: Setup, key: &str, value: &str) -> Setup {
    setup.set(&format!("limits.{key}"), value).set("limits.burst", AT_ONCE)
}

fn with_users(setup: Setup, folder: &Path) -> Setup {
    let (file, word) = (folder.join("users").display().to_string(), folder.join("word"));
    std::fs::write(&word, PASSWORD).expect("a file");
    for name in ["ann", "bob"] {
        let word = word.display().to_string();
        let said = Entrepot::cli(&["user", "add", &file, name, "--password-file", &word, "--cost", "4"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    setup.set("auth.htpasswd", &format!("{file:?}"))
}

/// The statuses of so many requests.
fn statuses(count: usize, mut ask: impl FnMut() -> Answer) -> Vec<u16> {
    (0..count).map(|_| ask().status).collect()
}

fn refused(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status == 429).count()
}

fn is_too_many(answer: &Answer) {
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "TOOMANYREQUESTS"), "{}", answer.text());
    let wait: u64 = answer.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((1..=3600).contains(&wait), "{wait}");
}

#[test]
fn who_floods_is_told_when_to_come_again_and_nobody_else_is() {
    let entrepot = limited(Setup::registry(), "requests", "\"20/h\"").start();
    let address = entrepot.address;
    let told = statuses(30, || Request::get(LIST).send(address));
    assert_eq!(refused(&told[..20]), 0, "{told:?}");
    assert!(refused(&told) >= 9, "{told:?}");
    is_too_many(&Request::get(LIST).send(address));
    is_too_many(&Request::get("/nothing/of/the/kind").send(address));
    assert_eq!(Request::get("/healthz").send(address).status, 200);
    assert_eq!(Request::get(LIST).send_from(client(2), address).status, 404);
    // A body that nobody wants is no request.
    let pushed = Request::new("PUT", "/v2/team/app/manifests/v1").body(vec![b'x'; 1000]).send(address);
    is_too_many(&pushed);
    assert!(entrepot.metric("entrepot_limited_total", &[("limit", "requests")]) >= 9.0);
    assert!(entrepot.log().contains("a client comes too often"), "{}", entrepot.log());
    eventually("the access log says why", || {
        entrepot.access_log().iter().any(|line| line["status"] == 429 && line["problem"].is_string())
    });
}

#[test]
fn what_is_cheap_may_come_oftener() {
    let entrepot = limited(Setup::registry(), "requests", "\"20/h\"").start();
    let heads = statuses(40, || Request::head(LIST.replace("tags/list", "manifests/v1")).send(entrepot.address));
    assert_eq!(refused(&heads), 0, "{heads:?}");
    let pings = statuses(30, || Request::get("/v2/").send(entrepot.address));
    assert_eq!(refused(&pings), 0, "{pings:?}");
    let gets = statuses(10, || Request::get(LIST).send(entrepot.address));
    assert!(refused(&gets) >= 6, "{gets:?}");
}

#[test]
fn who_has_logged_in_is_one_client_wherever_from() {
    let folder = scratch();
    let setup = with_users(limited(Setup::registry(), "requests", "\"20/h\""), folder.path());
    let entrepot = setup.start();
    let ask = |user: &str, from: u8| Request::get(LIST).basic(user, PASSWORD).send_from(client(from), entrepot.address);
    let here = statuses(12, || ask("ann", 1));
    assert_eq!(refused(&here), 0, "{here:?}");
    let there = statuses(12, || ask("ann", 2));
    assert!(refused(&there) >= 3 && there[0] == 404, "{there:?}");
    assert_eq!(ask("bob", 2).status, 404, "the address itself has room");
    is_too_many(&ask("ann", 3));
}

#[test]
fn a_reload_that_changes_other_things_forgets_nothing() {
    let mut entrepot = limited(Setup::registry(), "requests", "\"20/h\"").start();
    let address = entrepot.address;
    statuses(30, || Request::get(LIST).send(address));
    entrepot.reload(|setup| setup.set("log.level", "\"info\""), "ok");
    is_too_many(&Request::get(LIST).send(address));
    entrepot.reload(|setup| setup.set("limits.requests", "\"50/h\""), "ok");
    assert_eq!(Request::get(LIST).send(address).status, 404);
}

#[test]
fn content_out_of_memory_counts_too() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let entrepot = limited(Setup::before(&[registry.address]), "requests", "\"20/h\"").start();
    let client_of = Repository::at(entrepot.address, "team/app");
    let blob = client_of.blob(&image.layers[0]);
    let first = statuses(30, || client_of.get_blob(&image.layers[0]));
    assert_eq!((first[0], first[19]), (200, 200), "{first:?}");
    assert!(refused(&first) >= 9, "{first:?}");
    assert!(entrepot.metric("entrepot_limited_total", &[("limit", "requests")]) >= 9.0);
    assert_eq!(Request::get(blob.clone()).send_from(client(2), entrepot.address).status, 200);
    let request = Streamed { method: Method::GET, target: blob, length: None, pieces: vec![], end: End::OnHeaders };
    let reply = H2Client::open(entrepot.address).send(request).expect("an answer");
    assert_eq!(reply.status, 429);
}

#[test]
fn who_guesses_is_stopped_and_those_who_know_go_on() {
    let folder = scratch();
    let entrepot = with_users(limited(Setup::registry(), "logins", "\"10/h\""), folder.path()).start();
    let address = entrepot.address;
    let ask = |password: &str, from: u8| Request::get("/v2/").basic("ann", password).send_from(client(from), address);
    let token = |password: &str, from: u8| {
        Request::get("/token?service=entrepot&scope=repository:team/app:pull")
            .basic("ann", password)
            .send_from(client(from), address)
    };
    assert_eq!(ask(PASSWORD, 2).status, 200);
    let bearer = token(PASSWORD, 2).json()["token"].as_str().expect("a token").to_owned();
    let mut guess = 0;
    let guesses = statuses(12, || {
        guess += 1;
        ask(&format!("wrong{guess}"), 1)
    });
    assert_eq!(refused(&guesses[..4]), 0, "{guesses:?}");
    assert!(guesses.iter().all(|status| [401, 429].contains(status)) && refused(&guesses) >= 6, "{guesses:?}");
    is_too_many(&ask(PASSWORD, 1));
    is_too_many(&token("wrong", 1));
    // One address alone keeps nobody out elsewhere.
    assert_eq!(ask(PASSWORD, 3).status, 200);
    for from in 10..30 {
        statuses(4, || {
            guess += 1;
            ask(&format!("wrong{guess}"), from)
        });
    }
    // Guessed at from many, the name is tried too often from anywhere but where it was right before.
    is_too_many(&ask("wrong", 4));
    is_too_many(&ask(PASSWORD, 4));
    assert_eq!((ask(PASSWORD, 2).status, token(PASSWORD, 2).status), (200, 200));
    let bob = Request::get("/v2/").basic("bob", PASSWORD).send_from(client(4), address);
    assert_eq!(bob.status, 200, "another name");
    for _ in 0..20 {
        let pull = Request::get(LIST).header("Authorization", format!("Bearer {bearer}")).send_from(client(1), address);
        assert_eq!(pull.status, 404, "who has a token goes on");
    }
    assert!(entrepot.metric("entrepot_limited_total", &[("limit", "logins")]) >= 6.0);
    assert!(entrepot.metric("entrepot_auth_logins_total", &[("result", "limited")]) >= 6.0);
    assert!(!entrepot.log().contains("wrong1") && !entrepot.log().contains(PASSWORD));
}

/// All that the first may ask is asked of it; then the second refuses, though it has been asked little. Slowly, since who had no
/// answer of Redis in time counts alone for a second.
fn refuses_for_the_other(fleet: &[Entrepot; 2]) {
    for _ in 0..40 {
        Request::get(LIST).send(fleet[0].address);
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(1200));
        Request::get(LIST).send(fleet[1].address).status == 429
    });
    assert!(refused, "{}", fleet[1].log());
}

#[test]
fn a_fleet_counts_together_and_alone_while_redis_is_gone() {
    let (folder, mut redis) = (scratch(), Redis::new().start());
    let secret = secret(folder.path());
    let fleet = [0, 1].map(|_| {
        let setup = limited(Setup::registry().storage_at(&folder.path().join("data")), "requests", "\"40/h\"");
        redis.set(setup.set("fleet.secret_file", &secret)).start()
    });
    refuses_for_the_other(&fleet);
    redis.kill();
    let ask = || Request::get(LIST).send(fleet[1].address);
    eventually("it counts for itself", || ask().status == 404);
    let alone = statuses(60, ask);
    assert!(refused(&alone) > 0, "{alone:?}");
}

fn secret(folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join("fleet.secret");
    let made = Entrepot::cli(&["fleet", "secret"]);
    std::fs::write(&file, made.stdout).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    format!("{:?}", file.display().to_string())
}

#[test]
fn a_fleet_before_a_cluster_counts_together_without_a_registry() {
    let (folder, redis, peer) = (scratch(), Redis::new().start(), FaultProxy::recording());
    let secret = secret(folder.path());
    let fleet = [0, 1].map(|_| {
        let setup = limited(Setup::before(&[peer.address]), "requests", "\"40/h\"");
        redis.set(setup.set("fleet.secret_file", &secret)).start()
    });
    refuses_for_the_other(&fleet);
}

#[test]
fn a_redis_that_says_nothing_holds_nobody_up() {
    let (folder, redis) = (scratch(), Redis::new().start());
    let setup = limited(Setup::registry(), "requests", "\"40/h\"").set("fleet.secret_file", &secret(folder.path()));
    let entrepot = redis.set(setup).start();
    redis.freeze();
    let told = statuses(60, || Request::get(LIST).send(entrepot.address));
    redis.thaw();
    assert_eq!((refused(&told[..40]), refused(&told[50..])), (0, 10), "its own count goes on: {told:?}");
}

#[test]
fn uploads_under_way_are_bounded_for_each_client() {
    let entrepot = Setup::registry().set("limits.uploads", "2").start();
    let address = entrepot.address;
    let repository = Repository::at(address, "team/app");
    let uploads: Vec<String> = (0..4).map(|_| repository.start_upload()).collect();
    let mut slow: Vec<Connection> = uploads[..2]
        .iter()
        .map(|upload| {
            let mut slow = Connection::open(address).expect("a connection");
            let head = format!("PATCH {upload} HTTP/1.1\r\nHost: registry\r\nContent-Length: 10\r\n\r\n");
            slow.send_raw(head.as_bytes()).expect("sent");
            slow
        })
        .collect();
    let patch = |upload: &str| Request::new("PATCH", upload).body("0123456789");
    // Before another comes, which could take the place of one of them.
    eventually("both are under way", || entrepot.metric("entrepot_requests_in_flight", &[]) == 2.0);
    is_too_many(&patch(&uploads[2]).send(address));
    assert_eq!(patch(&uploads[3]).send_from(client(2), address).status, 202);
    // What has no body is no upload under way.
    repository.start_upload();
    assert!(entrepot.metric("entrepot_limited_total", &[("limit", "uploads")]) >= 1.0);
    slow[0].send_raw(b"0123456789").expect("sent");
    eventually("there is a place again", || patch(&uploads[2]).send(address).status != 429);
    drop(slow);
}

fn preflight(target: &str, origin: &str) -> Request {
    Request::new("OPTIONS", target)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization")
        .header("Accept", "*/*")
        .header("Sec-Fetch-Mode", "cors")
        .header("Sec-Fetch-Site", "cross-site")
        .header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36")
}

/// The fields of one answer that browsers look at.
fn told(answer: &Answer) -> (Vec<&str>, Option<&str>, bool) {
    let vary = answer.headers.all("vary").any(|vary| vary == "Origin");
    let origins = answer.headers.all("access-control-allow-origin").collect();
    (origins, answer.header("access-control-allow-credentials"), vary)
}

#[track_caller]
fn lets_in(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(told(answer), (vec![UI], Some("true"), true), "{:?}", answer.headers);
}

fn exposes(answer: &Answer) {
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    for name in
        ["Docker-Content-Digest", "Link", "Location", "WWW-Authenticate", "OCI-Subject", "Warning", "Retry-After"]
    {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
}

#[test]
fn a_page_of_a_listed_origin_may_read_every_answer() {
    let folder = scratch();
    let setup = with_users(Setup::registry().set("cors.origins", &format!("[{UI:?}]")), folder.path());
    let entrepot = limited(setup, "requests", "\"100/h\"").start();
    let address = entrepot.address;
    for target in ["/v2/", "/token?service=entrepot", LIST, "/v2/team/app/blobs/uploads/", "/v2/_catalog"] {
        let asked = preflight(target, UI).send(address);
        lets_in(&asked, 204);
        assert!(asked.header("access-control-allow-headers").is_some_and(|names| names.contains("Authorization")));
        assert!(asked.header("access-control-allow-methods").is_some_and(|names| names.contains("PUT")));
        let other = preflight(target, "https://evil.example").send(address);
        assert_eq!((other.status, told(&other)), (204, (vec![], None, true)), "{:?}", other.headers);
        assert_eq!(other.header("access-control-allow-methods"), None);
    }
    let page = |target: &str| Request::get(target).header("Origin", UI);
    let challenged = page("/v2/").send(address);
    lets_in(&challenged, 401);
    exposes(&challenged);
    lets_in(&page(LIST).basic("ann", PASSWORD).send(address), 404);
    lets_in(&page("/token?service=entrepot").basic("ann", PASSWORD).send(address), 200);
    lets_in(&page("/token?service=entrepot").basic("ann", "wrong").send(address), 401);
    lets_in(&page("/v2/Upper/tags/list").send(address), 404);
    lets_in(&page("/healthz").send(address), 200);
    let other = Request::get(LIST).header("Origin", "https://evil.example").send(address);
    assert_eq!(told(&other), (vec![], None, true));
    assert_eq!(told(&Request::get("/v2/").send(address)), (vec![], None, true));
    // OPTIONS that is no browser's question is what it was.
    let options = Request::new("OPTIONS", "/token").header("Origin", UI).send(address);
    assert!(options.header("allow").is_some(), "{:?}", options.headers);
    statuses(120, || page(LIST).send_from(client(9), address));
    let flooded = page(LIST).send_from(client(9), address);
    is_too_many(&flooded);
    lets_in(&flooded, 429);
}

#[test]
fn all_origins_are_let_in_without_credentials() {
    let entrepot = Setup::registry().set("cors.origins", "[\"*\"]").start();
    for request in [Request::get("/v2/").header("Origin", UI), preflight("/v2/", UI)] {
        assert_eq!(told(&request.send(entrepot.address)), (vec!["*"], None, true));
    }
}

#[test]
fn a_peer_s_words_to_browsers_give_way_to_ours() {
    let peer = FaultProxy::scripted(|_| {
        Reply::new(200)
            .header("Access-Control-Allow-Origin", "*")
            .header("Access-Control-Allow-Credentials", "false")
            .header("Access-Control-Expose-Headers", "X-Peer")
            .header("Vary", "Accept")
            .header("X-Frame-Options", "ALLOW")
            .header("Content-Type", "application/json")
            .body("{}")
    });
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let without = setup.clone().start();
    let untouched = Request::get(LIST).header("Origin", UI).send(without.address);
    assert_eq!(told(&untouched), (vec!["*"], Some("false"), false), "as it was without [cors]");
    assert_eq!(untouched.header("x-frame-options"), Some("ALLOW"));
    let setup = setup.set("cors.origins", &format!("[{UI:?}]"));
    let entrepot = setup.set("listener.0.headers", "{ X-Frame-Options = \"DENY\" }").start();
    let streamed = Request::get(LIST).header("Origin", UI).send(entrepot.address);
    lets_in(&streamed, 200);
    exposes(&streamed);
    assert_eq!(streamed.headers.all("x-frame-options").collect::<Vec<_>>(), ["DENY"]);
    assert!(streamed.headers.all("vary").any(|vary| vary == "Accept"), "{:?}", streamed.headers);
    lets_in(&preflight(LIST, UI).send(entrepot.address), 204);
    assert_eq!(peer.count("OPTIONS", ""), 0, "no peer was asked");
    let other = Request::get(LIST).header("Origin", "https://evil.example").send(entrepot.address);
    assert_eq!(told(&other), (vec![], None, true), "{:?}", other.headers);
}

#[test]
fn content_out_of_memory_is_told_apart_by_origin() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let setup = Setup::before(&[registry.address]).set("cors.origins", &format!("[{UI:?}]"));
    let entrepot = setup.set("listener.0.headers", "{ X-Frame-Options = \"DENY\" }").start();
    let blob = Repository::at(entrepot.address, "team/app").blob(&image.layers[0]);
    let get = |origin: Option<&str>| {
        let request =
            origin.iter().fold(Request::get(blob.clone()), |request, origin| request.header("Origin", *origin));
        request.send(entrepot.address)
    };
    get(None);
    let hit = |answer: &Answer| answer.header("cache-status").is_some_and(|status| status.contains("detail=memory"));
    for _ in 0..2 {
        let (without, with) = (get(None), get(Some(UI)));
        assert!(hit(&without) && hit(&with), "{:?}", without.headers);
        assert_eq!(told(&without), (vec![], None, true), "{:?}", without.headers);
        lets_in(&with, 200);
        for answer in [&without, &with] {
            assert_eq!(answer.headers.all("x-frame-options").collect::<Vec<_>>(), ["DENY"]);
            assert_eq!(answer.body.len(), 1000);
        }
    }
    let h2 = H2Client::open(entrepot.address);
    let request = Streamed { method: Method::GET, target: blob, length: None, pieces: vec![], end: End::OnHeaders };
    for _ in 0..2 {
        let reply = h2.send(request.clone()).expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 1000));
        assert_eq!(reply.headers["vary"], "Origin");
        assert_eq!(reply.headers["x-frame-options"], "DENY");
    }
}

#[test]
fn a_listener_s_fields_are_in_every_answer() {
    let fields = "{ X-Frame-Options = \"DENY\", Strict-Transport-Security = \"max-age=1\" }";
    let setup = Setup::registry().set("listener.0.headers", fields).set("limits.requests", "\"40/h\"");
    let entrepot = setup.set("limits.burst", AT_ONCE).start();
    let address = entrepot.address;
    let repository = Repository::at(address, "team/app");
    let image = repository.push_random("v1", 1, 1000);
    let has = |answer: &Answer, what: &str| {
        assert_eq!(answer.headers.all("x-frame-options").collect::<Vec<_>>(), ["DENY"], "{what}");
        assert_eq!(answer.headers.all("strict-transport-security").count(), 1, "{what}");
    };
    for (method, target) in [
        ("GET", "/healthz".to_owned()),
        ("GET", "/".into()),
        ("GET", "/v2/".into()),
        ("GET", LIST.into()),
        ("HEAD", repository.manifest("v1")),
        ("GET", repository.manifest("v1")),
        ("GET", repository.blob(&image.layers[0])),
        ("GET", "/v2/none/tags/list".into()),
        ("POST", repository.uploads()),
        ("TRACE", "/v2/".into()),
    ] {
        has(&Request::new(method, target.clone()).send(address), &format!("{method} {target}"));
    }
    for head in ["GET /v2/ HTTP/1.1\r\nno field\r\n\r\n", "GET /v2/ HTTP/9.9\r\nHost: a\r\n\r\n"] {
        let mut raw = Connection::open(address).expect("a connection");
        raw.send_raw(head.as_bytes()).expect("sent");
        let answer = raw.answer("GET").expect("an answer").finish();
        assert!(answer.status >= 400);
        has(&answer, head);
        assert_eq!(answer.error_code(), "UNSUPPORTED", "{}", answer.text());
    }
    let h2 = H2Client::open(address);
    let ask = |target: String| {
        let request = Streamed { method: Method::GET, target, length: None, pieces: vec![], end: End::OnHeaders };
        h2.send(request).expect("an answer")
    };
    for target in ["/healthz".to_owned(), LIST.into(), repository.blob(&image.layers[0]), "/v2/none/tags/list".into()] {
        let reply = ask(target);
        assert_eq!(reply.headers["x-frame-options"], "DENY");
    }
    let mut flooded = ask(LIST.into());
    eventually("it is too much", || {
        flooded = ask(LIST.into());
        flooded.status == 429
    });
    assert_eq!(flooded.headers["x-frame-options"], "DENY");
    has(&Request::get(LIST).send(address), "429");
}
