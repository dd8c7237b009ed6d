//! What is known of one tag of a remote: kept beside the content, so that it survives a restart and the fleet shares it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::oci::Digest;
use crate::storage::Error;
use crate::storage::format::{self, Format};

/// Most digests that a tag's record remembers.
pub const MAX_HISTORY: usize = 8;
/// Most platforms that it remembers; images have twenty at most.
pub const MAX_PLATFORMS: usize = 64;
/// Longest name of a platform, in bytes: longer ones are not noted.
pub const MAX_PLATFORM: usize = 100;
/// Largest record, in bytes.
pub const MAX_RECORD: u64 = 16 << 10;

/// Another instance's clock may be so far ahead of ours. What is from a later time is as if it had never been asked.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// What the tag named when the remote was asked, newest first, each once; at most [`MAX_HISTORY`].
    pub digests: Vec<Digest>,
    /// When the remote last said so.
    pub asked: u64,
    /// Platforms (`os/arch[/variant]`) whose manifests clients took through this tag; for manifests without an index: none.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// When a client last pulled it, to the hour; 0: never.
    #[serde(default)]
    pub pulled: u64,
}

impl Format for TagRecord {
    const WHAT: &'static str = "a record of a remote's tag";
    const VERSION: u32 = 1;
}

impl TagRecord {
    /// Of a tag that named this digest when it was asked for the first time.
    pub fn new(digest: Digest, asked: u64) -> Self {
        TagRecord { digests: vec![digest], asked, platforms: Vec::new(), pulled: 0 }
    }

    /// The remote has said at `asked` that the tag names `digest`.
    pub fn names(&mut self, digest: Digest, asked: u64) {
        self.digests.retain(|older| *older != digest);
        self.digests.insert(0, digest);
        self.digests.truncate(MAX_HISTORY);
        self.asked = asked;
    }

    /// What it named when the remote was last asked.
    pub fn newest(&self) -> Option<Digest> {
        self.digests.first().copied()
    }

    /// Notes a platform; whether it is a new one.
    pub fn note_platform(&mut self, platform: &str) -> bool {
        let known = self.platforms.iter().any(|known| known == platform);
        if known || platform.len() > MAX_PLATFORM || self.platforms.len() >= MAX_PLATFORMS {
            return false;
        }
        self.platforms.push(platform.to_owned());
        true
    }

    /// How long ago the remote was asked; `None`: at no time that can be right.
    pub fn age(&self, now: u64) -> Option<Duration> {
        (self.asked <= now.saturating_add(CLOCKS_DIFFER.as_secs()))
            .then(|| Duration::from_secs(now.saturating_sub(self.asked)))
    }

    /// Both together, for who writes one where another is: instances of a fleet write without asking each other.
    #[must_use]
    pub fn joined(&self, other: &TagRecord) -> TagRecord {
        let (later, earlier) = if self.asked >= other.asked { (self, other) } else { (other, self) };
        let mut joined = TagRecord { pulled: self.pulled.max(other.pulled), ..later.clone() };
        for digest in &earlier.digests {
            if !joined.digests.contains(digest) {
                joined.digests.push(*digest);
            }
        }
        joined.digests.truncate(MAX_HISTORY);
        for platform in &earlier.platforms {
            joined.note_platform(platform);
        }
        joined
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never, but for what cannot be JSON.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        format::write(self)
    }

    /// From its bytes, within its bounds.
    ///
    /// # Errors
    /// `Error::Newer` of a version that is not known here: nobody may write over it; `Error::Damaged` of anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut record: TagRecord = format::read(bytes)?;
        record.digests.truncate(MAX_HISTORY);
        record.platforms.truncate(MAX_PLATFORMS);
        record.platforms.retain(|platform| platform.len() <= MAX_PLATFORM);
        Ok(record)
    }
}

/// Seconds since 1970, by this machine's clock.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[test]
    fn a_tag_remembers_each_digest_once_newest_first_and_not_too_many() {
        let mut record = TagRecord::new(digest("0"), 1);
        for n in 1..20_u64 {
            record.names(digest(&n.to_string()), n);
        }
        assert_eq!((record.digests.len(), record.asked), (MAX_HISTORY, 19));
        record.names(digest("15"), 30);
        assert_eq!((record.digests.len(), record.newest()), (MAX_HISTORY, Some(digest("15"))));
        assert_eq!(record.digests[1], digest("19"));
    }

    #[test]
    fn two_instances_records_become_one_by_who_asked_last() {
        let (mut one, mut other) = (TagRecord::new(digest("old"), 10), TagRecord::new(digest("old"), 10));
        one.names(digest("new"), 20);
        one.note_platform("linux/amd64");
        other.note_platform("linux/arm64");
        other.pulled = 15;
        for joined in [one.joined(&other), other.joined(&one)] {
            assert_eq!(joined.digests, [digest("new"), digest("old")]);
            assert_eq!((joined.asked, joined.pulled), (20, 15));
            assert_eq!(joined.platforms, ["linux/amd64", "linux/arm64"]);
        }
    }

    #[test]
    fn a_record_is_read_back_and_one_of_a_newer_version_is_left_alone() {
        let mut record = TagRecord::new(digest("a"), 7);
        record.note_platform("linux/arm/v7");
        let bytes = record.write().unwrap();
        assert!(bytes.len() as u64 <= MAX_RECORD && bytes.starts_with(br#"{"version":1,"#));
        assert_eq!(TagRecord::read(&bytes).unwrap(), record);
        assert!(matches!(TagRecord::read(br#"{"version":2}"#), Err(Error::Newer { .. })));
        assert!(matches!(TagRecord::read(br#"{"version":1,"digests":["x"],"asked":1}"#), Err(Error::Damaged(_))));
    }

    #[test]
    fn the_largest_record_stays_within_its_bound() {
        let mut record = TagRecord::new(digest("a"), u64::MAX);
        for n in 0..100_u64 {
            record.names(Digest::of(Algorithm::Sha512, &n.to_le_bytes()), u64::MAX);
            record.note_platform(&format!("{n:0>width$}", width = MAX_PLATFORM));
        }
        assert!(record.write().unwrap().len() as u64 <= MAX_RECORD);
    }

    #[test]
    fn what_is_from_the_future_was_never_asked() {
        let record = TagRecord::new(digest("a"), 1000);
        assert_eq!(record.age(1010), Some(Duration::from_secs(10)));
        assert_eq!(record.age(990), Some(Duration::ZERO));
        assert_eq!(record.age(100), None);
    }
}
