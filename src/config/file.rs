//! Reading small files whole, with a bound, and saying in words why it did not work.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// What is wrong with a file, before or after its name.
enum Fault {
    Unreadable(std::io::Error),
    Large(u64),
    NoText,
}

impl Fault {
    fn named(&self, file: &Path) -> String {
        match self {
            Fault::Unreadable(error) => format!("cannot read {}: {error}", file.display()),
            Fault::Large(max) => format!("{} is larger than {max} bytes", file.display()),
            Fault::NoText => format!("{} is not UTF-8 text", file.display()),
        }
    }

    fn after_its_name(&self) -> String {
        match self {
            Fault::Unreadable(error) => format!("cannot read it: {error}"),
            Fault::Large(max) => format!("is larger than {max} bytes"),
            Fault::NoText => "is not UTF-8 text".to_owned(),
        }
    }
}

/// The bytes of `file`, at most `max` of them.
pub fn bytes(file: &Path, max: u64) -> Result<Vec<u8>, String> {
    read(file, max).map_err(|fault| fault.named(file))
}

/// The text of `file`, at most `max` bytes of it.
pub fn text(file: &Path, max: u64) -> Result<String, String> {
    read_text(file, max).map_err(|fault| fault.named(file))
}

/// The same, for who writes the file's name before what is wrong with it.
pub fn text_after_name(file: &Path, max: u64) -> Result<String, String> {
    read_text(file, max).map_err(|fault| fault.after_its_name())
}

fn read(file: &Path, max: u64) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();
    let opened = File::open(file).and_then(|opened| opened.take(max + 1).read_to_end(&mut content));
    opened.map_err(Fault::Unreadable)?;
    if content.len() as u64 > max { Err(Fault::Large(max)) } else { Ok(content) }
}

fn read_text(file: &Path, max: u64) -> Result<String, Fault> {
    String::from_utf8(read(file, max)?).map_err(|_| Fault::NoText)
}
