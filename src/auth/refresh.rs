//! What a client may keep instead of a user's password (OAuth2's refresh token), where the configuration says so. It is kept,
//! listed and taken away like a robot's secret, ends by itself, and is good for nothing but tokens of its user: not once the
//! password is another, or the user gone.

use std::time::{Duration, Instant};

use moka::sync::Cache;
use parking_lot::Mutex;

use super::authenticator::{Authenticator, Caller, Proof, Setup, Unproven, now};
use super::identity::{Identity, Kind};
use super::robot::{Robot, Secret};

/// How long one is good.
const LIFE: Duration = Duration::from_secs(90 * 86_400);
/// To one user, by each instance within an hour: each is something that storage keeps. Beyond, a token is given without.
const MOST: u32 = 20;
const HOUR: Duration = Duration::from_secs(3600);
/// Users of whom that is known.
const USERS: u64 = 10_000;

/// How many were given to whom of late, and since when; and when the ended ones were last looked for.
pub(super) struct Refreshes {
    given: Cache<String, (u32, Instant)>,
    pruned: Mutex<Option<Instant>>,
}

impl Default for Refreshes {
    fn default() -> Self {
        let given = Cache::builder().max_capacity(USERS).time_to_live(HOUR).build();
        Refreshes { given, pruned: Mutex::default() }
    }
}

impl Refreshes {
    /// Whether this user may have one more. Who asks in vain does not prolong it.
    fn take(&self, user: &str, now: Instant) -> bool {
        let (count, since) = match self.given.get(user) {
            Some((count, since)) if now.saturating_duration_since(since) < HOUR => (count, since),
            _ => (0, now),
        };
        if count < MOST {
            self.given.insert(user.to_owned(), (count + 1, since));
        }
        count < MOST
    }

    /// Whether it is time to look for those that have ended.
    fn is_time(&self, now: Instant) -> bool {
        let mut pruned = self.pruned.lock();
        let due = pruned.is_none_or(|then| now.saturating_duration_since(then) >= HOUR);
        if due {
            *pruned = Some(now);
        }
        due
    }
}

impl Authenticator {
    /// A new one for a user who has shown the password; `None`: there is none to have, and a token is given without.
    pub(super) async fn refresh_token(&self, setup: &Setup, identity: &Identity) -> Option<String> {
        let known = identity.known().filter(|known| known.kind == Kind::User)?;
        let standing = setup.standing(&known.name).filter(|_| setup.config.refresh_tokens)?;
        if !self.refreshes.take(&known.name, Instant::now()) {
            return None;
        }
        let now = now();
        if self.refreshes.is_time(Instant::now()) {
            self.robots.forget_ended(now);
        }
        let (robot, secret) = Robot::of_login(&known.name, &standing, (now, now + LIFE.as_secs()));
        match self.robots.keep_login(&robot, &secret).await {
            Ok(kept) => kept.map(|()| secret.reveal().to_owned()),
            Err(error) => {
                tracing::warn!(%error, "a refresh token could not be kept, and was not given");
                None
            }
        }
    }

    /// Whether one that is shown is good: for commands.
    pub async fn has_refresh_token(&self, shown: &str) -> bool {
        match self.setup() {
            Some(setup) => self.refresh(&setup, shown).await.is_ok(),
            None => false,
        }
    }

    /// Who shows one.
    pub(super) async fn refresh(&self, setup: &Setup, shown: &str) -> Result<Caller, Unproven> {
        let secret = Secret::read(shown).filter(|_| setup.config.refresh_tokens).ok_or(Unproven::Wrong)?;
        let found = self.robots.login(&secret, now()).await;
        let robot = found.map_err(|error| Unproven::Unavailable(error.to_string()))?.ok_or(Unproven::Wrong)?;
        let user = robot.user().ok_or(Unproven::Wrong)?;
        let standing = setup.standing(user).ok_or(Unproven::Wrong)?;
        if !robot.is_bound(&secret, &standing) {
            return Err(Unproven::Wrong);
        }
        Ok(Caller { identity: Identity::user(user), proof: Proof::Basic, grants: None, late: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_a_few_within_an_hour_and_then_again() {
        let (refreshes, begun) = (Refreshes::default(), Instant::now());
        let given = (0..MOST + 5).filter(|_| refreshes.take("ann", begun)).count();
        assert_eq!(given, MOST as usize);
        assert!(refreshes.take("bob", begun));
        assert!(!refreshes.take("ann", begun + HOUR / 2) && refreshes.take("ann", begun + HOUR));
        assert!(refreshes.is_time(begun) && !refreshes.is_time(begun + HOUR / 2) && refreshes.is_time(begun + HOUR));
    }
}
