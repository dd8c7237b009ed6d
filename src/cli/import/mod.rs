//! `entrepot import WHAT FILE`: what another program's configuration is here, as a file of ours, and what of it has no counterpart.

mod distribution;
pub mod nginx;

use std::process::ExitCode;

use clap::Subcommand;

/// It is written, and a part is left out that clients may ask for: neither all that was wanted, nor nothing.
const INCOMPLETE: u8 = 3;
/// Where commands find the running Entrepot, as in the configuration of the package.
const SOCKET: &str = "/run/entrepot/admin.sock";
const SOCKET_WORDS: &str = "Where commands ask, and `entrepot upgrade` is taken: for the user who serves, and root. Its folder is made if that user \
                            may, as root or the package's service do; else name another path.";
/// The admin endpoint's port, or the next that nobody has.
const ADMIN: u16 = 5001;

#[derive(Subcommand)]
pub enum Command {
    /// A configuration file of nginx, with all that it includes: prints an Entrepot configuration that does the same for registries,
    /// and says what has no counterpart, and why. Exit code 0: no server and no location is left out, 3: it is made, and one is left
    /// out, or lets more through than nginx, 1: nothing is made.
    Nginx(nginx::Nginx),
    /// From distribution's (registry:2, registry:3): YAML of version 0.1, with the REGISTRY_ variables of the environment over it. Exit
    /// code 0: it is made, 1: nothing is. What has no counterpart is listed.
    Distribution(distribution::Distribution),
}

pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Nginx(command) => nginx::run(command),
        Command::Distribution(command) => distribution::run(command),
    }
}

/// A port for the admin endpoint that is none of these.
fn port_beside(taken: &[u16]) -> u16 {
    (ADMIN..u16::MAX).find(|port| !taken.contains(port)).unwrap_or(ADMIN)
}
