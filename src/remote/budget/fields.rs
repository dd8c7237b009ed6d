//! The fields in which a registry tells how many pulls are left: `RateLimit-Limit: 100;w=21600`, `RateLimit-Remaining: 76;w=21600`,
//! `Docker-RateLimit-Source: <address or account>`. Whatever makes no sense is as good as not there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const SOURCE: HeaderName = HeaderName::from_static("docker-ratelimit-source");

/// Longest source that is believed, in bytes: an address has 39, an account's id 36.
const MAX_SOURCE: usize = 128;
/// Most digits of a number: none that is meant has more.
const MAX_DIGITS: usize = 12;
/// Longest window that is believed.
pub(super) const MAX_WINDOW: Duration = Duration::from_secs(31 * 24 * 3600);
/// Numbers from here on are times since 1970 and no spans.
const FIRST_TIME: u64 = 1_000_000_000;

/// What one answer says of the budget that it was counted in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Never 0.
    pub(super) limit: Option<u64>,
    pub(super) left: Option<u64>,
    pub(super) window: Option<Duration>,
    /// After how long there are pulls again.
    pub(super) reset: Option<Duration>,
    /// Whose budget it is.
    pub(super) source: Option<String>,
}

impl Told {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let limit = text(headers, &LIMIT).and_then(quota).filter(|quota| quota.count > 0);
        let left = text(headers, &REMAINING).and_then(quota);
        let window = |quota: &Option<Quota>| quota.as_ref().and_then(|quota| quota.window);
        Told {
            window: window(&limit).or(window(&left)),
            limit: limit.map(|quota| quota.count),
            left: left.map(|quota| quota.count),
            reset: text(headers, &RESET).and_then(number).and_then(span),
            source: text(headers, &SOURCE).filter(|source| is_source(source)).map(str::to_owned),
        }
    }

    /// Whether it tells of a budget at all.
    pub(super) fn is_some(&self) -> bool {
        self.limit.is_some() || self.left.is_some()
    }
}

/// `N`, `N;w=SECONDS`, or the first of a list of these.
#[derive(Debug, PartialEq, Eq)]
struct Quota {
    count: u64,
    window: Option<Duration>,
}

fn quota(field: &str) -> Option<Quota> {
    let first = field.split(',').next()?;
    let mut parts = first.split(';').map(str::trim);
    let count = number(parts.next()?)?;
    let window = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("w").then(|| number(value.trim().trim_matches('"')))?
    });
    let window = window.map(Duration::from_secs).filter(|window| !window.is_zero() && *window <= MAX_WINDOW);
    Some(Quota { count, window })
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Some registries write seconds from now, others a time.
fn span(number: u64) -> Option<Duration> {
    let span = match number {
        FIRST_TIME.. => Duration::from_secs(number).checked_sub(since_1970())?,
        _ => Duration::from_secs(number),
    };
    (span <= MAX_WINDOW).then_some(span)
}

fn is_source(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_SOURCE && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `Retry-After` as a span from now: seconds, or a date. A date that has passed is no time at all.
pub(in crate::remote) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    if let Some(seconds) = number(text) {
        return Some(Duration::from_secs(seconds).min(MAX_WINDOW));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default().min(MAX_WINDOW))
}

pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(any(test, fuzzing))]
pub(in crate::remote) mod fuzz {
    use super::*;

    /// Whatever a registry writes: no panic, and only numbers that can be reckoned with. Lines are the fields' values in the order
    /// limit, remaining, reset, source, retry after.
    pub(in crate::remote) fn fields(bytes: &[u8]) {
        let mut headers = HeaderMap::new();
        for (name, line) in [LIMIT, REMAINING, RESET, SOURCE, RETRY_AFTER].into_iter().zip(bytes.split(|b| *b == b'\n'))
        {
            if let Ok(value) = http::HeaderValue::from_bytes(line) {
                headers.insert(name, value);
            }
        }
        let told = Told::read(&headers);
        assert_ne!(told.limit, Some(0));
        assert!(told.window.is_none_or(|window| !window.is_zero() && window <= MAX_WINDOW));
        assert!(told.reset.is_none_or(|reset| reset <= MAX_WINDOW));
        assert!(told.source.is_none_or(|source| !source.is_empty() && source.len() <= MAX_SOURCE));
        assert!(retry_after(&headers).is_none_or(|after| after <= MAX_WINDOW));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        fields.collect()
    }

    #[test]
    fn docker_hubs_fields_are_read() {
        let told = Told::read(&headers(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
            ("docker-ratelimit-source", "192.0.2.7"),
        ]));
        let window = Some(Duration::from_secs(21_600));
        let source = Some("192.0.2.7".to_owned());
        assert_eq!(told, Told { limit: Some(100), left: Some(76), window, reset: None, source });
    }

    #[test]
    fn other_forms_are_read_as_far_as_they_make_sense() {
        let hour = Some(Duration::from_secs(3600));
        for (field, count, window) in [
            ("100", Some(100), None),
            (" 100 ; w=3600 ", Some(100), hour),
            ("100;W=\"3600\"", Some(100), hour),
            ("100;comment=x;w=3600", Some(100), hour),
            ("10, 10;w=1, 1000;w=3600", Some(10), None),
            ("100;w=0", Some(100), None),
            ("100;w=99999999999", Some(100), None),
            ("100;w", Some(100), None),
            ("0;w=60", Some(0), Some(Duration::from_secs(60))),
            ("", None, None),
            ("-1", None, None),
            ("1e3", None, None),
            ("lots", None, None),
            ("99999999999999999999999", None, None),
            (";w=60", None, None),
        ] {
            let expected = count.map(|count| Quota { count, window });
            assert_eq!(quota(field), expected, "{field}");
        }
        assert_eq!(
            Told::read(&headers(&[("ratelimit-limit", "0;w=60")])),
            Told::default(),
            "a limit of none is no limit"
        );
        assert!(!Told::read(&headers(&[("docker-ratelimit-source", "a b")])).is_some());
    }

    #[test]
    fn a_reset_is_a_span_or_a_time() {
        let reset = |text: &str| Told::read(&headers(&[("ratelimit-reset", text)])).reset;
        assert_eq!(reset("50"), Some(Duration::from_secs(50)));
        let soon = (since_1970() + Duration::from_secs(500)).as_secs().to_string();
        assert!(reset(&soon).is_some_and(|span| span <= Duration::from_secs(500)));
        assert_eq!(reset("1000000001"), None, "long ago");
        assert_eq!(reset("999999999"), None, "in thirty years");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |text: &str| retry_after(&headers(&[("retry-after", text)]));
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(900));
        assert!(after(&date).is_some_and(|span| span <= Duration::from_secs(900)));
        assert_eq!(after("soon"), None);
        assert_eq!(after("999999999999"), Some(MAX_WINDOW));
    }

    proptest! {
        #[test]
        fn any_fields_are_no_panic(bytes: Vec<u8>) {
            fuzz::fields(&bytes);
        }

        #[test]
        fn numbers_of_any_shape_are_no_panic(text in "[0-9;w=, \"\n.-]{0,60}") {
            fuzz::fields(text.as_bytes());
        }
    }
}
