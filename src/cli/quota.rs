//! `entrepot quota …`: how full quotas are, and counting them. Works on the storage of a configuration, whether something serves
//! from it or not.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::opened::{Opened, StorageArguments};
use super::words::{printable, size};
use crate::registry::quota::{self, Counted, Step, Usage};

/// How often a bar moves by itself, so that a slow storage looks like one.
const TICK: Duration = Duration::from_millis(200);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Quota {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// Go through all links, and set what is used to what is found. Pushes may go on meanwhile.
    Recount {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
struct Place {
    #[command(flatten)]
    storage: StorageArguments,
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
}

pub fn run(command: Quota) -> ExitCode {
    super::say(match command.command {
        None => super::interruptible(show(command.place)),
        Some(Command::Recount { place }) => super::interruptible(recount(place)),
    })
}

async fn show(place: Place) -> Result<String, String> {
    let json = place.json;
    let Opened { config, storage } = place.open().await?;
    let usage = quota::usage(&storage, &config.quota).await.map_err(|error| format!("storage: {error}"))?;
    match json {
        true => pretty(&json!({ "quotas": usage })),
        false => Ok(table(&usage)),
    }
}

async fn recount(place: Place) -> Result<String, String> {
    let json = place.json;
    let Opened { config, storage } = place.open().await?;
    let bar = bar(json);
    let tell = |step: Step| match step {
        Step::Links(links) => bar.set_message(format!("{links} links")),
        Step::Sizes(done, all) => bar.set_message(format!("{done} of {all} contents have a size")),
    };
    let counted = quota::count(&storage, &config.quota, &tell).await;
    bar.finish_and_clear();
    let counted = counted.map_err(|error| format!("storage: {error}"))?;
    if json {
        return pretty(&json!({ "counted": counted }));
    }
    Ok(counted.iter().fold(String::new(), |told, counted| told + &line(counted)))
}

fn line(counted: &Counted) -> String {
    let Counted { repositories, used, contents, .. } = counted;
    let (repositories, bytes) = (printable(repositories), size(Some(used.bytes)));
    format!("{repositories}: {bytes} in {contents} contents, {} tags\n", used.tags)
}

/// Shown on a terminal only.
fn bar(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

impl Place {
    async fn open(self) -> Result<Opened, String> {
        let opened = Opened::open(self.storage).await?;
        if opened.config.quota.is_empty() {
            return Err("the configuration has no [[quota]]".into());
        }
        Ok(opened)
    }
}

fn pretty(value: &serde_json::Value) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(format!("{text}\n"))
}

/// For people. Writing to a String cannot fail.
fn table(usage: &[Usage]) -> String {
    let head = ["QUOTA", "USED", "LIMIT", "", "RESERVED", "TAGS", "LIMIT", "COUNTED"].map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(usage.iter().map(row)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let mut told = String::new();
    for row in &rows {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            let _ = match column {
                // Numbers stand below each other.
                1..=6 => write!(text, "  {cell:>width$}"),
                _ if column == 0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:<width$}"),
            };
        }
        told.push_str(text.trim_end());
        told.push('\n');
    }
    told
}

fn row(usage: &Usage) -> [String; 8] {
    let Usage { repositories, used, reserved, limit, counted, doubtful, .. } = usage;
    let part = |used: u64, limit: u64| u128::from(used) * 100 / u128::from(limit.max(1));
    let mut when = counted.as_deref().map_or_else(|| "not yet: more may be there".to_owned(), printable);
    if *doubtful {
        when.push_str(", something was deleted since");
    }
    [
        printable(repositories),
        size(Some(used.bytes)),
        size(limit.bytes),
        limit.bytes.map_or_else(String::new, |limit| format!("{}%", part(used.bytes, limit))),
        size(Some(reserved.bytes)),
        used.tags.to_string(),
        limit.tags.map_or_else(|| "-".to_owned(), |tags| tags.to_string()),
        when,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::quota::{Amount, Limit};

    fn usage(repositories: &str, used: Amount, limit: Limit) -> Usage {
        Usage {
            repositories: repositories.into(),
            used,
            reserved: Amount { bytes: 3 << 20, tags: 0 },
            limit,
            counted: Some("2026-11-30T02:00:00Z".into()),
            contents: 7,
            in_repositories: 2,
            doubtful: false,
        }
    }

    #[test]
    fn people_see_how_full_quotas_are() {
        let full =
            usage("team-a/**", Amount { bytes: 15 << 29, tags: 12 }, Limit { bytes: Some(10 << 30), tags: Some(5000) });
        let mut new = usage("b", Amount { bytes: 0, tags: 0 }, Limit { bytes: None, tags: Some(1) });
        new.counted = None;
        let expected = "\
QUOTA         USED     LIMIT       RESERVED  TAGS  LIMIT  COUNTED
team-a/**  7.5 GiB  10.0 GiB  75%   3.0 MiB    12   5000  2026-11-30T02:00:00Z
b              0 B         -        3.0 MiB     0      1  not yet: more may be there
";
        assert_eq!(table(&[full, new]), expected);
    }
}
