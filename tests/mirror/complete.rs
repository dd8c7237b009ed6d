//! A tag while its remote is gone: the newest image that can be pulled to the end, and never one that cannot.

use super::world::{Hub, is_stale, is_unavailable, pull_blob, pulls, pulls_image};
use crate::harness::remote::{Multi, image_of};
use crate::harness::repository::OCI_MANIFEST;
use crate::harness::{Fault, Image, Manner, Reply, Rule, eventually};

const SIZE: usize = 20_000;

fn asked_always() -> Hub {
    Hub::start(Manner::plain(), |setup| setup.set("remote.hub.tag_ttl", "\"0s\""))
}

/// Two images of one tag; the remote has the second, of which `platforms` were pulled whole.
fn moved(hub: &Hub, platforms: &[usize]) -> (Multi, Multi) {
    let client = hub.client("team/app");
    let first = hub.remote.put_multi("team/app", "1", 1, SIZE);
    pulls(&client, "1", &first);
    hub.kept("team/app", &first.blobs());
    let second = hub.remote.put_multi("team/app", "1", 2, SIZE);
    assert_eq!(client.get_manifest("1").expect(200), second.index);
    for platform in &second.platforms {
        client.get_manifest(&platform.digest).expect(200);
    }
    for platform in platforms.iter().map(|number| &second.platforms[*number]) {
        pulls_image(&client, &platform.digest, platform);
        hub.kept("team/app", &platform.layers);
    }
    (first, second)
}

#[test]
fn the_older_image_is_served_where_the_newer_one_s_layers_cannot_be_had() {
    for platforms in [&[][..], &[0], &[1]] {
        let hub = asked_always();
        let (first, _) = moved(&hub, platforms);
        hub.remote.die();
        let answer = hub.client("team/app").get_manifest("1");
        assert!(is_stale(&answer), "{platforms:?} {:?}", answer.headers);
        assert_eq!(answer.expect(200), first.index, "{platforms:?}");
        assert!(is_stale(&hub.client("team/app").head_manifest("1")));
        pulls(&hub.client("team/app"), "1", &first);
    }
}

#[test]
fn the_newer_image_is_served_once_every_platform_is_here_that_was_before() {
    let hub = asked_always();
    let (_, second) = moved(&hub, &[0, 1]);
    hub.remote.die();
    pulls(&hub.client("team/app"), "1", &second);
}

#[test]
fn one_platform_is_enough_where_it_is_all_that_anybody_pulled() {
    let hub = asked_always();
    let client = hub.client("team/app");
    for seed in [1, 2] {
        let image = hub.remote.put_multi("team/app", "1", seed, SIZE);
        client.get_manifest("1").expect(200);
        pulls_image(&client, &image.platforms[0].digest, &image.platforms[0]);
        hub.kept("team/app", &image.platforms[0].layers);
        hub.kept("team/app", std::slice::from_ref(&image.platforms[0].config));
        hub.remote.die();
        assert_eq!(client.get_manifest("1").expect(200), image.index, "{seed}");
        pulls_image(&client, &image.platforms[0].digest, &image.platforms[0]);
        hub.remote.revive();
        eventually("the remote is asked again", || !is_stale(&client.get_manifest("1")));
    }
}

#[test]
fn an_image_of_which_too_little_is_here_is_not_served_at_all() {
    let hub = asked_always();
    let client = hub.client("team/app");
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    client.get_manifest("1").expect(200);
    client.get_manifest(&image.platforms[0].digest).expect(200);
    pull_blob(&client, &image.platforms[0].config).expect("its config");
    hub.remote.die();
    is_unavailable(&client.get_manifest("1"));
    assert_eq!(client.head_manifest("1").status, 503);
    is_unavailable(&client.get_blob(&image.platforms[0].layers[0]));
    // What was never asked for.
    is_unavailable(&client.get_manifest("2"));
}

#[test]
fn a_remote_that_refuses_or_throttles_is_as_good_as_gone() {
    let hub = asked_always();
    let client = hub.client("team/app");
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    pulls(&client, "1", &image);
    hub.kept("team/app", &image.blobs());
    let page = || Reply::new(200).header("Content-Type", "text/html").body("<html>sorry</html>");
    for reply in [Reply::new(500), Reply::new(502), Reply::new(503), Reply::new(504), Reply::new(429), page()] {
        let status = reply.status;
        hub.remote.wire.on(Rule::new("", "/v2/", Fault::Answer(reply)));
        let answer = client.get_manifest("1");
        assert!(is_stale(&answer), "{status}: {} {:?}", answer.status, answer.headers);
        assert_eq!(answer.expect(200), image.index, "{status}");
        pulls(&client, "1", &image);
        hub.remote.forget_rules();
    }
}

#[test]
fn how_old_it_may_be_is_bounded_where_that_is_told() {
    let hub = Hub::start(Manner::plain(), |setup| {
        setup.set("remote.hub.tag_ttl", "\"0s\"").set("remote.hub.stale", "\"2s\"")
    });
    let client = hub.client("team/app");
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    pulls(&client, "1", &image);
    hub.kept("team/app", &image.blobs());
    hub.remote.die();
    eventually("the tag is too old to be served", || client.get_manifest("1").status == 503);
    is_unavailable(&client.get_manifest("1"));
    // A digest is never old.
    assert_eq!(client.get_manifest(&image.digest).expect(200), image.index);
}

/// Layers that lie elsewhere (`urls`), as of Windows images, are fetched by nobody here.
#[test]
fn layers_of_elsewhere_are_not_fetched_and_not_missed() {
    let hub = Hub::start(Manner::plain(), |setup| {
        setup.set("remote.hub.tag_ttl", "\"0s\"").set("remote.hub.prefetch", "\"1GiB\"")
    });
    let (config, layers) =
        (b"{\"os\":\"windows\",\"architecture\":\"amd64\"}".to_vec(), vec![vec![1; SIZE], vec![2; SIZE]]);
    let whole = image_of(&config, &layers);
    let elsewhere = format!("http://{}/foreign", hub.remote.store.address);
    let mut manifest: serde_json::Value = serde_json::from_slice(&whole.manifest).expect("JSON");
    manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into();
    manifest["layers"][0]["urls"] = serde_json::json!([elsewhere]);
    let manifest = manifest.to_string().into_bytes();
    let digest = hub.remote.shelf(|shelf| {
        let kept = shelf.repository("windows/nano");
        kept.put_blob(config);
        kept.put_blob(layers[1].clone());
        kept.tag("1", OCI_MANIFEST, &manifest)
    });
    let own = Image { digest, manifest, config: whole.config, layers: vec![whole.layers[1].clone()] };
    let client = hub.client("windows/nano");
    pulls_image(&client, "1", &own);
    hub.kept("windows/nano", &own.layers);
    hub.remote.wire.die();
    pulls_image(&client, "1", &own);
    assert!(hub.remote.store.seen().is_empty(), "{:?}", hub.remote.store.seen());
    assert_eq!(hub.remote.gets(&whole.layers[0]), 0);
}
