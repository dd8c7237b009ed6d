//! A Redis that others fill (`maxmemory-policy allkeys-lru`): any of our keys may go at any time, and nothing is lost.

use std::collections::BTreeSet;

use super::instances::Fleet;
use crate::harness::{Redis, Repository, Stop, digest, random_bytes};

const THREADS: u64 = 4;
const ROUNDS: u64 = 12;

#[test]
fn a_redis_that_evicts_anything_at_any_time_loses_nothing() {
    let fleet = Fleet::with(Redis::new().evicting(3 << 20));
    let redis = fleet.redis.as_ref().expect("a Redis");
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let stop = &stop;
        scope.spawn(move || {
            let value = hex::encode(random_bytes(1, 50_000));
            for number in 0.. {
                if stop.is_set() {
                    return;
                }
                redis.ask(&["SET", &format!("others-{number}"), &value]);
            }
        });
        let fleet = &fleet;
        let workers = (0..THREADS).map(|thread| scope.spawn(move || work(fleet, thread)));
        let workers: Vec<_> = workers.collect();
        workers.into_iter().for_each(|worker| worker.join().expect("nothing was lost"));
        drop(guard);
    });
    let evicted = evicted(&redis.ask(&["INFO", "stats"]));
    assert!(evicted > 1000, "{evicted} keys were evicted");
    assert!(fleet.metric("registry_storage_cache_requests_total", &[]) > 0.0, "Redis was asked");
}

fn evicted(info: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
    line.and_then(|number| number.trim().parse().ok()).expect("a number")
}

/// What is pushed is there, what is deleted is gone, from every instance; lists say the same.
fn work(fleet: &Fleet, thread: u64) {
    let repositories = fleet.repositories(&format!("team/evicted-{thread}"));
    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let (seed, tag) = (thread * 1000 + round, format!("v{round}"));
        let writer = &repositories[(round % 3) as usize];
        let image = writer.push_random(&tag, seed, 5000);
        let gone = writer.push_blob(&random_bytes(seed + 500, 3000));
        for repository in &repositories {
            assert_eq!(repository.get_manifest(&tag).expect(200), image.manifest);
            assert_eq!(digest(&repository.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
            assert_eq!(repository.head_blob(&gone).status, 200);
        }
        let deleter = &repositories[((round + 1) % 3) as usize];
        deleter.request("DELETE", deleter.blob(&gone)).send(deleter.address).expect(202);
        expected.insert(tag);
        for repository in &repositories {
            assert_eq!((repository.head_blob(&gone).status, repository.get_blob(&gone).status), (404, 404));
            assert_eq!(tags(repository), expected, "round {round}");
        }
    }
}

fn tags(repository: &Repository) -> BTreeSet<String> {
    let target = format!("/v2/{}/tags/list", repository.name);
    let list = repository.request("GET", target).send(repository.address).json();
    let tags = list["tags"].as_array().expect("a list").iter();
    tags.map(|tag| tag.as_str().unwrap_or("?").to_owned()).collect()
}
