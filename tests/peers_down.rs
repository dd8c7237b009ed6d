//! One registry stopped: nobody notices. All stopped: what was pulled before is still pulled, and a push is told why not.

use crate::harness::tools::busybox_tree;
use crate::harness::{Answer, Dockerd, Entrepot, Registry, Repository, Request, Setup, docker, eventually, scratch};

/// A 503 that a client understands and comes back from.
#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "UNAVAILABLE"), "{}", answer.text());
    assert!(answer.header("content-type").is_some_and(|value| value.starts_with("application/json")));
    let seconds = answer.header("retry-after").and_then(|value| value.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{:?}", answer.headers);
}

#[test]
fn one_registry_stopped_and_pushes_and_pulls_go_on() {
    let (mut one, mut other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let repository = Repository::at(entrepot.address, "team/app");
    for (round, stopped) in [&mut one, &mut other].into_iter().enumerate() {
        stopped.kill();
        for number in 0..10 {
            let seed = (round * 100 + number) as u64;
            let image = repository.push_random(&format!("v{seed}"), seed, 50_000);
            assert_eq!(repository.get_manifest(&format!("v{seed}")).expect(200), image.manifest);
            repository.get_blob(&image.layers[0]).expect(200);
        }
        stopped.restart();
        let address = stopped.address.to_string();
        eventually("the registry that came back is up", || {
            entrepot.metric("entrepot_peer_up", &[("peer", &address)]) > 0.0
        });
    }
}

#[test]
fn a_silent_registry_is_left_for_one_that_answers() {
    let (one, other, _volume) = Registry::pair();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port that is never accepted from");
    let address = silent.local_addr().expect("its address");
    let entrepot = Setup::before(&[one.address, address, other.address])
        .set("cluster.main.timeouts", "{ first_byte = \"500ms\", connect = \"500ms\" }")
        .start();
    let image = Repository::at(one.address, "team/app").push_random("v1", 1, 1000);
    let pulled = Repository::at(entrepot.address, "team/app");
    for _ in 0..10 {
        assert_eq!(pulled.get_manifest("v1").expect(200), image.manifest);
    }
}

#[test]
fn docker_pulls_a_cached_image_by_tag_and_by_digest_while_every_registry_is_down() {
    let (mut one, mut other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let (dockerd, files) = (Dockerd::start(), scratch());
    let image = format!("{}/team/busybox:1", entrepot.address);
    docker::import(&dockerd, &busybox_tree(files.path()), &image);
    dockerd.run(&["push", &image]);
    let digest = dockerd.digest(&image);
    dockerd.forget(&[&image]);
    dockerd.run(&["pull", &image]);
    entrepot.settled();

    one.kill();
    other.kill();
    dockerd.forget(&[&image]);
    dockerd.run(&["pull", &image]);
    assert_eq!(dockerd.digest(&image), digest);
    dockerd.forget(&[&image]);
    dockerd.run(&["pull", &format!("{}/team/busybox@{digest}", entrepot.address)]);
    dockerd.run(&["pull", &image]);

    dockerd.run(&["tag", &format!("{}/team/busybox@{digest}", entrepot.address), &image]);
    let said = dockerd.fails(&["push", &image]);
    assert!(said.contains("503") || said.to_lowercase().contains("unavailable") || said.contains("no peer"), "{said}");
}

#[test]
fn answers_say_by_a_warning_that_they_are_from_before() {
    let (mut one, mut other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let repository = Repository::at(entrepot.address, "team/app");
    let image = repository.push_random("v1", 1, 1000);
    let fresh = repository.get_manifest("v1");
    assert_eq!(fresh.header("warning"), None);
    fresh.expect(200);
    repository.head_manifest("v1").expect(200);
    repository.get_manifest(&image.digest).expect(200);
    repository.get_blob(&image.layers[0]).expect(200);
    Request::get("/v2/").send(entrepot.address).expect(200);
    entrepot.settled();

    one.kill();
    other.kill();
    for reference in ["v1", &image.digest] {
        for answer in [repository.get_manifest(reference), repository.head_manifest(reference)] {
            let warning = answer.header("warning").map(str::to_owned);
            assert!(
                warning.as_deref().is_some_and(|text| text.starts_with("299 - \"")),
                "{reference}: {:?}",
                answer.headers
            );
            assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()));
            answer.expect(200);
        }
    }
    repository.get_blob(&image.layers[0]).expect(200);
    repository.head_blob(&image.layers[0]).expect(200);
    Request::get("/v2/").send(entrepot.address).expect(200);
}

#[test]
fn a_push_and_what_was_never_pulled_are_told_503_and_when_to_come_back() {
    let (mut one, mut other, _volume) = Registry::pair();
    let never_pulled = Repository::at(one.address, "team/app").push_random("v1", 1, 1000);
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let repository = Repository::at(entrepot.address, "team/app");
    one.kill();
    other.kill();
    assert_unavailable(&Request::new("POST", repository.uploads()).send(entrepot.address));
    assert_unavailable(&repository.request("PUT", repository.manifest("v2")).body("{}").send(entrepot.address));
    assert_unavailable(&repository.get_blob(&never_pulled.layers[0]));
    assert_unavailable(&repository.get_manifest("v1"));
    assert_unavailable(&repository.get_manifest(&never_pulled.digest));
    one.restart();
    eventually("pushes go on when a registry is back", || {
        Request::new("POST", repository.uploads()).send(entrepot.address).status == 202
    });
}
