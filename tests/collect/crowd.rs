//! Everybody at once on one tree: pushers, deleters, distribution, and collections that are killed. What was acknowledged and not
//! deleted pulls at once, later, and in the end; and in the end nothing else is left.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use super::book::{Made, Manner, Pushed};
use super::world::{begin, blobs, end_lease, number, output, short, trash, until_quiet, was_killed};
use crate::ground::Ground;
use crate::harness::{Entrepot, Redis, Registry, Repository, Serving, ServingRedis, Stop, random_bytes};

/// Layers that images are made of: few enough that they are used again after nobody needed them any more.
const LAYERS: u64 = 150;
const REPOSITORIES: u64 = 8;
/// Of so many pushes, one waits between its steps.
const WAITS: u64 = 30;
/// A push that is refused begins again, so often.
const TRIES: usize = 40;
/// Lives that are remembered to be pushed again.
const REMEMBERED: usize = 2000;

/// What distribution, on the same tree, remembers of what it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Nobody,
    /// Nothing.
    Uncached,
    /// In its own memory, for ever: so its layers are used once, and within the time that they are in the trash at least.
    InMemory,
    /// The same in Redis.
    InRedis,
}

#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub time: Duration,
    /// It goes on until so many, and at most for twice its time.
    pub pushes: u64,
    pub instances: usize,
    pub pushers: u64,
    /// Of them, at distribution.
    pub beside: Beside,
    pub redis: bool,
    pub grace: u64,
    pub reap_after: u64,
    /// Kills of a collection, at most.
    pub kills: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Tally {
    pub pushes: AtomicU64,
    pub refused: AtomicU64,
    pub again: AtomicU64,
    pub pulls: AtomicU64,
    pub deleted: AtomicU64,
    pub runs: AtomicU64,
    pub failed_runs: AtomicU64,
    pub kills: AtomicU64,
    pub condemned: AtomicU64,
    pub moved: AtomicU64,
    pub freed: AtomicU64,
    pub healed: AtomicU64,
    pub rescued: AtomicU64,
    /// Distribution did not serve what was acknowledged, until a collection or a pull of ours linked it again.
    pub not_there: AtomicU64,
}

/// Something that was pushed, under a tag of its own.
struct Life {
    repository: String,
    tag: String,
    made: Made,
    /// Whoever deletes it, or pushes it again, holds this to himself.
    alive: RwLock<bool>,
}

struct Crowd<'a> {
    scale: Scale,
    addresses: Vec<SocketAddr>,
    beside: Option<SocketAddr>,
    lives: Mutex<Vec<Arc<Life>>>,
    next: AtomicU64,
    tally: &'a Tally,
    begun: Instant,
    stop: &'a Stop,
}

/// Goes on for the time of the scale, and then looks at everything.
pub fn crowd(ground: Ground, scale: Scale) -> Tally {
    let redis = scale.redis.then(|| Redis::new().start());
    let beside = beside(&ground, scale.beside, redis.as_ref());
    let setup = || {
        let setup = short(ground.setup(), &format!("{}s", scale.grace), &format!("{}s", scale.reap_after));
        // Not a span: a pull counts for its whole day, which these tests cannot wait for.
        let setup = setup.set("gc.untagged", "\"0s\"").set("storage.timeouts.request", "\"30s\"");
        redis.iter().fold(setup.set("log.level", "\"info\""), |setup, redis| redis.set(setup))
    };
    let instances: Vec<Entrepot> = (0..scale.instances).map(|_| setup().start()).collect();
    let (tally, stop) = (Tally::default(), Stop::default());
    let crowd = Crowd {
        scale,
        addresses: instances.iter().map(|instance| instance.address).collect(),
        beside: beside.as_ref().map(|serving| serving.address),
        lives: Mutex::default(),
        next: AtomicU64::new(1),
        tally: &tally,
        begun: Instant::now(),
        stop: &stop,
    };
    crowd.runs(&instances[0], &ground, redis.as_ref());
    println!("{tally:?}");
    end_lease(&ground);
    crowd.ends(&instances, &ground);
    drop(crowd);
    tally
}

fn beside(ground: &Ground, beside: Beside, redis: Option<&ServingRedis>) -> Option<Serving> {
    let registry = match beside {
        Beside::Nobody => return None,
        Beside::Uncached => Registry::v3(),
        Beside::InMemory => Registry::v3().remembering(),
        Beside::InRedis => Registry::v3().remembering_in(redis.expect("a Redis").address),
    };
    Some(match ground {
        Ground::Volume(folder) => registry.volume(folder.path()).start(),
        Ground::Bucket(_, bucket) => registry.bucket(bucket).start(),
        Ground::Container(..) => panic!("distribution is not asked to stand on Azurite here"),
    })
}

impl Crowd<'_> {
    fn runs(&self, server: &Entrepot, ground: &Ground, redis: Option<&ServingRedis>) {
        std::thread::scope(|scope| {
            let guard = self.stop.guard();
            let at = |number: u64| if number < self.foreign() { self.beside } else { None };
            let mut workers: Vec<_> =
                (0..self.scale.pushers).map(|number| scope.spawn(move || self.pushes(number, at(number)))).collect();
            workers.push(scope.spawn(|| self.deletes()));
            workers.push(scope.spawn(|| self.looks()));
            workers.push(scope.spawn(|| self.collects(server, ground, redis)));
            let begun = Instant::now();
            while !self.is_over(begun.elapsed()) && workers.iter().all(|worker| !worker.is_finished()) {
                std::thread::sleep(Duration::from_millis(100));
            }
            drop(guard);
            for worker in workers {
                if let Err(panic) = worker.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }

    fn is_over(&self, passed: Duration) -> bool {
        let enough = self.tally.pushes.load(Ordering::Relaxed) >= self.scale.pushes;
        passed >= if enough { self.scale.time } else { 2 * self.scale.time }
    }

    /// How many push at distribution.
    fn foreign(&self) -> u64 {
        if self.beside.is_some() { (self.scale.pushers / 4).max(1) } else { 0 }
    }

    fn client<'a>(&'a self, name: &'a str, chance: &'a mut Chance) -> impl FnMut() -> Repository + 'a {
        move || Repository::at(self.addresses[chance.below(self.addresses.len() as u64) as usize], name)
    }

    /// Pushes, and pulls what it pushed, at another instance each time.
    fn pushes(&self, number: u64, beside: Option<SocketAddr>) {
        let mut chance = Chance::new(number + 1);
        while !self.stop.is_set() {
            let life = self.life(&mut chance, beside.is_some());
            let mut alive = life.alive.write().expect("nobody panicked");
            let began = Instant::now();
            if *alive || !self.pushed(&life, &mut chance, beside) {
                continue;
            }
            self.tally.pushes.fetch_add(1, Ordering::Relaxed);
            let at = beside.map_or("ours", |_| "distribution");
            let at = format!("{at}, pushed within {:?} until {:?}", began.elapsed(), self.begun.elapsed());
            if let Err(wrong) = life.made.pull(&life.tag, &mut self.client(&life.repository, &mut chance)) {
                panic!("what was acknowledged at {at} does not pull: {wrong}");
            }
            self.tally.pulls.fetch_add(1, Ordering::Relaxed);
            if let Some(address) = beside
                && life.made.pull(&life.tag, &mut || Repository::at(address, &life.repository)).is_err()
            {
                self.tally.not_there.fetch_add(1, Ordering::Relaxed);
            }
            *alive = true;
        }
    }

    /// Something new, or something that was deleted, to be pushed again.
    fn life(&self, chance: &mut Chance, beside: bool) -> Arc<Life> {
        let remembers = beside && self.scale.beside != Beside::Uncached;
        if chance.below(4) == 0 && !remembers {
            let lives = self.lives.lock().expect("nobody panicked");
            let dead = |life: &Arc<Life>| {
                life.alive.try_read().is_ok_and(|alive| !*alive) && !(beside && life.made.is_build_cache())
            };
            let from = chance.below(lives.len().max(1) as u64) as usize;
            if let Some(life) = lives.iter().skip(from).find(|life| dead(life)) {
                self.tally.again.fetch_add(1, Ordering::Relaxed);
                return life.clone();
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let layer = |chance: &mut Chance| {
            let seed = if remembers { LAYERS + number * 10 + chance.below(10) } else { chance.below(LAYERS) };
            random_bytes(seed, 500 + (seed % 7 * 1500) as usize)
        };
        let layers = |chance: &mut Chance| (0..=chance.below(3)).map(|_| layer(chance)).collect::<Vec<_>>();
        // Distribution 3 takes no index of layers.
        let kinds = if beside { [0, 1, 3, 3] } else { [0, 1, 2, 3] };
        let made = match kinds[chance.below(8).min(3) as usize] {
            0 => Made::index(vec![
                Made::image(number * 10 + 1, layers(chance)),
                Made::image(number * 10 + 2, layers(chance)),
            ]),
            1 => Made::image(number * 10, layers(chance)).signed(number),
            2 => Made::build_cache(number, layers(chance)),
            _ => Made::image(number * 10, layers(chance)),
        };
        // What one distribution remembers of a repository concerns nobody else there.
        let kind = if remembers { "remembered" } else { "app" };
        let repository = format!("team/{kind}{}", chance.below(REPOSITORIES));
        let life = Life { repository, tag: format!("v{number}"), made, alive: RwLock::new(false) };
        let life = Arc::new(life);
        let mut lives = self.lives.lock().expect("nobody panicked");
        if lives.len() > REMEMBERED {
            lives.retain(|life| life.alive.try_read().is_ok_and(|alive| *alive) || Arc::strong_count(life) > 1);
        }
        lives.push(life.clone());
        life
    }

    /// Until all of it is acknowledged, or everybody stops: then what there is of it is taken away.
    fn pushed(&self, life: &Life, chance: &mut Chance, beside: Option<SocketAddr>) -> bool {
        let pushed = self.tries(life, chance, beside);
        if !pushed {
            let ours = self.client(&life.repository, chance)();
            ours.request("DELETE", ours.manifest(&life.made.digest)).send(ours.address);
        }
        pushed
    }

    fn tries(&self, life: &Life, chance: &mut Chance, beside: Option<SocketAddr>) -> bool {
        let mut last = String::new();
        for _ in 0..TRIES {
            // As long as a build between two steps: what was linked may be taken meanwhile.
            let waits = match chance.below(WAITS) {
                0 => Duration::from_millis(chance.below(1000 * self.longest(beside.is_some()))),
                _ => Duration::ZERO,
            };
            let from = (chance.below(3) == 0).then(|| format!("team/app{}", chance.below(REPOSITORIES)));
            let within = beside.map(|_| Duration::from_secs(self.scale.grace));
            let mut other = Chance::new(chance.next());
            let mut ours = self.client(&life.repository, &mut other);
            let mut theirs = beside.map(|address| move || Repository::at(address, &life.repository));
            let next: &mut dyn FnMut() -> Repository = match &mut theirs {
                Some(theirs) => theirs,
                None => &mut ours,
            };
            match life.made.push(&life.tag, &mut Manner { next, from, waits, within }) {
                Pushed::Acknowledged => return true,
                Pushed::Refused(said) => last = said,
            }
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            let may_be = ["503", "404", "400"].iter().any(|status| last.contains(status));
            assert!(may_be || beside.is_some(), "{}:{}: {last}", life.repository, life.tag);
            // Who believes itself for ever would believe what it saw before the times of this test were over.
            if self.stop.is_set() || beside.is_some() && self.scale.beside != Beside::Uncached {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50 + chance.below(200)));
        }
        panic!("{}:{} is refused again and again: {last}", life.repository, life.tag);
    }

    /// Seconds between the last blob and the manifest. Who believes itself for ever has to come while the bytes are in the trash.
    fn longest(&self, beside: bool) -> u64 {
        match self.scale.beside {
            Beside::InMemory | Beside::InRedis if beside => self.scale.grace + self.scale.reap_after,
            _ => 2 * self.scale.grace,
        }
    }

    fn pulled(&self, life: &Life, chance: &mut Chance) {
        if let Err(wrong) = life.made.pull(&life.tag, &mut self.client(&life.repository, chance)) {
            panic!("what was acknowledged does not pull: {wrong}");
        }
        self.tally.pulls.fetch_add(1, Ordering::Relaxed);
    }

    fn some(&self, chance: &mut Chance) -> Option<Arc<Life>> {
        let lives = self.lives.lock().expect("nobody panicked");
        lives.get(chance.below(lives.len().max(1) as u64) as usize).cloned()
    }

    /// Takes tags and manifests away, at any of the registries.
    fn deletes(&self) {
        let mut chance = Chance::new(10_001);
        while !self.stop.is_set() {
            std::thread::sleep(Duration::from_millis(chance.below(150)));
            let Some(life) = self.some(&mut chance) else { continue };
            let Ok(mut alive) = life.alive.try_write() else { continue };
            if !*alive {
                continue;
            }
            let repository = match self.beside.filter(|_| chance.below(4) == 0) {
                Some(address) => Repository::at(address, &life.repository),
                None => self.client(&life.repository, &mut chance)(),
            };
            let by_tag = chance.below(2) == 0 && self.beside != Some(repository.address);
            let reference = if by_tag { &life.tag } else { &life.made.digest };
            *alive = false;
            let answer = repository.request("DELETE", repository.manifest(reference)).send(repository.address);
            // Until a link is written again, distribution may not know what it is asked to delete.
            let unknown = answer.status == 404 && self.beside == Some(repository.address);
            assert!(answer.status == 202 || unknown, "{}: {}", answer.status, answer.text());
            if unknown {
                let ours = self.client(&life.repository, &mut chance)();
                ours.request("DELETE", ours.manifest(&life.made.digest)).send(ours.address);
            }
            self.tally.deleted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pulls what was pushed long ago.
    fn looks(&self) {
        let mut chance = Chance::new(20_001);
        while !self.stop.is_set() {
            let Some(life) = self.some(&mut chance) else { continue };
            let Ok(alive) = life.alive.try_read() else { continue };
            if *alive {
                self.pulled(&life, &mut chance);
            }
            drop(alive);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Collects every second, and now and then is killed.
    fn collects(&self, server: &Entrepot, ground: &Ground, redis: Option<&ServingRedis>) {
        let mut chance = Chance::new(30_001);
        while !self.stop.is_set() {
            if chance.below(2) == 0 && self.tally.kills.load(Ordering::Relaxed) < self.scale.kills {
                let mut run = begin(server, &["run"]);
                // Sooner rather than later: where the machine is fast, it is soon over.
                let longest = 1 + chance.below(1500);
                std::thread::sleep(Duration::from_millis(chance.below(longest)));
                _ = run.kill();
                let killed = was_killed(&run.wait().expect("it has ended"));
                self.tally.kills.fetch_add(u64::from(killed), Ordering::Relaxed);
                end_lease(ground);
                // What Redis knows of it is over after a while, too; and nothing there is needed.
                redis.iter().for_each(|redis| redis.flush());
                continue;
            }
            let output = output(server, &["run"]);
            self.tally.runs.fetch_add(1, Ordering::Relaxed);
            match serde_json::from_slice::<serde_json::Value>(&output.stdout) {
                Ok(report) if output.status.success() => self.counts(&report),
                _ => {
                    // Looks that were too slow for the times of this test, and leases of those that were killed.
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let may_be = ["takes longer", "under way", "does not answer", "taken over", "paused"];
                    assert!(may_be.iter().any(|words| said.contains(words)), "{}: {said}", output.status);
                    self.tally.failed_runs.fetch_add(1, Ordering::Relaxed);
                }
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn counts(&self, report: &serde_json::Value) {
        let Tally { condemned, moved, freed, healed, rescued, .. } = self.tally;
        let add = |sum: &AtomicU64, key| sum.fetch_add(number(report, key), Ordering::Relaxed);
        add(condemned, "condemned_blobs");
        add(condemned, "condemned_manifests");
        add(moved, "moved");
        add(freed, "freed_bytes");
        add(healed, "healed");
        add(rescued, "rescued");
    }

    /// All that was acknowledged is there, at each of them; and nothing else is.
    fn ends(&self, instances: &[Entrepot], ground: &Ground) {
        let reports = until_quiet(&instances[0], &[]);
        reports.iter().for_each(|report| self.counts(report));
        let lives = self.lives.lock().expect("nobody panicked");
        let alive: Vec<&Arc<Life>> = lives.iter().filter(|life| *life.alive.read().expect("nobody panicked")).collect();
        let mut needed = BTreeSet::new();
        for life in &alive {
            life.made.needs(&mut needed);
            for address in self.addresses.iter().chain(&self.beside) {
                if let Err(wrong) = life.made.pull(&life.tag, &mut || Repository::at(*address, &life.repository)) {
                    panic!("in the end: {wrong}");
                }
            }
        }
        let left = blobs(ground);
        let (garbage, lost): (Vec<_>, Vec<_>) =
            (left.difference(&needed).collect(), needed.difference(&left).collect());
        println!("{} images stayed, of {} blobs", alive.len(), left.len());
        assert!(lost.is_empty(), "{lost:?}");
        assert!(garbage.is_empty(), "{} of {} are garbage: {garbage:?}", garbage.len(), left.len());
        assert!(trash(ground).is_empty());
    }
}

/// The same chances each time, but for the order of threads.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { (self.next() >> 11) % end }
    }
}
