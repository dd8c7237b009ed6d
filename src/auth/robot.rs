//! Robots: secrets that we make for programs. `ent_ID_RANDOM_CHECK` names itself, so that any user name will do with it, and
//! scanners of source code know it by its beginning; the check tells a typing error, or a program that tries, without asking
//! storage.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::permission::{Permission, Permissions};
use crate::oci::RepositoryName;
use crate::storage::format::Format;

const PREFIX: &str = "ent";
/// Letters of an id: enough for as many robots as there will ever be, and to be typed by `token revoke`.
const ID: usize = 10;
/// Letters of the secret part: 36³² are 165 bits, so that a plain hash of it is safe to keep.
const RANDOM: usize = 32;
/// Letters of the check.
const CHECK: usize = 6;
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Longest name of a robot, and most patterns of one.
const MAX_NAME: usize = 64;
const MAX_PATTERNS: usize = 64;

/// What a robot was made for.
#[derive(Clone, Default)]
pub struct Reach {
    patterns: Vec<String>,
    globs: GlobSet,
    allow: Permissions,
}

/// A robot's secret, as it is shown once. Has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    id: String,
    text: String,
}

/// A robot, as it is kept: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Robot {
    pub name: String,
    pub repositories: Vec<String>,
    /// The words of permissions.
    pub allow: Vec<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; `None`: never ends.
    pub expires: Option<u64>,
    /// SHA-256 of the secret, in hexadecimal.
    hash: String,
    /// It is no robot's, but stands for a user's password: see [`Robot::of_login`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<Login>,
}

/// A user's login that a client keeps instead of the password: OAuth2's refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Login {
    user: String,
    /// Of the user and the password, keyed with the secret: who reads the storage cannot try passwords against it.
    bound: String,
}

impl Format for Robot {
    const WHAT: &'static str = "a robot";
    const VERSION: u32 = 1;
}

/// When a robot's secret was used last, as one instance noted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Seconds since 1970.
    pub at: u64,
}

impl Format for Used {
    const WHAT: &'static str = "a note of a robot's use";
    const VERSION: u32 = 1;
}

/// Why there can be no such robot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RobotError {
    #[error("'{0}' is no name: letters, digits, '.', '_' and '-', at most {MAX_NAME} of them")]
    Name(String),
    #[error("'{0}' is not a pattern of repositories: {1}")]
    Pattern(String, String),
    #[error("more than {MAX_PATTERNS} patterns of repositories")]
    TooMany,
    #[error("it would be allowed nothing: name at least one repository and one action")]
    Nothing,
    #[error("a robot is made for repositories: 'admin' is for people, by a rule")]
    Admin,
}

impl Reach {
    pub fn new(repositories: &[String], allow: Permissions) -> Result<Self, RobotError> {
        if repositories.len() > MAX_PATTERNS {
            return Err(RobotError::TooMany);
        }
        let mut globs = GlobSetBuilder::new();
        for pattern in repositories {
            let fault = |error: globset::Error| RobotError::Pattern(pattern.clone(), error.kind().to_string());
            globs.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(fault)?);
        }
        let globs = globs.build().map_err(|error| RobotError::Pattern(String::new(), error.to_string()))?;
        Ok(Reach { patterns: repositories.to_vec(), globs, allow })
    }

    pub fn allow(&self) -> Permissions {
        self.allow
    }

    pub fn allows(&self, permission: Permission, repository: &RepositoryName) -> bool {
        self.allow.allows(permission) && self.globs.is_match(repository.as_str())
    }
}

impl PartialEq for Reach {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns && self.allow == other.allow
    }
}

impl Eq for Reach {}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.allow, self.patterns.join(", "))
    }
}

impl Secret {
    fn fresh() -> Self {
        let mut random = rand::rng();
        let mut letters = |count: usize| -> String {
            (0..count)
                .map(|_| char::from(LETTERS.get(random.random_range(0..LETTERS.len())).copied().unwrap_or(b'a')))
                .collect()
        };
        let id = letters(ID);
        let begun = format!("{PREFIX}_{id}_{}", letters(RANDOM));
        let text = format!("{begun}_{}", check(&begun));
        Secret { id, text }
    }

    /// `None`: no secret of ours, whoever may have one.
    pub fn read(text: &str) -> Option<Self> {
        let (begun, checked) = text.rsplit_once('_')?;
        let mut parts = begun.split('_');
        let (prefix, id, random) = (parts.next()?, parts.next()?, parts.next()?);
        let plain = |text: &str, length| text.len() == length && text.bytes().all(|byte| LETTERS.contains(&byte));
        let good = prefix == PREFIX && plain(id, ID) && plain(random, RANDOM) && parts.next().is_none();
        (good && checked == check(begun)).then(|| Secret { id: id.to_owned(), text: text.to_owned() })
    }

    /// Whether somebody who shows this means to be a robot: then it is tried as nothing else.
    pub fn is_meant(text: &str) -> bool {
        text.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('_'))
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// To be shown to who made it, once.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.text.as_bytes()))
    }

    fn bind(&self, standing: &str) -> String {
        // HMAC takes a key of any length.
        let mac = Hmac::<Sha256>::new_from_slice(self.text.as_bytes()).ok();
        mac.map(|mac| hex::encode(mac.chain_update(standing).finalize().into_bytes())).unwrap_or_default()
    }
}

/// Whether a text can be an id: it becomes part of a key of storage.
pub fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| LETTERS.contains(&byte))
}

/// Of what stands before it. No secret: it only keeps typing errors from storage.
fn check(begun: &str) -> String {
    let digest = Sha256::digest(begun.as_bytes());
    digest
        .iter()
        .take(CHECK)
        .map(|byte| char::from(LETTERS.get(usize::from(*byte) % LETTERS.len()).copied().unwrap_or(b'a')))
        .collect()
}

impl Robot {
    /// A robot and its secret. `now` and `expires` in seconds since 1970.
    pub fn make(
        name: &str,
        repositories: Vec<String>,
        allow: &[Permission],
        (now, expires): (u64, Option<u64>),
    ) -> Result<(Robot, Secret), RobotError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(RobotError::Name(name.chars().take(MAX_NAME).collect()));
        }
        if allow.contains(&Permission::Admin) {
            return Err(RobotError::Admin);
        }
        if repositories.is_empty() || allow.is_empty() {
            return Err(RobotError::Nothing);
        }
        Reach::new(&repositories, Permissions::of(allow))?;
        let secret = Secret::fresh();
        let allow = Permissions::of(allow).iter().map(|permission| permission.word().to_owned()).collect();
        let hash = secret.hash();
        let robot = Robot { name: name.to_owned(), repositories, allow, created: now, expires, hash, login: None };
        Ok((robot, secret))
    }

    /// What a client may keep instead of the password of `user`, and its secret. It is good while `standing`, which names the
    /// user and the password, stays as it is. As a robot it may do nothing.
    pub fn of_login(user: &str, standing: &str, (now, expires): (u64, u64)) -> (Robot, Secret) {
        let secret = Secret::fresh();
        let login = Login { user: user.to_owned(), bound: secret.bind(standing) };
        let robot = Robot {
            name: user.to_owned(),
            repositories: Vec::new(),
            allow: Vec::new(),
            created: now,
            expires: Some(expires),
            hash: secret.hash(),
            login: Some(login),
        };
        (robot, secret)
    }

    /// The user whose login it is.
    pub fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.user.as_str())
    }

    /// Whether it was made while the user stood as now.
    pub fn is_bound(&self, secret: &Secret, standing: &str) -> bool {
        self.login.as_ref().is_some_and(|login| login.bound == secret.bind(standing))
    }

    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Compares hashes: what the time of that tells is of no use to anybody.
    pub fn has(&self, secret: &Secret) -> bool {
        self.hash == secret.hash()
    }

    /// What it may do. What a newer version allowed and this one does not know is not allowed.
    pub fn reach(&self) -> Result<Reach, RobotError> {
        Reach::new(&self.repositories, self.allow.iter().filter_map(|word| word.parse::<Permission>().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format;

    fn made() -> (Robot, Secret) {
        let allow = [Permission::Pull, Permission::Push];
        Robot::make("ci", vec!["team/**".into()], &allow, (100, Some(200))).unwrap()
    }

    #[test]
    fn a_secret_names_its_robot_and_is_kept_as_a_hash() {
        let (robot, secret) = made();
        let read = Secret::read(secret.reveal()).unwrap();
        assert!(read == secret && robot.has(&read) && is_id(read.id()) && Secret::is_meant(secret.reveal()));
        let kept = String::from_utf8(format::write(&robot).unwrap()).unwrap();
        assert!(!kept.contains(secret.reveal()) && !kept.contains(secret.reveal().split('_').nth(2).unwrap()));
        assert_eq!(format::read::<Robot>(kept.as_bytes()).unwrap(), robot);
        assert!(!robot.has(&made().1));
        assert!(!robot.is_expired(199) && robot.is_expired(200));
    }

    #[test]
    fn what_was_mistyped_is_no_secret() {
        let secret = made().1;
        let text = secret.reveal();
        for index in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[index] = if wrong[index] == b'a' { b'b' } else { b'a' };
            assert!(Secret::read(std::str::from_utf8(&wrong).unwrap()).is_none(), "{index}");
            assert!(Secret::read(&text[..index]).is_none());
        }
        for wrong in ["", "_", "ent___", "ent_a_b_c", &format!("{text}_x"), &text.to_uppercase(), &format!(" {text}")] {
            assert!(Secret::read(wrong).is_none(), "{wrong}");
        }
        assert!(!is_id("../../../x") && !is_id("") && !Secret::is_meant("entrance") && !Secret::is_meant("x"));
    }

    #[test]
    fn a_robot_reaches_what_it_was_made_for() {
        let reach = made().0.reach().unwrap();
        let allows = |permission, name: &str| reach.allows(permission, &name.parse().unwrap());
        assert!(allows(Permission::Pull, "team/a") && allows(Permission::Push, "team/a/b"));
        assert!(
            !allows(Permission::Delete, "team/a")
                && !allows(Permission::Pull, "team")
                && !allows(Permission::Pull, "x")
        );
    }

    #[test]
    fn a_robot_for_nothing_is_refused() {
        let make = |name: &str, repositories: &[&str], allow: &[Permission]| {
            Robot::make(name, repositories.iter().map(ToString::to_string).collect(), allow, (0, None)).err()
        };
        let pull = [Permission::Pull];
        assert!(matches!(make("", &["a"], &pull), Some(RobotError::Name(_))));
        assert!(matches!(make("a b", &["a"], &pull), Some(RobotError::Name(_))));
        assert!(matches!(make("a:b", &["a"], &pull), Some(RobotError::Name(_))));
        assert!(matches!(make("a", &["[a"], &pull), Some(RobotError::Pattern(..))));
        assert_eq!(make("a", &[], &pull), Some(RobotError::Nothing));
        assert_eq!(make("a", &["a"], &[]), Some(RobotError::Nothing));
        assert_eq!(make("a", &["a"], &[Permission::Admin]), Some(RobotError::Admin));
        assert_eq!(make("a", &vec!["a"; MAX_PATTERNS + 1], &pull), Some(RobotError::TooMany));
        assert_eq!(make("a", &["a"], &pull), None);
    }
}
