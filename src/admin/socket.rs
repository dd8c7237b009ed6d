//! The endpoint as a socket in the file system, which only the user who serves may open.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::UnixListener;

/// What others may do: nothing.
const MODE: u32 = 0o600;
/// Bytes of a path at which a socket can be opened.
const MAX_PATH: usize = 107;

/// A bound socket; its file goes with it.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Of the file: another process may have put its own there since.
    inode: u64,
}

impl Socket {
    /// Takes the place of a socket that nobody answers at.
    ///
    /// # Errors
    /// Somebody answers there, or that cannot be told, or something else than a socket is there, or the folder cannot be written to.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
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
            std::fs::set_permissions(&draft, Permissions::from_mode(MODE))?;
            let inode = std::fs::symlink_metadata(&draft)?.ino();
            std::fs::rename(&draft, path)?;
            Ok(Socket { listener, path: path.to_owned(), inode })
        });
        if bound.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        bound
    }
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

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
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
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Socket::bind(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
        std::fs::write(&path, "x").unwrap();
        assert!(Socket::bind(&path).err().unwrap().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert!(Socket::bind(&folder.path().join("absent/admin.sock")).is_err());
        let long = folder.path().join("x".repeat(MAX_PATH));
        assert!(Socket::bind(&long).err().unwrap().to_string().contains("longer than"));
        // Of another kind: somebody may be there, and no stream can tell.
        let other = folder.path().join("other.sock");
        let _datagrams = std::os::unix::net::UnixDatagram::bind(&other).unwrap();
        assert!(Socket::bind(&other).err().unwrap().to_string().contains("cannot be told"));
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
        assert_eq!(Socket::bind(&path).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }
}
