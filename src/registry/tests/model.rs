//! Random sequences of requests, sent to two instances over one storage, against a model of what a
//! registry is. After each request the answer must be the model's; at the end everything that can be asked is asked of
//! both instances. `PROPTEST_CASES` sets how many sequences.

mod check;
mod run;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::harness::{Harness, on_disk};
use crate::oci::{Algorithm, Digest};
use crate::registry::Config;

const REPOSITORIES: [&str; 3] = ["a", "a/b", "c"];
const TAGS: [&str; 3] = ["latest", "v1", "V1"];
/// Contents of blobs: empty, small, and beyond what is kept in memory.
const BLOBS: usize = 4;

fn blob(index: usize) -> Vec<u8> {
    match index {
        0 => Vec::new(),
        1 => b"{}".to_vec(),
        2 => b"layer".to_vec(),
        _ => vec![index as u8; 70_000],
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push { name: usize, blob: usize, sha512: bool, wrong: bool },
    Begin { name: usize },
    Patch { upload: usize, blob: usize, range: Option<bool> },
    Finish { upload: usize, blob: usize, right: bool },
    Cancel { upload: usize },
    Mount { name: usize, from: Option<usize>, blob: usize },
    Image { name: usize, config: usize, layer: usize, at: At },
    Index { name: usize, children: u8, at: At },
    Artifact { name: usize, subject: usize, note: u8, at: At },
    DeleteTag { name: usize, tag: usize },
    DeleteManifest { name: usize, manifest: usize },
    DeleteBlob { name: usize, blob: usize },
}

/// Where a manifest is put: under a tag, or by digest with some tags.
#[derive(Clone, Debug)]
enum At {
    Tag(usize),
    Digest { sha512: bool, tags: Vec<usize> },
}

fn op() -> impl Strategy<Value = (bool, Op)> {
    let name = || 0..REPOSITORIES.len();
    let tag = || 0..TAGS.len();
    let content = || 0..BLOBS;
    let at = || {
        let tags = prop::collection::vec(tag(), 0..3);
        prop_oneof![
            tag().prop_map(At::Tag),
            (any::<bool>(), tags).prop_map(|(sha512, tags)| At::Digest { sha512, tags })
        ]
    };
    let wrong = prop::bool::weighted(0.1);
    let op = prop_oneof![
        4 => (name(), content(), any::<bool>(), wrong)
            .prop_map(|(name, blob, sha512, wrong)| Op::Push { name, blob, sha512, wrong }),
        2 => name().prop_map(|name| Op::Begin { name }),
        3 => (0..4usize, content(), prop::option::of(prop::bool::weighted(0.7)))
            .prop_map(|(upload, blob, range)| Op::Patch { upload, blob, range }),
        2 => (0..4usize, content(), prop::bool::weighted(0.8))
            .prop_map(|(upload, blob, right)| Op::Finish { upload, blob, right }),
        1 => (0..4usize).prop_map(|upload| Op::Cancel { upload }),
        2 => (name(), prop::option::of(name()), content())
            .prop_map(|(name, from, blob)| Op::Mount { name, from, blob }),
        6 => (name(), content(), content(), at())
            .prop_map(|(name, config, layer, at)| Op::Image { name, config, layer, at }),
        2 => (name(), 0..3u8, at()).prop_map(|(name, children, at)| Op::Index { name, children, at }),
        3 => (name(), 0..4usize, 0..3u8, at())
            .prop_map(|(name, subject, note, at)| Op::Artifact { name, subject, note, at }),
        2 => (name(), tag()).prop_map(|(name, tag)| Op::DeleteTag { name, tag }),
        2 => (name(), 0..4usize).prop_map(|(name, manifest)| Op::DeleteManifest { name, manifest }),
        1 => (name(), content()).prop_map(|(name, blob)| Op::DeleteBlob { name, blob }),
    ];
    (any::<bool>(), op)
}

/// What a registry is.
#[derive(Default)]
struct Model {
    repositories: BTreeMap<&'static str, Repository>,
    uploads: Vec<(&'static str, String, Vec<u8>)>,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeMap<Digest, Vec<u8>>,
    manifests: BTreeMap<Digest, Value>,
    tags: BTreeMap<&'static str, Digest>,
    /// Had a manifest once: on an object store it is gone with its last object, which the model does not follow.
    was_pushed: bool,
}

struct Run {
    instances: [Harness; 2],
    model: Model,
}

fn digest(bytes: &[u8], sha512: bool) -> Digest {
    Digest::of(if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 }, bytes)
}

/// What fails is printed with its sequence; nothing is written into the sources.
fn cases(divisor: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { failure_persistence: None, cases: config.cases / divisor, ..config }
}

fn run(ops: Vec<(bool, Op)>, storage: impl AsyncFnOnce() -> Harness) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(storage().await).await;
        for (second, op) in ops {
            run.apply(second, op).await;
        }
        run.check().await;
    });
}

proptest! {
    #![proptest_config(cases(1))]
    #[test]
    fn whatever_is_asked_the_answers_are_the_models(ops in prop::collection::vec(op(), 1..40)) {
        run(ops, async || Harness::new().await);
    }
}

proptest! {
    // Each write is fsynced: fewer sequences say as much of what differs there.
    #![proptest_config(cases(32))]
    #[test]
    fn on_a_disk_too(ops in prop::collection::vec(op(), 1..40)) {
        let memory = std::path::Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        run(ops, async || Harness::over(Config::default(), on_disk(root.path()).await).await);
    }
}
