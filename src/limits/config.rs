//! `[limits]`: how much one client may ask for. SIGHUP reads it again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Visitor};

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// By address, and by who asks where that is known. Left out: any number.
    pub requests: Option<Rate>,
    /// Passwords and secrets that have to be looked at, by address and by the name that is tried.
    pub logins: Option<Rate>,
    /// Uploads under way at once, of somebody who is known, else of an address.
    pub uploads: Option<u32>,
    /// So many seconds' worth of a rate may come at once.
    #[serde(default = "four")]
    pub burst: u32,
}

fn four() -> u32 {
    4
}

/// `"200/s"`, `"1000/m"`, `"50/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

/// More is no limit.
const MAX_COUNT: u32 = 1_000_000;

impl Per {
    const fn span(self) -> Duration {
        match self {
            Per::Second => Duration::from_secs(1),
            Per::Minute => Duration::from_secs(60),
            Per::Hour => Duration::from_secs(3600),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Per::Second => "s",
            Per::Minute => "m",
            Per::Hour => "h",
        }
    }
}

impl Rate {
    /// So many times as often.
    pub fn times(self, factor: u32) -> Rate {
        Rate { count: self.count.saturating_mul(factor), ..self }
    }

    /// From one to the next, if they come evenly.
    pub fn every(self) -> Duration {
        self.per.span() / self.count.max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a rate: write \"200/s\", \"1000/m\" or \"50/h\"");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let per = match per {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(wrong()),
        };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match count.parse() {
            Ok(0) => Err(format!("'{text}' would refuse everything; leave the key out for no limit")),
            Ok(count) if count <= MAX_COUNT => Ok(Rate { count, per }),
            _ => Err(format!("'{text}' is more than {MAX_COUNT}; leave the key out for no limit")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.word())
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateVisitor;
        impl Visitor<'_> for RateVisitor {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as \"200/s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(RateVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_a_unit_of_time() {
        for (text, every) in [
            ("200/s", Duration::from_millis(5)),
            ("1/s", Duration::from_secs(1)),
            ("1000/m", Duration::from_millis(60)),
            ("60/h", Duration::from_secs(60)),
            ("1000000/s", Duration::from_micros(1)),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.every(), rate.to_string().as_str()), (every, text));
            assert_eq!(rate.times(8).every(), every / 8);
        }
        for text in ["", "/", "5", "/s", "5/", "5/d", "5/sec", "5 / s", "+5/s", "-5/s", "5.5/s", "5/S", "s/5", "5/s/s"]
        {
            assert!(text.parse::<Rate>().unwrap_err().contains("is not a rate"), "{text}");
        }
        assert!("0/s".parse::<Rate>().unwrap_err().contains("refuse everything"));
        assert!("1000001/s".parse::<Rate>().unwrap_err().contains("is more than 1000000"));
        assert!("99999999999999999999/s".parse::<Rate>().unwrap_err().contains("is more than 1000000"));
    }
}
