//! 10,000 requests, and downloads of 1 GiB, uploads and streams of HTTP/2 that outlast it all, while successors come: those that cannot
//! serve, and two that can.

#[path = "../upgrade/killed.rs"]
mod killed;
#[path = "../upgrade/load.rs"]
mod load;
#[path = "../upgrade/refused.rs"]
mod refused;
#[path = "../upgrade/transfers.rs"]
mod transfers;
#[path = "../upgrade/world.rs"]
mod world;

use std::time::Instant;

use self::load::{Load, Scale};
use self::transfers::{Content, Transfers};
use self::world::Serving;
use crate::harness::{Repository, Setup, eventually};

const REQUESTS: usize = 10_000;
const GIGABYTE: u64 = 1 << 30;
/// What an upload has; there are four.
const UPLOAD: u64 = 512 << 20;

#[test]
fn ten_thousand_requests_and_gigabytes_under_way_outlast_every_successor() {
    // A machine that is busy is no slow client.
    let setup = Setup::registry().set("listener.0.timeouts.body", "\"900s\"").set("log.level", "\"info\"");
    let mut serving = Serving::start_draining(setup, "1800s");
    let client = serving.client("team/app");
    let image = client.push_random("v1", 1, 200_000);
    let large = transfers::push(&client, 2, GIGABYTE);
    let begun = Instant::now();
    let load = Load::begin(serving.address(), &image, Scale { anew: 3, kept: 3, pushes: 2, multiplexed: 2 });
    let mut transfers = Transfers::new();
    begin_four(&mut transfers, &client, &large, 10);
    let first = serving.process_id();
    let refused = refused::none_of_them_takes_the_place(&serving, &load);
    transfers.go_on();
    println!("{refused} successors that cannot serve: {:?}", begun.elapsed());
    let second = serving.upgrade(None).expect("an upgrade");
    assert!(second != first && serving.process_id() == second);
    load.goes_on();
    transfers.go_on();
    // Those of the second process, while those of the first go on.
    begin_four(&mut transfers, &client, &large, 20);
    transfers.go_on();
    let third = serving.upgrade(None).expect("another upgrade");
    assert!(third != second && serving.process_id() == third);
    load.goes_on();
    transfers.go_on();
    assert!(world::is_there(first) && world::is_there(second), "each ends what it has begun");
    println!("three processes: {:?}", begun.elapsed());
    let count = transfers.count();
    let moved = transfers.end();
    println!("{count} transfers of {} MiB have ended: {:?}", moved >> 20, begun.elapsed());
    load.goes_on_until(REQUESTS);
    let done = load.end();
    println!("{done:?}, none refused, none failed: {:?}", begun.elapsed());
    assert!(done.pushes > 0 && done.streams > 0);
    serving.old_has_ended();
    eventually("the second process has ended", || !world::is_there(second));
    assert_eq!(serving.process_id(), third);
}

#[test]
fn a_hundred_kills_refuse_none_of_ten_thousand_connections_where_the_socket_is_another_s() {
    killed::kills_refuse_no_connection(100, REQUESTS);
}

/// A download, a stream of HTTP/2, and two uploads.
fn begin_four(transfers: &mut Transfers, client: &Repository, large: &Content, seed: u64) {
    transfers.download(client, large);
    transfers.stream(client.address, client.blob(&large.digest), large);
    for seed in seed..seed + 2 {
        transfers.upload(&client.named(&format!("team/uploaded-{seed}")), seed, UPLOAD);
    }
    transfers.go_on();
}
