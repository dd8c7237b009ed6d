//! Room on the file systems that the configuration's folders are on.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::finding::Findings;
use crate::cache::free_to_leave;
use crate::cli::words::size;
use crate::config::Config;
use crate::storage::config::DriverKind;
use crate::units::Size;

const CHECK: &str = "disk";
/// Of all files that a file system can have, so many percent should be left.
const FEW_FILES: u64 = 2;

const ROOM: &str = "make room: `entrepot gc run` collects what nothing needs and frees it after days, with --now at once and for good (`gc plan --now` says \
    how much that is); `entrepot retention plan` says which tags could go; or give it a larger disk";

/// A folder that is written to.
struct Folder<'a> {
    path: &'a Path,
    key: &'static str,
    /// What it may hold, and which key says that.
    most: Option<(Size, &'static str)>,
}

/// Blocking. Makes nothing.
pub fn check(config: &Config) -> Findings {
    let mut findings = Findings::of(CHECK);
    let mut folders = Vec::new();
    let cache = &config.cache;
    if cache.disk > Size(0) {
        folders.push(Folder { path: &cache.path, key: "cache.path", most: Some((cache.disk, "cache.disk")) });
    }
    if config.uses_registry() {
        match config.storage.driver {
            DriverKind::Filesystem => {
                folders.push(Folder { path: &config.storage.root, key: "storage.root", most: None })
            }
            DriverKind::Memory => {}
            _ if config.registry.spool_size == Size(0) => {}
            _ => {
                let most = Some((config.registry.spool_size, "registry.spool_size"));
                folders.push(Folder { path: &config.registry.spool, key: "registry.spool", most });
            }
        }
    }
    for folder in &folders {
        one(config, folder, &mut findings);
    }
    if folders.is_empty() {
        findings.ok("nothing is kept on a disk");
    }
    findings
}

fn one(config: &Config, folder: &Folder<'_>, findings: &mut Findings) {
    let (shown, key) = (folder.path.display(), folder.key);
    let there = nearest(folder.path);
    if !there.is_dir() {
        return findings.error(format!("{} ({key}) is a file", there.display()), "name a folder");
    }
    if let Err(error) = access(&there, Access::WRITE_OK | Access::EXEC_OK) {
        let what = format!("{} ({key}) cannot be written: {error}", there.display());
        return findings.error(what, "give it to the user who serves (chown), or mount it for writing");
    }
    let volume = match statvfs(&there) {
        Ok(volume) => volume,
        Err(error) => {
            return findings
                .error(format!("{shown} ({key}): {error}"), "see whether its disk is mounted and well: `dmesg`, `df`");
        }
    };
    let unit = volume.f_frsize.max(1);
    let (total, free) = (volume.f_blocks.saturating_mul(unit), volume.f_bavail.saturating_mul(unit));
    let told = format!("{shown} ({key}) has {} free of {}", size(Some(free)), size(Some(total)));
    if volume.f_files > 0 && volume.f_favail < volume.f_files / 100 * FEW_FILES {
        findings.warning(
            format!("{shown} ({key}): its file system has room for {} more files only", volume.f_favail),
            "make one with more inodes, or remove small files",
        );
    }
    if key == "storage.root" {
        return of_storage(config, (total, free), &told, findings);
    }
    match folder.most {
        Some((Size(most), bound)) if most > total => findings.error(
            format!("{told}, and may hold {} ({bound}), more than there is", size(Some(most))),
            format!("lower {bound} below the size of that file system, less what else is there"),
        ),
        _ if free < free_to_leave(total) => findings.warning(
            format!("{told}: nearly full, so that {}", nearly_full(key)),
            format!("make room there, or let {key} name a folder on another disk"),
        ),
        _ => findings.ok(told),
    }
}

/// What comes of it.
fn nearly_full(key: &str) -> &'static str {
    match key {
        "registry.spool" => "layers go to the bucket in parts, which takes longer",
        _ => "nothing more is kept in the cache",
    }
}

fn of_storage(config: &Config, (total, free): (u64, u64), told: &str, findings: &mut Findings) {
    let used = total.saturating_sub(free);
    let (warn, full) = (config.registry.disk_warn, config.registry.disk_full);
    if !full.is_whole() && used >= full.of(total) {
        findings
            .error(format!("{told}: [registry] disk_full ({full}) is reached, and pushes are answered with 507"), ROOM);
    } else if used >= warn.of(total) {
        findings.warning(format!("{told}: [registry] disk_warn ({warn}) is reached; pushes end at {full}"), ROOM);
    } else {
        findings.ok(told);
    }
}

/// The folder itself, or what there is of the way to it.
pub fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|path| path.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn config(cache: &str, disk: &str) -> Config {
        let text = format!(
            "listener = []\n[cache]\npath = {cache:?}\ndisk = {disk:?}\n[[route]]\nread = \"cluster.a\"\n[cluster.a]\npeers = [\"a:1\"]\n"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_cache_that_is_larger_than_its_disk_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet");
        let level = |disk: &str| check(&config(path.to_str().unwrap(), disk)).found.pop().map(|finding| finding.level);
        assert_eq!(level("900000TiB"), Some(Level::Error));
        assert_ne!(level("1MiB"), Some(Level::Error));
        assert_eq!(level("0"), Some(Level::Ok));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = check(&config(file.path().join("below").to_str().unwrap(), "1MiB")).found;
        assert!(found[0].level == Level::Error && found[0].what.contains("is a file"), "{found:?}");
    }
}
