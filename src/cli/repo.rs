//! `entrepot repo …`: whole repositories.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::operator::OperatorArguments;
use super::ordered;
use super::progress::Shown;
use super::tag::back;
use super::words::{count, text};
use crate::admin::Order;
use crate::admin::order::RemovingRepository;
use crate::oci::NameError;

#[derive(Subcommand)]
pub enum Command {
    /// Remove a repository with all that it holds. Repositories below its name stay. Without --yes, it is only said what would go.
    Rm {
        /// Such as team/app
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        /// Do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        arguments: OperatorArguments,
    },
}

pub fn run(command: Command) -> ExitCode {
    let Command::Rm { repository, yes, arguments } = command;
    let order = || {
        let parsed = repository.parse();
        let named = |error: NameError| format!("'{}' names no repository: {error}", repository.escape_debug());
        Ok(Order::RemoveRepository(RemovingRepository { repository: parsed.map_err(named)?, yes }))
    };
    let hint = "what is gone by now is in a journal: `entrepot gc undelete REPOSITORY` brings it back (not after `gc run --now`), and the same command goes on";
    match ordered(&arguments, order, (step, if yes { hint } else { "" }), shown) {
        Ok(outcome) if outcome.report["dry"] == true => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn step(step: &Value) -> Shown {
    match step["event"].as_str() {
        Some("found") => Shown::now(holds(step)),
        _ => Shown::default(),
    }
}

fn holds(of: &Value) -> String {
    let of = |key: &str, what: &str| count(of[key].as_u64().unwrap_or(0), what);
    format!("{}, {}, {}", of("tags", "tag"), of("manifests", "manifest"), of("blobs", "blob"))
}

fn shown(report: &Value) -> String {
    let name = text(&report["repository"]);
    if report["dry"] == true {
        return format!("{name} has {}; nothing is removed without --yes\n", holds(report));
    }
    let more = if report["more"] == true { "; there is more of it: do the same again" } else { "" };
    format!("{name} is gone: {}{}{more}\n", holds(report), back(report))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_said_what_would_go_and_what_went() {
        let mut report = json!({ "repository": "a/b", "tags": 1, "manifests": 2, "blobs": 3, "dry": true, "runs": [], "more": false });
        assert_eq!(shown(&report), "a/b has 1 tag, 2 manifests, 3 blobs; nothing is removed without --yes\n");
        report["dry"] = json!(false);
        report["runs"] = json!(["rm-1"]);
        let told = shown(&report);
        assert_eq!(
            told,
            "a/b is gone: 1 tag, 2 manifests, 3 blobs; `entrepot gc undelete rm-1` brings it back, unless `entrepot gc run --now` \
             deletes it first\n"
        );
    }
}
