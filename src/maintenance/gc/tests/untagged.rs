//! Manifests that nothing leads to, where they go after a while.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::yard::{Yard, config, name, order};
use crate::maintenance::gc::{Config, LastPulls, Order, Untagged, Young};
use crate::maintenance::retention;
use crate::mirror::TagRecord;
use crate::oci::{Digest, RepositoryName, media_type};
use crate::registry::tests::harness::{artifact, digest_of, index};
use crate::storage::tests::hooked::{self, Hook};
use crate::storage::{Error, Link, OwnKey, Precondition, Storage};
use crate::units::seconds;

/// When each manifest was pulled last.
#[derive(Default)]
struct Pulls(Mutex<HashMap<Digest, SystemTime>>);

#[async_trait]
impl LastPulls for Pulls {
    async fn pulled(&self, _: &RepositoryName, manifests: &[Digest], since: SystemTime) -> Result<Vec<Digest>, Error> {
        let pulls = self.0.lock();
        Ok(manifests.iter().filter(|digest| pulls.get(digest).is_some_and(|at| *at >= since)).copied().collect())
    }
}

fn after(hours: u64) -> Config {
    Config { untagged: Untagged::After(seconds(hours * 3600)), ..config() }
}

fn descriptor(manifest: &Value) -> Value {
    json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest_of(manifest), "size": 1})
}

async fn untag(yard: &Yard, repository: &str, tag: &str) {
    assert_eq!(yard.harness.status("DELETE", &format!("/v2/{repository}/manifests/{tag}")).await, 202);
}

/// An image that no tag leads to.
async fn untagged(yard: &Yard, content: &str) -> Value {
    let manifest = yard.harness.push_image("a", "once", content).await;
    untag(yard, "a", "once").await;
    manifest
}

#[tokio::test]
async fn what_nothing_leads_to_goes_and_what_something_leads_to_stays() {
    for yard in Yard::each().await {
        let pulls = Arc::new(Pulls::default());
        let mut yard = yard.with(after(48)).await;
        yard.collector = yard.collector.with_pulls(pulls.clone());
        let gone = untagged(&yard, "gone").await;
        let tagged = yard.harness.push_image("a", "v1", "tagged").await;
        let child = untagged(&yard, "child").await;
        let list = index(&[descriptor(&child)]);
        yard.harness.push_manifest("a", "list", &list).await;
        let subject = descriptor(&tagged);
        let mut signature = untagged(&yard, "signature").await;
        signature["subject"] = subject;
        yard.harness.push_manifest("a", &digest_of(&signature).text(), &signature).await;
        let pulled = untagged(&yard, "pulled").await;
        pulls.0.lock().insert(digest_of(&pulled), SystemTime::now() + Duration::from_secs(36 * 3600));
        // Before the span is over, nothing.
        yard.hours(47);
        assert_eq!(yard.run().await.counts.condemned_manifests, 0);
        yard.hours(2);
        let report = yard.run().await;
        // The one that was pushed without its subject goes as well.
        assert_eq!(report.counts.condemned_manifests, 2, "{report:?}");
        assert!(!yard.revision("a", &digest_of(&gone)).await);
        for (reference, manifest) in [
            ("v1", &tagged),
            ("list", &list),
            (digest_of(&child).text().as_str(), &child),
            (digest_of(&signature).text().as_str(), &signature),
            (digest_of(&pulled).text().as_str(), &pulled),
        ] {
            yard.pulls("a", reference, manifest).await;
        }
        // The pull is over by then, and what follows takes as long again.
        yard.run_for_weeks().await;
        yard.run_for_weeks().await;
        assert!(!yard.revision("a", &digest_of(&pulled)).await && !yard.place(&digest_of(&pulled)).await);
        assert!(!yard.place(&digest_of(&gone)).await);
        yard.pulls("a", "list", &list).await;
        yard.pulls("a", &digest_of(&signature).text(), &signature).await;
        yard.is_tidy().await;
    }
}

#[tokio::test]
async fn without_a_record_of_pulls_nothing_goes_unless_it_is_ordered() {
    let yard = Yard::in_memory().await.with(after(48)).await;
    let gone = untagged(&yard, "gone").await;
    let tagged = yard.harness.push_image("a", "v1", "tagged").await;
    yard.hours(100);
    assert_eq!(yard.run().await.counts.condemned_manifests, 0);
    let now = Order { now: true, untagged: Some(seconds(0)), ..order() };
    let report = yard.try_run(now).await.unwrap();
    assert_eq!((report.counts.condemned_manifests, report.counts.deleted), (1, 3), "{report:?}");
    assert!(!yard.revision("a", &digest_of(&gone)).await && !yard.place(&digest_of(&gone)).await);
    // With the history of its tag.
    let history = Link::TagIndex(name("a"), "once".parse().unwrap(), digest_of(&gone));
    assert!(!yard.storage.link_exists(&history).await.unwrap());
    yard.pulls("a", "v1", &tagged).await;
}

#[tokio::test]
async fn signatures_by_their_tags_name_do_not_keep_what_they_are_about() {
    let yard = Yard::in_memory().await.with(after(0)).await;
    let image = untagged(&yard, "image").await;
    let digest = digest_of(&image);
    let mut signature = untagged(&yard, "signature").await;
    signature["subject"] = descriptor(&image);
    yard.harness.push_manifest("a", &digest_of(&signature).text(), &signature).await;
    let list = index(&[descriptor(&signature)]);
    let tag = digest.text().replace(':', "-");
    yard.harness.push_manifest("a", &tag, &list).await;
    yard.hours(25);
    yard.run().await;
    assert!(!yard.revision("a", &digest).await);
    yard.pulls("a", &tag, &list).await;
    yard.run_for_weeks().await;
    assert!(!yard.place(&digest).await, "its signature does not bring it back either");
    yard.pulls("a", &tag, &list).await;
    yard.is_tidy().await;
}

#[tokio::test]
async fn what_tags_of_a_remote_lead_to_stays() {
    let yard = Yard::in_memory().await.with(after(0)).await;
    let (kept, gone) = (untagged(&yard, "kept").await, untagged(&yard, "gone").await);
    let record = TagRecord::new(digest_of(&kept), 1).write().unwrap();
    let key = OwnKey::MirrorTag(name("a"), "latest".parse().unwrap());
    yard.storage.own_put(&key, record.into(), Precondition::None).await.unwrap();
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_manifests, 1);
    assert!(yard.revision("a", &digest_of(&kept)).await && !yard.revision("a", &digest_of(&gone)).await);
    // One that cannot be read may lead anywhere.
    let other = untagged(&yard, "other").await;
    yard.storage.own_put(&key, Bytes::from_static(b"{"), Precondition::None).await.unwrap();
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_manifests, 0);
    assert!(yard.revision("a", &digest_of(&other)).await);
}

#[tokio::test]
async fn a_torn_tag_may_lead_anywhere() {
    let yard = Yard::in_memory().await.with(after(0)).await;
    untagged(&yard, "image").await;
    let tag = Link::Tag(name("a"), "torn".parse().unwrap()).key();
    yard.storage.store().put(&tag, Bytes::new(), Precondition::None).await.unwrap();
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_manifests, 0);
}

/// Pushed by tag, by a program that writes no link of the manifest, while that was condemned.
#[tokio::test]
async fn a_tag_that_leads_to_what_was_condemned_brings_it_back() {
    let yard = Yard::in_memory().await.with(after(0)).await;
    let image = untagged(&yard, "image").await;
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_manifests, 1);
    let tag = Link::Tag(name("a"), "v1".parse().unwrap());
    yard.storage.link_put(&tag, &digest_of(&image)).await.unwrap();
    let report = yard.run().await;
    // The manifest, its config and its layer.
    assert_eq!(report.counts.healed, 3, "{report:?}");
    yard.pulls("a", "v1", &image).await;
    yard.run_for_weeks().await;
    yard.pulls("a", "v1", &image).await;
}

/// Writes a tag when all repositories have been marked.
#[derive(Default)]
struct Tagger {
    storage: OnceLock<Arc<Storage>>,
    leads: Mutex<Option<Digest>>,
}

#[async_trait]
impl Hook for Tagger {
    async fn before(&self, call: &str) -> Result<(), Error> {
        let leads = if call.contains("/gc/unlinked/") { self.leads.lock().take() } else { None };
        if let (Some(leads), Some(storage)) = (leads, self.storage.get()) {
            storage.link_put(&Link::Tag(name("a"), "v1".parse().unwrap()), &leads).await?;
        }
        Ok(())
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// Its push wrote the manifest's link before that was taken, and the tag after the repository was looked at again.
#[tokio::test]
async fn with_now_too_a_tag_that_comes_late_brings_back_what_it_leads_to() {
    let tagger = Arc::new(Tagger::default());
    let yard = Yard::over(hooked::in_memory(tagger.clone()), after(0)).await;
    tagger.storage.set(yard.storage.clone()).ok().unwrap();
    let image = untagged(&yard, "image").await;
    yard.hours(25);
    *tagger.leads.lock() = Some(digest_of(&image));
    let report = yard.try_run(Order { now: true, ..order() }).await.unwrap();
    assert!(tagger.leads.lock().is_none(), "it never came there");
    assert_eq!(
        (report.counts.condemned_manifests, report.counts.healed, report.counts.deleted),
        (1, 3, 0),
        "{report:?}"
    );
    yard.pulls("a", "v1", &image).await;
}

#[tokio::test]
async fn an_index_that_comes_for_what_was_condemned_brings_it_back_with_all_that_it_needs() {
    for moved in [false, true] {
        let yard = Yard::in_memory().await.with(after(0)).await;
        let image = untagged(&yard, "image").await;
        yard.hours(25);
        assert_eq!(yard.run().await.counts.condemned_manifests, 1);
        if moved {
            yard.hours(24 * 8);
            assert_eq!(yard.run().await.counts.moved, 3);
        }
        let list = index(&[descriptor(&image)]);
        yard.foreign_manifest("a", Some("list"), &list).await;
        assert_eq!(yard.run().await.counts.healed, 3);
        yard.pulls("a", "list", &list).await;
        yard.pulls("a", &digest_of(&image).text(), &image).await;
        yard.run_for_weeks().await;
        yard.pulls("a", &digest_of(&image).text(), &image).await;
        yard.is_tidy().await;
    }
}

/// A run of retention that keeps the newest tag; how many went.
async fn retain(yard: &Yard) -> usize {
    let prometheus = prometheus::Registry::new();
    let metrics = Arc::new(crate::fleet::Metrics::new(&prometheus).unwrap());
    let parts = retention::Parts {
        registry: yard.harness.registry.clone(),
        fleet: crate::fleet::Fleet::open(None, false, metrics).await,
        pulls: None,
        metrics: Arc::new(retention::Metrics::new(&prometheus).unwrap()),
    };
    let policy = "repositories = \"**\"\nmost = \"100%\"\ntags = \"v*\"\nkeep = { latest_pushed = 1 }";
    let configs = [toml::from_str::<retention::Config>(policy).unwrap()];
    let retention = retention::Retention::new(parts, &configs).unwrap();
    let order = retention::Order { yes: true, ..retention::Order::default() };
    retention.run(&order, &|_: &retention::Step| {}).await.unwrap().gone
}

/// As long as the image is there its signature is, and then none of both.
#[tokio::test]
async fn what_expired_and_was_collected_leaves_nothing_that_was_about_it() {
    let yard = Yard::on_disk().await.with(after(0)).await;
    let image = digest_of(&yard.harness.push_image("a", "v1", "old").await);
    yard.harness.push_image("a", "v2", "new").await;
    // As cosign writes it, whose tag alone says what it is about; and as clients write it for registries without referrers.
    let signature = yard.harness.push_image("a", &format!("sha256-{}.sig", image.hex()), "signature").await;
    let attestation = artifact(&image, "application/x", "attested");
    yard.harness.push_manifest("a", &digest_of(&attestation).text(), &attestation).await;
    let list = index(&[descriptor(&attestation)]);
    yard.harness.push_manifest("a", &format!("sha256-{}", image.hex()), &list).await;
    let about = [&signature, &attestation, &list].map(digest_of);
    assert_eq!(retain(&yard).await, 1);
    assert_eq!(yard.harness.status("GET", "/v2/a/manifests/v1").await, 404);
    assert_eq!(retain(&yard).await, 0);
    for digest in about.iter().chain([&image]) {
        assert!(yard.revision("a", digest).await, "it may be deployed by its digest");
    }
    yard.run_for_weeks().await;
    assert!(!yard.revision("a", &image).await && !yard.place(&image).await);
    assert_eq!(retain(&yard).await, 0, "its image may still come");
    let tags = yard._folder.as_ref().unwrap().path().join("root/docker/registry/v2/repositories/a/_manifests/tags");
    for end in ["", ".sig"] {
        let link = tags.join(format!("sha256-{}{end}/current/link", image.hex()));
        let file = std::fs::File::options().write(true).open(link).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * 86_400)).unwrap();
    }
    assert_eq!(retain(&yard).await, 2);
    yard.run_for_weeks().await;
    for digest in &about {
        assert!(!yard.revision("a", digest).await && !yard.place(digest).await, "{digest}");
    }
    assert_eq!(yard.harness.get("/v2/a/tags/list").await.json()["tags"], json!(["v2"]));
    assert_eq!(yard.harness.status("GET", "/v2/a/manifests/v2").await, 200);
}

/// What somebody is told who expected it to go.
#[tokio::test]
async fn what_stays_for_its_age_alone_is_counted_where_it_is_asked_for() {
    for yard in Yard::each().await {
        yard.harness.push_blob("a", b"of nobody").await;
        untagged(&yard, "untagged").await;
        yard.harness.push_image("a", "v1", "tagged").await;
        let asks = Order { now: true, young: true, untagged: Some(seconds(0)), ..order() };
        let mut told = Young::default();
        for dry in [true, false] {
            let report = yard.try_run(Order { dry, ..asks.clone() }).await.unwrap();
            told = report.counts.young.unwrap();
            assert_eq!((told.manifests, report.counts.condemned_blobs, report.counts.condemned_manifests), (1, 0, 0));
            let day = config().grace.0;
            let until = told.until.unwrap();
            assert!(until > report.begun && until <= report.ended.plus(day), "{until:?}");
        }
        // Those of a policy are kept by it, and not for their age.
        let policy = Order { untagged: Some(seconds(48 * 3600)), ..asks.clone() };
        assert_eq!(yard.try_run(policy).await.unwrap().counts.young.unwrap().manifests, 0);
        assert_eq!(yard.run().await.counts.young, None);
        yard.hours(25);
        let report = yard.try_run(asks).await.unwrap();
        assert_eq!((report.counts.condemned_blobs, report.counts.condemned_manifests), (told.blobs, 1));
        assert_eq!(report.counts.young, Some(Young::default()));
    }
}
