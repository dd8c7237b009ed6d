//! Tags that say something about a manifest instead of naming one for people: lists of referrers under a fallback tag
//! (`sha256-<hex>`, distribution-spec, "Referrers Tag Schema") and what cosign keeps beside an image (`sha256-<hex>.sig`, `.att`,
//! `.sbom`). They stay as long as what they are about, and no policy counts them.

use std::collections::HashSet;
use std::fmt;

use crate::oci::{Algorithm, Digest, Tag};

/// Characters that such a tag has of a hash: all of sha256, and the beginning of longer ones.
const HEX: usize = 64;

/// What such a tag is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Whole(Digest),
    /// The first 32 bytes of a longer hash.
    Cut(Algorithm, [u8; HEX / 2]),
}

impl Subject {
    /// What a tag is about, if it is such a one.
    pub fn of(tag: &Tag) -> Option<Self> {
        let (algorithm, rest) = tag.as_str().split_once('-')?;
        let algorithm: Algorithm = algorithm.parse().ok()?;
        let (hex, suffix) = rest.split_at_checked(HEX)?;
        if !(suffix.is_empty() || suffix.starts_with('.')) {
            return None;
        }
        let upper = hex.bytes().any(|byte| byte.is_ascii_uppercase());
        let mut hash = [0; HEX / 2];
        hex::decode_to_slice(hex, &mut hash).ok().filter(|()| !upper)?;
        match algorithm {
            Algorithm::Sha256 => format!("sha256:{hex}").parse().ok().map(Subject::Whole),
            Algorithm::Sha512 => Some(Subject::Cut(algorithm, hash)),
        }
    }

    /// Whether a tag has the form, and nothing behind it: it may also be somebody's name for the digest itself.
    pub fn is_bare(tag: &Tag) -> bool {
        Subject::of(tag).is_some() && !tag.as_str().contains('.')
    }

    pub fn is(&self, digest: &Digest) -> bool {
        match self {
            Subject::Whole(whole) => whole == digest,
            Subject::Cut(algorithm, hash) => digest.algorithm() == *algorithm && digest.hash().starts_with(hash),
        }
    }

    pub fn is_in(&self, digests: &HashSet<Digest>) -> bool {
        match self {
            Subject::Whole(whole) => digests.contains(whole),
            Subject::Cut(..) => digests.iter().any(|digest| self.is(digest)),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Whole(whole) => whole.fmt(f),
            Subject::Cut(algorithm, hash) => write!(f, "{}:{}…", algorithm.name(), hex::encode(hash)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_a_digest_is_about_one() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let tag = |text: String| text.parse::<Tag>().unwrap();
        for suffix in ["", ".sig", ".att", ".sbom", ".vex"] {
            let tag = tag(format!("sha256-{}{suffix}", digest.hex()));
            assert_eq!(Subject::of(&tag), Some(Subject::Whole(digest)), "{tag}");
            assert_eq!(Subject::is_bare(&tag), suffix.is_empty());
        }
        for other in [
            "v1".to_owned(),
            "sha256-abc".into(),
            format!("sha256-{}", &digest.hex()[1..]),
            format!("sha256-{}-sig", digest.hex()),
            format!("sha256-{}0", digest.hex()),
            format!("sha256-{}", digest.hex().to_uppercase()),
            format!("sha384-{}", digest.hex()),
            format!("x-sha256-{}", digest.hex()),
        ] {
            assert_eq!(Subject::of(&tag(other.clone())), None, "{other}");
        }
    }

    #[test]
    fn a_longer_hash_is_known_by_its_beginning() {
        let (digest, other) = (Digest::of(Algorithm::Sha512, b"x"), Digest::of(Algorithm::Sha512, b"y"));
        let tag: Tag = format!("sha512-{}", &digest.hex()[..64]).parse().unwrap();
        let subject = Subject::of(&tag).unwrap();
        assert!(subject.is(&digest) && !subject.is(&other));
        assert!(subject.is_in(&HashSet::from([other, digest])) && !subject.is_in(&HashSet::from([other])));
        assert!(!subject.is(&Digest::of(Algorithm::Sha256, b"x")));
        assert!(subject.to_string().starts_with("sha512:"));
    }
}
