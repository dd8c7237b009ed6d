//! The fields that a collector wants to see, from a file: most often a token.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Of the file, in bytes.
const MAX_FILE: u64 = 16 << 10;
const MAX_FIELDS: usize = 16;
/// What a request is made of says itself, or its connection.
const OURS: [HeaderName; 10] =
    [HOST, CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE, EXPECT];

/// Reads `Name: value` lines; empty ones and those that begin with `#` say nothing. What is wrong is told without the values. Blocks on
/// the disk.
pub fn read(path: &Path) -> Result<HeaderMap, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("{} is longer than {MAX_FILE} bytes", path.display()));
    }
    parse(&text).map_err(|(line, what)| format!("line {line} of {} {what}", path.display()))
}

fn parse(text: &str) -> Result<HeaderMap, (usize, &'static str)> {
    let mut headers = HeaderMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what| (at + 1, what);
        let (name, value) = line.split_once(':').ok_or(wrong("has no colon: write `Name: value`"))?;
        let name: HeaderName = name.trim_end().parse().map_err(|_| wrong("does not begin with the name of a field"))?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong("has a value that no field can have"))?;
        value.set_sensitive(true);
        if OURS.contains(&name) {
            return Err(wrong(
                "names a field that we write ourselves, such as Host, Content-Type, Content-Length or Connection",
            ));
        }
        if headers.contains_key(&name) {
            return Err(wrong("names a field that is there already"));
        }
        if headers.len() >= MAX_FIELDS {
            return Err(wrong("is one field too many: 16 are taken at most"));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_fields_whose_values_are_shown_to_nobody() {
        let headers = parse("# of the collector\nAuthorization: Bearer 5ecret\n\nx-tenant:  a b \n").unwrap();
        assert_eq!((headers.len(), &headers["x-tenant"]), (2, &HeaderValue::from_static("a b")));
        assert!(headers["authorization"].is_sensitive() && !format!("{headers:?}").contains("5ecret"));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line() {
        for (text, line) in [("nothing", 1), ("a: b\nA: c", 2), ("a b: c", 1), (": c", 1), ("a: \u{7f}", 1)] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
        for name in ["Host", "content-length", "Transfer-Encoding", "CONTENT-TYPE", "Connection"] {
            let (line, what) = parse(&format!("a: b\n{name}: c")).unwrap_err();
            assert!(line == 2 && what.contains("we write ourselves"), "{name}: {what}");
        }
        let many: String = (0..=MAX_FIELDS).map(|at| format!("x-{at}: y\n")).collect();
        assert_eq!(parse(&many).unwrap_err().0, 17);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        assert!(read(&path).unwrap_err().contains("cannot read"));
        std::fs::write(&path, "#".repeat(17 << 10)).unwrap();
        assert!(read(&path).unwrap_err().contains("longer than"));
    }
}
