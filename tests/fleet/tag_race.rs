//! Tags, lists and referrers that many clients write at once through all instances.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fleet::instances::Fleet;
use crate::fleet::register::{self, Event};
use crate::ground::pieces::{push_artifact, variant};
use crate::harness::repository::{OCI_MANIFEST, Repository};
use crate::harness::{Stop, digest};

const PUTS: usize = 1000;
const WRITERS: usize = 8;
const REFERRERS: usize = 100;

#[test]
fn a_tag_is_a_register_under_a_thousand_puts_with_redis() {
    a_tag_is_a_register(&Fleet::with_redis());
}

#[test]
fn a_tag_is_a_register_under_a_thousand_puts_without_redis() {
    a_tag_is_a_register(&Fleet::without_redis());
}

#[test]
fn a_tag_is_a_register_on_azurite() {
    a_tag_is_a_register(&Fleet::on_azurite());
}

/// Every read of the tag is of the old or of the new, and there is one order of all writes that explains all reads.
fn a_tag_is_a_register(fleet: &Fleet) {
    let repositories = fleet.repositories("team/register");
    let image = repositories[0].push_random("raced", 1, 1000);
    let first = Event::record(true, || image.digest.clone());
    let (events, next, stop) = (Mutex::new(vec![first]), AtomicUsize::new(0), Stop::default());
    let keep = |event: Event| events.lock().expect("nobody panicked").push(event);
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let write = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= fleet.at_once(PUTS) {
                    return;
                }
                let (repository, manifest) = (&repositories[number % 3], variant(&image, number));
                keep(Event::record(true, || repository.push_manifest("raced", OCI_MANIFEST, &manifest)));
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        for (at, repository) in repositories.iter().chain(&repositories).enumerate() {
            let (keep, stop) = (&keep, &stop);
            scope.spawn(move || {
                while !stop.is_set() {
                    keep(Event::record(false, || read(repository, at % 2 == 0)));
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().expect("all writes"));
        drop(guard);
    });
    let events = events.into_inner().expect("nobody panicked");
    let reads = events.iter().filter(|event| !event.is_write).count();
    assert!(reads > 100, "{reads} reads");
    register::check(&events).unwrap_or_else(|why| panic!("{why}, among {reads} reads"));
}

/// The digest, of the head or of the bytes.
fn read(repository: &Repository, whole: bool) -> String {
    if whole {
        return digest(&repository.get_manifest("raced").expect(200));
    }
    let head = repository.head_manifest("raced");
    assert_eq!(head.status, 200);
    head.header("docker-content-digest").expect("a digest").to_owned()
}

#[test]
fn a_hundred_referrers_pushed_at_once_are_all_listed_by_every_instance() {
    for fleet in Fleet::each() {
        let repositories = fleet.repositories("team/referred");
        let subject = repositories[0].push_random("v1", 1, 1000);
        let path = format!("/v2/team/referred/referrers/{}", subject.digest);
        let expected: BTreeSet<String> = std::thread::scope(|scope| {
            let pushes = (0..fleet.at_once(REFERRERS)).map(|number| {
                let (repository, subject) = (&repositories[number % 3], &subject);
                scope.spawn(move || push_artifact(repository, "application/vnd.test", 100 + number as u64, subject).0)
            });
            let pushes: Vec<_> = pushes.collect();
            pushes.into_iter().map(|push| push.join().expect("a push")).collect()
        });
        assert_eq!(expected.len(), fleet.at_once(REFERRERS));
        for repository in &repositories {
            let list = repository.request("GET", path.clone()).send(repository.address).expect(200);
            let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
            let listed = list["manifests"].as_array().expect("a list").iter().map(|entry| entry["digest"].as_str());
            let listed: BTreeSet<String> = listed.map(|digest| digest.expect("a digest").to_owned()).collect();
            assert_eq!(listed, expected);
        }
    }
}

#[test]
fn a_new_tag_and_a_deleted_one_are_seen_at_once_in_the_lists_of_all() {
    for fleet in Fleet::each() {
        let repositories = fleet.repositories("team/listed");
        let image = repositories[0].push_random("base", 1, 1000);
        let tags = |repository: &Repository| -> Vec<String> {
            let list = repository.request("GET", "/v2/team/listed/tags/list").send(repository.address).json();
            list["tags"].as_array().expect("a list").iter().map(|tag| tag.as_str().unwrap_or("?").to_owned()).collect()
        };
        let mut expected: BTreeSet<String> = BTreeSet::from(["base".to_owned()]);
        for round in 0..30 {
            let (writer, tag) = (&repositories[round % 3], format!("t{round}"));
            writer.push_manifest(&tag, OCI_MANIFEST, &image.manifest);
            expected.insert(tag);
            if round % 3 == 2 {
                let gone = format!("t{}", round - 1);
                writer.request("DELETE", writer.manifest(&gone)).send(writer.address).expect(202);
                expected.remove(&gone);
            }
            for repository in &repositories {
                assert_eq!(BTreeSet::from_iter(tags(repository)), expected, "round {round}");
            }
        }
        let catalog = |repository: &Repository| {
            repository.request("GET", "/v2/_catalog").send(repository.address).json()["repositories"].to_string()
        };
        for round in 0..6 {
            let name = format!("team/new-{round}");
            Repository::at(fleet.addresses()[round % 3], &name).push_random("v1", 1, 100);
            repositories.iter().for_each(|repository| assert!(catalog(repository).contains(&name), "round {round}"));
        }
    }
}
