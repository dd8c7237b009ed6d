//! Whether the clocks of this machine and of those we speak with agree: tokens, certificates and signed requests live by them.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::DATE;
use parking_lot::Mutex;

use super::finding::Findings;

const CHECK: &str = "clock";
/// A field `Date` has whole seconds, and answers take a moment.
const NOTICED: Duration = Duration::from_secs(5);
/// Tokens that are minutes old, and requests signed for minutes, are no good any more.
const WRONG: Duration = Duration::from_secs(60);

/// Who said what time it was, and how far that was from ours.
#[derive(Default)]
pub struct Clocks(Mutex<Vec<Told>>);

struct Told {
    who: String,
    apart: Duration,
    ahead: bool,
}

impl Clocks {
    /// `theirs` was said just now.
    pub fn told(&self, who: impl Into<String>, theirs: SystemTime) {
        self.told_at(who, theirs, SystemTime::now());
    }

    /// `theirs` was said when ours was `own`.
    pub fn told_at(&self, who: impl Into<String>, theirs: SystemTime, own: SystemTime) {
        let (apart, ahead) = match theirs.duration_since(own) {
            Ok(apart) => (apart, true),
            Err(error) => (error.duration(), false),
        };
        self.0.lock().push(Told { who: who.into(), apart, ahead });
    }

    /// By the field `Date` of an answer.
    pub fn said(&self, who: impl Into<String>, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        if let Some(date) = date {
            self.told(who, date);
        }
    }

    pub fn check(&self) -> Findings {
        let mut findings = Findings::of(CHECK);
        let told = self.0.lock();
        for told in told.iter().filter(|told| told.apart > NOTICED) {
            let way = if told.ahead { "ahead of" } else { "behind" };
            let apart = humantime::format_duration(Duration::from_secs(told.apart.as_secs()));
            let what = format!("the clock of {} is {apart} {way} this machine's", told.who);
            let advice = "let both follow NTP: `timedatectl` says whether this one does";
            match told.apart > WRONG {
                true => findings.error(what, advice),
                false => findings.warning(what, advice),
            }
        }
        match told.len() {
            _ if !findings.found.is_empty() => {}
            0 => findings.ok("not compared: nobody that was asked told the time"),
            count => findings
                .ok(format!("agrees with {count} other{} that told the time", if count == 1 { "" } else { "s" })),
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn clocks_that_do_not_agree_are_told_of() {
        let level = |seconds: i64| {
            let clocks = Clocks::default();
            let apart = Duration::from_secs(seconds.unsigned_abs());
            let theirs = if seconds < 0 { SystemTime::now() - apart } else { SystemTime::now() + apart };
            clocks.told("peer", theirs);
            clocks.check().found[0].level
        };
        assert_eq!((level(0), level(30), level(-30)), (Level::Ok, Level::Warning, Level::Warning));
        assert_eq!((level(3600), level(-3600)), (Level::Error, Level::Error));
        assert_eq!(Clocks::default().check().found[0].level, Level::Ok);
        let clocks = Clocks::default();
        let headers = HeaderMap::from_iter([(DATE, "Thu, 01 Jan 1970 00:00:00 GMT".parse().unwrap())]);
        clocks.said("old", &headers);
        assert!(clocks.check().found[0].what.contains("behind"));
    }
}
