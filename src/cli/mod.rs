//! The command line: one file per command. Exit codes: 0 it worked, 1 it did not, 2 it was misused.

mod cache;
mod check;
mod fleet;
mod serve;

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
    /// Serve until SIGTERM; SIGHUP reads the configuration again, SIGUSR1 reopens the access log.
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
        Command::Fleet { command } => fleet::run(command),
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
