//! What was collected comes back as it was, and docker pulls it.

use std::time::Duration;

use super::world::{age_tree, age_unlinked, blobs, gc, number, trash};
use crate::ground::Ground;
use crate::harness::docker::import;
use crate::harness::repository::DOCKER_MANIFEST;
use crate::harness::tools::busybox_tree;
use crate::harness::{Dockerd, Repository, scratch};

const LONG: Duration = Duration::from_secs(3 * 24 * 3600);
const NAME: &str = "team/app";

#[test]
fn an_image_comes_back_bit_by_bit_and_docker_pulls_it() {
    let (ground, dockerd, folder) = (Ground::volume(), Dockerd::start(), scratch());
    let mut setup = ground.setup();
    for (key, value) in [("grace", "\"24h\""), ("reap_after", "\"24h\""), ("foreign", "\"careful\""), ("rate", "\"\"")]
    {
        setup = setup.set(&format!("gc.{key}"), value);
    }
    let (server, peer) = (setup.start(), ground.v3());
    let image = format!("{}/{NAME}:v1", server.address);
    import(&dockerd, &busybox_tree(folder.path()), &image);
    dockerd.run(&["push", &image]);
    let digest = dockerd.digest(&image);
    let repository = Repository::at(server.address, NAME);
    let manifest = repository.get_manifest("v1").expect(200);
    let tree = ground.tree("blobs/");
    // Another image takes the tag: what it led to is nobody's.
    let media_type = repository.head_manifest("v1").header("content-type").unwrap_or(DOCKER_MANIFEST).to_owned();
    let other = repository.push_random("v2", 1, 1000);
    repository.push_manifest("v1", crate::harness::repository::OCI_MANIFEST, &other.manifest);
    dockerd.forget(&[&image]);
    age_tree(&ground, LONG);

    let run = gc(&server, &["run", "--untagged", "0s"]);
    assert_eq!(number(&run, "condemned_manifests"), 1, "{run}");
    let by_digest = format!("{}/{NAME}@{digest}", server.address);
    dockerd.fails(&["pull", &by_digest]);
    assert!(blobs(&ground).contains(&digest), "the bytes stay where they are for a day");
    age_unlinked(&ground, LONG);
    let moved = gc(&server, &["run", "--untagged", "0s"]);
    assert!(number(&moved, "moved") >= 3 && trash(&ground).len() >= 3, "{moved}");
    assert!(!blobs(&ground).contains(&digest));
    assert_eq!(Repository::at(peer.address, NAME).get_manifest(&digest).status, 404);

    let told = gc(&server, &["undelete", run["run"].as_str().expect("its name")]);
    assert!(number(&told, "manifests") == 1 && number(&told, "rescued_bytes") > 0, "{told}");
    assert_eq!(told["gone"].as_array().map(Vec::len), Some(0), "{told}");
    for address in [server.address, peer.address] {
        let repository = Repository::at(address, NAME);
        let answer = repository.get_manifest(&digest);
        assert_eq!(answer.header("content-type"), Some(media_type.as_str()));
        assert_eq!(answer.expect(200), manifest);
        let image = format!("{address}/{NAME}@{digest}");
        dockerd.run(&["pull", &image]);
        assert_eq!(dockerd.digest(&image), digest);
        dockerd.forget(&[&image]);
    }
    let after = ground.tree("blobs/");
    assert!(tree.iter().all(|(key, bytes)| after.get(key) == Some(bytes)), "every byte is back");
    assert_eq!(repository.get_manifest("v1").expect(200), other.manifest, "a tag that was moved since stays moved");
}
