//! How a blob is made of the pieces of an upload: which bytes the store copies itself, and which pass through us.

use std::ops::Range;

use super::parts::{LARGE_PART, PART};
use super::segments::SMALL;
use super::state::MOST_PIECES;

/// The most bytes that the store is asked to copy in one request: S3 allows 5 GiB, but a store works on it in silence, and
/// silence is bounded (`remote/http`).
const COPY: u64 = 128 << 20;
/// From more bytes on, a blob is copied by parts, for the same reason.
pub(super) const COPIED_WHOLE: u64 = 64 << 20;

/// One part of the blob. Every part but the last has [`SMALL`] bytes at least.
#[derive(Debug, PartialEq)]
pub(super) enum Source {
    /// Bytes of one piece, copied by the store.
    Copy { piece: usize, range: Range<u64> },
    /// Bytes of one or several pieces, joined through memory: [`LARGE_PART`] at most.
    Join(Vec<(usize, Range<u64>)>),
}

/// `sizes`: of the pieces. `copies`: whether the store can copy parts; otherwise everything is joined.
pub(super) fn plan(sizes: &[u64], copies: bool) -> Vec<Source> {
    let total: u64 = sizes.iter().sum();
    let part = total.div_ceil(MOST_PIECES as u64).clamp(PART, LARGE_PART);
    let mut sources = Vec::new();
    let mut joining: Vec<(usize, Range<u64>)> = Vec::new();
    let mut joined = 0;
    for (piece, size) in sizes.iter().enumerate() {
        let mut at = 0;
        while at < *size {
            let left = size - at;
            if copies && joined == 0 && left >= SMALL {
                // Never a rest that is too small to be copied.
                let length = if left > COPY + SMALL { COPY } else { left };
                sources.push(Source::Copy { piece, range: at..at + length });
                at += length;
                continue;
            }
            let length = left.min(part - joined);
            joining.push((piece, at..at + length));
            (at, joined) = (at + length, joined + length);
            if joined == part || (copies && joined >= SMALL && at < *size && size - at >= SMALL) {
                sources.push(Source::Join(std::mem::take(&mut joining)));
                joined = 0;
            }
        }
    }
    if joined > 0 {
        sources.push(Source::Join(joining));
    }
    sources
}

impl Source {
    /// Bytes that pass through us.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Source::Copy { .. } => 0,
            Source::Join(ranges) => ranges.iter().map(|(_, range)| range.end - range.start).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn large_pieces_are_copied_and_small_ones_joined() {
        assert_eq!(
            plan(&[8 * MIB, 3], true),
            [Source::Copy { piece: 0, range: 0..8 * MIB }, Source::Join(vec![(1, 0..3)])]
        );
        let plan = plan(&[1, 100 * MIB], true);
        assert_eq!(plan[0], Source::Join(vec![(0, 0..1), (1, 0..8 * MIB - 1)]));
        assert_eq!(plan[1], Source::Copy { piece: 1, range: 8 * MIB - 1..100 * MIB });
    }

    #[test]
    fn beyond_five_gib_nothing_passes_through_us() {
        let plan = plan(&[6 << 30], true);
        assert!(plan.iter().all(|source| source.memory() == 0) && plan.len() == 48);
    }

    proptest! {
        #[test]
        fn a_plan_is_all_bytes_in_order(sizes in prop::collection::vec(0..40 * MIB, 0..30), copies: bool) {
            let plan = plan(&sizes, copies);
            let mut ranges = Vec::new();
            for (index, source) in plan.iter().enumerate() {
                let length = match source {
                    Source::Copy { piece, range } => {
                        prop_assert!(copies);
                        ranges.push((*piece, range.clone()));
                        range.end - range.start
                    }
                    Source::Join(some) => {
                        ranges.extend(some.iter().cloned());
                        prop_assert!(source.memory() <= LARGE_PART);
                        source.memory()
                    }
                };
                prop_assert!(length >= SMALL || index + 1 == plan.len(), "{length}");
                prop_assert!(length <= 5 << 30);
            }
            for (piece, size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
                let mut at = 0;
                while let Some((p, range)) = ranges.first().filter(|(p, _)| *p == piece) {
                    prop_assert_eq!((*p, range.start), (piece, at));
                    at = range.end;
                    ranges.remove(0);
                }
                prop_assert_eq!(at, *size);
            }
            prop_assert!(ranges.is_empty());
        }
    }
}
