//! What is shipped to be installed is taken by the tools that it is made for, and runs where they put it.

mod compose;
mod deb;
mod image;
mod logs;
mod stack;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the project.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A program of the project, at a time that does not pass.
fn script(path: &str) -> Command {
    let mut command = Command::new(shipped(path));
    command.env("SOURCE_DATE_EPOCH", "1700000000").env_remove("DEBFULLNAME").env_remove("DEBEMAIL");
    command
}

/// Every file below a folder by its path there, with all that it holds.
fn everything(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).expect("a file");
                    found.insert(path.strip_prefix(folder).expect("below it").to_owned(), bytes);
                }
            }
        }
    }
    found
}
