//! A cache file while it grows: data as it comes, checksums of its blocks, then trailer and name. Every call may block.
//!
//! There is no fsync: after a crash a file may hold anything, and its checksums say so.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::Disk;
use super::blob_file::BlobFile;
use super::piece::Piece;
use super::room::Room;
use super::trailer::{BLOCK, BlockSums, Trailer};
use crate::oci::Digest;

pub(in crate::cache) struct Writer {
    disk: Arc<Disk>,
    growing: Arc<Growing>,
    temp: Temp,
    room: Room,
    sums: BlockSums,
    written: u64,
}

/// The part of it that readers share: its complete blocks can be read, verified, at any time.
pub(in crate::cache) struct Growing {
    file: Arc<File>,
    disk: Arc<Disk>,
    /// Checksums of the complete blocks.
    table: RwLock<Vec<u64>>,
}

/// A file under `fills/`; removed when dropped, unless it got its name.
struct Temp {
    path: PathBuf,
    named: bool,
}

impl Disk {
    /// Begins a file of `total` bytes. An error says that the disk is of no use for it now.
    pub(in crate::cache) fn create(self: &Arc<Self>, total: Option<u64>) -> io::Result<Writer> {
        if *self.guest.read_recursive() {
            return Err(io::Error::other("another process writes to the folder"));
        }
        let room = self.promise(total).ok_or_else(|| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        let created = self.create_temp().inspect_err(|error| self.pause(error))?;
        let (temp, file) = created;
        let growing = Arc::new(Growing { file: Arc::new(file), disk: self.clone(), table: RwLock::default() });
        Ok(Writer { disk: self.clone(), growing, temp, room, sums: BlockSums::default(), written: 0 })
    }

    fn create_temp(&self) -> io::Result<(Temp, File)> {
        let path = self.layout.fill(self.next_fill.fetch_add(1, Ordering::Relaxed));
        let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(self.layout.fills())?; // somebody emptied the folder while we ran
                open()?
            }
            other => other?,
        };
        Ok((Temp { path, named: false }, file))
    }

    /// Writes a whole content whose digest was verified.
    pub(in crate::cache) fn store(
        self: &Arc<Self>,
        digest: &Digest,
        media_type: Option<&str>,
        bytes: &[u8],
        keep: impl Fn() -> bool,
    ) -> io::Result<()> {
        let mut writer = self.create(Some(bytes.len() as u64))?;
        writer.write(bytes)?;
        writer.commit(digest, media_type, keep, false);
        Ok(())
    }
}

impl Writer {
    pub(in crate::cache) fn growing(&self) -> Arc<Growing> {
        self.growing.clone()
    }

    /// Appends all of `bytes` or, failing, nothing that readers could see.
    pub(in crate::cache) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.written + bytes.len() as u64;
        self.room.grow(end)?;
        self.write_at(bytes, self.written)?;
        self.written = end;
        self.sums.update(bytes, |sum| self.growing.table.write().push(sum));
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        loop {
            match self.growing.file.write_all_at(bytes, at) {
                Err(error)
                    if error.kind() == io::ErrorKind::StorageFull && self.room.after_no_space(bytes.len() as u64) => {}
                // Only what the disk itself says pauses it, not that a cap is reached.
                other => return other.inspect_err(|error| self.disk.pause(error)),
            }
        }
    }

    /// The digest of all that was written is proven. Gives the file its name if `keep` says so and the disk lets us; the
    /// content is whole and readable in any case. `asked`: somebody waited beside the first.
    pub(in crate::cache) fn commit(
        mut self,
        digest: &Digest,
        media_type: Option<&str>,
        keep: impl Fn() -> bool,
        asked: bool,
    ) -> Arc<BlobFile> {
        // Not pushed to the shared table, which is of complete blocks only.
        let mut table = self.growing.table.read().clone();
        table.extend(self.sums.finish());
        let trailer = Trailer::new(self.written, media_type, table.into_boxed_slice());
        let mut seq = 0;
        if keep() {
            match self.admit(digest, &trailer, asked) {
                Ok(admitted) => seq = admitted,
                Err(error) => tracing::debug!(%digest, %error, "a verified content is not kept on disk"),
            }
            // A purge that came while the file got its name did not see it in the index.
            if !keep() {
                self.disk.remove(digest);
            }
        }
        let file = Arc::new(BlobFile::new(self.growing.file.clone(), self.disk.buffers.clone(), trailer, seq));
        if seq != 0 {
            self.disk.keep_open(digest, &file);
        }
        file
    }

    fn admit(&mut self, digest: &Digest, trailer: &Trailer, asked: bool) -> io::Result<u64> {
        let bytes = trailer.encode(digest);
        let size = self.written + bytes.len() as u64;
        self.room.grow(size)?;
        self.write_at(&bytes, self.written)?;
        let target = self.disk.layout.blob(digest);
        let guest = self.disk.guest.read_recursive();
        if *guest {
            return Err(io::Error::other("another process writes to the folder now"));
        }
        self.temp.name(&target).inspect_err(|error| self.disk.pause(error))?;
        let seq = self.room.hand_over(digest, size, asked);
        drop(guest);
        self.disk.save_if_due();
        Ok(seq)
    }
}

impl Growing {
    /// The next verified read from `at`; `None` when its block is not complete yet.
    pub(in crate::cache) fn piece(&self, at: u64, end: u64) -> Option<Piece> {
        let table = self.table.read();
        let complete = table.len() as u64 * BLOCK as u64;
        Piece::plan(&self.file, &self.disk.buffers, &table, complete, at, end)
    }
}

impl Temp {
    fn name(&mut self, target: &Path) -> io::Result<()> {
        if let Err(error) = std::fs::rename(&self.path, target) {
            // The first content with these two digits.
            let folder = target.parent().filter(|_| error.kind() == io::ErrorKind::NotFound).ok_or(error)?;
            std::fs::create_dir_all(folder)?;
            std::fs::rename(&self.path, target)?;
        }
        self.named = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.named {
            _ = std::fs::remove_file(&self.path); // on failure the next start removes it
        }
    }
}
