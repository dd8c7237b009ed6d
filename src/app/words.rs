//! What a process and the one that is to take its place say to each other, and how long each is waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sockets::Told;

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
    /// [`PROOF_SOCKET`]. `reasons`: why it is not ready to have some.
    Proved { version: String, reasons: Vec<String> },
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

/// In the folder of the upgrade: where the predecessor waits, and where the successor answers its question.
pub const DOOR: &str = "door";
pub const PROOF_SOCKET: &str = "proof";
