//! `entrepot health`: whether requests should be sent to a running Entrepot.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::admin::{Admin, AdminArguments};
use super::words::text;

/// Less than what container engines wait by default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// We read no more than this of the answer.
const MAX_ANSWER: usize = 64 << 10;

#[derive(Args)]
pub struct Health {
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub fn run(command: Health) -> ExitCode {
    let as_json = command.json;
    match super::interruptible(ask(command)) {
        Ok(answer) => {
            let ready = answer["ready"] == true;
            let told = if as_json { format!("{answer:#}\n") } else { shown(&answer) };
            match ready || as_json {
                true => super::print(&told),
                false => super::err(told.trim_end()),
            }
            if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(super::Failure::Told(what)) if as_json => {
            // That nobody says so is an answer to this question.
            super::print(&format!("{:#}\n", json!({ "ready": false, "reasons": [what] })));
            super::fail(what)
        }
        Err(failure) => super::give_up(failure),
    }
}

/// Nobody is asked to log in for this.
async fn ask(command: Health) -> Result<Value, String> {
    let admin = Admin::find(AdminArguments { user: None, ..command.admin })?;
    let question = admin.get("/readyz", &[]).timeout(TIMEOUT);
    let answer = question.send().await.map_err(|error| admin.silent(&error))?;
    let status = answer.status().as_u16();
    if !matches!(status, 200 | 503) {
        return admin.read(answer, MAX_ANSWER).await;
    }
    let body = answer.bytes().await.map_err(|error| admin.silent(&error))?;
    let told = body.get(..body.len().min(MAX_ANSWER)).unwrap_or_default();
    let answer: Value = serde_json::from_slice(told).unwrap_or_default();
    match answer["ready"].is_boolean() {
        true => Ok(answer),
        false => Err(format!("the admin endpoint {} does not answer as Entrepot's does", admin.name())),
    }
}

fn shown(answer: &Value) -> String {
    if answer["ready"] == true {
        return "ready\n".into();
    }
    let reasons: Vec<_> = answer["reasons"].as_array().into_iter().flatten().map(text).collect();
    format!("not ready: {}\n", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_line() {
        assert_eq!(shown(&json!({ "ready": true })), "ready\n");
        assert_eq!(shown(&json!({ "ready": false, "reasons": ["draining", "x"] })), "not ready: draining; x\n");
    }
}
