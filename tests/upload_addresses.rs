//! Where a peer keeps its uploads is its own affair: whatever address it gives, the client reaches that very peer by it,
//! through any Entrepot.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::harness::repository::{location, with_digest};
use crate::harness::{FaultProxy, Reply, Repository, Request, Seen, Setup, digest};

/// The header `Location` of a peer at this address, in answer to the POST.
type Style = fn(&Seen, SocketAddr) -> String;

/// A peer that gives addresses in one style; they name it, so that the other one's requests are told.
fn peer(style: Style) -> FaultProxy {
    let own: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
    let known = own.clone();
    let peer = FaultProxy::scripted(move |seen: &Seen| {
        let address = known.lock().expect("unbroken").expect("its address is set");
        let target = seen.target.split('?').next().unwrap_or_default();
        match seen.method.as_str() {
            "POST" => Reply::new(202).header("Location", style(seen, address)),
            // As most do: a new state each time, at the same place.
            "PATCH" => Reply::new(202).header("Location", format!("{target}?_state=after%2Bpatch")),
            "GET" if seen.target.contains("state") => Reply::new(204).header("Location", target),
            "PUT" => Reply::new(201).header("Location", format!("/v2/team/app/blobs/{}", digest(b"content"))),
            "DELETE" => Reply::new(204),
            _ => Reply::new(200).header("Content-Type", "application/json").body("{}"),
        }
    });
    *own.lock().expect("unbroken") = Some(peer.address);
    peer
}

fn id(address: SocketAddr) -> String {
    // Letters that no digest has keep it from being found by chance.
    format!("z{}z", address.port())
}

const STYLES: &[(&str, Style)] = &[
    ("absolute path", |_, a| format!("/v2/team/app/blobs/uploads/{}?_state=x", id(a))),
    ("this peer's address", |_, a| format!("http://{a}/v2/team/app/blobs/uploads/{}?_state=x%3D%3D&b=1", id(a))),
    ("the address that the client knows", |seen, a| {
        format!("http://{}/v2/team/app/blobs/uploads/{}", seen.header("host").unwrap_or_default(), id(a))
    }),
    ("the forwarded host without its port", |seen, a| {
        let host = seen.header("x-forwarded-host").unwrap_or_default();
        format!("https://{}/v2/team/app/blobs/uploads/{}", host.split(':').next().unwrap_or_default(), id(a))
    }),
    ("without a scheme", |_, a| format!("//{a}/v2/team/app/blobs/uploads/{}", id(a))),
    ("another word", |_, a| format!("/v2/team/app/blobs/upload/{}", id(a))),
    ("many parts", |_, a| format!("/v2/team/app/blobs/uploads/2026/11/{}", id(a))),
    ("another tree", |_, a| format!("/v2/team/app/_uploads/{}?_state=x", id(a))),
    ("a colon", |_, a| format!("/v2/team/app/blobs/uploads/sha256:{}", id(a))),
    ("a plus and an equals sign", |_, a| format!("/v2/team/app/blobs/uploads/a+b=={}", id(a))),
    ("percent", |_, a| format!("/v2/team/app/blobs/uploads/a%2Bb%3D%20%7B{}", id(a))),
    ("an encoded slash", |_, a| format!("/v2/team/app/blobs/uploads/a%2Fb{}", id(a))),
    ("other characters", |_, a| format!("/v2/team/app/blobs/uploads/a,b;c@d!e$f&g'(h)*~{}", id(a))),
    ("a long one", |_, a| format!("/v2/team/app/blobs/uploads/{}{}", "i".repeat(1500), id(a))),
    ("bare", |_, a| format!("u{}", id(a))),
    ("bare with a query", |_, a| format!("u{}?_state=a/b&c", id(a))),
    ("up and down", |_, a| format!("../upload/{}", id(a))),
    ("below forward", |_, a| format!("/artifacts-uploads/{}?token=x", id(a))),
    ("below forward, absolute", |_, a| format!("http://{a}/artifacts-uploads/team/app/{}", id(a))),
];

#[test]
fn every_address_leads_to_the_peer_that_gave_it_through_any_entrepot() {
    for (what, style) in STYLES {
        let peers = [peer(*style), peer(*style)];
        let setup = Setup::before(&[peers[0].address, peers[1].address]).without_health_checks();
        let setup = setup.set("cluster.main.forward", "[\"/artifacts-uploads/\"]");
        let fronts = [setup.clone().start(), setup.start()];
        for _ in 0..4 {
            let client = Repository::at(fronts[0].address, "team/app");
            let opened = client.request("POST", client.uploads()).send(client.address);
            assert_eq!(opened.status, 202);
            let given = opened.header("location").expect("a Location");
            assert!(given.starts_with('/') && !given.starts_with("//"), "{what}: {given}");
            let own = peers.iter().find(|peer| given.contains(&id(peer.address))).expect("the peer of the address");
            let at = location(&opened);
            // Chunks, a look at it, and its end, each through the other front.
            let patched = Request::new("PATCH", at.clone()).body("content").send(fronts[1].address);
            assert_eq!(patched.status, 202, "{what}: {at}: {}", patched.text());
            let place = location(&patched);
            let looked = Request::get(place.clone()).send(fronts[0].address);
            assert_eq!(looked.status, 204, "{what}: {place}: {}", looked.text());
            let closed = Request::new("PUT", with_digest(&place, &digest(b"content"))).send(fronts[1].address);
            assert_eq!(closed.status, 201, "{what}: {place}: {}", closed.text());
            assert_eq!(location(&closed), format!("/v2/team/app/blobs/{}", digest(b"content")), "{what}");
            let cancelled = Request::new("DELETE", place.clone()).send(fronts[0].address);
            assert_eq!(cancelled.status, 204, "{what}: {place}");
            for (method, state) in [("PATCH", false), ("GET", true), ("PUT", true), ("DELETE", true)] {
                let seen = own.seen_of(method, &id(own.address));
                let seen = seen.last().unwrap_or_else(|| panic!("{what}: {method} {at} did not come"));
                assert!(!seen.target.contains("_peer="), "{what}: {}", seen.target);
                assert_eq!(seen.target.contains("_state=after%2Bpatch"), state, "{what}: {}", seen.target);
            }
        }
        for peer in &peers {
            let others: Vec<_> = peer.seen().iter().map(|seen| seen.target.clone()).collect();
            let foreign = peers.iter().filter(|other| other.address != peer.address);
            for other in foreign {
                assert!(!others.iter().any(|target| target.contains(&id(other.address))), "{what}: {others:?}");
            }
        }
    }
}

#[test]
fn the_peer_gets_the_address_as_it_gave_it() {
    for (what, style) in STYLES {
        let peer = peer(*style);
        let setup = Setup::before(&[peer.address]).without_health_checks();
        let entrepot = setup.set("cluster.main.forward", "[\"/artifacts-uploads/\"]").start();
        let client = Repository::at(entrepot.address, "team/app");
        let opened = client.request("POST", client.uploads()).send(client.address);
        Request::new("PATCH", location(&opened)).body("x").send(client.address).expect(202);
        let asked = Seen {
            method: "POST".into(),
            target: client.uploads(),
            head: peer.seen_of("POST", "")[0].head.clone(),
            body: Vec::new(),
            status: 0,
        };
        let base = url::Url::parse(&format!("http://{}{}", peer.address, client.uploads())).expect("a URL");
        let wanted = base.join(&style(&asked, peer.address)).expect("an address");
        let wanted = match wanted.query() {
            Some(query) => format!("{}?{query}", wanted.path()),
            None => wanted.path().to_owned(),
        };
        assert_eq!(peer.seen_of("PATCH", "")[0].target, wanted, "{what}");
    }
}

#[test]
fn an_address_on_another_host_is_handed_on_as_it_is() {
    for address in [
        "https://uploads.example/v2/team/app/blobs/uploads/1?token=x",
        "http://127.0.0.1:9/team/app?x",
        "//store.example/put/here?signature=a%2Fb",
    ] {
        let peer = FaultProxy::scripted(move |_| Reply::new(202).header("Location", address));
        let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
        let client = Repository::at(entrepot.address, "team/app");
        let opened = client.request("POST", client.uploads()).send(client.address);
        assert_eq!((opened.status, opened.header("location")), (202, Some(address)));
    }
}

#[test]
fn the_mark_of_a_peer_opens_no_path_that_could_be_read_otherwise() {
    let peer = FaultProxy::recording();
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let opened = Repository::at(entrepot.address, "a");
    let mark = {
        let giver = FaultProxy::scripted(|_| Reply::new(202).header("Location", "u"));
        let front = Setup::before(&[giver.address]).without_health_checks().start();
        let answer = opened.request("POST", "/v2/a/blobs/uploads/").send(front.address);
        location(&answer).split_once('?').expect("a mark").1.to_owned()
    };
    for path in [
        "/v2/a/blobs/uploads/..",
        "/v2/a/blobs/uploads/%2e%2e/x",
        "/v2/a/blobs/uploads/x%2f..%2fy",
        "/v2/a/blobs/uploads/x%2fmanifests%2fy",
        "/v2/a/blobs/uploads/x%252f..%252fy",
        "/v2/a/b/blobs%2Fsha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "/v2/a%2Fb/blobs/uploads/x",
        "/v2/a/blobs%2Fuploads%2F",
        "/v2/a/../b/u",
        "/v2/a/x%00y",
        "/v2/a//u",
        "/v2/A/u/x",
        "/elsewhere/u",
    ] {
        let before = peer.seen().len();
        let answer = Request::new("PATCH", format!("{path}?{mark}")).body("x").send(entrepot.address);
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert_eq!(peer.seen().len(), before, "{path}");
    }
}
