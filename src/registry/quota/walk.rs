//! A count by a walk of its own: through the repositories that the patterns can name, then through the sizes of what they hold.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::config::Config;
use super::count::{Count, Counted};
use crate::oci::{Algorithm, Digest};
use crate::storage::layout::{self, Found};
use crate::storage::{Error, Storage};

/// So many contents are asked for one by one, and so many at once; for more, all blobs are listed.
const FEW: usize = 20_000;
const AT_ONCE: usize = 16;
/// Somebody is told after so many links.
const TOLD_EVERY: u64 = 1000;

/// How far a count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many links were seen.
    Links(u64),
    /// So many contents have a size, of so many.
    Sizes(u64, u64),
}

/// Counts what quotas hold, whatever is known of it, and says what was found.
///
/// # Errors
/// Storage's; or that a newer version wrote a file.
pub async fn count(
    storage: &Arc<Storage>,
    quotas: &[Config],
    tell: &(dyn Fn(Step) + Send + Sync),
) -> Result<Vec<Counted>, Error> {
    let patterns: Vec<&str> = quotas.iter().map(|quota| quota.repositories.as_str()).collect();
    walk(Count::begin(storage, quotas).await?, storage, &patterns, tell).await
}

pub(super) async fn count_patterns(
    storage: &Arc<Storage>,
    patterns: &[&str],
    tell: &(dyn Fn(Step) + Send + Sync),
) -> Result<Vec<Counted>, Error> {
    walk(Count::of_patterns(storage, patterns).await?, storage, patterns, tell).await
}

async fn walk(
    mut count: Count,
    storage: &Storage,
    patterns: &[&str],
    tell: &(dyn Fn(Step) + Send + Sync),
) -> Result<Vec<Counted>, Error> {
    // `None`: they are too many.
    let (mut contents, mut links) = (Some(HashSet::new()), 0_u64);
    for prefix in prefixes(patterns) {
        let mut entries = storage.below(&folder(prefix), None);
        while let Some(entry) = entries.try_next().await? {
            let found = layout::found(&joined(prefix, &entry.name));
            let Some(found) = found.filter(|found| count.concerns(found.repository())) else { continue };
            match &found {
                Found::Layer(name, digest) | Found::Revision(name, digest) => {
                    count.linked(name, digest);
                    contents.as_mut().map(|contents| contents.insert(*digest));
                    contents = contents.filter(|contents| contents.len() <= FEW);
                }
                Found::Tag(name, _) => count.tagged(name),
                Found::TagIndex(..) | Found::Upload(_) => continue,
            }
            links += 1;
            if links.is_multiple_of(TOLD_EVERY) {
                tell(Step::Links(links));
            }
        }
    }
    tell(Step::Links(links));
    match contents {
        Some(contents) => sizes_of(storage, &mut count, contents, tell).await?,
        None => all_sizes(storage, &mut count).await?,
    }
    count.finish().await
}

async fn sizes_of(
    storage: &Storage,
    count: &mut Count,
    contents: HashSet<Digest>,
    tell: &(dyn Fn(Step) + Send + Sync),
) -> Result<(), Error> {
    let all = contents.len() as u64;
    let mut done = 0;
    // Made before they are a stream: else the compiler does not see that they may change threads.
    let asked: Vec<_> = contents.into_iter().map(|digest| size_of(storage, digest)).collect();
    let mut sizes = stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some((digest, size)) = sizes.try_next().await? {
        // What is linked and has no bytes takes none.
        count.sized(&digest, size.unwrap_or(0));
        done += 1;
        tell(Step::Sizes(done, all));
    }
    Ok(())
}

async fn size_of(storage: &Storage, digest: Digest) -> Result<(Digest, Option<u64>), Error> {
    Ok((digest, storage.blob_size(&digest).await?))
}

async fn all_sizes(storage: &Storage, count: &mut Count) -> Result<(), Error> {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut entries = storage.below(&format!("{}/blobs/{}", layout::TREE, algorithm.name()), None);
        while let Some(entry) = entries.try_next().await? {
            let hex = entry.name.strip_suffix("/data").and_then(|path| path.rsplit('/').next());
            if let Some(digest) = hex.and_then(|hex| layout::digest_of_folder(algorithm, hex)) {
                count.sized(&digest, entry.size);
            }
        }
    }
    Ok(())
}

/// The only name that a pattern without wildcards matches.
pub(super) fn literal(pattern: &str) -> Option<&str> {
    (!pattern.contains(WILD)).then_some(pattern)
}

/// What every name that a pattern matches begins with, whole parts only: `""` for all.
pub(super) fn prefix(pattern: &str) -> &str {
    match pattern.find(WILD) {
        None => pattern,
        Some(at) => pattern.get(..at).and_then(|fixed| fixed.rsplit_once('/')).map_or("", |(parts, _)| parts),
    }
}

const WILD: [char; 6] = ['*', '?', '[', ']', '{', '\\'];

/// The folder of the repositories whose names begin so.
pub(super) fn folder(prefix: &str) -> String {
    joined(layout::REPOSITORIES, prefix)
}

fn joined(one: &str, other: &str) -> String {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other.to_owned(),
        (_, true) => one.to_owned(),
        _ => format!("{one}/{other}"),
    }
}

/// Folders in which all repositories of the patterns are, none below another.
fn prefixes<'a>(patterns: &[&'a str]) -> Vec<&'a str> {
    let mut all: Vec<&str> = patterns.iter().map(|pattern| prefix(pattern)).collect();
    all.sort_unstable();
    all.dedup();
    let is_below = |path: &str, other: &str| {
        path != other && (other.is_empty() || path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/')))
    };
    all.iter().copied().filter(|path| !all.iter().any(|other| is_below(path, other))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_begins_where_all_names_of_a_pattern_are() {
        for (pattern, expected, name) in [
            ("team-a/**", "team-a", None),
            ("**", "", None),
            ("*/prod", "", None),
            ("team-*/x", "", None),
            ("a/b/{c,d}/**", "a/b", None),
            ("a/b", "a/b", Some("a/b")),
            ("a/b?", "a", None),
        ] {
            assert_eq!((prefix(pattern), literal(pattern)), (expected, name), "{pattern}");
        }
        assert_eq!(folder(""), "docker/registry/v2/repositories");
        assert_eq!(folder("a/b"), "docker/registry/v2/repositories/a/b");
    }

    #[test]
    fn nothing_is_walked_through_twice() {
        assert_eq!(prefixes(&["a/**", "a/b/**", "ab/*", "a/**"]), ["a", "ab"]);
        assert_eq!(prefixes(&["a/**", "**"]), [""]);
        assert_eq!(prefixes(&[]), Vec::<&str>::new());
    }
}
