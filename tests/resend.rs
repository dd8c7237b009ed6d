//! A connection breaks, and the peer is well: what can be sent again is, to the same peer, within a budget, and what the
//! first try may have done already is not told as a failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::repository::{OCI_MANIFEST, location, with_digest};
use crate::harness::{
    Connection, Entrepot, Fault, FaultProxy, Registry, Repository, Request, Rule, Serving, Setup, digest, random_bytes,
};

/// One registry behind a proxy that makes faults; kept connections are warm.
fn one_peer() -> (Serving, FaultProxy, Entrepot, Repository) {
    let registry = Registry::debian().start();
    let proxy = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[proxy.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    client.push_random("warm", 1, 1000);
    client.request("GET", "/v2/team/app/tags/list").send(client.address).expect(200);
    (registry, proxy, entrepot, client)
}

fn empty_manifest(client: &Repository, tag: &str) -> Request {
    let image = client.get_manifest("warm").expect(200);
    client.request("PUT", client.manifest(tag)).header("Content-Type", OCI_MANIFEST).body(image)
}

#[test]
fn a_kept_connection_that_breaks_fails_nothing_that_can_be_sent_again() {
    let (_registry, proxy, _entrepot, client) = one_peer();
    let hangup = |method: &str, part: &str| {
        proxy.on(Rule::new(method, part, Fault::Hangup).times(1));
    };
    for round in 0..3 {
        hangup("PUT", "/manifests/");
        assert_eq!(empty_manifest(&client, &format!("v{round}")).send(client.address).status, 201);
        hangup("HEAD", "/manifests/");
        assert_eq!(client.head_manifest("warm").status, 200);
        hangup("GET", "/manifests/");
        client.get_manifest(&format!("v{round}")).expect(200);
        hangup("GET", "/tags/list");
        client.request("GET", "/v2/team/app/tags/list").send(client.address).expect(200);
        hangup("GET", "/v2/");
        client.request("GET", "/v2/").send(client.address).expect(200);
        hangup("HEAD", "/blobs/");
        assert_eq!(client.head_blob(&digest(&random_bytes(1, 1000))).status, 200);

        let blob = client.push_blob(&random_bytes(100 + round, 1000));
        hangup("DELETE", "/blobs/");
        assert_eq!(client.request("DELETE", client.blob(&blob)).send(client.address).status, 202);

        hangup("POST", "/blobs/uploads/");
        let upload = client.start_upload();
        hangup("GET", "/blobs/uploads/");
        assert_eq!(client.request("GET", upload.clone()).send(client.address).status, 204);
        let bytes = random_bytes(200 + round, 300_000);
        let patched = client.request("PATCH", upload).body(bytes.clone()).send(client.address);
        assert_eq!(patched.status, 202, "{}", patched.text());
        hangup("PUT", "/blobs/uploads/");
        let closed = client.request("PUT", with_digest(&location(&patched), &digest(&bytes))).send(client.address);
        assert_eq!(closed.status, 201, "{}", closed.text());
    }
}

#[test]
fn a_body_never_meets_a_connection_that_was_kept() {
    let (_registry, proxy, entrepot, client) = one_peer();
    // A connection that has answered once ends at its next request, as one does that was idle for too long.
    let peer = Stale::before(proxy.address);
    let entrepot_of_stale = Setup::before(&[peer.address]).without_health_checks().start();
    let stale = Repository::at(entrepot_of_stale.address, "team/app");
    for round in 0..10 {
        let bytes = random_bytes(round, if round % 2 == 0 { 1000 } else { 300_000 });
        let patched = stale
            .request("PATCH", stale.start_upload())
            .chunked(std::io::Cursor::new(bytes.clone()))
            .send(stale.address);
        assert_eq!(patched.status, 202, "{}", patched.text());
        let target = with_digest(&location(&patched), &digest(&bytes));
        assert_eq!(stale.request("PUT", target).send(stale.address).status, 201);
        let answer = empty_manifest(&stale, "again").send(stale.address);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert!(peer.broken.load(Ordering::SeqCst) > 0, "no kept connection was ever met");
    drop((entrepot, client));
}

/// A peer that closes a kept connection when the second request comes on it, without an answer.
struct Stale {
    address: std::net::SocketAddr,
    broken: std::sync::Arc<AtomicUsize>,
}

impl Stale {
    fn before(registry: std::net::SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let broken = std::sync::Arc::new(AtomicUsize::new(0));
        let count = broken.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let count = count.clone();
                std::thread::spawn(move || drop(serve_once(&client, registry, &count)));
            }
        });
        Stale { address, broken }
    }
}

fn serve_once(
    client: &std::net::TcpStream,
    registry: std::net::SocketAddr,
    broken: &AtomicUsize,
) -> std::io::Result<()> {
    use std::io::{BufReader, Read, Write};

    use crate::harness::http::{Framing, Head};
    let mut from = BufReader::new(client);
    let Some(head) = Head::read(&mut from)? else { return Ok(()) };
    let mut body = Vec::new();
    let mut framing = Framing::of_request(&head);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match framing.read(&mut from, &mut buffer)? {
            0 => break,
            count => body.extend_from_slice(&buffer[..count]),
        }
    }
    let mut request = Request::new(head.word(0), head.word(1)).body(body);
    for (name, value) in &head.headers.0 {
        if !matches!(name.to_ascii_lowercase().as_str(), "content-length" | "transfer-encoding" | "connection") {
            request = request.header(name, value);
        }
    }
    let answer = Connection::open(registry)?.exchange(request)?.finish();
    let mut text = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers.0 {
        if !matches!(name.to_ascii_lowercase().as_str(), "connection" | "transfer-encoding" | "content-length") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let length = if head.word(0) == "HEAD" {
        answer.headers.get("content-length").unwrap_or("0").to_owned()
    } else {
        answer.body.len().to_string()
    };
    if answer.status != 204 {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    text.push_str("\r\n");
    let mut to = client;
    to.write_all(text.as_bytes())?;
    to.write_all(&answer.body)?;
    // The first byte of the next request ends it.
    if from.read(&mut [0; 1])? > 0 {
        broken.fetch_add(1, Ordering::SeqCst);
    }
    client.shutdown(std::net::Shutdown::Both)
}

#[test]
fn a_delete_whose_answer_was_lost_is_done() {
    let (_registry, proxy, _entrepot, client) = one_peer();
    let swallow = |method: &str, part: &str| {
        proxy.on(Rule::new(method, part, Fault::Lose(0)).times(1));
    };
    let blob = client.push_blob(b"to be deleted");
    swallow("DELETE", "/blobs/");
    let answer = client.request("DELETE", client.blob(&blob)).send(client.address);
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert_eq!(client.head_blob(&blob).status, 404);

    let image = client.push_random("gone", 9, 1000);
    swallow("DELETE", "/manifests/");
    assert_eq!(client.request("DELETE", client.manifest(&image.digest)).send(client.address).status, 202);
    assert_eq!(client.head_manifest("gone").status, 404);

    // One that was never there is still told so.
    let unknown = client.blob(&digest(b"never there"));
    assert_eq!(client.request("DELETE", unknown).send(client.address).status, 404);
}

#[test]
fn an_upload_whose_end_was_lost_is_closed_or_cancelled() {
    let (_registry, proxy, _entrepot, client) = one_peer();
    let bytes = random_bytes(3, 50_000);
    let patched = client.request("PATCH", client.start_upload()).body(bytes.clone()).send(client.address);
    proxy.on(Rule::new("PUT", "/blobs/uploads/", Fault::Lose(0)).times(1));
    let closed = client.request("PUT", with_digest(&location(&patched), &digest(&bytes))).send(client.address);
    assert_eq!((closed.status, closed.body.len()), (201, 0), "{}", closed.text());
    assert_eq!(closed.header("docker-content-digest"), Some(digest(&bytes).as_str()));
    assert_eq!(Request::get(location(&closed)).send(client.address).expect(200), bytes);

    let patched = client.request("PATCH", client.start_upload()).body(&b"half"[..]).send(client.address);
    proxy.on(Rule::new("DELETE", "/blobs/uploads/", Fault::Lose(0)).times(1));
    assert_eq!(client.request("DELETE", location(&patched)).send(client.address).status, 204);

    // What was really not there is not invented: the blob of the closing PUT is looked for.
    let patched = client.request("PATCH", client.start_upload()).body(&b"half"[..]).send(client.address);
    let target = with_digest(&location(&patched), &digest(b"something else"));
    proxy.on(Rule::new("PUT", "/blobs/uploads/", Fault::Lose(0)).times(1));
    let answer = client.request("PUT", target).send(client.address);
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
}

#[test]
fn re_sends_stay_within_a_fifth_of_the_requests() {
    const ASKED: usize = 600;
    let peer = FaultProxy::recording();
    peer.on(Rule::new("", "/v2/team/", Fault::Hangup));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().set("cluster.main.max_fails", "0").start();
    let client = Repository::at(entrepot.address, "team/app");
    let began = Instant::now();
    for number in 0..ASKED {
        let answer = match number % 3 {
            0 => client.get_manifest("v1"),
            1 => client.request("GET", "/v2/team/app/tags/list").send(client.address),
            _ => client.request("DELETE", client.manifest("v1")).send(client.address),
        };
        assert_eq!(answer.status, 503);
    }
    let sent_again = peer.count("", "/v2/team/") - ASKED;
    // A fifth, what a cluster has when it starts, and ten a second.
    let allowed = ASKED / 5 + 64 + 10 * (began.elapsed().as_secs() as usize + 1);
    assert!(sent_again > 0 && sent_again <= allowed, "{sent_again} of at most {allowed}");
}

#[test]
fn an_upload_waits_for_its_peer_and_no_longer_than_it_should() {
    let (one, other, _volume) = Registry::pair();
    let (first, second) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    let entrepot = Setup::before(&[first.address, second.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let bytes = random_bytes(1, 1000);
    let patched = client.request("PATCH", client.start_upload()).body(bytes.clone()).send(client.address);
    let holder = if first.count("PATCH", "") == 1 { &first } else { &second };
    holder.die();
    let target = with_digest(&location(&patched), &digest(&bytes));
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| client.request("PUT", target.clone()).send(client.address));
        std::thread::sleep(Duration::from_millis(700));
        assert!(!closing.is_finished(), "it waits");
        holder.revive();
        let answer = closing.join().expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.text());
    });

    let impatient = Setup::before(&[first.address, second.address])
        .without_health_checks()
        .set("cluster.main.upload_patience", "\"300ms\"")
        .start();
    let client = Repository::at(impatient.address, "team/app");
    let before = first.count("PATCH", "");
    let patched = client.request("PATCH", client.start_upload()).body(&b"x"[..]).send(client.address);
    let holder = if first.count("PATCH", "") > before { &first } else { &second };
    holder.die();
    let answer = client.request("PUT", with_digest(&location(&patched), &digest(b"x"))).send(client.address);
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn two_peers_restarted_in_turn_fail_no_push_of_a_small_layer() {
    let (mut one, mut other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let stop = crate::harness::Stop::default();
    let (pushed, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (entrepot, stop, pushed, lost, failed) = (&entrepot, &stop, &pushed, &lost, &failed);
            scope.spawn(move || {
                let client = Repository::at(entrepot.address, "team/app");
                let mut seed = worker * 1_000_000;
                while !stop.is_set() {
                    seed += 1;
                    let bytes = random_bytes(seed, 2000);
                    let patched =
                        client.request("PATCH", client.start_upload()).body(bytes.clone()).send(client.address);
                    if patched.status != 202 {
                        continue; // its body was taken: that one is the client's to repeat
                    }
                    let target = with_digest(&location(&patched), &digest(&bytes));
                    let closed = client.request("PUT", target).send(client.address);
                    match closed.status {
                        201 => drop(pushed.fetch_add(1, Ordering::SeqCst)),
                        // A registry that is killed between two steps of a commit has lost the upload itself.
                        404 => drop(lost.fetch_add(1, Ordering::SeqCst)),
                        status => failed.lock().expect("unbroken").push(format!("{status} {}", closed.text())),
                    }
                }
            });
        }
        let _guard = stop.guard();
        for _ in 0..2 {
            for registry in [&mut one, &mut other] {
                registry.kill();
                std::thread::sleep(Duration::from_secs(1));
                registry.restart();
                std::thread::sleep(Duration::from_millis(1500));
            }
        }
    });
    let failed = failed.into_inner().expect("unbroken");
    assert_eq!(failed, Vec::<String>::new(), "of {}", pushed.load(Ordering::SeqCst));
    assert!(pushed.load(Ordering::SeqCst) > 50);
    // Four kills.
    assert!(lost.load(Ordering::SeqCst) <= 4, "{}", lost.load(Ordering::SeqCst));
}

#[test]
fn a_spent_budget_is_no_silence_and_memory_does_not_speak() {
    let registry = Registry::debian().start();
    let proxy = FaultProxy::before(registry.address);
    let dead = FaultProxy::recording();
    let setup = Setup::before(&[proxy.address, dead.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.max_fails", "0").set("cluster.main.balance", "\"round_robin\"").start();
    dead.on(Rule::new("", "/v2/team/", Fault::Hangup));
    let direct = Repository::at(registry.address, "team/app");
    let image = direct.push_random("v1", 1, 1000);
    let client = Repository::at(entrepot.address, "team/app");
    // Half of the questions break, and then the next peer is asked, until the budget is spent.
    let mut refused = 0;
    for _ in 0..600 {
        let answer = client.head_blob(&image.layers[0]);
        match answer.status {
            200 => assert!(answer.header("warning").is_none(), "{:?}", answer.headers),
            503 => refused += 1,
            status => panic!("{status}"),
        }
    }
    assert!(refused > 0);
    direct.request("DELETE", direct.blob(&image.layers[0])).send(direct.address).expect(202);
    for _ in 0..40 {
        let status = client.head_blob(&image.layers[0]).status;
        assert!(matches!(status, 404 | 503), "{status}");
    }
}

#[test]
fn a_closing_put_is_not_taken_for_done_by_a_page() {
    let peer = FaultProxy::scripted(|seen| match seen.method.as_str() {
        "POST" | "PATCH" => {
            crate::harness::Reply::new(202).header("Location", "/v2/team/app/blobs/uploads/u1?_state=1")
        }
        "PUT" => crate::harness::Reply::new(404).body("{}"),
        _ => crate::harness::Reply::new(200).header("Content-Type", "text/html").body("<html>"),
    });
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let patched = client.request("PATCH", client.start_upload()).body(&b"x"[..]).send(client.address);
    peer.on(Rule::new("PUT", "", Fault::Hangup).times(1));
    let closed = client.request("PUT", with_digest(&location(&patched), &digest(b"x"))).send(client.address);
    assert_eq!(closed.status, 404, "{}", closed.text());
}

#[test]
fn an_upload_of_a_peer_that_nobody_knows_is_unknown() {
    let (_registry, _proxy, entrepot, client) = one_peer();
    let target = format!("{}u1?_peer=ffffffffffff", client.uploads());
    let answer = client.request("PATCH", target).body(&b"x"[..]).send(client.address);
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    drop(entrepot);
}
