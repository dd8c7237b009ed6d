//! What is wrong with those that we speak with: stores, Redis, peers, remotes.

use super::patient::{Patient, quoted};
use crate::harness::remote::Login;
use crate::harness::{Entrepot, FakeRemote, FaultProxy, Manner, Minio, Redis, Registry, Reply, Request, ports};

/// In a bucket of MinIO.
fn in_bucket(minio: &Minio, bucket: &str) -> Patient {
    let mut patient = Patient::registry();
    patient.setup = minio.bucket(bucket).set(patient.setup);
    let spool = quoted(&patient.path("spool"));
    patient.set("storage.retries", "0").set("registry.spool", &spool).in_a_fleet()
}

#[test]
fn a_bucket_is_tried_with_every_right_and_left_as_it_was() {
    let minio = Minio::start(&["doctor"]);
    let told = in_bucket(&minio, "doctor").doctor(&[]);
    assert_eq!(told.lines("error", ""), Vec::<String>::new(), "{:#}", told.json);
    told.names("ok", "storage", "lets us write, read, list, copy, upload in parts, delete");
    told.names("ok", "clock", "agrees");
    assert_eq!(minio.bucket("doctor").keys(), Vec::<String>::new());
    assert_eq!(minio.open_multiparts(), 0);
}

#[test]
fn a_bucket_that_is_not_there_and_wrong_keys_are_named() {
    let mut minio = Minio::start(&["doctor"]);
    in_bucket(&minio, "absent").doctor(&[]).only("error", "storage", "make the bucket");
    let wrong = in_bucket(&minio, "doctor").set("storage.secret_access_key", "\"a-wrong-secret-key\"");
    wrong.doctor(&[]).only("error", "storage", "correct access_key_id and secret_access_key");
    let down = in_bucket(&minio, "doctor").set("storage.timeouts.request", "\"2s\"");
    minio.kill();
    down.doctor(&[]).only("error", "storage", "see whether it runs");
}

#[test]
fn redis_is_named_by_what_it_does_when_it_is_full_and_when_it_is_down() {
    let mut redis = Redis::new().start();
    let with = |redis: &crate::harness::ServingRedis| {
        let mut patient = Patient::registry().in_a_fleet();
        patient.setup = redis.set(patient.setup);
        patient.set("redis.connect_timeout", "\"2s\"")
    };
    let told = with(&redis).doctor(&[]);
    told.names("ok", "redis", "maxmemory-policy noeviction");
    assert_eq!((told.lines("error", "").len(), redis.keys()), (0, 0), "{:#}", told.json);
    let evicting = Redis::new().evicting(64 << 20).start();
    with(&evicting).doctor(&[]).only("warning", "redis", "maxmemory-policy allkeys-lru");
    let locked = Redis::new().password("a-password-of-redis").start();
    with(&locked).set("redis.password", "\"another-password\"").doctor(&[]).only(
        "error",
        "redis",
        "username, password",
    );
    let down = with(&redis);
    redis.kill();
    down.doctor(&[]).only("error", "redis", "see whether it runs");
}

#[test]
fn peers_that_are_down_wrong_or_of_another_time_are_named() {
    let registry = Registry::debian().start();
    let told = Patient::before(&[registry.address]).doctor(&[]);
    assert_eq!(told.lines("error", ""), Vec::<String>::new());
    told.names("ok", "peers", "answers /v2/").names("ok", "clock", "agrees with 1 other");

    let nobody = ports::free();
    let told = Patient::before(&[registry.address, nobody]).doctor(&[]);
    told.only("error", "peers", &format!("{nobody} does not answer /v2/")).names(
        "ok",
        "peers",
        &registry.address.to_string(),
    );

    let no_registry = FaultProxy::scripted(|_| Reply::new(404));
    Patient::before(&[no_registry.address]).doctor(&[]).only("error", "peers", "404, as no registry does");

    let date = "Thu, 01 Jan 2015 00:00:00 GMT";
    let late = FaultProxy::scripted(move |_| Reply::new(200).header("Date", date).body("{}"));
    Patient::before(&[late.address]).doctor(&[]).only("error", "clock", "behind this machine's");

    let named = Patient::before(&[registry.address]).set("cluster.main.peers", "[\"peer.invalid:5000\"]");
    named.doctor(&[]).only("error", "peers", "peer.invalid:5000 does not resolve");
}

#[test]
fn a_login_that_peers_refuse_is_named() {
    let registry = Registry::debian().account("ann", "the-right-password").start();
    let with = |password: &str| {
        let login = format!("{{ username = \"ann\", password = \"{password}\" }}");
        Patient::before(&[registry.address]).set("cluster.main.authorization", &login)
    };
    with("the-wrong-password").doctor(&[]).only("error", "peers", "refuses the login of `authorization`");
    assert_eq!(with("the-right-password").doctor(&[]).lines("error", ""), Vec::<String>::new());
}

#[test]
fn remotes_that_are_down_or_refuse_our_login_are_named() {
    let manner = Manner { login: Login::Bearer, ..Manner::plain() };
    let remote = FakeRemote::start(manner.user("ann", "the-right-password"));
    let realm = remote.tokens.address;
    let with = |password: &str| {
        let patient = Patient::registry();
        let file = patient.file("remote-password", password, 0o600);
        let section = format!(
            "{{ registry = \"docker.io\", url = \"http://{}\", realms = [\"{realm}\"], credentials = [{{ username = \"ann\", \
             password_file = {} }}] }}",
            remote.address(),
            quoted(&file)
        );
        patient.set("remote.hub", &section)
    };
    let told = with("the-right-password").doctor(&[]);
    assert_eq!(told.lines("error", ""), Vec::<String>::new(), "{:#}", told.json);
    told.names("ok", "remotes", "takes our login");
    with("the-wrong-password").doctor(&[]).only("error", "remotes", "refuses our login");
    let down = with("the-right-password");
    remote.die();
    down.doctor(&[]).only("error", "remotes", "remote.hub (docker.io)");
}

#[test]
fn a_secret_that_is_not_the_fleets_is_named() {
    let patient = Patient::registry().in_a_fleet();
    let server = patient
        .setup
        .clone()
        .set("auth.username", "\"ann\"")
        .set("auth.password", "\"a-password-of-ann\"")
        .set("auth.token.keys", "\"storage\"")
        .start();
    // The keys are made at the latest for the first token.
    Request::get("/token?service=entrepot").basic("ann", "a-password-of-ann").send(server.address).expect(200);
    let config = server.config_path();
    let told = super::patient::doctor(config, &[]);
    told.names("ok", "fleet secret", "opens the keys of tokens");
    let fresh = Entrepot::cli(&["fleet", "secret"]);
    patient.file("fleet-secret", &String::from_utf8(fresh.stdout).expect("text"), 0o600);
    super::patient::doctor(config, &[]).names("error", "fleet secret", "do not open with it");
}
