//! Who asks. Today nobody is asked who they are by Entrepot itself: before a cluster the peers' verdicts count (`verdicts`), and
//! the integrated registry is open to whoever reaches it. What comes here: who somebody is (htpasswd, tokens, workloads), and the
//! rules of who may do what.

use std::fmt;

/// Who makes a request, as far as we have found out ourselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    #[default]
    Anonymous,
}

impl Identity {
    /// The name for logs; `None`: there is none to tell.
    pub fn name(&self) -> Option<&str> {
        match self {
            Identity::Anonymous => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("anonymous"))
    }
}
