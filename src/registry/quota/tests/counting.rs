//! Counting, and what is known where nobody has counted.

use std::sync::Arc;

use serde_json::Value;

use super::super::{Amount, Count, count, doubt, usage};
use super::{Harness, bounded, instances, of_bytes, quotas, random, told, used};
use crate::oci::{Algorithm, Digest};
use crate::registry::quota::Config;
use crate::registry::tests::harness::{digest_of, on_disk, sha256};
use crate::storage::{Link, OwnKey, Precondition, Storage};

fn word(pattern: &str) -> String {
    Digest::of(Algorithm::Sha256, pattern.as_bytes()).hex()[..32].to_owned()
}

async fn counted(storage: &Arc<Storage>, quota: &Config) -> (u64, u64) {
    let counted = count(storage, std::slice::from_ref(quota), &|_| {}).await.unwrap().remove(0);
    assert_eq!(counted.repositories, quota.repositories);
    (counted.used.bytes, counted.used.tags)
}

/// Two images that share a layer, in two repositories; the size of all.
async fn fill(harness: &Harness) -> u64 {
    let layer = random(1, 5000);
    let mut bytes = 5000;
    for (name, tag) in [("team/a", "one"), ("team/b", "two")] {
        let config = tag.as_bytes();
        harness.push_blob(name, config).await;
        harness.push_blob(name, &layer).await;
        let manifest = crate::registry::tests::harness::image(&sha256(config), &sha256(&layer));
        assert_eq!(harness.push_manifest(name, tag, &manifest).await.status, 201);
        bytes += (config.len() + manifest.to_string().len()) as u64;
    }
    harness.push_blob("other", &random(9, 100)).await;
    bytes
}

#[tokio::test]
async fn what_was_there_before_the_quota_is_found_by_counting() {
    let folder = tempfile::tempdir().unwrap();
    for storage in [Harness::new().await.storage, on_disk(folder.path()).await] {
        let harness = Harness::over(crate::registry::Config::default(), storage.clone()).await;
        let bytes = fill(&harness).await;
        let quotas = [of_bytes("team/**", 100_000), of_bytes("team/a", 100_000), of_bytes("**", 100_000)];
        let usages = usage(&storage, &quotas).await.unwrap();
        assert!(usages.iter().all(|usage| usage.counted.is_none() && usage.used == Amount::default()));
        let all = count(&storage, &quotas, &|_| {}).await.unwrap();
        let used: Vec<_> = all.iter().map(|counted| (counted.used.bytes, counted.used.tags)).collect();
        assert_eq!((used[0], used[2]), ((bytes, 2), (bytes + 100, 2)));
        assert!(used[1].0 < bytes && used[1].1 == 1, "{used:?}");
        let usage = usage(&storage, &quotas).await.unwrap().remove(0);
        assert_eq!((usage.used.bytes, usage.contents, usage.in_repositories), (bytes, 5, 2));
        assert!(usage.counted.is_some() && !usage.doubtful);
        // It is held, so it costs nothing more.
        harness.registry.bound(&quotas);
        harness.push_blob("team/c", &random(1, 5000)).await;
        assert_eq!(super::used(&harness, &quotas[0]).await, (bytes, 2));
    }
}

#[tokio::test]
async fn what_others_linked_and_took_away_is_found_too() {
    let quota = of_bytes("team/**", 100_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let bytes = fill(&harness).await;
    assert_eq!(used(&harness, &quota).await, (bytes, 2));
    let layer = |name: &str, digest| Link::Layer(name.parse().unwrap(), digest);
    let shared = sha256(&random(1, 5000));
    for name in ["team/a", "team/b"] {
        harness.storage.link_delete(&layer(name, shared)).await.unwrap();
    }
    let foreign = sha256(&random(9, 100));
    harness.storage.link_put(&layer("team/x/y", foreign), &foreign).await.unwrap();
    // Without bytes it is nothing.
    let gone = sha256(b"gone");
    harness.storage.link_put(&layer("team/x/y", gone), &gone).await.unwrap();
    assert_eq!(counted(&harness.storage, &quota).await, (bytes - 5000 + 100, 2));
    assert_eq!(used(&harness, &quota).await, (bytes - 4900, 2));
    // Known to who serves, by then.
    quotas(&harness.registry).recount(&quotas(&harness.registry).all()).await;
    harness.push_blob("team/z", &random(1, 5000)).await;
    assert_eq!(used(&harness, &quota).await, (bytes + 100, 2));
}

#[tokio::test]
async fn what_changes_while_somebody_counts_is_neither_lost_nor_counted_twice() {
    let quota = of_bytes("**", 100_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let push = async |seed| harness.push_blob("a", &random(seed, 1000)).await;
    push(1).await;
    let goes = push(2).await;
    let mut count = Count::begin(&harness.storage, std::slice::from_ref(&quota)).await.unwrap();
    // Told before, or after, the walk came by; or not told yet.
    let seen = push(3).await;
    quotas(&harness.registry).flush().await;
    let late = push(4).await;
    assert_eq!(harness.status("DELETE", &format!("/v2/a/blobs/{goes}")).await, 202);
    quotas(&harness.registry).seek().await;
    let name = "a".parse().unwrap();
    let walked = [sha256(&random(1, 1000)), goes, seen];
    for digest in &walked {
        count.linked(&name, digest);
    }
    quotas(&harness.registry).flush().await;
    push(5).await;
    for digest in walked.iter().chain([&late, &sha256(&random(5, 1000))]) {
        count.sized(digest, 1000);
    }
    let counted = count.finish().await.unwrap().remove(0);
    // 1, 3, and 4 by the log; 2 is gone.
    assert_eq!((counted.used.bytes, counted.contents), (3000, 3));
    assert_eq!(used(&harness, &quota).await, (4000, 0));
    for seed in [1, 3, 4, 5] {
        push(seed).await;
    }
    assert_eq!(used(&harness, &quota).await, (4000, 0));
    push(2).await;
    assert_eq!(used(&harness, &quota).await, (5000, 0));
}

#[tokio::test]
async fn of_two_who_count_at_the_same_time_the_first_to_end_has_it() {
    let quota = of_bytes("**", 100_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let bytes = fill(&harness).await;
    quotas(&harness.registry).flush().await;
    let slow = Count::begin(&harness.storage, std::slice::from_ref(&quota)).await.unwrap();
    assert_eq!(counted(&harness.storage, &quota).await, (bytes + 100, 2));
    // It has seen nothing, and changes nothing.
    slow.finish().await.unwrap();
    assert_eq!(told(&harness, &quota).await.used.bytes, bytes + 100);
    let keys = files(&harness.storage).await;
    assert_eq!(keys.iter().filter(|key| key.contains("-p")).count(), 1, "{keys:?}");
}

async fn files(storage: &Storage) -> Vec<String> {
    use futures::TryStreamExt as _;
    let entries: Vec<_> = storage.below("entrepot/v1/quota", None).try_collect().await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test]
async fn a_file_that_is_lost_or_damaged_is_counted_anew_and_nobody_is_refused_meanwhile() {
    for damage in [None, Some("{"), Some("[]"), Some(r#"{"version":1}"#)] {
        let quota = of_bytes("team/**", 8000);
        let harness = bounded(std::slice::from_ref(&quota)).await;
        let bytes = fill(&harness).await;
        quotas(&harness.registry).flush().await;
        counted(&harness.storage, &quota).await;
        let key = OwnKey::Quota(word("team/**"));
        match damage {
            None => drop(harness.storage.own_delete(&key).await.unwrap()),
            Some(text) => drop(harness.storage.own_put(&key, text.into(), Precondition::None).await.unwrap()),
        }
        let other = instances(&harness.storage, 1, std::slice::from_ref(&quota)).await.remove(0);
        other.push_blob("team/c", &random(3, 4000)).await;
        let all = quotas(&other.registry).all();
        assert!(all[0].is_due(), "{damage:?}");
        quotas(&other.registry).recount(&all).await;
        assert!(!all[0].is_due());
        assert_eq!(used(&other, &quota).await, (bytes + 4000, 2), "{damage:?}");
        // The one that was there before finds it, too.
        harness.push_blob("team/d", &random(3, 4000)).await;
        assert_eq!(used(&harness, &quota).await, (bytes + 4000, 2));
    }
}

#[tokio::test]
async fn a_part_that_is_lost_is_found_by_the_next_count() {
    let quota = of_bytes("team/**", 100_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let bytes = fill(&harness).await;
    quotas(&harness.registry).flush().await;
    counted(&harness.storage, &quota).await;
    for key in files(&harness.storage).await.iter().filter(|key| key.contains("-p")) {
        harness.storage.own_delete(&OwnKey::Quota(key.clone())).await.unwrap();
    }
    let other = instances(&harness.storage, 1, std::slice::from_ref(&quota)).await.remove(0);
    // What it holds is not known, so it costs once more.
    other.push_blob("team/c", &random(1, 5000)).await;
    assert_eq!(used(&other, &quota).await, (bytes + 5000, 2));
    let all = quotas(&other.registry).all();
    assert!(all[0].is_due());
    quotas(&other.registry).recount(&all).await;
    assert_eq!(used(&other, &quota).await, (bytes, 2));
}

/// By a program that knows nothing of quotas but what is in storage.
#[tokio::test]
async fn who_took_links_away_says_so_in_every_quotas_file() {
    let quotas = [of_bytes("team/**", 100_000), of_bytes("**", 100_000)];
    let harness = Harness::new().await;
    assert_eq!(doubt(&harness.storage).await.unwrap(), 0, "there is none");
    fill(&harness).await;
    count(&harness.storage, &quotas, &|_| {}).await.unwrap();
    let doubtful = async || {
        let usages = usage(&harness.storage, &quotas).await.unwrap();
        usages.iter().map(|usage| (usage.doubtful, usage.counted.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(doubtful().await, [(false, true); 2]);
    let damaged = OwnKey::Quota(word("gone/**"));
    harness.storage.own_put(&damaged, "{".into(), Precondition::None).await.unwrap();
    for _ in 0..2 {
        assert_eq!(doubt(&harness.storage).await.unwrap(), 2);
        assert_eq!(doubtful().await, [(true, true); 2]);
    }
    count(&harness.storage, &quotas, &|_| {}).await.unwrap();
    assert_eq!(doubtful().await, [(false, true); 2]);
}

#[tokio::test]
async fn what_nobody_knows_after_a_deletion_is_counted_later() {
    let quota = of_bytes("**", 1 << 20);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let digest = harness.push_blob("a", &random(1, 1000)).await;
    for number in 0..40 {
        harness.push_image(&format!("many/{number}"), "latest", "x").await;
    }
    assert_eq!(harness.status("DELETE", &format!("/v2/a/blobs/{digest}")).await, 202);
    quotas(&harness.registry).seek().await;
    let before = told(&harness, &quota).await;
    assert!(before.doubtful && before.used.bytes > 1000);
    let (bytes, tags) = counted(&harness.storage, &quota).await;
    assert_eq!((bytes, tags), (before.used.bytes - 1000, 40));
    assert!(!told(&harness, &quota).await.doubtful);
}

#[tokio::test]
async fn who_walks_through_all_links_anyway_can_feed_a_count() {
    let quota = of_bytes("team/**", 100_000);
    let harness = Harness::new().await;
    let bytes = fill(&harness).await;
    let mut count = Count::begin(&harness.storage, std::slice::from_ref(&quota)).await.unwrap();
    assert!(count.concerns(&"team/a".parse().unwrap()) && !count.concerns(&"other".parse().unwrap()));
    use crate::storage::layout::Found;
    use futures::TryStreamExt as _;
    let links: Vec<_> = harness.storage.links(None).try_collect().await.unwrap();
    for (found, _) in &links {
        // Asked for others in between, as by who looks at several at once.
        assert!(count.concerns(&"team/z".parse().unwrap()));
        match found {
            Found::Layer(name, digest) | Found::Revision(name, digest) => count.linked(name, digest),
            Found::Tag(name, _) => count.tagged(name),
            _ => {}
        }
    }
    for shard in 0..=255 {
        let blobs: Vec<_> = harness.storage.blobs(Algorithm::Sha256, shard).try_collect().await.unwrap();
        blobs.iter().for_each(|blob| count.sized(&blob.digest, blob.size));
    }
    let counted = count.finish().await.unwrap().remove(0);
    assert_eq!((counted.used.bytes, counted.used.tags), (bytes, 2));
    assert_eq!(told(&harness, &quota).await.in_repositories, 2);
    let manifest: Value = serde_json::to_value(&counted).unwrap();
    assert_eq!(manifest["used"]["bytes"], bytes);
    let _ = digest_of(&manifest);
}
