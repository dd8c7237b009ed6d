//! Why somebody was turned away, for those who record it.

use super::authenticator::{Proof, Unproven};
use super::credential::Credential;
use super::permit::{Permit, Refused};
use super::robot::Secret;

/// Longest name that is repeated of who has not proven to have it, in characters.
const MAX_CLAIMED: usize = 64;

#[derive(Clone, Debug)]
pub enum TurnedAway {
    /// A credential was shown, and it is nobody's, or that cannot be found out.
    Unproven { why: &'static str, claimed: Option<String>, proof: Proof },
    /// Who asks is known, and may not.
    Refused { permit: Permit, refused: Refused },
}

impl TurnedAway {
    /// `None` for the credential: it could not be read.
    pub fn unproven(why: &Unproven, credential: Option<&Credential>) -> Self {
        let (claimed, proof) = match credential {
            // A name alone may be a secret that was put where it does not belong.
            Some(Credential::Basic { user, password }) => {
                (claimed(user).filter(|_| !password.is_empty()), Proof::Basic)
            }
            Some(Credential::Bearer(_)) => (None, Proof::Bearer),
            Some(Credential::None) | None => (None, Proof::None),
        };
        TurnedAway::Unproven { why: why.word(), claimed, proof }
    }
}

/// The name that somebody gave. Who puts a secret where the name belongs shall not find it in a log.
pub fn claimed(name: &str) -> Option<String> {
    let secret = Secret::is_meant(name) || name.starts_with("ey") && name.matches('.').count() == 2;
    (!name.is_empty() && !secret).then(|| name.chars().take(MAX_CLAIMED).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_place_of_a_name_is_not_repeated() {
        for secret in ["ent_abcdefghij_x_y", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", ""] {
            assert_eq!(claimed(secret), None);
        }
        assert_eq!(claimed("ann").as_deref(), Some("ann"));
        assert_eq!(claimed(&"x".repeat(1000)).map(|name| name.len()), Some(MAX_CLAIMED));
    }

    #[test]
    fn a_name_alone_is_not_repeated() {
        let shown = TurnedAway::unproven(&Unproven::Wrong, Some(&Credential::login("hunter2", "")));
        assert!(!format!("{shown:?}").contains("hunter2"), "{shown:?}");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let basic = Credential::login("ann", "hunter2");
        let shown = format!("{:?}", TurnedAway::unproven(&Unproven::Wrong, Some(&basic)));
        assert!(shown.contains("ann") && !shown.contains("hunter2"), "{shown}");
    }
}
