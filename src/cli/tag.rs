//! `entrepot tag`, `untag`, `rm`, `cp`: tags and images, by links alone.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::operator::OperatorArguments;
use super::progress::Shown;
use super::words::{count, short, text};
use super::{AT_ONCE, ordered};
use crate::admin::Order;
use crate::admin::order::{Copying, Named, Removing};
use crate::maintenance::repositories::{Image, Place, PlaceError};

/// Failures of a copy that are shown.
const MAX_SHOWN: usize = 20;

#[derive(Args)]
pub struct Tag {
    /// REPOSITORY:TAG or REPOSITORY@DIGEST
    #[arg(value_name = "SOURCE")]
    source: String,
    /// REPOSITORY:TAG of the same repository; if it is there, it is moved
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    arguments: OperatorArguments,
}

#[derive(Args)]
pub struct Untag {
    /// REPOSITORY:TAG
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    arguments: OperatorArguments,
}

#[derive(Args)]
pub struct Rm {
    /// REPOSITORY:TAG or REPOSITORY@DIGEST
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Also if other tags lead to the same manifest, which go with it
    #[arg(long)]
    all_tags: bool,
    #[command(flatten)]
    arguments: OperatorArguments,
}

#[derive(Args)]
pub struct Cp {
    /// REPOSITORY:TAG, REPOSITORY@DIGEST, or a REPOSITORY for all its tags
    #[arg(value_name = "SOURCE")]
    source: String,
    /// REPOSITORY:TAG, or a REPOSITORY for the same tags there
    #[arg(value_name = "TARGET")]
    target: String,
    /// Of a whole repository: only tags that match, such as 'v*'
    #[arg(long, value_name = "PATTERN")]
    tags: Option<String>,
    /// Leave signatures, attestations and whatever else is about the image where it is
    #[arg(long)]
    without_referrers: bool,
    #[command(flatten)]
    arguments: OperatorArguments,
}

pub fn tag(command: Tag) -> ExitCode {
    let order = || {
        let source = Place::Image(image(&command.source)?);
        let target = Place::Image(image(&command.target)?);
        Ok(Order::Tag(Copying { source, target, tags: None, referrers: false }))
    };
    ended(ordered(&command.arguments, order, AT_ONCE, tagged))
}

pub fn untag(command: Untag) -> ExitCode {
    let order = || Ok(Order::Untag(Named { image: image(&command.image)? }));
    ended(ordered(&command.arguments, order, AT_ONCE, untagged))
}

pub fn rm(command: Rm) -> ExitCode {
    let order = || Ok(Order::Remove(Removing { image: image(&command.image)?, all_tags: command.all_tags }));
    ended(ordered(&command.arguments, order, AT_ONCE, removed))
}

pub fn cp(command: Cp) -> ExitCode {
    let order = || {
        let place = |text: &str| text.parse::<Place>().map_err(|error: PlaceError| error.to_string());
        let (source, target) = (place(&command.source)?, place(&command.target)?);
        Ok(Order::Copy(Copying { source, target, tags: command.tags.clone(), referrers: !command.without_referrers }))
    };
    let hint = "what was copied stays; the same command goes on from there";
    match ordered(&command.arguments, order, (step, hint), copied) {
        // Each was told of.
        Ok(outcome) if outcome.report["failed"].as_u64().unwrap_or(0) > 0 => ExitCode::FAILURE,
        other => ended(other),
    }
}

fn ended(outcome: Result<super::Outcome, ExitCode>) -> ExitCode {
    outcome.map_or_else(|code| code, |_| ExitCode::SUCCESS)
}

fn image(text: &str) -> Result<Image, String> {
    text.parse().map_err(|error: PlaceError| error.to_string())
}

fn tagged(report: &Value) -> String {
    let (target, digest) = (text(&report["target"]), text(&report["digest"]));
    match report["before"].as_str() {
        Some(before) if before == digest => format!("{target} leads to {digest}, as it did before\n"),
        Some(before) => format!("{target} leads to {digest}; before, to {}\n", text(&before.into())),
        None => format!("{target} leads to {digest}\n"),
    }
}

fn untagged(report: &Value) -> String {
    let digest = report["digest"].as_str().map(|digest| format!(", which led to {}", text(&digest.into())));
    let back = back(report);
    format!("{}{} is gone; its manifest stays{back}\n", text(&report["image"]), digest.unwrap_or_default())
}

fn removed(report: &Value) -> String {
    let tags: Vec<_> = report["tags"].as_array().into_iter().flatten().map(text).collect();
    let tags =
        if tags.is_empty() { "no tag led to it".to_owned() } else { format!("with its tags {}", tags.join(", ")) };
    format!("{}@{} is gone, {tags}{}\n", text(&report["repository"]), text(&report["digest"]), back(report))
}

/// What ends every undelete before its time.
pub const UNTIL: &str = "unless `entrepot gc run --now` deletes it first";

/// How it is brought back.
pub fn back(report: &Value) -> String {
    let runs: Vec<_> = report["runs"].as_array().into_iter().flatten().map(text).collect();
    match runs.as_slice() {
        [] => String::new(),
        runs => {
            let commands: Vec<_> = runs.iter().map(|run| format!("`entrepot gc undelete {run}`")).collect();
            format!("; {} brings it back, {UNTIL}", commands.join(" and "))
        }
    }
}

fn step(step: &Value) -> Shown {
    let place = (step["n"].as_u64(), step["of"].as_u64());
    let part = if let (Some(n), Some(of)) = place { Some((n, of)) } else { None };
    match step["event"].as_str().unwrap_or_default() {
        "manifest" => Shown::now(format!(
            "{} with {}",
            short(&text(&step["digest"])),
            count(step["blobs"].as_u64().unwrap_or(0), "blob")
        )),
        "tag" => Shown { part, ..Shown::now(text(&step["tag"])) },
        "tag_failed" => Shown { part, ..Shown::line(format!("{}: {}", text(&step["tag"]), text(&step["message"]))) },
        "stays" => Shown::line(format!(
            "{} leads to {} in the other repository, and stays so: to move it, copy that tag by its name",
            text(&step["tag"]),
            text(&step["digest"])
        )),
        _ => Shown::default(),
    }
}

fn copied(report: &Value) -> String {
    let number = |key: &str| report[key].as_u64().unwrap_or(0);
    let (source, target) = (text(&report["source"]), text(&report["target"]));
    let links = format!(
        "{} and {} linked, no content moved",
        count(number("manifests"), "manifest"),
        count(number("blobs"), "blob")
    );
    if report["digest"].is_string() {
        return format!("{source} is {target}: {}; {links}\n", text(&report["digest"]));
    }
    let copied = number("tags").saturating_sub(number("failed"));
    let mut told = format!(
        "{copied} of {} of {source} are in {target}, {} as before; {links}\n",
        count(number("tags"), "tag"),
        number("unchanged")
    );
    let failures = report["failures"].as_array().map_or(&[][..], Vec::as_slice);
    for failure in failures.iter().take(MAX_SHOWN) {
        let _ = writeln!(told, "  not {}: {}", text(&failure["tag"]), text(&failure["message"]));
    }
    if failures.len() > MAX_SHOWN {
        let _ = writeln!(told, "  and {} more", number("failed").saturating_sub(MAX_SHOWN as u64));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_done_is_a_sentence() {
        let (a, b) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let tag = |before: Value| tagged(&json!({ "target": "team/app:stable", "digest": a, "before": before }));
        assert_eq!(tag(Value::Null), format!("team/app:stable leads to {a}\n"));
        assert_eq!(tag(json!(a)), format!("team/app:stable leads to {a}, as it did before\n"));
        assert_eq!(tag(json!(b)), format!("team/app:stable leads to {a}; before, to {b}\n"));
        let gone = removed(&json!({ "repository": "team/app", "digest": a, "tags": ["1", "2"], "runs": ["rm-1"] }));
        assert_eq!(
            gone,
            format!("team/app@{a} is gone, with its tags 1, 2; `entrepot gc undelete rm-1` brings it back, {UNTIL}\n")
        );
        let one = json!({ "source": "a:1", "target": "b:1", "digest": a, "manifests": 1, "blobs": 3 });
        assert_eq!(copied(&one), format!("a:1 is b:1: {a}; 1 manifest and 3 blobs linked, no content moved\n"));
        let all = json!({
            "source": "a", "target": "b", "tags": 3, "unchanged": 1, "failed": 1, "manifests": 1, "blobs": 3,
            "failures": [{ "tag": "x", "message": "no" }],
        });
        assert!(
            copied(&all).starts_with("2 of 3 tags of a are in b, 1 as before; ")
                && copied(&all).ends_with("  not x: no\n")
        );
    }
}
