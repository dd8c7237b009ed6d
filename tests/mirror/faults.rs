//! A remote that fails in every way at every step, again and again: no pull ends well with wrong content, nothing wrong is kept, what
//! was kept goes on, and whoever waits is told something.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::world::{mirroring, pull_multi};
use crate::harness::remote::Multi;
use crate::harness::{
    Answer, Entrepot, FakeRemote, Fault, FaultProxy, Gate, Manner, PATIENCE, Reply, Repository, Rule, digest,
};

const WORKERS: usize = 4;
const LAYER: usize = 300_000;
/// Longer than any bound that is configured here, and shorter than for ever.
const LONGEST: Duration = Duration::from_secs(12);
const REGISTRIES: [&str; WORKERS] = ["docker.io", "quay.io", "ghcr.io", "registry.k8s.io"];

/// Numbers that only the seed decides.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// One remote of the world, and who asks it.
struct Worker<'a> {
    fake: FakeRemote,
    entrepot: &'a Entrepot,
    registry: &'static str,
    kept: Multi,
    astray: Arc<FaultProxy>,
    dice: Dice,
    pulled: Vec<(String, Multi)>,
    wrong: Vec<String>,
    failed: usize,
}

/// So many runs, of which each spoils one thing.
pub fn a_remote_fails(runs: usize, seed: u64) {
    let manners = [Manner::hub(), Manner::plain(), Manner::ghcr(), Manner::k8s()];
    let fakes = manners.map(FakeRemote::start);
    let listed: Vec<_> = ["r0", "r1", "r2", "r3"]
        .into_iter()
        .zip(REGISTRIES)
        .zip(&fakes)
        .map(|((key, name), fake)| (key, name, fake.address()))
        .collect();
    let mut setup = mirroring(&listed);
    for (number, (key, ..)) in listed.iter().enumerate() {
        let times = "{ manifest = \"1s\", first_byte = \"1s\", connect = \"1s\", read = \"1s\" }";
        setup = setup
            .set(&format!("remote.{key}.tag_ttl"), "\"0s\"")
            .set(&format!("remote.{key}.timeouts"), times)
            .set(&format!("remote.{key}.keep"), if number % 2 == 0 { "\"storage\"" } else { "\"cache\"" });
    }
    let entrepot = setup.start();
    let astray = Arc::new(FaultProxy::scripted(|_| {
        Reply::new(200).header("Content-Type", "text/html").body("<html>elsewhere</html>")
    }));
    let next = AtomicUsize::new(0);
    let workers: Vec<Worker<'_>> = std::thread::scope(|scope| {
        let started: Vec<_> = fakes
            .into_iter()
            .enumerate()
            .map(|(number, fake)| {
                let kept = fake.put_multi("team/kept", "1", 1, LAYER);
                let dice = Dice(seed * 1000 + number as u64);
                let (registry, astray) = (REGISTRIES[number], astray.clone());
                let mut worker = Worker {
                    fake,
                    entrepot: &entrepot,
                    registry,
                    kept,
                    astray,
                    dice,
                    pulled: Vec::new(),
                    wrong: Vec::new(),
                    failed: 0,
                };
                let next = &next;
                scope.spawn(move || {
                    worker.warm();
                    loop {
                        let run = next.fetch_add(1, Ordering::Relaxed);
                        if run >= runs {
                            return worker;
                        }
                        worker.run(run);
                    }
                })
            })
            .collect();
        started.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    let failed: usize = workers.iter().map(|worker| worker.failed).sum();
    let mut wrong: Vec<String> = workers.iter().flat_map(|worker| worker.wrong.clone()).collect();
    workers.iter().for_each(|worker| wrong.extend(worker.poisoned()));
    println!("{runs} runs: {failed} pulls failed as they had to, {} things are wrong", wrong.len());
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(failed * 4 > runs / 4, "{failed} of {runs}: nothing was spoilt");
    assert!(astray.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

impl Worker<'_> {
    fn client(&self, name: &str) -> Repository {
        Repository::at(self.entrepot.address, &format!("{}/{name}", self.registry))
    }

    fn warm(&self) {
        pull_multi(&self.client("team/kept"), "1", &self.kept).expect("the image that is kept");
        self.entrepot.settled();
    }

    fn run(&mut self, run: usize) {
        let name = format!("team/run{run}");
        let image = self.fake.put_multi(&name, "1", 10 + run as u64, LAYER);
        let gate = Gate::new();
        let (rule, what) = self.spoil(&name, &image, &gate);
        let wires = [&self.fake.wire, &self.fake.store, &self.fake.tokens];
        for wire in wires {
            wire.on(rule.clone());
        }
        let begun = Instant::now();
        let pulled = self.pull(&name, &image);
        let kept = pull_multi(&self.client("team/kept"), "1", &self.kept);
        self.failed += usize::from(pulled.is_err());
        if let Err(Some(wrong)) = pulled {
            self.wrong.push(format!("run {run}, {}, {what}: {wrong}", self.registry));
        }
        if let Err(wrong) = kept {
            self.wrong.push(format!("run {run}, {}, {what}: the kept image: {wrong}", self.registry));
        }
        gate.open();
        self.fake.forget_rules();
        wires_back(&self.fake);
        // Whatever went wrong, what comes when the remote is well is right.
        let deadline = Instant::now() + PATIENCE;
        let mut last = pull_multi(&self.client(&name), "1", &image);
        while last.is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
            last = pull_multi(&self.client(&name), "1", &image);
        }
        if let Err(wrong) = last {
            self.wrong.push(format!(
                "run {run}, {}, {what}: not well after {:?}: {wrong}",
                self.registry,
                begun.elapsed()
            ));
        }
        self.pulled.push((name, image));
    }

    /// One fault at one step.
    fn spoil(&mut self, name: &str, image: &Multi, gate: &Arc<Gate>) -> (Rule, String) {
        let (layer, child) = (&image.platforms[0].layers[0], &image.platforms[0].digest);
        let steps = [
            ("HEAD", format!("/{name}/manifests/1"), 800),
            ("GET", format!("/{name}/manifests/"), 800),
            ("GET", child.clone(), 400),
            ("GET", layer.clone(), LAYER),
            ("GET", "/store/".to_owned(), LAYER),
            ("", "/token".to_owned(), 200),
            ("", name.to_owned(), 400),
        ];
        let (method, part, size) = &steps[self.dice.roll(steps.len())];
        let at = 1 + self.dice.roll(size - 1) as u64;
        let elsewhere = format!("http://{}/elsewhere", self.astray.address);
        let pulls = Reply::new(429).header("Content-Type", "application/json").header("Retry-After", "1");
        let pulls =
            pulls.body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#);
        let abuse = Reply::new(429).header("Retry-After", "1").body("Too Many Requests");
        let faults = [
            ("hangs up", Fault::Hangup),
            ("dies", Fault::DieAt(at)),
            ("is cut", Fault::CutAt(at)),
            ("is cut", Fault::CutAt(at)),
            ("is corrupt", Fault::FlipAt(at)),
            ("is corrupt", Fault::FlipAt(at)),
            ("is short", Fault::Shorten(1)),
            ("is long", Fault::Lengthen(7)),
            ("has no length", Fault::Chunked),
            ("stalls", Fault::Hold(gate.clone())),
            ("stalls inside", Fault::HoldAt(at, gate.clone())),
            ("is led astray", Fault::Answer(Reply::new(307).header("Location", elsewhere))),
            (
                "is a page",
                Fault::Answer(Reply::new(200).header("Content-Type", "text/html").body("<html>hello</html>")),
            ),
            ("is 401", Fault::Answer(Reply::new(401))),
            ("is 403", Fault::Answer(Reply::new(403))),
            ("is 404", Fault::Answer(Reply::new(404))),
            ("has no pulls left", Fault::Answer(pulls)),
            ("is throttled", Fault::Answer(abuse)),
            ("is 500", Fault::Answer(Reply::new(500))),
            ("is 503", Fault::Answer(Reply::new(503))),
        ];
        let (what, fault) = faults[self.dice.roll(faults.len())].clone();
        let times = [Some(1), Some(1), Some(2), Some(3), None][self.dice.roll(5)];
        let rule = Rule::new(method, part, fault);
        let told = format!("{method} {part} {what} at {at} {times:?} times");
        (times.into_iter().fold(rule, Rule::times), told)
    }

    /// `Err(None)`: it failed as it may; `Err(Some)`: as it may not.
    fn pull(&self, name: &str, image: &Multi) -> Result<(), Option<String>> {
        let client = self.client(name);
        let platform = &image.platforms[0];
        let manifests = [("1", &image.index), (platform.digest.as_str(), &platform.manifest)];
        let head = timed("HEAD 1", || client.head_manifest("1"))?;
        judged("HEAD 1", &head, None)?;
        for (reference, bytes) in manifests {
            let answer = timed(reference, || client.get_manifest(reference))?;
            judged(reference, &answer, Some(&digest(bytes)))?;
        }
        for blob in platform.layers.iter().chain([&platform.config]) {
            let answer = timed(blob, || client.get_blob(blob))?;
            judged(blob, &answer, Some(blob))?;
        }
        Ok(())
    }

    /// What is here and is not what it is called, with the remote gone.
    fn poisoned(&self) -> Vec<String> {
        self.fake.die();
        let mut found = Vec::new();
        for (name, image) in &self.pulled {
            let client = self.client(name);
            let manifests = image.platforms.iter().map(|platform| &platform.digest).chain([&image.digest]);
            let manifests = manifests.map(|wanted| (wanted.clone(), client.get_manifest(wanted)));
            let blobs = image.blobs().into_iter().map(|wanted| (wanted.clone(), client.get_blob(&wanted)));
            for (wanted, answer) in manifests.chain(blobs) {
                if let Err(Some(wrong)) = judged(&wanted, &answer, Some(&wanted)) {
                    found.push(format!("{name} afterwards: {wrong}"));
                }
            }
        }
        found.extend(pull_multi(&self.client("team/kept"), "1", &self.kept).err());
        found
    }
}

/// Those of its parts that died are there again.
fn wires_back(fake: &FakeRemote) {
    for wire in [&fake.wire, &fake.store, &fake.tokens] {
        if !wire.is_alive() {
            wire.revive();
        }
    }
}

fn timed(what: &str, ask: impl FnOnce() -> Answer) -> Result<Answer, Option<String>> {
    let begun = Instant::now();
    let answer = ask();
    match begun.elapsed() {
        long if long > LONGEST => Err(Some(format!("{what} took {long:?}"))),
        _ => Ok(answer),
    }
}

/// Whether an answer is right, refuses as it may, or is wrong.
fn judged(what: &str, answer: &Answer, wanted: Option<&str>) -> Result<(), Option<String>> {
    let told =
        || Some(format!("{what}: {} with {} bytes, complete: {}", answer.status, answer.body.len(), answer.complete));
    match (answer.status, wanted) {
        (200, None) => Ok(()),
        (200, Some(wanted)) if answer.complete => {
            if digest(&answer.body) == wanted {
                Ok(())
            } else {
                Err(told())
            }
        }
        (200, Some(_)) => Err(None),
        (401 | 403 | 404 | 429 | 502 | 503, _) => Err(None),
        _ => Err(told()),
    }
}
