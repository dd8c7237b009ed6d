//! Uploads over every kind of store.

mod budget;
mod crash;
mod model;
mod opening;
mod purge;
mod scenarios;
mod slow;
mod trouble;
mod world;
mod writers;

use futures::FutureExt;
use world::{Minio, Scenario, World};

/// Every scenario of every module, by name.
const ALL: &[(&str, Scenario)] = &[
    ("one-body", |world| scenarios::one_body(world).boxed()),
    ("several-bodies", |world| scenarios::several_bodies(world).boxed()),
    ("large-then-small", |world| scenarios::large_then_small(world).boxed()),
    ("no-spool", |world| scenarios::no_spool(world).boxed()),
    ("spool-runs-out", |world| scenarios::spool_runs_out(world).boxed()),
    ("commit-without-link", |world| crash::a_commit_without_its_link(world).boxed()),
    ("empty", |world| scenarios::empty(world).boxed()),
    ("mismatch", |world| trouble::mismatch_leaves_nothing(world).boxed()),
    ("sha512", |world| scenarios::another_algorithm(world).boxed()),
    ("known-digest", |world| scenarios::known_digest(world).boxed()),
    ("there-already", |world| scenarios::there_already(world).boxed()),
    ("broken-body", |world| trouble::broken_body(world).boxed()),
    ("broken-last-body", |world| trouble::broken_last_body(world).boxed()),
    ("unknown-hash", |world| trouble::unknown_hash(world).boxed()),
    ("cancel", |world| trouble::cancel(world).boxed()),
    ("other-repository", |world| trouble::other_repository(world).boxed()),
    ("purge", |world| purge::purge(world).boxed()),
    ("purge-idle", |world| purge::purge_idle(world).boxed()),
    ("held", |world| purge::held(world).boxed()),
    ("newer", |world| purge::of_a_newer_version(world).boxed()),
    ("purge-tree", |world| purge::purge_distributions(world).boxed()),
    ("many-small", |world| scenarios::many_small_bodies(world).boxed()),
    ("two-writers", |world| writers::the_loser_is_busy(world).boxed()),
    ("two-instances", |world| writers::two_instances(world).boxed()),
    ("interleaved", |world| writers::interleaved(world).boxed()),
    ("same-blob", |world| writers::the_same_blob_at_once(world).boxed()),
    ("dropped", |world| crash::dropped_anywhere(world).boxed()),
    ("slow-clients", |world| slow::slow_clients_with_a_spool(world).boxed()),
    ("retried-commit", |world| crash::a_commit_that_was_cut_short(world).boxed()),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_on_a_filesystem() {
    for (name, scenario) in ALL {
        eprintln!("{name}");
        scenario(&World::filesystem().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_in_memory() {
    for (name, scenario) in ALL {
        eprintln!("{name}");
        scenario(&World::memory().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_on_minio() {
    let minio = Minio::start().await;
    for (name, scenario) in ALL {
        eprintln!("{name}");
        scenario(&minio.world(name).await).await;
    }
    assert_eq!(minio.multiparts(), 0, "multipart uploads were left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_on_azurite() {
    for (name, scenario) in ALL {
        eprintln!("{name}");
        scenario(&World::azurite(name).await).await;
    }
}
