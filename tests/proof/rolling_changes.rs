//! Reloads, and registries restarted one after the other, under 10,000 requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Entrepot, Registry, Repository, Stop, digest, eventually};

const REQUESTS: usize = 10_000;

#[test]
fn reloads_under_ten_thousand_requests_fail_none() {
    let (mut one, mut other, _volume) = Registry::pair();
    let mut entrepot = Entrepot::before(&[one.address, other.address]);
    let image = Repository::at(entrepot.address, "team/app").push_random("v1", 1, 200_000);
    let (address, stop, done) = (entrepot.address, Stop::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let client = Repository::at(address, "team/app");
                    while !stop.is_set() {
                        client.get_manifest("v1").expect(200);
                        assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
                        done.fetch_add(2, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut round = 0;
        while done.load(Ordering::Relaxed) < REQUESTS && workers.iter().all(|worker| !worker.is_finished()) {
            round += 1;
            let ttl = format!("\"{}s\"", 1 + round % 60);
            entrepot.reload(|setup| setup.set("cluster.main.verdict_ttl", &ttl), "ok");
            let restarted = if round % 2 == 0 { &mut one } else { &mut other };
            restarted.kill();
            std::thread::sleep(Duration::from_millis(300));
            restarted.restart();
            let peer = restarted.address.to_string();
            eventually("it is up again", || entrepot.metric("entrepot_peer_up", &[("peer", &peer)]) == 1.0);
        }
        drop(guard);
        workers.into_iter().for_each(|worker| worker.join().expect("no request failed"));
        println!("{} requests, {round} reloads and restarts", done.load(Ordering::Relaxed));
    });
}
