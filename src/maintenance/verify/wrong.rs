//! What can be wrong, and how it is told.

use serde::Serialize;

use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::{Link, layout};

/// Repositories that a damage names.
pub(super) const MOST_NAMED: usize = 5;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wrong {
    /// The bytes in a blob's place are others: flipped, cut, or cannot be read.
    Bytes { digest: Digest, how: Bytes },
    /// A link leads to a blob whose bytes are not in place.
    Absent { digest: Digest, link: Link },
    /// A link holds no digest.
    Torn { link: Link },
    /// A link holds another digest than its place says.
    Astray { link: Link, holds: Digest },
    /// A tag leads to a manifest that its repository does not hold.
    Nowhere { name: RepositoryName, tag: Tag, target: Digest },
    /// An image of a repository names a blob that the repository does not hold.
    Lacking { name: RepositoryName, manifest: Digest, digest: Digest },
}

/// How bytes are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bytes {
    /// So many, with another digest.
    Other(u64),
    Unreadable(String),
}

/// One damage, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub kind: Kind,
    /// Whose bytes are concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Some that need it; there may be more.
    pub repositories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The key in storage of what is wrong.
    pub key: String,
    /// A sentence.
    pub what: String,
    pub state: State,
    /// By what it was repaired, or why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Other bytes than the digest says.
    WrongBytes,
    UnreadableBytes,
    /// Linked, and there are no bytes.
    NoBytes,
    TornLink,
    WrongLink,
    TagToNothing,
    /// A manifest names what its repository lacks.
    LackingReference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Found,
    Repaired,
    Left,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::WrongBytes,
        Kind::UnreadableBytes,
        Kind::NoBytes,
        Kind::TornLink,
        Kind::WrongLink,
        Kind::TagToNothing,
        Kind::LackingReference,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Kind::WrongBytes => "wrong_bytes",
            Kind::UnreadableBytes => "unreadable_bytes",
            Kind::NoBytes => "no_bytes",
            Kind::TornLink => "torn_link",
            Kind::WrongLink => "wrong_link",
            Kind::TagToNothing => "tag_to_nothing",
            Kind::LackingReference => "lacking_reference",
        }
    }
}

impl Wrong {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Wrong::Bytes { how: Bytes::Other(_), .. } => Kind::WrongBytes,
            Wrong::Bytes { how: Bytes::Unreadable(_), .. } => Kind::UnreadableBytes,
            Wrong::Absent { .. } => Kind::NoBytes,
            Wrong::Torn { .. } => Kind::TornLink,
            Wrong::Astray { .. } => Kind::WrongLink,
            Wrong::Nowhere { .. } => Kind::TagToNothing,
            Wrong::Lacking { .. } => Kind::LackingReference,
        }
    }

    /// Equal for what is one damage, however often it is met.
    pub(super) fn identity(&self) -> String {
        match self {
            // All that link a blob meet the same lack.
            Wrong::Bytes { digest, .. } | Wrong::Absent { digest, .. } => digest.text(),
            Wrong::Torn { link } | Wrong::Astray { link, .. } => link.key(),
            Wrong::Nowhere { name, tag, .. } => Link::Tag(name.clone(), tag.clone()).key(),
            Wrong::Lacking { name, digest, .. } => Link::Layer(name.clone(), *digest).key(),
        }
    }

    /// Of which blob the bytes are wrong or absent.
    pub(super) fn bytes_of(&self) -> Option<&Digest> {
        match self {
            Wrong::Bytes { digest, .. } | Wrong::Absent { digest, .. } => Some(digest),
            _ => None,
        }
    }

    /// The repository whose link is wrong or missing.
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Wrong::Bytes { .. } => None,
            Wrong::Absent { link, .. } | Wrong::Torn { link } | Wrong::Astray { link, .. } => Some(repository_of(link)),
            Wrong::Nowhere { name, .. } | Wrong::Lacking { name, .. } => Some(name),
        }
    }

    /// As it is told; `holders`: who else needs it.
    pub(super) fn damage(&self, holders: &[RepositoryName]) -> Damage {
        let mut repositories: Vec<String> = Vec::new();
        for name in self.repository().into_iter().chain(holders).map(ToString::to_string) {
            if repositories.len() < MOST_NAMED && !repositories.contains(&name) {
                repositories.push(name);
            }
        }
        let (digest, tag, key) = match self {
            Wrong::Bytes { digest, .. } | Wrong::Absent { digest, .. } => (Some(*digest), None, layout::blob(digest)),
            Wrong::Torn { link } | Wrong::Astray { link, .. } => (digest_of(link), tag_of(link), link.key()),
            Wrong::Nowhere { tag, target, .. } => (Some(*target), Some(tag.to_string()), self.identity()),
            Wrong::Lacking { digest, .. } => (Some(*digest), None, self.identity()),
        };
        let (kind, what) = (self.kind(), self.sentence());
        Damage { kind, digest, repositories, tag, key, what, state: State::Found, by: None }
    }

    fn sentence(&self) -> String {
        match self {
            Wrong::Bytes { digest, how: Bytes::Other(size) } => {
                format!("the {size} bytes of {digest} have another digest")
            }
            Wrong::Bytes { digest, how: Bytes::Unreadable(why) } => format!("{digest} cannot be read: {why}"),
            Wrong::Absent { digest, .. } => format!("{digest} is linked, and its bytes are not there"),
            Wrong::Torn { link } => format!("{} holds no digest", place(link)),
            Wrong::Astray { link, holds } => format!("{} holds {holds}", place(link)),
            Wrong::Nowhere { name, tag, target } => {
                format!("{name}:{tag} leads to {target}, which the repository does not hold")
            }
            Wrong::Lacking { name, manifest, digest } => {
                format!("{manifest} of {name} names {digest}, which the repository does not hold")
            }
        }
    }
}

/// What a link is, in words.
fn place(link: &Link) -> String {
    match link {
        Link::Layer(name, digest) => format!("the link of {name} to the blob {digest}"),
        Link::Revision(name, digest) => format!("the link of {name} to the manifest {digest}"),
        Link::Tag(name, tag) => format!("the tag {name}:{tag}"),
        Link::TagIndex(name, tag, digest) => format!("the link in the history of {name}:{tag} to {digest}"),
    }
}

pub(super) fn repository_of(link: &Link) -> &RepositoryName {
    match link {
        Link::Layer(name, _) | Link::Revision(name, _) | Link::Tag(name, _) | Link::TagIndex(name, _, _) => name,
    }
}

/// What a link's place says that it holds.
pub(super) fn digest_of(link: &Link) -> Option<Digest> {
    match link {
        Link::Layer(_, digest) | Link::Revision(_, digest) | Link::TagIndex(_, _, digest) => Some(*digest),
        Link::Tag(..) => None,
    }
}

fn tag_of(link: &Link) -> Option<String> {
    match link {
        Link::Tag(_, tag) | Link::TagIndex(_, tag, _) => Some(tag.to_string()),
        Link::Layer(..) | Link::Revision(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn one_damage_is_told_once_and_names_who_needs_it() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let one = Wrong::Absent { digest, link: Link::Layer(name("a"), digest) };
        let other = Wrong::Absent { digest, link: Link::Revision(name("b"), digest) };
        assert_eq!(one.identity(), other.identity());
        let damage = one.damage(&[name("a"), name("b"), name("a"), name("c")]);
        assert_eq!((damage.kind, damage.repositories), (Kind::NoBytes, vec!["a".to_owned(), "b".into(), "c".into()]));
        let torn = Wrong::Torn { link: Link::Tag(name("a"), "v1".parse().unwrap()) };
        let text = serde_json::to_value(torn.damage(&[])).unwrap();
        assert_eq!(
            text,
            serde_json::json!({
                "kind": "torn_link", "repositories": ["a"], "tag": "v1", "what": "the tag a:v1 holds no digest", "state": "found",
                "key": "docker/registry/v2/repositories/a/_manifests/tags/v1/current/link",
            })
        );
    }

    #[test]
    fn words_are_those_of_the_json() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }
}
