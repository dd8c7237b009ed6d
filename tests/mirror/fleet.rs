//! Three instances are one mirror: the remote is asked once, whoever dies.

use std::io::Read;

use super::world::{mirroring, pull_image, pulls_image};
use crate::harness::content::digest_of;
use crate::harness::entrepot::OWN_ADDRESS;
use crate::harness::remote::image_of;
use crate::harness::repository::OCI_MANIFEST;
use crate::harness::{
    Entrepot, FakeRemote, Fault, Gate, Image, Manner, Minio, Redis, Repository, Rule, ServingRedis, Setup, eventually,
    random_bytes, scratch,
};

const CLIENTS: usize = 100;
const LAYER: usize = 3 << 20;

struct Fleet {
    instances: Vec<Entrepot>,
    fake: FakeRemote,
    _redis: Option<ServingRedis>,
    _minio: Option<Minio>,
    _files: tempfile::TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// One bucket for all.
    Bucket,
    /// Each its own cache.
    Cache,
}

impl Fleet {
    fn start(redis: bool, keeps: Keeps) -> Self {
        let (fake, files) = (FakeRemote::start(Manner::hub()), scratch());
        let secret = files.path().join("secret");
        std::fs::write(&secret, Entrepot::cli(&["fleet", "secret"]).stdout).expect("a secret");
        let redis = redis.then(|| Redis::new().start());
        let minio = (keeps == Keeps::Bucket).then(|| Minio::start(&["mirror"]));
        let setup = || {
            let setup = mirroring(&[("hub", "docker.io", fake.address())])
                .set("fleet.secret_file", &format!("{:?}", secret.display().to_string()))
                .set("fleet.advertise", &format!("{OWN_ADDRESS:?}"));
            // Nobody may be late here, on a machine that is busy with everything else: what is counted is who asks whom.
            let patient =
                |setup: Setup| setup.set("redis.command_timeout", "\"5s\"").set("redis.connect_timeout", "\"5s\"");
            let setup = redis.iter().fold(setup, |setup, redis| patient(redis.set(setup)));
            match &minio {
                Some(minio) => minio.bucket("mirror").set(setup).set("storage.timeouts.request", "\"30s\""),
                None => setup.set("remote.hub.keep", "\"cache\""),
            }
        };
        let instances = (0..3).map(|_| Setup::start(setup())).collect();
        Fleet { instances, fake, _redis: redis, _minio: minio, _files: files }
    }

    fn clients(&self, name: &str) -> Vec<Repository> {
        self.instances.iter().map(|instance| Repository::at(instance.address, &format!("docker.io/{name}"))).collect()
    }

    /// A hundred clients pull one image, all at once.
    fn herd(&self, image: &Image) {
        let clients = self.clients("team/app");
        let failures: Vec<String> = std::thread::scope(|scope| {
            let pulls: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let client = &clients[number % clients.len()];
                    scope.spawn(move || pull_image(client, "1", image).err())
                })
                .collect();
            pulls.into_iter().filter_map(|pull| pull.join().expect("a client")).collect()
        });
        assert!(failures.is_empty(), "{} of {CLIENTS}: {failures:?}", failures.len());
    }

    fn image(&self) -> Image {
        self.fake.shelf(|shelf| shelf.put_image("team/app", "1", &[random_bytes(1, LAYER), random_bytes(2, LAYER)]))
    }
}

/// An instance gives the others what comes to it, for whatever repository: that is no word of the remote's on theirs.
#[test]
fn what_comes_for_one_repository_is_given_to_no_other_one_by_another_instance() {
    let fleet = Fleet::start(true, Keeps::Cache);
    let secret = random_bytes(7, LAYER);
    let (private, other) = fleet.fake.shelf(|shelf| {
        let private = shelf.put_image("private/app", "1", std::slice::from_ref(&secret));
        // It names the layer, which the remote does not give by this name.
        let other = image_of(b"{}", std::slice::from_ref(&secret));
        shelf.repository("other/app").put_blob(b"{}".to_vec());
        shelf.repository("other/app").tag("1", OCI_MANIFEST, &other.manifest);
        (private, other)
    });
    let blob = &private.layers[0];
    assert_eq!(&other.layers[0], blob);
    let [owner, asker, _] = &fleet.clients("other/app")[..] else { panic!("three instances") };
    owner.get_manifest("1").expect(200);
    asker.get_manifest("1").expect(200);
    // Its claim of the blob holds as long as the remote thinks about it.
    let (thinking, coming) = (Gate::new(), Gate::new());
    fleet.fake.wire.on(Rule::new("GET", &format!("/v2/other/app/blobs/{blob}"), Fault::Hold(thinking.clone())));
    let half = Fault::HoldAt(secret.len() as u64 / 2, coming.clone());
    fleet.fake.wire.on(Rule::new("GET", &format!("/v2/private/app/blobs/{blob}"), half));
    std::thread::scope(|scope| {
        let claimed = scope.spawn(|| owner.get_blob(blob).status);
        eventually("the owner asks", || fleet.fake.wire.count("GET", &format!("/v2/other/app/blobs/{blob}")) > 0);
        let theirs = &fleet.clients("private/app")[0];
        theirs.get_manifest("1").expect(200);
        let mut download = theirs.request("GET", theirs.blob(blob)).open(theirs.address);
        download.read_exactly(1 << 20);
        let answer = asker.get_blob(blob);
        assert!(answer.body != secret, "it has the content of another repository");
        assert!(answer.status >= 400, "{} and {} bytes", answer.status, answer.body.len());
        thinking.open();
        coming.open();
        assert_eq!(claimed.join().expect("the owner's client"), 404);
    });
    assert_eq!(asker.get_blob(blob).status, 404);
}

#[test]
fn a_cold_image_costs_a_fleet_one_get_for_each_of_its_parts() {
    for keeps in [Keeps::Bucket, Keeps::Cache] {
        let fleet = Fleet::start(true, keeps);
        fleet.fake.throttle(8 << 20);
        let image = fleet.image();
        fleet.herd(&image);
        let blobs = image.layers.iter().chain([&image.config]).map(|blob| fleet.fake.fetches(blob));
        assert_eq!(blobs.collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(fleet.fake.fetches("/manifests/"), 1);
    }
}

#[test]
fn without_redis_each_instance_asks_once() {
    let fleet = Fleet::start(false, Keeps::Cache);
    fleet.fake.throttle(16 << 20);
    let image = fleet.image();
    fleet.herd(&image);
    for blob in image.layers.iter().chain([&image.config]) {
        assert!(fleet.fake.fetches(blob) <= 3, "{}", fleet.fake.fetches(blob));
    }
    assert!(fleet.fake.fetches("/manifests/") <= 3);
}

/// The instance that fetches is killed when two fifths are here; the others have the rest from the remote, by one of them.
fn owner_killed(keeps: Keeps) {
    let mut fleet = Fleet::start(true, keeps);
    let size = 20 << 20;
    let image = fleet.fake.put("team/app", "1", 4, size);
    let blob = image.layers[0].clone();
    let gate = Gate::new();
    fleet.fake.store.on(Rule::new("GET", &blob, Fault::HoldAt(size as u64 * 2 / 5, gate.clone())).times(1));
    let clients = fleet.clients("team/app");
    for client in &clients {
        assert_eq!(client.get_manifest("1").expect(200), image.manifest);
    }
    let open = |client: &Repository| client.request("GET", client.blob(&blob)).open(client.address);
    let mut owner = open(&clients[0]);
    owner.read_exactly(1 << 20);
    let mut others: Vec<_> = (0..20).map(|number| open(&clients[1 + number % 2])).collect();
    let begun: Vec<_> = others.iter_mut().map(|other| other.read_exactly(1 << 20)).collect();
    assert_eq!(fleet.fake.fetches(&blob), 1, "the others read from the owner");
    fleet.instances[0].kill();
    drop(owner);
    std::thread::scope(|scope| {
        let ends: Vec<_> = begun
            .into_iter()
            .zip(others)
            .map(|(first, mut rest)| scope.spawn(move || digest_of(first.as_slice().chain(&mut rest))))
            .collect();
        for end in ends {
            assert_eq!(end.join().expect("a client").expect("all bytes"), (blob.clone(), size as u64));
        }
    });
    gate.open();
    let asked = fleet.fake.store.seen_of("GET", &blob);
    let ranges: Vec<_> = asked.iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert!(fleet.fake.fetches(&blob) <= 2, "{ranges:?}");
    assert!(ranges.last().is_some_and(|range| range.as_deref().is_some_and(|range| range != "bytes=0-")), "{ranges:?}");
}

#[test]
fn an_owner_that_is_killed_costs_one_more_get_and_fails_nobody() {
    owner_killed(Keeps::Bucket);
    owner_killed(Keeps::Cache);
}

#[test]
fn what_one_instance_keeps_in_the_bucket_another_serves_without_asking() {
    let fleet = Fleet::start(true, Keeps::Bucket);
    let image = fleet.image();
    let clients = fleet.clients("team/app");
    pulls_image(&clients[0], "1", &image);
    let blobs = fleet.fake.fetches("/blobs/");
    for client in &clients {
        pulls_image(client, "1", &image);
    }
    assert_eq!((fleet.fake.fetches("/blobs/"), fleet.fake.fetches("/manifests/")), (blobs, 1));
}

/// Redis is never the truth: without it things cost more, and nothing fails.
#[test]
fn redis_that_dies_meanwhile_fails_no_pull() {
    let mut fleet = Fleet::start(true, Keeps::Cache);
    fleet.fake.throttle(16 << 20);
    let image = fleet.image();
    std::thread::scope(|scope| {
        let redis = fleet._redis.take();
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(150));
            drop(redis);
        });
        fleet.herd(&image);
    });
}

/// The way between instances is theirs alone.
#[test]
fn nobody_reads_what_instances_tell_each_other_without_their_secret() {
    let fleet = Fleet::start(true, Keeps::Cache);
    let image = fleet.image();
    pulls_image(&fleet.clients("team/app")[0], "1", &image);
    let address = fleet.instances[0].address;
    for target in [
        format!("/entrepot/fleet/blobs/{}", image.layers[0]),
        format!("/entrepot/fleet/blob/{}", image.layers[0]),
        format!("/entrepot/fleet/{}", image.layers[0]),
        "/entrepot/fleet/".to_owned(),
    ] {
        let answer = crate::harness::Request::get(target.as_str()).send(address);
        assert!(matches!(answer.status, 401 | 403 | 404), "{target}: {}", answer.status);
        let shown = crate::harness::Request::get(target.as_str()).header("Authorization", "Bearer of-nobody-at-all");
        assert!(matches!(shown.send(address).status, 401 | 403 | 404), "{target}");
    }
}
