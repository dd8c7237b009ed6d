//! `entrepot completions SHELL` and `entrepot man FOLDER`: from the same definitions as the commands themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

#[derive(Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args)]
pub struct Man {
    /// Is made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub fn completions(command: Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut super::Arguments::command(), "entrepot", &mut script);
    super::print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

pub fn man(command: Man) -> ExitCode {
    match write(&command.folder) {
        Ok(count) => {
            super::out(&format!("{count} pages are in {}", command.folder.display()));
            ExitCode::SUCCESS
        }
        Err(error) => super::fail(format!("{}: {error}", command.folder.display())),
    }
}

/// How many.
fn write(folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut command = super::Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut count = 0;
    page(folder, &command, "entrepot", &mut count)?;
    Ok(count)
}

/// A page for a command and for each below it: `entrepot-gc-run.1`.
fn page(folder: &Path, command: &clap::Command, name: &str, count: &mut usize) -> io::Result<()> {
    let mut text = Vec::new();
    // What clap's names are made of lives as long as the program; there are some dozens of them.
    let shown: &'static str = name.to_owned().leak();
    clap_mangen::Man::new(command.clone().name(shown).display_name(shown)).render(&mut text)?;
    std::fs::write(folder.join(format!("{name}.1")), text)?;
    *count += 1;
    for inner in command.get_subcommands() {
        page(folder, inner, &format!("{name}-{}", inner.get_name()), count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let count = write(&folder.path().join("man1")).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
        assert!(count > 30, "{count}");
        assert!(text("entrepot.1").contains("entrepot") && text("entrepot-gc-undelete.1").contains("undelete"));
        assert!(text("entrepot-cp.1").contains("without\\-referrers"));
        assert!(write(Path::new("/proc/nowhere")).is_err());
    }
}
