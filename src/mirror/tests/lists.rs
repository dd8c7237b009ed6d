//! Lists of a remote: all pages of tags, referrers in all the ways that registries have, the catalog.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};

use super::world::{Seen, image, repository, request, seen};
use super::*;
use crate::oci::{Algorithm, Digest, media_type};
use crate::remote::Asker;
use crate::storage::Link;

const TAGS: &str = "/v2/fake.test/app/tags/list";
const FIRST: &str = "/v2/app/tags/list?n=1000";

fn says(body: &Value) -> Scripted {
    let fields = vec![("content-type", "application/json".to_owned())];
    Scripted { status: 200, fields, body: body.to_string() }
}

fn refuses(status: u16) -> Scripted {
    Scripted { status, fields: Vec::new(), body: String::new() }
}

fn going_on(body: &Value, query: &str) -> Scripted {
    let mut page = says(body);
    page.fields.push(("link", format!("<http://inside.test/v2/x/tags/list?{query}>; rel=\"next\"")));
    page
}

fn tags(seen: &Seen) -> Vec<String> {
    assert_eq!(seen.status, 200, "{seen:?}");
    let value: Value = serde_json::from_slice(&seen.body).unwrap();
    let names = value.get("tags").or(value.get("repositories")).unwrap();
    names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn digests(seen: &Seen) -> Vec<String> {
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(seen.headers["content-type"], media_type::OCI_INDEX);
    let value: Value = serde_json::from_slice(&seen.body).unwrap();
    value["manifests"].as_array().unwrap().iter().map(|own| own["digest"].as_str().unwrap().to_owned()).collect()
}

fn referrer(text: &str, artifact_type: &str) -> Value {
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes()).text();
    json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest.to_string(), "size": 7, "artifactType": artifact_type})
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests})
}

async fn pushed(world: &World, tag: &str) {
    let name = repository("fake.test/app");
    let bytes = bytes::Bytes::from(image(&[Digest::of(Algorithm::Sha256, tag.as_bytes())]).to_string());
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    world.registry.keep_manifest(&name, &digest, bytes, media_type::OCI_MANIFEST).await.unwrap();
    world.registry.storage().link_put(&Link::Tag(name, tag.parse().unwrap()), &digest).await.unwrap();
}

#[tokio::test]
async fn all_pages_of_the_remote_are_followed_as_it_says_and_asked_for_once() {
    let world = World::new("tag_ttl = \"1h\"").await;
    world.fake.answers(FIRST, going_on(&json!({"tags": ["v2", "v9", "not a tag"]}), "next_page=gA%3D%3D&n=50"));
    world.fake.answers("/v2/app/tags/list?next_page=gA%3D%3D&n=50", going_on(&json!({"tags": ["v1", "v2"]}), "p=3"));
    world.fake.answers("/v2/app/tags/list?p=3", says(&json!({"name": "app", "tags": null, "child": []})));
    let whole = world.get(TAGS).await;
    assert_eq!(tags(&whole), ["v1", "v2", "v9"]);
    assert!(String::from_utf8_lossy(&whole.body).starts_with(r#"{"name":"fake.test/app","#));
    assert!(!whole.headers.contains_key("link") && !whole.is_stale());
    assert_eq!(world.fake.asked().len(), 3);
    let page = world.get(&format!("{TAGS}?n=2&ns=fake.test")).await;
    assert_eq!(tags(&page), ["v1", "v2"]);
    assert_eq!(page.headers["link"], "</v2/fake.test/app/tags/list?last=v2&n=2&ns=fake.test>; rel=\"next\"");
    assert_eq!(tags(&world.get(&format!("{TAGS}?last=v2")).await), ["v9"]);
    assert_eq!(world.fake.asked(), [""; 0]);
    assert_eq!(world.get(&format!("{TAGS}?n=x")).await.code(), "PAGINATION_NUMBER_INVALID");
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_end() {
    let world = World::new("").await;
    world.fake.answers(FIRST, going_on(&json!({"tags": ["a"]}), "n=1000"));
    assert_eq!(tags(&world.get(TAGS).await), ["a"]);
    world.fake.answers(FIRST, going_on(&json!({"tags": ["a"]}), "p=1"));
    world.fake.answers("/v2/app/tags/list?p=1", going_on(&json!({"tags": ["b"]}), "n=1000"));
    assert_eq!(tags(&world.get(TAGS).await), ["a", "b"]);
}

#[tokio::test]
async fn those_who_wait_for_a_list_ask_once() {
    let world = World::new("").await;
    world.fake.answers(FIRST, says(&json!({"tags": ["a"]})));
    let gate = world.fake.holds_back();
    let asking = join_all((0..20).map(|_| world.get(TAGS)));
    let opening = async {
        tokio::task::yield_now().await;
        gate.add_permits(1);
    };
    let (all, ()) = futures::join!(asking, opening);
    assert!(all.iter().all(|seen| tags(seen) == ["a"]));
    assert_eq!(world.fake.asked().len(), 1);
}

#[tokio::test]
async fn a_list_is_served_as_it_was_while_the_remote_gives_none() {
    let world = World::new("").await;
    world.fake.answers(FIRST, says(&json!({"tags": ["a"]})));
    assert!(!world.get(TAGS).await.is_stale());
    // After the last one it is not asked for a while.
    for scripted in [refuses(503), says(&json!(7)), going_on(&json!({"tags": ["b"]}), "p=lost"), refuses(429)] {
        world.fake.answers(FIRST, scripted);
        world.fake.answers("/v2/app/tags/list?p=lost", refuses(500));
        let stale = world.get(TAGS).await;
        assert_eq!(tags(&stale), ["a"]);
        assert!(stale.is_stale());
    }
}

#[tokio::test]
async fn without_a_list_known_tags_are_told_or_a_refusal() {
    let world = World::new("").await;
    let blob = world.keeps("fake.test/app", b"blob").await;
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    world.fake.has("other", "v2", media_type::OCI_MANIFEST, &image(&[blob]));
    assert_eq!(world.get("/v2/fake.test/app/manifests/v1").await.status, 200);
    assert_eq!(world.get("/v2/fake.test/other/manifests/v2").await.status, 200);
    world.fake.behaves(Mode::Says(503));
    let known = world.get(TAGS).await;
    assert_eq!(tags(&known), ["v1"]);
    assert!(known.is_stale());
    let nothing = world.get("/v2/fake.test/nothing/tags/list").await;
    assert_eq!((nothing.status, nothing.code().as_str()), (503, "UNAVAILABLE"));
    assert!(nothing.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn what_is_not_there_is_not_asked_for_again_at_once() {
    let world = World::new("").await;
    for _ in 0..3 {
        let absent = world.get(TAGS).await;
        assert_eq!((absent.status, absent.code().as_str()), (404, "NAME_UNKNOWN"));
    }
    assert_eq!(world.fake.asked(), ["GET /v2/app/tags/list"]);
    world.fake.answers("/v2/b/tags/list?n=1000", refuses(403));
    assert_eq!(world.get("/v2/fake.test/b/tags/list").await.status, 404);
    world.fake.answers("/v2/c/tags/list?n=1000", refuses(405));
    assert_eq!(world.get("/v2/fake.test/c/tags/list").await.code(), "UNSUPPORTED");
}

#[tokio::test]
async fn what_was_pushed_over_a_mirror_is_among_its_tags() {
    let world = World::new("").await;
    pushed(&world, "mine").await;
    world.fake.answers(FIRST, says(&json!({"tags": ["mine", "theirs"]})));
    assert_eq!(tags(&world.over(TAGS).await), ["mine", "theirs"]);
    world.fake.answers(FIRST, says(&json!({"tags": ["z", "a"]})));
    assert_eq!(tags(&world.over(TAGS).await), ["a", "mine", "z"]);
    assert_eq!(tags(&world.get(TAGS).await), ["a", "z"], "where nothing is pushed to");
    let world = World::new("").await;
    pushed(&world, "mine").await;
    let only = world.over(TAGS).await;
    assert_eq!(tags(&only), ["mine"]);
    assert!(!only.is_stale(), "the remote has said that it has none");
    world.fake.behaves(Mode::Says(503));
    let part = world.over("/v2/fake.test/app/tags/list").await;
    assert_eq!(tags(&part), ["mine"]);
}

#[tokio::test]
async fn lists_of_callers_are_their_own() {
    let world = World::new("identity = \"caller\"\ntag_ttl = \"1h\"").await;
    world.fake.answers(FIRST, says(&json!({"tags": ["a"]})));
    world.fake.asks_for(&["Basic b25l"]);
    assert_eq!(tags(&world.as_caller(Some("Basic b25l"), TAGS).await), ["a"]);
    world.fake.asks_for(&["Basic dHdv"]);
    assert_eq!(world.as_caller(Some("Basic b3RoZXI="), TAGS).await.status, 401);
    assert_eq!(world.as_caller(None, TAGS).await.status, 401);
    assert_eq!(tags(&world.as_caller(Some("Basic b25l"), TAGS).await), ["a"], "for an hour");
}

#[tokio::test]
async fn referrers_are_passed_and_filtered() {
    let world = World::new("").await;
    let subject = Digest::of(Algorithm::Sha256, b"subject");
    let (one, two) = (referrer("1", "a/signature"), referrer("2", "a/sbom"));
    world.fake.answers(&format!("/v2/app/referrers/{subject}"), says(&index(&[two.clone(), one.clone(), two.clone()])));
    let target = format!("/v2/fake.test/app/referrers/{subject}");
    let mut all = vec![one["digest"].as_str().unwrap(), two["digest"].as_str().unwrap()];
    all.sort_unstable();
    assert_eq!(digests(&world.get(&target).await), all);
    let filtered = world.get(&format!("{target}?artifactType=a%2Fsbom")).await;
    assert_eq!(digests(&filtered), [two["digest"].as_str().unwrap()]);
    assert_eq!(filtered.headers["oci-filters-applied"], "artifactType");
    let page = world.get(&format!("{target}?n=1")).await;
    assert_eq!(digests(&page), &all[..1]);
    assert!(page.headers["link"].to_str().unwrap().contains("last=sha256%3A"));
}

#[tokio::test]
async fn a_remote_without_the_api_for_referrers_is_asked_for_the_tag() {
    let subject = Digest::of(Algorithm::Sha256, b"subject");
    let (api, tag) = (format!("/v2/app/referrers/{subject}"), subject.text().replace(':', "-"));
    let target = format!("/v2/fake.test/app/referrers/{subject}");
    let elsewhere = Scripted { fields: vec![("location", "http://people.test/".to_owned())], ..refuses(303) };
    let page = Scripted { body: "<html>".to_owned(), ..refuses(200) };
    for (scripted, again) in
        [(refuses(404), true), (refuses(405), false), (refuses(501), false), (elsewhere, false), (page, false)]
    {
        let world = World::new("").await;
        let status = scripted.status;
        world.fake.answers(&api, scripted);
        assert_eq!(digests(&world.get(&target).await), [""; 0], "{status}: nothing is about it");
        assert!(world.fake.asked().contains(&format!("GET {api}")));
        world.fake.has("app", &tag, media_type::OCI_INDEX, &index(&[referrer("1", "a/b")]));
        let world = world.restarted().await;
        let found = world.get(&target).await;
        assert_eq!(digests(&found), [referrer("1", "a/b")["digest"].as_str().unwrap()], "{status}");
        world.fake.asked();
        world.get(&target).await;
        assert_eq!(world.fake.asked().contains(&format!("GET {api}")), again, "{status}");
    }
}

/// Whoever asks for something odd takes nobody else's signatures away.
#[tokio::test]
async fn a_refusal_of_one_subject_says_nothing_of_the_others() {
    let [odd, good] =
        [(Algorithm::Sha512, b"odd"), (Algorithm::Sha256, b"fit")].map(|(algorithm, text)| Digest::of(algorithm, text));
    let world = World::new("").await;
    world.fake.answers(&format!("/v2/app/referrers/{odd}"), refuses(400));
    let refused = world.get(&format!("/v2/fake.test/app/referrers/{odd}")).await;
    assert_eq!(refused.status, 502, "nobody has said that there are none");
    world.fake.answers(&format!("/v2/app/referrers/{good}"), says(&index(&[referrer("1", "a/b")])));
    let found = world.get(&format!("/v2/fake.test/app/referrers/{good}")).await;
    assert_eq!(digests(&found), [referrer("1", "a/b")["digest"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_remote_that_is_down_has_not_said_that_nothing_is_about_a_manifest() {
    let world = World::new("").await;
    let subject = Digest::of(Algorithm::Sha256, b"subject");
    let target = format!("/v2/fake.test/app/referrers/{subject}");
    world.fake.behaves(Mode::Says(503));
    assert_eq!(world.get(&target).await.status, 503);
    world.fake.behaves(Mode::Well);
    world.fake.answers(&format!("/v2/app/referrers/{subject}"), says(&index(&[referrer("1", "a/b")])));
    let found = digests(&world.get(&target).await);
    world.fake.behaves(Mode::Says(503));
    let stale = world.get(&target).await;
    assert_eq!(digests(&stale), found);
    assert!(stale.is_stale());
}

#[tokio::test]
async fn the_catalog_is_passed_as_the_remote_has_it() {
    let world = World::new("tag_ttl = \"1h\"").await;
    world.fake.answers(
        "/v2/_catalog?n=1000",
        Scripted {
            fields: vec![("link", "</v2/_catalog?last=b&n=1000>; rel=\"next\"".to_owned())],
            ..says(&json!({"repositories": ["b", "library/a", "NOT A NAME"]}))
        },
    );
    world.fake.answers("/v2/_catalog?last=b&n=1000", says(&json!({"repositories": ["c"]})));
    assert_eq!(tags(&world.get("/v2/_catalog").await), ["b", "c", "library/a"]);
    let page = world.get("/v2/_catalog?n=1").await;
    assert_eq!(page.headers["link"], "</v2/_catalog?last=b&n=1>; rel=\"next\"");
    assert_eq!(world.fake.asked().len(), 2);
    let world = World::new("").await;
    world.fake.answers("/v2/_catalog?n=1000", refuses(401));
    assert_eq!(world.get("/v2/_catalog").await.status, 404);
}

#[tokio::test]
async fn a_list_goes_on_when_who_asked_for_it_went_away() {
    let world = World::new("tag_ttl = \"1h\"").await;
    world.fake.answers(FIRST, says(&json!({"tags": ["a"]})));
    let gate = world.fake.holds_back();
    let mirror = Arc::clone(&world.mirror);
    let asking =
        tokio::spawn(async move { seen(mirror.answer(request("GET", TAGS, Asker::Mirror, false)).await).status });
    while world.fake.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    asking.abort();
    gate.add_permits(1);
    assert_eq!(tags(&world.get(TAGS).await), ["a"]);
    assert_eq!(world.fake.asked(), [""; 0]);
}
