//! `entrepot retention …`: tags that no policy keeps.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::operator::OperatorArguments;
use super::ordered;
use super::progress::Shown;
use super::tag::UNTIL;
use super::words::{count, text};
use crate::admin::Order;
use crate::admin::order::RetentionRun;

/// Tags that are shown.
const MAX_SHOWN: usize = 1000;

#[derive(Subcommand)]
pub enum Command {
    /// Say what would go now by the policies of the configuration, and why. Nothing is changed.
    Plan(Plan),
    /// Take away what no policy keeps. The first run after a change of the policies only shows it. Exit code 0: all is done, or it only showed; 1: not.
    Run(Run),
}

#[derive(Args)]
pub struct Plan {
    /// Only in repositories that match, such as 'dev/**'
    #[arg(long, value_name = "PATTERN")]
    repositories: Option<String>,
    /// Also tell of tags that stay, and why
    #[arg(long)]
    kept: bool,
    #[command(flatten)]
    arguments: OperatorArguments,
}

#[derive(Args)]
pub struct Run {
    /// Only in repositories that match, such as 'dev/**'
    #[arg(long, value_name = "PATTERN")]
    repositories: Option<String>,
    /// Act also by policies that have not been shown yet
    #[arg(long)]
    yes: bool,
    /// Act also in repositories that would lose more of their tags than is usual
    #[arg(long)]
    force: bool,
    /// Also tell of tags that stay, and why
    #[arg(long)]
    kept: bool,
    #[command(flatten)]
    arguments: OperatorArguments,
}

pub fn run(command: Command) -> ExitCode {
    let (order, arguments) = match command {
        Command::Plan(Plan { repositories, kept, arguments }) => {
            (RetentionRun { dry: true, repositories, kept, ..RetentionRun::default() }, arguments)
        }
        Command::Run(Run { repositories, yes, force, kept, arguments }) => {
            (RetentionRun { dry: false, yes, force, repositories, kept }, arguments)
        }
    };
    let dry = order.dry;
    let hint = if dry {
        ""
    } else {
        "tags that went by now are in a journal: `entrepot gc undelete REPOSITORY` brings them back (not after `gc run --now`)"
    };
    match ordered(&arguments, || Ok(Order::Retention(order)), (step, hint), shown) {
        Ok(outcome) => {
            let report = &outcome.report;
            if is_well(report, dry) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(code) => code,
    }
}

/// A run that only showed what would go has done what it should: nobody has to be woken for it.
fn is_well(report: &Value, dry: bool) -> bool {
    let only_shown = dry || report["only_shown"] == true;
    items(report, "failed").is_empty() && (only_shown || items(report, "stopped").is_empty())
}

fn items<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().map_or(&[], Vec::as_slice)
}

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or(0)
}

fn step(step: &Value) -> Shown {
    match step["event"].as_str() {
        Some("begun") => Shown::now(count(number(step, "repositories"), "repository")),
        Some("looked") => {
            Shown { part: step["done"].as_u64().zip(step["of"].as_u64()), ..Shown::now(text(&step["repository"])) }
        }
        _ => Shown::default(),
    }
}

/// A line of one tag, by what becomes of it.
fn tag(tag: &Value, decision: &str) -> String {
    let name = format!("{}:{}", text(&tag["repository"]), text(&tag["tag"]));
    format!("{decision:<6}  {name}  pushed {}: {}", text(&tag["pushed"]), text(&tag["reason"]))
}

/// Writing to a String cannot fail.
fn shown(report: &Value) -> String {
    let mut told = String::new();
    let told_of = items(report, "told");
    let stops = |tag: &&Value| {
        let stays = items(report, "stopped").iter().any(|stopped| stopped["repository"] == tag["repository"]);
        stays && tag["decision"] == "delete"
    };
    let shown = told_of.get(..MAX_SHOWN).unwrap_or(told_of);
    for one in shown.iter().filter(|tag| !stops(tag)) {
        let _ = writeln!(told, "{}", tag(one, &text(&one["decision"])));
    }
    for stopped in items(report, "stopped") {
        let _ = writeln!(
            told,
            "{}: stays as it is, since {} of its {} would go, more than {} %: --force says that this is meant",
            text(&stopped["repository"]),
            number(stopped, "would_go"),
            count(number(stopped, "tags"), "tag"),
            text(&stopped["most"])
        );
        for one in shown.iter().filter(|tag| stops(tag) && tag["repository"] == stopped["repository"]) {
            let _ = writeln!(told, "  {}", tag(one, "would"));
        }
    }
    let left_out = number(report, "left_out") + told_of.len().saturating_sub(MAX_SHOWN) as u64;
    if left_out > 0 {
        let _ = writeln!(told, "and {left_out} more");
    }
    for failed in items(report, "failed") {
        let _ = writeln!(told, "{}: {}", text(&failed["repository"]), text(&failed["reason"]));
    }
    let (tags, repositories) = (number(report, "tags"), number(report, "repositories"));
    let of = format!("of {} in {}", count(tags, "tag"), count(repositories, "repository"));
    let _ = match report["only_shown"] == true {
        true => writeln!(told, "{} {of} would go", number(report, "goes")),
        false => writeln!(told, "{} {of} went", number(report, "gone")),
    };
    if let Some(why) = report["why"].as_str() {
        let _ = writeln!(told, "{}", text(&why.into()));
    }
    if let Some(run) = report["run"].as_str() {
        let _ = writeln!(told, "`entrepot gc undelete {}` brings them back, {UNTIL}", text(&run.into()));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_tag_has_its_reason() {
        let mut report = json!({
            "run": null, "only_shown": true, "why": "it is new", "repositories": 1, "tags": 9, "goes": 2, "gone": 0,
            "stopped": [{ "repository": "b", "tags": 4, "would_go": 3, "most": 30.0 }], "failed": [], "left_out": 1,
            "told": [
                { "repository": "a", "tag": "1", "pushed": "2026-01-01T00:00:00Z", "decision": "delete", "reason": "nothing keeps it" },
                { "repository": "b", "tag": "1", "pushed": "2026-01-01T00:00:00Z", "decision": "delete", "reason": "nothing keeps it" },
            ],
        });
        assert_eq!(
            shown(&report),
            "delete  a:1  pushed 2026-01-01T00:00:00Z: nothing keeps it\n\
             b: stays as it is, since 3 of its 4 tags would go, more than 30.0 %: --force says that this is meant\n\
             \x20 would   b:1  pushed 2026-01-01T00:00:00Z: nothing keeps it\n\
             and 1 more\n\
             2 of 9 tags in 1 repository would go\nit is new\n"
        );
        assert!(is_well(&report, false) && is_well(&report, true), "it only showed");
        report["only_shown"] = json!(false);
        assert!(!is_well(&report, false) && is_well(&report, true));
        report["gone"] = json!(2);
        report["run"] = json!("retention-1");
        assert!(
            shown(&report).contains("2 of 9 tags in 1 repository went\n")
                && shown(&report).contains("gc undelete retention-1` brings them back, unless `entrepot gc run --now`")
        );
    }
}
