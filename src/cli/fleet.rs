//! `entrepot fleet …`: what the instances of a fleet need before they start.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;

use crate::fleet::secret;

#[derive(Subcommand)]
pub enum Command {
    /// Print a new secret for `[fleet] secret_file`: (umask 077; entrepot fleet secret > FILE)
    Secret,
}

pub fn run(command: Command) -> ExitCode {
    let Command::Secret = command;
    // Not by println!, which panics where nobody reads.
    match writeln!(std::io::stdout(), "{}", secret::fresh()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => super::fail(format!("the secret cannot be written: {error}")),
    }
}
