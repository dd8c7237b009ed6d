//! `Content-Range` of a chunk that is pushed (distribution-spec, "Pushing a blob in chunks"): `first-last`, without the
//! unit that RFC 9110 has there. What HTTP libraries write is taken as well: `bytes first-last/total`.

/// Where a chunk lies in its blob, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    pub first: u64,
    pub last: u64,
}

impl ContentRange {
    /// `None` for what is malformed, reversed, or larger than any blob.
    pub fn parse(header: &str) -> Option<Self> {
        let range = header.trim();
        let range = match range.get(..5) {
            Some(unit) if unit.eq_ignore_ascii_case("bytes") => range.get(5..)?.trim_start_matches([' ', '=']),
            _ => range,
        };
        let (range, total) = range.split_once('/').unwrap_or((range, "*"));
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total_fits = total == "*" || number(total).is_some_and(|total| last < total);
        (first <= last && last < u64::MAX && total_fits).then_some(ContentRange { first, last })
    }

    /// In bytes; never 0.
    #[allow(clippy::len_without_is_empty)] // it cannot be
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }
}

fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_ways_of_writing_are_read() {
        for header in ["5-9", " 5-9 ", "bytes 5-9", "bytes 5-9/10", "bytes=5-9", "Bytes 5-9/*", "5-9/*"] {
            assert_eq!(ContentRange::parse(header), Some(ContentRange { first: 5, last: 9 }), "{header}");
        }
        assert_eq!(ContentRange::parse("0-0").map(|range| range.len()), Some(1));
    }

    #[test]
    fn others_are_refused() {
        let huge = format!("0-{}", u64::MAX);
        for header in ["", "-", "5-", "-9", "9-5", "a-b", "5-9-10", "bytes", "bytes 5-9/9", "items 5-9", "+5-9", &huge]
        {
            assert_eq!(ContentRange::parse(header), None, "{header}");
        }
        assert_eq!(ContentRange::parse("0-99999999999999999999999"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_no_panic(header in "(bytes)?[ =]?[-0-9/* ]{0,50}|.*") {
            if let Some(range) = ContentRange::parse(&header) {
                prop_assert!(range.len() > 0);
            }
        }

        #[test]
        fn a_written_range_reads_back(first in 0u64..1 << 60, length in 1u64..1 << 60) {
            let range = ContentRange { first, last: first + length - 1 };
            prop_assert_eq!(ContentRange::parse(&format!("{}-{}", range.first, range.last)), Some(range));
            prop_assert_eq!(range.len(), length);
        }
    }
}
