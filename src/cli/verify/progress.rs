//! How far a look for damage is: a bar on a terminal, and else nothing until its end.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::shown;
use crate::cli::words::{printable, size};
use crate::maintenance::verify::{Damage, State, Step, Tell};

/// What of a bar is drawn while blobs are read, and while nothing can be said of the end.
const BAR: &str = "{bar:24} {binary_bytes:>11}/{binary_total_bytes:11} {binary_bytes_per_sec:>13}  {msg}";
const WALK: &str = "{spinner} {msg}";
/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(200);
/// Damages that are shown of a run that came to no end.
const MOST_KEPT: usize = 1000;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    known: Mutex<Known>,
}

/// What was told so far.
#[derive(Default)]
struct Known {
    /// Blobs read, and to be read.
    blobs: (u64, u64),
    repositories: u64,
    damages: Vec<Damage>,
    found: u64,
    repaired: u64,
    /// Whether the bar is one of bytes.
    reading: bool,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let bar = (!json && terminal).then(|| {
            let bar = ProgressBar::new(0).with_style(style(WALK)).with_message("listing blobs");
            bar.enable_steady_tick(TICK);
            bar
        });
        Progress { bar, known: Mutex::default() }
    }

    /// Takes away what is only for the time of the work.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What is known when there is no end; empty before there is anything.
    pub(super) fn so_far(&self) -> String {
        let known = self.known.lock();
        let (read, of) = known.blobs;
        if of == 0 {
            return String::new();
        }
        let damages = shown::table(&known.damages);
        let repaired =
            if known.repaired > 0 { format!(", {} repaired, which stay so", known.repaired) } else { String::new() };
        format!(
            "{damages}{read} of {of} blobs were read and the links of {} repositories; {} damages were found{repaired}\n",
            known.repositories, known.found
        )
    }
}

impl Tell for Progress {
    fn step(&self, step: &Step<'_>) {
        let mut known = self.known.lock();
        match step {
            Step::Listed { blobs, bytes } => {
                self.say(|| format!("listing blobs: {blobs}, {}", size(Some(*bytes))));
            }
            Step::Read { blobs, of_blobs, bytes, of_bytes } => {
                known.blobs = (*blobs, *of_blobs);
                self.read(&mut known.reading, *bytes, *of_bytes);
                self.say(|| format!("{blobs} of {of_blobs} blobs{}", found(known.found)));
            }
            Step::Repository { repository, repositories } => {
                known.repositories = *repositories;
                self.walk(&mut known.reading);
                let told = found(known.found);
                self.say(|| format!("links of {repositories} repositories{told}: {}", printable(repository)));
            }
            Step::Damage { damage } => {
                known.note(damage);
                if let Some(bar) = &self.bar {
                    bar.println(shown::line(damage));
                }
            }
        }
    }
}

impl Progress {
    fn say(&self, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message());
        }
    }

    fn read(&self, reading: &mut bool, bytes: u64, of: u64) {
        let Some(bar) = &self.bar else { return };
        if !std::mem::replace(reading, true) {
            bar.set_style(style(BAR));
            bar.set_length(of);
            bar.reset_eta();
        }
        bar.set_position(bytes);
    }

    fn walk(&self, reading: &mut bool) {
        if std::mem::replace(reading, false)
            && let Some(bar) = &self.bar
        {
            bar.set_style(style(WALK));
        }
    }
}

impl Known {
    fn note(&mut self, damage: &Damage) {
        match damage.state {
            State::Found => self.found += 1,
            State::Repaired => self.repaired += 1,
            State::Left => {}
        }
        let room = self.damages.len() < MOST_KEPT;
        match self.damages.iter_mut().find(|known| known.key == damage.key && known.kind == damage.kind) {
            Some(known) => *known = damage.clone(),
            None if room => self.damages.push(damage.clone()),
            None => {}
        }
    }
}

fn found(damages: u64) -> String {
    if damages == 0 { String::new() } else { format!(", {damages} damages") }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::verify::Kind;

    #[test]
    fn what_was_found_until_an_interruption_is_told() {
        let progress = Progress { bar: None, known: Mutex::default() };
        assert_eq!(progress.so_far(), "");
        progress.step(&Step::Read { blobs: 3, of_blobs: 10, bytes: 5, of_bytes: 100 });
        let mut damage = Damage {
            kind: Kind::TornLink,
            digest: None,
            repositories: vec!["team/app".into()],
            tag: Some("v1".into()),
            key: "x".into(),
            what: "the tag team/app:v1 holds no digest".into(),
            state: State::Found,
            by: None,
        };
        progress.step(&Step::Damage { damage: &damage });
        (damage.state, damage.by) = (State::Repaired, Some("its history".into()));
        progress.step(&Step::Damage { damage: &damage });
        let told = progress.so_far();
        assert!(told.contains("torn_link") && told.contains("team/app:v1") && told.contains("repaired"), "{told}");
        let end = "3 of 10 blobs were read and the links of 0 repositories; 1 damages were found, 1 repaired, which stay so\n";
        assert!(told.ends_with(end), "{told}");
    }
}
