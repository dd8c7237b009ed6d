//! `Range` requests (RFC 9110, section 14) and the `multipart/byteranges` framing of their answers. Values only: who
//! reads the bytes is elsewhere.

use std::ops::Range;

/// Most ranges that one request is answered for; a longer list is ignored, so that the whole content is sent.
pub const MAX_RANGES: usize = 16;

/// What a request's `Range` means for content of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeRequest {
    /// No range, or one that has to be ignored: 200.
    Whole,
    /// 206. Never empty, no range is empty or ends behind the content, none overlaps or touches another.
    Ranges(Vec<Range<u64>>),
    /// 416.
    Unsatisfiable,
}

/// One wish of a `Range` header, before the size is known.
#[derive(Clone, Copy)]
enum Wish {
    /// From the first byte to the last, both included.
    Between(u64, u64),
    From(u64),
    Last(u64),
    /// `500-0`. RFC 9110 would have the header ignored; Go's servers and the OCI conformance suite say 416.
    Reversed,
}

/// Reads a `Range` header for content of `total` bytes.
pub fn parse(header: &str, total: u64) -> RangeRequest {
    let Some(wishes) = wishes(header) else { return RangeRequest::Whole };
    let mut ranges = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let (start, end) = match wish {
            Wish::Reversed => return RangeRequest::Unsatisfiable,
            // No Content-Range can be written for nothing, so the end of empty content is all of it.
            Wish::Last(count) if count > 0 && total == 0 => return RangeRequest::Whole,
            Wish::Between(first, last) => (first, last.saturating_add(1).min(total)),
            Wish::From(first) => (first, total),
            Wish::Last(count) => (total.saturating_sub(count), total),
        };
        if start < end {
            ranges.push(start..end);
        }
    }
    if ranges.is_empty() { RangeRequest::Unsatisfiable } else { RangeRequest::Ranges(coalesce(ranges)) }
}

/// `None` for another unit, for what is malformed, and for more than `MAX_RANGES`.
fn wishes(header: &str) -> Option<Vec<Wish>> {
    let (unit, set) = header.trim().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut wishes = Vec::new();
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()) {
        if wishes.len() == MAX_RANGES {
            return None;
        }
        let (first, last) = spec.split_once('-')?;
        wishes.push(match (first, last) {
            ("", last) => Wish::Last(number(last)?),
            (first, "") => Wish::From(number(first)?),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last { Wish::Reversed } else { Wish::Between(first, last) }
            }
        });
    }
    (!wishes.is_empty()).then_some(wishes)
}

/// Digits only; what no `u64` holds is larger than any content, so the largest one stands for it.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Keeps the order asked for unless ranges overlap or touch; then they are sorted and joined, so that no byte is sent twice.
fn coalesce(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    if joined.len() == ranges.len() { ranges } else { joined }
}

/// `Content-Range` of a 206. The range must not be empty.
pub fn content_range(range: &Range<u64>, total: u64) -> String {
    format!("bytes {}-{}/{total}", range.start, range.end.saturating_sub(1))
}

/// `Content-Range` of a 416.
pub fn unsatisfied_range(total: u64) -> String {
    format!("bytes */{total}")
}

/// The frame of a `multipart/byteranges` body: what stands before, between and behind the ranges.
#[derive(Debug, Clone)]
pub struct Multipart {
    boundary: String,
    /// One for each range, in order.
    heads: Vec<String>,
    length: u64,
}

impl Multipart {
    /// `boundary` must be unpredictable (so that no content can hold it) and of letters and digits.
    pub fn new(boundary: String, media_type: &str, ranges: &[Range<u64>], total: u64) -> Self {
        let mut heads = Vec::with_capacity(ranges.len());
        for range in ranges {
            let newline = if heads.is_empty() { "" } else { "\r\n" };
            let content_range = content_range(range, total);
            heads.push(format!(
                "{newline}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {content_range}\r\n\r\n"
            ));
        }
        let mut multipart = Multipart { boundary, heads, length: 0 };
        let framing: usize = multipart.heads.iter().map(String::len).sum::<usize>() + multipart.tail().len();
        // A peer may say any size: too much of it is no panic.
        let lengths = ranges.iter().map(|range| range.end.saturating_sub(range.start));
        multipart.length = lengths.fold(framing as u64, u64::saturating_add);
        multipart
    }

    /// The response's `Content-Type`.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Length of the whole body.
    pub fn content_length(&self) -> u64 {
        self.length
    }

    /// What goes before each range's bytes, in the order of the ranges.
    pub fn heads(&self) -> &[String] {
        &self.heads
    }

    /// What goes behind the last range's bytes.
    pub fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(ranges: &[Range<u64>]) -> RangeRequest {
        RangeRequest::Ranges(ranges.to_vec())
    }

    #[test]
    fn single_ranges_are_read() {
        for (header, expected) in [
            ("bytes=0-499", 0..500),
            ("bytes=500-1499", 500..1500),
            ("bytes=500-", 500..4096),
            ("bytes=-500", 3596..4096),
            ("bytes=-9999", 0..4096),
            ("bytes=2000-9999", 2000..4096),
            ("bytes=0-0", 0..1),
            ("bytes=4095-4095", 4095..4096),
            ("Bytes=1-2", 1..3),
            ("bytes= 1-2 ,", 1..3),
            ("bytes=0-99999999999999999999999999", 0..4096),
            ("bytes=-99999999999999999999999999", 0..4096),
        ] {
            assert_eq!(parse(header, 4096), RangeRequest::Ranges(vec![expected]), "{header}");
        }
    }

    #[test]
    fn what_cannot_be_satisfied_is_416() {
        for header in ["bytes=500-0", "bytes=4096-", "bytes=5000-10000", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(parse(header, 4096), RangeRequest::Unsatisfiable, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), RangeRequest::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), RangeRequest::Whole);
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=-",
            "bytes=1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "items=0-5",
            "bytes=1 -2",
            "bytes=0x1-2",
            "bytes 0-5",
            "bytes=0-1,x",
            "bytes=1-2;3-4",
        ] {
            assert_eq!(parse(header, 4096), RangeRequest::Whole, "{header}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order_unless_they_meet() {
        assert_eq!(parse("bytes=100-199,0-49", 4096), ranges(&[100..200, 0..50]));
        assert_eq!(parse("bytes=100-199,0-150", 4096), ranges(std::slice::from_ref(&(0..200))));
        assert_eq!(parse("bytes=0-0,1-1,3-3", 4096), ranges(&[0..2, 3..4]));
        assert_eq!(parse("bytes=0-1,9999-", 4096), ranges(std::slice::from_ref(&(0..2))));
    }

    #[test]
    fn a_long_list_of_ranges_is_ignored() {
        let list = |count: u64| (0..count).map(|i| format!("{}-{}", i * 10, i * 10)).collect::<Vec<_>>().join(",");
        assert!(matches!(parse(&format!("bytes={}", list(16)), 4096), RangeRequest::Ranges(r) if r.len() == 16));
        assert_eq!(parse(&format!("bytes={}", list(17)), 4096), RangeRequest::Whole);
    }

    #[test]
    fn the_length_of_a_multipart_body_is_exact() {
        let content: Vec<u8> = (0..100).collect();
        let wanted = [10..20, 50..51, 90..100];
        let frame = Multipart::new("b0undary".into(), "application/octet-stream", &wanted, 100);
        let mut body = Vec::new();
        for (head, range) in frame.heads().iter().zip(&wanted) {
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&content[range.start as usize..range.end as usize]);
        }
        body.extend_from_slice(frame.tail().as_bytes());
        assert_eq!(body.len() as u64, frame.content_length());
        assert!(body.starts_with(
            b"--b0undary\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 10-19/100\r\n\r\n"
        ));
        assert!(body.ends_with(b"\r\n--b0undary--\r\n"));
    }

    proptest! {
        #[test]
        fn any_header_gives_ranges_within_the_content(header in "(bytes=)?[-0-9, a=]{0,60}", total in 0u64..2000) {
            if let RangeRequest::Ranges(ranges) = parse(&header, total) {
                prop_assert!(!ranges.is_empty() && ranges.len() <= MAX_RANGES);
                let mut sorted = ranges.clone();
                sorted.sort_by_key(|range| range.start);
                prop_assert!(sorted.iter().all(|range| range.start < range.end && range.end <= total));
                prop_assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }

        #[test]
        fn any_text_is_no_panic(header in ".*", total: u64) {
            parse(&header, total);
        }

        #[test]
        fn a_written_range_reads_back(start in 0u64..1000, length in 1u64..1000) {
            let range = start..start + length;
            let text = format!("bytes={}-{}", range.start, range.end - 1);
            prop_assert_eq!(parse(&text, 5000), RangeRequest::Ranges(vec![range]));
        }
    }
}
