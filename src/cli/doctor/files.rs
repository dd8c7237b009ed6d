//! Files that the configuration names: secrets that nobody else should read, and logs that have to be written.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::finding::Findings;
use crate::audit;
use crate::auth::htpasswd_unused;
use crate::cli::words;
use crate::config::{Config, Errors, Written};
use crate::remote::config::Credentials;
use crate::telemetry::AccessTarget;

const SECRETS: &str = "secrets";
const USERS: &str = "users";
const LOGS: &str = "logs";
/// Anything, by anybody who is neither the owner nor of the group.
const ANYBODY: u32 = 0o007;
/// Writing, by anybody.
const ANYBODY_WRITES: u32 = 0o002;
/// Writing, by the group.
const GROUP_WRITES: u32 = 0o020;
/// Keys whose text is a secret.
const SECRET_KEYS: [&str; 3] = ["password", "secret_access_key", "account_key"];

/// Each file that holds a secret, and which key says so.
fn secrets_of(config: Option<&Config>, written: &[Written]) -> Vec<(PathBuf, String)> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    let mut add = |file: &Path, key: String| {
        if !files.iter().any(|(known, _)| known == file) {
            files.push((file.to_owned(), key));
        }
    };
    // Whatever the rooms call them: what a key with such an end names holds a secret.
    let names_one = |text: &&Written| text.key.ends_with("_file") || text.key.ends_with("client_key");
    for text in written.iter().filter(names_one).filter(|text| !text.text.is_empty()) {
        add(Path::new(&text.text), text.key.clone());
    }
    let Some(config) = config else { return files };
    for (index, listener) in config.listener.iter().enumerate() {
        let keys = listener.tls.iter().filter_map(|pair| pair.key.as_ref());
        keys.for_each(|file| add(file, format!("listener[{index}].tls.key")));
    }
    if let Some(users) = config.auth.as_ref().and_then(|auth| auth.htpasswd.as_ref()) {
        add(users, "auth.htpasswd".into());
    }
    for (name, remote) in &config.remote {
        for one in &remote.credentials {
            if let Credentials::Password(password) = one
                && let Some(file) = &password.password_file
            {
                add(file, format!("remote.{name}.credentials"));
            }
        }
    }
    files
}

/// Blocking.
pub fn secrets(config: Option<&Config>, written: &Result<Vec<Written>, Errors>, file: Option<&Path>) -> Findings {
    let mut findings = Findings::of(SECRETS);
    let written = written.as_deref().unwrap_or_default();
    let files = secrets_of(config, written);
    for (path, key) in &files {
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => mode(path, key, found.permissions().mode(), &mut findings),
            Ok(_) => findings.error(format!("{} ({key}) is no file", path.display()), "name a file that holds it"),
            // One that is made at the first start, or that loading the configuration has told of.
            Err(error) if error.kind() == io::ErrorKind::NotFound => findings.warning(
                format!("{} ({key}) is not there yet", path.display()),
                "put it there, unless it is made at the first start (fleet.secret_file of a single instance)",
            ),
            Err(error) => findings.error(
                format!("{} ({key}) cannot be looked at: {error}", path.display()),
                "let the user who serves enter its folder and read it (chown, chmod)",
            ),
        }
    }
    let inline = |text: &&Written| {
        SECRET_KEYS.iter().any(|key| text.key.rsplit('.').next() == Some(*key)) && !is_beside_a_file(text, written)
    };
    if let Some(file) = file
        && let Some(text) = written.iter().find(inline)
        && std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & ANYBODY != 0)
    {
        findings.error(
            format!("{} may be read by everybody, and holds a secret ({})", file.display(), text.key),
            format!(
                "`chmod 640 {}`, or put the secret into a file of its own and name it by `{}_file`",
                file.display(),
                text.key
            ),
        );
    }
    if findings.found.is_empty() {
        findings.ok(match files.len() as u64 {
            0 => "the configuration names no file that holds a secret".to_owned(),
            count => format!("nobody else can read the {} with secrets", words::count(count, "file")),
        });
    }
    findings
}

/// Whether the text was read from the file that `…_file` names.
fn is_beside_a_file(text: &Written, all: &[Written]) -> bool {
    let named = format!("{}_file", text.key);
    all.iter().any(|other| other.key == named)
}

fn mode(path: &Path, key: &str, mode: u32, findings: &mut Findings) {
    let shown = path.display();
    // A server that runs beside us, or did before us, may read the same file.
    let closed = || {
        format!(
            "`chmod 640 {shown}` and the group of whoever else reads it (nginx, docker-registry); `chmod 600 {shown}` where nobody does"
        )
    };
    if mode & ANYBODY_WRITES != 0 {
        findings.error(
            format!("{shown} ({key}) may be written by everybody on this machine ({:o})", mode & 0o777),
            closed(),
        );
    } else if mode & ANYBODY != 0 {
        let what = format!("{shown} ({key}) may be read by everybody on this machine ({:o})", mode & 0o777);
        // It holds hashes, and nobody's secret itself.
        match key.starts_with("auth.htpasswd") {
            true => findings.warning(what, closed()),
            false => findings.error(what, closed()),
        }
    } else if mode & GROUP_WRITES != 0 {
        findings.warning(
            format!("{shown} ({key}) may be written by its group ({:o})", mode & 0o777),
            format!("`chmod 640 {shown}`"),
        );
    }
}

/// Lines of the file of users that nobody can log in by. Blocking.
pub fn users(config: &Config) -> Findings {
    let mut findings = Findings::of(USERS);
    let Some(file) = config.auth.as_ref().and_then(|auth| auth.htpasswd.as_deref()) else { return findings };
    htpasswd_unused(file).into_iter().for_each(|(what, remedy)| findings.warning(what, remedy));
    if findings.found.is_empty() {
        findings.ok(format!("each line of {} can be used", file.display()));
    }
    findings
}

/// Blocking.
pub fn logs(config: &Config) -> Findings {
    let mut findings = Findings::of(LOGS);
    let mut files = Vec::new();
    if let AccessTarget::File(file) = &config.log.access {
        files.push((file, "log.access"));
    }
    if let Some(audit::Config { to: audit::Target::File(file), .. }) = &config.audit {
        files.push((file, "audit.to"));
    }
    for (file, key) in &files {
        let shown = file.display();
        match appendable(file) {
            Ok(()) => findings.ok(format!("{shown} ({key}) can be written")),
            Err(why) => findings.error(
                format!("{shown} ({key}) cannot be written: {why}"),
                "make its folder, and let the user who serves write there",
            ),
        }
    }
    if files.is_empty() {
        findings.ok("nothing is written to a file: the access log goes to stdout, or nowhere");
    }
    findings
}

/// Without making it.
fn appendable(file: &Path) -> Result<(), String> {
    match std::fs::metadata(file) {
        Ok(found) if found.is_dir() => Err("it is a folder".into()),
        Ok(_) => access(file, Access::WRITE_OK).map_err(|error| error.to_string()),
        Err(_) => {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(format!("there is no folder {}", folder.display()));
            }
            access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| format!("{}: {error}", folder.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn modes_of_secrets_are_judged() {
        let of = |key: &str, bits: u32| {
            let mut findings = Findings::of(SECRETS);
            mode(Path::new("a.key"), key, bits, &mut findings);
            findings.found.first().map(|finding| finding.level)
        };
        let levels = |bits: u32| of("listener[0].tls.key", bits);
        assert_eq!(of("auth.htpasswd", 0o644), Some(Level::Warning));
        assert_eq!(of("auth.htpasswd", 0o646), Some(Level::Error));
        assert_eq!((levels(0o600), levels(0o640), levels(0o400)), (None, None, None));
        assert_eq!(
            (levels(0o644), levels(0o602), levels(0o660)),
            (Some(Level::Error), Some(Level::Error), Some(Level::Warning))
        );
    }

    #[test]
    fn a_log_needs_a_folder_and_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(appendable(&folder.path().join("a.log")), Ok(()));
        assert!(appendable(folder.path()).unwrap_err().contains("a folder"));
        assert!(appendable(&folder.path().join("absent/a.log")).unwrap_err().contains("no folder"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
