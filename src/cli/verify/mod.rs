//! `entrepot verify`: whether what storage holds is what it should be, and putting right what is not. Exit code 0: nothing is wrong, or
//! all of it was repaired; 1: damage is left, or storage could not be looked at.

mod progress;
mod shown;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use prometheus::Registry as Prometheus;

use super::Failure;
use super::opened::{Opened, StorageArguments};
use crate::config::Config;
use crate::limits::config::Rate;
use crate::maintenance::verify::{
    Access, Login, Metrics, Order, Parts, Report, Source, SourceError, SourceName, Sparse, Verifier, nothing,
};
use crate::registry::config::MissingReferences;
use crate::remote::RemoteNames;
use crate::units::Percent;
use progress::Progress;

#[derive(Args)]
pub struct Verify {
    /// Look at a part only of blobs, links, manifests and tags, such as 5%
    #[arg(long, value_name = "PERCENT", default_value = "100%", value_parser = sample)]
    sample: Percent,
    /// Calls to storage, where each MiB that is read counts as one, such as 50/s [default: as many as it gives]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Repair what is wrong from another registry (https://…), a folder with the same tree, or "trash"; may stand several times
    #[arg(long, value_name = "SOURCE")]
    repair_from: Vec<SourceName>,
    /// A file with USER:PASSWORD, for the other registry
    #[arg(long, value_name = "FILE", requires = "repair_from")]
    credentials: Option<PathBuf>,
    /// PEM file of authorities to trust for the other registry [default: the system's]
    #[arg(long, value_name = "FILE", requires = "repair_from")]
    ca: Option<PathBuf>,
    /// The report as JSON, errors too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    storage: StorageArguments,
}

/// Why there is no report.
enum Trouble {
    Misused(String),
    Failed(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Trouble::Failed(why)
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Trouble::Misused(format!("--repair-from: {error}"))
    }
}

pub fn run(command: Verify) -> ExitCode {
    let (json, progress) = (command.json, Progress::new(command.json));
    let outcome = super::interruptible(async { Ok(verify(command, &progress).await) });
    progress.clear();
    match outcome {
        Ok(Ok(report)) => {
            super::say(Ok(if json { shown::json(&report) } else { shown::report(&report) }));
            if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Err(Trouble::Misused(why))) => super::misused(why),
        Ok(Err(Trouble::Failed(why))) => {
            super::print_err(&progress.so_far());
            super::fail(why)
        }
        Err(failure) => {
            if matches!(failure, Failure::Interrupted) {
                super::print_err(&progress.so_far());
            }
            super::give_up(failure)
        }
    }
}

async fn verify(command: Verify, progress: &Progress) -> Result<Report, Trouble> {
    let opened = Opened::open(command.storage).await?;
    let metrics = Metrics::new(&Prometheus::new()).map_err(|error| error.to_string())?;
    let fleet = opened.fleet().await?;
    let login = command.credentials.as_deref().map(Login::read).transpose()?;
    let access = Access { login, ca: command.ca };
    let mut repair = Vec::with_capacity(command.repair_from.len());
    for name in &command.repair_from {
        repair.push(Source::open(name, &access, &fleet).await?);
    }
    let uploads = if repair.is_empty() { None } else { Some(opened.uploads().await?) };
    let sparse = sparse(&opened.config);
    let parts = Parts { storage: opened.storage, uploads, fleet, metrics: Arc::new(metrics), sparse };
    let order = Order { sample: command.sample, rate: command.rate, repair, ..Order::default() };
    let report = Verifier::new(parts).run(&order, progress).await;
    report.map_err(|error| Trouble::Failed(format!("storage could not be looked at to the end: {error}")))
}

/// Where images need not be whole.
fn sparse(config: &Config) -> Sparse {
    let below = config.remote.values().map(|remote| RemoteNames::new(&remote.registry, remote.path.as_deref()).path);
    let anywhere = config.registry.missing_references == MissingReferences::Accept;
    Sparse { anywhere, below: below.collect() }
}

fn sample(text: &str) -> Result<Percent, String> {
    let sample: Percent = text.parse()?;
    if nothing(sample) { Err(format!("a sample of {sample} is nothing")) } else { Ok(sample) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        verify: Verify,
    }

    fn parse(words: &[&str]) -> Result<Verify, clap::Error> {
        Line::try_parse_from([&["verify"], words].concat()).map(|line| line.verify)
    }

    #[test]
    fn a_line_is_understood_or_refused() {
        let plain = parse(&[]).unwrap();
        assert!(plain.sample.is_whole() && plain.repair_from.is_empty() && !plain.json);
        let whole = parse(&[
            "--sample",
            "5%",
            "--rate",
            "50/s",
            "--repair-from",
            "trash",
            "--repair-from",
            "/backup",
            "--json",
        ]);
        assert_eq!(whole.unwrap().repair_from, [SourceName::Trash, SourceName::Folder("/backup".into())]);
        for words in [
            &["--sample", "0%"][..],
            &["--sample", "5"],
            &["--rate", "0/s"],
            &["--repair-from", "ftp://x"],
            &["--credentials", "x"],
            &["--ca", "x"],
        ] {
            assert_eq!(parse(words).err().map(|error| error.exit_code()), Some(2), "{words:?}");
        }
    }
}
