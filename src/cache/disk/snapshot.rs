//! The saved eviction order. Only a hint: the folders say what exists, and a missing or broken snapshot costs a look at each
//! file's time. Text, one line per entry, so that an operator can read it: `<digest> <size> <frequency> <s|m>`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::index::Saved;
use crate::oci::Digest;

const HEADER: &str = "entrepot cache index 1\n";
/// A larger file is no snapshot of ours: about 10 million entries.
const MAX_BYTES: u64 = 1 << 30;

/// Writes beside and renames, so that a crash leaves the old one.
pub(super) fn write(path: &Path, entries: &[Saved]) -> io::Result<()> {
    let mut text = String::with_capacity(entries.len() * 100 + 64);
    text.push_str(HEADER);
    for Saved { digest, size, frequency, in_main } in entries {
        let queue = if *in_main { 'm' } else { 's' };
        _ = writeln!(text, "{digest} {size} {frequency} {queue}"); // writing to a String cannot fail
    }
    let sum = xxh3_64(text.as_bytes());
    _ = writeln!(text, "end {sum:016x}");
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

/// The entries in order, and where each is found; empty when there is no sound snapshot.
pub(super) fn read(path: &Path) -> Vec<Saved> {
    match std::fs::metadata(path) {
        Ok(about) if about.len() <= MAX_BYTES => {}
        _ => return Vec::new(),
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    parse(&text).unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "the saved cache index is damaged; order is taken from the files' times");
        Vec::new()
    })
}

fn parse(text: &str) -> Option<Vec<Saved>> {
    let body = text.strip_suffix('\n')?;
    let last = body.rfind('\n')? + 1;
    let (lines, end) = body.split_at_checked(last)?;
    if format!("end {:016x}", xxh3_64(lines.as_bytes())) != end {
        return None;
    }
    lines.strip_prefix(HEADER)?.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Saved> {
    let mut words = line.split(' ');
    let saved = Saved {
        digest: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        frequency: words.next()?.parse().ok()?,
        in_main: words.next()? == "m",
    };
    words.next().is_none().then_some(saved)
}

/// Sizes by digest, so that a scan need not ask the file system for them.
pub(super) fn sizes(entries: &[Saved]) -> HashMap<Digest, u64> {
    entries.iter().map(|saved| (saved.digest, saved.size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_snapshot_round_trips_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        assert_eq!(read(&path), []);
        let entries: Vec<Saved> = (0..20u8)
            .map(|n| Saved {
                digest: Digest::of(Algorithm::Sha256, &[n]),
                size: u64::from(n),
                frequency: n % 4,
                in_main: n % 2 == 0,
            })
            .collect();
        write(&path, &entries).unwrap();
        assert_eq!(read(&path), entries);
        let mut text = std::fs::read(&path).unwrap();
        text[200] ^= 1;
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path), []);
        std::fs::write(&path, &text[..100]).unwrap();
        assert_eq!(read(&path), []);
    }
}
