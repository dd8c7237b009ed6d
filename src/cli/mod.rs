//! The command line: one file per command. Exit codes: 0 it worked, 1 it did not, 2 it was misused, 130 it was interrupted (Ctrl-C).

mod admin;
mod auth;
mod cache;
mod check;
mod check_token;
mod explain;
mod fleet;
mod mirror;
mod recorded;
mod serve;
mod token;
mod user;
mod warm;
mod words;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Front, edge cache and registry for container images in one binary.
#[derive(Parser)]
#[command(name = "entrepot", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM; SIGHUP reads the configuration again, SIGUSR1 reopens the access log and the audit.
    Serve {
        /// The configuration file [default: $ENTREPOT_CONFIG, then /etc/entrepot/entrepot.toml, then a registry in
        /// ./data on 127.0.0.1:5000]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a configuration file, with the ENTREPOT_ variables of the environment over it.
    Check {
        /// The configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
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
    /// What the instances of a fleet need.
    Fleet {
        #[command(subcommand)]
        command: fleet::Command,
    },
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    // One provider for everything that speaks TLS. It fails only when one is installed, and then that one is ours.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::Serve { config } => serve::run(config),
        Command::Check { file } => check::run(file),
        Command::Cache { command } => cache::run(command),
        Command::Mirror { command } => mirror::run(command),
        Command::Explain(command) => explain::run(command),
        Command::Auth { command } => auth::run(command),
        Command::Token { command } => token::run(command),
        Command::User { command } => user::run(command),
        Command::Fleet { command } => fleet::run(command),
    }
}

/// What a shell expects of a command that Ctrl-C ended: 128 and the signal's number.
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

/// Does what waits for others, until Ctrl-C.
fn interruptible<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, Failure> {
    runtime()?.block_on(async {
        tokio::select! {
            done = work => done.map_err(Failure::Told),
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    })
}

/// Prints what a command has to say. Whoever no longer reads has what they wanted.
fn say(told: Result<String, Failure>) -> ExitCode {
    match told {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => give_up(failure),
    }
}

fn give_up(failure: Failure) -> ExitCode {
    match failure {
        Failure::Told(what) => fail(what),
        Failure::Interrupted => {
            eprintln!("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// Says on stderr why a command failed.
fn fail(what: impl std::fmt::Display) -> ExitCode {
    eprintln!("{what}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
