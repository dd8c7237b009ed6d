//! A user more, less, or with another password. Values only: every other line stays as it is, byte for byte.

use super::hash::Hash;
use super::parse::{MAX_NAME, ParseError, lines, name, parse, without_bom};

/// What is to be changed. Has no `Debug`: it holds a hash.
#[derive(Clone, Copy)]
pub enum Edit<'a> {
    /// Of a name that is not there yet.
    Add { name: &'a str, hash: &'a str },
    /// Of one that is: the line that counts.
    Replace { name: &'a str, hash: &'a str },
    /// All lines of the name: a second one would count once the first is gone.
    Remove { name: &'a str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("the user is there already; `entrepot user passwd` gives another password")]
    Exists,
    #[error("there is no such user")]
    Absent,
    #[error("a user's name {0}")]
    Name(&'static str),
    #[error("the new line {0}")]
    Hash(&'static str),
    #[error("the file {0}")]
    File(#[from] ParseError),
}

impl<'a> Edit<'a> {
    pub fn name(&self) -> &'a str {
        match *self {
            Edit::Add { name, .. } | Edit::Replace { name, .. } | Edit::Remove { name } => name,
        }
    }
}

/// The file after the change.
pub fn edit(bytes: &[u8], edit: &Edit<'_>) -> Result<Vec<u8>, EditError> {
    let (bom, text) = without_bom(bytes)?;
    let is_of = |line: &[u8]| name(line) == Some(edit.name().as_bytes());
    let exists = lines(text).any(is_of);
    let mut edited = bom.to_vec();
    match *edit {
        Edit::Add { .. } if exists => return Err(EditError::Exists),
        Edit::Replace { .. } | Edit::Remove { .. } if !exists => return Err(EditError::Absent),
        Edit::Add { name, hash } => {
            check_name(name).map_err(EditError::Name)?;
            Hash::read(hash).map_err(EditError::Hash)?;
            edited.extend_from_slice(text);
            append(&mut edited, text, name, hash);
        }
        Edit::Replace { hash, .. } => {
            Hash::read(hash).map_err(EditError::Hash)?;
            let counts = lines(text).position(is_of);
            for (index, line) in lines(text).enumerate() {
                match Some(index) == counts {
                    true => replace(&mut edited, line, hash),
                    false => edited.extend_from_slice(line),
                }
            }
        }
        Edit::Remove { .. } => lines(text).filter(|line| !is_of(line)).for_each(|line| edited.extend_from_slice(line)),
    }
    // What the server would not read is not written. To take a user away must always be possible.
    if !matches!(edit, Edit::Remove { .. }) {
        parse(&edited)?;
    }
    Ok(edited)
}

/// What a line can hold, so that it is read as what was meant.
fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is needed"),
        _ if name.len() > MAX_NAME => Err("has at most 255 bytes"),
        _ if name.contains(':') => Err("has no colon in it"),
        _ if name.contains(char::is_control) => Err("has no control characters in it"),
        _ if name.starts_with('#') => Err("does not begin with #: the line would be a comment"),
        _ if name.starts_with('\u{feff}') => Err("does not begin with a byte order mark"),
        _ if name.trim() != name => Err("has no white space at its ends"),
        _ => Ok(()),
    }
}

/// A line at the end, with the ends of lines that the file has.
fn append(edited: &mut Vec<u8>, text: &[u8], name: &str, hash: &str) {
    let ended = lines(text).filter(|line| line.ends_with(b"\n")).last();
    let end: &[u8] = if ended.is_some_and(|line| line.ends_with(b"\r\n")) { b"\r\n" } else { b"\n" };
    if !text.is_empty() && !text.ends_with(b"\n") {
        edited.extend_from_slice(end);
    }
    for part in [name.as_bytes(), b":", hash.as_bytes(), end] {
        edited.extend_from_slice(part);
    }
}

/// The line with another hash. What follows a second colon, and how the line ends, is kept.
fn replace(edited: &mut Vec<u8>, line: &[u8], hash: &str) {
    let (body, end) = line.split_at_checked(line.trim_ascii_end().len()).unwrap_or((line, b""));
    let mut fields = body.splitn(3, |byte| *byte == b':');
    let (head, rest) = (fields.next().unwrap_or_default(), fields.nth(1));
    for part in [head, b":", hash.as_bytes()] {
        edited.extend_from_slice(part);
    }
    if let Some(rest) = rest {
        edited.push(b':');
        edited.extend_from_slice(rest);
    }
    edited.extend_from_slice(end);
}
