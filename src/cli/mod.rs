//! The command line: one file per command. Exit codes: 0 it worked, 1 it did not, 2 it was misused, 3 it worked in part (`import`),
//! 130 it was interrupted (Ctrl-C, SIGTERM).

mod access;
mod admin;
mod auth;
mod bench;
mod beside;
mod cache;
mod check;
mod check_token;
mod client;
mod doctor;
mod explain;
mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod garbage_collect;
mod gc;
mod health;
mod import;
mod lines;
mod login;
mod maintenance;
mod mirror;
mod opened;
mod operator;
mod pages;
mod progress;
mod quota;
mod recorded;
mod repo;
mod retention;
mod serve;
mod stats;
mod status;
mod tag;
mod token;
mod upgrade;
mod uploads;
mod user;
mod verify;
mod version;
mod warm;
mod words;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::Order;
use crate::maintenance::gc::given_back;
use beside::{err, fail, give_up, interrupted, misunderstood, misused, print_err};
use operator::{OperatorArguments, Outcome, Workplace};
use progress::{Progress, Shown};

/// Front, edge cache and registry for container images in one binary.
#[derive(Parser)]
#[command(name = "entrepot", version, arg_required_else_help = true, after_help = ENDINGS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Behind the list of commands.
const ENDINGS: &str = "A command that has --json prints its answer as one document of JSON on stdout, and what else there is to say as lines of JSON on \
    stderr: {\"errors\":[{\"code\":\"FAILED\",\"message\":\"…\"}]} where it fails, {\"notes\":[{\"message\":\"…\"}]} where something \
    should be known. Exit code 0: it worked, 1: it did not (FAILED), 2: it was misused (MISUSED), 130: it was interrupted by Ctrl-C or \
    SIGTERM (INTERRUPTED).";

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM; SIGHUP reads the configuration again, SIGUSR1 reopens the access log and the audit, SIGUSR2 upgrades.
    #[command(
        long_about = "Serve until SIGTERM; SIGHUP reads the configuration again, SIGUSR1 reopens the access log and the audit, SIGUSR2 \
        upgrades.\n\n\
        A configuration of distribution (registry:2, registry:3) is understood as it is, with its REGISTRY_ variables over it: the log \
        says what each of its keys is here, and which have no counterpart. REGISTRY_ variables alone are enough, where nothing of \
        Entrepot's own is there."
    )]
    Serve {
        /// The configuration file [default: $ENTREPOT_CONFIG, then $REGISTRY_CONFIGURATION_PATH, then /etc/entrepot/entrepot.toml,
        /// then REGISTRY_ variables, then a registry in ./data on 127.0.0.1:5000]
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// The same, as `registry serve FILE` has it
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Check a configuration file, with the variables of the environment over it: of Entrepot (ENTREPOT_), or of distribution (REGISTRY_).
    Check {
        /// The configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make a configuration of what stood here before: entrepot import nginx /etc/nginx/nginx.conf > entrepot.toml
    Import {
        #[command(subcommand)]
        command: import::Command,
    },
    /// Look for what is wrong with an installation, before and after it goes live: names, ports, certificates, clock, limits, disk,
    /// storage, Redis, peers; then push, pull and delete a small image. Each line says ok, warning or error, and what to do. Exit code
    /// 0: no errors, 1: some.
    Doctor(doctor::Doctor),
    /// Measure a registry as its clients use it, alone or beside another one: pushes, pulls, pulls at once, requests; then delete what was
    /// pushed.
    #[command(long_about = bench::ABOUT)]
    Bench(Box<bench::Bench>),
    /// Have another process take the place of the running one, at the same sockets: no connection is refused, and requests under way
    /// end. Exit code 0: it accepts now, 1: the old one goes on, and why.
    Upgrade(upgrade::Upgrade),
    /// Look after the cache of a running Entrepot.
    Cache {
        #[command(subcommand)]
        command: cache::Command,
    },
    /// Other registries that a running Entrepot mirrors: how they are, and what is kept of them.
    Mirror {
        #[command(subcommand)]
        command: mirror::Command,
    },
    /// Say what a running Entrepot knows of an image: its route and remote, how fresh it is, where each part is. Exit code 0:
    /// something of it is here, 1: nothing is.
    Explain(explain::Explain),
    /// Who may do what, and why.
    Auth {
        #[command(subcommand)]
        command: auth::Command,
    },
    /// Secrets for programs, and the keys of our tokens.
    Token {
        #[command(subcommand)]
        command: token::Command,
    },
    /// Users in an htpasswd file.
    User {
        #[command(subcommand)]
        command: user::Command,
    },
    /// How full quotas are ([[quota]]), and counting them.
    Quota(quota::Quota),
    /// Collect garbage in the place of distribution's own command: reads its configuration file, prints its lines, ends as it does
    #[command(name = "garbage-collect")]
    GarbageCollect(garbage_collect::GarbageCollect),
    /// What the instances of a fleet need.
    Fleet {
        #[command(subcommand)]
        command: fleet::Command,
    },
    /// Say how an Entrepot is: this instance and the others, peers, storage, Redis, jobs, collection.
    Status(status::Status),
    /// Ask a running Entrepot whether requests should be sent to it; for HEALTHCHECK. Exit code 0: yes, 1: no.
    Health(health::Health),
    /// Make a tag lead to a manifest of its repository: entrepot tag team/app:1.2 team/app:stable
    Tag(tag::Tag),
    /// Take a tag away; the manifest stays. `entrepot gc undelete RUN` brings it back, until `gc run --now` deletes what it led to.
    Untag(tag::Untag),
    /// Remove a manifest with its tags. `entrepot gc undelete RUN` brings it back, as long as its bytes are there: until `gc run --now`.
    Rm(tag::Rm),
    /// Copy an image, or all tags of a repository, to another repository: entrepot cp dev/app:1.2 prod/app:1.2
    #[command(
        long_about = "Copy an image, or all tags of a repository, to another repository: entrepot cp dev/app:1.2 prod/app:1.2\n\n\
        Links are written, and no content is moved: it takes as long for a gigabyte as for a kilobyte. Whatever keeps a push from \
        being taken (quotas, tags that never change, maintenance) keeps this too. Signatures, attestations and whatever else is about \
        the image come along, and the tag comes last."
    )]
    Cp(tag::Cp),
    /// Whole repositories.
    Repo {
        #[command(subcommand)]
        command: repo::Command,
    },
    /// Uploads under way: list them, or give them up.
    #[command(args_conflicts_with_subcommands = true)]
    Uploads {
        #[command(subcommand)]
        command: Option<uploads::Command>,
        #[command(flatten)]
        list: uploads::List,
    },
    /// Refuse all writes for a while, over the whole fleet, while reads go on.
    Maintenance {
        #[command(subcommand)]
        command: maintenance::Command,
    },
    /// Garbage: what nothing needs is taken away.
    Gc {
        #[command(subcommand)]
        command: gc::Command,
    },
    /// Tags that no policy keeps are taken away.
    Retention {
        #[command(subcommand)]
        command: retention::Command,
    },
    /// Print a script that completes commands for a shell: entrepot completions bash > /etc/bash_completion.d/entrepot
    Completions(pages::Completions),
    /// Write the manual pages of all commands to a folder: entrepot man /usr/local/share/man/man1
    Man(pages::Man),
    /// Read all that the registry's storage holds, say what is damaged, and repair it. Exit code 0: nothing is wrong, or all was
    /// repaired, 1: damage is left. May run beside whatever serves.
    Verify(verify::Verify),
    /// Say which version this is; with --json also what else whoever helps with it has to know.
    Version(version::Version),
    /// Say how much the registry's storage holds: repositories, images, tags, blobs, what sharing saves, how it grows.
    Stats(stats::Command),
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    // One provider for everything that speaks TLS. It fails only when one is installed, and then that one is ours.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let words: Vec<OsString> = serve::spelled_out(std::env::args_os().collect());
    let parsed = Arguments::command().try_get_matches_from(&words).and_then(|matches| {
        beside::as_wanted_by(&matches);
        Arguments::from_arg_matches(&matches)
    });
    match parsed {
        Ok(arguments) => perform(arguments.command),
        Err(error) => misunderstood(&error, &words),
    }
}

fn perform(command: Command) -> ExitCode {
    match command {
        Command::Serve { config, file } => serve::run(config.or(file)),
        Command::Check { file } => check::run(file),
        Command::Import { command } => import::run(command),
        Command::Doctor(command) => doctor::run(command),
        Command::Bench(command) => bench::run(*command),
        Command::Upgrade(command) => upgrade::run(command),
        Command::Cache { command } => cache::run(command),
        Command::Mirror { command } => mirror::run(command),
        Command::Explain(command) => explain::run(command),
        Command::Auth { command } => auth::run(command),
        Command::Token { command } => token::run(command),
        Command::User { command } => user::run(command),
        Command::Quota(command) => quota::run(command),
        Command::Fleet { command } => fleet::run(command),
        Command::Status(command) => status::run(command),
        Command::Health(command) => health::run(command),
        Command::Tag(command) => tag::tag(command),
        Command::Untag(command) => tag::untag(command),
        Command::Rm(command) => tag::rm(command),
        Command::Cp(command) => tag::cp(command),
        Command::Repo { command } => repo::run(command),
        Command::Uploads { command, list } => uploads::run(command, list),
        Command::Maintenance { command } => maintenance::run(command),
        Command::Gc { command } => gc::run(command),
        Command::Retention { command } => retention::run(command),
        Command::Completions(command) => pages::completions(command),
        Command::Man(command) => pages::man(command),
        Command::Verify(command) => verify::run(command),
        Command::Version(command) => version::run(&command),
        Command::Stats(command) => stats::run(command),
        Command::GarbageCollect(command) => garbage_collect::run(command),
    }
}

/// What a shell expects of a command that Ctrl-C ended: 128 and the signal's number. SIGTERM, which has another number, is the same to
/// us, and whoever looks at the status has one to know.
const INTERRUPTED: u8 = 130;

/// Why a command came to nothing.
enum Failure {
    /// For people.
    Told(String),
    Interrupted,
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Failure::Told(what)
    }
}

/// For what a command asks of others.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))
}

/// Does what waits for others, until Ctrl-C or SIGTERM.
fn interruptible<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, Failure> {
    // A collection that was cut off keeps the next one from beginning as long as that is not said; whoever does not want to wait for it
    // presses it once more.
    interruptible_then(work, given_back())
}

/// Does what waits for others, until Ctrl-C or SIGTERM; then what has to be done after it, until there is one more.
fn interruptible_then<T>(
    work: impl Future<Output = Result<T, String>>,
    after: impl Future<Output = ()>,
) -> Result<T, Failure> {
    interruptible_on(runtime()?, work, after)
}

/// The same on that runtime.
fn interruptible_on<T>(
    runtime: tokio::runtime::Runtime,
    work: impl Future<Output = Result<T, String>>,
    after: impl Future<Output = ()>,
) -> Result<T, Failure> {
    let done = runtime.block_on(async {
        let cut_off = || std::io::Result::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
        let mut signals = cut_off().map_err(|error| format!("cannot start: {error}"))?;
        tokio::select! {
            done = work => done.map_err(Failure::Told),
            () = next(&mut signals) => {
                tokio::select! {
                    () = after => {}
                    () = next(&mut signals) => {}
                }
                Err(Failure::Interrupted)
            }
        }
    });
    // What a driver does on a thread of its own is done, or is not worth waiting for.
    runtime.shutdown_background();
    done
}

/// One of the two that end a command.
async fn next((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Has an order done, shows its steps, and then what `shown` makes of its report, or the report itself.
fn ordered(
    arguments: &OperatorArguments,
    order: impl FnOnce() -> Result<Order, String>,
    (show, hint): (fn(&Value) -> Shown, &str),
    shown: impl FnOnce(&Value) -> String,
) -> Result<Outcome, ExitCode> {
    let mut progress = Progress::new(arguments.json, show);
    let outcome = interruptible(async {
        let workplace = Workplace::find(arguments)?;
        workplace.perform(order()?, &mut |step| progress.step(step)).await
    });
    progress.clear();
    let outcome = outcome.map_err(|failure| {
        if matches!(failure, Failure::Interrupted) && !hint.is_empty() {
            err(hint);
        }
        give_up(failure)
    })?;
    let text = if arguments.json { operator::as_json(&outcome) } else { shown(&outcome.report) };
    print(&text);
    Ok(outcome)
}

/// What is done at once has no steps to show, and nothing that could be half done.
const AT_ONCE: (fn(&Value) -> Shown, &str) = (|_| Shown::default(), "");

/// Prints what a command has to say. Whoever no longer reads has what they wanted.
fn say(told: Result<String, Failure>) -> ExitCode {
    match told {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(failure) => give_up(failure),
    }
}

/// Not by print!, which panics where nobody reads.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A line on stdout.
fn out(line: &str) {
    print(&format!("{line}\n"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }

    /// Every command and option says what it is for.
    #[test]
    fn nothing_is_without_a_word_of_help() {
        fn look(command: &clap::Command, path: &str) {
            for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
                assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
            }
            for inner in command.get_subcommands() {
                let path = format!("{path} {}", inner.get_name());
                assert!(inner.get_about().is_some(), "{path}");
                look(inner, &path);
            }
        }
        look(&super::Arguments::command(), "entrepot");
    }
}
