//! How far long work is: a bar on a terminal, and else lines.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::out;

/// What is drawn of work whose end is known, and of other.
const BAR: &str = "{spinner} {bar:24} {pos}/{len}  {msg}";
const SPINNER: &str = "{spinner} {msg}";
const TICK: Duration = Duration::from_millis(120);

/// What there is to show of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// A line that stays.
    pub line: Option<String>,
    /// What is done now; where there is no terminal, nothing.
    pub now: Option<String>,
    /// So many of so many.
    pub part: Option<(u64, u64)>,
}

impl Shown {
    pub fn line(line: String) -> Self {
        Shown { line: Some(line), ..Shown::default() }
    }

    pub fn now(now: String) -> Self {
        Shown { now: Some(now), ..Shown::default() }
    }
}

/// Shows steps as `show` reads them.
pub struct Progress {
    show: fn(&Value) -> Shown,
    /// Nothing but the report is printed.
    quiet: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(quiet: bool, show: fn(&Value) -> Shown) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Progress { show, quiet, bar: (terminal && !quiet).then(spinner) }
    }

    pub fn step(&mut self, step: &Value) {
        if self.quiet {
            return;
        }
        let Shown { line, now, part } = (self.show)(step);
        let Some(bar) = &self.bar else {
            line.iter().for_each(|line| out(line));
            return;
        };
        line.iter().for_each(|line| bar.println(line));
        if let Some(now) = now {
            bar.set_message(now);
        }
        if let Some((done, of)) = part {
            if bar.length() != Some(of) {
                bar.set_style(style(BAR));
                bar.set_length(of);
            }
            bar.set_position(done);
        }
    }

    /// Takes away what is only for the time of the work.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style(SPINNER));
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn show(step: &Value) -> Shown {
        let part = step["n"].as_u64().map(|n| (n, 10));
        Shown { line: None, now: Some("working".into()), part }
    }

    #[test]
    fn a_bar_has_the_place_and_the_end() {
        let bar = ProgressBar::hidden();
        let mut progress = Progress { show, quiet: false, bar: Some(bar.clone()) };
        progress.step(&json!({ "n": 3 }));
        assert_eq!((bar.position(), bar.length()), (3, Some(10)));
        progress.step(&json!({}));
        assert_eq!(bar.message(), "working");
        progress.clear();
        assert!(bar.is_finished());
    }
}
