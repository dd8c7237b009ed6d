//! Fifty clients, one cold blob of 128 MiB, a peer of 20 MiB/s. nginx here: 50 requests, 6,400 MiB.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::harness::content::digest_of;
use crate::harness::{FaultProxy, Registry, Repository, Setup, random_bytes};

const CLIENTS: usize = 50;
const SIZE: usize = 128 << 20;

#[test]
fn fifty_clients_of_a_cold_blob_cost_one_request_and_its_bytes() {
    let registry = Registry::debian().start();
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, SIZE));
    let peer = FaultProxy::before(registry.address);
    peer.throttle(20 << 20);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let begun = Instant::now();
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let asked = Instant::now();
                    let mut download = client.request("GET", client.blob(&blob)).open(client.address);
                    let first = download.read_exactly(1);
                    let waited = asked.elapsed();
                    assert_eq!(
                        digest_of(first.as_slice().chain(&mut download)).expect("all bytes"),
                        (blob.clone(), SIZE as u64)
                    );
                    waited
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("a client")).collect()
    });
    waits.sort_unstable();
    println!(
        "first byte: median {:?}, last {:?}; all done after {:?}",
        waits[CLIENTS / 2],
        waits[CLIENTS - 1],
        begun.elapsed()
    );
    assert_eq!((peer.count("GET", &blob), peer.body_bytes()), (1, SIZE as u64));
}
