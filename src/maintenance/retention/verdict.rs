//! What becomes of a tag, and why: in words for people, and as JSON.

use std::fmt;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::oci::{Digest, Tag};
use crate::units::Span;

/// What becomes of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub tag: Tag,
    pub ruling: Ruling,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    Kept(Kept),
    Gone(Gone),
}

/// Why a tag stays. `policy`: its place in `[[retention]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `[registry] immutable_tags`.
    Immutable,
    /// `keep.tags`.
    Always {
        policy: usize,
    },
    LatestPushed {
        policy: usize,
        count: usize,
    },
    LatestPulled {
        policy: usize,
        count: usize,
    },
    PushedWithin {
        policy: usize,
        span: Span,
    },
    PulledWithin {
        policy: usize,
        span: Span,
    },
    CreatedWithin {
        policy: usize,
        span: Span,
    },
    /// An index that another tag keeps names what this one leads to.
    HeldBy {
        tag: Tag,
    },
    /// All others go.
    LastTag,
    /// A signature or the like: what it is about is in the repository.
    WithSubject {
        subject: String,
    },
    /// A signature or the like: what it is about is not in the repository, but may come, or is in another one.
    Dangling {
        subject: String,
    },
    /// No policy takes it.
    Unmatched,
    /// It leads nowhere, so that nobody knows what it is.
    Torn,
}

/// Why a tag goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// A policy is about it, and nothing keeps it.
    NotKept { policy: usize },
    /// A policy's `unmatched = "delete"`.
    Unmatched { policy: usize },
    /// A signature or the like: what it is about is not in the repository.
    Dangling { policy: usize, subject: String },
}

impl Ruling {
    pub fn is_gone(&self) -> bool {
        matches!(self, Ruling::Gone(_))
    }

    /// A word for counts.
    pub const fn word(&self) -> &'static str {
        match self {
            Ruling::Kept(kept) => match kept {
                Kept::Immutable => "immutable",
                Kept::Always { .. } => "keep_tags",
                Kept::LatestPushed { .. } => "latest_pushed",
                Kept::LatestPulled { .. } => "latest_pulled",
                Kept::PushedWithin { .. } => "pushed_within",
                Kept::PulledWithin { .. } => "pulled_within",
                Kept::CreatedWithin { .. } => "created_within",
                Kept::HeldBy { .. } => "held_by_index",
                Kept::LastTag => "last_tag",
                Kept::WithSubject { .. } => "with_subject",
                Kept::Dangling { .. } => "dangling",
                Kept::Unmatched => "unmatched",
                Kept::Torn => "torn",
            },
            Ruling::Gone(gone) => match gone {
                Gone::NotKept { .. } => "not_kept",
                Gone::Unmatched { .. } => "unmatched",
                Gone::Dangling { .. } => "dangling",
            },
        }
    }

    /// The policy that decided, if one did.
    pub fn policy(&self) -> Option<usize> {
        match self {
            Ruling::Kept(
                Kept::Always { policy }
                | Kept::LatestPushed { policy, .. }
                | Kept::LatestPulled { policy, .. }
                | Kept::PushedWithin { policy, .. }
                | Kept::PulledWithin { policy, .. }
                | Kept::CreatedWithin { policy, .. },
            )
            | Ruling::Gone(Gone::NotKept { policy } | Gone::Unmatched { policy } | Gone::Dangling { policy, .. }) => {
                Some(*policy)
            }
            Ruling::Kept(_) => None,
        }
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ruling::Kept(kept) => kept.fmt(f),
            Ruling::Gone(gone) => gone.fmt(f),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::Immutable => f.write_str("never moves: [registry] immutable_tags"),
            Kept::Always { policy } => write!(f, "always stays: retention[{policy}]"),
            Kept::LatestPushed { policy, count } => write!(f, "one of the {count} pushed last: retention[{policy}]"),
            Kept::LatestPulled { policy, count } => write!(f, "one of the {count} pulled last: retention[{policy}]"),
            Kept::PushedWithin { policy, span } => write!(f, "pushed within {span}: retention[{policy}]"),
            Kept::PulledWithin { policy, span } => write!(f, "pulled within {span}: retention[{policy}]"),
            Kept::CreatedWithin { policy, span } => write!(f, "created within {span}: retention[{policy}]"),
            Kept::HeldBy { tag } => write!(f, "the index of {tag} holds it"),
            Kept::LastTag => f.write_str("the last tag of its repository"),
            Kept::WithSubject { subject } => write!(f, "stays as long as {subject}, which it is about"),
            Kept::Dangling { subject } => write!(f, "about {subject}, which is not here, or not yet"),
            Kept::Unmatched => f.write_str("no policy is about it"),
            Kept::Torn => f.write_str("leads nowhere"),
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::NotKept { policy } => write!(f, "nothing keeps it: retention[{policy}]"),
            Gone::Unmatched { policy } => write!(f, "matches no pattern: retention[{policy}] unmatched = \"delete\""),
            Gone::Dangling { policy, subject } => write!(f, "about {subject}, which is not here: retention[{policy}]"),
        }
    }
}

impl Serialize for Ruling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            decision: &'a str,
            rule: &'a str,
            policy: Option<usize>,
            reason: String,
        }
        let decision = if self.is_gone() { "delete" } else { "keep" };
        Written { decision, rule: self.word(), policy: self.policy(), reason: self.to_string() }.serialize(serializer)
    }
}

/// A tag and all that policies may ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub tag: Tag,
    /// `None`: its link is torn, or not read yet.
    pub digest: Option<Digest>,
    /// When it was set last, by the store's clock.
    pub pushed: SystemTime,
    /// When it, or what it leads to now, was pulled last; `None`: not since that is recorded, or not known yet.
    pub pulled: Option<SystemTime>,
    /// When its image says that it was made, where that can be; `None`: not known yet.
    pub created: Option<SystemTime>,
    pub immutable: bool,
}
