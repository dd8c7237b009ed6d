//! 320 pushes to an object store that refuses a tenth of all requests and loses three answers in a hundred, with `retries` as it comes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::repository::{OCI_MANIFEST, Repository, location, with_digest};
use crate::harness::{Answer, Fault, FaultProxy, Minio, Reply, Rule, Setup, digest, random_bytes};

const PUSHES: u64 = 320;
const CLIENTS: usize = 8;
/// Six tries are all spoiled for 0.13⁶ of the calls, 5 in a million; a push makes some 30 of them. One of 20 runs sees one push
/// fail that way, one of a thousand two.
const BY_CHANCE: usize = 1;

fn expect(answer: &Answer, status: u16) -> Result<(), String> {
    match answer.status == status {
        true => Ok(()),
        false => Err(format!("{} instead of {status}: {}", answer.status, answer.text())),
    }
}

/// In docker's order; the layer's digest.
fn push(repository: &Repository, number: u64) -> Result<String, String> {
    let layer = random_bytes(number, [2000, 200_000, 1_500_000][(number % 3) as usize]);
    let mut blobs = Vec::new();
    for bytes in [&layer, &format!("{{\"n\": {number}}}").into_bytes()] {
        let begun = repository.request("POST", repository.uploads()).send(repository.address);
        expect(&begun, 202)?;
        let patched = repository.request("PATCH", location(&begun)).body(bytes.clone()).send(repository.address);
        expect(&patched, 202)?;
        let target = with_digest(&location(&patched), &digest(bytes));
        expect(&repository.request("PUT", target).send(repository.address), 201)?;
        blobs.push(serde_json::json!({
            "mediaType": "application/octet-stream", "digest": digest(bytes), "size": bytes.len(),
        }));
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [blobs[0]], "config": blobs[1],
    });
    let target = repository.manifest(&format!("v{number}"));
    let put = repository.request("PUT", target).header("Content-Type", OCI_MANIFEST);
    expect(&put.body(manifest.to_string().into_bytes()).send(repository.address), 201)?;
    Ok(digest(&layer))
}

#[test]
fn three_hundred_and_twenty_pushes_outlast_a_store_that_refuses_a_tenth_and_loses_answers() {
    let minio = Minio::start(&["lost"]);
    let proxy = FaultProxy::before(minio.address);
    let bucket = minio.bucket("lost");
    let entrepot = bucket.clone().through(proxy.address).set(Setup::registry()).start();
    let slow_down =
        || Reply::new(503).header("Content-Type", "application/xml").body("<Error><Code>SlowDown</Code></Error>");
    proxy.on(Rule::new("", "", Fault::Answer(slow_down())).share(0.1));
    // Of what is left, so that it is 3 of 100 of all.
    for loss in [Fault::Lose(0), Fault::Lose(usize::MAX), Fault::LoseFor(slow_down())] {
        proxy.on(Rule::new("", "", loss).share(0.0112));
    }
    let next = AtomicU64::new(0);
    let (pushed, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let repository = Repository::at(entrepot.address, &format!("team/app-{client}"));
            let (next, pushed, failed) = (&next, &pushed, &failed);
            scope.spawn(move || {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < PUSHES) {
                    match push(&repository, number) {
                        Ok(layer) => pushed.lock().expect("unbroken").push((repository.name.clone(), number, layer)),
                        Err(why) => failed.lock().expect("unbroken").push(why),
                    }
                }
            });
        }
    });
    let (pushed, failed) = (pushed.into_inner().expect("unbroken"), failed.into_inner().expect("unbroken"));
    println!(
        "{} requests to the store; {} pushed, {} failed: {failed:?}",
        proxy.seen().len(),
        pushed.len(),
        failed.len()
    );
    // What was acknowledged is there, for another instance that reads the bucket itself.
    let witness = bucket.set(Setup::registry()).start();
    for (name, number, layer) in &pushed {
        let repository = Repository::at(witness.address, name);
        repository.get_manifest(&format!("v{number}")).expect(200);
        assert_eq!(digest(&repository.get_blob(layer).expect(200)), *layer);
    }
    assert!(failed.len() <= BY_CHANCE, "{failed:?}");
}
