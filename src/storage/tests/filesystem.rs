//! What the tree on a disk looks like to distribution and to an attacker.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{digest, name, on_disk, tag};
use crate::storage::{Error, Link, OwnKey, Precondition};

/// Every path below a folder, sorted.
fn tree(folder: &Path) -> Vec<String> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            found.push(path.clone());
            if path.is_dir() {
                visit(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    visit(folder, &mut found);
    let mut found: Vec<_> =
        found.iter().filter_map(|path| Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned())).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_link_is_a_file_without_a_newline_and_nothing_else_is_left() {
    let (storage, folder) = on_disk().await;
    let link = Link::Tag(name("a"), tag("v1"));
    storage.link_put(&link, &digest("x")).await.expect("put");
    storage.link_put(&link, &digest("y")).await.expect("put");
    let current = folder.path().join("registry/docker/registry/v2/repositories/a/_manifests/tags/v1/current");
    assert_eq!(std::fs::read_to_string(current.join("link")).expect("the link"), digest("y").text());
    assert_eq!(tree(&current), ["link"]);
}

#[tokio::test]
async fn deleting_leaves_the_repository_and_no_empty_folder_of_a_digest() {
    let (storage, folder) = on_disk().await;
    let digest = digest("x");
    storage.blob_put(&digest, Bytes::from_static(b"x")).await.expect("put");
    let links = [Link::Layer(name("a"), digest), Link::Revision(name("a"), digest), Link::Tag(name("a"), tag("v1"))];
    for link in &links {
        storage.link_put(link, &digest).await.expect("put");
    }
    storage.tag_delete(&name("a"), &tag("v1")).await.expect("deleted");
    for link in &links {
        storage.link_delete(link).await.expect("deleted");
    }
    storage.blob_delete(&digest).await.expect("deleted");
    let left = tree(&folder.path().join("registry/docker/registry/v2"));
    let shard = format!("blobs/sha256/{}", &digest.hex()[..2]);
    let expected = [
        "blobs",
        "blobs/sha256",
        &shard,
        "repositories",
        "repositories/a",
        "repositories/a/_layers",
        "repositories/a/_layers/sha256",
        "repositories/a/_manifests",
        "repositories/a/_manifests/revisions",
        "repositories/a/_manifests/revisions/sha256",
        "repositories/a/_manifests/tags",
    ];
    assert_eq!(left, expected);
    assert_eq!(super::repositories(&storage).await, [name("a")]);
}

#[tokio::test]
async fn a_revision_whose_link_distribution_removed_is_none() {
    let (storage, folder) = on_disk().await;
    storage.link_put(&Link::Revision(name("a"), digest("x")), &digest("x")).await.expect("put");
    let revisions = folder.path().join("registry/docker/registry/v2/repositories/a/_manifests/revisions/sha256");
    std::fs::remove_file(revisions.join(digest("x").hex()).join("link")).expect("removed");
    assert_eq!(storage.revisions(&name("a")).await.expect("a list"), []);
}

#[tokio::test]
async fn a_tag_that_a_crash_left_half_written_is_none() {
    let (storage, _folder) = on_disk().await;
    let half = Link::TagIndex(name("a"), tag("half"), digest("x"));
    storage.link_put(&half, &digest("x")).await.expect("put");
    storage.link_put(&Link::Tag(name("a"), tag("whole")), &digest("x")).await.expect("put");
    assert_eq!(storage.tags(&name("a")).await.expect("a list"), Some(vec![tag("whole")]));
}

#[tokio::test]
async fn symlinks_lead_nowhere() {
    let (storage, folder) = on_disk().await;
    let secret = folder.path().join("secret");
    std::fs::create_dir(&secret).expect("a folder");
    std::fs::write(secret.join("data"), digest("x").text()).expect("a file");
    storage.link_put(&Link::Tag(name("a"), tag("good")), &digest("x")).await.expect("put");
    let tags = folder.path().join("registry/docker/registry/v2/repositories/a/_manifests/tags");
    std::os::unix::fs::symlink(&secret, tags.join("evil")).expect("a symlink");
    std::fs::create_dir_all(tags.join("file/current")).expect("folders");
    std::os::unix::fs::symlink(secret.join("data"), tags.join("file/current/link")).expect("a symlink");

    assert_eq!(storage.tags(&name("a")).await.expect("a list"), Some(vec![tag("file"), tag("good")]));
    let read = storage.link(&Link::Tag(name("a"), tag("file"))).await;
    assert!(matches!(read, Err(Error::Refused(_))), "{read:?}");
    let written = storage.store().put(
        "docker/registry/v2/repositories/a/_manifests/tags/evil/data",
        Bytes::new(),
        Precondition::None,
    );
    assert!(matches!(written.await, Err(Error::Refused(_))));
    for evil in ["evil", "file"] {
        storage.tag_delete(&name("a"), &tag(evil)).await.map(drop).unwrap_or_default();
    }
    storage.store().delete_all("docker/registry/v2/repositories/a/_manifests/tags").await.expect("deleted");
    assert_eq!(tree(&secret), ["data"]);
}

#[tokio::test]
async fn what_is_no_file_is_not_there() {
    let (storage, folder) = on_disk().await;
    storage.own_put(&OwnKey::Lease("a"), Bytes::new(), Precondition::None).await.expect("put");
    let leases = folder.path().join("registry/entrepot/v1/leases");
    std::fs::create_dir(leases.join("folder")).expect("a folder");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        leases.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    for word in ["folder", "pipe"] {
        assert_eq!(storage.own(&OwnKey::Lease(word), 10).await.expect("an answer"), None);
    }
    assert_eq!(storage.store().size("entrepot/v1/leases/folder/x").await.expect("an answer"), None);
    assert_eq!(storage.store().size("entrepot/v1/leases/a/x").await.expect("an answer"), None);
}

#[tokio::test]
async fn writers_and_removers_of_one_folder_do_not_hurt_each_other() {
    let (storage, _folder) = on_disk().await;
    let link = Link::Layer(name("a"), digest("x"));
    let rounds = 50;
    let writers = (0..4).map(|_| async {
        for _ in 0..rounds {
            storage.link_put(&link, &digest("x")).await.expect("put");
        }
    });
    let remover = async {
        for _ in 0..rounds {
            storage.link_delete(&link).await.expect("deleted");
        }
    };
    tokio::join!(futures::future::join_all(writers), remover);
    storage.link_put(&link, &digest("x")).await.expect("put");
    assert_eq!(storage.link(&link).await.expect("an answer"), Some(digest("x")));
}

#[tokio::test]
async fn the_volume_has_a_size() {
    let (storage, _folder) = on_disk().await;
    let usage = storage.usage().await.expect("a filesystem");
    assert!(usage.total > 0 && usage.used <= usage.total, "{usage:?}");
}

/// What a walk of all links takes a short way to is what looking into every folder finds.
#[tokio::test]
async fn a_walk_of_links_finds_what_a_walk_of_everything_finds_and_stops_at_symlinks() {
    use futures::TryStreamExt as _;
    let (storage, folder) = on_disk().await;
    let hex = digest("x").hex();
    for text in ["a", "a/b", "current", "sha256", &format!("sha256/{hex}"), "a/index/sha256"] {
        for version in ["current", "v1", "sha256"] {
            let (name, tag) = (name(text), tag(version));
            for link in [
                Link::Layer(name.clone(), digest(version)),
                Link::Revision(name.clone(), digest(version)),
                Link::Tag(name.clone(), tag.clone()),
                Link::TagIndex(name.clone(), tag.clone(), digest(version)),
            ] {
                storage.link_put(&link, &digest(version)).await.expect("put");
            }
        }
    }
    let tree = folder.path().join("registry/docker/registry/v2/repositories");
    let uploads = tree.join(format!("a/_uploads/{}/hashstates/sha256", uuid::Uuid::nil()));
    std::fs::create_dir_all(&uploads).expect("a folder");
    std::fs::write(uploads.join("0"), "x").expect("a file");
    // A deletion of distribution's leaves the folder.
    std::fs::create_dir_all(tree.join(format!("a/_manifests/revisions/sha256/{hex}"))).expect("a folder");
    let all: Vec<_> = storage.below(crate::storage::layout::REPOSITORIES, None).try_collect().await.expect("a walk");
    let all: Vec<_> = all
        .into_iter()
        .filter_map(|entry| Some((crate::storage::layout::found(&entry.name)?, entry.changed)))
        .collect();
    let links: Vec<_> = storage.links(None).try_collect().await.expect("a walk");
    assert_eq!(links.len(), 6 * 12 + 1);
    assert_eq!(links, all);

    let short = tree.join(format!("a/_layers/sha256/{}", digest("v1").hex()));
    for (target, link) in [("a", tree.join("b")), ("../v1", short.join("link"))] {
        let removed = std::fs::read(&link).ok();
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).expect("a symlink");
        let error = storage.links(None).try_collect::<Vec<_>>().await.expect_err("a symlink");
        assert!(error.to_string().contains("is a symlink"), "{error}");
        std::fs::remove_file(&link).expect("removed");
        if let Some(bytes) = removed {
            std::fs::write(&link, bytes).expect("a file");
        }
    }
    assert_eq!(storage.links(None).try_collect::<Vec<_>>().await.expect("a walk").len(), links.len());
}
