//! Reads the journal at the start. A line that cannot be read is passed over: a crash tears the last one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use super::MAX_FILE;
use super::line::{Line, VERSION};
use crate::verdicts::clock::{self, Moment, nanoseconds};
use crate::verdicts::facts::{Dated, Facts};
use crate::verdicts::key::Id;

/// A longer line is none of ours.
const MAX_LINE: u64 = 64 << 10;

/// What only counts for a time is of no use to anybody after this.
pub const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// So much may the wall's clock be behind the journal before we hold that it was set back.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// No clock is set back this far; then the journal is nonsense.
const CLOCK_NONSENSE: Duration = Duration::from_secs(24 * 3600);

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The latest moment that any line speaks of.
    pub latest: Moment,
    /// Bytes of the file.
    pub length: u64,
    /// The file is to be written anew before anything is appended.
    pub rewrite: bool,
}

/// Fills `facts` from the file at `path`. Whatever is wrong with the file, at worst nothing is remembered.
pub fn load(path: &Path, check: &str, facts: &Facts) -> Loaded {
    let now = clock::wall();
    match read(path, check, facts, now) {
        Ok(loaded) if loaded.latest > now + nanoseconds(CLOCK_NONSENSE) => {
            tracing::warn!("the memory speaks of a far future; it is not believed");
            forget_all(facts)
        }
        Ok(loaded) if loaded.latest > now + nanoseconds(CLOCK_TOLERANCE) => {
            tracing::warn!("the clock was set back: permissions and tags are asked anew");
            facts.clear_timed();
            Loaded { rewrite: true, ..loaded }
        }
        Ok(loaded) => loaded,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the memory cannot be read; it begins anew");
            }
            forget_all(facts)
        }
    }
}

fn forget_all(facts: &Facts) -> Loaded {
    facts.clear();
    Loaded { rewrite: true, ..Loaded::default() }
}

/// An error anywhere means that withdrawals may be missing, so that nothing may be believed.
fn read(path: &Path, check: &str, facts: &Facts, now: Moment) -> io::Result<Loaded> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE * 2 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than we ever write"));
    }
    // Not to the end, which a device or a file still growing may not have.
    let mut reader = BufReader::with_capacity(256 << 10, file.take(length));
    let mut replay =
        Replay { facts, earliest: now.saturating_sub(nanoseconds(HORIZON)), latest: 0, forgotten: HashMap::new() };
    let mut buffer = Vec::new();
    let mut whole = next_line(&mut reader, &mut buffer)?;
    match serde_json::from_slice(&buffer) {
        Ok(Line::Verdicts { version: VERSION, check: written }) if whole && written == check => {}
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "written with another key, or by another version")),
    }
    while whole {
        whole = next_line(&mut reader, &mut buffer)?;
        if let Ok(line) = serde_json::from_slice(&buffer) {
            replay.apply(line);
        }
    }
    // A torn last line would swallow the next one.
    let torn = !buffer.is_empty();
    Ok(Loaded { latest: replay.latest, length, rewrite: torn })
}

/// Reads one line without its newline; false at the end of the file, perhaps with a torn line.
fn next_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    reader.take(MAX_LINE).read_until(b'\n', buffer)?;
    if buffer.pop_if(|last| *last == b'\n').is_some() {
        return Ok(true);
    }
    if (buffer.len() as u64) < MAX_LINE {
        return Ok(false);
    }
    buffer.clear();
    reader.skip_until(b'\n')?;
    Ok(true)
}

struct Replay<'a> {
    facts: &'a Facts,
    earliest: Moment,
    latest: Moment,
    /// Lines may stand in another order than things happened.
    forgotten: HashMap<Id, Moment>,
}

impl Replay<'_> {
    fn apply(&mut self, line: Line) {
        let facts = self.facts;
        let at = match line {
            Line::Verdicts { .. } => return,
            Line::Read(id, at) => {
                if self.is_good(id, at) && at >= self.earliest {
                    facts.learn_read(id, at);
                }
                at
            }
            Line::Hold(id, at) => {
                if self.is_good(id, at) && at > facts.withdrawn.at(id) {
                    facts.holds.update(id, |known| Some(known.map_or(at, |known| at.max(*known))));
                }
                at
            }
            Line::Tag(id, at, answer) => {
                if self.is_good(id, at) && at >= self.earliest {
                    facts.learn_tag(id, Dated { asked: at, answer }, 0);
                }
                at
            }
            Line::Ping(id, at, answer) => {
                if self.is_good(id, at) && at >= self.earliest {
                    facts.learn_ping(id, Dated { asked: at, answer });
                }
                at
            }
            Line::Forget(id, at) => {
                let forgotten = self.forgotten.entry(id).or_default();
                *forgotten = at.max(*forgotten);
                facts.withdraw_any(id, at);
                at
            }
            Line::Deleted(slot, at) => {
                facts.deleted.set_slot(slot, at);
                at
            }
            Line::Moved(slot, at) => {
                facts.moved.set_slot(slot, at);
                at
            }
        };
        self.latest = self.latest.max(at);
    }

    fn is_good(&self, id: Id, at: Moment) -> bool {
        self.forgotten.get(&id).is_none_or(|forgotten| at > *forgotten)
    }
}
