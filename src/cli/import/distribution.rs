//! `entrepot import distribution FILE`: an Entrepot file with what each key was made of. A secret goes into a file of its own, and is
//! never printed.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::Source;
use crate::config::distribution::{MAX_FILE, Machine, Secrets, Told, Translation, variables};

/// Where secrets are looked for, if nobody says where the file will be.
const FOLDER: &str = "/etc/entrepot";
/// For its owner only.
const PRIVATE: u32 = 0o600;
/// For everybody's eyes: there is no secret in it.
const PUBLIC: u32 = 0o644;

/// Distribution knows no operators. A rule takes away what goes without saying while there is none, so that has to be said with it.
const OPERATORS: &str = "
# ---- Who operates ----
# `entrepot status`, `gc`, `retention` and the like ask by --user for somebody with `admin`, and nobody has it yet (`entrepot upgrade`
# asks nobody, at the socket of [admin]). Name a user, and take the '#' away from all six lines:
#[[auth.rule]]
#who = [\"authenticated\"]
#allow = [\"pull\", \"push\", \"overwrite\", \"delete\", \"catalog\"]
#[[auth.rule]]
#who = [\"user:NAME\"]
#allow = [\"admin\"]
";

#[derive(Args)]
pub struct Distribution {
    /// Distribution's configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write it there, and each secret into a file beside it that only its owner may read [default: to stdout, without secrets]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(command: Distribution) -> ExitCode {
    match import(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => super::super::fail(what),
    }
}

fn import(command: &Distribution) -> Result<(), String> {
    let name = command.file.display();
    let text = crate::config::text_of(&command.file, MAX_FILE).map_err(|what| format!("{name}: {what}"))?;
    let translation = Translation::of(&text, variables(), Machine::here());
    let translation = translation.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("{name}: {fault}")).collect();
        lines.join("\n")
    })?;
    let translation = translation.with_admin(super::SOCKET, super::port_beside);
    let told = translation.told();
    match &command.output {
        Some(output) => write(output, &command.file, &translation, &told),
        None => {
            let folder = PathBuf::from(FOLDER);
            super::super::print(&whole(&command.file, &translation, &told, &folder));
            for (name, _) in translation.secrets() {
                let file = folder.join(&name);
                super::super::err(&format!(
                    "a secret is not printed: write it into {} with (umask 077), or let --output do it",
                    file.display()
                ));
            }
            check(&translation, &command.file);
            Ok(())
        }
    }
}

/// The file and its secrets, none of them over one that is there.
fn write(output: &Path, from: &Path, translation: &Translation, told: &Told) -> Result<(), String> {
    let parent = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = parent.canonicalize().map_err(|error| format!("{}: {error}", parent.display()))?;
    let files: Vec<(PathBuf, String)> =
        translation.secrets().into_iter().map(|(name, secret)| (folder.join(name), secret)).collect();
    let there =
        files.iter().map(|(file, _)| file.as_path()).chain([output]).find(|file| file.symlink_metadata().is_ok());
    if let Some(file) = there {
        return Err(format!("{} is there already: nothing is written over it", file.display()));
    }
    for (file, secret) in &files {
        made(file, PRIVATE, &format!("{secret}\n"))?;
    }
    made(output, PUBLIC, &whole(from, translation, told, &folder))?;
    super::super::out(&format!("{} is written", output.display()));
    files
        .iter()
        .for_each(|(file, _)| super::super::out(&format!("{} holds a secret, for its owner only", file.display())));
    told.lost.iter().for_each(|what| super::super::out(&format!("not carried over: {what}")));
    match (Source { path: Some(output.into()) }).load_own() {
        Ok(config) => config.warnings().iter().for_each(|what| super::super::out(&format!("warning: {what}"))),
        Err(errors) => super::super::err(&format!("to be put right before it is served:\n{errors}")),
    }
    Ok(())
}

fn made(file: &Path, mode: u32, text: &str) -> Result<(), String> {
    let written = || -> io::Result<()> {
        let mut made = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
        made.write_all(text.as_bytes())?;
        made.sync_all()
    };
    written().map_err(|error| format!("{}: {error}", file.display()))
}

/// What `serve` would say against it, as it stands now and here.
fn check(translation: &Translation, file: &Path) {
    if let Err(errors) = translation.config(Some(file)) {
        super::super::err(&format!("to be put right before it is served:\n{errors}"));
    }
}

/// The file with its head, and at its end what was not carried over.
fn whole(from: &Path, translation: &Translation, told: &Told, folder: &Path) -> String {
    let beside = |name: &str| folder.join(name);
    let mut text = format!(
        "# Made by `entrepot import distribution {}`. Above each key stands what it was made of.\n\n{}",
        from.display().to_string().escape_debug(),
        translation.toml(Secrets::InFiles(&beside))
    );
    if translation.asks() {
        text.push_str(OPERATORS);
    }
    for (title, lines) in [("Not carried over", &told.lost), ("Needed no longer", &told.needless)] {
        if lines.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# ---- {title} ----\n");
        for line in lines {
            let _ = writeln!(text, "# {line}");
        }
    }
    text
}
