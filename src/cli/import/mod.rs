//! `entrepot import WHAT FILE`: what another program's configuration is here, as a file of ours, and what of it has no counterpart.

mod distribution;
pub mod nginx;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Command {
    /// A configuration file of nginx, with all that it includes: prints an Entrepot configuration that does the same for registries,
    /// and says what has no counterpart, and why
    Nginx(nginx::Nginx),
    /// From distribution's (registry:2, registry:3): YAML of version 0.1, with the REGISTRY_ variables of the environment over it
    Distribution(distribution::Distribution),
}

pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Nginx(command) => nginx::run(command),
        Command::Distribution(command) => distribution::run(command),
    }
}
