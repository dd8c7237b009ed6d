//! Reading small files whole, with a bound, and saying in words why it did not work.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The bytes of `file`, at most `max` of them.
pub fn bytes(file: &Path, max: u64) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let mut content = Vec::new();
    File::open(file).and_then(|opened| opened.take(max + 1).read_to_end(&mut content)).map_err(fault)?;
    if content.len() as u64 > max {
        return Err(format!("{} is larger than {max} bytes", file.display()));
    }
    Ok(content)
}

/// The text of `file`, at most `max` bytes of it.
pub fn text(file: &Path, max: u64) -> Result<String, String> {
    String::from_utf8(bytes(file, max)?).map_err(|_| format!("{} is not UTF-8 text", file.display()))
}
