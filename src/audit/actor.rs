//! Who does something, as the audit tells it.

use crate::auth::{Identity, Permit, Proof};

#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// `user`, `robot`, `workload`, `anonymous`; `claimed`: nobody has proven it; `peers`: the peers know, and we do not; `operator`.
    pub kind: &'static str,
    pub name: Option<String>,
    /// The id of the token that was shown.
    pub token: Option<String>,
    /// The id of the robot's secret.
    pub secret: Option<String>,
    pub groups: Vec<String>,
    /// `none`, `basic`, `bearer`, `certificate`.
    pub proof: &'static str,
}

impl Actor {
    /// Whom the rules know, and how they showed it.
    pub fn of(permit: &Permit, proof: Proof) -> Self {
        let identity = permit.identity();
        let (kind, name, secret) = match &identity {
            Identity::Anonymous => ("anonymous", None, None),
            Identity::Known(known) => (known.kind.word(), Some(known.name.clone()), known.secret.clone()),
        };
        Actor { kind, name, token: permit.token(), secret, groups: permit.groups(), proof: word(proof) }
    }

    /// Who they say they are, which was not proven.
    pub fn claimed(name: Option<String>, proof: Proof) -> Self {
        Actor { kind: "claimed", name, proof: word(proof), ..Actor::default() }
    }
}

const fn word(proof: Proof) -> &'static str {
    match proof {
        Proof::None => "none",
        Proof::Basic => "basic",
        Proof::Bearer => "bearer",
        Proof::Certificate => "certificate",
    }
}
