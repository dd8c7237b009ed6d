//! All that was found: told as it comes, or as one document.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::clients::Reached;
use super::finding::{Finding, Findings, Level};
use crate::cli::words::count;
use crate::cli::{out, print};

/// What an installation is on the way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does not run, and shall.
    Before,
    /// It runs.
    After,
}

pub struct Report {
    json: bool,
    stage: Stage,
    found: Vec<Finding>,
    clients: Option<Reached>,
}

impl Report {
    pub fn new(json: bool) -> Self {
        Report { json, stage: Stage::Before, found: Vec::new(), clients: None }
    }

    pub fn begin(&mut self, stage: Stage) {
        self.stage = stage;
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    pub fn add(&mut self, findings: Findings) {
        if !self.json {
            findings.found.iter().for_each(|finding| out(&finding.line()));
        }
        self.found.extend(findings.found);
    }

    pub fn clients(&mut self, reached: Reached) {
        self.clients = Some(reached);
    }

    fn count(&self, level: Level) -> usize {
        self.found.iter().filter(|finding| finding.level == level).count()
    }

    /// The end of what is printed, and the exit code.
    pub fn end(self, with_clients: bool) -> ExitCode {
        match self.json {
            true => print(&format!("{:#}\n", self.document())),
            false => {
                if let Some(reached) = self.clients.as_ref().filter(|_| with_clients) {
                    print(&reached.shown());
                }
                print(&self.summary());
            }
        }
        if self.count(Level::Error) > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn stage_word(&self) -> &'static str {
        match self.stage {
            Stage::Before => "before",
            Stage::After => "after",
        }
    }

    fn document(&self) -> Value {
        json!({
            "stage": self.stage_word(),
            "errors": self.count(Level::Error),
            "warnings": self.count(Level::Warning),
            "findings": self.found.iter().map(Finding::json).collect::<Vec<_>>(),
            "clients": self.clients.as_ref().map(Reached::json),
        })
    }

    fn summary(&self) -> String {
        let number = |level: Level| u64::try_from(self.count(level)).unwrap_or(u64::MAX);
        let (errors, warnings) = (count(number(Level::Error), "error"), count(number(Level::Warning), "warning"));
        format!("\n{} ok, {warnings}, {errors} ({} it runs)\n", number(Level::Ok), self.when())
    }

    fn when(&self) -> &'static str {
        match self.stage {
            Stage::Before => "before",
            Stage::After => "while",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_makes_it_fail_and_a_warning_does_not() {
        let mut report = Report::new(true);
        report.begin(Stage::After);
        let mut findings = Findings::of("a");
        findings.ok("fine");
        findings.warning("hm", "look");
        report.add(findings);
        assert_eq!(report.summary(), "\n1 ok, 1 warning, 0 errors (while it runs)\n");
        assert_eq!(
            (report.document()["errors"].as_u64(), report.document()["stage"].as_str()),
            (Some(0), Some("after"))
        );
        let mut findings = Findings::of("b");
        findings.error("bad", "mend it");
        report.add(findings);
        assert_eq!(report.document()["findings"][2]["advice"], "mend it");
        assert_eq!(format!("{:?}", report.end(false)), format!("{:?}", ExitCode::FAILURE));
    }
}
