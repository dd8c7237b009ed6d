//! Manifests and tags.

use serde_json::json;

use super::harness::{Harness, Whole, artifact, digest_of, image, index, on_disk, sha256};
use crate::oci::{Algorithm, Digest, media_type};
use crate::registry::Config;
use crate::registry::config::MissingReferences;

#[tokio::test]
async fn a_manifest_comes_back_as_it_was_pushed() {
    let harness = Harness::new().await;
    let manifest = harness.push_image("a", "latest", "x").await;
    let digest = digest_of(&manifest);
    for reference in ["latest".to_owned(), digest.text()] {
        for accept in [None, Some("*/*"), Some("application/x")] {
            let headers: Vec<(&str, &str)> = accept.iter().map(|accept| ("accept", *accept)).collect();
            let seen = harness.send("GET", &format!("/v2/a/manifests/{reference}"), &headers, b"").await;
            assert_eq!((seen.status.as_u16(), &seen.body[..]), (200, manifest.to_string().as_bytes()));
            assert_eq!(seen.content, Some((digest, media_type::OCI_MANIFEST.into())));
        }
    }
    let seen = harness.push_manifest("a", &digest.text(), &manifest).await;
    assert_eq!(seen.header("location"), format!("/v2/a/manifests/{digest}"));
    assert_eq!(seen.header("docker-content-digest"), digest.text());
    for target in ["/v2/a/manifests/none".to_owned(), format!("/v2/b/manifests/{digest}")] {
        assert_eq!(harness.get(&target).await.error(), (404, "MANIFEST_UNKNOWN".into()));
    }
    // A manifest is no blob of the repository.
    assert_eq!(harness.status("GET", &format!("/v2/a/blobs/{digest}")).await, 404);
}

#[tokio::test]
async fn a_media_type_that_the_bytes_do_not_tell_is_remembered() {
    let harness = Harness::new().await;
    let manifest = json!({"schemaVersion": 2, "layers": []});
    let target = "/v2/a/manifests/latest";
    let headers = [("content-type", "application/vnd.example.thing+json; charset=utf-8")];
    harness.send("PUT", target, &headers, manifest.to_string().as_bytes()).await;
    let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
    for harness in [&harness, &fresh] {
        let (_, media_type) = harness.get(target).await.content.unwrap();
        assert_eq!(media_type, "application/vnd.example.thing+json");
    }
}

#[tokio::test]
async fn sha512_manifests_live_under_their_own_digest() {
    let harness = Harness::new().await;
    let manifest = index(&[]);
    let digest = Digest::of(Algorithm::Sha512, manifest.to_string().as_bytes());
    let target = format!("/v2/a/manifests/{digest}");
    let put = harness.send("PUT", &format!("{target}?tag=x&tag=y"), &[], manifest.to_string().as_bytes()).await;
    assert_eq!((put.status.as_u16(), put.header("docker-content-digest")), (201, digest.text().as_str()));
    let tags: Vec<_> = put.headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
    assert_eq!(tags, ["x", "y"]);
    for target in [&target, "/v2/a/manifests/x", "/v2/a/manifests/y"] {
        assert_eq!(harness.get(target).await.content.unwrap().0, digest);
    }
    assert_eq!(harness.status("GET", &format!("/v2/a/manifests/{}", digest_of(&manifest))).await, 404);
}

#[tokio::test]
async fn tags_of_a_query_are_bounded() {
    let harness = Harness::new().await;
    let manifest = index(&[]);
    let put = |count: usize| {
        let query: Vec<String> = (0..count).map(|number| format!("tag=t{number}")).collect();
        format!("/v2/a/manifests/{}?{}", digest_of(&manifest), query.join("&"))
    };
    let bytes = manifest.to_string();
    assert_eq!(harness.send("PUT", &put(50), &[], bytes.as_bytes()).await.status, 201);
    assert_eq!(harness.send("PUT", &put(51), &[], bytes.as_bytes()).await.status, 414);
    let bad = format!("/v2/a/manifests/{}?tag=.x", digest_of(&manifest));
    assert_eq!(harness.send("PUT", &bad, &[], bytes.as_bytes()).await.error(), (400, "TAG_INVALID".into()));
}

#[tokio::test]
async fn what_an_image_needs_must_be_in_its_repository() {
    let harness = Harness::new().await;
    let config = harness.push_blob("a", b"{}").await;
    let elsewhere = harness.push_blob("b", b"layer").await;
    let manifest = image(&config, &elsewhere);
    let seen = harness.push_manifest("a", "latest", &manifest).await;
    assert_eq!(seen.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    assert!(String::from_utf8_lossy(&seen.body).contains(&elsewhere.text()));
    assert_eq!(harness.status("GET", "/v2/a/manifests/latest").await, 404);
    let accept = Config { missing_references: MissingReferences::Accept, ..Config::default() };
    harness.registry.reconfigure(&accept);
    assert_eq!(harness.push_manifest("a", "latest", &manifest).await.status, 201);
}

#[tokio::test]
async fn what_may_be_missing_is_accepted() {
    let harness = Harness::new().await;
    let missing = sha256(b"missing");
    let config = harness.push_blob("a", b"{}").await;
    let mut foreign = image(&config, &missing);
    foreign["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
    let mut urls = image(&config, &missing);
    urls["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    let child = json!({"mediaType": media_type::OCI_MANIFEST, "digest": missing.text(), "size": 7});
    // BuildKit's cache: layers and a config as "manifests".
    let cache = index(&[
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": missing.text(), "size": 7}),
        json!({"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": config.text(), "size": 2}),
    ]);
    for manifest in [foreign, urls, index(&[child]), cache, index(&[]), artifact(&missing, "a/t", "x")] {
        let seen = harness.push_manifest("a", "latest", &manifest).await;
        assert_eq!(seen.status, 201, "{manifest} {seen:?}");
    }
    let unknown = br#"{"layers": 5, "config": {"digest": "nothing"}}"#;
    let headers = [("content-type", "application/vnd.example+json")];
    assert_eq!(harness.send("PUT", "/v2/a/manifests/other", &headers, unknown).await.status, 201);
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let harness = Harness::new().await;
    let oci = [("content-type", media_type::OCI_MANIFEST)];
    let put = "/v2/a/manifests/latest";
    for (headers, body) in [
        (&oci[..], "no json".to_owned()),
        (&oci, "[]".into()),
        (&oci, "{\"layers\":[],\"layers\":[]}".into()),
        (&oci, index(&[]).to_string()),
        (&oci, "{\"manifests\":[],\"layers\":[]}".into()),
        (&[("content-type", media_type::OCI_INDEX)], "{\"manifests\":[],\"config\":{\"digest\":\"a:b\"}}".into()),
        (&[("content-type", media_type::DOCKER_SCHEMA1_SIGNED)], "{\"schemaVersion\":1}".into()),
        (&[], "{\"schemaVersion\":1,\"fsLayers\":[]}".into()),
        (&[("content-type", "application/vnd.example+json")], "[]".into()),
        (&[("content-type", "nonsense")], "{}".into()),
        (&[], "{}".into()),
        (&oci, "{\"schemaVersion\":2,\"layers\":[]}".into()),
        (&[("content-type", media_type::OCI_INDEX)], "{\"schemaVersion\":2}".into()),
        (&[("content-type", "text/html")], index(&[]).to_string()),
        (&[("content-type", "text/html")], "{\"mediaType\":\"text/html\",\"layers\":5}".into()),
        (&[("content-type", "application/")], "{}".into()),
        (&[("content-type", "application/a/b")], "{}".into()),
        (&[], "{\"schemaVersion\":2,\"mediaType\":\"text/html\"}".into()),
    ] {
        let seen = harness.send("PUT", put, headers, body.as_bytes()).await;
        assert_eq!(seen.error(), (400, "MANIFEST_INVALID".into()), "{headers:?} {body}");
    }
    let wrong = format!("/v2/a/manifests/{}", sha256(b"other"));
    let seen = harness.send("PUT", &wrong, &[], index(&[]).to_string().as_bytes()).await;
    assert_eq!(seen.error(), (400, "DIGEST_INVALID".into()));
    assert_eq!(harness.status("GET", "/v2/a/tags/list").await, 404);
}

#[tokio::test]
async fn a_subject_is_confirmed_only_if_it_has_a_digest() {
    let harness = Harness::new().await;
    let subject = sha256(b"s").text();
    for (digest, confirmed) in [(subject.as_str(), subject.as_str()), ("sha256:x", ""), ("a\\u000ab:c", "")] {
        let body = format!("{{\"subject\":{{\"digest\":\"{digest}\"}}}}");
        let headers = [("content-type", "application/vnd.example+json")];
        let seen = harness.send("PUT", "/v2/a/manifests/x", &headers, body.as_bytes()).await;
        assert_eq!((seen.status.as_u16(), seen.header("oci-subject")), (201, confirmed), "{body}");
        assert_eq!(harness.get("/v2/a/manifests/x").await.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_manifest_has_at_most_4_mib() {
    let harness = Harness::new().await;
    let padded = |size: usize| {
        let empty = json!({"schemaVersion": 2, "manifests": [], "annotations": {"x": ""}}).to_string();
        json!({"schemaVersion": 2, "manifests": [], "annotations": {"x": "y".repeat(size - empty.len())}}).to_string()
    };
    let (largest, larger) = (padded(4 << 20), padded((4 << 20) + 1));
    for chunked in [false, true] {
        let put = "/v2/a/manifests/latest";
        let seen = harness.send_body("PUT", put, &[], &mut Whole::new(larger.as_bytes(), chunked)).await;
        assert_eq!(seen.error(), (413, "SIZE_INVALID".into()));
        let seen = harness.send_body("PUT", put, &[], &mut Whole::new(largest.as_bytes(), chunked)).await;
        assert_eq!(seen.status, 201);
    }
    assert_eq!(harness.get("/v2/a/manifests/latest").await.body.len(), 4 << 20);
}

#[tokio::test]
async fn deleting_a_manifest_deletes_its_tags_and_no_others() {
    let harness = Harness::new().await;
    let one = harness.push_image("a", "one", "1").await;
    harness.push_manifest("a", "uno", &one).await;
    harness.push_image("a", "two", "2").await;
    let digest = digest_of(&one);
    assert_eq!(harness.status("DELETE", &format!("/v2/a/manifests/{digest}")).await, 202);
    for reference in ["one", "uno", &digest.text()] {
        for method in ["GET", "HEAD"] {
            assert_eq!(harness.status(method, &format!("/v2/a/manifests/{reference}")).await, 404, "{reference}");
        }
    }
    assert_eq!(harness.get("/v2/a/tags/list").await.json()["tags"], json!(["two"]));
    assert_eq!(harness.status("DELETE", &format!("/v2/a/manifests/{digest}")).await, 404);
}

#[tokio::test]
async fn deleting_a_tag_keeps_its_manifest() {
    let harness = Harness::new().await;
    let manifest = harness.push_image("a", "one", "1").await;
    assert_eq!(harness.get("/v2/a/tags/list").await.json()["tags"], json!(["one"]));
    assert_eq!(harness.status("DELETE", "/v2/a/manifests/one").await, 202);
    assert_eq!(harness.status("GET", "/v2/a/manifests/one").await, 404);
    assert_eq!(harness.status("DELETE", "/v2/a/manifests/one").await, 404);
    assert_eq!(harness.status("GET", &format!("/v2/a/manifests/{}", digest_of(&manifest))).await, 200);
    assert_eq!(harness.get("/v2/a/tags/list").await.json(), json!({"name": "a", "tags": []}));
}

#[tokio::test]
async fn an_immutable_tag_stays_where_it_is() {
    let config = Config { immutable_tags: vec!["prod/**:v*".into()], ..Config::default() };
    let harness = Harness::with(config).await;
    let first = harness.push_image("prod/a", "v1", "1").await;
    assert_eq!(harness.push_manifest("prod/a", "v1", &first).await.status, 201);
    let other = index(&[]);
    let by_digest = format!("{}?tag=v1", digest_of(&other));
    for reference in ["v1", &by_digest] {
        assert_eq!(harness.push_manifest("prod/a", reference, &other).await.error(), (409, "TAG_INVALID".into()));
    }
    assert_eq!(harness.push_manifest("prod/a", "latest", &other).await.status, 201);
    for reference in ["v1", &digest_of(&first).text()] {
        let seen = harness.send("DELETE", &format!("/v2/prod/a/manifests/{reference}"), &[], b"").await;
        assert_eq!(seen.error(), (409, "TAG_INVALID".into()));
    }
    assert_eq!(harness.get("/v2/prod/a/manifests/v1").await.content.unwrap().0, digest_of(&first));
}

#[tokio::test]
async fn the_blobs_of_an_immutable_tag_stay() {
    let config = Config { immutable_tags: vec!["prod/**:v*".into()], ..Config::default() };
    let harness = Harness::with(config).await;
    for (name, tag, status) in [("prod/a", "latest", 202), ("prod/b", "v1", 409), ("dev", "v1", 202)] {
        harness.push_image(name, tag, "x").await;
        let seen = harness.send("DELETE", &format!("/v2/{name}/blobs/{}", sha256(b"x")), &[], b"").await;
        assert_eq!(seen.status.as_u16(), status, "{name} {seen:?}");
        assert_eq!(harness.status("GET", &format!("/v2/{name}/blobs/{}", sha256(b"x"))).await == 200, status == 409);
    }
    assert_eq!(harness.status("DELETE", &format!("/v2/prod/b/blobs/{}", sha256(b"none"))).await, 404);
}

#[tokio::test]
async fn of_many_who_create_an_immutable_tag_one_succeeds() {
    let config = Config { immutable_tags: vec!["**:*".into()], ..Config::default() };
    let harness = &Harness::with(config).await;
    let pushes = (0..20).map(|number| async move {
        let manifest = json!({"schemaVersion": 2, "manifests": [], "annotations": {"n": number.to_string()}});
        harness.push_manifest("a", "v1", &manifest).await.status.as_u16()
    });
    let statuses = futures::future::join_all(pushes).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_instances_that_create_an_immutable_tag_one_succeeds() {
    let config = Config { immutable_tags: vec!["**:*".into()], ..Config::default() };
    let root = tempfile::tempdir().unwrap();
    let one = Harness::over(config.clone(), on_disk(root.path()).await).await;
    let other = Harness::over(config, one.storage.clone()).await;
    for round in 0..10 {
        let push = |harness: &'static str, instance| {
            let manifest = json!({"schemaVersion": 2, "manifests": [], "annotations": {"n": harness}});
            push_under(instance, format!("v{round}"), manifest)
        };
        let (first, second) = tokio::join!(push("one", &one), push("other", &other));
        let mut statuses = [first.0, second.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        let winner = if first.0 == 201 { first.1 } else { second.1 };
        let seen = one.get(&format!("/v2/a/manifests/v{round}")).await;
        assert_eq!(seen.content.unwrap().0, winner);
    }
}

async fn push_under(harness: &Harness, tag: String, manifest: serde_json::Value) -> (u16, Digest) {
    let seen = harness.push_manifest("a", &tag, &manifest).await;
    (seen.status.as_u16(), digest_of(&manifest))
}
