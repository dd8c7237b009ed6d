//! All that can be asked, compared with the model.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{BLOBS, REPOSITORIES, Repository, Run, TAGS, blob, digest};
use crate::oci::media_type;
use crate::registry::tests::harness::Harness;

impl Run {
    /// Everything that can be asked, of both instances.
    pub(super) async fn check(&self) {
        let nothing = Repository::default();
        for instance in &self.instances {
            let mut names = BTreeSet::new();
            for name in REPOSITORIES {
                let repository = self.model.repositories.get(name).unwrap_or(&nothing);
                check_content(instance, name, repository).await;
                check_lists(instance, name, repository).await;
                if !repository.manifests.is_empty() {
                    names.insert(name);
                }
            }
            let catalog = instance.get("/v2/_catalog").await.json();
            let listed: BTreeSet<_> =
                catalog["repositories"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            let empty = |name: &&str| self.model.repositories.get(*name).is_some_and(|held| held.was_pushed);
            assert!(names.is_subset(&listed) && listed.iter().all(empty), "{listed:?} {names:?}");
            for (_, location, held) in &self.model.uploads {
                let seen = instance.get(location).await;
                let range = format!("0-{}", held.len().saturating_sub(1));
                assert_eq!((seen.status.as_u16(), seen.header("range")), (204, range.as_str()));
            }
        }
    }
}

async fn check_content(instance: &Harness, name: &str, repository: &Repository) {
    for content in 0..BLOBS {
        for sha512 in [false, true] {
            let digest = digest(&blob(content), sha512);
            let held = repository.blobs.get(&digest);
            let seen = instance.get(&format!("/v2/{name}/blobs/{digest}")).await;
            assert_eq!(seen.status == 200, held.is_some(), "{name} {digest}");
            assert!(held.is_none_or(|bytes| seen.body == bytes));
        }
    }
    for (digest, manifest) in &repository.manifests {
        let seen = instance.get(&format!("/v2/{name}/manifests/{digest}")).await;
        assert_eq!(seen.body, manifest.to_string());
        assert_eq!(seen.content, Some((*digest, manifest["mediaType"].as_str().unwrap().to_owned())));
    }
    for tag in TAGS {
        let seen = instance.get(&format!("/v2/{name}/manifests/{tag}")).await;
        let found = seen.content.as_ref().map(|(digest, _)| *digest);
        assert_eq!(found, repository.tags.get(tag).copied(), "{name}:{tag}");
    }
}

async fn check_lists(instance: &Harness, name: &str, repository: &Repository) {
    let seen = instance.get(&format!("/v2/{name}/tags/list")).await;
    if seen.status == 404 {
        assert!(repository.manifests.is_empty() && repository.tags.is_empty());
    } else {
        assert!(repository.was_pushed);
        assert_eq!(seen.json(), json!({"name": name, "tags": repository.tags.keys().collect::<Vec<_>>()}));
    }
    let subjects = repository.manifests.keys().copied().chain([digest(b"nowhere", false)]);
    for subject in subjects {
        let about = |manifest: &&Value| manifest["subject"]["digest"] == subject.text();
        let expected: BTreeSet<_> = repository
            .manifests
            .iter()
            .filter(|(_, manifest)| about(manifest))
            .map(|(digest, _)| digest.text())
            .collect();
        let seen = instance.get(&format!("/v2/{name}/referrers/{subject}")).await;
        assert_eq!((seen.status.as_u16(), seen.header("content-type")), (200, media_type::OCI_INDEX));
        let body = seen.json();
        let found: BTreeSet<_> = body["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| found["digest"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, expected, "{name} {subject}");
    }
}
