//! Entrepot and distribution run at once: a tag moved by the one is read by the other, never its past.

use std::net::SocketAddr;
use std::sync::Mutex;

use crate::fleet::register::{self, Event};
use crate::ground::Ground;
use crate::ground::pieces::variant;
use crate::harness::Stop;
use crate::harness::repository::{OCI_MANIFEST, Repository};

const ROUNDS: usize = 150;

#[test]
fn a_tag_moved_by_v3_on_a_volume_is_never_read_stale() {
    let ground = Ground::volume();
    let (entrepot, other, peer) = (ground.entrepot(), ground.entrepot(), ground.v3());
    let all = [entrepot.address, peer.address, other.address];
    in_turns(&all);
    at_once(&all, &all);
}

/// It writes a link over the old one's bytes, so that it and v3 see it empty at times, and say 500. We wait it out.
#[test]
fn a_tag_moved_by_debians_registry_on_a_volume_is_never_read_stale_or_empty() {
    let ground = Ground::volume();
    let (entrepot, other, peer) = (ground.entrepot(), ground.entrepot(), ground.debian());
    let all = [entrepot.address, peer.address, other.address];
    in_turns(&all);
    at_once(&all, &[entrepot.address, other.address]);
}

#[test]
fn a_tag_moved_by_v3_in_a_bucket_is_never_read_stale() {
    let ground = Ground::bucket();
    let (entrepot, other, peer) = (ground.entrepot(), ground.entrepot(), ground.v3());
    let all = [entrepot.address, peer.address, other.address];
    in_turns(&all);
    at_once(&all, &all);
}

/// Who moves it changes with every round, and so does who reads it first.
fn in_turns(addresses: &[SocketAddr]) {
    let at = |number: usize| Repository::at(addresses[number % addresses.len()], "team/turns");
    let image = at(0).push_random("base", 1, 1000);
    for round in 0..ROUNDS {
        let digest = at(round).push_manifest("moved", OCI_MANIFEST, &variant(&image, round));
        for reader in 1..=addresses.len() {
            let head = at(round + reader).head_manifest("moved");
            assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()), "round {round}, reader {reader}");
            let answer = at(round + reader).get_manifest("moved");
            assert_eq!(crate::harness::digest(&answer.expect(200)), digest, "round {round}, reader {reader}");
        }
    }
}

/// A client at each of the writers, two at each of the readers, all at once, with one tag.
fn at_once(writing: &[SocketAddr], reading: &[SocketAddr]) {
    let (name, tag) = ("team/race", "raced");
    let image = Repository::at(writing[0], name).push_random(tag, 2, 1000);
    let first = Event::record(true, || image.digest.clone());
    let (events, stop) = (Mutex::new(vec![first]), Stop::default());
    let keep = |event: Event| events.lock().expect("nobody panicked").push(event);
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let writers = writing.iter().enumerate().map(|(at, &address)| {
            let (image, keep) = (&image, &keep);
            scope.spawn(move || {
                let repository = Repository::at(address, name);
                for round in 0..ROUNDS / writing.len() {
                    let manifest = variant(image, at * ROUNDS + round);
                    keep(Event::record(true, || repository.push_manifest(tag, OCI_MANIFEST, &manifest)));
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        for &address in reading.iter().chain(reading) {
            let (stop, keep) = (&stop, &keep);
            scope.spawn(move || {
                let repository = Repository::at(address, name);
                while !stop.is_set() {
                    keep(Event::record(false, || crate::harness::digest(&repository.get_manifest(tag).expect(200))));
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().expect("all writes"));
        drop(guard);
    });
    let events = events.into_inner().expect("nobody panicked");
    assert!(events.len() > ROUNDS);
    register::check(&events).unwrap_or_else(|why| panic!("{why}, among {} operations", events.len()));
}
