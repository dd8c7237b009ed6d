//! Ping, lists of tags, catalog, referrers.

use serde_json::{Value, json};

use super::harness::{Harness, artifact, digest_of, index, sha256};
use crate::oci::{RepositoryName, Tag, media_type};
use crate::registry::Config;
use crate::storage::Link;

#[tokio::test]
async fn the_base_says_that_this_is_a_registry() {
    let harness = Harness::new().await;
    assert_eq!(harness.get("/v2/").await.json(), json!({}));
    let seen = harness.send("OPTIONS", "/v2/a/blobs/uploads/", &[], b"").await;
    assert_eq!((seen.status.as_u16(), seen.header("allow")), (204, "POST, OPTIONS"));
}

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let harness = Harness::new().await;
    let manifest = index(&[]);
    for tag in ["b", "B", "c", "a", "a.1"] {
        harness.push_manifest("x/y", tag, &manifest).await;
    }
    let list = "/v2/x/y/tags/list";
    assert_eq!(harness.get(list).await.json(), json!({"name": "x/y", "tags": ["B", "a", "a.1", "b", "c"]}));
    let mut target = format!("{list}?n=2");
    let mut seen = Vec::new();
    loop {
        let page = harness.get(&target).await;
        seen.push(page.json()["tags"].as_array().unwrap().len());
        let Some(link) = page.headers.get("link") else { break };
        target = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    }
    assert_eq!(seen, [2, 2, 1]);
    for (query, tags, link) in [
        ("?n=0", json!([]), ""),
        ("?n=5", json!(["B", "a", "a.1", "b", "c"]), ""),
        ("?n=99999999999999999999", json!(["B", "a", "a.1", "b", "c"]), ""),
        ("?last=a", json!(["a.1", "b", "c"]), ""),
        ("?last=bb", json!(["c"]), ""),
        ("?n=1&last=a.1", json!(["b"]), "</v2/x/y/tags/list?last=b&n=1>; rel=\"next\""),
        ("?n=1&last=zzz", json!([]), ""),
    ] {
        let page = harness.get(&format!("{list}{query}")).await;
        assert_eq!((page.json()["tags"].clone(), page.header("link")), (tags, link), "{query}");
    }
    for query in ["?n=-1", "?n=x"] {
        let seen = harness.get(&format!("{list}{query}")).await;
        assert_eq!(seen.error(), (400, "PAGINATION_NUMBER_INVALID".into()));
    }
    assert_eq!(harness.get("/v2/none/tags/list").await.error(), (404, "NAME_UNKNOWN".into()));
}

#[tokio::test]
async fn a_huge_n_is_clamped_for_tags_and_refused_for_the_catalog() {
    let harness = Harness::with(Config { tags_max: 2, catalog_max: 2, ..Config::default() }).await;
    for tag in ["a", "b", "c"] {
        harness.push_manifest(tag, tag, &index(&[])).await;
        harness.push_manifest("x", tag, &index(&[])).await;
    }
    let page = harness.get("/v2/x/tags/list?n=1000").await;
    assert_eq!((page.json()["tags"].clone(), page.header("link").is_empty()), (json!(["a", "b"]), false));
    assert_eq!(harness.get("/v2/x/tags/list").await.json()["tags"], json!(["a", "b", "c"]));
    assert_eq!(harness.get("/v2/_catalog?n=3").await.error(), (400, "PAGINATION_NUMBER_INVALID".into()));
    let page = harness.get("/v2/_catalog").await;
    assert_eq!(page.json()["repositories"], json!(["a", "b"]));
    assert_eq!(page.header("link"), "</v2/_catalog?last=b&n=2>; rel=\"next\"");
}

#[tokio::test]
async fn the_catalog_has_every_repository_at_once() {
    let harness = Harness::new().await;
    assert_eq!(harness.get("/v2/_catalog").await.json(), json!({"repositories": []}));
    // Blobs alone make no repository.
    harness.push_blob("blobs/only", b"x").await;
    for name in ["b", "a-b", "a/b", "a"] {
        harness.push_manifest(name, "latest", &index(&[])).await;
        let names = harness.get("/v2/_catalog").await.json();
        assert!(names["repositories"].as_array().unwrap().contains(&json!(name)));
    }
    assert_eq!(harness.get("/v2/_catalog").await.json()["repositories"], json!(["a", "a/b", "a-b", "b"]));
    let page = harness.get("/v2/_catalog?n=1&last=a").await;
    assert_eq!(page.json()["repositories"], json!(["a/b"]));
    assert_eq!(page.header("link"), "</v2/_catalog?last=a%2Fb&n=1>; rel=\"next\"");
}

async fn referrers(harness: &Harness, target: &str) -> Vec<Value> {
    let seen = harness.get(target).await;
    assert_eq!((seen.status.as_u16(), seen.header("content-type")), (200, media_type::OCI_INDEX));
    let body = seen.json();
    assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
    body["manifests"].as_array().unwrap().clone()
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let harness = Harness::new().await;
    let subject = sha256(b"subject");
    let list = format!("/v2/a/referrers/{subject}");
    assert!(referrers(&harness, &list).await.is_empty());
    let signature = artifact(&subject, "application/signature", "s");
    let bom = artifact(&subject, "application/bom", "b");
    for manifest in [&signature, &bom] {
        let seen = harness.push_manifest("a", &digest_of(manifest).text(), manifest).await;
        assert_eq!((seen.status.as_u16(), seen.header("oci-subject")), (201, subject.text().as_str()));
    }
    harness.push_image("a", "latest", "unrelated").await;
    let found = referrers(&harness, &list).await;
    assert_eq!(found.len(), 2);
    let listed = found.iter().find(|found| found["digest"] == digest_of(&bom).text()).unwrap();
    let expected = json!({
        "mediaType": media_type::OCI_INDEX,
        "digest": digest_of(&bom).text(),
        "size": bom.to_string().len(),
        "artifactType": "application/bom",
        "annotations": {"note": "b"},
    });
    assert_eq!(*listed, expected);
    let filtered = harness.get(&format!("{list}?artifactType=application/bom")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.json()["manifests"], json!([expected]));
    assert_eq!(referrers(&harness, &format!("{list}?artifactType=none")).await.len(), 0);
    assert!(referrers(&harness, &format!("/v2/b/referrers/{subject}")).await.is_empty());

    harness.status("DELETE", &format!("/v2/a/manifests/{}", digest_of(&bom))).await;
    assert_eq!(referrers(&harness, &list).await.len(), 1);
}

#[tokio::test]
async fn referrers_have_pages() {
    let harness = Harness::new().await;
    let subject = sha256(b"subject");
    for number in 0..5 {
        let manifest = artifact(&subject, "a/t", &number.to_string());
        harness.push_manifest("a", &digest_of(&manifest).text(), &manifest).await;
    }
    let mut target = format!("/v2/a/referrers/{subject}?artifactType=a%2Ft&n=2");
    let mut digests = Vec::new();
    loop {
        let page = harness.get(&target).await;
        digests.extend(page.json()["manifests"].as_array().unwrap().iter().map(|found| found["digest"].to_string()));
        let Some(link) = page.headers.get("link") else { break };
        target = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    }
    assert_eq!(digests.len(), 5);
    assert!(digests.is_sorted());
}

#[tokio::test]
async fn referrers_are_filtered_by_any_of_some_types_and_a_plus_is_one() {
    let harness = Harness::new().await;
    let subject = sha256(b"subject");
    for artifact_type in ["a/x+json", "a/y", "a/z"] {
        let manifest = artifact(&subject, artifact_type, "n");
        harness.push_manifest("a", &digest_of(&manifest).text(), &manifest).await;
    }
    let list = format!("/v2/a/referrers/{subject}");
    for (query, count) in [
        ("artifactType=a/x+json", 1),
        ("artifactType=a/x%2Bjson", 1),
        ("artifactType=a/x+json&artifactType=a/y", 2),
        ("artifactType=a/none&artifactType=a/y", 1),
        ("artifactType=", 3),
    ] {
        let seen = harness.get(&format!("{list}?{query}")).await;
        assert_eq!(seen.json()["manifests"].as_array().unwrap().len(), count, "{query}");
        assert_eq!(seen.header("oci-filters-applied").is_empty(), count == 3);
    }
    let page = harness.get(&format!("{list}?artifactType=a/x+json&artifactType=a/y&n=1")).await;
    let next = page.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
    let page = harness.get(&next).await;
    assert_eq!((page.json()["manifests"].as_array().unwrap().len(), page.header("link")), (1, ""), "{next}");
}

#[tokio::test]
async fn referrers_pushed_before_us_and_under_fallback_tags_are_listed() {
    let before = Harness::new().await;
    let subject = sha256(b"subject");
    let old = artifact(&subject, "a/old", "x");
    before.push_manifest("a", &digest_of(&old).text(), &old).await;
    // A manifest without a subject, which a client listed itself; and one that is not there.
    let listed = index(&[]);
    before.push_manifest("a", &digest_of(&listed).text(), &listed).await;
    let of = |digest: String| json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1, "artifactType": "a/listed"});
    let fallback = index(&[of(digest_of(&listed).text()), of(sha256(b"gone").text()), of(digest_of(&old).text())]);
    before.push_manifest("a", &format!("sha256-{}", subject.hex()), &fallback).await;

    let harness = Harness::over(Config::default(), before.storage.clone()).await;
    let found = referrers(&harness, &format!("/v2/a/referrers/{subject}")).await;
    let mut types: Vec<_> = found.iter().map(|found| found["artifactType"].as_str().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(types, ["a/listed", "a/old"]);
}

#[tokio::test]
async fn many_referrers_at_once_are_all_listed() {
    let harness = &Harness::new().await;
    let subject = &sha256(b"subject");
    let pushes = (0..100).map(|number| async move {
        let manifest = artifact(subject, "a/t", &number.to_string());
        harness.push_manifest("a", &digest_of(&manifest).text(), &manifest).await.status.as_u16()
    });
    assert!(futures::future::join_all(pushes).await.iter().all(|status| *status == 201));
    assert_eq!(referrers(harness, &format!("/v2/a/referrers/{subject}")).await.len(), 100);
}

#[tokio::test]
async fn another_instance_sees_lists_change_at_once() {
    let one = Harness::new().await;
    let other = Harness::over(Config::default(), one.storage.clone()).await;
    one.push_image("a", "one", "1").await;
    assert_eq!(other.get("/v2/a/tags/list").await.json()["tags"], json!(["one"]));
    assert_eq!(other.get("/v2/_catalog").await.json()["repositories"], json!(["a"]));
    one.push_image("a", "two", "2").await;
    one.push_image("b", "two", "2").await;
    assert_eq!(other.get("/v2/a/tags/list").await.json()["tags"], json!(["one", "two"]));
    assert_eq!(other.get("/v2/_catalog").await.json()["repositories"], json!(["a", "b"]));
    other.status("DELETE", "/v2/a/manifests/one").await;
    assert_eq!(one.get("/v2/a/tags/list").await.json()["tags"], json!(["two"]));
}

/// Lists that are kept grow by what is pushed here, and are read again after what was pushed elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_in_every_instances_lists() {
    let fleet = std::sync::Arc::new(Harness::fleet().await);
    let lists = ["/v2/shared/tags/list", "/v2/_catalog?n=1000"];
    let pushers = (0..8_usize).map(|pusher| {
        let fleet = fleet.clone();
        tokio::spawn(async move {
            for number in 0..25 {
                let (here, there) = (&fleet[pusher % 2], &fleet[(pusher / 2) % 2]);
                let name = format!("r{pusher}-{number}");
                here.push_manifest("shared", &name, &index(&[])).await;
                here.push_manifest(&name, "v1", &index(&[])).await;
                for (list, field) in lists.iter().zip(["tags", "repositories"]) {
                    let seen = there.get(list).await.json();
                    assert!(seen[field].as_array().unwrap().contains(&json!(name)), "{name} in {list}");
                }
                if number % 5 == 0 {
                    let gone = there.send("DELETE", &format!("/v2/shared/manifests/{name}"), &[], b"").await;
                    assert_eq!(gone.status.as_u16(), 202);
                    let seen = here.get(lists[0]).await.json();
                    assert!(!seen["tags"].as_array().unwrap().contains(&json!(name)), "{name} was deleted");
                }
            }
        })
    });
    for pusher in pushers.collect::<Vec<_>>() {
        pusher.await.unwrap();
    }
}

/// A push that failed after it had written, before it told anybody: only storage knows.
async fn written_and_not_told(harness: &Harness, name: &str, tag: &str, digest: &crate::oci::Digest) {
    let (name, tag): (RepositoryName, Tag) = (name.parse().unwrap(), tag.parse().unwrap());
    let links = [
        Link::Revision(name.clone(), *digest),
        Link::TagIndex(name.clone(), tag.clone(), *digest),
        Link::Tag(name, tag),
    ];
    for link in links {
        harness.storage.link_put(&link, digest).await.unwrap();
    }
}

#[tokio::test]
async fn who_pushes_again_what_a_failed_push_had_written_finds_it_in_the_lists() {
    let harness = Harness::new().await;
    let (manifest, other) = (index(&[]), artifact(&sha256(b"s"), "application/x", "other"));
    harness.push_manifest("a", "old", &manifest).await;
    harness.push_manifest("b", &digest_of(&other).text(), &other).await;
    let listed = async |path: &str, field: &str| harness.get(path).await.json()[field].clone();
    assert_eq!(listed("/v2/a/tags/list", "tags").await, json!(["old"]));
    assert_eq!(listed("/v2/_catalog", "repositories").await, json!(["a", "b"]));
    written_and_not_told(&harness, "a", "t", &digest_of(&manifest)).await;
    written_and_not_told(&harness, "new", "t", &digest_of(&manifest)).await;
    harness.push_manifest("a", "t", &manifest).await;
    assert_eq!(listed("/v2/a/tags/list", "tags").await, json!(["old", "t"]));
    harness.push_manifest("new", "t", &manifest).await;
    assert_eq!(listed("/v2/_catalog", "repositories").await, json!(["a", "b", "new"]));

    // Another push of the same tag, while the first has not told, or never will.
    written_and_not_told(&harness, "a", "u", &digest_of(&manifest)).await;
    harness
        .push_manifest(
            "a",
            "u",
            &index(&[json!({"digest": digest_of(&other).text(), "mediaType": media_type::OCI_MANIFEST, "size": 1})]),
        )
        .await;
    assert_eq!(listed("/v2/a/tags/list", "tags").await, json!(["old", "t", "u"]));
    written_and_not_told(&harness, "newer", "t", &digest_of(&manifest)).await;
    harness.push_manifest("newer", "u", &manifest).await;
    assert_eq!(listed("/v2/_catalog", "repositories").await, json!(["a", "b", "new", "newer"]));

    let list = format!("/v2/a/referrers/{}", sha256(b"s"));
    assert!(referrers(&harness, &list).await.is_empty());
    let link = Link::Revision("a".parse().unwrap(), digest_of(&other));
    harness.storage.link_put(&link, &digest_of(&other)).await.unwrap();
    harness.push_manifest("a", &digest_of(&other).text(), &other).await;
    assert_eq!(referrers(&harness, &list).await.len(), 1);
}

#[tokio::test]
async fn who_deletes_again_what_a_failed_delete_had_removed_finds_it_in_no_list() {
    let harness = Harness::new().await;
    let manifest = index(&[]);
    for tag in ["gone", "kept", "torn"] {
        harness.push_manifest("a", tag, &manifest).await;
    }
    assert_eq!(harness.get("/v2/a/tags/list").await.json()["tags"], json!(["gone", "kept", "torn"]));
    let (name, tag) = ("a".parse().unwrap(), "gone".parse().unwrap());
    harness.storage.tag_delete(&name, &tag).await.unwrap();
    // Only what is beside the tag is left of this one.
    harness.storage.link_delete(&Link::Tag(name, "torn".parse().unwrap())).await.unwrap();
    for tag in ["gone", "torn"] {
        let seen = harness.send("DELETE", &format!("/v2/a/manifests/{tag}"), &[], b"").await;
        assert_eq!(seen.status.as_u16(), 404, "{tag}");
    }
    assert_eq!(harness.get("/v2/a/tags/list").await.json()["tags"], json!(["kept"]));
}

#[tokio::test]
async fn a_repository_that_others_removed_has_a_list_again_when_it_comes_back() {
    let harness = Harness::new().await;
    let manifest = index(&[]);
    harness.push_manifest("a", "t", &manifest).await;
    assert_eq!(harness.get("/v2/a/tags/list").await.status.as_u16(), 200);
    let (name, tag) = ("a".parse::<RepositoryName>().unwrap(), "t".parse().unwrap());
    harness.storage.tag_delete(&name, &tag).await.unwrap();
    harness.storage.link_delete(&Link::Revision(name, digest_of(&manifest))).await.unwrap();
    // Some seconds later.
    harness.registry.lists.tags.lists.forget_all();
    harness.registry.lists.existing.invalidate_all();
    assert_eq!(harness.get("/v2/a/tags/list").await.error(), (404, "NAME_UNKNOWN".into()));
    harness.push_manifest("a", &digest_of(&manifest).text(), &manifest).await;
    assert_eq!(harness.get("/v2/a/tags/list").await.json()["tags"], json!([]));
}

#[tokio::test]
async fn lists_of_what_is_not_there_are_not_kept() {
    let harness = Harness::new().await;
    for number in 0..3 {
        assert_eq!(harness.get(&format!("/v2/made/up{number}/tags/list")).await.status.as_u16(), 404);
    }
    assert_eq!(harness.registry.lists.tags.lists.count(), 0);
}
