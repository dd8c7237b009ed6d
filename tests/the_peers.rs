//! The harness' MinIO, Redis and distribution over an object store do what the tests believe, without Entrepot between.

use std::path::Path;
use std::time::Duration;

use crate::harness::registry::Registry;
use crate::harness::{Authority, Minio, Redis, Repository, Request, eventually, random_bytes};

#[test]
fn minio_keeps_objects_over_sigkill() {
    let mut minio = Minio::start(&["one", "two"]);
    let bucket = minio.bucket("one");
    bucket.put("a/b", b"bytes");
    minio.kill();
    assert!(Request::get("/").try_send(minio.address).is_err());
    minio.restart();
    assert_eq!(bucket.get("a/b").as_deref(), Some(&b"bytes"[..]));
    assert_eq!((bucket.keys(), minio.bucket("two").keys()), (vec!["a/b".to_owned()], vec![]));
    bucket.delete("a/b");
    assert_eq!(bucket.get("a/b"), None);
    assert_eq!(minio.open_multiparts(), 0);
    assert!(minio.process().peak_resident() > 0 && minio.process().processor_time() > Duration::ZERO);
}

#[test]
fn a_frozen_minio_answers_when_it_is_thawed() {
    let minio = Minio::start(&["one"]);
    minio.freeze();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| Request::get("/minio/health/live").send(minio.address));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!asked.is_finished());
        minio.thaw();
        assert_eq!(asked.join().expect("an answer").status, 200);
    });
}

#[test]
fn distribution_v3_keeps_its_tree_in_a_bucket() {
    let minio = Minio::start(&["images"]);
    for bucket in [minio.bucket("images"), minio.bucket("images").prefix("below/it")] {
        let registry = Registry::v3().bucket(&bucket).start();
        let image = Repository::at(registry.address, "a/b").push_random("v1", 7, 20_000_000);
        let other = Registry::v3().bucket(&bucket).start();
        assert_eq!(Repository::at(other.address, "a/b").get_blob(&image.layers[0]).expect(200).len(), 20_000_000);
        let tree = Path::new(&bucket.prefix).join("docker/registry/v2");
        let tag = tree.join("repositories/a/b/_manifests/tags/v1/current/link").display().to_string();
        assert_eq!(bucket.get(&tag).as_deref(), Some(image.digest.as_bytes()));
    }
}

#[test]
fn garbage_is_collected_where_it_is_and_nowhere_else() {
    let minio = Minio::start(&["images"]);
    let registries = [
        Registry::debian().start(),
        Registry::v3().start(),
        Registry::v3().bucket(&minio.bucket("images").prefix("p")).start(),
    ];
    for mut registry in registries {
        let repository = Repository::at(registry.address, "a/b");
        let old = repository.push_random("v1", 1, 1000);
        let new = repository.push_random("v1", 2, 1000);
        registry.collect_garbage(false);
        registry.restart();
        repository.get_blob(&old.layers[0]).expect(200);
        registry.collect_garbage(true);
        registry.restart();
        assert_eq!(repository.get_blob(&old.layers[0]).status, 404);
        repository.get_blob(&new.layers[0]).expect(200);
    }
}

#[test]
fn debian_and_v3_share_one_volume() {
    let old = Registry::debian().start();
    let new = Registry::v3().volume(&old.volume).start();
    let image = Repository::at(new.address, "a/b").push_random("v1", 3, 1000);
    assert_eq!(Repository::at(old.address, "a/b").get_manifest("v1").expect(200), image.manifest);
    let answer = Repository::at(old.address, "a/b").request("DELETE", format!("/v2/a/b/manifests/{}", image.digest));
    answer.send(old.address).expect(202);
    assert_eq!(Repository::at(new.address, "a/b").get_manifest(&image.digest).status, 404);
}

#[test]
fn redis_asks_for_its_password_and_forgets_everything_when_killed() {
    let mut redis = Redis::new().password("it's secret").start();
    assert_eq!(redis.ask(&["SET", "a", "b"]), "+OK");
    assert_eq!((redis.ask(&["GET", "a"]).as_str(), redis.keys()), ("$1\r\nb", 1));
    redis.restart();
    assert_eq!((redis.ask(&["GET", "a"]).as_str(), redis.keys()), ("$-1", 0));
    redis.ask(&["SET", "a", "b"]);
    redis.flush();
    assert_eq!(redis.keys(), 0);
}

#[test]
fn a_full_redis_evicts() {
    let redis = Redis::new().evicting(3 << 20).start();
    let value = hex::encode(random_bytes(1, 50_000));
    for key in 0..100 {
        assert_eq!(redis.ask(&["SET", &key.to_string(), &value]), "+OK");
    }
    assert!(redis.keys() < 100);
}

#[test]
fn redis_speaks_tls_alone_where_it_was_told() {
    let authority = Authority::new();
    let redis = Redis::new().tls(&authority).start();
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut session = rustls::ClientConnection::new(authority.client(&[]), name).expect("a session");
    let mut socket = std::net::TcpStream::connect(redis.address).expect("a connection");
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let mut answer = [0; 7];
    std::io::Write::write_all(&mut stream, b"PING\r\n").expect("a question");
    std::io::Read::read_exact(&mut stream, &mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
    assert!(redis.url().starts_with("rediss://"));
}

#[test]
fn a_stalled_redis_answers_late() {
    let redis = Redis::new().start();
    redis.freeze();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| redis.ask(&["PING"]));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!asked.is_finished());
        redis.thaw();
        assert_eq!(asked.join().expect("an answer"), "+PONG");
    });
    redis.stall(Duration::from_millis(1));
    eventually("redis answers again", || redis.ask(&["PING"]) == "+PONG");
}
