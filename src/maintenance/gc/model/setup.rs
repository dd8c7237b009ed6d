//! The design, what may be left out of it, and who is there.

/// At most so many of each, so that a world is a few bytes.
pub const BLOBS: usize = 2;
pub const REPOSITORIES: usize = 2;
pub const WRITERS: usize = 2;
pub const COLLECTORS: usize = 2;
/// Copies of one blob in the trash at once.
pub const COPIES: usize = 2;

/// What happens to the bytes that nobody needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reap {
    /// To the trash, and for good a grace later, after a last look.
    Trash,
    /// To the trash, and for good in the same run, after another look.
    Now,
    /// Deleted where they are.
    InPlace,
}

/// How a writer of ours minds the epoch after its last write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mind {
    /// Odd before or after, changed, or the check too long ago: everything is looked at once more.
    Epoch,
    /// The same without "too long ago".
    EpochOnly,
    /// Only "too long ago".
    AgeOnly,
    /// A marker instead of a number: looks again while it is there.
    Marker,
    /// Refuses while the epoch is odd, and looks again where it changed.
    Refuse,
    Nothing,
}

/// What a writer that looks again does of a child manifest whose link was taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Child {
    /// Refuses.
    Refuses,
    /// Brings back what the child names, and then the child.
    FromBelow,
    /// Brings back the child, and then what it names.
    FromAbove,
    /// Brings back the child alone.
    Alone,
    /// Lets it be.
    Ignored,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Design {
    pub reap: Reap,
    pub mind: Mind,
    /// Looks at links before bytes are moved.
    pub look: bool,
    /// Looks at links before bytes go for good.
    pub last_look: bool,
    /// A look reads what manifests name, and not links alone.
    pub look_reads_manifests: bool,
    /// A look follows manifests that have no link of their own.
    pub look_follows: bool,
    /// Each move has a name of its own in the trash.
    pub own_names: bool,
    /// The time of a move is taken when it is done.
    pub time_after_move: bool,
    /// A look older than the bound for writers is made anew before bytes are moved.
    pub look_expires: bool,
    /// `Reap::Now` leaves in the trash what a DELETE without an answer was sent for.
    pub unclear_stays: bool,
    pub child: Child,
    /// A child manifest's missing link is written again only when all below it is there, and after it.
    pub heals_complete: bool,
    /// Who finds nothing in the trash looks in place once more.
    pub looks_in_place_again: bool,
}

/// The design that is built.
pub const DESIGN: Design = Design {
    reap: Reap::Trash,
    mind: Mind::Epoch,
    look: true,
    last_look: true,
    look_reads_manifests: true,
    look_follows: true,
    own_names: true,
    time_after_move: true,
    look_expires: true,
    unclear_stays: true,
    child: Child::FromBelow,
    heals_complete: true,
    looks_in_place_again: true,
};

/// The design that was considered first: deleted in place while a marker is there.
pub const IN_PLACE_BEHIND_A_MARKER: Design = Design { reap: Reap::InPlace, mind: Mind::Marker, ..DESIGN };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// Bytes are renamed in one step, and brought back by a second name.
    Disk,
    /// Files have one name: bytes are renamed in both directions.
    PlainDisk,
    /// Bytes are copied, then deleted; and copied back.
    Object,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ours,
    /// Distribution: no epoch, and what it once saw in a repository it may believe for `cache` units of time.
    Foreign {
        cache: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pusher {
    pub kind: Kind,
    pub repository: usize,
    /// Mounts from there instead of uploading.
    pub from: Option<usize>,
}

/// Units of time: half an hour each, where skew is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    pub grace: u8,
    pub reap_after: u8,
    /// After this a writer of ours does not believe its check any more, nor a collector its look.
    pub believed: u8,
    /// A foreign request takes less than this; with 255 it may take forever.
    pub request: u8,
    /// A DELETE without an answer is executed before this has passed, or never.
    pub late: u8,
}

pub const PLAIN: Times = Times { grace: 2, reap_after: 2, believed: 1, request: 1, late: 1 };
/// `grace = "2h"`, the least, and what has to hold with clocks an hour off.
pub const SKEWED: Times = Times { grace: 4, reap_after: 4, believed: 1, request: 1, late: 1 };

/// How the world begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// The blobs are old, linked in the first repository, and no manifest names them.
    Orphan,
    /// The same, and the links were taken away long ago.
    Unlinked,
    /// The bytes are in the trash, for less than a grace.
    Trashed,
    Empty,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    pub design: Design,
    pub store: Store,
    pub times: Times,
    pub beginning: Beginning,
    pub repositories: usize,
    /// With two, the first one is a manifest and names the second.
    pub blobs: usize,
    pub writers: [Option<Pusher>; WRITERS],
    pub collectors: usize,
    /// So many collections begin at most, where that many show what there is to show; 255: any number.
    pub runs: u8,
    /// Pulls what the first writer pushed.
    pub reader: bool,
    /// Manifests are deleted.
    pub deletions: bool,
    /// The file of the epoch may get lost.
    pub epoch_lost: bool,
    /// DELETEs may get no answer, and be executed later.
    pub late_deletes: bool,
    /// Collectors may be killed.
    pub kills: bool,
    /// Ages may be measured wrongly by so many units, either way.
    pub skew: u8,
}

pub const OURS: Pusher = Pusher { kind: Kind::Ours, repository: 0, from: None };
pub const FOREIGN: Pusher = Pusher { kind: Kind::Foreign { cache: 0 }, repository: 0, from: None };

/// One writer of ours and one collector on a disk.
pub const SETUP: Setup = Setup {
    design: DESIGN,
    store: Store::Disk,
    times: PLAIN,
    beginning: Beginning::Orphan,
    repositories: 1,
    blobs: 1,
    writers: [Some(OURS), None],
    collectors: 1,
    runs: 255,
    reader: false,
    deletions: true,
    epoch_lost: false,
    late_deletes: false,
    kills: true,
    skew: 0,
};

impl Setup {
    /// Ages are not counted beyond this: it is as old as anybody asks for.
    pub fn oldest(&self) -> u8 {
        self.times.grace.max(self.times.reap_after) + self.skew
    }
}
