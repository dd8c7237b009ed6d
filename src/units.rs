//! Sizes, spans of time, parts of a whole and secrets as people write them: `"256MiB"`, `"30s"`, `"85%"`. Values only, no I/O.
//!
//! A bare number is a size in bytes. A span always carries its unit, because `timeout = 30` has
//! been read as seconds and as milliseconds by different programs often enough.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A number of bytes: `"10GiB"`, `"64k"`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A span of time: `"60s"`, `"5m"`, `"7d"`, `"2w"`, `"250ms"`; at most ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A part of a whole, 0% to 100%, in hundredths of a percent: `"85%"`, `"99.5%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

/// Hundredths of a percent in a whole.
const WHOLE: u16 = 10_000;

/// No span is longer: clocks that it is added to must not overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

impl Size {
    /// The size as a length in this process's memory; saturates on 32-bit machines.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Percent {
    /// So many percent; the whole at most.
    pub const fn of_hundred(percent: u16) -> Self {
        match percent {
            0..=100 => Percent(percent * 100),
            _ => Percent(WHOLE),
        }
    }

    /// So much of it, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(WHOLE);
        u64::try_from(part).unwrap_or(whole)
    }

    pub fn is_whole(self) -> bool {
        self.0 == WHOLE
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a part of a whole: write \"85%\" or \"99.5%\", 0% to 100%");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(part, 2) {
            return Err(wrong());
        }
        let hundredths: u16 = format!("{whole}{part:0<2}").parse().map_err(|_| wrong())?;
        if hundredths > WHOLE { Err(wrong()) } else { Ok(Percent(hundredths)) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part.is_multiple_of(10) => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(bytes) = text.parse() {
            return Ok(Size(bytes));
        }
        match text.parse::<bytesize::ByteSize>() {
            // What does not fit is cut to the largest number there.
            Ok(size) if size.as_u64() == u64::MAX => Err(format!("'{text}' is more bytes than there are")),
            Ok(size) => Ok(Size(size.as_u64())),
            Err(_) => {
                Err(format!("'{text}' is not a size: write a number of bytes or \"64KiB\", \"256MiB\", \"10GiB\""))
            }
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not a span of time: write \"250ms\", \"30s\", \"5m\", \"1h\", \"7d\", \"2w\"");
        // Months and years have no length that all agree on, and "5M" is written for five minutes.
        let unclear = text
            .split(|c: char| !c.is_alphabetic())
            .any(|unit| unit.starts_with(['M', 'y']) || unit.starts_with("mon"));
        match humantime::parse_duration(text) {
            Ok(span) if !unclear && span <= LONGEST => Ok(Span(span)),
            Ok(span) if span > LONGEST => Err(format!("'{text}' is longer than ten years")),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Size {
    /// In the largest unit that leaves no fraction, so that it reads back as the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |shift: u32| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match units.into_iter().find(|(shift, _)| whole(*shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Display for Span {
    /// In the largest unit up to hours that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        match units.into_iter().find(|(unit, _)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit)) {
            Some((unit, name)) if self.0.subsec_nanos().is_multiple_of(1_000_000) => {
                write!(f, "{}{name}", milliseconds / unit)
            }
            _ => humantime::format_duration(self.0).fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"256MiB\", or a number of bytes")
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time with its unit, such as \"250ms\", \"30s\" or \"5m\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(SpanVisitor)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PercentVisitor;
        impl Visitor<'_> for PercentVisitor {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part of a whole such as \"85%\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Percent, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(PercentVisitor)
    }
}

/// `Span` of whole seconds; for defaults.
pub const fn seconds(count: u64) -> Span {
    Span(Duration::from_secs(count))
}

/// `Size` of so many GiB; for defaults.
pub const fn gibibytes(count: u64) -> Size {
    Size(count << 30)
}

/// `Size` of so many MiB; for defaults.
pub const fn mebibytes(count: u64) -> Size {
    Size(count << 20)
}

/// Text that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Secret(text.into())
    }
}

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_as_it_can_be_read() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1000, "1000"),
            (1024, "1KiB"),
            (1536, "1536"),
            (64 << 10, "64KiB"),
            (10 << 30, "10GiB"),
            (1 << 40, "1TiB"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, bytes) in [("10 GiB", 10 << 30), ("64k", 64_000), ("1.5MiB", 3 << 19), ("1MB", 1_000_000), ("7B", 7)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in [
            "",
            "lots",
            "-1",
            "-1GiB",
            "1 parsec",
            "NaN",
            "inf",
            "GiB",
            "1GiB1",
            "18446744073709551616",
            "99999999999GiB",
            "1e99",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_shown_as_it_can_be_read() {
        for (span, text) in [
            (seconds(0), "0s"),
            (seconds(90), "90s"),
            (seconds(300), "5m"),
            (seconds(604_800), "168h"),
            (Span(Duration::from_millis(250)), "250ms"),
            (Span(Duration::from_micros(1500)), "1ms 500us"),
        ] {
            assert_eq!(span.to_string(), text);
            assert_eq!(text.parse(), Ok(span));
        }
    }

    #[test]
    fn a_part_of_a_whole_needs_its_sign_and_reads_back() {
        for (text, shown, of_a_million) in
            [("85%", "85%", 850_000), ("0%", "0%", 0), ("99.5%", "99.5%", 995_000), ("0.05 %", "0.05%", 500)]
        {
            let part: Percent = text.parse().unwrap();
            assert_eq!((part.to_string().as_str(), part.of(1_000_000)), (shown, of_a_million), "{text}");
            assert_eq!(shown.parse(), Ok(part));
        }
        assert_eq!(Percent::of_hundred(100).of(u64::MAX), u64::MAX);
        assert_eq!(Percent::of_hundred(300), Percent::of_hundred(100));
        for text in ["", "85", "%", "101%", "100.01%", "-1%", "1e1%", ".5%", "5.%", "99.999%", "0.5", "99999%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_needs_its_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("168h", 604_800_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("1d 12h", 129_600_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(milliseconds))), "{text}");
        }
        for text in [
            "",
            "30",
            "-1s",
            "s",
            "1.5.2s",
            "1 fortnight",
            "99999999999999999999s",
            "5M",
            "1month",
            "1y",
            "4000d",
            "18446744073709551615s",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
