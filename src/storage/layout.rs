//! Every key that we read or write, as values: distribution's tree, and our own files beside it.
//!
//! Keys are relative to the root (or the bucket's prefix), without a leading '/'.
//!
//! | key under `docker/registry/v2/` | holds |
//! |---|---|
//! | `blobs/<alg>/<hex[0..2]>/<hex>/data` | layers, configs and manifests |
//! | `repositories/<name>/_layers/<alg>/<hex>/link` | the digest itself |
//! | `repositories/<name>/_manifests/revisions/<alg>/<hex>/link` | the digest itself |
//! | `repositories/<name>/_manifests/tags/<tag>/current/link` | the digest that the tag names |
//! | `repositories/<name>/_manifests/tags/<tag>/index/<alg>/<hex>/link` | the digest itself |
//! | `repositories/<name>/_uploads/<uuid>/…` | distribution's pushes under way; ours are elsewhere |
//!
//! Our own, and what tells the version of their format (see `format`):
//!
//! | key under `entrepot/v1/` | holds | version |
//! |---|---|---|
//! | `media-types/<name>/_types/<alg>/<hex>` | a media type | the key |
//! | `revisions/<name>/_memo` | JSON: a memory of manifests | `version`, none in those before: a list |
//! | `changes/catalog`, `changes/repositories/<name>/_changed` | chance: only whether it is another matters | the key |
//! | `leases/<word>` | JSON: until when somebody does a job | `version`, none in those before |
//! | `uploads/<uuid>/state` | JSON: what is known of an upload | `version` |
//! | `uploads/<uuid>/data`, `uploads/<uuid>/<began>-<random>` | bytes of an upload | that of its state |
//! | `multiparts/<uuid>` | JSON: the id of a multipart upload | `version`, none in those before |
//! | `auth/robots/<id>`, `auth/robots-used/<id>` | JSON: a robot; when it was used last | `version` |
//! | `mirror/<name>/_tags/<tag>` | JSON: what a remote's tag names, and since when that is known | `version` |
//! | `gc/epoch`, `gc/run`, `gc/paused` | JSON: whether bytes are being moved; what a collection did, or does; that none may | `version` |
//! | `gc/clock/<nonce>` | nothing that is read: its time is the store's | the key |
//! | `gc/references/<name>/_references` | JSON lines: what the manifests of a repository name | `version` of the first |
//! | `gc/unlinked/<alg>/<hh>` | JSON: blobs that no repository links, since when, and whether they were moved | `version` |
//! | `gc/marked/<run>/<n>` | digests that a run found linked | the key |
//! | `gc/journal/<run>/<name>/_journal` | JSON lines: links that were taken away | `version` of the first |
//! | `gc/deleted/<name>/_deleted/<alg>/<hex>/at` | nothing that is read: its time is when a client deleted what a collection had taken before | the key |
//! | `gc/restored/<name>/_restored` | JSON: when tags were pushed that were brought back | `version` |
//! | `trash/<alg>/<hh>/<hex>/<name>` | bytes of a blob that are about to be deleted, for each move one | the key |
//! | `maintenance` | JSON: that nothing is written now, and why | `version` |
//! | `pulls/<name>/_pulls` | JSON: on which day each manifest was pulled last | `version` |
//! | `pulls/_recording` | JSON: since when that is written down | `version` |
//! | `retention/state` | JSON: which policies were shown before they acted | `version` |
//! | `quota/<word>` | JSON: what the repositories of a quota hold | `version` |
//! | `quota/<word>-<stamp>-…` | which contents those are, and what has changed since they were counted | the key |
//! | `stats/<day>` | JSON: how much there was on a day | `version` |
//! | `instances/<id>` | JSON: an instance that serves; written again each minute | `version` |
//! | `acme/accounts/<id>`, `acme/certificates/<id>` | JSON, sealed with the fleet's secret: our account with an authority; a certificate and its key | the seal's own, then `version` |
//! | `acme/plans/<id>`, `acme/challenges/<id>`, `acme/leases/<id>` | JSON: when a certificate is ordered next, and why not before; what the authority asks meanwhile; who orders it | `version` |
//! | `auth/token-keys` | JSON, sealed with the fleet's secret: what tokens are signed with | the seal's own |
//! | `doctor/<nonce>/…` | what `entrepot doctor` tries its rights with, for a moment | the key |
//! | `probe`, `lock` | nothing that is read | the key |

mod found;

pub use found::{Found, found, is_misplaced, only_file};

use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

pub const TREE: &str = "docker/registry/v2";
pub const OWN: &str = "entrepot/v1";

/// Folder of all repositories.
pub const REPOSITORIES: &str = "docker/registry/v2/repositories";
/// Folder of our uploads, one folder each.
pub const UPLOADS: &str = "entrepot/v1/uploads";
/// Folder of notes of multipart uploads under way, one file each.
pub const MULTIPARTS: &str = "entrepot/v1/multiparts";
/// Small folder that may be listed to see whether the store answers.
pub const LEASES: &str = "entrepot/v1/leases";
/// Folder of what is known of remotes' tags, below which stand repositories.
pub const MIRROR: &str = "entrepot/v1/mirror";
/// Between a repository's name and a tag there.
pub const MIRROR_TAGS: &str = "/_tags/";
/// Folder of robots, one file each.
pub const ROBOTS: &str = "entrepot/v1/auth/robots";
/// Folder of what is known of quotas.
pub const QUOTAS: &str = "entrepot/v1/quota";
/// Folder of files that tell the store's time.
pub const CLOCK: &str = "entrepot/v1/gc/clock";
/// Folder of instances that serve, one file each.
pub const INSTANCES: &str = "entrepot/v1/instances";
/// Folder of what collections took away, one folder for each run.
pub const JOURNALS: &str = "entrepot/v1/gc/journal";
/// Folder of what clients deleted of what collections took before, below which stand repositories.
pub const DELETED: &str = "entrepot/v1/gc/deleted";
/// What follows a repository's name there.
pub const DELETED_FILES: &str = "/_deleted/";
/// Folder of which blobs no repository links.
pub const UNLINKED: &str = "entrepot/v1/gc/unlinked";
/// Folder of what collections under way found to be needed, one folder for each run.
pub const MARKED: &str = "entrepot/v1/gc/marked";
/// Folder of what is about to be deleted.
pub const TRASH: &str = "entrepot/v1/trash";
/// Folder of when manifests were pulled, below which stand repositories.
pub const PULLS: &str = "entrepot/v1/pulls";
/// What follows a repository's name there.
pub const PULLS_FILE: &str = "/_pulls";
/// Folder of how much there was, one file for each day.
pub const STATS: &str = "entrepot/v1/stats";
/// Folder of what is written to find out what may be done, and removed at once.
pub const DOCTOR: &str = "entrepot/v1/doctor";
/// Held while a file of ours is replaced conditionally on a filesystem.
pub const LOCK: &str = "entrepot/v1/lock";

/// A link of distribution's tree: a small file that holds the digest of its target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// `repositories/<name>/_layers/<alg>/<hex>/link`: the repository holds this blob.
    Layer(RepositoryName, Digest),
    /// `repositories/<name>/_manifests/revisions/<alg>/<hex>/link`
    Revision(RepositoryName, Digest),
    /// `repositories/<name>/_manifests/tags/<tag>/current/link`
    Tag(RepositoryName, Tag),
    /// `repositories/<name>/_manifests/tags/<tag>/index/<alg>/<hex>/link`
    TagIndex(RepositoryName, Tag, Digest),
}

/// A file of our own, under `<root>/entrepot/v1/`, outside `docker/registry/v2`; each can be rebuilt or lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnKey {
    /// `media-types/<name>/_types/<alg>/<hex>`: the media type that a manifest was pushed with into this repository, where
    /// its bytes do not tell. Of a repository, because other ones may have got the same bytes as something else.
    MediaType(RepositoryName, Digest),
    /// `revisions/<name>/_memo`: what is known of the manifests of a repository (subjects, descriptors): for referrers.
    Revisions(RepositoryName),
    /// `changes/catalog`, `changes/repositories/<name>/_changed`: on an object store there while somebody keeps the list and
    /// it has not changed, see `Storage::stamp`.
    CatalogChanges,
    RepositoryChanges(RepositoryName),
    /// `leases/<word>`: who does a job of the fleet.
    Lease(&'static str),
    /// `mirror/<name>/_tags/<tag>`: what a tag of a remote names, by the repository's name here.
    MirrorTag(RepositoryName, Tag),
    /// `probe`: written where the store does not mind conditions.
    Probe,
    /// `auth/robots/<id>`: what a robot may do, and the hash of its secret.
    Robot(String),
    /// `auth/robots-used/<id>`: when it was used last.
    RobotUsed(String),
    /// `auth/token-keys`: what tokens are signed with, sealed.
    TokenKeys,
    /// `gc/epoch`: odd while a collection moves bytes; changed by each that does.
    Epoch,
    /// `gc/clock/<nonce>`: written to learn the store's time.
    Clock(String),
    /// `gc/run`: what a collection does, or what the last one did.
    GcRun,
    /// `gc/paused`: there while none may go on.
    GcPaused,
    /// `gc/references/<name>/_references`: what the manifests of a repository name.
    References(RepositoryName),
    /// `gc/unlinked/<alg>/<hh>`: blobs that no repository links, by the first byte of their digest.
    Unlinked(Algorithm, u8),
    /// `gc/marked/<run>/<n>`: digests that a run found linked.
    Marked(String, u32),
    /// `gc/journal/<run>/<name>/_journal`: links of a repository that a run took away.
    Journal(String, RepositoryName),
    /// `gc/deleted/<name>/_deleted/<alg>/<hex>/at`: that a client deleted what a collection took before, and when.
    Deleted(RepositoryName, Digest),
    /// `gc/restored/<name>/_restored`: when tags of a repository were pushed that an undelete brought back.
    Restored(RepositoryName),
    /// `trash/<alg>/<hh>/<hex>/<name>`: bytes that are about to be deleted; each move has a name of its own, so that whoever deletes
    /// what was moved long ago never deletes what somebody has just moved.
    Trash(Digest, String),
    /// `maintenance`: there while nothing may be written.
    Maintenance,
    /// `pulls/<name>/_pulls`: when manifests of a repository were pulled last.
    Pulls(RepositoryName),
    /// `pulls/_recording`: since when that is known.
    Recording,
    /// `retention/state`: which policies were shown before they acted.
    Retention,
    /// `quota/<word>`: what the repositories of a quota hold, and what that names: `quota/<word>-<…>`.
    Quota(String),
    /// `stats/<day>`: how much there was on a day (`2026-11-30`).
    Stats(String),
    /// `instances/<id>`: an instance that serves.
    Instance(String),
    /// `acme/<kind>/<id>`: of a certificate that comes by itself.
    Acme(String),
}

impl Link {
    pub fn key(&self) -> String {
        match self {
            Link::Layer(name, digest) => format!("{REPOSITORIES}/{name}/_layers/{}/link", digest_path(digest)),
            Link::Revision(name, digest) => {
                format!("{REPOSITORIES}/{name}/_manifests/revisions/{}/link", digest_path(digest))
            }
            Link::Tag(name, tag) => format!("{}/current/link", tag_folder(name, tag)),
            Link::TagIndex(name, tag, digest) => {
                format!("{}/index/{}/link", tag_folder(name, tag), digest_path(digest))
            }
        }
    }
}

impl OwnKey {
    pub fn key(&self) -> String {
        match self {
            // A word after the name, since `a` and `a/b` can both be repositories, and a file cannot be a folder too.
            OwnKey::MediaType(name, digest) => format!("{OWN}/media-types/{name}/_types/{}", digest_path(digest)),
            OwnKey::Revisions(name) => format!("{OWN}/revisions/{name}/_memo"),
            OwnKey::CatalogChanges => format!("{OWN}/changes/catalog"),
            OwnKey::RepositoryChanges(name) => format!("{OWN}/changes/repositories/{name}/_changed"),
            OwnKey::Lease(word) => format!("{LEASES}/{word}"),
            OwnKey::MirrorTag(name, tag) => format!("{MIRROR}/{name}{MIRROR_TAGS}{tag}"),
            OwnKey::Probe => format!("{OWN}/probe"),
            OwnKey::Robot(id) => format!("{ROBOTS}/{id}"),
            OwnKey::RobotUsed(id) => format!("{OWN}/auth/robots-used/{id}"),
            OwnKey::TokenKeys => format!("{OWN}/auth/token-keys"),
            OwnKey::Epoch => format!("{OWN}/gc/epoch"),
            OwnKey::Clock(nonce) => format!("{CLOCK}/{nonce}"),
            OwnKey::GcRun => format!("{OWN}/gc/run"),
            OwnKey::GcPaused => format!("{OWN}/gc/paused"),
            OwnKey::References(name) => format!("{OWN}/gc/references/{name}/_references"),
            OwnKey::Unlinked(algorithm, shard) => format!("{UNLINKED}/{}/{shard:02x}", algorithm.name()),
            OwnKey::Marked(run, number) => format!("{MARKED}/{run}/{number:08}"),
            OwnKey::Journal(run, name) => format!("{JOURNALS}/{run}/{name}/_journal"),
            OwnKey::Deleted(name, digest) => format!("{DELETED}/{name}{DELETED_FILES}{}/at", digest_path(digest)),
            OwnKey::Restored(name) => format!("{OWN}/gc/restored/{name}/_restored"),
            OwnKey::Trash(digest, name) => format!("{}/{name}", trash_folder(digest)),
            OwnKey::Maintenance => format!("{OWN}/maintenance"),
            OwnKey::Pulls(name) => format!("{PULLS}/{name}{PULLS_FILE}"),
            OwnKey::Recording => format!("{PULLS}/_recording"),
            OwnKey::Retention => format!("{OWN}/retention/state"),
            OwnKey::Quota(word) => format!("{QUOTAS}/{word}"),
            OwnKey::Instance(id) => format!("{INSTANCES}/{id}"),
            OwnKey::Stats(day) => format!("{STATS}/{day}"),
            OwnKey::Acme(path) => format!("{OWN}/acme/{path}"),
        }
    }
}

pub fn blob(digest: &Digest) -> String {
    let hex = digest.hex();
    let shard = hex.get(..2).unwrap_or_default();
    format!("{TREE}/blobs/{}/{shard}/{hex}/data", digest.algorithm().name())
}

/// Folder of all blobs, one folder for each first byte of their hashes.
pub fn blobs_folder(algorithm: Algorithm) -> String {
    format!("{TREE}/blobs/{}", algorithm.name())
}

/// The same in the trash.
pub fn trash_of_all(algorithm: Algorithm) -> String {
    format!("{OWN}/trash/{}", algorithm.name())
}

/// Folder of the blobs whose hash begins with this byte, one folder each.
pub fn blobs_shard(algorithm: Algorithm, shard: u8) -> String {
    format!("{}/{shard:02x}", blobs_folder(algorithm))
}

/// The same in the trash.
pub fn trash_shard(algorithm: Algorithm, shard: u8) -> String {
    format!("{}/{shard:02x}", trash_of_all(algorithm))
}

/// `trash/<alg>/<hh>/<hex>`: what was moved of one blob.
pub fn trash_folder(digest: &Digest) -> String {
    let hex = digest.hex();
    let shard = hex.get(..2).unwrap_or_default();
    format!("{OWN}/trash/{}/{shard}/{hex}", digest.algorithm().name())
}

/// A repository exists when this folder does.
pub fn manifests_folder(name: &RepositoryName) -> String {
    format!("{REPOSITORIES}/{name}/_manifests")
}

pub fn tags_folder(name: &RepositoryName) -> String {
    format!("{REPOSITORIES}/{name}/_manifests/tags")
}

pub fn tag_folder(name: &RepositoryName, tag: &Tag) -> String {
    format!("{REPOSITORIES}/{name}/_manifests/tags/{tag}")
}

/// One folder for each digest.
pub fn revisions_folder(name: &RepositoryName, algorithm: Algorithm) -> String {
    format!("{REPOSITORIES}/{name}/_manifests/revisions/{}", algorithm.name())
}

/// One file for each digest, see [`OwnKey::MediaType`].
pub fn media_types_folder(name: &RepositoryName, algorithm: Algorithm) -> String {
    format!("{OWN}/media-types/{name}/_types/{}", algorithm.name())
}

/// Folder of one of our uploads.
pub fn upload_folder(id: &uuid::Uuid) -> String {
    format!("{UPLOADS}/{}", id.hyphenated())
}

/// A file of one of our uploads; `file` is a plain name.
pub fn upload_file(id: &uuid::Uuid, file: &str) -> String {
    format!("{UPLOADS}/{}/{file}", id.hyphenated())
}

/// Folder of what clients deleted of a repository, see [`OwnKey::Deleted`].
pub fn deleted_folder(name: &RepositoryName) -> String {
    format!("{DELETED}/{name}{}", DELETED_FILES.trim_end_matches('/'))
}

/// `<alg>/<hex>/at`, below that folder.
pub fn deleted_digest(file: &str) -> Option<Digest> {
    let (algorithm, hex) = file.strip_suffix("/at")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// `<alg>/<hex>`
fn digest_path(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm().name(), digest.hex())
}

/// The digest whose folder this is; what cannot be one is not ours to judge, and passed over.
pub fn digest_of_folder(algorithm: Algorithm, hex: &str) -> Option<Digest> {
    format!("{}:{hex}", algorithm.name()).parse().ok()
}

/// Whether a folder below `repositories` can be a part of a repository's name; `_manifests` and its like cannot.
pub fn is_name_part(folder: &str) -> bool {
    !folder.starts_with('_')
}

/// Sorts the catalog as distribution does: '/' before everything else, so that `a/b` stands before `a-b`.
pub fn catalog_key(name: &str) -> Vec<u8> {
    name.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

    fn digest() -> Digest {
        format!("sha256:{HEX}").parse().expect("a digest")
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("a name")
    }

    #[test]
    fn links_are_where_distribution_has_them() {
        let tag = || "v1.0".parse::<Tag>().expect("a tag");
        let tree = "docker/registry/v2/repositories/team/app";
        for (link, key) in [
            (Link::Layer(name("team/app"), digest()), format!("{tree}/_layers/sha256/{HEX}/link")),
            (Link::Revision(name("team/app"), digest()), format!("{tree}/_manifests/revisions/sha256/{HEX}/link")),
            (Link::Tag(name("team/app"), tag()), format!("{tree}/_manifests/tags/v1.0/current/link")),
            (
                Link::TagIndex(name("team/app"), tag(), digest()),
                format!("{tree}/_manifests/tags/v1.0/index/sha256/{HEX}/link"),
            ),
        ] {
            assert_eq!(link.key(), key);
        }
    }

    #[test]
    fn blobs_are_where_distribution_has_them() {
        assert_eq!(blob(&digest()), format!("docker/registry/v2/blobs/sha256/6c/{HEX}/data"));
        let long = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(blob(&long), format!("docker/registry/v2/blobs/sha512/cf/{}/data", long.hex()));
    }

    #[test]
    fn folders_are_where_distribution_has_them() {
        let name = name("a/b");
        assert_eq!(manifests_folder(&name), "docker/registry/v2/repositories/a/b/_manifests");
        assert_eq!(tags_folder(&name), "docker/registry/v2/repositories/a/b/_manifests/tags");
        assert_eq!(media_types_folder(&name, Algorithm::Sha256), "entrepot/v1/media-types/a/b/_types/sha256");
        assert_eq!(
            revisions_folder(&name, Algorithm::Sha512),
            "docker/registry/v2/repositories/a/b/_manifests/revisions/sha512"
        );
    }

    #[test]
    fn our_own_files_are_outside_of_the_tree() {
        let id = uuid::Uuid::nil();
        for (key, text) in [
            (
                OwnKey::MediaType(name("a/b"), digest()).key(),
                format!("entrepot/v1/media-types/a/b/_types/sha256/{HEX}"),
            ),
            (OwnKey::Revisions(name("a/b")).key(), "entrepot/v1/revisions/a/b/_memo".into()),
            (OwnKey::CatalogChanges.key(), "entrepot/v1/changes/catalog".into()),
            (OwnKey::RepositoryChanges(name("a")).key(), "entrepot/v1/changes/repositories/a/_changed".into()),
            (OwnKey::Lease("purge").key(), "entrepot/v1/leases/purge".into()),
            (
                OwnKey::MirrorTag(name("docker.io/a"), "v1".parse().expect("a tag")).key(),
                "entrepot/v1/mirror/docker.io/a/_tags/v1".into(),
            ),
            (OwnKey::Probe.key(), "entrepot/v1/probe".into()),
            (OwnKey::Acme("plans/a".into()).key(), "entrepot/v1/acme/plans/a".into()),
            (OwnKey::Pulls(name("a/b")).key(), "entrepot/v1/pulls/a/b/_pulls".into()),
            (
                OwnKey::Deleted(name("a/b"), digest()).key(),
                format!("entrepot/v1/gc/deleted/a/b/_deleted/sha256/{HEX}/at"),
            ),
            (OwnKey::Restored(name("a/b")).key(), "entrepot/v1/gc/restored/a/b/_restored".into()),
            (OwnKey::Recording.key(), "entrepot/v1/pulls/_recording".into()),
            (OwnKey::Robot("a".into()).key(), "entrepot/v1/auth/robots/a".into()),
            (OwnKey::RobotUsed("a".into()).key(), "entrepot/v1/auth/robots-used/a".into()),
            (OwnKey::TokenKeys.key(), "entrepot/v1/auth/token-keys".into()),
            (upload_folder(&id), "entrepot/v1/uploads/00000000-0000-0000-0000-000000000000".into()),
            (upload_file(&id, "state"), "entrepot/v1/uploads/00000000-0000-0000-0000-000000000000/state".into()),
            (LOCK.to_owned(), "entrepot/v1/lock".into()),
            (MULTIPARTS.to_owned(), "entrepot/v1/multiparts".into()),
        ] {
            assert_eq!(key, text);
            assert!(key.starts_with(&format!("{OWN}/")), "{key} has no version");
        }
    }

    #[test]
    fn only_folders_that_are_digests_are_revisions() {
        assert_eq!(digest_of_folder(Algorithm::Sha256, HEX), Some(digest()));
        assert_eq!(digest_of_folder(Algorithm::Sha512, HEX), None);
        assert_eq!(digest_of_folder(Algorithm::Sha256, "link"), None);
    }

    #[test]
    fn the_catalog_is_sorted_as_distribution_sorts_it() {
        let mut names: Vec<_> = ["a-b", "a/c", "a", "ab", "a/b/c", "a/b"].into_iter().map(name).collect();
        names.sort_by_key(|name| catalog_key(name.as_str()));
        let names: Vec<_> = names.iter().map(RepositoryName::as_str).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/c", "a-b", "ab"]);
    }
}
