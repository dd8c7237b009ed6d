//! What a check has found: one line each, and what to do about it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::words::printable;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warning,
    Error,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// What to do where nobody but those who make Entrepot can do anything.
pub const REPORT: &str = "this is a fault of Entrepot: report it, with what `entrepot version --json` prints";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// The name of the check.
    pub check: &'static str,
    pub what: String,
    /// What to do; empty where all is well.
    pub advice: String,
}

impl Finding {
    /// Names and texts of others are in it, so nothing stays that a terminal would obey.
    pub fn line(&self) -> String {
        let advice = if self.advice.is_empty() { String::new() } else { format!(" -> {}", self.advice) };
        printable(&format!("{:<8} {:<13} {}{advice}", self.level.word(), self.check, self.what))
    }

    pub fn json(&self) -> Value {
        let advice = (!self.advice.is_empty()).then_some(&self.advice);
        json!({ "level": self.level.word(), "check": self.check, "what": self.what, "advice": advice })
    }
}

/// What one check finds.
#[derive(Debug)]
pub struct Findings {
    check: &'static str,
    pub found: Vec<Finding>,
}

impl Findings {
    pub fn of(check: &'static str) -> Self {
        Findings { check, found: Vec::new() }
    }

    pub fn ok(&mut self, what: impl Into<String>) {
        self.say(Level::Ok, what.into(), String::new());
    }

    pub fn warning(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.say(Level::Warning, what.into(), advice.into());
    }

    pub fn error(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.say(Level::Error, what.into(), advice.into());
    }

    /// Whether something is wrong, or may be.
    pub fn is_all_ok(&self) -> bool {
        self.found.iter().all(|finding| finding.level == Level::Ok)
    }

    fn say(&mut self, level: Level, what: String, advice: String) {
        self.found.push(Finding { level, check: self.check, what, advice });
    }
}

/// Waits for a check no longer than this.
pub async fn within(check: &'static str, limit: Duration, work: impl Future<Output = Findings>) -> Findings {
    match tokio::time::timeout(limit, work).await {
        Ok(findings) => findings,
        Err(_) => {
            let mut findings = Findings::of(check);
            findings.error(
                format!("this check did not end within {limit:?}"),
                "see whether what it asks still answers, and try again",
            );
            findings
        }
    }
}

/// The same for what blocks: a disk that hangs keeps its thread, and not us.
pub async fn blocking_within(
    check: &'static str,
    limit: Duration,
    work: impl FnOnce() -> Findings + Send + 'static,
) -> Findings {
    within(check, limit, async {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            let mut findings = Findings::of(check);
            findings.error(format!("this check could not be done: {error}"), REPORT);
            findings
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let mut findings = Findings::of("ports");
        findings.ok("all are free");
        assert!(findings.is_all_ok());
        findings.error("x\n\u{1b}[2J", "do y");
        assert!(!findings.is_all_ok());
        assert_eq!(findings.found[0].line(), "ok       ports         all are free");
        assert_eq!(findings.found[1].line(), "error    ports         x\\n\\u{1b}[2J -> do y");
        assert_eq!(findings.found[1].json()["advice"], "do y");
        assert_eq!(findings.found[0].json()["advice"], Value::Null);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_told_of() {
        let findings = within("redis", Duration::from_secs(5), std::future::pending()).await;
        assert!(findings.found[0].line().contains("redis") && findings.found[0].level == Level::Error);
    }
}
