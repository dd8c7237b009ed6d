//! Real registries as remotes: Debian's, distribution v3, another Entrepot, and a mirror behind a mirror.

use std::path::Path;

use super::world::{folder, login, mirroring, overlaying, pulls_image, refused};
use crate::ground::pieces::push_index;
use crate::harness::remote::TlsFront;
use crate::harness::{
    Authority, Entrepot, FakeRemote, FaultProxy, Manner, Minio, Registry, Repository, Request, Setup, random_bytes,
};
use crate::permissions::{PASSWORD, htpasswd};

const SIZE: usize = 100_000;

/// An index of two images at a registry, pulled through Entrepot by whoever `client` is.
fn is_mirrored(pushed: &Repository, client: &Repository) {
    let images =
        [1, 2].map(|seed| pushed.push_image(&format!("p{seed}"), &[&random_bytes(seed, SIZE), &random_bytes(9, SIZE)]));
    let (digest, index) = push_index(pushed, "1", &[&images[0], &images[1]]);
    for reference in ["1", &digest] {
        assert_eq!(client.get_manifest(reference).expect(200), index);
        assert_eq!(client.head_manifest(reference).header("docker-content-digest"), Some(digest.as_str()));
    }
    for image in &images {
        pulls_image(client, &image.digest, image);
    }
    let list = client.request("GET", format!("/v2/{}/tags/list", client.name)).send(client.address);
    assert_eq!(list.json()["tags"], serde_json::json!(["1", "p1", "p2"]));
    refused(&client.get_manifest("none"), 404, "MANIFEST_UNKNOWN");
}

#[test]
fn debian_s_registry_and_distribution_v3_with_a_login_and_without() {
    for registry in [Registry::debian(), Registry::v3()] {
        let registry = registry.start();
        let entrepot = mirroring(&[("up", "up.example", registry.address)]).start();
        is_mirrored(
            &Repository::at(registry.address, "team/app"),
            &Repository::at(entrepot.address, "up.example/team/app"),
        );
    }
    let files = folder();
    for registry in [Registry::debian(), Registry::v3()] {
        let registry = registry.account("mirror", "mirrors-password").start();
        let told = format!("[{}]", login(&files, "mirror", "mirrors-password"));
        let entrepot = mirroring(&[("up", "up.example", registry.address)]).set("remote.up.credentials", &told).start();
        let pushed = Repository::at(registry.address, "team/app").basic("mirror", "mirrors-password");
        is_mirrored(&pushed, &Repository::at(entrepot.address, "up.example/team/app"));
    }
}

#[test]
fn another_entrepot_with_rules_and_a_token_service_of_its_own() {
    let files = folder();
    let users = files.path().join("users");
    htpasswd(&users, "add", "mirror", PASSWORD);
    htpasswd(&users, "add", "ann", PASSWORD);
    let rules = r#"[{ repositories = "team/**", who = ["user:mirror"], allow = ["pull"] },
        { who = ["user:ann"], allow = ["push", "overwrite"] }]"#;
    let far = Setup::registry()
        .set("auth.htpasswd", &format!("{:?}", users.display().to_string()))
        .set("auth.rule", rules)
        .start();
    let told = format!("[{}]", login(&files, "mirror", PASSWORD));
    let near = mirroring(&[("up", "up.example", far.address)]).set("remote.up.credentials", &told).start();
    let ann = Repository::at(far.address, "team/app").basic("ann", PASSWORD);
    is_mirrored(&ann, &Repository::at(near.address, "up.example/team/app"));
    let hidden = ann.named("other/app").push_random("1", 5, SIZE);
    let client = Repository::at(near.address, "up.example/other/app");
    for reference in ["1", &hidden.digest] {
        assert_eq!(client.get_manifest(reference).status, 404, "what the mirror may not read is not there");
    }
}

/// Near asks far, and far the remote; a HEAD of what nobody has yet goes through both.
#[test]
fn a_mirror_of_a_mirror() {
    let fake = FakeRemote::start(Manner::hub());
    let far = mirroring(&[("hub", "docker.io", fake.address())]).start();
    let between = FaultProxy::before(far.address);
    let image = fake.put_multi("library/alpine", "3", 1, SIZE);
    // It is found at the far one by ns, by path, or by its own name there, as its operator says.
    let near = mirroring(&[("far", "far.example", between.address)]).start();
    let client = Repository::at(near.address, "far.example/docker.io/library/alpine");
    let head = client.head_blob(&image.platforms[0].layers[0]);
    assert_eq!((head.status, head.header("content-length")), (200, Some(SIZE.to_string().as_str())));
    super::world::pulls(&client, "3", &image);
    super::world::pulls(&client, "3", &image);
    assert_eq!(fake.gets("/blobs/"), image.blobs().len() + usize::from(fake.gets("/blobs/") > image.blobs().len()));
    assert!(between.seen().iter().all(|seen| seen.header("via").is_some_and(|via| via.contains("entrepot"))));
    drop(far);
    fake.die();
    super::world::pulls(&client, "3", &image);
}

/// A remote that is ourselves by another name.
#[test]
fn a_circle_of_mirrors_ends_at_once() {
    let one = crate::harness::ports::free();
    let name = FaultProxy::before(one);
    let setup = mirroring(&[("loop", "loop.example", name.address)]);
    let routes = r#"[{ repositories = "loop.example/**", read = "remote.loop" }, { read = "remote.loop" }]"#;
    let listeners = format!("[{{ address = \"127.0.0.1:0\" }}, {{ address = \"{one}\" }}]");
    let entrepot = setup.set("route", routes).set("listener", &listeners).start();
    let client = Repository::at(entrepot.address, "loop.example/team/app");
    for answer in [client.get_manifest("1"), client.get_blob(&crate::harness::digest(b"x")), client.head_manifest("2")]
    {
        assert!(answer.status >= 400, "{}", answer.status);
    }
    assert!(name.seen().len() <= 12, "{}", name.seen().len());
}

#[test]
fn a_remote_by_tls_is_believed_by_the_authority_that_was_named_alone() {
    let authority = Authority::new();
    let fake = FakeRemote::start(Manner::plain());
    let front = TlsFront::before(fake.address(), &authority.issue("remote", &["127.0.0.1", "localhost"]));
    let image = fake.put("team/app", "1", 1, SIZE);
    let by_tls = |setup: Setup| setup.set("remote.hub.url", &format!("\"https://{}\"", front.address));
    let trusted = |path: &Path| format!("{{ ca = {:?} }}", path.display().to_string());
    let setup = by_tls(mirroring(&[("hub", "docker.io", fake.address())]));
    let known = setup.clone().set("remote.hub.tls", &trusted(&authority.path())).start();
    pulls_image(&Repository::at(known.address, "docker.io/team/app"), "1", &image);
    let stranger = Authority::new();
    let others = [setup.clone(), setup.set("remote.hub.tls", &trusted(&stranger.path()))];
    let asked = fake.asked();
    for other in others {
        let entrepot = other.start();
        let answer = Repository::at(entrepot.address, "docker.io/team/app").get_manifest("1");
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(fake.asked(), asked);
}

/// distribution v3 redirects to its object store, with signed addresses.
#[test]
fn a_remote_whose_blobs_lie_in_its_own_minio() {
    let minio = Minio::start(&["remote"]);
    let registry = Registry::v3().bucket(&minio.bucket("remote")).redirecting().start();
    let entrepot = mirroring(&[("up", "up.example", registry.address)]).start();
    let pushed = Repository::at(registry.address, "team/app");
    is_mirrored(&pushed, &Repository::at(entrepot.address, "up.example/team/app"));
    let image = pushed.push_random("large", 77, 3 << 20);
    let redirected = pushed.get_blob(&image.layers[0]);
    assert_eq!(redirected.status, 307, "the registry itself gives no bytes");
    pulls_image(&Repository::at(entrepot.address, "up.example/team/app"), "large", &image);
}

#[test]
fn a_reload_brings_a_remote_and_takes_it_away_and_what_is_kept_stays() {
    let fake = FakeRemote::start(Manner::plain());
    let image = fake.put("team/app", "1", 1, SIZE);
    let mut entrepot: Entrepot = mirroring(&[]).start();
    let client = Repository::at(entrepot.address, "docker.io/team/app");
    assert_eq!(client.get_manifest("1").status, 404);
    let folder = |setup: Setup| super::world::remote(setup, "hub", "docker.io", fake.address());
    let routes =
        r#"[{ repositories = "docker.io/**", read = "remote.hub" }, { read = "registry", write = "registry" }]"#;
    entrepot.reload(|setup| folder(setup).set("route", routes), "ok");
    pulls_image(&client, "1", &image);
    let gets = fake.gets("");
    entrepot.reload(|setup| overlaying(setup).set("remote.hub.tag_ttl", "\"5m\""), "ok");
    pulls_image(&client, "1", &image);
    assert_eq!(fake.gets(""), gets);
    let by_ns = Request::get("/v2/team/app/manifests/1?ns=docker.io").send(entrepot.address);
    assert_eq!(by_ns.expect(200), image.manifest);
}
