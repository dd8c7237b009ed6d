//! A cache of 100,000 entries is there again in seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{Connection, FaultProxy, Reply, Request, Setup, digest};

const ENTRIES: usize = 100_000;

#[test]
fn a_cache_of_a_hundred_thousand_entries_starts_in_seconds() {
    let content = |number: usize| format!("content number {number}").into_bytes();
    let digests: Arc<Vec<String>> = Arc::new((0..ENTRIES).map(|number| digest(&content(number))).collect());
    let numbers: HashMap<String, usize> = digests.iter().cloned().zip(0..).collect();
    let peer = FaultProxy::scripted(move |seen| {
        let number = seen.target.rsplit('/').next().and_then(|digest| numbers.get(digest));
        number.map_or(Reply::new(404), |number| Reply::new(200).body(content(*number)))
    });
    let setup = Setup::before(&[peer.address]).without_health_checks().set("cache.memory", "0");
    let mut entrepot = setup.set("cluster.main.permission", "\"public\"").set("log.level", "\"info\"").start();
    let address = entrepot.address;
    std::thread::scope(|scope| {
        for part in digests.chunks(ENTRIES / 8) {
            scope.spawn(move || {
                let mut connection = Connection::open(address).expect("a connection");
                for digest in part {
                    let request = Request::get(format!("/v2/team/app/blobs/{digest}"));
                    let (answer, kept) = connection.ask(request).expect("an answer");
                    answer.expect(200);
                    connection = kept;
                }
            });
        }
    });
    entrepot.settled();
    assert_eq!(entrepot.metric("entrepot_cache_entries", &[("tier", "disk")]), ENTRIES as f64);
    entrepot.terminate();
    let begun = Instant::now();
    entrepot.restart();
    println!("ready with {ENTRIES} entries after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(entrepot.metric("entrepot_cache_entries", &[("tier", "disk")]), ENTRIES as f64);
    peer.forget_seen();
    for digest in digests.iter().step_by(1000) {
        Request::get(format!("/v2/team/app/blobs/{digest}")).send(address).expect(200);
    }
    assert_eq!(peer.count("GET", "/blobs/"), 0);
}
