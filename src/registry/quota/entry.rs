//! One content that the repositories of a quota hold, or hold no longer; as a line of text.

use std::fmt::Write as _;

use crate::oci::Digest;

/// The first half of a sha256 hash (of a sha512 one, a quarter): enough that nobody finds two contents that share it, and a million
/// are 16 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Short(pub [u8; 16]);

impl Short {
    /// Of each, in bytes.
    pub const LENGTH: usize = 16;

    pub fn of(digest: &Digest) -> Self {
        // Every hash is longer.
        Short(digest.hash().first_chunk().copied().unwrap_or_default())
    }
}

/// A change of what is held, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Else it is gone.
    pub added: bool,
    pub short: Short,
    /// Of the content, in bytes.
    pub size: u64,
}

/// `+<hex> <size>` or `-<hex> <size>`, one line each.
pub(super) fn written(entries: &[Entry]) -> String {
    let mut text = String::with_capacity(entries.len() * 44);
    for entry in entries {
        let sign = if entry.added { '+' } else { '-' };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sign}{} {}", hex::encode(entry.short.0), entry.size);
    }
    text
}

/// `None`: that is no such text.
pub(super) fn read(text: &str) -> Option<Vec<Entry>> {
    text.lines().map(line).collect()
}

fn line(line: &str) -> Option<Entry> {
    let (added, rest) = match line.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix('-')?),
    };
    let (digits, size) = rest.split_once(' ')?;
    let mut short = [0; Short::LENGTH];
    hex::decode_to_slice(digits, &mut short).ok()?;
    Some(Entry { added, short: Short(short), size: size.parse().ok()? })
}

/// For serde: a list of entries as one text.
pub(super) mod as_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Entry;

    pub fn serialize<S: Serializer>(entries: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::written(entries))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::read(&text).ok_or_else(|| D::Error::custom("a line is no change of what is held"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entry = |text: &str, added, size| Entry {
            added,
            size,
            short: Short::of(&Digest::of(Algorithm::Sha512, text.as_bytes())),
        };
        let entries = [entry("a", true, 0), entry("b", false, u64::MAX), entry("a", false, 7)];
        assert_eq!(read(&written(&entries)).unwrap(), entries);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn other_text_is_none_of_ours() {
        let good = "+00112233445566778899aabbccddeeff 1";
        assert!(read(good).is_some());
        for bad in [
            &good[1..],
            "+0011 1",
            "+00112233445566778899aabbccddeeff",
            "*",
            "",
            "+00112233445566778899aabbccddeeff -1",
        ] {
            assert!(read(&format!("{good}\n{bad}\n")).is_none(), "{bad}");
        }
    }
}
