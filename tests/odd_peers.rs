//! Peers that answer oddly: what cannot be an answer is told as 502 with the reason, is not kept, and does not keep another
//! peer's good answer from the client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use flate2::Compression;
use flate2::read::GzEncoder;

use crate::harness::repository::{ACCEPT, OCI_MANIFEST};
use crate::harness::{
    Answer, Connection, Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Rule, Seen, Setup, digest,
    random_bytes,
};

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#;

fn before(peer: SocketAddr) -> (Entrepot, Repository) {
    let entrepot = Setup::before(&[peer]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    (entrepot, client)
}

/// 502 in OCI's JSON.
#[track_caller]
fn assert_odd(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 502, "{what}: {:?} {}", answer.headers, answer.text());
    if !answer.body.is_empty() {
        assert_eq!(answer.error_code(), "UNKNOWN", "{what}: {}", answer.text());
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    GzEncoder::new(plain, Compression::default()).read_to_end(&mut coded).expect("in memory");
    coded
}

fn manifest_reply() -> Reply {
    Reply::new(200).header("Content-Type", OCI_MANIFEST).header("Docker-Content-Digest", digest(MANIFEST.as_bytes()))
}

#[test]
fn a_manifest_that_comes_compressed_unasked_is_given_as_it_is() {
    let peer = FaultProxy::scripted(|seen: &Seen| {
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        match seen.method.as_str() {
            "HEAD" => manifest_reply().header("Content-Encoding", "gzip"),
            _ => manifest_reply().header("Content-Encoding", "gzip").body(gzip(MANIFEST.as_bytes())),
        }
    });
    let (_entrepot, client) = before(peer.address);
    for reference in ["v1", &digest(MANIFEST.as_bytes())] {
        // Also for a client that would take it: the digest is that of the plain bytes.
        let request = client.request("GET", client.manifest(reference)).header("Accept-Encoding", "gzip");
        let answer = request.header("Accept", ACCEPT).send(client.address);
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.expect(200), MANIFEST.as_bytes(), "{reference}");
    }
}

#[test]
fn what_cannot_be_decoded_or_is_coded_content_is_502() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    for (coding, body) in
        [("br", b"x".to_vec()), ("gzip", b"no gzip".to_vec()), ("zstd", b"x".to_vec()), ("gzip", bomb)]
    {
        let reply = manifest_reply().header("Content-Encoding", coding).body(body);
        let peer = FaultProxy::scripted(move |_| reply.clone());
        let (mut entrepot, client) = before(peer.address);
        assert_odd(&client.get_manifest("v1"), coding);
        assert!(entrepot.process().peak_resident() < 300 << 20);
    }
    let blob = random_bytes(1, 200_000);
    let name = digest(&blob);
    let peer = FaultProxy::scripted(move |seen: &Seen| match seen.method.as_str() {
        "HEAD" => Reply::new(200).header("Content-Length", "200000"),
        _ => Reply::new(200).header("Content-Encoding", "gzip").body(gzip(&blob)),
    });
    let (_entrepot, client) = before(peer.address);
    assert_odd(&client.get_blob(&name), "a coded blob");
}

#[test]
fn a_page_is_no_manifest_and_no_permission() {
    let pages: [(&str, &str); 5] = [
        ("text/html", "<html>log in</html>"),
        ("text/html", MANIFEST),
        (OCI_MANIFEST, "<html>log in</html>"),
        ("application/json", "{\"status\":\"maintenance\"}"),
        ("application/octet-stream", "\u{1}\u{2}\u{3}"),
    ];
    for (kind, body) in pages {
        let peer = FaultProxy::scripted(move |_| Reply::new(200).header("Content-Type", kind).body(body));
        let (_entrepot, client) = before(peer.address);
        let odd = body != MANIFEST;
        for _ in 0..2 {
            // By tag, a manifest under a wrong type is still one; by another digest it is not.
            match odd {
                true => assert_odd(&client.get_manifest("v1"), body),
                false => assert_eq!(client.get_manifest("v1").expect(200), MANIFEST.as_bytes()),
            }
            assert_odd(&client.get_manifest(&digest(b"another")), body);
        }
        // Of a registry that answered well before, memory would speak: this one never did.
        let (_entrepot, client) = before(peer.address);
        if kind == "text/html" {
            assert_odd(&client.head_manifest("v1"), body);
            assert_odd(&client.head_manifest(&digest(b"another")), body);
            assert_odd(&client.head_blob(&digest(b"another")), body);
            assert_odd(&client.get_blob(&digest(b"another")), body);
        }
    }
}

#[test]
fn a_promised_blob_of_which_nothing_comes_is_502() {
    for size in [2, 1000, 70_000, 1_000_000] {
        let blob = random_bytes(size as u64, size);
        for (fault, what) in
            [(Fault::CutAt(0), "nothing"), (Fault::CutAt(1), "a byte"), (Fault::Shorten(1), "too little")]
        {
            let content = blob.clone();
            let peer = FaultProxy::scripted(move |seen: &Seen| {
                let reply = Reply::new(200).header("Docker-Content-Digest", digest(&content));
                match seen.method.as_str() {
                    "HEAD" => reply.header("Content-Length", content.len().to_string()),
                    _ => reply.body(content.clone()),
                }
            });
            peer.on(Rule::new("GET", "/blobs/", fault));
            let (_entrepot, client) = before(peer.address);
            let answer = client.request("GET", client.blob(&digest(&blob))).try_send(client.address);
            // Of a large one that lacks its end, some has left by then: that answer must break off instead.
            match (answer, what == "too little" && size > 65_536) {
                (answer, true) => assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.complete)),
                (Ok(answer), false) => assert_odd(&answer, &format!("{size}: {what}")),
                (Err(error), false) => panic!("{size}: {what}: {error}"),
            }
            peer.forget_rules();
            assert_eq!(client.get_blob(&digest(&blob)).expect(200), blob, "{size}: {what}");
        }
    }
}

#[test]
fn a_registry_that_refuses_head_is_asked_by_get() {
    let blob = random_bytes(4, 100_000);
    for status in [400, 405, 501] {
        let (content, name) = (blob.clone(), digest(&blob));
        let peer =
            FaultProxy::scripted(move |seen: &Seen| match (seen.method.as_str(), seen.target.contains("/blobs/")) {
                ("HEAD", _) => Reply::new(status),
                (_, true) if seen.target.contains(&digest(b"absent")) => Reply::new(404).body("{}"),
                (_, true) => Reply::new(200).header("Content-Type", "application/octet-stream").body(content.clone()),
                (_, false) if seen.target.contains("absent") => Reply::new(404).body("{}"),
                (_, false) => Reply::new(200).header("Content-Type", OCI_MANIFEST).body(MANIFEST),
            });
        let (_entrepot, client) = before(peer.address);
        for _ in 0..2 {
            let head = client.head_blob(&name);
            assert_eq!((head.status, head.header("content-length")), (200, Some("100000")), "{status}");
            assert_eq!(client.get_blob(&name).expect(200), blob, "{status}");
            assert_eq!(client.head_blob(&digest(b"absent")).status, 404, "{status}");
            assert_eq!(client.get_blob(&digest(b"absent")).status, 404, "{status}");
            for reference in ["v1", &digest(MANIFEST.as_bytes())] {
                let head = client.head_manifest(reference);
                assert_eq!((head.status, head.body.len()), (200, 0), "{status}");
                assert_eq!(head.header("content-length"), Some(MANIFEST.len().to_string().as_str()), "{status}");
                assert_eq!(client.get_manifest(reference).expect(200), MANIFEST.as_bytes(), "{status}");
            }
            assert_eq!(client.head_manifest("absent").status, 404, "{status}");
        }
    }
}

#[test]
fn a_page_of_a_registry_that_refuses_head_opens_nothing_that_is_cached() {
    // The owner's GET is answered with the content, the stranger's with a page.
    let blob = random_bytes(5, 100_000);
    let (content, name) = (blob.clone(), digest(&blob));
    let peer = FaultProxy::scripted(move |seen: &Seen| match (seen.method.as_str(), seen.header("authorization")) {
        ("HEAD", _) => Reply::new(405),
        (_, Some(_)) => Reply::new(200).header("Content-Type", "application/octet-stream").body(content.clone()),
        (_, None) if seen.target.ends_with("?json") => {
            Reply::new(200).header("Content-Type", "application/json").body("{}")
        }
        (_, None) => Reply::new(200).header("Content-Type", "text/html").body("<html>log in</html>"),
    });
    let (_entrepot, stranger) = before(peer.address);
    let owner = stranger.clone().basic("ann", "secret");
    for _ in 0..2 {
        assert_eq!(owner.get_blob(&name).expect(200), blob);
        for target in [stranger.blob(&name), format!("{}?json", stranger.blob(&name))] {
            let answer = stranger.request("GET", target.clone()).send(stranger.address);
            assert!(answer.status >= 400 && answer.body != blob, "{target}: {}", answer.status);
        }
    }
}

#[test]
fn a_status_that_is_none_for_content_is_502() {
    for status in [101, 201, 204, 206, 600, 999] {
        let peer = FaultProxy::scripted(move |_| Reply::new(status).header("Content-Type", OCI_MANIFEST));
        let (_entrepot, client) = before(peer.address);
        assert_odd(&client.get_manifest("v1"), &status.to_string());
        assert_odd(&client.get_manifest(&digest(b"x")), &status.to_string());
        assert_odd(&client.head_manifest("v1"), &status.to_string());
        assert_odd(&client.get_blob(&digest(b"x")), &status.to_string());
        assert_odd(&client.head_blob(&digest(b"x")), &status.to_string());
        if status == 101 || status > 599 {
            assert_odd(&client.request("GET", "/v2/team/app/tags/list").send(client.address), &status.to_string());
            assert_odd(&client.request("POST", client.uploads()).send(client.address), &status.to_string());
        }
    }
}

#[test]
fn another_peer_that_answers_well_is_asked_before_anything_is_said() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 6, 100_000);
    for reply in [
        Reply::new(204),
        Reply::new(200).header("Content-Type", "text/html").body("<html>"),
        Reply::new(200).header("Content-Encoding", "br").body("x"),
        Reply::new(999),
    ] {
        let odd = FaultProxy::scripted(move |_| reply.clone());
        let setup = Setup::before(&[odd.address, registry.address]).without_health_checks();
        let entrepot = setup.set("cluster.main.max_fails", "0").start();
        let client = Repository::at(entrepot.address, "team/app");
        for _ in 0..4 {
            assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
            assert_eq!(client.get_blob(&image.layers[0]).expect(200).len(), 100_000);
            assert_eq!(client.head_blob(&image.layers[0]).status, 200);
        }
    }
}

/// A peer that reads a request's head and then says `before` for as long as anybody listens, or `times` times.
fn interim(before: &'static str, times: usize, then: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let serve = move |mut client: TcpStream| -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        for _ in 0..times {
            client.write_all(before.as_bytes())?;
        }
        client.write_all(then.as_bytes())
    };
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(serve(client)));
        }
    });
    address
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const TAGS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

#[test]
fn interim_answers_end() {
    let peer = interim(CONTINUE, 5_000_000, TAGS);
    let setup = Setup::before(&[peer]).without_health_checks();
    let setup = setup.set("cluster.main.timeouts", "{ first_byte = \"1s\" }").set("cluster.main.retry.tries", "1");
    let entrepot = setup.start();
    let client = Repository::at(entrepot.address, "team/app");
    let began = std::time::Instant::now();
    for target in ["/v2/team/app/tags/list", "/v2/team/app/manifests/v1", "/v2/"] {
        let answer = client.request("GET", target).send(client.address);
        assert!(matches!(answer.status, 502..=504), "{target}: {}", answer.status);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(60));

    // A few are what HTTP has them for.
    let peer = interim(CONTINUE, 3, TAGS);
    let (_entrepot, client) = before(peer);
    let connection = Connection::open(client.address).expect("a connection");
    let answer = connection.exchange(client.request("GET", "/v2/team/app/tags/list")).expect("an answer").finish();
    assert_eq!(answer.status, 200);
}
