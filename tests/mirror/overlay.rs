//! What is pushed over a mirror wins over the remote, until it is deleted; and a push may stand on layers that only the mirror has.

use serde_json::json;

use super::world::{Hub, overlaying, pulls, pulls_image, refused};
use crate::harness::remote::image_of;
use crate::harness::repository::OCI_MANIFEST;
use crate::harness::{Answer, Image, Manner, Repository, digest, eventually, random_bytes};

const SIZE: usize = 20_000;

fn overlay() -> Hub {
    Hub::start(Manner::plain(), |setup| overlaying(setup).set("remote.hub.tag_ttl", "\"0s\""))
}

#[test]
fn what_is_pushed_wins_and_what_is_deleted_uncovers_the_remote_s() {
    let hub = overlay();
    let client = hub.client("team/app");
    let there = hub.remote.put("team/app", "1", 1, SIZE);
    pulls_image(&client, "1", &there);
    let here = client.push_random("1", 2, SIZE);
    for _ in 0..3 {
        pulls_image(&client, "1", &here);
        assert_eq!(hub.by_ns("GET", "team/app", "manifests/1").expect(200), here.manifest);
    }
    // What the remote does with its tag changes nothing.
    let moved = hub.remote.put("team/app", "1", 3, SIZE);
    pulls_image(&client, "1", &here);
    client.get_manifest("none");
    pulls_image(&client, "1", &here);
    // By digest all are there.
    pulls_image(&client, &there.digest, &there);
    pulls_image(&client, &moved.digest, &moved);
    client.request("DELETE", client.manifest("1")).send(client.address).expect(202);
    eventually("the remote's is uncovered", || client.get_manifest("1").body == moved.manifest);
    pulls_image(&client, "1", &moved);
    pulls_image(&client, &here.digest, &here);
}

#[test]
fn what_is_pushed_is_there_without_the_remote_and_survives_it() {
    let mut hub = overlay();
    let client = hub.client("team/app");
    let there = hub.remote.put_multi("team/app", "1", 1, SIZE);
    pulls(&client, "1", &there);
    hub.kept("team/app", &there.blobs());
    hub.remote.die();
    let here = client.push_random("own", 2, SIZE);
    pulls_image(&client, "own", &here);
    pulls(&client, "1", &there);
    hub.entrepot.restart();
    pulls_image(&client, "own", &here);
    pulls(&client, "1", &there);
}

/// As docker pushes: what HEAD says is there is not sent.
fn push_over(client: &Repository, tag: &str, base: &[(String, usize)], own: &[u8]) -> Result<Image, Answer> {
    let config = json!({"architecture": "amd64", "os": "linux", "tag": tag}).to_string().into_bytes();
    for (layer, _) in base {
        assert_eq!(client.head_blob(layer).status, 200, "the mirror has it, or its remote has");
    }
    client.push_blob(own);
    client.push_blob(&config);
    let whole = image_of(&config, &[own.to_vec()]);
    let mut manifest: serde_json::Value = serde_json::from_slice(&whole.manifest).expect("JSON");
    let mut layers: Vec<_> = base
        .iter()
        .map(|(digest, size)| {
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
        })
        .collect();
    layers.extend(manifest["layers"].as_array().cloned().unwrap_or_default());
    manifest["layers"] = layers.into();
    let manifest = manifest.to_string().into_bytes();
    let request = client.request("PUT", client.manifest(tag)).header("Content-Type", OCI_MANIFEST);
    let answer = request.body(manifest.clone()).send(client.address);
    let names = base.iter().map(|(layer, _)| layer.clone()).chain([digest(own)]).collect();
    match answer.status {
        201 => Ok(Image { digest: digest(&manifest), manifest, config: digest(&config), layers: names }),
        _ => Err(answer),
    }
}

#[test]
fn a_push_stands_on_layers_that_only_the_mirror_or_its_remote_holds() {
    for warm in [true, false] {
        let hub = overlay();
        let client = hub.client("library/base");
        let base = hub.remote.put_multi("library/base", "1", 1, SIZE);
        if warm {
            pulls(&client, "1", &base);
        }
        let layers: Vec<_> = base.platforms[0].layers.iter().map(|layer| (layer.clone(), SIZE)).collect();
        let pushed = push_over(&client, "mine", &layers, &random_bytes(9, SIZE)).unwrap_or_else(|answer| {
            panic!("warm {warm}: {} {}", answer.status, answer.text());
        });
        pulls_image(&client, "mine", &pushed);
        let fetched = base.platforms[0].layers.iter().map(|layer| hub.remote.gets(layer)).max();
        assert_eq!(fetched, Some(1), "warm {warm}");
        hub.remote.die();
        pulls_image(&client, "mine", &pushed);
    }
}

#[test]
fn a_push_takes_nothing_from_a_repository_that_is_another() {
    let hub = overlay();
    let secret = hub.remote.put("team/secret", "1", 1, SIZE);
    hub.remote.put("team/app", "1", 2, SIZE);
    pulls_image(&hub.client("team/secret"), "1", &secret);
    hub.kept("team/secret", &secret.layers);
    let client = hub.client("team/app");
    assert_eq!(client.head_blob(&secret.layers[0]).status, 404);
    let config = client.push_blob(b"{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": secret.layers[0], "size": SIZE}],
    });
    let request = client.request("PUT", client.manifest("stolen")).header("Content-Type", OCI_MANIFEST);
    let answer = request.body(manifest.to_string().into_bytes()).send(client.address);
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    assert_eq!(answer.error_code(), "MANIFEST_BLOB_UNKNOWN");
    refused(&client.get_blob(&secret.layers[0]), 404, "BLOB_UNKNOWN");
}

#[test]
fn a_push_of_what_nobody_has_is_refused() {
    let hub = overlay();
    hub.remote.put("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    let whole = image_of(b"{\"os\":\"linux\"}", &[b"nobody has this".to_vec()]);
    client.push_blob(b"{\"os\":\"linux\"}");
    let request = client.request("PUT", client.manifest("x")).header("Content-Type", OCI_MANIFEST);
    let answer = request.body(whole.manifest).send(client.address);
    assert_eq!(answer.error_code(), "MANIFEST_BLOB_UNKNOWN", "{} {}", answer.status, answer.text());
    assert_eq!(client.get_manifest("x").status, 404);
}

/// An index of ours may name manifests of the remote's.
#[test]
fn an_index_that_is_pushed_may_name_what_the_mirror_holds() {
    let hub = overlay();
    let there = hub.remote.put_multi("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    pulls(&client, "1", &there);
    client.push_manifest("copy", crate::harness::repository::OCI_INDEX, &there.index);
    hub.kept("team/app", &there.blobs());
    hub.remote.die();
    pulls(&client, "copy", &there);
}
