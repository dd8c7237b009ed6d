//! A socket in the file system: how it gets its place there, who may open it, and when it goes.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::UnixListener;

/// What others than the user who serves may do: nothing.
pub const OTHERS_MAY_NOT: u32 = 0o600;
/// Others may look for a socket in a folder that we make: who may open it says its own mode.
const FOLDER: u32 = 0o755;
/// Bytes of a path at which a socket can be opened.
const MAX_PATH: usize = 107;

/// The file of a socket; it goes with this, if it is ours.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Of the file: another process may have put its own there since.
    inode: Option<u64>,
    ours: AtomicBool,
}

impl SocketFile {
    /// Takes the place of a socket that nobody answers at.
    ///
    /// # Errors
    /// Somebody answers there, or that cannot be told, or something else than a socket is there, or the folder cannot be written to.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, Self)> {
        // Made under another name, so that nobody meets it before it is closed to others.
        let draft = path.with_file_name(format!(".{:08x}", rand::random::<u32>()));
        // Renamed, it could be longer than whoever wants to open it may name.
        if path.as_os_str().len().max(draft.as_os_str().len()) > MAX_PATH {
            return Err(io::Error::other(format!("is longer than the {MAX_PATH} bytes that a socket's path may have")));
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other("is there, and is no socket"));
            }
            Ok(_) => nobody_answers(path)?,
            // What is wrong with the folder, making it says.
            Err(_) => {}
        }
        let bound = UnixListener::bind(&draft).and_then(|listener| {
            std::fs::set_permissions(&draft, Permissions::from_mode(mode))?;
            let inode = Some(std::fs::symlink_metadata(&draft)?.ino());
            std::fs::rename(&draft, path)?;
            Ok((listener, SocketFile { path: path.to_owned(), inode, ours: AtomicBool::new(true) }))
        });
        if bound.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        bound
    }

    /// The file of a socket that another process goes on with until it says that it is ours.
    pub(super) fn of_another(path: &Path) -> Self {
        let inode = std::fs::symlink_metadata(path).ok().map(|found| found.ino());
        SocketFile { path: path.to_owned(), inode, ours: AtomicBool::new(false) }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.ours.load(Ordering::Acquire)
    }

    pub(super) fn own(&self, ours: bool) {
        self.ours.store(ours, Ordering::Release);
    }

    /// Says who may open it, if it is ours and still this socket's.
    pub(super) fn open_to(&self, mode: u32) -> io::Result<()> {
        if self.is_ours() && self.is_the_same() {
            std::fs::set_permissions(&self.path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Nobody else has put a file of their own there.
    fn is_the_same(&self) -> bool {
        self.inode.is_some() && std::fs::symlink_metadata(&self.path).ok().map(|found| found.ino()) == self.inode
    }
}

/// Makes the folder that a socket is to be in, but none above it: what is below /run is gone with each start of the machine.
///
/// # Errors
/// It is not there, and we may not make it.
pub fn make_folder_of(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.exists()) else { return Ok(()) };
    std::fs::DirBuilder::new().mode(FOLDER).create(folder).map_err(|error| {
        let what = format!(
            "its folder is not there and cannot be made ({error}): make it for the user who serves, or name another path"
        );
        io::Error::new(error.kind(), what)
    })
}

/// Whether a socket that is there is one that a process left behind. Does not wait for one that is slow to accept.
///
/// # Errors
/// Somebody answers; or it may be so: another user's, which we may not open, is not ours to replace.
fn nobody_answers(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(io::Error::other(format!("is there, and whether somebody answers cannot be told: {error}"))),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() && self.is_the_same() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_nobody_answers_at_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bind = |path: &Path| SocketFile::bind(path, OTHERS_MAY_NOT);
        let socket = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bind(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
        std::fs::write(&path, "x").unwrap();
        assert!(bind(&path).err().unwrap().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert!(bind(&folder.path().join("absent/admin.sock")).is_err());
        let long = folder.path().join("x".repeat(MAX_PATH));
        assert!(bind(&long).err().unwrap().to_string().contains("longer than"));
        // Of another kind: somebody may be there, and no stream can tell.
        let other = folder.path().join("other.sock");
        let _datagrams = std::os::unix::net::UnixDatagram::bind(&other).unwrap();
        assert!(bind(&other).err().unwrap().to_string().contains("cannot be told"));
    }

    #[test]
    fn a_folder_that_is_missing_is_made_and_no_tree_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("entrepot");
        for _ in 0..2 {
            make_folder_of(&made.join("admin.sock")).unwrap();
            assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o022, 0, "nobody else writes there");
        }
        let error = make_folder_of(&folder.path().join("a/b/admin.sock")).unwrap_err().to_string();
        assert!(error.contains("cannot be made") && error.contains("name another path"), "{error}");
        assert!(!folder.path().join("a").exists());
    }

    /// All its places for those who wait are taken.
    #[tokio::test]
    async fn one_that_is_slow_to_accept_is_somebodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = || socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let (slow, address) = (stream(), SocketAddrUnix::new(&path).unwrap());
        rustix::net::bind(&slow, &address).unwrap();
        rustix::net::listen(&slow, 0).unwrap();
        let waiting: Vec<_> = std::iter::repeat_with(stream).take(4).collect();
        assert!(waiting.iter().any(|one| connect(one, &address) == Err(Errno::AGAIN)));
        assert_eq!(SocketFile::bind(&path, OTHERS_MAY_NOT).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn what_another_goes_on_with_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (_listener, file) = SocketFile::bind(&path, 0o660).unwrap();
        let heir = SocketFile::of_another(&path);
        file.own(false);
        drop(file);
        assert!(path.exists());
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        heir.open_to(0o600).unwrap();
        assert_eq!(mode(), 0o660, "it is not its own yet");
        heir.own(true);
        heir.open_to(0o600).unwrap();
        assert_eq!(mode(), 0o600);
        drop(heir);
        assert!(!path.exists());
    }
}
