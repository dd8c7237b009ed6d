//! The official suite's sets of content, each through its whole life by each digest algorithm: pushed, pulled, listed,
//! referred to, deleted. "Pulling manifests", "Pulling blobs", "Pushing Manifests", "Listing Tags", "Listing Referrers",
//! "Content Management"; what an image, an index and an artifact may look like is the image specification's.

mod content;

use serde_json::Value;

use super::data::{Set, tag_with};
use super::expect::{Expect, referrers};
use super::flow::Flow;
use super::repo::INDEX;
use super::{Algorithm, Repo};

/// `sha256::filesystem::image`, `sha512::minio::nested_index` and so on.
macro_rules! data_sets {
    ($($set:ident),* $(,)?) => {
        mod sha256 {
            $(fn $set(repo: &super::Repo) { super::live(repo, super::content::$set, super::Algorithm::Sha256) })*
            on_every_storage![$($set),*];
        }
        mod sha512 {
            $(fn $set(repo: &super::Repo) { super::live(repo, super::content::$set, super::Algorithm::Sha512) })*
            on_every_storage![$($set),*];
        }
    };
}

data_sets![
    image,
    image_of_uncompressed_layers,
    image_without_layers,
    image_with_a_large_manifest,
    image_with_data_fields,
    image_with_custom_fields,
    image_with_nondistributable_layers,
    index,
    index_nested,
    index_empty,
    index_of_children_that_are_missing,
    index_with_a_subject,
    artifact,
    artifact_without_layers,
    artifact_index,
    artifacts_with_a_subject,
    artifacts_with_a_missing_subject,
    image_with_ten_tags,
];

/// Pushes a set, pulls it, lists it, and deletes it.
fn live(repo: &Repo, make: fn(&Repo, Algorithm) -> Set, algorithm: Algorithm) {
    let set = make(repo, algorithm);
    push(repo, &set);
    pull(repo, &set);
    list(repo, &set);
    delete(repo, &set);
}

fn push(repo: &Repo, set: &Set) {
    for (blob, flow) in set.blobs.iter().zip(Flow::ALL.iter().cycle()) {
        // An empty blob has no chunks.
        let flow = if blob.bytes.len() < 3 { Flow::PostAndPut } else { *flow };
        let answer = flow.push(repo, &blob.digest, &blob.bytes).status_is(201);
        answer.header_is("docker-content-digest", &blob.digest).leads_to(repo, &blob.bytes);
    }
    for manifest in &set.manifests {
        let answer = manifest.push(repo).header_is("docker-content-digest", &manifest.digest);
        match manifest.subject() {
            Some(subject) => answer.header_is("oci-subject", &subject).leads_to(repo, &manifest.bytes),
            None => answer.has_no("oci-subject").leads_to(repo, &manifest.bytes),
        };
        for tag in &manifest.tags {
            tag_with(repo, manifest, tag);
        }
    }
}

fn pull(repo: &Repo, set: &Set) {
    for blob in &set.blobs {
        let length = blob.bytes.len().to_string();
        let answer = repo.head(&format!("blobs/{}", blob.digest)).status_is(200);
        answer.header_is("docker-content-digest", &blob.digest).header_is("content-length", &length);
        let answer = repo.get_blob(&blob.digest).status_is(200).body_is(&blob.bytes);
        answer.header_is("docker-content-digest", &blob.digest).header_is("content-length", &length);
    }
    for manifest in &set.manifests {
        let length = manifest.bytes.len().to_string();
        for reference in manifest.tags.iter().chain([&manifest.digest]) {
            let what = format!("manifests/{reference}");
            for answer in [repo.head(&what), repo.get(&what).body_is(&manifest.bytes)] {
                let answer = answer.status_is(200).header_is("docker-content-digest", &manifest.digest);
                answer.header_is("content-type", &manifest.media_type).header_is("content-length", &length);
            }
        }
    }
}

fn list(repo: &Repo, set: &Set) {
    let mut tags: Vec<&String> = set.manifests.iter().flat_map(|manifest| &manifest.tags).collect();
    tags.sort();
    assert_eq!(repo.tags("").iter().collect::<Vec<_>>(), tags);
    let expected = referrers_of(set);
    for (subject, expected) in &expected {
        let answer = repo.get(&format!("referrers/{subject}")).header_is("content-type", INDEX);
        assert_eq!(sorted(referrers(&answer)), sorted(expected.clone()), "of {subject}");
        for descriptor in expected {
            let Some(artifact_type) = descriptor["artifactType"].as_str() else { continue };
            let answer = repo.get(&format!("referrers/{subject}?artifactType={}", escaped(artifact_type)));
            let answer = answer.header_is("oci-filters-applied", "artifactType");
            let alike = expected.iter().filter(|other| other["artifactType"] == artifact_type).cloned().collect();
            assert_eq!(sorted(referrers(&answer)), sorted(alike), "{artifact_type} of {subject}");
        }
    }
}

fn delete(repo: &Repo, set: &Set) {
    for tag in set.manifests.iter().flat_map(|manifest| &manifest.tags) {
        repo.delete(&format!("manifests/{tag}")).status_is(202);
        repo.head(&format!("manifests/{tag}")).status_is(404);
    }
    assert!(repo.tags("").is_empty());
    // Parents before children.
    for manifest in set.manifests.iter().rev() {
        repo.head(&format!("manifests/{}", manifest.digest)).status_is(200);
        repo.delete(&format!("manifests/{}", manifest.digest)).status_is(202);
        repo.head(&format!("manifests/{}", manifest.digest)).status_is(404);
        repo.get_manifest(&manifest.digest).error_is(404, "MANIFEST_UNKNOWN");
    }
    for blob in &set.blobs {
        repo.delete(&format!("blobs/{}", blob.digest)).status_is(202);
        repo.head(&format!("blobs/{}", blob.digest)).status_is(404);
        repo.get_blob(&blob.digest).error_is(404, "BLOB_UNKNOWN");
    }
    for (subject, _) in referrers_of(set) {
        assert_eq!(referrers(&repo.get(&format!("referrers/{subject}"))), Vec::<Value>::new());
    }
}

fn referrers_of(set: &Set) -> Vec<(String, Vec<Value>)> {
    let mut lists: std::collections::BTreeMap<String, Vec<Value>> = Default::default();
    for manifest in &set.manifests {
        if let Some(subject) = manifest.subject() {
            lists.entry(subject).or_default().push(manifest.as_referrer());
        }
    }
    lists.into_iter().collect()
}

fn sorted(mut descriptors: Vec<Value>) -> Vec<Value> {
    descriptors.sort_by_key(|descriptor| descriptor["digest"].to_string());
    descriptors
}

/// A media type as a query has it.
pub fn escaped(media_type: &str) -> String {
    media_type.replace('/', "%2F").replace('+', "%2B")
}
