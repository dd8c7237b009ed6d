//! `entrepot cp`: an image, or all of a repository, elsewhere, without its bytes.

use serde_json::json;

use super::world::{Kept, on, tags};
use crate::harness::repository::{OCI_INDEX, OCI_MANIFEST};
use crate::harness::{Image, Repository, random_bytes};

const SIZE: usize = 50_000;

/// An index of two images, one of which has a signature about it, and the index a tag of cosign's.
struct Published {
    index: String,
    images: [Image; 2],
    signature: String,
    cosign: String,
}

fn publish(repository: &Repository, tag: &str, seed: u64) -> Published {
    let images = [0, 1].map(|number| repository.push_random(&format!("only-{tag}-{number}"), seed + number, SIZE));
    let listed: Vec<_> = images
        .iter()
        .map(|image| json!({ "mediaType": OCI_MANIFEST, "digest": image.digest, "size": image.manifest.len() }))
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed }).to_string();
    let index = repository.push_manifest(tag, OCI_INDEX, index.as_bytes());
    let layer = repository.push_blob(&random_bytes(seed + 100, 500));
    let config = repository.push_blob(b"{}");
    let about = |subject: Option<(&str, usize)>| {
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
            "layers": [{ "mediaType": "application/octet-stream", "digest": layer, "size": 500 }],
        });
        if let Some((digest, size)) = subject {
            manifest["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": size });
        }
        manifest.to_string()
    };
    let [first, _] = &images;
    let text = about(Some((&first.digest, first.manifest.len())));
    let signature = crate::harness::digest(text.as_bytes());
    repository.push_manifest(&signature, OCI_MANIFEST, text.as_bytes());
    let cosign = format!("{}.sig", index.replace(':', "-"));
    repository.push_manifest(&cosign, OCI_MANIFEST, about(None).as_bytes());
    Published { index, images, signature, cosign }
}

/// Everything of it can be pulled there.
#[track_caller]
fn pulls(repository: &Repository, tag: &str, published: &Published) {
    assert_eq!(crate::harness::digest(&repository.get_manifest(tag).expect(200)), published.index);
    for image in &published.images {
        assert_eq!(repository.get_manifest(&image.digest).expect(200), image.manifest);
        for blob in image.layers.iter().chain([&image.config]) {
            assert_eq!(crate::harness::digest(&repository.get_blob(blob).expect(200)), *blob);
        }
    }
}

#[test]
fn an_image_is_promoted_with_all_that_belongs_to_it_and_no_byte_moves() {
    let mut kept = Kept::new();
    let published = publish(&kept.repository("dev/app"), "1.2", 1);
    let blobs = kept.blobs();
    kept.with_and_without_server(|kept, running| {
        let target = if running { "prod/app" } else { "prod/other" };
        let said = on(&kept.server, &["cp", "dev/app:1.2", &format!("{target}:stable")]).well();
        assert!(said.starts_with(&format!("dev/app:1.2 is {target}:stable: {}; ", published.index)), "{said}");
        assert!(said.ends_with(" linked, no content moved\n"), "{said}");
        let again = on(&kept.server, &["cp", "dev/app:1.2", target, "--json"]).json();
        assert_eq!((&again["target"], &again["digest"]), (&json!(format!("{target}:1.2")), &json!(published.index)));
    });
    assert_eq!(kept.blobs(), blobs, "links only");
    for target in ["prod/app", "prod/other"] {
        let there = kept.repository(target);
        pulls(&there, "stable", &published);
        pulls(&there, "1.2", &published);
        let about = format!("/v2/{target}/referrers/{}", published.images[0].digest);
        let referrers = there.request("GET", about).send(there.address).json();
        assert_eq!(referrers["manifests"][0]["digest"], published.signature.as_str(), "{target}");
        assert_eq!(there.get_manifest(&published.cosign).status, 200, "{target}");
        assert_eq!(tags(&kept.server, target), ["1.2", &published.cosign, "stable"]);
    }
    let bare = kept.repository("bare/app");
    on(&kept.server, &["cp", "dev/app:1.2", "bare/app:1.2", "--without-referrers"]).well();
    pulls(&bare, "1.2", &published);
    assert_eq!(tags(&kept.server, "bare/app"), ["1.2"]);
    let about = format!("/v2/bare/app/referrers/{}", published.images[0].digest);
    assert_eq!(bare.request("GET", about).send(bare.address).json()["manifests"], json!([]));
}

#[test]
fn all_tags_of_a_repository_or_those_of_a_pattern() {
    let mut kept = Kept::start(|setup| setup.set("registry.immutable_tags", "[\"prod/*:v1\"]"));
    let dev = kept.repository("dev/app");
    let images: Vec<Image> =
        ["v1", "v2", "nightly"].iter().enumerate().map(|(n, tag)| dev.push_random(tag, n as u64, SIZE)).collect();
    let other = kept.repository("prod/app").push_random("v1", 77, SIZE);
    let blobs = kept.blobs();
    kept.with_and_without_server(|kept, _| {
        let told = on(&kept.server, &["cp", "dev/app", "prod/app", "--tags", "v*"]);
        assert_eq!(told.code, Some(1), "one stays: {told:?}");
        assert!(told.out.contains("1 of 2 tags of dev/app are in prod/app"), "{told:?}");
        assert!(told.out.contains("  not v1: the tag 'v1' exists and never changes here"), "{told:?}");
        let told = on(&kept.server, &["cp", "dev/app", "all/app", "--json"]).json();
        assert_eq!((&told["tags"], &told["failed"]), (&json!(3), &json!(0)));
        let said = on(&kept.server, &["cp", "dev/app", "prod/app", "--tags", "x*"]).badly();
        assert!(said.contains("dev/app has no tag that matches 'x*'"), "{said}");
    });
    assert_eq!(kept.blobs(), blobs);
    assert_eq!(tags(&kept.server, "prod/app"), ["v1", "v2"]);
    assert_eq!(kept.repository("prod/app").get_manifest("v1").expect(200), other.manifest);
    assert_eq!(tags(&kept.server, "all/app"), ["nightly", "v1", "v2"]);
    for (tag, image) in ["v1", "v2", "nightly"].iter().zip(&images) {
        let there = kept.repository("all/app");
        assert_eq!(there.get_manifest(tag).expect(200), image.manifest);
        there.get_blob(&image.layers[0]).expect(200);
    }
}

#[test]
fn what_cannot_be_copied_is_told_and_leaves_no_tag() {
    let kept = Kept::new();
    let image = kept.repository("dev/app").push_random("1", 1, SIZE);
    let place = kept.data().join(format!("docker/registry/v2/blobs/sha256/{}", &image.layers[0][7..9]));
    std::fs::remove_dir_all(place.join(&image.layers[0][7..])).expect("its bytes are gone");
    for (arguments, told) in [
        (&["cp", "dev/app:1", "prod/app:1"][..], "`entrepot verify` tells what is damaged"),
        (&["cp", "dev/app:absent", "prod/app:1"], "there is no dev/app:absent"),
        (&["cp", "absent", "prod/app"], "there is no repository absent"),
        (&["cp", "dev/app", "dev/app"], "both source and target"),
        (&["cp", "dev/app", "prod/app:1"], "all of dev/app cannot be had as prod/app:1"),
        (&["cp", "dev/app:1", "prod/app:1", "--tags", "*"], "for whole repositories"),
        (&["cp", "dev/app", "prod/app", "--tags", "["], "is no pattern of tags"),
    ] {
        for more in [&[][..], &["--no-server"]] {
            let said = on(&kept.server, &[arguments, more].concat()).badly();
            assert!(said.contains(told), "{arguments:?} {more:?}: {said}");
        }
    }
    assert!(tags(&kept.server, "prod/app").is_empty());
}
