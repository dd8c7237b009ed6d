//! Three instances are stopped and started again one after the other, behind one that balances: nobody notices.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use serde_json::json;

use super::instances::Fleet;
use crate::harness::repository::{OCI_MANIFEST, location, with_digest};
use crate::harness::{Answer, Entrepot, Image, Repository, Setup, Stop, digest, eventually, random_bytes};

const CLIENTS: usize = 8;
const IMAGES: usize = 100;

#[derive(Default)]
struct World {
    next: AtomicUsize,
    pushed: Mutex<Vec<(usize, String)>>,
    failed: Mutex<Vec<String>>,
    /// No more restarts are to come: who has done what it should may end.
    restarted: AtomicBool,
}

/// So many pulls, or as many as there are until each instance has been restarted `rounds` times, and one push for every ten.
pub fn rolling_restarts_fail_nothing(pulls: usize, rounds: usize) {
    let mut fleet = Fleet::with_redis();
    let pushing = &fleet.repositories("team/app")[0];
    let images: Vec<Image> = (0..IMAGES).map(|n| pushing.push_random(&format!("v{n}"), n as u64, 50_000)).collect();
    // So small a cache that most pulls need an instance.
    let setup = Setup::before(&fleet.addresses()).set("cache.memory", "0").set("cache.disk", "\"2MiB\"");
    let balancer = setup.start();
    let (world, begun, stop) = (World::default(), Instant::now(), Stop::default());
    let restarts = std::thread::scope(|scope| {
        let guard = stop.guard();
        let workers: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| work(&world, balancer.address, &images, pulls, &stop))).collect();
        let mut restarts = 0;
        let working = || workers.iter().any(|worker| !worker.is_finished());
        while restarts < 3 * rounds || (working() && world.next.load(Relaxed) < pulls) {
            restart(&mut fleet.instances[restarts % 3], &balancer);
            restarts += 1;
        }
        world.restarted.store(true, Relaxed);
        workers.into_iter().for_each(|worker| worker.join().expect("a worker"));
        drop(guard);
        restarts
    });
    let (pulled, failed) = (world.next.into_inner(), world.failed.into_inner().expect("unbroken"));
    let pushed = world.pushed.into_inner().expect("unbroken");
    println!(
        "{pulled} pulls, {} pushes, {restarts} restarts in {:?}: {} failed",
        pushed.len(),
        begun.elapsed(),
        failed.len()
    );
    assert_eq!(failed, Vec::<String>::new());
    assert!(pulled >= pulls && pushed.len() >= pulls / 10);
    // What was acknowledged is there, whichever instance is asked.
    for (number, layer) in pushed {
        let witness = &fleet.repositories("team/pushed")[number % 3];
        witness.get_manifest(&format!("v{number}")).expect(200);
        assert_eq!(digest(&witness.get_blob(&layer).expect(200)), layer);
    }
}

/// As an operator does: the next one only when this one is there again, and is seen to be.
fn restart(instance: &mut Entrepot, balancer: &Entrepot) {
    instance.terminate();
    instance.restart();
    let peer = instance.address.to_string();
    eventually("it is up again", || balancer.metric("entrepot_peer_up", &[("peer", &peer)]) == 1.0);
}

fn work(world: &World, address: SocketAddr, images: &[Image], pulls: usize, stop: &Stop) {
    let (pulling, pushing) = (Repository::at(address, "team/app"), Repository::at(address, "team/pushed"));
    while !(stop.is_set() || world.restarted.load(Relaxed) && world.next.load(Relaxed) >= pulls) {
        let number = world.next.fetch_add(1, Relaxed);
        let done = pull(&pulling, images, number).and_then(|()| match number % 10 {
            0 => push(&pushing, number).map(Some),
            _ => Ok(None),
        });
        match done {
            Ok(Some(layer)) => world.pushed.lock().expect("unbroken").push((number, layer)),
            Ok(None) => {}
            Err(why) => world.failed.lock().expect("unbroken").push(format!("{number}: {why}")),
        }
    }
}

fn pull(client: &Repository, images: &[Image], number: usize) -> Result<(), String> {
    let at = number * 7 % images.len();
    let manifest = got(client.request("GET", client.manifest(&format!("v{at}"))).try_send(client.address), 200)?;
    if digest(&manifest.body) != images[at].digest {
        return Err("another manifest".into());
    }
    let layer = got(client.request("GET", client.blob(&images[at].layers[0])).try_send(client.address), 200)?;
    if digest(&layer.body) == images[at].layers[0] { Ok(()) } else { Err("other bytes".into()) }
}

/// In docker's order; the layer's digest.
fn push(client: &Repository, number: usize) -> Result<String, String> {
    let layer = random_bytes(1 << 40 | number as u64, [2_000, 200_000, 1_500_000][number / 10 % 3]);
    let mut blobs = Vec::new();
    for bytes in [&layer, &format!("{{\"n\": {number}}}").into_bytes()] {
        let begun = got(client.request("POST", client.uploads()).try_send(client.address), 202)?;
        let patch = client.request("PATCH", location(&begun)).body(bytes.clone());
        let patched = got(patch.try_send(client.address), 202)?;
        let target = with_digest(&location(&patched), &digest(bytes));
        got(client.request("PUT", target).try_send(client.address), 201)?;
        blobs.push(json!({ "mediaType": "application/octet-stream", "digest": digest(bytes), "size": bytes.len() }));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [blobs[0]], "config": blobs[1],
    });
    let put = client.request("PUT", client.manifest(&format!("v{number}"))).header("Content-Type", OCI_MANIFEST);
    got(put.body(manifest.to_string()).try_send(client.address), 201)?;
    Ok(digest(&layer))
}

fn got(answer: std::io::Result<Answer>, status: u16) -> Result<Answer, String> {
    let answer = answer.map_err(|error| format!("no answer: {error}"))?;
    match answer.status == status && answer.complete {
        true => Ok(answer),
        false => {
            Err(format!("{} instead of {status}, complete: {}: {}", answer.status, answer.complete, answer.text()))
        }
    }
}
