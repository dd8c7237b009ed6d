//! Clients that read pieces: SOCI and eStargz, and containerd's parallel downloads, which open a range and leave it.

use std::io::Read;

use super::world::{Hub, pull_blob};
use crate::harness::{Answer, Fault, Gate, Manner, Repository, Rule, random_bytes};

const SIZE: usize = 32 << 20;

fn piece(client: &Repository, blob: &str, range: &str) -> Answer {
    client.request("GET", client.blob(blob)).header("Range", format!("bytes={range}")).send(client.address)
}

fn with_blob(manner: Manner) -> (Hub, String, Vec<u8>) {
    let hub = Hub::start(manner, |setup| setup);
    let bytes = random_bytes(3, SIZE);
    let blob = hub.remote.shelf(|shelf| shelf.repository("team/app").put_blob(bytes.clone()));
    (hub, blob, bytes)
}

#[test]
fn a_piece_of_a_cold_blob_is_had_without_waiting_for_what_lies_before_it() {
    for manner in [Manner::plain(), Manner::hub()] {
        let redirected = manner.blobs_redirect;
        let (hub, blob, bytes) = with_blob(manner);
        let source = if redirected { &hub.remote.store } else { &hub.remote.wire };
        // Whoever reads the whole stands still at its beginning; a piece has fewer bytes than that.
        let gate = Gate::new();
        source.on(Rule::new("GET", &blob, Fault::HoldAt(2 << 20, gate.clone())));
        let client = hub.client("team/app");
        let far = SIZE - 100_000;
        let answer = piece(&client, &blob, &format!("{far}-{}", far + 9_999));
        assert_eq!(answer.header("content-range"), Some(format!("bytes {far}-{}/{SIZE}", far + 9_999).as_str()));
        assert_eq!(answer.expect(206), bytes[far..far + 10_000]);
        gate.open();
        pull_blob(&client, &blob).expect("the whole");
        let whole = source
            .seen_of("GET", &blob)
            .into_iter()
            .filter(|seen| seen.header("range").is_none_or(|range| range == "bytes=0-"));
        assert!(whole.count() <= 1, "the whole was fetched once");
        assert!(hub.remote.bytes() <= SIZE as u64 + 1_000_000, "{}", hub.remote.bytes());
    }
}

#[test]
fn pieces_of_what_is_kept_are_cut_here() {
    let (hub, blob, bytes) = with_blob(Manner::plain());
    let client = hub.client("team/app");
    pull_blob(&client, &blob).expect("the whole");
    hub.kept("team/app", std::slice::from_ref(&blob));
    let asked = hub.remote.asked();
    for (range, from, to) in
        [("0-0", 0, 1), ("100-199", 100, 200), ("-5", SIZE - 5, SIZE), ("33554000-", 33_554_000, SIZE)]
    {
        assert_eq!(piece(&client, &blob, range).expect(206), bytes[from..to], "{range}");
    }
    assert_eq!(piece(&client, &blob, &format!("{SIZE}-")).status, 416);
    assert_eq!(hub.remote.asked(), asked);
}

/// containerd opens `bytes=0-` and ranges without an end, reads its part of each and goes.
#[test]
fn parallel_readers_of_open_ranges_cost_the_remote_little_more_than_the_whole() {
    let (hub, blob, bytes) = with_blob(Manner::plain());
    hub.remote.wire.throttle(200 << 20);
    let (client, part) = (hub.client("team/app"), SIZE / 4);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (client, blob, bytes) = (&client, &blob, &bytes);
            scope.spawn(move || {
                let from = number * part;
                let request = client.request("GET", client.blob(blob)).header("Range", format!("bytes={from}-"));
                let mut download = request.open(client.address);
                assert!(matches!(download.status, 200 | 206), "{}", download.status);
                let skipped = if download.status == 200 { from } else { 0 };
                std::io::copy(&mut (&mut download).take(skipped as u64), &mut std::io::sink()).expect("what is before");
                assert_eq!(download.read_exactly(part), bytes[from..from + part], "{number}");
            });
        }
    });
    pull_blob(&client, &blob).expect("the whole");
    assert!(hub.remote.bytes() <= 3 * SIZE as u64, "{}", hub.remote.bytes());
}

#[test]
fn a_piece_that_cannot_be_had_ends_nobody_s_pull_well() {
    let (hub, blob, bytes) = with_blob(Manner::plain());
    let client = hub.client("team/app");
    hub.remote.wire.on(Rule::new("GET", &blob, Fault::CutAt(3_000)));
    let far = SIZE - 100_000;
    let answer = piece(&client, &blob, &format!("{far}-{}", far + 9_999));
    let well = answer.status == 206 && answer.complete;
    assert!(!well || answer.body == bytes[far..far + 10_000], "{} {}", answer.status, answer.body.len());
}
