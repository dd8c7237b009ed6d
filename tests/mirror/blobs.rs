//! Blobs stream to all who wait while they come, once; what breaks is taken up where it broke, and what is wrong ends nobody's pull well.

use std::io::Read;
use std::time::Duration;

use super::world::{Hub, is_unavailable, pull_blob, pulls, pulls_image, refused};
use crate::harness::content::digest_of;
use crate::harness::{Fault, Gate, Manner, Reply, Rule, digest, eventually};

const SIZE: usize = 16 << 20;

/// A blob of `team/app:1`.
fn with_blob(manner: Manner) -> (Hub, String) {
    let hub = Hub::start(manner, |setup| setup);
    let image = hub.remote.put("team/app", "1", 50, SIZE);
    (hub, image.layers[0].clone())
}

#[test]
fn fifty_clients_of_a_cold_blob_stream_from_one_request() {
    for manner in [Manner::plain(), Manner::hub()] {
        let redirected = manner.blobs_redirect;
        let (hub, blob) = with_blob(manner);
        let gate = Gate::new();
        let source = if redirected { &hub.remote.store } else { &hub.remote.wire };
        source.on(Rule::new("GET", &blob, Fault::HoldAt(4 << 20, gate.clone())));
        let client = hub.client("team/app");
        client.get_manifest("1").expect(200);
        let before = hub.remote.bytes();
        std::thread::scope(|scope| {
            let begun: Vec<_> = (0..50)
                .map(|_| {
                    scope.spawn(|| {
                        let mut download = client.request("GET", client.blob(&blob)).open(client.address);
                        assert_eq!(download.header("content-length"), Some(SIZE.to_string().as_str()));
                        let begun = download.read_exactly(1 << 20);
                        (download, begun)
                    })
                })
                .collect();
            let begun: Vec<_> = begun.into_iter().map(|reader| reader.join().expect("first bytes")).collect();
            gate.open();
            let ends = begun.into_iter().map(|(mut rest, first)| {
                scope.spawn(move || digest_of(first.as_slice().chain(&mut rest)).expect("all bytes"))
            });
            for end in ends.collect::<Vec<_>>() {
                assert_eq!(end.join().expect("all bytes"), (blob.clone(), SIZE as u64));
            }
        });
        assert_eq!((hub.remote.gets(&blob), hub.remote.bytes() - before), (1, SIZE as u64));
    }
}

#[test]
fn who_asks_while_the_first_byte_is_awaited_is_no_question_more() {
    for manner in [Manner::plain(), Manner::hub()] {
        let redirected = manner.blobs_redirect;
        let (hub, blob) = with_blob(manner);
        let gate = Gate::new();
        let source = if redirected { &hub.remote.store } else { &hub.remote.wire };
        source.on(Rule::new("GET", &blob, Fault::HoldAt(0, gate.clone())));
        let client = hub.client("team/app");
        client.get_manifest("1").expect(200);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| pull_blob(&client, &blob));
            eventually("the remote has begun to answer", || source.count("GET", &blob) == 1);
            let others: Vec<_> = (0..5).map(|_| scope.spawn(|| pull_blob(&client, &blob))).collect();
            eventually("all of them wait", || hub.entrepot.metric("entrepot_requests_in_flight", &[]) >= 6.0);
            // As long as it takes to ask, if they did.
            std::thread::sleep(Duration::from_millis(300));
            gate.open();
            for pull in others.into_iter().chain([first]) {
                pull.join().expect("it ends").expect("the whole");
            }
        });
        assert_eq!(hub.remote.gets(&blob), 1);
    }
}

#[test]
fn a_broken_body_goes_on_where_it_broke() {
    let (hub, blob) = with_blob(Manner::plain());
    hub.remote.wire.on(Rule::new("GET", &blob, Fault::CutAt(5_000_000)).times(1));
    hub.remote.wire.on(Rule::new("GET", &blob, Fault::CutAt(4_000_000)).times(1));
    pull_blob(&hub.client("team/app"), &blob).expect("the whole");
    let seen = hub.remote.wire.seen_of("GET", &blob);
    let ranges: Vec<_> = seen.iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(ranges[1].as_deref().is_some_and(|range| range.starts_with("bytes=") && range != "bytes=0-"), "{ranges:?}");
    assert!(ranges[2] > ranges[1], "{ranges:?}");
    assert!(hub.remote.bytes() <= SIZE as u64 + (1 << 20), "{}", hub.remote.bytes());
}

#[test]
fn a_signed_address_is_asked_for_anew_and_told_nobody_s_credentials() {
    let folder = super::world::folder();
    let password = "of-the-mirror-1";
    let login = super::world::login(&folder, "mirror", password);
    let manner = Manner { blobs_redirect: true, ..Manner::ecr("mirror", password) };
    let hub = Hub::start(manner, |setup| setup.set("remote.hub.credentials", &format!("[{login}]")));
    let blob = hub.remote.put("team/app", "1", 50, SIZE).layers[0].clone();
    hub.client("team/app").get_manifest("1").expect(200);
    hub.remote.store.on(Rule::new("GET", &blob, Fault::CutAt(3_000_000)).times(1));
    hub.remote.store.on(Rule::new("GET", &blob, Fault::Hangup).times(1));
    pull_blob(&hub.client("team/app"), &blob).expect("the whole");
    let store = hub.remote.store.seen();
    assert!(store.iter().all(|seen| seen.header("authorization").is_none()));
    // One that was hung up on may be used again at once; what was answered may not.
    let answered: Vec<_> = store.iter().filter(|seen| seen.status != 0).collect();
    assert_eq!(answered.iter().map(|seen| seen.status).collect::<Vec<_>>(), [200, 206]);
    assert_ne!(answered[0].target, answered[1].target);
    assert!(hub.remote.gets(&blob) >= 2, "the registry was asked for a fresh address");
}

#[test]
fn a_wrong_blob_ends_nobody_s_pull_well_and_is_not_kept() {
    let (hub, blob) = with_blob(Manner::plain());
    let client = hub.client("team/app");
    for fault in [Fault::FlipAt(9_000_000), Fault::FlipAt(SIZE as u64 - 1), Fault::Shorten(5), Fault::Lengthen(5)] {
        hub.remote.wire.on(Rule::new("GET", &blob, fault));
        let answer = client.get_blob(&blob);
        let well = answer.status == 200
            && answer.complete
            && answer.header("content-length") == Some(&answer.body.len().to_string());
        assert!(!well || digest(&answer.body) == blob, "wrong content that ended well: {} bytes", answer.body.len());
        hub.remote.forget_rules();
    }
    eventually("the blob is had once the remote is right", || pull_blob(&client, &blob).is_ok());
    hub.kept("team/app", std::slice::from_ref(&blob));
    hub.remote.die();
    pull_blob(&client, &blob).expect("what was kept is right");
}

#[test]
fn a_small_blob_that_is_wrong_is_answered_with_an_error() {
    let hub = Hub::start(Manner::plain(), |setup| setup);
    let client = hub.client("team/app");
    for (number, fault) in (0u64..).zip([Fault::FlipAt(500), Fault::Shorten(1), Fault::Lengthen(1)]) {
        let image = hub.remote.put("team/app", &format!("{number}"), 100 + number, 1_000);
        client.get_manifest(&format!("{number}")).expect(200);
        let blob = &image.layers[0];
        hub.remote.wire.on(Rule::new("GET", blob, fault));
        let answer = client.get_blob(blob);
        assert!(answer.complete, "fault {number}");
        let told = (answer.status, answer.error_code());
        let known = [(502, "UNKNOWN".to_owned()), (503, "UNAVAILABLE".to_owned())];
        assert!(known.contains(&told), "fault {number}: {told:?}");
        hub.remote.forget_rules();
        eventually("the blob is had once the remote is right", || pull_blob(&client, blob).is_ok());
    }
}

#[test]
fn a_head_of_what_was_never_here_asks_the_remote_and_fetches_nothing() {
    for manner in [Manner::plain(), Manner::hub()] {
        let (hub, blob) = with_blob(manner);
        let head = hub.client("team/app").head_blob(&blob);
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some(SIZE.to_string().as_str())),
            "{:?}",
            head.headers
        );
        assert_eq!(head.header("docker-content-digest"), Some(blob.as_str()));
        assert!(hub.remote.bytes() <= 1, "{}", hub.remote.bytes());
        assert_eq!(hub.client("team/app").head_blob(&digest(b"absent")).status, 404);
    }
}

#[test]
fn a_download_that_half_is_here_of_goes_on_without_its_client() {
    let (hub, blob) = with_blob(Manner::plain());
    let gate = Gate::new();
    hub.remote.wire.on(Rule::new("GET", &blob, Fault::HoldAt(12 << 20, gate.clone())));
    let client = hub.client("team/app");
    let mut download = client.request("GET", client.blob(&blob)).open(client.address);
    download.read_exactly(11 << 20);
    drop(download);
    gate.open();
    hub.kept("team/app", std::slice::from_ref(&blob));
    hub.remote.die();
    pull_blob(&client, &blob).expect("the whole");
    assert_eq!(hub.remote.gets(&blob), 1);
}

#[test]
fn a_download_that_little_is_here_of_ends_with_its_last_client() {
    let (hub, blob) = with_blob(Manner::plain());
    hub.remote.wire.throttle(8 << 20);
    let client = hub.client("team/app");
    let mut download = client.request("GET", client.blob(&blob)).open(client.address);
    download.read_exactly(1 << 20);
    drop(download);
    hub.entrepot.settled();
    assert!(hub.remote.bytes() < SIZE as u64, "{}", hub.remote.bytes());
    hub.remote.wire.throttle(None);
    pull_blob(&client, &blob).expect("the next has it whole");
}

#[test]
fn the_first_client_killed_takes_nobody_with_it() {
    let (hub, blob) = with_blob(Manner::plain());
    let gate = Gate::new();
    hub.remote.wire.on(Rule::new("GET", &blob, Fault::HoldAt(3 << 20, gate.clone())));
    let client = hub.client("team/app");
    let open = || client.request("GET", client.blob(&blob)).open(client.address);
    let mut first = open();
    first.read_exactly(1 << 20);
    let mut second = open();
    let begun = second.read_exactly(1 << 20);
    drop(first);
    gate.open();
    assert_eq!(digest_of(begun.as_slice().chain(&mut second)).expect("all bytes").0, blob);
    assert_eq!(hub.remote.gets(&blob), 1);
}

#[test]
fn a_remote_that_gives_no_first_byte_is_not_waited_for_longer_than_was_told() {
    let hub = Hub::start(Manner::plain(), |setup| {
        let times = "{ manifest = \"1s\", first_byte = \"2s\", connect = \"1s\", read = \"2s\" }";
        setup.set("remote.hub.timeouts", times)
    });
    let image = hub.remote.put("team/app", "1", 1, 1000);
    let client = hub.client("team/app");
    client.get_manifest("1").expect(200);
    let gate = Gate::new();
    hub.remote.wire.on(Rule::new("", "/v2/", Fault::Hold(gate.clone())));
    is_unavailable(&client.get_blob(&image.layers[0]));
    is_unavailable(&client.get_manifest("2"));
    gate.open();
    hub.remote.forget_rules();
    eventually("the remote answers again", || pull_blob(&client, &image.layers[0]).is_ok());
}

#[test]
fn images_come_whole_from_registries_of_every_manner() {
    for manner in [Manner::plain(), Manner::hub(), Manner::ghcr(), Manner::k8s()] {
        let hub = Hub::start(manner, |setup| setup);
        let image = hub.remote.put_multi("team/app", "1", 1, 100_000);
        pulls(&hub.client("team/app"), "1", &image);
        assert_eq!(hub.remote.gets("/blobs/"), image.blobs().len());
        assert!(hub.remote.store.seen().iter().all(|seen| seen.status < 400), "{:?}", hub.remote.store.seen());
    }
}

#[test]
fn a_redirect_that_gives_a_page_gives_nobody_a_page() {
    let hub = Hub::new();
    let image = hub.remote.put("team/app", "1", 1, 100_000);
    let page = Reply::new(200).header("Content-Type", "text/html").body(vec![b'x'; 100_000]);
    hub.remote.wire.on(Rule::new("GET", "/blobs/", Fault::Answer(page)).times(3));
    let client = hub.client("team/app");
    // It is found out at the last byte: by then an answer may have begun, which breaks off.
    if let Ok(answer) = client.request("GET", client.blob(&image.layers[0])).try_send(client.address) {
        assert!(answer.status >= 500 || !answer.complete, "{} {}", answer.status, answer.body.len());
    }
    hub.remote.forget_rules();
    eventually("the remote is asked again", || super::world::pull_image(&client, "1", &image).is_ok());
    pulls_image(&client, "1", &image);
    refused(&client.get_blob(&digest(b"<html>")), 404, "BLOB_UNKNOWN");
}
