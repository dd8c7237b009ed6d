//! What changes at the registries behind our back: an image is deleted there and its layers are collected, as a nightly
//! cron job does. Clients that push must hear of it at once, or they leave out what is gone.

use crate::harness::repository::{OCI_MANIFEST, location, with_digest};
use crate::harness::tools::busybox_tree;
use crate::harness::{
    Answer, Dockerd, Entrepot, FaultProxy, Image, Registry, Reply, Repository, Request, Seen, Serving, Setup, digest,
    docker, eventually, random_bytes, scratch,
};

/// A registry with an image that both fronts have pulled, so that they remember all of it.
fn two_fronts() -> (Serving, [Entrepot; 2], Image) {
    let registry = Registry::v3().start();
    let fronts = [Entrepot::before(&[registry.address]), Entrepot::before(&[registry.address])];
    let image = Repository::at(fronts[0].address, "team/app").push_random("v1", 1, 100_000);
    for front in &fronts {
        let client = Repository::at(front.address, "team/app");
        assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
        client.get_manifest(&image.digest).expect(200);
        for blob in image.layers.iter().chain([&image.config]) {
            client.get_blob(blob).expect(200);
            assert_eq!(client.head_blob(blob).status, 200);
        }
    }
    (registry, fronts, image)
}

/// The image goes, and its layers with it, without any front between.
fn collect(registry: &mut Serving, image: &Image) {
    let direct = Repository::at(registry.address, "team/app");
    direct.request("DELETE", direct.manifest(&image.digest)).send(direct.address).expect(202);
    registry.collect_garbage(true);
    registry.restart();
    assert_eq!(direct.get_blob(&image.layers[0]).status, 404);
}

/// As docker does it: HEAD, and upload only what is not there; then the manifest.
fn push_as_docker_does(client: &Repository, image: &Image, layer: &[u8], config: &[u8]) -> Answer {
    for bytes in [layer, config] {
        if client.head_blob(&digest(bytes)).status != 200 {
            client.push_blob(bytes);
        }
    }
    let request = client.request("PUT", client.manifest("v1")).header("Content-Type", OCI_MANIFEST);
    request.body(image.manifest.clone()).send(client.address)
}

#[test]
fn a_collected_image_is_pushed_again_through_every_front_that_remembers_it() {
    for which in 0..2 {
        let (mut registry, fronts, image) = two_fronts();
        let client = Repository::at(fronts[which].address, "team/app");
        let config = client.get_blob(&image.config).expect(200);
        collect(&mut registry, &image);
        let answer = push_as_docker_does(&client, &image, &random_bytes(1, 100_000), &config);
        assert_eq!(answer.status, 201, "{}", answer.text());
        for front in &fronts {
            let client = Repository::at(front.address, "team/app");
            assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
            assert_eq!(client.get_blob(&image.layers[0]).expect(200), random_bytes(1, 100_000));
        }
    }
}

#[test]
fn docker_itself_pushes_an_image_again_that_was_collected() {
    let mut registry = Registry::v3().start();
    let fronts = [Entrepot::before(&[registry.address]), Entrepot::before(&[registry.address])];
    let (dockerd, files) = (Dockerd::start(), scratch());
    let tree = busybox_tree(files.path());
    let image = format!("{}/team/busybox:1", fronts[0].address);
    docker::import(&dockerd, &tree, &image);
    dockerd.run(&["push", &image]);
    let other = image.replace(&fronts[0].address.to_string(), &fronts[1].address.to_string());
    dockerd.run(&["pull", &other]);

    let digest = dockerd.digest(&image);
    let direct = Repository::at(registry.address, "team/busybox");
    direct.request("DELETE", direct.manifest(&digest)).send(direct.address).expect(202);
    registry.collect_garbage(true);
    registry.restart();

    for image in [&other, &image] {
        dockerd.run(&["push", image]);
        let layers = direct.get_manifest("1").json();
        let layer = layers["layers"][0]["digest"].as_str().expect("a layer");
        direct.get_blob(layer).expect(200);
    }
}

#[test]
fn a_head_of_what_is_gone_is_404_at_once_and_a_get_within_holds_ttl() {
    let registry = Registry::v3().start();
    let entrepot = Setup::before(&[registry.address]).set("cluster.main.holds_ttl", "\"2s\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 7, 50_000);
    client.get_manifest(&image.digest).expect(200);
    client.get_blob(&image.layers[0]).expect(200);
    let direct = Repository::at(registry.address, "team/app");
    direct.request("DELETE", direct.manifest(&image.digest)).send(direct.address).expect(202);
    direct.request("DELETE", direct.blob(&image.layers[0])).send(direct.address).expect(202);

    assert_eq!(client.head_blob(&image.layers[0]).status, 404);
    assert_eq!(client.head_manifest(&image.digest).status, 404);
    assert_eq!(client.head_manifest("v1").status, 404);
    // The 404 was a peer's word: it ends what was remembered of that digest.
    assert_eq!(client.get_blob(&image.layers[0]).status, 404);
    assert_eq!(client.get_manifest(&image.digest).status, 404);

    let second = client.push_random("v2", 8, 50_000);
    client.get_blob(&second.layers[0]).expect(200);
    direct.request("DELETE", direct.blob(&second.layers[0])).send(direct.address).expect(202);
    eventually("what nobody asked the peers about is not served beyond holds_ttl", || {
        client.get_blob(&second.layers[0]).status == 404
    });
}

#[test]
fn simultaneous_heads_are_one_question() {
    let registry = Registry::debian().start();
    let proxy = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[proxy.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.push_blob(b"content");
    client.get_blob(&blob).expect(200);
    proxy.forget_seen();
    let gate = crate::harness::Gate::new();
    proxy.on(crate::harness::Rule::new("HEAD", "", crate::harness::Fault::Hold(gate.clone())));
    std::thread::scope(|scope| {
        let heads: Vec<_> = (0..8).map(|_| scope.spawn(|| client.head_blob(&blob).status)).collect();
        eventually("the question is asked", || proxy.count("HEAD", &blob) == 1);
        std::thread::sleep(std::time::Duration::from_millis(200));
        gate.open();
        for head in heads {
            assert_eq!(head.join().expect("an answer"), 200);
        }
    });
    assert_eq!(proxy.count("HEAD", &blob), 1);
}

#[test]
fn memory_answers_a_head_while_no_peer_does() {
    let mut registry = Registry::debian().start();
    let entrepot = Entrepot::before(&[registry.address]);
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 3, 10_000);
    client.get_manifest("v1").expect(200);
    client.get_blob(&image.layers[0]).expect(200);
    registry.kill();
    for answer in [client.head_blob(&image.layers[0]), client.head_manifest(&image.digest), client.head_manifest("v1")]
    {
        assert_eq!(answer.status, 200);
        assert!(answer.header("warning").is_some(), "{:?}", answer.headers);
    }
}

/// A registry that says of its blob what the test wants, and refuses each manifest for lack of it.
fn forgetful(code: &'static str) -> FaultProxy {
    FaultProxy::scripted(move |seen: &Seen| match seen.method.as_str() {
        "PUT" => Reply::new(404)
            .header("Content-Type", "application/json")
            .body(format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"gone\"}}]}}")),
        "HEAD" => Reply::new(200).header("Content-Length", "7").header("Docker-Content-Digest", digest(b"content")),
        _ => Reply::new(200).header("Docker-Content-Digest", digest(b"content")).body("content"),
    })
}

#[test]
fn a_manifest_refused_for_lack_of_a_blob_ends_what_was_remembered_of_the_repository() {
    let blob = digest(b"content");
    for (code, expect, forgets) in [
        ("MANIFEST_BLOB_UNKNOWN", false, true),
        ("BLOB_UNKNOWN", false, true),
        ("MANIFEST_UNKNOWN", false, true),
        // Streamed to the peer: its words are not read, so any such status counts.
        ("MANIFEST_BLOB_UNKNOWN", true, true),
    ] {
        let peer = forgetful(code);
        let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
        let client = Repository::at(entrepot.address, "team/app");
        let other = Repository::at(entrepot.address, "team/other");
        for repository in [&client, &other] {
            repository.get_blob(&blob).expect(200);
        }
        let asked = |repository: &Repository| {
            let before = peer.count("HEAD", &repository.blob(&blob));
            repository.get_blob(&blob).expect(200);
            peer.count("HEAD", &repository.blob(&blob)) - before
        };
        assert_eq!((asked(&client), asked(&other)), (0, 0));
        let put = client.request("PUT", client.manifest("v1")).header("Content-Type", OCI_MANIFEST);
        let put = if expect { put.header("Expect", "100-continue") } else { put };
        assert_eq!(put.body("{\"schemaVersion\":2}").send(client.address).status, 404);
        assert_eq!((asked(&client), asked(&other)), (usize::from(forgets), 0), "{code} {expect}");
    }
}

#[test]
fn a_mount_and_an_upload_are_never_answered_from_memory() {
    let registry = Registry::v3().start();
    let entrepot = Entrepot::before(&[registry.address]);
    let source = Repository::at(entrepot.address, "team/source");
    let image = source.push_random("v1", 5, 10_000);
    source.get_blob(&image.layers[0]).expect(200);
    let direct = Repository::at(registry.address, "team/source");
    direct.request("DELETE", direct.blob(&image.layers[0])).send(direct.address).expect(202);
    let target = Repository::at(entrepot.address, "team/target");
    let mount = format!("{}?mount={}&from=team/source", target.uploads(), image.layers[0]);
    let opened = target.request("POST", mount).send(target.address);
    assert_eq!(opened.status, 202, "{}", opened.text());
    let closed = target.request("PUT", with_digest(&location(&opened), &image.layers[0]));
    closed.body(random_bytes(5, 10_000)).send(target.address).expect(201);
    Request::get(target.blob(&image.layers[0])).send(target.address).expect(200);
}
