//! Hashes of passwords: bcrypt, as Apache's `htpasswd -B` writes it, and argon2id, which is our own extension of the file.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bcrypt::HashParts;
use sha2::{Digest as _, Sha256};

/// Of bcrypt: each one more doubles the time; 10 are some 50 ms.
pub const MIN_COST: u32 = 4;
/// 14 are about a second of one core for each login: more is a way to keep the machine busy.
pub const MAX_COST: u32 = 14;
/// What is made if nothing else is asked for, and what an unknown user costs where there is no user at all.
pub const USUAL_COST: u32 = 10;
/// Bytes that bcrypt reads of a password and its NUL.
const BCRYPT_READS: usize = 72;

/// Of argon2id, in KiB: each of the checking threads may need so much at once.
const MAX_MEMORY: u32 = 256 << 10;
const MAX_ITERATIONS: u32 = 16;
const MAX_LANES: u32 = 16;
/// In bytes, as the specification has them; beyond the longest nobody's software writes.
const SALT: std::ops::RangeInclusive<usize> = 8..=64;
const OUTPUT: std::ops::RangeInclusive<usize> = 16..=64;
/// Of those that we make, in bytes.
const FRESH_SALT: usize = 16;
const FRESH_OUTPUT: usize = 32;

/// A hash that can be compared with. Has no `Debug`: who sees a hash can guess at home.
pub struct Hash {
    /// As it stands in the file.
    text: Box<str>,
    kind: Kind,
}

enum Kind {
    Bcrypt { cost: u32 },
    Argon2(Box<Parts>),
}

/// What argon2id's text says.
struct Parts {
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
}

/// How much a comparison costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    Bcrypt { cost: u32 },
    Argon2 { memory: u32, iterations: u32, lanes: u32 },
}

/// A comparison could not be made: no memory was to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a password could not be computed")]
pub struct Failed;

impl Hash {
    /// A hash, or what is wrong with the line that has it: never what stands there.
    pub fn read(text: &str) -> Result<Hash, &'static str> {
        let kind = match text {
            _ if ["$2y$", "$2a$", "$2b$"].iter().any(|prefix| text.starts_with(prefix)) => bcrypt_cost(text)?,
            _ if text.starts_with("$argon2id$") => Kind::Argon2(Box::new(Parts::read(text)?)),
            _ => return Err(foreign(text)),
        };
        Ok(Hash { text: text.into(), kind })
    }

    /// As it stands in the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn work(&self) -> Work {
        match &self.kind {
            Kind::Bcrypt { cost } => Work::Bcrypt { cost: *cost },
            Kind::Argon2(parts) => {
                let params = &parts.params;
                Work::Argon2 { memory: params.m_cost(), iterations: params.t_cost(), lanes: params.p_cost() }
            }
        }
    }

    /// One that costs as much and that no password has: nobody finds one for a hash of zeros.
    pub fn dummy(&self) -> Hash {
        match &self.kind {
            Kind::Bcrypt { cost } => Hash::dummy_bcrypt(*cost),
            Kind::Argon2(parts) => {
                let (salt, output) = (vec![0; parts.salt.len()], vec![0; parts.output.len()]);
                let parts = Parts { params: parts.params.clone(), salt, output };
                Hash { text: parts.text().into(), kind: Kind::Argon2(Box::new(parts)) }
            }
        }
    }

    pub fn dummy_bcrypt(cost: u32) -> Hash {
        // In bcrypt's base64 a dot is zero: 22 of salt, 31 of hash.
        Hash { text: format!("$2y${cost:02}${}", ".".repeat(53)).into(), kind: Kind::Bcrypt { cost } }
    }

    /// Whether this is the password. Takes as long as `work` says.
    pub fn is_of(&self, password: &[u8]) -> Result<bool, Failed> {
        match &self.kind {
            // Hashes made elsewhere are of the first 72 bytes, whatever followed: so we compare those too.
            Kind::Bcrypt { .. } => bcrypt::verify(password, &self.text).map_err(|_| Failed),
            Kind::Argon2(parts) => parts.is_of(password),
        }
    }
}

/// Only digits: `parse` would take a sign too.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn bcrypt_cost(text: &str) -> Result<Kind, &'static str> {
    const WRONG: &str = "has a hash that begins as bcrypt and does not go on so";
    let cost = text.get(4..6).filter(|_| text.get(6..7) == Some("$")).and_then(number).ok_or(WRONG)?;
    match cost {
        MIN_COST..=MAX_COST => text.parse::<HashParts>().map(|_| Kind::Bcrypt { cost }).map_err(|_| WRONG),
        _ if cost > MAX_COST => Err("has a bcrypt hash whose cost is above 14: each login would take seconds"),
        _ => Err("has a bcrypt hash whose cost is below 4"),
    }
}

/// What kind of hash it is that we do not take.
fn foreign(text: &str) -> &'static str {
    let kinds = [
        ("$2x$", "has a hash $2x$, of a bcrypt with a fault: make it anew"),
        ("$argon2", "has an argon2 hash that is not argon2id"),
        ("$apr1$", "has an MD5 hash ($apr1$): bcrypt is needed (htpasswd -B)"),
        ("$1$", "has an MD5 hash ($1$): bcrypt is needed (htpasswd -B)"),
        ("$5$", "has a SHA-256 hash ($5$): bcrypt is needed (htpasswd -B)"),
        ("$6$", "has a SHA-512 hash ($6$): bcrypt is needed (htpasswd -B)"),
        ("$", "has a hash of an unknown kind: bcrypt is needed (htpasswd -B)"),
        ("{", "has a SHA-1 hash: bcrypt is needed (htpasswd -B)"),
    ];
    match kinds.into_iter().find(|(prefix, _)| text.starts_with(prefix)) {
        Some((_, told)) => told,
        None if text.is_empty() => "has no hash",
        None => "has a password in plain text or by crypt: bcrypt is needed (htpasswd -B)",
    }
}

impl Parts {
    /// `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`: as the reference writes it, and nothing besides.
    fn read(text: &str) -> Result<Parts, &'static str> {
        const WRONG: &str = "has a hash that begins as argon2id and does not go on with v=19, m, t, p, salt and hash";
        let fields: Vec<&str> = text.split('$').collect();
        let ["", "argon2id", "v=19", costs, salt, output] = fields.as_slice() else { return Err(WRONG) };
        let costs: Vec<&str> = costs.split(',').collect();
        let [memory, iterations, lanes] = costs.as_slice() else { return Err(WRONG) };
        let value = |field: &str, name: &str| field.strip_prefix(name).and_then(number).ok_or(WRONG);
        let (memory, iterations, lanes) = (value(memory, "m=")?, value(iterations, "t=")?, value(lanes, "p=")?);
        if memory > MAX_MEMORY {
            return Err("has an argon2id hash that needs more than 256 MiB of memory");
        }
        if iterations > MAX_ITERATIONS || lanes > MAX_LANES {
            return Err("has an argon2id hash with more than 16 iterations or lanes");
        }
        let bytes = |field: &str| STANDARD_NO_PAD.decode(field).map_err(|_| WRONG);
        let (salt, output) = (bytes(salt)?, bytes(output)?);
        if !SALT.contains(&salt.len()) || !OUTPUT.contains(&output.len()) {
            return Err("has an argon2id hash whose salt or hash is too short or too long");
        }
        let params = Params::new(memory, iterations, lanes, Some(output.len())).map_err(|_| WRONG)?;
        Ok(Parts { params, salt, output })
    }

    fn text(&self) -> String {
        let (memory, iterations, lanes) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        let (salt, output) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.output));
        format!("$argon2id$v=19$m={memory},t={iterations},p={lanes}${salt}${output}")
    }

    fn compute(&self, password: &[u8]) -> Result<Vec<u8>, Failed> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let mut output = vec![0; self.output.len()];
        argon2.hash_password_into(password, &self.salt, &mut output).map_err(|_| Failed)?;
        Ok(output)
    }

    fn is_of(&self, password: &[u8]) -> Result<bool, Failed> {
        // Digests, so that how long the comparison takes says nothing of how much was alike.
        Ok(Sha256::digest(self.compute(password)?) == Sha256::digest(&self.output))
    }
}

/// How a hash is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// Between `MIN_COST` and `MAX_COST`.
    Bcrypt { cost: u32 },
    /// As OWASP advises it: 19 MiB, two iterations, one lane.
    Argon2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    #[error("the password is longer than 71 bytes, and bcrypt would ignore the rest: take a shorter one, or --argon2")]
    TooLong,
    #[error("the cost of bcrypt is a number from {MIN_COST} to {MAX_COST}")]
    Cost,
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// A hash for the file, with a salt of its own.
pub fn make(password: &[u8], recipe: Recipe) -> Result<String, MakeError> {
    match recipe {
        Recipe::Bcrypt { .. } if password.len() >= BCRYPT_READS => Err(MakeError::TooLong),
        Recipe::Bcrypt { cost: cost @ MIN_COST..=MAX_COST } => {
            let parts = bcrypt::non_truncating_hash_with_result(password, cost).map_err(|_| Failed)?;
            // As Apache and distribution know it.
            Ok(parts.format_for_version(bcrypt::Version::TwoY))
        }
        Recipe::Bcrypt { .. } => Err(MakeError::Cost),
        Recipe::Argon2 => {
            let salt = rand::random::<[u8; FRESH_SALT]>().to_vec();
            let mut parts = Parts { params: Params::DEFAULT, salt, output: vec![0; FRESH_OUTPUT] };
            parts.output = parts.compute(password)?;
            Ok(parts.text())
        }
    }
}
