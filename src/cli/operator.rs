//! How commands have something done: by the instance that serves, or by themselves where none answers.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::admin::{Admin, AdminArguments};
use super::lines::Lines;
use super::opened::of_another_user;
use super::recorded::InFile;
use crate::admin::order::Call;
use crate::admin::{Done, Order};
use crate::app::maintenance::By;
use crate::app::standalone;
use crate::config::{Config, Source};

/// We read no more than this of an answer that comes at once.
const MAX_ANSWER: usize = 64 << 20;
/// How long we wait for one.
const TIMEOUT: Duration = Duration::from_secs(310);
/// A server that does not even say that it is still there has gone.
const SILENCE: Duration = Duration::from_secs(120);

#[derive(Args, Clone)]
pub struct OperatorArguments {
    #[command(flatten)]
    pub admin: AdminArguments,
    /// Work on storage itself, as the configuration has it, without asking a running Entrepot
    #[arg(long, conflicts_with_all = ["admin", "user"])]
    no_server: bool,
    /// As JSON, errors too
    #[arg(long)]
    pub json: bool,
}

/// What a command works on.
pub enum Workplace {
    /// A server, and, where it is known, what to do without it.
    Server(Admin, Option<Box<Config>>),
    /// Storage.
    Here(Box<Config>),
}

/// What came of an order.
pub struct Outcome {
    pub report: Value,
    /// Why the server that should answer does not.
    pub silent: Option<String>,
}

impl Workplace {
    /// # Errors
    /// For people: the configuration cannot be read.
    pub fn find(arguments: &OperatorArguments) -> Result<Self, String> {
        let OperatorArguments { admin: AdminArguments { config, admin, user }, no_server, .. } = arguments;
        if let Some(admin) = admin {
            return Ok(Workplace::Server(Admin::named(admin, user.as_deref())?, None));
        }
        let source = Source::find(config.clone());
        let config = Box::new(source.load().map_err(|errors| errors.to_string())?);
        match &config.admin {
            Some(section) if !no_server => {
                Ok(Workplace::Server(Admin::of(section, &source, user.as_deref())?, Some(config)))
            }
            _ => Ok(Workplace::Here(config)),
        }
    }

    /// Has it done; steps are told as they come.
    ///
    /// # Errors
    /// For people.
    pub async fn perform(&self, order: Order, step: &mut (dyn FnMut(&Value) + Send)) -> Result<Outcome, String> {
        let (admin, config) = match self {
            Workplace::Here(config) => {
                return here(config, order, step).await.map(|report| Outcome { report, silent: None });
            }
            Workplace::Server(admin, config) => (admin, config),
        };
        let Call { method, path, body, steps } = order.call();
        let question = if method == "GET" { admin.get(&path, &[]) } else { admin.post(&path) };
        let question = match body {
            Some(body) => question.header("Content-Type", "application/json").body(body.to_string()),
            None => question,
        };
        let question = if steps { question } else { question.timeout(TIMEOUT) };
        let answer = match (question.send().await, config) {
            (Ok(answer), _) => answer,
            (Err(error), Some(config)) if error.is_connect() => {
                let silent = admin.silent(&error);
                // Status says so itself, in its place.
                if order != Order::Status {
                    super::err(&format!("no server answers at {}: working on the storage itself", admin.name()));
                }
                let told = |error: String| format!("{silent}; without it: {error}");
                let report = here(config, order, step).await.map_err(told)?;
                return Ok(Outcome { report, silent: Some(silent) });
            }
            (Err(error), _) => return Err(admin.silent(&error)),
        };
        let report = match steps && answer.status() == 200 {
            true => follow(admin, answer, step).await?,
            false => admin.read(answer, MAX_ANSWER).await?,
        };
        Ok(Outcome { report, silent: None })
    }
}

/// By this process.
async fn here(config: &Config, order: Order, step: &mut (dyn FnMut(&Value) + Send)) -> Result<Value, String> {
    let works = standalone::open(config).await?;
    if order.action().is_some()
        && let Some(note) = of_another_user(&config.storage)
    {
        super::err(&note);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = format!("uid {} on {}", rustix::process::getuid().as_raw(), host.trim());
    let by = By { name, ledger: Arc::new(InFile::of(config)), listener: None };
    let outcome = match works.perform(order, by).await.map_err(|refusal| refusal.message) {
        Ok(Done::Told(report)) => Ok(report),
        Ok(Done::Steps(mut steps)) => loop {
            let Some(told) = steps.next().await else { break Err("the work ended before it was done".into()) };
            match ended(&told) {
                Some(end) => break end,
                None => step(&told),
            }
        },
        Err(what) => Err(what),
    };
    // What quotas have to be told.
    works.registry.close().await;
    outcome
}

/// By the server, whose steps come as lines.
async fn follow(
    admin: &Admin,
    mut answer: reqwest::Response,
    step: &mut (dyn FnMut(&Value) + Send),
) -> Result<Value, String> {
    let gone = |what: &str| format!("the server stopped: {what}");
    let mut lines = Lines::default();
    loop {
        let chunk = timeout(SILENCE, answer.chunk()).await.map_err(|_| gone("it says nothing any more"))?;
        let Some(chunk) = chunk.map_err(|error| admin.silent(&error))? else {
            return Err(gone("the answer ended before the work did"));
        };
        for told in lines.take(&chunk).map_err(|what| gone(&what))? {
            if let Some(end) = ended(&told) {
                return end;
            }
            if told["event"] != "beat" {
                step(&told);
            }
        }
    }
}

/// What the last step says.
fn ended(step: &Value) -> Option<Result<Value, String>> {
    match step["event"].as_str() {
        Some("end") => Some(Ok(step["report"].clone())),
        Some("failed") => Some(Err(super::words::text(&step["message"]))),
        _ => None,
    }
}

/// A report, as JSON for programs.
pub fn as_json(outcome: &Outcome) -> String {
    let mut report = outcome.report.clone();
    if let (Some(silent), Value::Object(report)) = (&outcome.silent, &mut report) {
        report.insert("server".to_owned(), json!({ "trouble": silent }));
    }
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_ends_it() {
        assert_eq!(ended(&json!({ "event": "end", "report": { "n": 1 } })), Some(Ok(json!({ "n": 1 }))));
        assert_eq!(ended(&json!({ "event": "failed", "message": "no\u{1b}" })), Some(Err("no\\u{1b}".into())));
        assert_eq!(ended(&json!({ "event": "marking" })), None);
        assert_eq!(ended(&json!({})), None);
    }
}
