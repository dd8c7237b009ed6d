//! The file that lines go to, of the access log and of the audit. Owns whole lines: what could not be written is counted, what
//! follows a torn line begins on a line of its own, and two that write to stdout do not come between each other's.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A descriptor that another process made non-blocking gets so long to take the next byte.
const BUSY_WAIT: Duration = Duration::from_secs(1);
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Held while something is written to stdout: a pipe takes long writes in pieces.
static STDOUT: Mutex<()> = Mutex::new(());

/// Something to write to.
pub struct Output {
    file: File,
    stdout: bool,
    /// To see, before the first line is written, whether another process left a torn one.
    look: Option<File>,
}

/// Where lines end up; no output throws them away.
pub struct Sink {
    output: Option<Output>,
    torn: bool,
}

impl Output {
    /// Stdout without the standard library's line buffer, which would make a system call of each line.
    pub fn stdout() -> io::Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().map(File::from)?;
        Ok(Output { file, stdout: true, look: None })
    }

    /// Opens `path` to append, making the file with this mode if need be.
    pub fn append(path: &Path, mode: u32) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(mode).open(path)?;
        // Of pipes and devices nobody knows what was written before, nor of what may not be read.
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let look = if regular { File::open(path).ok() } else { None };
        Ok(Output { file, stdout: false, look })
    }
}

impl From<File> for Output {
    fn from(file: File) -> Self {
        Output { file, stdout: false, look: None }
    }
}

/// What a write lost, and why.
pub struct Loss {
    pub lines: u64,
    pub error: io::Error,
}

impl Sink {
    pub fn new(output: Option<Output>) -> Self {
        Sink { output, torn: false }
    }

    /// Writes whole lines. On an error the rest is lost: to keep it would only move the loss to later lines.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Loss> {
        let Some(Output { file, stdout, look }) = &mut self.output else { return Ok(()) };
        if let Some(before) = look.take() {
            self.torn = ends_torn(&before);
        }
        let _alone = stdout.then(|| STDOUT.lock());
        if self.torn {
            put(file, b"\n").map_err(|(_, error)| Loss { lines: count(lines), error })?;
            self.torn = false;
        }
        put(file, lines).map_err(|(written, error)| {
            let (out, rest) = lines.split_at_checked(written).unwrap_or((lines, &[]));
            self.torn = out.last().is_some_and(|byte| *byte != b'\n');
            Loss { lines: count(rest), error }
        })
    }

    /// Waits until what was written is on the disk; of stdout nobody can say more than that it was taken.
    pub fn sync(&self) -> io::Result<()> {
        match &self.output {
            Some(Output { file, stdout: false, .. }) => file.sync_data(),
            _ => Ok(()),
        }
    }
}

/// Writes all of `bytes`, or says how many it did.
fn put(mut file: &File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    let mut deadline = None;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(count) => {
                written += count;
                deadline = None;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + BUSY_WAIT) {
                    return Err((written, error));
                }
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Whether the last line has no end: who wrote it was killed, or its disk was full.
fn ends_torn(file: &File) -> bool {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut last = [b'\n'];
    match length.checked_sub(1).map(|at| file.read_at(&mut last, at)) {
        Some(Ok(1)) => last != [b'\n'],
        _ => false,
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn what_others_left_torn_is_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (before, after) in [("", "next\n"), ("whole\n", "whole\nnext\n"), ("to", "to\nnext\n")] {
            std::fs::write(&path, before).unwrap();
            let mut sink = Sink::new(Some(Output::append(&path, 0o600).unwrap()));
            sink.write(b"next\n").ok().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        // A pipe that nobody reads and that refuses to block: it takes 64 KiB, then no more.
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut sink = Sink::new(Some(File::from(OwnedFd::from(writer)).into()));
        let line = [vec![b'x'; 999], b"\n".to_vec()].concat();
        let loss = sink.write(&line.repeat(100)).err().unwrap();
        assert_eq!(loss.error.kind(), ErrorKind::WouldBlock);
        assert_eq!(loss.lines, 100 - 65);

        let mut taken = vec![0; 65_536];
        reader.read_exact(&mut taken).unwrap();
        sink.write(b"next\n").ok().unwrap();
        drop(sink);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "\nnext\n");
    }
}
