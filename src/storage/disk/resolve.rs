//! Opens paths below the root's handle, so that no symlink leads out of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub(super) struct Resolver {
    root: OwnedFd,
    /// The kernel does not check paths for us (before Linux 5.6, and in some sandboxes): we walk them ourselves.
    by_steps: AtomicBool,
    /// It cannot say whether a path is in its memory (before Linux 5.12).
    uncached: AtomicBool,
}

/// Tries while somebody renames folders under us, which the kernel reports instead of deciding.
const TRIES: usize = 16;

impl Resolver {
    pub(super) fn new(root: OwnedFd) -> Self {
        Resolver { root, by_steps: AtomicBool::new(false), uncached: AtomicBool::new(false) }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path`, relative to the root ("" is the root). A symlink out of the root is ELOOP or EXDEV.
    pub(super) fn open(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = if flags.contains(OFlags::PATH) { flags - OFlags::NONBLOCK - OFlags::NOCTTY } else { flags };
        let path = if path.is_empty() { "." } else { path };
        if !self.by_steps.load(Ordering::Relaxed) {
            match self.open_beneath(path, flags, mode) {
                Err(Errno::NOSYS | Errno::PERM) => self.by_steps.store(true, Ordering::Relaxed),
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.open_by_steps(path, flags, mode)?)
    }

    /// As `open`, but `None` where the kernel would have to wait for the disk.
    #[cfg(target_os = "linux")]
    pub(super) fn open_cached(&self, path: &str, flags: OFlags) -> Option<rustix::io::Result<OwnedFd>> {
        use rustix::fs::ResolveFlags;
        if self.by_steps.load(Ordering::Relaxed) || self.uncached.load(Ordering::Relaxed) {
            return None;
        }
        let flags = flags | OFlags::CLOEXEC;
        let flags = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NOCTTY | OFlags::NONBLOCK };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED;
        match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                self.uncached.store(true, Ordering::Relaxed);
                None
            }
            outcome => Some(outcome),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn open_cached(&self, _path: &str, _flags: OFlags) -> Option<rustix::io::Result<OwnedFd>> {
        None
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut outcome = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            outcome = rustix::fs::openat2(&self.root, path, flags, mode, resolve);
            // STALE: over NFS, a folder on the way was made anew by another machine, and our kernel knew the old one.
            if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR | Errno::STALE)) {
                break;
            }
        }
        outcome
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, _path: &str, _flags: OFlags, _mode: Mode) -> rustix::io::Result<OwnedFd> {
        Err(Errno::NOSYS)
    }

    /// Stricter: follows no symlink at all.
    fn open_by_steps(&self, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let folder = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut steps: Vec<&str> = path.split('/').collect();
        let last = steps.pop().unwrap_or(".");
        let mut at: Option<OwnedFd> = None;
        for step in steps {
            let parent = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            at = Some(rustix::fs::openat(parent, step, folder, Mode::empty())?);
        }
        let parent = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
        rustix::fs::openat(parent, last, flags | OFlags::NOFOLLOW, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(by_steps: bool) -> (tempfile::TempDir, Resolver) {
        let outer = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(outer.path().join("root/a")).expect("folders");
        std::fs::write(outer.path().join("secret"), "x").expect("a file");
        std::fs::write(outer.path().join("root/a/file"), "y").expect("a file");
        std::os::unix::fs::symlink("../../secret", outer.path().join("root/a/up")).expect("a link");
        std::os::unix::fs::symlink("/etc", outer.path().join("root/etc")).expect("a link");
        let root = std::fs::File::open(outer.path().join("root")).expect("the root");
        let resolver = Resolver { root: root.into(), by_steps: by_steps.into(), uncached: false.into() };
        (outer, resolver)
    }

    #[test]
    fn nothing_outside_of_the_root_can_be_opened() {
        for by_steps in [false, true] {
            let (_outer, resolver) = resolver(by_steps);
            assert!(resolver.open("a/file", OFlags::RDONLY, Mode::empty()).is_ok());
            assert!(resolver.open("", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).is_ok());
            for path in ["a/up", "etc/passwd", "etc"] {
                let error = resolver.open(path, OFlags::RDONLY, Mode::empty()).expect_err(path);
                assert_ne!(error.kind(), io::ErrorKind::NotFound, "{path}");
            }
        }
    }
}
