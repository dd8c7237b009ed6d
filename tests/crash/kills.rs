//! The kills, and what must hold after each.

use std::time::Duration;

use super::pushes::{Blob, Client};
use crate::ground::Ground;
use crate::harness::content::Random;
use crate::harness::{Entrepot, Stop, digest, eventually, random_bytes};

const CLIENTS: u64 = 4;
/// The latest moment of a kill, in milliseconds: a few pushes of each client fit in.
fn latest(ground: &Ground) -> u64 {
    match ground {
        // One thread of JavaScript.
        Ground::Container(..) => 2000,
        _ => 400,
    }
}

/// So many rounds of: push from several clients, SIGKILL at a random moment, start again, look at everything.
pub fn kill_during_pushes(ground: &Ground, kills: u64) {
    let mut entrepot = ground.entrepot();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(entrepot.address, number)).collect();
    let mut moments = Random::new(kills);
    let (mut checked, mut acknowledged) = (vec![(0, 0); clients.len()], 0);
    for kill in 0..kills {
        push_and_kill(&mut entrepot, &mut clients, Duration::from_millis(moment(&mut moments) % latest(ground)));
        entrepot.restart();
        eventually("it is ready again", || entrepot.is_ready());
        for (client, done) in clients.iter().zip(&mut checked) {
            acknowledged += check(client, *done, kill);
            *done = (client.diary.blobs.len(), client.diary.manifests.len());
        }
    }
    // Nor did a later kill take what an earlier one had left.
    for client in &clients {
        check(client, (0, 0), kills);
    }
    println!("{kills} kills, {acknowledged} manifests and blobs acknowledged, none lost");
    assert!(acknowledged > kills, "the kills came in the middle of pushes");
}

fn moment(moments: &mut Random) -> u64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(moments, &mut bytes).expect("an endless source");
    u64::from_le_bytes(bytes)
}

fn push_and_kill(entrepot: &mut Entrepot, clients: &mut [Client], after: Duration) {
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let guard = stop.guard();
        for client in clients {
            let stop = &stop;
            scope.spawn(move || client.push_until(stop));
        }
        std::thread::sleep(after);
        entrepot.kill();
        drop(guard);
    });
}

/// Everything that a client did since `done`; how much of it was acknowledged.
fn check(client: &Client, done: (usize, usize), kill: u64) -> u64 {
    let (repository, diary) = (&client.repository, &client.diary);
    let mut acknowledged = 0;
    for blob in &diary.blobs[done.0..] {
        check_blob(client, blob, kill);
        acknowledged += u64::from(blob.acknowledged);
    }
    for manifest in &diary.manifests[done.1..] {
        let answer = repository.get_manifest(&manifest.digest);
        assert!(
            answer.status == 200 || !manifest.acknowledged,
            "kill {kill}: lost {}: {}",
            manifest.digest,
            answer.text()
        );
        if answer.status == 200 {
            assert_eq!(answer.expect(200), manifest.bytes, "kill {kill}");
            for blob in &manifest.blobs {
                assert_eq!(digest(&repository.get_blob(blob).expect(200)), *blob, "kill {kill}");
            }
        } else {
            assert_eq!(answer.status, 404, "kill {kill}");
        }
        acknowledged += u64::from(manifest.acknowledged);
    }
    check_tag(client, kill);
    acknowledged
}

/// There and right; or, if it was never acknowledged, not there at all.
fn check_blob(client: &Client, blob: &Blob, kill: u64) {
    let answer = client.repository.get_blob(&blob.digest);
    match answer.status {
        200 => {
            let right = answer.complete && answer.body == random_bytes(blob.seed, blob.size);
            assert!(right, "kill {kill}: {} has {} wrong bytes", blob.digest, answer.body.len());
        }
        404 => assert!(!blob.acknowledged, "kill {kill}: lost {} of {} bytes", blob.digest, blob.size),
        status => panic!("kill {kill}: {status} for {}: {}", blob.digest, answer.text()),
    }
}

/// The tag is at the last manifest that was acknowledged, or at one that was sent after it.
fn check_tag(client: &Client, kill: u64) {
    let manifests = &client.diary.manifests;
    let answer = client.repository.get_manifest("latest");
    let last = manifests.iter().rposition(|manifest| manifest.acknowledged);
    if answer.status == 404 {
        assert_eq!(last, None, "kill {kill}: the tag is lost");
        return;
    }
    let found = digest(&answer.expect(200));
    let at = manifests.iter().position(|manifest| manifest.digest == found);
    assert!(at.is_some() && at >= last, "kill {kill}: the tag is at {at:?}, the last acknowledged is {last:?}");
}
