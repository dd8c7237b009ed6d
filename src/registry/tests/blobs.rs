//! Blobs and uploads.

use super::harness::{Harness, Whole, on_disk, sha256};
use crate::oci::{Algorithm, Digest};
use crate::registry::Config;

#[tokio::test]
async fn a_blob_pushed_in_one_post_is_there() {
    let harness = Harness::new().await;
    let digest = harness.push_blob("a/b", b"hello").await;
    for large in [false, true] {
        let content = if large { vec![7; 300_000] } else { b"hello".to_vec() };
        let digest = harness.push_blob("a/b", &content).await;
        let seen = harness.get(&format!("/v2/a/b/blobs/{digest}")).await;
        assert_eq!((seen.status.as_u16(), &seen.body[..]), (200, &content[..]));
        assert_eq!(seen.content, Some((digest, "application/octet-stream".into())));
        assert_eq!(harness.status("HEAD", &format!("/v2/a/b/blobs/{digest}")).await, 200);
    }
    let other = harness.get(&format!("/v2/other/blobs/{digest}")).await;
    assert_eq!(other.error(), (404, "BLOB_UNKNOWN".into()));
}

#[tokio::test]
async fn sha512_content_is_there_under_its_own_digest() {
    let harness = Harness::new().await;
    let digest = Digest::of(Algorithm::Sha512, b"hello");
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let seen = harness.send("POST", &target, &[], b"hello").await;
    assert_eq!((seen.status.as_u16(), seen.header("docker-content-digest")), (201, digest.text().as_str()));
    let seen = harness.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!((&seen.body[..], seen.content.unwrap().0), (&b"hello"[..], digest));
}

#[tokio::test]
async fn an_upload_goes_on_chunk_by_chunk() {
    let harness = Harness::new().await;
    let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    assert_eq!((begun.status.as_u16(), begun.header("range")), (202, "0-0"));
    let location = begun.header("location").to_owned();
    assert!(location.starts_with("/v2/a/blobs/uploads/") && location.ends_with(begun.header("docker-upload-uuid")));
    let seen = harness.send("PATCH", &location, &[("content-range", "0-4")], b"hello").await;
    assert_eq!((seen.status.as_u16(), seen.header("range"), seen.header("location")), (202, "0-4", location.as_str()));

    for (range, status, code) in [
        ("0-4", 416, "RANGE_INVALID"),
        ("9-13", 416, "RANGE_INVALID"),
        ("5-99", 400, "SIZE_INVALID"),
        ("x", 400, "BLOB_UPLOAD_INVALID"),
    ] {
        let seen = harness.send("PATCH", &location, &[("content-range", range)], b"hello").await;
        assert_eq!(seen.error(), (status, code.into()), "{range}");
        if status == 416 {
            assert_eq!((seen.header("range"), seen.header("location")), ("0-4", location.as_str()));
        }
    }
    let seen = harness.get(&location).await;
    assert_eq!((seen.status.as_u16(), seen.header("range"), seen.header("location")), (204, "0-4", location.as_str()));
    let seen = harness.send_body("PATCH", &location, &[], &mut Whole::new(b" wor", true)).await;
    assert_eq!((seen.status.as_u16(), seen.header("range")), (202, "0-8"));

    let digest = sha256(b"hello world");
    let end = format!("{location}?digest={digest}");
    let seen = harness.send("PUT", &end, &[("content-range", "7-8")], b"ld").await;
    assert_eq!(seen.error(), (416, "RANGE_INVALID".into()));
    let seen = harness.send("PUT", &end, &[("content-range", "9-10")], b"ld").await;
    assert_eq!(seen.status, 201, "{seen:?}");
    assert_eq!(seen.header("location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(&harness.get(seen.header("location")).await.body[..], b"hello world");
    assert_eq!(harness.get(&location).await.error(), (404, "BLOB_UPLOAD_UNKNOWN".into()));
}

#[tokio::test]
async fn a_chunk_of_untold_length_is_held_to_its_range() {
    let root = tempfile::tempdir().unwrap();
    let on_disk = Harness::over(Config::default(), on_disk(root.path()).await).await;
    for harness in [Harness::new().await, on_disk] {
        let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
        let location = begun.header("location");
        for range in ["0-3", "0-9"] {
            let mut body = Whole::new(b"hello", true);
            let seen = harness.send_body("PATCH", location, &[("content-range", range)], &mut body).await;
            assert_eq!(seen.error(), (400, "SIZE_INVALID".into()), "{range}");
            if harness.get(location).await.header("range") != "0-0" {
                break; // on a disk, what arrived is kept
            }
        }
        let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
        let location = begun.header("location");
        let mut body = Whole::new(b"hello", true);
        let seen = harness.send_body("PATCH", location, &[("content-range", "0-4")], &mut body).await;
        assert_eq!((seen.status.as_u16(), seen.header("range")), (202, "0-4"));
        let end = format!("{location}?digest={}", sha256(b"hello world"));
        let mut body = Whole::new(b" world", true);
        let seen = harness.send_body("PUT", &end, &[("content-range", "5-10")], &mut body).await;
        assert_eq!(seen.status, 201, "{seen:?}");
    }
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_is_told_again() {
    let harness = Harness::new().await;
    let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let location = begun.header("location").to_owned();
    harness.send("PATCH", &location, &[], b"hello").await;
    let digest = sha256(b"hello");
    let end = format!("{location}?digest={digest}");
    for _ in 0..2 {
        let seen = harness.send("PUT", &end, &[], b"").await;
        assert_eq!((seen.status.as_u16(), seen.header("docker-content-digest")), (201, digest.text().as_str()));
        assert_eq!(seen.header("location"), format!("/v2/a/blobs/{digest}"));
    }
    let other = format!("{location}?digest={}", sha256(b"other"));
    let elsewhere = end.replace("/a/", "/b/");
    for end in [other, elsewhere] {
        assert_eq!(harness.send("PUT", &end, &[], b"").await.error(), (404, "BLOB_UPLOAD_UNKNOWN".into()));
    }
    assert_eq!(harness.status("PATCH", &location).await, 404);
}

#[tokio::test]
async fn wrong_bytes_are_refused_at_the_end() {
    let harness = Harness::new().await;
    let digest = sha256(b"expected");
    let seen = harness.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"other").await;
    assert_eq!(seen.error(), (400, "DIGEST_INVALID".into()));
    let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let location = begun.header("location");
    let seen = harness.send("PUT", &format!("{location}?digest={digest}"), &[], b"other").await;
    assert_eq!(seen.error(), (400, "DIGEST_INVALID".into()));
    assert_eq!(harness.status("HEAD", &format!("/v2/a/blobs/{digest}")).await, 404);
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let harness = Harness::new().await;
    let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let id = begun.header("docker-upload-uuid");
    let digest = sha256(b"x");
    let foreign = format!("/v2/b/blobs/uploads/{id}");
    for (method, target) in [
        ("GET", foreign.clone()),
        ("PATCH", foreign.clone()),
        ("PUT", format!("{foreign}?digest={digest}")),
        ("DELETE", foreign.clone()),
        ("GET", "/v2/a/blobs/uploads/no-uuid".into()),
    ] {
        let seen = harness.send(method, &target, &[], b"x").await;
        assert_eq!(seen.error(), (404, "BLOB_UPLOAD_UNKNOWN".into()), "{method} {target}");
    }
    let own = format!("/v2/a/blobs/uploads/{id}");
    assert_eq!(harness.status("DELETE", &own).await, 204);
    assert_eq!(harness.status("GET", &own).await, 404);
}

#[tokio::test]
async fn an_algorithm_is_announced_or_refused() {
    let harness = Harness::new().await;
    let begin = |algorithm: &str| format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}");
    let seen = harness.send("POST", &begin("md5"), &[], b"").await;
    assert_eq!(seen.error(), (400, "UNSUPPORTED".into()));
    let seen = harness.send("POST", &begin("sha512"), &[], b"").await;
    let digest = Digest::of(Algorithm::Sha512, b"x");
    let seen = harness.send("PUT", &format!("{}?digest={digest}", seen.header("location")), &[], b"x").await;
    assert_eq!(seen.status, 201);
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_is() {
    let harness = Harness::new().await;
    let digest = harness.push_blob("a", b"hello").await;
    let mount = |name: &str, query: &str| format!("/v2/{name}/blobs/uploads/?mount={digest}{query}");
    for (name, query, status) in
        [("b", "&from=none", 202), ("b", "&from=NO", 202), ("b", "&from=a", 201), ("c", "", 201), ("d", "&from=c", 201)]
    {
        let seen = harness.send("POST", &mount(name, query), &[], b"").await;
        assert_eq!(seen.status.as_u16(), status, "{name} {query}");
        let held = harness.status("HEAD", &format!("/v2/{name}/blobs/{digest}")).await;
        assert_eq!(held == 200, status == 201, "{name} {query}");
    }
    let missing = format!("/v2/b/blobs/uploads/?mount={}", sha256(b"missing"));
    assert_eq!(harness.status("POST", &missing).await, 202);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_at_once() {
    let harness = Harness::new().await;
    let digest = harness.push_blob("a", b"hello").await;
    harness.push_blob("b", b"hello").await;
    let (one, other) = (format!("/v2/a/blobs/{digest}"), format!("/v2/b/blobs/{digest}"));
    assert_eq!(harness.status("GET", &one).await, 200);
    assert_eq!(harness.status("DELETE", &one).await, 202);
    assert_eq!((harness.status("GET", &one).await, harness.status("HEAD", &one).await), (404, 404));
    assert_eq!(harness.status("DELETE", &one).await, 404);
    assert_eq!(harness.status("GET", &other).await, 200);
}

#[tokio::test]
async fn what_is_switched_off_is_405() {
    let harness = Harness::with(Config { delete: false, ..Config::default() }).await;
    let digest = harness.push_blob("a", b"hello").await;
    harness.push_image("a", "latest", "x").await;
    for target in
        [format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/latest".into(), format!("/v2/a/manifests/{digest}")]
    {
        let seen = harness.send("DELETE", &target, &[], b"").await;
        assert_eq!(seen.error(), (405, "UNSUPPORTED".into()), "{target}");
        assert_eq!(harness.status("GET", "/v2/a/manifests/latest").await, 200);
    }
    let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    harness.registry.reconfigure(&Config { read_only: true, ..Config::default() });
    for (method, target) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PATCH", begun.header("location").to_owned()),
        ("DELETE", begun.header("location").to_owned()),
        ("PUT", "/v2/a/manifests/x".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{digest}")),
    ] {
        assert_eq!(harness.send(method, &target, &[], b"").await.error(), (405, "UNSUPPORTED".into()), "{method}");
    }
    assert_eq!(harness.status("GET", &format!("/v2/a/blobs/{digest}")).await, 200);
}

#[tokio::test]
async fn a_blob_whose_bytes_a_collector_took_is_unknown() {
    let harness = Harness::new().await;
    let digest = harness.push_blob("a", &[7; 100_000]).await;
    harness.storage.blob_delete(&digest).await.unwrap();
    for method in ["GET", "HEAD"] {
        assert_eq!(harness.status(method, &format!("/v2/a/blobs/{digest}")).await, 404, "{method}");
    }
}
