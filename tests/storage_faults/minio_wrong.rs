//! MinIO answers 503, late, half, or 200 with an error in it: seen through a proxy that makes the faults.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Setup;
use crate::harness::repository::{Repository, location, with_digest};
use crate::harness::{
    Answer, Bucket, Entrepot, Fault, FaultProxy, Image, Minio, Reply, Rule, digest, eventually, random_bytes,
};

const SOON: Duration = Duration::from_secs(30);

struct Faulty {
    entrepot: Entrepot,
    proxy: FaultProxy,
    bucket: Bucket,
    minio: Minio,
}

impl Faulty {
    /// Its cache is too small for anything: every read needs MinIO.
    fn start() -> Self {
        let minio = Minio::start(&["faulty"]);
        let proxy = FaultProxy::before(minio.address);
        let bucket = minio.bucket("faulty");
        let setup = bucket.clone().through(proxy.address).set(Setup::registry());
        let entrepot = setup.set("cache.memory", "0").set("cache.disk", "0").start();
        Faulty { entrepot, proxy, bucket, minio }
    }

    fn repository(&self) -> Repository {
        Repository::at(self.entrepot.address, "team/app")
    }
}

fn slow_down() -> Fault {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code><Message>Reduce your request rate\
        </Message><Resource>/</Resource><RequestId>1</RequestId></Error>";
    Fault::Answer(Reply::new(503).header("Content-Type", "application/xml").body(text))
}

#[track_caller]
fn right(repository: &Repository, image: &Image) {
    assert_eq!(repository.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(digest(&repository.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
}

#[test]
fn a_minio_that_answers_503_for_good_gives_a_clear_error_soon() {
    let faulty = Faulty::start();
    let repository = faulty.repository();
    let image = repository.push_random("v1", 1, 200_000);
    faulty.proxy.on(Rule::new("", "", slow_down()));
    let ask = |request: crate::harness::Request| -> Answer {
        let begin = Instant::now();
        let answer = request.send(repository.address);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        answer
    };
    for request in
        [repository.request("GET", repository.manifest("v1")), repository.request("POST", repository.uploads())]
    {
        let answer = ask(request);
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "UNAVAILABLE"), "{}", answer.text());
    }
    eventually("it says that it is not ready", || !faulty.entrepot.is_ready());
    faulty.proxy.forget_rules();
    eventually("it is ready again", || faulty.entrepot.is_ready());
    right(&repository, &image);
    repository.push_random("v2", 2, 6 << 20);
}

#[test]
fn every_tenth_answer_503_fails_no_push_and_no_pull() {
    let faulty = Faulty::start();
    let repository = faulty.repository();
    let image = repository.push_random("v1", 1, 200_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One of the next ten requests, again and again.
            let mut spoilt = 0;
            while !done.load(Ordering::Relaxed) {
                let seen = faulty.proxy.seen().len();
                if seen >= spoilt + 10 {
                    spoilt = seen;
                    faulty.proxy.on(Rule::new("", "", slow_down()).times(1));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for number in 0..40 {
            right(&repository, &image);
            let pushed = repository.push_random(&format!("p{number}"), 100 + number, 20_000);
            assert_eq!(repository.get_manifest(&format!("p{number}")).expect(200), pushed.manifest);
        }
        repository.push_random("large", 5, 40 << 20);
        done.store(true, Ordering::Relaxed);
    });
    assert!(faulty.proxy.seen().iter().any(|seen| seen.status == 503));
}

#[test]
fn a_slow_minio_is_waited_for() {
    let faulty = Faulty::start();
    let repository = faulty.repository();
    let image = repository.push_random("v1", 1, 200_000);
    faulty.proxy.on(Rule::new("", "", Fault::Delay(Duration::from_millis(300))));
    right(&repository, &image);
    let pushed = repository.push_random("v2", 2, 6 << 20);
    assert_eq!(repository.get_manifest("v2").expect(200), pushed.manifest);
}

#[test]
fn a_body_that_ends_early_ends_no_answer_cleanly() {
    let faulty = Faulty::start();
    let repository = faulty.repository();
    let bytes = random_bytes(8, 4 << 20);
    let blob = repository.push_blob(&bytes);
    let data = format!("{}/data", blob.trim_start_matches("sha256:"));
    // Once: it is gone on with. For good: no client takes half for the whole.
    faulty.proxy.on(Rule::new("GET", &data, Fault::CutAt(1 << 20)).times(1));
    assert_eq!(digest(&repository.get_blob(&blob).expect(200)), blob);
    faulty.proxy.on(Rule::new("GET", &data, Fault::CutAt(1000)));
    let answer = repository.get_blob(&blob);
    assert!(answer.status >= 500 || !answer.complete, "{} with {} bytes", answer.status, answer.body.len());
    faulty.proxy.forget_rules();
    eventually("it is whole again", || {
        let answer = repository.get_blob(&blob);
        answer.status == 200 && answer.complete && answer.body == bytes
    });
}

#[test]
fn bytes_that_are_not_those_of_the_digest_end_no_answer_cleanly() {
    let faulty = Faulty::start();
    let repository = faulty.repository();
    let bytes = random_bytes(9, 1 << 20);
    let blob = repository.push_blob(&bytes);
    let data = format!("{}/data", blob.trim_start_matches("sha256:"));
    faulty.proxy.on(Rule::new("GET", &data, Fault::FlipAt(500_000)));
    let answer = repository.get_blob(&blob);
    assert!(answer.status >= 500 || !answer.complete, "{} with {} bytes", answer.status, answer.body.len());
    faulty.proxy.forget_rules();
    eventually("it is right again", || repository.get_blob(&blob).body == bytes);
}

#[test]
fn a_completion_of_parts_that_says_200_and_an_error_is_no_success() {
    let faulty = Faulty::start();
    let repository = faulty.repository();
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InternalError</Code><Message>We encountered an \
        internal error. Please try again.</Message><RequestId>1</RequestId></Error>";
    let lie = Fault::Answer(Reply::new(200).header("Content-Type", "application/xml").body(text));
    let bytes = random_bytes(10, 40 << 20);
    let blob = digest(&bytes);
    for times in [1, 1000] {
        faulty.proxy.forget_rules();
        faulty.proxy.on(Rule::new("POST", "uploadId=", lie.clone()).times(times));
        let patched =
            repository.request("PATCH", repository.start_upload()).body(bytes.clone()).send(repository.address);
        let closed = match patched.status {
            202 => repository.request("PUT", with_digest(&location(&patched), &blob)).send(repository.address),
            _ => patched,
        };
        faulty.proxy.forget_rules();
        let found = repository.get_blob(&blob);
        if closed.status == 201 {
            assert_eq!(digest(&found.expect(200)), blob, "what was acknowledged is there");
            repository.request("DELETE", repository.blob(&blob)).send(repository.address).expect(202);
        } else {
            assert!(closed.status >= 500, "{}: {}", closed.status, closed.text());
            assert_eq!(found.status, 404);
        }
    }
    assert_eq!(repository.push_blob(&bytes), blob);
    assert_eq!(digest(&repository.get_blob(&blob).expect(200)), blob);
    drop((faulty.bucket, faulty.minio));
}
