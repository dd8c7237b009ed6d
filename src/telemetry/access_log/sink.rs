//! The file that lines go to. Owns whole lines: what could not be written is counted, and what follows a torn line
//! begins on a line of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A descriptor that another process made non-blocking gets so long to take the next byte.
const BUSY_WAIT: Duration = Duration::from_secs(1);
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Lines tell of clients' addresses and names: not for everyone on the machine.
const MODE: u32 = 0o640;

/// Stdout without the standard library's line buffer, which would make a system call of each line.
pub fn stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Opens `path` to append, making the file if need be.
pub fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Where lines end up; `None` throws them away.
pub struct Sink {
    file: Option<File>,
    torn: bool,
}

/// What a write lost, and why.
pub struct Loss {
    pub lines: u64,
    pub error: io::Error,
}

impl Sink {
    pub fn new(file: Option<File>) -> Self {
        Sink { file, torn: false }
    }

    /// Writes whole lines. On an error the rest is lost: to keep it would only move the loss to later lines.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Loss> {
        let Some(file) = &self.file else { return Ok(()) };
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

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        // A pipe that nobody reads and that refuses to block: it takes 64 KiB, then no more.
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut sink = Sink::new(Some(File::from(OwnedFd::from(writer))));
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
