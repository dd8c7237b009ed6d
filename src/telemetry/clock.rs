//! Timestamps as text. Formatting a date costs far more than a request's other fields, so the second is kept per thread.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-01-31T23:59:59`.
const SECOND: usize = 19;
/// The last second of the year 9999: RFC 3339 has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;

thread_local! {
    static CACHED: Cell<(u64, [u8; SECOND])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

/// Appends `time` as RFC 3339 in UTC with milliseconds. Times outside 1970–9999 are moved to the nearest end.
pub fn push_rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.extend_from_slice(&second(since.as_secs().min(LAST_SECOND)));
    let millis = since.subsec_millis();
    let digit = |value: u32| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
}

fn second(count: u64) -> [u8; SECOND] {
    CACHED.with(|cached| {
        let (known, text) = cached.get();
        if known == count {
            return text;
        }
        let formatted = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(count)).to_string();
        let text = formatted.as_bytes().first_chunk().copied().unwrap_or(text);
        cached.set((count, text));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(time: SystemTime) -> String {
        let mut out = Vec::new();
        push_rfc3339(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_rfc3339_with_milliseconds() {
        assert_eq!(text(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        for millis in [1u64, 999, 1_000, 951_782_399_999, 951_782_400_000, 1_772_323_199_045] {
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(text(time), humantime::format_rfc3339_millis(time).to_string());
        }
    }

    #[test]
    fn absurd_times_do_not_panic() {
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 10)), "9999-12-31T23:59:59.000Z");
    }
}
