//! The file of the secret: a line for each, base64 or hexadecimal. Made here when this is the only instance.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Keyring;

/// Of a secret we make, and the least of one that is given, in bytes: 256 bits.
const LENGTH: usize = 32;
/// Secrets in one file; a change from one to the next has two.
const MAX_SECRETS: usize = 8;
/// A file of so many long secrets with comments is no longer than this, in bytes.
const MAX_FILE: u64 = 16 << 10;
/// Reading or writing, by others than the owner.
const OTHERS: u32 = 0o066;

/// Why there is no secret. Never shows what is in the file.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}", path.display())]
pub struct SecretError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(
        "does not exist. Where [redis], `advertise` or an object store let there be other instances, it is not made by one of them: \
         write a secret with `(umask 077; entrepot fleet secret > FILE)`, and give all instances the same"
    )]
    Absent,
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("does not exist and cannot be made: {0}. `entrepot fleet secret > FILE` prints a secret to put there")]
    Unwritable(io::Error),
    #[error("is no regular file")]
    NoFile,
    #[error("is longer than {MAX_FILE} bytes")]
    TooLong,
    #[error("holds no secret: a secret is a line of base64 or hexadecimal, as `entrepot fleet secret` prints it")]
    Empty,
    #[error("has more than {MAX_SECRETS} secrets: take away those that nothing is sealed with any more")]
    TooMany,
    #[error("has a line {0} that is neither base64 nor hexadecimal; `entrepot fleet secret` prints a secret")]
    Encoding(usize),
    #[error("has a secret in line {0} that is too short: at least {LENGTH} bytes; `entrepot fleet secret` prints one")]
    Short(usize),
}

/// A new secret, as a line of text without its end.
pub fn fresh() -> String {
    STANDARD.encode(rand::random::<[u8; LENGTH]>())
}

/// The secrets in `path`. An absent file is made if `alone`: no other instance can have a secret then. Of several
/// processes that find it absent at once, one makes it, and all read that one's.
pub fn load(path: &Path, alone: bool) -> Result<Keyring, SecretError> {
    let found = match read(path) {
        Err(Fault::Absent) if alone => create(path).and_then(|()| read(path)),
        found => found,
    };
    found.map_err(|fault| SecretError { path: path.to_owned(), fault })
}

/// What `load` would find wrong, without making anything.
pub fn inspect(path: &Path, alone: bool) -> Result<(), SecretError> {
    match read(path) {
        Ok(_) => Ok(()),
        Err(Fault::Absent) if alone => Ok(()),
        Err(fault) => Err(SecretError { path: path.to_owned(), fault }),
    }
}

/// Whether others than its owner may read or write the file. What cannot be asked is `load`'s to tell.
pub fn may_be_read_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
}

fn read(path: &Path) -> Result<Keyring, Fault> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Absent,
        _ => Fault::Unreadable(error),
    };
    // Before it is opened: opening a pipe waits for who writes to it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Fault::NoFile);
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::TooLong);
    }
    parse(&bytes)
}

/// Blank lines and lines that begin with `#` are passed over.
fn parse(bytes: &[u8]) -> Result<Keyring, Fault> {
    let mut secrets = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if secrets.len() == MAX_SECRETS {
            return Err(Fault::TooMany);
        }
        let secret = decode(line).ok_or(Fault::Encoding(index + 1))?;
        if secret.len() < LENGTH {
            return Err(Fault::Short(index + 1));
        }
        secrets.push(secret);
    }
    match secrets.as_slice() {
        [current, former @ ..] => Ok(Keyring::new(current, former)),
        [] => Err(Fault::Empty),
    }
}

/// Digits of hexadecimal are letters of base64 too, and would be taken for more bytes than they are.
fn decode(line: &[u8]) -> Option<Vec<u8>> {
    match line.iter().all(u8::is_ascii_hexdigit) {
        true => hex::decode(line).ok(),
        false => STANDARD.decode(line).ok(),
    }
}

/// Whole or not at all, for its owner only, and never over one that is there.
fn create(path: &Path) -> Result<(), Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> io::Result<_> {
        let mut file = tempfile::Builder::new()
            .prefix(".secret")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        file.write_all(fresh().as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let file = written().map_err(Fault::Unwritable)?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(Fault::Unwritable(error.error)),
    }
    // The name must outlive a crash as the bytes do, or what was sealed with it is lost.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Fault::Unwritable)?;
    tracing::info!(path = %path.display(), "the fleet's secret was made; further instances need the same file");
    Ok(())
}
