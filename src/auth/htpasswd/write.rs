//! A change in the file: whole or not at all, one at a time, and nobody reads more of it than before.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::edit::{Edit, EditError, edit};
use super::parse::MAX_FILE;

/// Of a file that is made: hashes are for their owner.
const MODE: u32 = 0o600;
/// Bits of a mode that are kept.
const KEPT: u32 = 0o777;

/// Why the file is as it was. Never shows what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct ChangeError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("there is no such file")]
    Absent,
    #[error("the link points to nothing")]
    Dangling,
    #[error("this is no regular file")]
    NoFile,
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("cannot be written: {0}")]
    Unwritable(io::Error),
    #[error("cannot be given to its owner again ({0}): run this as that user, or as root")]
    Owner(io::Error),
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Makes the change in the file at `path`, or where a link there points. A file that is not there is made for the first user.
pub fn change(path: &Path, wanted: &Edit<'_>) -> Result<(), ChangeError> {
    try_change(path, wanted).map_err(|fault| ChangeError { path: path.to_owned(), fault })
}

fn try_change(path: &Path, wanted: &Edit<'_>) -> Result<(), Fault> {
    let target = target(path, matches!(wanted, Edit::Add { .. }))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let handle = File::open(folder).map_err(Fault::Unwritable)?;
    // Of two at once, the second reads what the first wrote. Where folders cannot be locked, they must not come at once.
    let _ = flock(&handle, FlockOperation::LockExclusive);
    let (before, metadata) = read(&target)?;
    let after = edit(&before, wanted)?;
    let file = beside(folder, &after, metadata.as_ref())?;
    file.persist(&target).map_err(|error| Fault::Unwritable(error.error))?;
    // The name must outlive a crash as the bytes do.
    handle.sync_all().map_err(Fault::Unwritable)
}

/// The file itself: were a link replaced, the file behind it would stay as it was.
fn target(path: &Path, may_be_made: bool) -> Result<PathBuf, Fault> {
    match fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::Unreadable(error)),
        Err(_) if fs::symlink_metadata(path).is_ok() => Err(Fault::Dangling),
        Err(_) if may_be_made => Ok(path.to_owned()),
        Err(_) => Err(Fault::Absent),
    }
}

/// The file's bytes, and whose it is; nothing of a file that is to be made.
fn read(target: &Path) -> Result<(Vec<u8>, Option<Metadata>), Fault> {
    let metadata = match fs::metadata(target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        Err(error) => return Err(Fault::Unreadable(error)),
    };
    if !metadata.is_file() {
        return Err(Fault::NoFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(target).map_err(Fault::Unreadable)?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(Fault::Unreadable)?;
    Ok((bytes, Some(metadata)))
}

/// The new file under a name of its own, with owner and mode of the former one.
fn beside(folder: &Path, bytes: &[u8], former: Option<&Metadata>) -> Result<tempfile::NamedTempFile, Fault> {
    let private = Permissions::from_mode(MODE);
    let made = tempfile::Builder::new().prefix(".htpasswd").permissions(private).tempfile_in(folder);
    let mut file = made.map_err(Fault::Unwritable)?;
    if let Some(former) = former {
        let own = file.as_file().metadata().map_err(Fault::Unwritable)?;
        if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
            // Else the server, which runs as another user, could not read it any more.
            fchown(file.as_file(), Some(former.uid()), Some(former.gid())).map_err(Fault::Owner)?;
        }
    }
    let mode = former.map_or(MODE, |former| former.mode() & KEPT);
    let filled = file.write_all(bytes).and_then(|()| {
        // By name of the file, not when it is made: that would be less what the umask takes away.
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()
    });
    filled.map_err(Fault::Unwritable)?;
    Ok(file)
}
