//! Who gets which request: by weight and by what is under way; and uploads follow the peer that opened them, through
//! any Entrepot.

use crate::harness::repository::{location, with_digest};
use crate::harness::{
    Connection, Entrepot, Fault, FaultProxy, Gate, Registry, Reply, Repository, Request, Rule, Setup, Stop, digest,
    eventually, random_bytes,
};

/// Peers that answer everything alike, and count.
fn counting(count: usize) -> Vec<FaultProxy> {
    (0..count).map(|_| FaultProxy::recording()).collect()
}

fn weighted(peers: &[FaultProxy], weights: &[u32]) -> Setup {
    let list: Vec<String> = peers
        .iter()
        .zip(weights)
        .map(|(peer, weight)| format!("{{ address = \"{}\", weight = {weight} }}", peer.address))
        .collect();
    let addresses: Vec<_> = peers.iter().map(|peer| peer.address).collect();
    Setup::before(&addresses).without_health_checks().set("cluster.main.peers", &format!("[{}]", list.join(", ")))
}

#[test]
fn ten_thousand_requests_are_split_by_weight_within_two_percent() {
    const REQUESTS: usize = 10_000;
    let peers = counting(3);
    let entrepot = weighted(&peers, &[1, 2, 3]).start();
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    for number in 0..REQUESTS {
        // Distinct, so that nothing is answered from what is known.
        let (answer, kept) = connection.ask(Request::get(format!("/v2/r{number}/tags/list"))).expect("an answer");
        assert_eq!(answer.status, 200);
        connection = kept;
    }
    for (peer, weight) in peers.iter().zip([1.0, 2.0, 3.0]) {
        let ideal = REQUESTS as f64 * weight / 6.0;
        let got = peer.count("GET", "/tags/list") as f64;
        assert!((got - ideal).abs() <= ideal * 0.02, "weight {weight}: {got} instead of {ideal}");
    }
}

#[test]
fn downloads_that_last_send_new_requests_to_the_other_peers() {
    let (one, other, _volume) = Registry::pair();
    let repository = Repository::at(one.address, "team/app");
    let blobs: Vec<String> = (0..6).map(|seed| repository.push_blob(&random_bytes(seed, 2 << 20))).collect();
    let (slow, quick) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    let gate = Gate::new();
    slow.on(Rule::new("GET", "/blobs/", Fault::HoldAt(1 << 20, gate.clone())));
    quick.on(Rule::new("GET", "/blobs/", Fault::HoldAt(1 << 20, gate.clone())));
    let entrepot = Setup::before(&[slow.address, quick.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let held: Vec<_> =
        blobs.iter().map(|blob| client.request("GET", client.blob(blob)).open(entrepot.address)).collect();
    // Six downloads that stand still are three on each.
    assert_eq!((slow.count("GET", "/blobs/"), quick.count("GET", "/blobs/")), (3, 3));
    let busy = |address| entrepot.metric("entrepot_peer_in_flight", &[("peer", &format!("{address}"))]);
    assert_eq!((busy(slow.address), busy(quick.address)), (3.0, 3.0));
    gate.open();
    for download in held {
        download.finish().expect(200);
    }
    entrepot.settled();
    eventually("nothing is under way", || busy(slow.address) + busy(quick.address) == 0.0);
}

#[test]
fn a_peer_that_is_busy_with_a_long_download_gets_no_new_request() {
    let (one, other, _volume) = Registry::pair();
    let blob = Repository::at(one.address, "team/app").push_blob(&random_bytes(1, 2 << 20));
    let (first, second) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    let gate = Gate::new();
    for peer in [&first, &second] {
        peer.on(Rule::new("GET", "/blobs/", Fault::HoldAt(1 << 20, gate.clone())));
    }
    let entrepot = Setup::before(&[first.address, second.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let held = client.request("GET", client.blob(&blob)).open(entrepot.address);
    let (busy, free) = if first.count("GET", "/blobs/") == 1 { (&first, &second) } else { (&second, &first) };
    for peer in [busy, free] {
        peer.forget_seen();
    }
    for number in 0..20 {
        Request::get(format!("/v2/team/r{number}/tags/list")).send(entrepot.address);
    }
    assert_eq!((busy.count("", "/tags/list"), free.count("", "/tags/list")), (0, 20));
    gate.open();
    held.finish().expect(200);
}

#[test]
fn a_backup_is_used_only_while_no_other_peer_can_be() {
    let peers = counting(2);
    let list = format!("[\"{}\", {{ address = \"{}\", backup = true }}]", peers[0].address, peers[1].address);
    let entrepot = weighted(&peers, &[1, 1]).set("cluster.main.peers", &list).start();
    let ask = |number: u32| Request::get(format!("/v2/r{number}/tags/list")).send(entrepot.address).expect(200);
    (0..10).for_each(|number| drop(ask(number)));
    assert_eq!((peers[0].seen().len(), peers[1].seen().len()), (10, 0));
    peers[0].die();
    (10..20).for_each(|number| drop(ask(number)));
    assert_eq!(peers[1].seen().len(), 10);
}

#[test]
fn a_full_peer_makes_requests_wait_and_then_says_503() {
    let peer = FaultProxy::recording();
    let gate = Gate::new();
    peer.on(Rule::new("GET", "/tags/list", Fault::Hold(gate.clone())));
    let list = format!("[{{ address = \"{}\", max_connections = 2 }}]", peer.address);
    let setup = Setup::before(&[peer.address]).without_health_checks().set("cluster.main.peers", &list);
    let entrepot = setup.set("cluster.main.queue_timeout", "\"1s\"").start();
    std::thread::scope(|scope| {
        let ask = |number: u32| Request::get(format!("/v2/r{number}/tags/list")).send(entrepot.address);
        let held: Vec<_> = (0..2).map(|number| scope.spawn(move || ask(number))).collect();
        eventually("two are under way", || peer.count("GET", "/tags/list") == 2);
        let refused = ask(2);
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "UNAVAILABLE"));
        assert!(refused.header("retry-after").is_some());
        let waiting = scope.spawn(move || ask(3));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(peer.count("GET", "/tags/list"), 2);
        gate.open();
        assert_eq!(waiting.join().expect("an answer").status, 200);
        held.into_iter().for_each(|held| assert_eq!(held.join().expect("an answer").status, 200));
    });
}

#[test]
fn a_bad_answer_is_tried_at_the_next_peer_unless_the_body_was_sent() {
    let (one, other, _volume) = Registry::pair();
    let image = Repository::at(one.address, "team/app").push_random("v1", 1, 1000);
    let (bad, good) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    let list = format!("[\"{}\", {{ address = \"{}\", backup = true }}]", bad.address, good.address);
    for fault in
        [Fault::Answer(Reply::new(502)), Fault::Answer(Reply::new(503)), Fault::Answer(Reply::new(504)), Fault::Hangup]
    {
        bad.forget_rules();
        bad.on(Rule::new("", "/v2/team/", fault));
        let setup = Setup::before(&[bad.address]).without_health_checks().set("cluster.main.peers", &list);
        let entrepot = setup.set("cluster.main.max_fails", "0").start();
        let client = Repository::at(entrepot.address, "team/app");
        assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
        client.get_blob(&image.layers[0]).expect(200);
        assert_eq!(client.head_blob(&image.config).status, 200);
        client.start_upload();
        assert!(entrepot.metric("entrepot_retries_total", &[]) >= 4.0);
    }
    // 500 is the peer's own word.
    bad.forget_rules();
    bad.on(Rule::new("", "/v2/team/", Fault::Answer(Reply::new(500))));
    let entrepot = Setup::before(&[bad.address]).without_health_checks().set("cluster.main.peers", &list).start();
    assert_eq!(Request::get("/v2/team/app/tags/list").send(entrepot.address).status, 500);
    assert_eq!(Repository::at(entrepot.address, "team/app").get_manifest("v1").status, 500);
}

#[test]
fn an_upload_opened_through_one_entrepot_goes_on_through_another() {
    let (one, other, _volume) = Registry::pair();
    let peers = [one.address, other.address];
    let (left, right) = (Entrepot::before(&peers), Entrepot::before(&[peers[1], peers[0]]));
    for seed in 0..10 {
        let bytes = random_bytes(seed, 300_000);
        let (begin, end) = bytes.split_at(100_000);
        let upload = Repository::at(left.address, "team/app").start_upload();
        let patched = Request::new("PATCH", upload).header("Content-Range", "0-99999").body(begin).send(right.address);
        assert_eq!((patched.status, patched.header("range")), (202, Some("0-99999")), "{}", patched.text());
        let status = Request::get(location(&patched)).send(left.address);
        assert_eq!((status.status, status.header("range")), (204, Some("0-99999")));
        let patched = Request::new("PATCH", location(&status)).body(end).send(left.address);
        assert_eq!(patched.status, 202, "{}", patched.text());
        let target = with_digest(&location(&patched), &digest(&bytes));
        Request::new("PUT", target).send(right.address).expect(201);
        assert_eq!(Repository::at(left.address, "team/app").get_blob(&digest(&bytes)).expect(200), bytes);
    }
}

#[test]
fn an_upload_goes_on_through_a_restarted_entrepot() {
    let (one, other, _volume) = Registry::pair();
    let mut entrepot = Entrepot::before(&[one.address, other.address]);
    let upload = Repository::at(entrepot.address, "team/app").start_upload();
    entrepot.kill();
    entrepot.restart();
    let target = with_digest(&upload, &digest(b"content"));
    Request::new("PUT", target).body("content").send(entrepot.address).expect(201);
}

/// One client's pulls and pushes until told to stop; counts what failed.
struct Load {
    pulls: usize,
    pushes: usize,
    failed_pulls: Vec<String>,
    failed_pushes: Vec<String>,
}

#[test]
fn a_registry_killed_and_restarted_fails_no_pull_and_no_push_that_held_no_bytes() {
    let (mut one, other, _volume) = Registry::pair();
    let pushed = Repository::at(other.address, "team/app");
    let images: Vec<_> = (0..20).map(|seed| pushed.push_random(&format!("v{seed}"), seed, 30_000)).collect();
    let entrepot =
        Setup::before(&[one.address, other.address]).set("cache.memory", "0").set("cache.disk", "\"1MiB\"").start();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                let (entrepot, images, stop) = (&entrepot, &images, &stop);
                scope.spawn(move || {
                    let client = Repository::at(entrepot.address, "team/app");
                    let mut load = Load { pulls: 0, pushes: 0, failed_pulls: Vec::new(), failed_pushes: Vec::new() };
                    while !stop.is_set() {
                        let image = &images[load.pulls % images.len()];
                        let manifest = client.get_manifest(&format!("v{}", load.pulls % images.len()));
                        let layer = client.get_blob(&image.layers[0]);
                        if (manifest.status, layer.status, digest(&layer.body) == image.layers[0]) != (200, 200, true) {
                            load.failed_pulls.push(format!("{} {}", manifest.text(), layer.status));
                        }
                        load.pulls += 1;
                        if load.pulls.is_multiple_of(5) {
                            let bytes = random_bytes(worker << 32 | load.pulls as u64, 1000);
                            load.pushes += 1;
                            push_in_one_request_after_post(&client, &bytes)
                                .unwrap_or_else(|why| load.failed_pushes.push(why));
                        }
                    }
                    load
                })
            })
            .collect();
        for _ in 0..2 {
            std::thread::sleep(std::time::Duration::from_millis(700));
            one.kill();
            std::thread::sleep(std::time::Duration::from_millis(1500));
            one.restart();
        }
        std::thread::sleep(std::time::Duration::from_millis(700));
        drop(guard);
        let loads: Vec<Load> = workers.into_iter().map(|worker| worker.join().expect("a client")).collect();
        let failed_pulls: Vec<_> = loads.iter().flat_map(|load| &load.failed_pulls).collect();
        assert!(
            failed_pulls.is_empty(),
            "{} of {}: {failed_pulls:?}",
            failed_pulls.len(),
            loads.iter().map(|l| l.pulls).sum::<usize>()
        );
        let failed: Vec<_> = loads.iter().flat_map(|load| &load.failed_pushes).collect();
        assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), loads.iter().map(|l| l.pushes).sum::<usize>());
        assert!(loads.iter().map(|load| load.pulls).sum::<usize>() > 100);
    });
}

/// A push whose only bytes are in its last request: it fails only when the registry dies while it reads them. Such a
/// session held bytes on the killed peer, so it begins anew, once.
fn push_in_one_request_after_post(client: &Repository, bytes: &[u8]) -> Result<(), String> {
    for last in [false, true] {
        let opened = client.request("POST", client.uploads()).send(client.address);
        if opened.status != 202 {
            return Err(format!("POST {}: {}", opened.status, opened.text()));
        }
        let target = with_digest(&location(&opened), &digest(bytes));
        let closed = client.request("PUT", target).body(bytes).send(client.address);
        match closed.status {
            201 => return Ok(()),
            502..=504 if !last => {}
            status => return Err(format!("PUT {status}: {}", closed.text())),
        }
    }
    Err("twice".into())
}

#[test]
fn a_kept_connection_that_the_peer_closes_under_us_is_no_failure_of_the_peer() {
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    client.push_random("v1", 1, 1000);
    for _ in 0..4 {
        client.start_upload();
        peer.on(Rule::new("POST", "/blobs/uploads/", Fault::Hangup).times(1));
        client.start_upload();
        peer.forget_rules();
        Request::get("/v2/team/app/tags/list").send(entrepot.address).expect(200);
        peer.on(Rule::new("GET", "/tags/list", Fault::Hangup).times(1));
        Request::get("/v2/team/app/tags/list").send(entrepot.address).expect(200);
        peer.forget_rules();
    }
    assert_eq!(entrepot.metric("entrepot_peer_requests_total", &[("outcome", "failed")]), 0.0);
}
