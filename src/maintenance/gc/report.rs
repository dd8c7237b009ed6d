//! What is ordered, what is told while it is done, and what came of it: values, for people (`cli`) and programs (`admin`) alike.

use serde::{Deserialize, Serialize};

use super::state::Phase;
use super::time::Time;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::units::Span;

/// Repositories that are told of, those from which most was taken first.
pub const MAX_TOLD: usize = 100;

/// A run of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Only says what would go; writes nothing but what manifests name, which it remembers for the next time.
    pub dry: bool,
    /// What is old enough goes at once: for a full disk, and for those who expect freed bytes.
    pub now: bool,
    /// Whether bytes that are moved with `now` stay in the trash for `grace` all the same.
    pub trash: Trash,
    /// Instead of `[gc] untagged`.
    pub untagged: Option<Span>,
    /// Who orders it, for people.
    pub by: String,
    /// Though another program writes into the same storage.
    pub foreign_careful: bool,
    /// Though no repository links anything.
    pub empty: bool,
    /// Began by its schedule: keeps to `[gc] hours`.
    pub scheduled: bool,
    /// What stays only because it is younger than `grace` is counted. Costs a question for each tag of a repository in which all is
    /// young, so that only those ask who tell of it.
    pub young: bool,
}

/// When bytes that are moved with `now` are not deleted by the same run. Who wrote a link without looking, because it believes its own
/// memory, gets them back by the next look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trash {
    #[default]
    Never,
    /// Where another program was seen to push within the last day.
    BesideOthers,
    Always,
}

/// Is told of every step, by the run itself: whoever has more to do than to note it does that elsewhere.
pub trait Tell: Send + Sync {
    fn step(&self, step: &Step);

    /// What a repository needs, as it is found out: for those few who want to know all of it.
    fn marked(&self, _: &Needs<'_>) {}

    /// What this run moves stays in the trash, though it was ordered `now`: told before anything is moved.
    fn stays_in_trash(&self) {}
}

/// What of a repository stays.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    pub repository: &'a RepositoryName,
    pub manifests: &'a [Digest],
    /// All that is linked and stays so, or that its manifests name; the manifests too.
    pub needed: &'a [Digest],
}

/// Nobody listens.
impl Tell for () {
    fn step(&self, _: &Step) {}
}

/// Digests, names and sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// What is needed is found out, a repository after the other.
    Marking {
        #[serde(serialize_with = "text")]
        repository: RepositoryName,
        /// Done so far.
        repositories: u64,
    },
    /// Nobody needs these links of a repository: they are taken away, or would be.
    Condemned {
        #[serde(serialize_with = "text")]
        repository: RepositoryName,
        blobs: Vec<Digest>,
        manifests: Vec<Digest>,
    },
    /// Nothing is taken from this repository, since nobody can tell what this manifest needs.
    Unreadable {
        #[serde(serialize_with = "text")]
        repository: RepositoryName,
        digest: Digest,
    },
    /// Blobs are gone through, a part after the other.
    Shard {
        done: u32,
        of: u32,
    },
    /// Would be moved or deleted.
    Eligible {
        digest: Digest,
        size: u64,
    },
    /// It is looked once more whether somebody needs what is due.
    Looking {
        /// Done so far.
        repositories: u64,
        due: u64,
    },
    Moved {
        digest: Digest,
        size: u64,
    },
    /// For good.
    Deleted {
        digest: Digest,
        size: u64,
    },
    /// A link was written again, because a manifest needs it.
    Healed {
        #[serde(serialize_with = "text")]
        repository: RepositoryName,
        digest: Digest,
    },
    /// Bytes were brought back from the trash, because somebody needs them.
    Rescued {
        digest: Digest,
    },
    Waiting {
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
        why: String,
    },
    /// Of an undelete.
    Restored {
        #[serde(serialize_with = "text")]
        repository: RepositoryName,
        links: u64,
    },
}

fn text<S: serde::Serializer>(name: &RepositoryName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

/// What a run did so far, or would do. Bytes are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub repositories: u64,
    pub manifests: u64,
    pub links: u64,
    /// Digests that something needs.
    pub needed: u64,
    /// Links that were taken away: of blobs, of manifests.
    pub condemned_blobs: u64,
    pub condemned_manifests: u64,
    /// Repositories from which nothing was taken, since one of their manifests cannot be read.
    pub kept_whole: u64,
    /// Links that were written again, and blobs that were brought back.
    pub healed: u64,
    pub rescued: u64,
    /// Blobs in place that no repository links.
    pub unlinked: u64,
    pub unlinked_bytes: u64,
    /// Moved to the trash.
    pub moved: u64,
    pub moved_bytes: u64,
    /// Deleted for good.
    pub deleted: u64,
    pub freed_bytes: u64,
    /// In the trash afterwards.
    pub trash: u64,
    pub trash_bytes: u64,
    /// Needed, and neither in place nor in the trash: damage, which `entrepot verify` looks into.
    pub lost: u64,
    /// Only where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub young: Option<Young>,
}

/// What nothing needs, and what stays because it is younger than `grace`, or because something is that needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Young {
    /// Counted in each repository that links them, and those that none does.
    pub blobs: u64,
    pub manifests: u64,
    /// When the last of them is old enough.
    pub until: Option<Time>,
}

impl Young {
    pub fn add(&mut self, other: Young) {
        self.blobs += other.blobs;
        self.manifests += other.manifests;
        self.until = self.until.max(other.until);
    }
}

/// What was taken from one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromRepository {
    pub repository: String,
    pub blobs: u64,
    pub manifests: u64,
    /// Of its blobs that no repository links any more.
    pub bytes: u64,
}

/// What a run did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name, for `entrepot gc undelete`.
    pub run: String,
    pub dry: bool,
    pub now: bool,
    pub begun: Time,
    pub ended: Time,
    /// It went on with what another had begun.
    pub resumed: bool,
    #[serde(flatten)]
    pub counts: Counts,
    /// Those from which most was taken, at most [`MAX_TOLD`].
    #[serde(rename = "from")]
    pub repositories: Vec<FromRepository>,
    /// Repositories that keep everything, at most [`MAX_TOLD`].
    #[serde(rename = "kept")]
    pub kept_whole: Vec<String>,
    /// What should be known, as sentences.
    pub notes: Vec<String>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The run under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<RunStatus>,
    /// The last one that ended, or was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<RunStatus>,
    /// Blobs in place that no repository links.
    pub unlinked: Heap,
    /// Of these, what the next run moves or deletes.
    pub due: Heap,
    /// When the next ones are due after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Time>,
    pub trash: Heap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Heap {
    pub blobs: u64,
    pub bytes: u64,
}

impl Heap {
    pub fn add(&mut self, size: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(size);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunStatus {
    pub run: String,
    pub by: String,
    pub now: bool,
    pub begun: Time,
    /// When it was last heard of.
    pub beat: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    pub phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(flatten)]
    pub counts: Counts,
    #[serde(rename = "from")]
    pub repositories: Vec<FromRepository>,
}

/// Since when collections are paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub since: Time,
    pub by: String,
}

/// What is to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelete {
    /// All that a run took away: of a collection, of retention, of a removal.
    Run(String),
    /// All that was taken from a repository.
    Repository(RepositoryName),
    /// A blob, or a manifest with all that it names.
    Digest(Digest),
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    pub repositories: Vec<String>,
    pub blobs: u64,
    pub manifests: u64,
    pub tags: u64,
    /// Bytes that came out of the trash.
    pub rescued_bytes: u64,
    /// What cannot come back, since its bytes are gone, or those of something that it needs: at most [`MAX_TOLD`].
    pub gone: Vec<Digest>,
    /// Tags that lead somewhere else by now, and were left so: at most [`MAX_TOLD`].
    pub moved_tags: Vec<MovedTag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedTag {
    pub repository: String,
    #[serde(serialize_with = "tag_text")]
    pub tag: Tag,
    /// What it led to.
    pub was: Digest,
}

fn tag_text<S: serde::Serializer>(tag: &Tag, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(tag.as_str())
}
