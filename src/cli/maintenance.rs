//! `entrepot maintenance …`: writes are refused for a while, over the whole fleet.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::operator::OperatorArguments;
use super::words::text;
use super::{AT_ONCE, ordered};
use crate::admin::Order;
use crate::admin::order::SetMaintenance;

#[derive(Subcommand)]
pub enum Command {
    /// From now on all writes are answered with 503, by every instance within five seconds; reads go on.
    On {
        /// A sentence for those whose writes are refused
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        arguments: OperatorArguments,
    },
    /// Writes are taken again.
    Off {
        #[command(flatten)]
        arguments: OperatorArguments,
    },
    /// Say whether writes are refused. Exit code 0: they are taken, 1: they are not.
    Status {
        #[command(flatten)]
        arguments: OperatorArguments,
    },
}

pub fn run(command: Command) -> ExitCode {
    let (order, arguments, asks) = match command {
        Command::On { reason, arguments } => {
            (Order::SetMaintenance(SetMaintenance { on: true, reason }), arguments, false)
        }
        Command::Off { arguments } => {
            (Order::SetMaintenance(SetMaintenance { on: false, reason: String::new() }), arguments, false)
        }
        Command::Status { arguments } => (Order::Maintenance, arguments, true),
    };
    match ordered(&arguments, || Ok(order), AT_ONCE, shown) {
        Ok(outcome) if asks && !outcome.report["maintenance"].is_null() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn shown(report: &Value) -> String {
    let now = &report["maintenance"];
    if now.is_null() {
        let already = if report["changed"] == false { ", as before" } else { "" };
        return format!("writes are taken{already}\n");
    }
    let reason = now["reason"].as_str().filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {}", text(&reason.into()))).unwrap_or_default();
    format!("writes are refused since {} by the word of {}{reason}\n", text(&now["since"]), text(&now["by"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_a_sentence() {
        let on = json!({ "maintenance": { "on": true, "reason": "a move", "since": "2026-11-30T00:00:00Z", "by": "user:a" } });
        assert_eq!(shown(&on), "writes are refused since 2026-11-30T00:00:00Z by the word of user:a: a move\n");
        assert_eq!(shown(&json!({ "maintenance": null })), "writes are taken\n");
        assert_eq!(shown(&json!({ "maintenance": null, "changed": false })), "writes are taken, as before\n");
    }
}
