//! A blob of 6 GiB streams up and down, and Entrepot stays small.

use std::io::Read;
use std::time::Instant;

use crate::harness::content::{Random, digest_of};
use crate::harness::repository::{location, with_digest};
use crate::harness::{Registry, Repository, Setup};

const SIZE: u64 = 6 << 30;
const BOUND: u64 = 150 << 20;

#[test]
fn six_gibibytes_stream_up_and_down_in_less_than_150_mebibytes() {
    let (one, other, _volume) = Registry::pair();
    let setup = Setup::before(&[one.address, other.address]).set("cache.disk", "\"10GiB\"");
    let mut entrepot = setup.set("log.level", "\"info\"").start();
    let client = Repository::at(entrepot.address, "team/large");
    let (digest, _) = digest_of(Random::new(6).take(SIZE)).expect("a digest");

    let begun = Instant::now();
    let patched =
        client.request("PATCH", client.start_upload()).chunked(Random::new(6).take(SIZE)).send(client.address);
    assert_eq!(patched.status, 202, "{}", patched.text());
    client.request("PUT", with_digest(&location(&patched), &digest)).send(client.address).expect(201);
    println!("up: {:?}, at most {} MiB resident", begun.elapsed(), entrepot.process().peak_resident() >> 20);
    assert!(entrepot.process().peak_resident() < BOUND);

    for what in ["cold", "warm"] {
        let begun = Instant::now();
        let mut download = client.request("GET", client.blob(&digest)).open(client.address);
        assert_eq!(digest_of(&mut download).expect("the whole body"), (digest.clone(), SIZE));
        println!(
            "down, {what}: {:?}, at most {} MiB resident",
            begun.elapsed(),
            entrepot.process().peak_resident() >> 20
        );
        assert!(entrepot.process().peak_resident() < BOUND);
        entrepot.settled();
    }
}
