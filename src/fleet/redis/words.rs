//! Keys, values and scripts.
//!
//! Keys begin with our prefix and the server's run id, which is another one after each start: a Redis that comes back with
//! an old snapshot, or a replica that takes over without the last writes, brings nothing back that had been forgotten.

use crate::oci::{Digest, RepositoryName};

use super::super::Holding;

/// Characters of the run id that a key has: 64 bits of it.
pub(super) const EPOCH: usize = 16;

/// The keys of one run of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// `None` if `info` (the answer to `INFO server`) has no usable `run_id`.
    pub(super) fn of_run(prefix: &str, info: &str) -> Option<Self> {
        let id = info.lines().find_map(|line| line.strip_prefix("run_id:"))?.trim();
        let epoch = id.get(..EPOCH)?;
        let hex = epoch.bytes().all(|b| b.is_ascii_alphanumeric());
        hex.then(|| Keys { prefix: format!("{prefix}{epoch}:") })
    }

    /// The braces keep the keys of a repository together where keys are spread by hash.
    pub(super) fn generation(&self, name: &RepositoryName) -> String {
        format!("{}{{{name}}}", self.prefix)
    }

    pub(super) fn entry(&self, name: &RepositoryName, digest: &Digest) -> String {
        format!("{}{{{name}}}:{digest}", self.prefix)
    }

    pub(super) fn lease(&self, job: &str) -> String {
        format!("{}lease:{job}", self.prefix)
    }

    pub(super) fn count(&self, of: &str) -> String {
        format!("{}count:{of}", self.prefix)
    }

    pub(super) fn claim(&self, of: &str) -> String {
        format!("{}claim:{of}", self.prefix)
    }

    pub(super) fn note(&self, of: &str) -> String {
        format!("{}note:{of}", self.prefix)
    }
}

/// The value of a repository's key while nothing is being deleted; while something is, it is `c` and one word for each
/// deletion under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Generation(String);

const OPEN: char = 'o';
/// Of random hexadecimal digits in a word.
const WORD: usize = 32;

/// A word that nobody else has.
pub(super) fn word() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Generation {
    pub(super) fn fresh() -> Self {
        Generation(format!("{OPEN}{}", word()))
    }

    /// `None` while something is being deleted, and for what is not ours.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let word = text.strip_prefix(OPEN)?;
        let hex = word.len() == WORD && word.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| Generation(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longer media types are not remembered (distribution-spec does not bound them; RFC 6838 allows 127 + 1 + 127).
pub(super) const MAX_MEDIA_TYPE: usize = 255;

/// `<generation> <size>` or `<generation> <size> <media type>`.
pub(super) fn entry(generation: &Generation, descriptor: &Holding) -> Option<String> {
    let start = format!("{} {}", generation.as_str(), descriptor.size);
    match &descriptor.media_type {
        Some(media_type) if media_type.len() > MAX_MEDIA_TYPE => None,
        Some(media_type) => Some(format!("{start} {media_type}")),
        None => Some(start),
    }
}

/// What `value` says, if it was written in this generation.
pub(super) fn read_entry(value: &[u8], generation: &Generation) -> Option<Holding> {
    let text = std::str::from_utf8(value).ok()?;
    let rest = text.strip_prefix(generation.as_str())?.strip_prefix(' ')?;
    let (size, media_type) = rest.split_once(' ').map_or((rest, None), |(size, media_type)| (size, Some(media_type)));
    Some(Holding { size: size.parse().ok()?, media_type: media_type.map(str::to_owned) })
}

/// Closes `KEYS[1]` for the deletion `ARGV[1]`, for `ARGV[2]` milliseconds. More deletions at once than a value of 4096 bytes
/// holds are closed by '*', which no deletion takes away: then the time does.
pub(super) const CLOSE: &str = "
local now = redis.call('GET', KEYS[1])
local marks = 'c ' .. ARGV[1]
if now and string.sub(now, 1, 1) == 'c' then
    if #now < 4096 then
        marks = now .. ' ' .. ARGV[1]
    elseif string.sub(now, -1) == '*' then
        marks = now
    else
        marks = now .. ' *'
    end
end
redis.call('SET', KEYS[1], marks, 'PX', ARGV[2])
return 1";

/// Takes the deletion `ARGV[1]` from `KEYS[1]`; the last one gives it the generation `ARGV[2]` for `ARGV[3]` milliseconds.
/// A generation that began meanwhile (the mark was lost) may have seen what was deleted, so it ends. Where there is
/// nothing, nothing is believed.
pub(super) const OPEN_AGAIN: &str = "
local now = redis.call('GET', KEYS[1])
if not now then
    return 0
end
local left = {}
if string.sub(now, 1, 1) == 'c' then
    for mark in string.gmatch(string.sub(now, 2), '%S+') do
        if mark ~= ARGV[1] then
            left[#left + 1] = mark
        end
    end
end
if #left == 0 then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
    redis.call('SET', KEYS[1], 'c ' .. table.concat(left, ' '), 'KEEPTTL')
end
return 1";

/// Deletes `KEYS[1]` if it is still `ARGV[1]`.
pub(super) const RELEASE: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_in_its_generation_only() {
        let generation = Generation::fresh();
        for media_type in [None, Some("application/vnd.oci.image.manifest.v1+json".to_owned()), Some("a b".to_owned())]
        {
            let descriptor = Holding { size: u64::MAX, media_type };
            let value = entry(&generation, &descriptor).unwrap();
            assert_eq!(read_entry(value.as_bytes(), &generation), Some(descriptor));
            assert_eq!(read_entry(value.as_bytes(), &Generation::fresh()), None);
        }
        let long = Holding { size: 1, media_type: Some("x".repeat(MAX_MEDIA_TYPE + 1)) };
        assert_eq!(entry(&generation, &long), None);
    }

    #[test]
    fn what_is_not_ours_is_no_generation_and_no_entry() {
        for value in ["", "o", "c", "c 1", "o123", &format!("o{}", "g".repeat(32)), &format!("x{}", "a".repeat(32))] {
            assert_eq!(Generation::read(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Generation::read(&[b'o', 0xff]), None);
        let generation = Generation::fresh();
        assert_eq!(Generation::read(generation.as_str().as_bytes()), Some(generation.clone()));
        for rest in ["", " ", " -1", " x", "1", " 18446744073709551616"] {
            let value = format!("{}{rest}", generation.as_str());
            assert_eq!(read_entry(value.as_bytes(), &generation), None, "{value}");
        }
    }

    #[test]
    fn keys_of_two_runs_are_different() {
        let keys = |info: &str| Keys::of_run("entrepot:", info);
        let one = keys("# Server\r\nredis_version:7\r\nrun_id:0123456789abcdef0123\r\n").unwrap();
        let name: RepositoryName = "a/b".parse().unwrap();
        assert_eq!(one.generation(&name), "entrepot:0123456789abcdef:{a/b}");
        assert_ne!(keys("run_id:1123456789abcdef0123\r\n"), Some(one));
        for info in ["", "run_id:", "run_id:short", "run_id:  {}{}{}{}{}{}{}{}{}{}"] {
            assert_eq!(keys(info), None, "{info}");
        }
    }
}
