//! `entrepot uploads`: pushes of blobs under way.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::operator::OperatorArguments;
use super::words::{age, size, text};
use super::{AT_ONCE, ordered};
use crate::admin::Order;
use crate::admin::order::CancelUploads;

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    arguments: OperatorArguments,
}

#[derive(Subcommand)]
pub enum Command {
    /// Give uploads up; what has arrived of them is deleted. Exit code 0: all were there.
    Cancel {
        /// As the list shows it
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        /// Those of another program (distribution) in the same tree too; whoever pushes there has to begin again
        #[arg(long)]
        foreign: bool,
        #[command(flatten)]
        arguments: OperatorArguments,
    },
}

pub fn run(command: Option<Command>, list: List) -> ExitCode {
    match command {
        None => match ordered(&list.arguments, || Ok(Order::Uploads), AT_ONCE, listed) {
            Ok(_) => ExitCode::SUCCESS,
            Err(code) => code,
        },
        Some(Command::Cancel { ids, foreign, arguments }) => {
            let order = || Ok(Order::CancelUploads(CancelUploads { ids, foreign }));
            match ordered(&arguments, order, AT_ONCE, cancelled) {
                Ok(outcome) if outcome.report["absent"].as_array().is_some_and(|absent| !absent.is_empty()) => {
                    ExitCode::FAILURE
                }
                Ok(_) => ExitCode::SUCCESS,
                Err(code) => code,
            }
        }
    }
}

fn items<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().map_or(&[], Vec::as_slice)
}

/// Writing to a String cannot fail.
fn listed(report: &Value) -> String {
    let mut told = String::new();
    for upload in items(report, "uploads") {
        let ago = |key: &str| age(upload[key].as_u64().unwrap_or_default());
        let owner = upload["owner"].as_str().map(|owner| format!(", of {}", text(&owner.into()))).unwrap_or_default();
        let foreign = if upload["foreign"] == true { ", of another program" } else { "" };
        let _ = writeln!(
            told,
            "{}  {}  {} so far, begun {} ago, idle for {}{owner}{foreign}",
            text(&upload["id"]),
            text(&upload["repository"]),
            size(upload["bytes"].as_u64()),
            ago("age_seconds"),
            ago("idle_seconds")
        );
    }
    if told.is_empty() {
        told.push_str("no upload is under way\n");
    }
    if report["more"] == true {
        told.push_str("and more\n");
    }
    if let Some(why) = report["foreign_unknown"].as_str() {
        let _ = writeln!(told, "those of other programs are not known: {}", text(&why.into()));
    }
    told
}

fn cancelled(report: &Value) -> String {
    let mut told = String::new();
    for upload in items(report, "cancelled") {
        let (id, repository) = (text(&upload["id"]), text(&upload["repository"]));
        let _ = writeln!(told, "{id}: given up, {} of {repository}", size(upload["bytes"].as_u64()));
    }
    let hint = if report["foreign"] == true { "" } else { " (with --foreign, those of other programs are ended too)" };
    for id in items(report, "absent") {
        let _ = writeln!(told, "{}: there is no such upload{hint}", text(id));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn uploads_are_lines() {
        let upload = json!({ "id": "x", "repository": "a", "owner": "user:b", "bytes": 2048, "age_seconds": 61, "idle_seconds": 5 });
        let told = listed(&json!({ "uploads": [upload], "more": true }));
        assert_eq!(told, "x  a  2.0 KiB so far, begun 1m ago, idle for 5s, of user:b\nand more\n");
        assert_eq!(listed(&json!({ "uploads": [] })), "no upload is under way\n");
        let foreign = json!({ "foreign": true, "id": "y", "repository": "a", "owner": null, "bytes": 1, "age_seconds": 60, "idle_seconds": 5 });
        let told = listed(&json!({ "uploads": [foreign], "foreign_unknown": null }));
        assert_eq!(told, "y  a  1 B so far, begun 1m ago, idle for 5s, of another program\n");
        let told = listed(&json!({ "uploads": [], "foreign_unknown": "it is down" }));
        assert!(told.ends_with("those of other programs are not known: it is down\n"), "{told}");
        let told = cancelled(&json!({ "cancelled": [{ "id": "x", "repository": "a", "bytes": 1 }], "absent": ["y"] }));
        assert_eq!(
            told,
            "x: given up, 1 B of a\ny: there is no such upload (with --foreign, those of other programs are ended too)\n"
        );
    }
}
