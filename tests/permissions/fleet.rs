//! Instances over one bucket, with Redis and without: one's tokens, robots and keys are the others'.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{PASSWORD, Ruled, SIZE};
use crate::harness::{Entrepot, Minio, Redis, ServingRedis, Setup, Stop, eventually, scratch};

struct Fleet {
    instances: Vec<Ruled>,
    _redis: Option<ServingRedis>,
    _minio: Minio,
    _secret: tempfile::TempDir,
}

impl Fleet {
    fn with_redis() -> Self {
        Fleet::start(Some(Redis::new().start()))
    }

    fn without_redis() -> Self {
        Fleet::start(None)
    }

    fn start(redis: Option<ServingRedis>) -> Self {
        let (minio, folder) = (Minio::start(&["fleet"]), scratch());
        let secret = folder.path().join("secret");
        std::fs::write(&secret, Entrepot::cli(&["fleet", "secret"]).stdout).expect("the secret");
        let instance = || {
            let setup = minio.bucket("fleet").set(Setup::registry());
            let setup = redis.iter().fold(setup, |setup, redis| redis.set(setup));
            setup
                .set("auth.username", "\"ann\"")
                .set("auth.password", &format!("{PASSWORD:?}"))
                .set("auth.token", "{ keys = \"storage\", ttl = \"1m\" }")
                .set("fleet.secret_file", &format!("{:?}", secret.display().to_string()))
                .start()
        };
        let instances = (0..3).map(|_| Ruled { entrepot: instance(), folder: scratch() }).collect();
        Fleet { instances, _redis: redis, _minio: minio, _secret: folder }
    }

    /// Runs `entrepot token …` on the configuration of the first.
    fn token(&self, arguments: &[&str]) -> String {
        let config = self.instances[0].entrepot.config_path().display().to_string();
        let said = Entrepot::cli(&[&["token"], arguments, &["--config", &config]].concat());
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text").trim().to_owned()
    }

    /// Every instance takes every one of these.
    fn all_take(&self, tokens: &[String]) {
        for instance in &self.instances {
            for token in tokens {
                instance.repository("team/a").bearer(token).get_manifest("v1").expect(200);
            }
        }
    }
}

const SCOPE: &str = "repository:team/a:pull,push";

fn tokens_are_good_at_all_of_them(mut fleet: Fleet) {
    let ann = Some(("ann", PASSWORD));
    let tokens: Vec<String> = fleet.instances.iter().map(|instance| instance.token(ann, SCOPE)).collect();
    fleet.instances[0].repository("team/a").bearer(&tokens[1]).push_random("v1", 1, SIZE);
    fleet.all_take(&tokens);
    // After a rotation, and a restart of all, they are good as before.
    fleet.token(&["rotate"]);
    fleet.instances.iter_mut().for_each(|instance| instance.entrepot.restart());
    fleet.all_take(&tokens);
    let keys: serde_json::Value = serde_json::from_str(&fleet.token(&["jwks"])).expect("JSON");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2));
    fleet.all_take(&fleet.instances.iter().map(|instance| instance.token(ann, SCOPE)).collect::<Vec<_>>());
}

fn a_revoked_robot_is_refused_by_all(fleet: &Fleet) {
    fleet.instances[0].ann("team/a").push_random("v1", 1, SIZE);
    let secret = fleet.token(&["create", "--name", "ci", "--repo", "team/**", "--allow", "pull,push"]);
    let mut clients = Vec::new();
    for instance in &fleet.instances {
        let token = instance.token(Some(("ci", &secret)), SCOPE);
        for other in &fleet.instances {
            clients.push(other.repository("team/a").bearer(&token));
        }
        clients.push(instance.repository("team/a").basic("ci", &secret));
    }
    clients.iter().for_each(|client| drop(client.get_manifest("v1").expect(200)));
    fleet.token(&["revoke", "ci"]);
    let begun = std::time::Instant::now();
    for client in &clients {
        eventually("it is revoked", || client.get_manifest("v1").status == 401);
    }
    println!("revoked everywhere after {:?}", begun.elapsed());
    clients.iter().for_each(|client| assert_eq!(client.get_manifest("v1").status, 401));
}

/// Every client gets a token of one instance and shows it to the next, while keys are made.
fn keys_rotate_under_load(fleet: &Fleet) {
    fleet.instances[0].ann("team/a").push_random("v1", 1, SIZE);
    let kept = fleet.instances[0].token(Some(("ann", PASSWORD)), SCOPE);
    let (stop, done) = (Stop::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _guard = stop.guard();
        for first in 0..4 {
            let (fleet, stop, done, kept) = (fleet, &stop, &done, &kept);
            scope.spawn(move || {
                for turn in first.. {
                    if stop.is_set() {
                        break;
                    }
                    let (one, other) = (&fleet.instances[turn % 3], &fleet.instances[(turn + 1) % 3]);
                    let token = one.token(Some(("ann", PASSWORD)), SCOPE);
                    other.repository("team/a").bearer(&token).get_manifest("v1").expect(200);
                    other.repository("team/a").bearer(kept).get_manifest("v1").expect(200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 2..5 {
            fleet.token(&["rotate"]);
            let before = done.load(Ordering::Relaxed);
            eventually("clients go on", || done.load(Ordering::Relaxed) > before + 20);
            for instance in &fleet.instances {
                eventually("every instance shows the new key", || keys_of(instance) == number);
            }
        }
    });
    println!("{} turns", done.load(Ordering::Relaxed));
}

fn keys_of(instance: &Ruled) -> usize {
    let keys = crate::harness::Request::get("/.well-known/jwks.json").send(instance.entrepot.address);
    keys.json()["keys"].as_array().map_or(0, Vec::len)
}

#[test]
fn tokens_of_one_are_good_at_the_others_with_redis() {
    tokens_are_good_at_all_of_them(Fleet::with_redis());
}

#[test]
fn tokens_of_one_are_good_at_the_others_without_redis() {
    tokens_are_good_at_all_of_them(Fleet::without_redis());
}

#[test]
fn revocations_and_rotations_reach_all_with_redis() {
    let fleet = Fleet::with_redis();
    a_revoked_robot_is_refused_by_all(&fleet);
    keys_rotate_under_load(&fleet);
}

#[test]
fn revocations_and_rotations_reach_all_without_redis() {
    let fleet = Fleet::without_redis();
    a_revoked_robot_is_refused_by_all(&fleet);
    keys_rotate_under_load(&fleet);
}
