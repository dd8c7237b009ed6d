//! The files that a configuration is made of.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// One file is no longer, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Names that are looked at for one pattern.
const MAX_NAMES: usize = 10_000;

/// Where files come from: a disk, or, where nothing may be read, nowhere.
pub trait Files {
    /// # Errors
    /// For people: what cannot be read, or is too long.
    fn read(&self, path: &Path) -> Result<Vec<u8>, String>;

    /// The files that a path with `*`, `?` and `[…]` in it stands for, in the order of their names.
    ///
    /// # Errors
    /// For people: what is no pattern, or stands for too much.
    fn matching(&self, pattern: &Path) -> Result<Vec<PathBuf>, String>;
}

pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|error| format!("cannot read it: {error}"))?;
        match bytes.len() as u64 > MAX_FILE {
            true => Err(format!("is longer than {MAX_FILE} bytes")),
            false => Ok(bytes),
        }
    }

    fn matching(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        let mut found = vec![PathBuf::new()];
        for component in pattern.components() {
            let part = component.as_os_str().to_string_lossy();
            let is_pattern = matches!(component, Component::Normal(_)) && part.contains(['*', '?', '[']);
            if !is_pattern {
                found.iter_mut().for_each(|path| path.push(component));
                continue;
            }
            let glob = glob(&part)?;
            let mut next = Vec::new();
            for folder in found {
                next.extend(names(&folder, &part, &glob)?);
            }
            found = next;
        }
        found.retain(|path| path.exists() && !path.is_dir());
        Ok(found)
    }
}

fn glob(part: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(part).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("is not a pattern of files: {}", error.kind()))
}

/// What a folder has that matches, in order; what begins with a dot only where the pattern does.
fn names(folder: &Path, part: &str, glob: &GlobMatcher) -> Result<Vec<PathBuf>, String> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(here) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (count, entry) in entries.flatten().enumerate() {
        if count >= MAX_NAMES {
            return Err(format!("{} has more than {MAX_NAMES} files", here.display()));
        }
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".") && !part.starts_with('.');
        if !hidden && glob.is_match(&name) {
            found.push(folder.join(name));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_files_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt", "d/x.conf", "e/y.conf"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let found = Disk.matching(&folder.path().join(pattern)).unwrap();
            let names = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("*.conf"), "a.conf b.conf");
        assert_eq!(found("*/*.conf"), "d/x.conf e/y.conf");
        assert_eq!(found("[ab].conf"), "a.conf b.conf");
        assert_eq!(
            (found("a.conf"), found("absent"), found("d"), found("no/*")),
            ("a.conf".into(), "".into(), "".into(), "".into())
        );
        assert!(Disk.matching(&folder.path().join("[")).is_err());
        std::fs::write(folder.path().join("a.conf"), vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(Disk.read(&folder.path().join("a.conf")).unwrap_err().contains("longer"));
    }
}
