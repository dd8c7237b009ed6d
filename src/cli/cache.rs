//! `entrepot cache …`: asks a running Entrepot, through its admin endpoint.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::admin::{Admin, AdminArguments};
use crate::oci::Digest;

/// How long we wait for the admin endpoint in all: a purge is two deletions.
const TIMEOUT: Duration = Duration::from_secs(30);
/// We read no more than this of its answer.
const MAX_ANSWER: usize = 4 << 10;

#[derive(Subcommand)]
pub enum Command {
    /// Forget one blob or manifest, in memory and on disk.
    Purge {
        /// Such as sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        digest: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
}

pub fn run(command: Command) -> ExitCode {
    let Command::Purge { digest, admin } = command;
    super::say(super::interruptible(purge(&digest, admin)))
}

async fn purge(digest: &str, admin: AdminArguments) -> Result<String, String> {
    let digest: Digest = digest.parse().map_err(|error| format!("'{digest}' is not a digest: {error}"))?;
    let admin = Admin::find(admin)?;
    let question = admin.post(&format!("/cache/purge?digest={digest}")).timeout(TIMEOUT);
    let answer = admin.ask(question, MAX_ANSWER).await?;
    match answer.pointer("/purged").and_then(Value::as_bool) {
        Some(true) => Ok(format!("{digest}: purged\n")),
        Some(false) => Ok(format!("{digest}: not cached\n")),
        None => Err("the admin endpoint does not answer as Entrepot's does".into()),
    }
}
