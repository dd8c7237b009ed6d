//! What a process and the one that is to take its place say to each other, and how long each is waited for.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sockets::Told;
use crate::storage::Storage;

/// From its start a successor has this long to prove itself.
pub const PROOF: Duration = Duration::from_secs(30);
/// Then this long to open what its configuration has and we do not.
pub const OPENING: Duration = Duration::from_secs(10);
/// In which nobody accepts: clients wait in the sockets' queues. Most of it is for reading what is remembered of peers (64 MiB at most)
/// and of remotes, on a slow disk.
pub const TAKING_OVER: Duration = Duration::from_secs(20);
/// A successor that is ended has this long to be gone.
pub const ENDING: Duration = Duration::from_secs(5);
/// A question of ours to it.
pub const ANSWER: Duration = Duration::from_secs(5);

/// In the order in which they are said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// The successor: its configuration is read, its certificates and storage are there, and it answers requests at the socket
    /// [`PROOF_SOCKET`]. `reasons`: why it is not ready to have some. `storage`: of its registry, if it has one.
    Proved {
        version: String,
        reasons: Vec<String>,
        #[serde(default)]
        storage: Option<Home>,
    },
    /// The successor, at any time: it ends.
    Failed { why: String },
    /// The predecessor: these come with it, in this order.
    Sockets { told: Vec<Told> },
    /// The successor: everything listens. `left`: what it has no use for, and has closed.
    Opened {
        #[serde(default)]
        left: Vec<Told>,
    },
    /// The predecessor: it accepts no more, and writes no more to what only one may write to.
    Go,
    /// The successor: it accepts.
    Serving,
    /// The predecessor: the service manager knows.
    Settled,
}

/// The storage of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Two processes that have the same one say the same: `Storage::identity`.
    pub identity: String,
    /// What the operator calls it.
    pub place: String,
}

impl Home {
    pub async fn of(storage: Option<&Arc<Storage>>) -> Result<Option<Home>, String> {
        let Some(storage) = storage else { return Ok(None) };
        let place = storage.place().to_owned();
        match storage.identity().await {
            Ok(identity) => Ok(Some(Home { identity, place })),
            Err(error) => Err(format!("which storage this is cannot be found out ({place}): {error}")),
        }
    }

    /// Why a process that has this one, or none, cannot be replaced by one that has the other. Both write for a while: what the old one
    /// still took would stay behind, and what is there already is not found any more.
    pub fn hindrance(ours: Option<&Home>, its: Option<&Home>) -> Option<String> {
        // Whether routes lead to the registry at all is a reload's to change, and so an upgrade's.
        let (ours, its) = (ours?, its?);
        if ours.identity == its.identity {
            return None;
        }
        let which = match ours.place == its.place {
            true => format!("{} is not what it was when this process began", ours.place),
            false => format!("{}, where this process has {}", its.place, ours.place),
        };
        Some(format!(
            "the successor has another storage: {which}. An upgrade moves no image: correct [storage], or restart to change it"
        ))
    }
}

/// In the folder of the upgrade: where the predecessor waits, and where the successor answers its question.
pub const DOOR: &str = "door";
pub const PROOF_SOCKET: &str = "proof";

#[cfg(test)]
mod tests {
    use super::*;

    fn home(identity: &str, place: &str) -> Home {
        Home { identity: identity.into(), place: place.into() }
    }

    #[test]
    fn only_another_storage_is_a_hindrance() {
        let ours = home("folder 1:2", "storage.root /srv/images");
        // Another path to the same folder.
        let same = home("folder 1:2", "storage.root /mnt/images");
        for (ours, its) in [(Some(&ours), Some(&same)), (None, Some(&ours)), (Some(&ours), None), (None, None)] {
            assert_eq!(Home::hindrance(ours, its), None);
        }
        let why = Home::hindrance(Some(&ours), Some(&home("folder 1:3", "storage.root /srv/imags"))).unwrap();
        assert_eq!(
            why,
            "the successor has another storage: storage.root /srv/imags, where this process has storage.root /srv/images. An upgrade \
             moves no image: correct [storage], or restart to change it"
        );
        let mounted = Home::hindrance(Some(&ours), Some(&home("folder 9:2", "storage.root /srv/images"))).unwrap();
        assert!(mounted.contains("storage.root /srv/images is not what it was when this process began"), "{mounted}");
    }

    /// A successor of a version that does not say where its storage is.
    #[test]
    fn what_a_version_before_says_is_understood() {
        let word: Word = serde_json::from_str(r#"{"word":"proved","version":"0.0.1","reasons":[]}"#).unwrap();
        assert_eq!(word, Word::Proved { version: "0.0.1".into(), reasons: vec![], storage: None });
    }
}
