//! `entrepot import nginx FILE`: what nginx does before registries, said in Entrepot's words.
//!
//! - `tokens`, `parse`, `files`: words, directives and blocks, files that are included; `tree`: what comes of them
//! - `scope`: what counts at a place; `values`: spans, sizes, addresses, networks
//! - `servers`, `paths`: servers and what their locations are about; `access`: who may
//! - `translate`: the whole; `routes` with `drafts`, `rules` and `clients`, `beside`, `listeners`, `backends`, `upstream`, `fields`,
//!   `general`: a part each, into `made`; `globs`: whether two of its parts are about the same
//! - `known`: why nothing is made of the other directives; `notes`: what is told of all that; `write`: the file
//!
//! What nginx keeps somebody from must not be open here: where that cannot be said, a server is left out.

mod access;
mod backends;
mod beside;
mod clients;
mod drafts;
mod fields;
mod files;
mod general;
mod globs;
mod known;
mod listeners;
mod made;
mod notes;
mod parse;
mod paths;
mod routes;
mod rules;
mod scope;
mod servers;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_left;
#[cfg(test)]
mod tests_shut;
mod tokens;
mod translate;
mod tree;
mod upstream;
mod values;
mod write;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use files::{Disk, Files};
use made::Made;
use notes::{Notes, plain};
use translate::Wanted;
use tree::Fault;

use crate::config::Source;

/// Of what is written beside the configuration: its owner's alone.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Args)]
pub struct Nginx {
    /// The main file, such as /etc/nginx/nginx.conf, or one that it includes in its `http`, such as /etc/nginx/conf.d/registry.conf
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write it to a file that is not there yet, and passwords beside it (0600); otherwise it goes to stdout, and passwords nowhere
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only servers with this `server_name`, letter by letter; may be given more than once [default: all]
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
}

pub fn run(command: Nginx) -> ExitCode {
    match import(&command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(super::INCOMPLETE),
        Err(what) => crate::cli::fail(what),
    }
}

/// Whether no server and no part of one is left out.
fn import(command: &Nginx) -> Result<bool, String> {
    let output = command.output.as_deref().map(whole).transpose()?;
    output.iter().try_for_each(|output| absent(output))?;
    let made = read(&Disk, &command.file, output.as_deref(), &command.server).map_err(|fault| fault.to_string())?;
    let text = write::text(&made, &plain(&command.file.display().to_string()), output.is_some());
    let told: String = made.notes.lines().into_iter().map(|line| format!("{line}\n")).collect();
    made.secrets().filter(|_| output.is_some()).try_for_each(|secret| absent(&secret.path))?;
    crate::cli::print_err(&told);
    let complete = made.notes.is_complete();
    let Some(output) = output else {
        crate::cli::print(&text);
        return Ok(complete);
    };
    create(&output, text.as_bytes(), PUBLIC)?;
    for secret in made.secrets() {
        create(&secret.path, secret.text.reveal().as_bytes(), SECRET)?;
        crate::cli::err(&format!("{}: the password of {}", secret.path.display(), secret.from));
    }
    match (Source { path: Some(output.clone()) }).load() {
        Ok(_) => crate::cli::err(&format!("{}: ok", output.display())),
        Err(errors) => crate::cli::err(&format!("Before it can be served:\n{errors}")),
    }
    Ok(complete)
}

/// All that a file of nginx's and what it includes become.
fn read(files: &dyn Files, file: &Path, output: Option<&Path>, servers: &[String]) -> Result<Made, Fault> {
    let mut notes = Notes::default();
    let tree = parse::parse(files, file, &mut notes)?;
    let home = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let home = home.parent().unwrap_or(Path::new("/"));
    translate::translate(tree, &Wanted { servers, output, home }, notes)
}

/// Commands are run in other folders than the server.
fn whole(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Told before anything else, so that nobody has to look for it below the report.
fn absent(path: &Path) -> Result<(), String> {
    match path.symlink_metadata() {
        Ok(_) => Err(format!("{} is there already: nothing is written over it", path.display())),
        Err(_) => Ok(()),
    }
}

/// Nothing that is there already is written over.
fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| format!("{}: {error}", path.display()))
}

/// What must hold for every text: it is refused at a line, or read, and then written as TOML that has what it promises.
#[cfg(any(test, fuzzing))]
pub fn property(bytes: &[u8]) {
    struct Nowhere<'a>(&'a [u8]);
    impl Files for Nowhere<'_> {
        fn read(&self, _: &Path) -> Result<Vec<u8>, String> {
            Ok(self.0.to_vec())
        }
        fn matching(&self, _: &Path) -> Result<Vec<PathBuf>, String> {
            Ok(Vec::new())
        }
    }
    match read(&Nowhere(bytes), Path::new("nginx.conf"), None, &[]) {
        Err(fault) => assert!(!fault.to_string().is_empty()),
        Ok(made) => {
            let text = write::text(&made, "nginx.conf", false);
            let table: toml::Table = text.parse().unwrap_or_default();
            assert!(["listener", "route", "admin", "cache"].iter().all(|key| table.contains_key(*key)), "{text}");
            checked(&text);
        }
    }
}

/// Nothing is wrong with it but the files that it names.
#[cfg(any(test, fuzzing))]
fn checked(text: &str) {
    const OF_FILES: [&str; 8] =
        ["certificate", ".key:", "client_key", "_ca:", "client_crl:", "htpasswd", "password_file", ".ca:"];
    let Ok(file) = tempfile::Builder::new().prefix("entrepot-import").suffix(".toml").tempfile() else { return };
    if std::fs::write(file.path(), text).is_err() {
        return;
    }
    if let Err(errors) = crate::config::Config::load(Some(file.path()), std::iter::empty()) {
        for error in errors.0 {
            let error = error.to_string();
            // nginx would ask itself too.
            let itself = error.contains("in circles");
            assert!(itself || OF_FILES.iter().any(|key| error.contains(key)), "{error}\n{text}");
        }
    }
}
