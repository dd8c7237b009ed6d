//! Logins, counted by where they come from and whom they try before anybody looks whether they are right.

use std::net::IpAddr;

use super::authenticator::{Authenticator, Caller, Unproven};
use super::credential::Credential;
use super::metrics::Means;
use super::robot::Secret;
use crate::limits::{Limits, Source};

/// Where a credential is shown, and how many may be shown from there.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    pub address: IpAddr,
    pub limits: Option<&'a Limits>,
}

impl Authenticator {
    /// Who shows this credential.
    ///
    /// # Errors
    /// It is nobody's, or that cannot be found out now; or too many come from there.
    pub async fn identify(&self, credential: &Credential, shown: &Shown<'_>) -> Result<Caller, Unproven> {
        let proven = self.prove(credential, Source::of(shown.address));
        match (login(credential), self.setup()) {
            (Some(login), Some(setup)) => self.counted(shown, login, setup.means(credential), proven).await,
            _ => proven.await,
        }
    }

    /// What comes of a try at this name with this secret, if no more than is borne have been made from there.
    pub(super) async fn counted(
        &self,
        shown: &Shown<'_>,
        (name, secret): (Option<&str>, &str),
        means: Means,
        proven: impl Future<Output = Result<Caller, Unproven>>,
    ) -> Result<Caller, Unproven> {
        let Some(limits) = shown.limits else { return proven.await };
        let attempt = match limits.login(Source::of(shown.address), name, secret).await {
            Ok(attempt) => attempt,
            Err(limited) => {
                tracing::info!(client = %shown.address, limit = limited.kind.word(), "a client logs in too often");
                let limited = Err(Unproven::TooOften(limited));
                self.metrics.identified(means, &limited);
                return limited;
            }
        };
        let found = proven.await;
        let right = match &found {
            Ok(_) => Some(true),
            Err(Unproven::Wrong | Unproven::Token(_)) => Some(false),
            Err(Unproven::Busy | Unproven::TooOften(_) | Unproven::Unavailable(_)) => None,
        };
        limits.tried(&attempt, right);
        found
    }
}

/// What is guessed at, and the name that is meant if it is a user's. Our own tokens are not: nobody guesses a signature.
fn login(credential: &Credential) -> Option<(Option<&str>, &str)> {
    match credential {
        Credential::None => None,
        // Secrets and tokens name themselves, and come with any name.
        Credential::Basic { user, password } => {
            let named = !Secret::is_meant(password) && !is_a_token(password);
            Some((named.then_some(user.as_str()), password))
        }
        Credential::Bearer(text) => Secret::is_meant(text).then_some((None, text)),
    }
}

/// What looks like a JWT.
fn is_a_token(password: &str) -> bool {
    password.starts_with("eyJ") && password.bytes().filter(|byte| *byte == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passwords_are_counted_by_name() {
        let basic = |user: &str, password: &str| Credential::login(user, password);
        assert_eq!(login(&basic("ann", "x")), Some((Some("ann"), "x")));
        assert_eq!(login(&basic("oidc", "eyJhbGciOiJub25lIn0.e30.x")), Some((None, "eyJhbGciOiJub25lIn0.e30.x")));
        assert_eq!(login(&basic("any", "ent_a_b_c")), Some((None, "ent_a_b_c")));
        assert_eq!(login(&Credential::Bearer("ent_a_b_c".into())), Some((None, "ent_a_b_c")));
        assert_eq!(login(&Credential::Bearer("eyJhbGciOiJub25lIn0.e30.x".into())), None);
        assert_eq!(login(&Credential::None), None);
    }
}
