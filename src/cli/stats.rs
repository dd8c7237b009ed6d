//! `entrepot stats`: how much there is in the registry's storage, and how it grows.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::opened::{Opened, StorageArguments};
use super::words::{count, printable, size};
use crate::maintenance::stats::{Amount, Counting, Day, Stats};

/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(200);
/// So many days back is told how much there was.
const BACK: [u64; 5] = [1, 7, 30, 90, 365];

#[derive(Args)]
pub struct Command {
    /// Everything as JSON, errors too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: StorageArguments,
}

pub fn run(command: Command) -> ExitCode {
    let json = command.json;
    let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let bar = if terminal && !json { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(TICK);
    let outcome = super::interruptible(stats(command, &bar));
    bar.finish_and_clear();
    super::say(outcome.map(|stats| if json { as_json(&stats) } else { shown(&stats) }))
}

async fn stats(command: Command, bar: &ProgressBar) -> Result<Stats, String> {
    let opened = Opened::open(command.storage).await?;
    let told = |counting| match counting {
        Counting::Blobs(count) => bar.set_message(format!("{count} blobs")),
        Counting::Repositories(count) => bar.set_message(format!("the links of {count} repositories")),
    };
    let stats = Stats::gather(&opened.storage, &told).await;
    let stats = stats.map_err(|error| format!("storage could not be counted to the end: {error}"))?;
    // Who may only read finds out how much there is all the same.
    if let Err(error) = stats.keep(&opened.storage).await {
        super::err(&format!("not kept for this day: {error}"));
    }
    Ok(stats)
}

fn as_json(stats: &Stats) -> String {
    // What is counted can be JSON.
    let mut text = serde_json::to_string_pretty(stats).unwrap_or_default();
    text.push('\n');
    text
}

fn shown(stats: &Stats) -> String {
    let mut text = String::new();
    let bytes = |bytes: u64| size(Some(bytes));
    let amount = |amount: Amount| format!("{}  {}", amount.blobs, size(Some(amount.bytes)));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "repositories      {}", stats.repositories);
    let _ = writeln!(text, "manifests         {}", stats.manifests);
    let _ = writeln!(text, "tags              {}", stats.tags);
    let _ = writeln!(text, "blobs             {}  {}", stats.blobs, bytes(stats.bytes));
    let _ = writeln!(text, "saved by sharing  {}", bytes(stats.saved));
    let _ = writeln!(text, "linked by nobody  {}", amount(stats.unlinked));
    let _ = writeln!(text, "in the trash      {}", amount(stats.trash));
    section(&mut text, "largest repositories", stats.largest_repositories.iter(), |one| {
        let (name, manifests, tags) = (printable(&one.repository), one.manifests, one.tags);
        format!("{:>11}  {name}  {}, {}", bytes(one.bytes), count(manifests, "manifest"), count(tags, "tag"))
    });
    section(&mut text, "largest blobs", stats.largest_blobs.iter(), |one| {
        format!("{:>11}  {}", bytes(one.bytes), one.digest)
    });
    section(&mut text, "pulled most", stats.most_pulled.iter(), |one| {
        format!("{:>11}  {}", one.pulls, printable(&one.repository))
    });
    let grown = growth(&stats.days, &stats.day());
    section(&mut text, "since", grown.iter(), |(before, now)| {
        let (one, other) = (bytes(now.bytes.abs_diff(before.bytes)), now.tags.abs_diff(before.tags));
        let sign = |grown: bool| if grown { '+' } else { '-' };
        let (bytes_sign, tags_sign) = (sign(now.bytes >= before.bytes), sign(now.tags >= before.tags));
        format!("{}  {bytes_sign}{one}, {tags_sign}{}", printable(&before.day), count(other, "tag"))
    });
    text
}

fn section<T>(text: &mut String, title: &str, items: impl Iterator<Item = T>, line: impl Fn(T) -> String) {
    let lines: Vec<String> = items.map(line).collect();
    if !lines.is_empty() {
        text.push_str(title);
        text.push('\n');
        lines.iter().for_each(|line| _ = writeln!(text, "  {line}"));
    }
}

/// The lines of some days back, each the last one up to then, beside today's; nothing twice.
fn growth(days: &[Day], today: &Day) -> Vec<(Day, Day)> {
    let Ok(now) = today.day.parse::<chrono::NaiveDate>() else { return Vec::new() };
    let mut chosen: Vec<(Day, Day)> = Vec::new();
    for back in BACK {
        let Some(then) = now.checked_sub_days(chrono::Days::new(back)) else { continue };
        // Written so, dates are in the order of their texts.
        let then = then.to_string();
        let last = days.iter().rev().find(|day| day.day <= then);
        if let Some(last) = last.filter(|last| chosen.iter().all(|(known, _)| known.day != last.day)) {
            chosen.push((last.clone(), today.clone()));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::stats::{BlobSize, Measured, RepositoryPulls, RepositorySize};
    use crate::oci::{Algorithm, Digest};

    fn day(day: &str, bytes: u64, tags: u64) -> Day {
        Day { day: day.into(), repositories: 1, manifests: 1, tags, blobs: 1, bytes, saved: 0 }
    }

    #[test]
    fn each_day_back_is_told_once() {
        let today = day("2026-11-30", 5000, 1);
        let days = [day("2025-01-01", 1, 1), day("2026-11-20", 2, 1), day("2026-11-29", 3, 1), today.clone()];
        let told: Vec<_> = growth(&days, &today).into_iter().map(|(before, _)| before.day).collect();
        assert_eq!(told, ["2026-11-29", "2026-11-20", "2025-01-01"]);
        assert!(growth(&[], &today).is_empty() && growth(&days, &day("nonsense", 1, 1)).is_empty());
    }

    #[test]
    fn what_there_is_is_shown_and_what_is_not_left_out() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let mut stats = Stats {
            at: "2026-11-30T12:00:00Z".into(),
            repositories: 2,
            manifests: 3,
            tags: 4,
            blobs: 9,
            bytes: 4096,
            bytes_of_repositories: 8192,
            saved: 5120,
            unlinked: Amount { blobs: 1, bytes: 1024 },
            trash: Amount::default(),
            largest_repositories: vec![RepositorySize { repository: "a/b".into(), bytes: 2048, manifests: 1, tags: 2 }],
            largest_blobs: vec![BlobSize { digest, bytes: 1024 }],
            most_pulled: vec![RepositoryPulls { repository: "a/b".into(), pulls: 12 }],
            days: vec![day("2026-11-29", 6144, 3)],
            measured: Measured::default(),
        };
        let told = shown(&stats);
        for line in [
            "blobs             9  4.0 KiB\n",
            "saved by sharing  5.0 KiB\n",
            "linked by nobody  1  1.0 KiB\n",
            "in the trash      0  0 B\n",
            "largest repositories\n      2.0 KiB  a/b  1 manifest, 2 tags\n",
            &format!("largest blobs\n      1.0 KiB  {digest}\n"),
            "pulled most\n           12  a/b\n",
            "since\n  2026-11-29  -2.0 KiB, +1 tag\n",
        ] {
            assert!(told.contains(line), "{line}\n{told}");
        }
        (stats.largest_blobs, stats.days) = (Vec::new(), Vec::new());
        let told = shown(&stats);
        assert!(!told.contains("largest blobs") && !told.contains("since"), "{told}");
        let parsed: serde_json::Value = serde_json::from_str(&as_json(&stats)).unwrap();
        assert_eq!((&parsed["blobs"], &parsed["unlinked"]["bytes"]), (&9.into(), &1024.into()));
    }
}
