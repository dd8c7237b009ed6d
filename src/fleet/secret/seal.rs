//! Sealing: what is kept in storage and shall be read by the instances of this fleet alone.
//!
//! A version, the name of the key, a random nonce, then the text under ChaCha20-Poly1305 with its tag. The name tells
//! "another fleet's" from "damaged", and finds the key without trying all. Random nonces of 96 bits bear 2³² seals of one
//! key: labels have a key each, and what is sealed is keys and certificates.

use hkdf::InvalidLength;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;

use super::{Keyring, Secret, Use};

const VERSION: u8 = 1;
const NAME: usize = 4;
const TAG: usize = 16;
const HEAD: usize = 1 + NAME + NONCE_LEN;
/// What is sealed at once, in bytes: a chain of certificates with its key is some KiB.
pub const MAX_PLAIN: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("is longer than {MAX_PLAIN} bytes, more than is sealed at once")]
    TooLong,
    #[error("cannot be sealed")]
    Impossible,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("is cut short, or was never sealed")]
    Truncated,
    #[error("is longer than anything that is sealed")]
    TooLong,
    #[error("was sealed by a newer Entrepot (version {0})")]
    Newer(u8),
    #[error("was sealed with a secret that is not in `secret_file`")]
    AnotherSecret,
    #[error("is damaged, or stands where something else was sealed")]
    Altered,
}

impl Keyring {
    /// `label` says for what use; `about` is bound to the seal without being kept in it: where it is kept, say.
    pub fn seal(&self, label: &str, plain: &[u8], about: &[u8]) -> Result<Vec<u8>, SealError> {
        if plain.len() > MAX_PLAIN {
            return Err(SealError::TooLong);
        }
        let name: [u8; NAME] = self.current.derive(Use::SealName(label))?;
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(HEAD + plain.len() + TAG);
        sealed.push(VERSION);
        sealed.extend(name);
        sealed.extend(nonce);
        let mut text = plain.to_vec();
        let bound = Aad::from(bound(&sealed, about));
        key(&self.current, label)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut text)?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// What was sealed with any of the secrets, under the same label and about the same.
    pub fn open(&self, label: &str, sealed: &[u8], about: &[u8]) -> Result<Vec<u8>, OpenError> {
        // The version first: what is newer may be shorter.
        match sealed.first() {
            Some(&VERSION) => {}
            Some(&newer) if newer > VERSION => return Err(OpenError::Newer(newer)),
            Some(_) => return Err(OpenError::Altered),
            None => return Err(OpenError::Truncated),
        }
        let (head, text) = sealed.split_at_checked(HEAD).ok_or(OpenError::Truncated)?;
        if text.len() < TAG {
            return Err(OpenError::Truncated);
        }
        if text.len() > MAX_PLAIN + TAG {
            return Err(OpenError::TooLong);
        }
        let Some((_, [a, b, c, d, nonce @ ..])) = head.split_first() else { return Err(OpenError::Truncated) };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Truncated)?;
        let ours = |secret: &&Secret| secret.derive(Use::SealName(label)).is_ok_and(|name| name == [*a, *b, *c, *d]);
        let secret = self.all().find(ours).ok_or(OpenError::AnotherSecret)?;
        let key = key(secret, label).map_err(|_| OpenError::Altered)?;
        let mut text = text.to_vec();
        let length = key.open_in_place(nonce, Aad::from(bound(head, about)), &mut text).map(|plain| plain.len());
        text.truncate(length.map_err(|_| OpenError::Altered)?);
        Ok(text)
    }

    /// Whether it was sealed with a secret that is about to be taken away, and not with the one that seals now.
    pub fn is_of_a_former(&self, label: &str, sealed: &[u8]) -> bool {
        let Some(name) = sealed.get(1..=NAME) else { return false };
        let is_of = |secret: &Secret| secret.derive::<NAME>(Use::SealName(label)).is_ok_and(|known| known == name);
        !is_of(&self.current) && self.former.iter().any(is_of)
    }
}

fn key(secret: &Secret, label: &str) -> Result<LessSafeKey, SealError> {
    let key: [u8; 32] = secret.derive(Use::Seal(label))?;
    Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key)?))
}

/// The head has one length, so that no two pairs read alike.
fn bound(head: &[u8], about: &[u8]) -> Vec<u8> {
    [head, about].concat()
}

impl From<InvalidLength> for SealError {
    fn from(_: InvalidLength) -> Self {
        SealError::Impossible
    }
}

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        SealError::Impossible
    }
}
