//! `entrepot upgrade`: another process takes the place of the one that serves, and no connection is refused.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin::{Admin, AdminArguments};
use super::interruptible;
use super::words::text;
use crate::admin::Order;
use crate::admin::order::Upgrading;

/// It proves itself within 30 s; then it opens what it has to and takes over.
const TIMEOUT: Duration = Duration::from_secs(90);
const MAX_ANSWER: usize = 64 << 10;

#[derive(Args)]
pub struct Upgrade {
    /// The program to go on with [default: the file that the running one was started from, as it is now]
    #[arg(value_name = "BINARY")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArguments,
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
}

pub fn run(command: Upgrade) -> ExitCode {
    let json = command.json;
    super::say(interruptible(async move {
        let report = ordered(command).await?;
        Ok(if json { format!("{report}\n") } else { shown(&report) })
    }))
}

async fn ordered(command: Upgrade) -> Result<Value, String> {
    let binary = command.binary.as_deref().map(whole).transpose()?;
    let admin = Admin::find(command.admin)?;
    if !admin.is_socket() {
        return Err(format!(
            "an upgrade is ordered at the socket of the admin endpoint, and {} is an address: set `unix` in [admin], run this as the \
             user who serves, or send the process SIGUSR2",
            admin.name()
        ));
    }
    let call = Order::Upgrade(Upgrading { binary }).call();
    let question = admin.post(&call.path).header("Content-Type", "application/json").timeout(TIMEOUT);
    admin.ask(question.body(call.body.unwrap_or_default().to_string()), MAX_ANSWER).await
}

/// The server has another working folder.
fn whole(path: &Path) -> Result<PathBuf, String> {
    std::fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn shown(report: &Value) -> String {
    let (process, version) = (text(&report["process"]), text(&report["version"]));
    format!("process {process}, version {version}, accepts now; the old one ends with its last request\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_serves_now_is_said() {
        let told = shown(&json!({ "process": 7, "version": "0.2.0" }));
        assert_eq!(told, "process 7, version 0.2.0, accepts now; the old one ends with its last request\n");
        assert!(whole(Path::new("/nonexistent/entrepot")).is_err());
        assert!(whole(Path::new("/bin/sh")).unwrap().is_absolute());
    }
}
