use std::sync::{Mutex, OnceLock};

use async_trait::async_trait;
use serde_json::json;

use super::copy::Copied;
use super::*;
use crate::maintenance::journal::{self, Kind};
use crate::oci::{RepositoryName, Tag, media_type};
use crate::registry::tests::harness::{Harness, artifact, digest_of, image, index, on_disk, sha256};
use crate::registry::{Config, Links, Unremoved, quota};
use crate::storage::tests::hooked::{self, Hook};
use crate::storage::{Link, Storage};
use crate::units::Size;

/// A registry, and the steps that were told.
struct World {
    harness: Harness,
    steps: Mutex<Vec<String>>,
}

impl World {
    async fn new() -> Self {
        World { harness: Harness::new().await, steps: Mutex::default() }
    }

    async fn work<T>(&self, work: impl AsyncFnOnce(&Repositories<'_>) -> T) -> T {
        let tell =
            |step: Step| self.steps.lock().unwrap().push(serde_json::to_value(step).unwrap()["event"].to_string());
        work(&Repositories { registry: &self.harness.registry, listener: None, tell: &tell }).await
    }

    async fn copy(&self, source: &str, target: &str) -> Result<Copied, RepositoryError> {
        let (source, target) = (parsed(source), parsed(target));
        self.work(async |work| work.copy(&source, &target, true).await).await
    }

    async fn status(&self, target: &str) -> u16 {
        self.harness.status("GET", target).await
    }
}

fn parsed(text: &str) -> Image {
    text.parse().unwrap()
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_list_comes_with_its_images_and_what_is_about_them_and_the_tag_last() {
    let world = World::new().await;
    let harness = &world.harness;
    let one = harness.push_image("dev", "one", "1").await;
    let two = harness.push_image("dev", "two", "2").await;
    let entry = |of: &serde_json::Value| json!({ "mediaType": media_type::OCI_MANIFEST, "digest": digest_of(of).text(), "size": 1 });
    let absent = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": sha256(b"absent").text(), "size": 1 });
    let list = index(&[entry(&one), entry(&two), absent]);
    harness.push_manifest("dev", "list", &list).await;
    let signature = artifact(&digest_of(&list), "application/x", "signed");
    let of_signature = artifact(&digest_of(&signature), "application/x", "signed again");
    for artifact in [&signature, &of_signature] {
        harness.push_manifest("dev", &digest_of(artifact).text(), artifact).await;
    }
    harness.notes.take();
    let copied = world.copy("dev:list", "prod:1").await.unwrap();
    assert_eq!((copied.digest, copied.before, copied.manifests, copied.blobs), (digest_of(&list), None, 5, 4));
    let told = harness.notes.take();
    let last = told.last().expect("changes").what.clone();
    assert!(matches!(&last, crate::events::What::TagMoved { tag, .. } if tag.as_str() == "1"), "{last}");
    for manifest in [&one, &two, &list, &signature, &of_signature] {
        assert_eq!(world.status(&format!("/v2/prod/manifests/{}", digest_of(manifest))).await, 200);
    }
    for blob in
        [one, two].iter().flat_map(|image| [image["config"]["digest"].clone(), image["layers"][0]["digest"].clone()])
    {
        assert_eq!(world.status(&format!("/v2/prod/blobs/{}", blob.as_str().unwrap())).await, 200);
    }
    // Once more costs nothing new.
    let again = world.copy("dev:list", "prod:1").await.unwrap();
    assert_eq!(again.before, Some(digest_of(&list)));
}

/// What buildkit exports as a cache names blobs where others name manifests.
#[tokio::test]
async fn a_list_of_blobs_comes_with_them() {
    let world = World::new().await;
    let layer = world.harness.push_blob("cache", b"layer").await;
    let entry = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.text(), "size": 5 });
    assert_eq!(world.harness.push_manifest("cache", "1", &index(&[entry])).await.status, 201);
    let copied = world.copy("cache:1", "other:1").await.unwrap();
    assert_eq!((copied.manifests, copied.blobs), (1, 1));
    assert_eq!(world.status(&format!("/v2/other/blobs/{layer}")).await, 200);
}

#[tokio::test]
async fn what_the_registry_refuses_a_client_it_refuses_here() {
    let config = Config { immutable_tags: vec!["prod:v*".into()], ..Config::default() };
    let world = World { harness: Harness::with(config).await, steps: Mutex::default() };
    world.harness.push_image("dev", "v1", "1").await;
    world.harness.push_image("prod", "v1", "2").await;
    let error = world.copy("dev:v1", "prod:v1").await.unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Refused { status: 409, .. }) && error.to_string().contains("never changes")
    );
    world.harness.registry.reconfigure(&Config { read_only: true, ..Config::default() });
    for error in [
        world.copy("dev:v1", "prod:v2").await.unwrap_err(),
        world.work(async |work| work.untag(&parsed("dev:v1")).await).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("read_only"), "{error}");
    }
    let error = world.work(async |work| work.remove_repository(&name("dev"), false).await).await.unwrap_err();
    assert_eq!(error.to_string(), "nothing is written now: [registry] read_only = true");
}

#[tokio::test]
async fn one_tag_that_fails_keeps_no_other_and_a_registry_that_is_closed_ends_it() {
    let config = Config { immutable_tags: vec!["prod:b".into()], ..Config::default() };
    let world = World { harness: Harness::with(config).await, steps: Mutex::default() };
    for tag in ["a", "b", "c"] {
        world.harness.push_image("dev", tag, tag).await;
    }
    world.harness.push_image("prod", "b", "other").await;
    let copy = async || world.work(async |work| work.copy_tags(&name("dev"), &name("prod"), (None, true)).await).await;
    let report = copy().await.unwrap();
    assert_eq!((report.tags, report.failed, report.unchanged), (3, 1, 0));
    assert_eq!(report.failures[0].tag, "b");
    assert_eq!(world.steps.lock().unwrap().iter().filter(|step| step.contains("tag")).count(), 3);
    assert_eq!(copy().await.unwrap().unchanged, 2);
    world.harness.registry.reconfigure(&Config { read_only: true, ..Config::default() });
    assert!(copy().await.unwrap_err().to_string().contains("read_only"));
}

/// Nor does it count what a refused copy would have brought.
#[tokio::test]
async fn a_copy_that_is_refused_leaves_nothing_behind() {
    let config = Config { immutable_tags: vec!["fixed:1".into()], ..Config::default() };
    let world = World { harness: Harness::with(config.clone()).await, steps: Mutex::default() };
    let (harness, storage) = (&world.harness, &world.harness.storage);
    let image = harness.push_image("dev", "1", &"x".repeat(2000)).await;
    harness.push_image("fixed", "1", "other").await;
    let left = async |to: &str| {
        let revisions = storage.revisions(&name(to)).await.unwrap().contains(&digest_of(&image));
        let layer = image["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
        revisions || storage.link_exists(&Link::Layer(name(to), layer)).await.unwrap()
    };
    let quota = |to: &str, bytes, tags| quota::Config { repositories: to.into(), bytes, tags };
    let quotas = [
        quota("small", Some(Size(1000)), None),
        quota("tagless", None, Some(0)),
        quota("exact", Some(Size(5000)), None),
    ];
    harness.registry.bound(&quotas);
    for (to, says) in
        [("small", "the quota of 'small'"), ("tagless", "the quota of 'tagless'"), ("fixed", "never changes here")]
    {
        let error = world.copy("dev:1", &format!("{to}:1")).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!left(to).await, "{to}");
    }
    assert_eq!(world.status("/v2/small/tags/list").await, 404);
    harness.push_image("small", "2", "y").await;
    // What fits is taken and charged once.
    world.copy("dev:1", "exact:1").await.unwrap();
    world.copy("dev:1", "exact:2").await.unwrap();
    assert!(left("exact").await);
    harness.registry.reconfigure(&Config { read_only: true, ..config });
    assert!(world.copy("dev:1", "prod:1").await.unwrap_err().to_string().contains("read_only"));
    assert!(!left("prod").await);
}

/// As cosign keeps them: under a tag in the repository of the image.
#[tokio::test]
async fn a_signature_that_was_made_where_an_image_goes_is_not_overwritten() {
    let world = World::new().await;
    let harness = &world.harness;
    let digest = digest_of(&harness.push_image("dev", "1", "1").await);
    let tag = format!("sha256-{}.sig", digest.hex());
    let [ours, theirs] = ["ours", "theirs"].map(|text| artifact(&digest, "application/x", text));
    harness.push_manifest("dev", &tag, &ours).await;
    let led = async |name: &str| harness.get(&format!("/v2/{name}/manifests/{tag}")).await.content.map(|of| of.0);
    world.copy("dev:1", "prod:1").await.unwrap();
    assert_eq!(led("prod").await, Some(digest_of(&ours)));
    harness.push_manifest("prod", &tag, &theirs).await;
    world.copy("dev:1", "prod:1").await.unwrap();
    assert_eq!(led("prod").await, Some(digest_of(&theirs)));
    assert!(world.steps.lock().unwrap().iter().any(|step| step.contains("stays")));
    // Who names it means it.
    world.copy(&format!("dev:{tag}"), &format!("prod:{tag}")).await.unwrap();
    assert_eq!(led("prod").await, Some(digest_of(&ours)));
}

#[tokio::test]
async fn what_is_removed_is_in_a_journal_before() {
    let world = World::new().await;
    let harness = &world.harness;
    let one = harness.push_image("a", "1", "1").await;
    harness.push_manifest("a", "2", &one).await;
    let digest = digest_of(&one);
    let untagged = world.work(async |work| work.untag(&parsed("a:2")).await).await.unwrap();
    let of = async |run: &str| journal::read(&harness.storage, run, &name("a")).await.unwrap().unwrap();
    let kinds = |taken: &[journal::Taken]| taken.iter().map(|taken| taken.kind).collect::<Vec<_>>();
    let taken = of(&untagged.runs[0]).await;
    assert_eq!(kinds(&taken), [Kind::Tag, Kind::TagIndex]);
    assert!(taken.iter().all(|taken| taken.digest == digest));
    let gone = world.work(async |work| work.remove(&parsed("a:1"), false).await).await.unwrap();
    assert_eq!((gone.digest, gone.tags), (digest, vec!["1".to_owned()]));
    let taken = of(&gone.runs[0]).await;
    assert_eq!(kinds(&taken), [Kind::Manifest, Kind::Tag, Kind::TagIndex]);
    assert_eq!(taken[0].manifest.as_deref(), Some(one.to_string().as_bytes()));
    let absent = world.work(async |work| work.remove(&parsed("a:1"), false).await).await.unwrap_err();
    assert!(matches!(absent, RepositoryError::Absent(_)));
    assert_eq!(world.status(&format!("/v2/a/manifests/{digest}")).await, 404);
}

#[tokio::test]
async fn a_repository_leaves_nothing_behind_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Harness::over(Config::default(), on_disk(folder.path()).await).await;
    let world = World { harness, steps: Mutex::default() };
    let harness = &world.harness;
    let one = harness.push_image("team/app", "1", "1").await;
    harness.push_image("team/app/sub", "1", "1").await;
    harness.push_image("team/app", "2", "2").await;
    let dry = world.work(async |work| work.remove_repository(&name("team/app"), true).await).await.unwrap();
    assert_eq!((dry.tags, dry.manifests, dry.blobs, dry.runs.len()), (2, 2, 4, 0));
    assert_eq!(world.status("/v2/team/app/tags/list").await, 200);
    let gone = world.work(async |work| work.remove_repository(&name("team/app"), false).await).await.unwrap();
    assert_eq!((gone.tags, gone.manifests, gone.blobs, gone.dry), (2, 2, 4, false));
    let repositories = folder.path().join("docker/registry/v2/repositories/team/app");
    let left: Vec<_> = std::fs::read_dir(&repositories).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["sub"]);
    assert_eq!(world.status("/v2/team/app/tags/list").await, 404);
    assert_eq!(world.status("/v2/team/app/sub/manifests/1").await, 200);
    let taken = journal::read(&harness.storage, &gone.runs[0], &name("team/app")).await.unwrap().unwrap();
    let count = |kind| taken.iter().filter(|taken| taken.kind == kind).count();
    assert_eq!((count(Kind::Layer), count(Kind::Manifest), count(Kind::Tag), count(Kind::TagIndex)), (4, 2, 2, 2));
    let kept = taken.iter().find(|taken| taken.kind == Kind::Manifest && taken.digest == digest_of(&one)).unwrap();
    assert_eq!(kept.manifest.as_deref(), Some(one.to_string().as_bytes()));
    assert!(taken.iter().all(|taken| taken.changed.is_some()));
    let catalog = harness.get("/v2/_catalog").await.json();
    assert_eq!(catalog["repositories"], json!(["team/app/sub"]));
    let absent = world.work(async |work| work.remove_repository(&name("team/app"), false).await).await.unwrap_err();
    assert!(matches!(absent, RepositoryError::Absent(_)));
    let whole = image(&sha256(b"x"), &sha256(b"y"));
    assert_eq!(harness.push_manifest("team/app", "3", &whole).await.status, 400, "its blobs are gone from it");
}

/// A tag that was set after the look leads to a manifest that the look has seen.
#[tokio::test]
async fn a_repository_that_somebody_pushes_to_stays_whole() {
    let config = Config { immutable_tags: vec!["a:v*".into()], ..Config::default() };
    let harness = Harness::with(config).await;
    let one = harness.push_image("a", "1", "1").await;
    let digest = digest_of(&one);
    let seen = Links { tags: vec!["1".parse().unwrap()], revisions: vec![digest], ..Links::default() };
    let remove = async |links: Links| harness.registry.remove_links(&name("a"), &links, None).await;
    harness.push_manifest("a", "2", &one).await;
    assert!(matches!(remove(seen.clone()).await, Err(Unremoved::Pushed(tag)) if tag == "2"));
    let other = harness.push_image("a", "1", "other").await;
    let tags = vec!["1".parse().unwrap(), "2".parse().unwrap()];
    let told = remove(Links { tags: tags.clone(), ..seen.clone() }).await.unwrap_err().to_string();
    assert!(told.contains(&digest_of(&other).text()), "{told}");
    for tag in ["1", "2"] {
        assert_eq!(harness.status("GET", &format!("/v2/a/manifests/{tag}")).await, 200);
    }
    // Also where the look has seen a part only, and not the tag that never moves.
    harness.push_manifest("a", "v1", &one).await;
    let part = Links { in_part: true, ..Links::default() };
    assert!(matches!(remove(part.clone()).await, Err(Unremoved::Immutable(tag)) if tag.as_str() == "v1"));
    harness.registry.reconfigure(&Config::default());
    remove(part).await.unwrap();
    let tags = tags.into_iter().chain(["v1".parse().unwrap()]).collect();
    remove(Links { tags, revisions: vec![digest, digest_of(&other)], ..seen }).await.unwrap();
    assert_eq!(harness.status("GET", "/v2/a/manifests/1").await, 404);
}

/// Sets a tag when something is being written to a journal.
#[derive(Default)]
struct Setter {
    storage: OnceLock<Arc<Storage>>,
    sets: Mutex<Option<(Tag, Digest)>>,
}

#[async_trait]
impl Hook for Setter {
    async fn before(&self, call: &str) -> Result<(), Error> {
        let sets = if call.contains("/gc/journal/") { self.sets.lock().unwrap().take() } else { None };
        if let (Some((tag, digest)), Some(storage)) = (sets, self.storage.get()) {
            storage.link_put(&Link::TagIndex(name("a"), tag.clone(), digest), &digest).await?;
            storage.link_put(&Link::Tag(name("a"), tag), &digest).await?;
        }
        Ok(())
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// Else it would be gone, and nobody could bring it back.
#[tokio::test]
async fn what_is_pushed_after_the_journal_was_written_stays() {
    let setter = Arc::new(Setter::default());
    let harness = Harness::over(Config::default(), hooked::in_memory(setter.clone())).await;
    setter.storage.set(harness.storage.clone()).ok().unwrap();
    let world = World { harness, steps: Mutex::default() };
    let one = digest_of(&world.harness.push_image("a", "1", "one").await);
    let two = digest_of(&world.harness.push_image("a", "2", "two").await);
    let sets = |tag: &str, digest: Digest| *setter.sets.lock().unwrap() = Some((tag.parse().unwrap(), digest));
    let leads = async |tag: &str| {
        let seen = world.harness.get(&format!("/v2/a/manifests/{tag}")).await;
        seen.content.map(|(digest, _)| digest)
    };
    sets("late", one);
    let error = world.work(async |work| work.remove(&parsed("a:1"), false).await).await.unwrap_err();
    assert!(matches!(&error, RepositoryError::Refused { status: 409, .. }), "{error}");
    assert!(error.to_string().starts_with("a:1 stays: somebody has pushed 'late'"), "{error}");
    assert_eq!((leads("1").await, leads("late").await), (Some(one), Some(one)));
    sets("2", one);
    let error = world.work(async |work| work.untag(&parsed("a:2")).await).await.unwrap_err();
    assert!(error.to_string().starts_with("a:2 stays: somebody has pushed '2'"), "{error}");
    assert_eq!(leads("2").await, Some(one));
    let untagged = world.work(async |work| work.untag(&parsed("a:2")).await).await.unwrap();
    assert_eq!(untagged.digest, Some(one));
    let taken = journal::read(&world.harness.storage, &untagged.runs[0], &name("a")).await.unwrap().unwrap();
    let history: Vec<Digest> =
        taken.iter().filter(|taken| taken.kind == Kind::TagIndex).map(|taken| taken.digest).collect();
    assert!(history.len() == 2 && history.contains(&one) && history.contains(&two), "{history:?}");
}
