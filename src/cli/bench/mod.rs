//! `entrepot bench`: a registry measured as its clients use it, alone or beside another one. What it pushes is its own, and is deleted
//! again however it ends.

mod address;
mod figures;
mod image;
mod left;
mod plan;
mod plot;
mod registry;
mod report;
mod rounds;
mod side;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::access::Access;
use crate::oci::RepositoryName;
use crate::units::{Size, Span};
use address::Address;
use plan::{MAX_CONCURRENCY, MAX_LAYERS, MAX_PULLS, MAX_PUSHES, MAX_REQUESTS, Plan};
use plot::PlotFile;
use registry::Registry;
use report::{Ended, Report};
use rounds::Tell;
use side::Side;

/// Means stdin.
const STDIN: &str = "-";
/// Threads that send and check at most.
const MAX_THREADS: usize = 8;

pub const ABOUT: &str = "Measure a registry as its clients use it, alone or beside another one: pushes, pulls, pulls at once, requests; then \
    delete what was pushed.\n\n\
    Images of random layers, which no registry has and nothing compresses, are pushed to a repository of their own: POST and PUT for each \
    blob, one after another, then the manifest under a tag. They are pulled whole, one after another and then several at once, and what \
    comes is checked. Then GET /v2/, a manifest, the list of tags and, where it may be read, the catalog are timed. With --vs each round \
    goes to both addresses in turn. Connections stay open; a token is asked for within the first request that needs one. What is pulled was \
    pushed a moment ago: it comes out of memory where the registry has enough of it. This program makes, sends and checks the bytes, and \
    takes its own share of the machine that it runs on.\n\n\
    A percentile is told only of enough samples: p90 of 10, p99 of 100; else it is — (null as JSON), beside the number of samples.\n\n\
    Ctrl-C, SIGTERM and --time end it, with what was measured so far. In the end its manifests and blobs are deleted; the next collection of garbage \
    frees their bytes, and until `entrepot repo rm` the repository's name may stay in the catalog. A registry that does not delete is told \
    of.\n\n\
    Exit code 0: all went well, 1: something failed, 2: it was misused, 130: interrupted.";

#[derive(Args)]
pub struct Bench {
    /// The registry: HOST or HOST:PORT, by https, and by http on this machine; or with https:// or http:// before it
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Another registry beside it
    #[arg(long, value_name = "ADDRESS")]
    vs: Option<Address>,
    /// Where images are pushed to, and deleted again [default: entrepot-bench/ and a random name]
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<RepositoryName>,
    /// How many images are pushed
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=MAX_PUSHES))]
    pushes: u32,
    /// How many pulls there are, one after another; then as many with some at once
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=MAX_PULLS))]
    pulls: u32,
    /// How many requests of each kind
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=MAX_REQUESTS))]
    requests: u32,
    /// How many pulls at once
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=MAX_CONCURRENCY))]
    concurrency: u32,
    /// Layers of an image
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=MAX_LAYERS))]
    layers: u32,
    /// How large a layer is, 1GiB at most
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    layer: Size,
    /// When to end if not all is done, 24h at most
    #[arg(long, value_name = "TIME", default_value = "5m")]
    time: Span,
    /// Who pushes, pulls and deletes
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// The file with the password of --user; - for stdin
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Who does at the second address
    #[arg(long, value_name = "NAME", requires_all = ["vs_password_file", "vs"])]
    vs_user: Option<String>,
    /// The file with the password of --vs-user; - for stdin
    #[arg(long, value_name = "FILE", requires = "vs_user")]
    vs_password_file: Option<PathBuf>,
    /// Certificates (PEM) of an authority of your own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Draw the figures, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
}

pub fn run(bench: Bench) -> ExitCode {
    let ready = prepare(&bench).and_then(|(plan, sides)| {
        let plot = bench.plot.as_deref().map(PlotFile::create).transpose()?;
        Ok((plan, sides, plot))
    });
    let (plan, sides, plot) = match ready {
        Ok(ready) => ready,
        Err(why) => return super::misused(why),
    };
    let tell = Tell::new(bench.json, &plan, sides.len());
    let work = async {
        let done = tokio::time::timeout(plan.time, rounds::measure(&plan, &sides, &tell)).await;
        clean_up(&sides).await;
        match done {
            Ok(Ok(())) => Ok(Ended::Done),
            Ok(Err(trouble)) => Err(super::words::printable(&trouble.to_string())),
            Err(_) => Ok(Ended::Time),
        }
    };
    let done = runtime().map_err(super::Failure::Told).and_then(|runtime| {
        // Whoever is cut off leaves nothing behind either.
        super::interruptible_on(runtime, work, clean_up(&sides))
    });
    tell.clear();
    let (ended, failure) = match done {
        Ok(ended) => (ended, None),
        Err(super::Failure::Interrupted) => (Ended::Interrupted, Some(super::Failure::Interrupted)),
        Err(told) => {
            super::print_err(&report::cleaned(&sides));
            return super::give_up(told);
        }
    };
    let report = Report::new(plan, &sides, ended);
    super::print(&if bench.json { format!("{:#}\n", report.json()) } else { report.text() });
    match (failure, plot.map(|plot| plot.write(&plot::svg(&report)))) {
        (Some(failure), _) => super::give_up(failure),
        (None, Some(Err(why))) => super::fail(why),
        (None, _) if report.is_well() => ExitCode::SUCCESS,
        (None, _) => ExitCode::FAILURE,
    }
}

/// At all addresses at once: they know nothing of each other.
async fn clean_up(sides: &[Arc<Side>]) {
    futures::future::join_all(sides.iter().map(|side| left::clean_up(side))).await;
}

/// Several threads, so that pulls at once are checked at once.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))
}

/// What the options say.
fn prepare(bench: &Bench) -> Result<(Plan, Vec<Arc<Side>>), String> {
    let Bench { pushes, pulls, requests, concurrency, layers, .. } = *bench;
    let plan = Plan { pushes, pulls, requests, concurrency, layers, layer: bench.layer.0, time: bench.time.0 };
    let plan = plan.checked(bench.layer, bench.time).map_err(|error| error.to_string())?;
    let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new(STDIN));
    if is_stdin(&bench.password_file) && is_stdin(&bench.vs_password_file) {
        return Err("--password-file and --vs-password-file: stdin holds one password".into());
    }
    let run = uuid::Uuid::new_v4().simple().to_string();
    let run = run.get(..12).unwrap_or(&run);
    let repository = match &bench.repository {
        Some(repository) => repository.clone(),
        None => format!("entrepot-bench/{run}").parse().map_err(|error| format!("--repository: {error}"))?,
    };
    let connections = usize::try_from(plan.concurrency).unwrap_or(1);
    let side = |address: &Address, login: (&Option<String>, &Option<PathBuf>), letter: &str| {
        let access = match login {
            (Some(user), Some(file)) => Some(Access::read(user, file)?),
            _ => None,
        };
        let registry = Registry::new(address.clone(), access, bench.ca.as_deref(), connections)?;
        // Also where both are one and the same, each has tags of its own.
        Ok::<_, String>(Arc::new(Side::new(registry, repository.clone(), format!("{run}-{letter}"))))
    };
    let mut sides = vec![side(&bench.address, (&bench.user, &bench.password_file), "a")?];
    if let Some(address) = &bench.vs {
        sides.push(side(address, (&bench.vs_user, &bench.vs_password_file), "b")?);
    }
    Ok((plan, sides))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn counts_have_bounds_and_logins_have_two_halves() {
        let parse = |words: &[&str]| Line::try_parse_from(std::iter::once("bench").chain(words.iter().copied()));
        let usual = parse(&["a:5000"]).unwrap().bench;
        assert_eq!((usual.pushes, usual.layers, usual.layer.0, usual.requests), (10, 3, 4 << 20, 100));
        assert!(parse(&["a", "--vs", "b", "--vs-user", "ann", "--vs-password-file", "-"]).is_ok());
        for wrong in [
            &[][..],
            &["ftp://a"],
            &["a", "--vs", "b c"],
            &["a", "--pushes", "0"],
            &["a", "--pushes", "1001"],
            &["a", "--concurrency", "65"],
            &["a", "--layers", "0"],
            &["a", "--layer", "much"],
            &["a", "--time", "30"],
            &["a", "--user", "ann"],
            &["a", "--vs-user", "ann", "--vs-password-file", "-"],
            &["a", "--repository", "A"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
