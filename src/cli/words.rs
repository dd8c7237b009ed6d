//! How commands write sizes, ages and digests for people.

use bytesize::ByteSize;
use serde_json::Value;

/// `3.2 MiB`; `-` where it is not known.
pub fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| ByteSize(bytes).display().iec().to_string())
}

/// `12s`, `5m`, `3h`, `2d`: rounded down.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 tag`, `2 tags`, `3 repositories`.
pub fn count(number: u64, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

/// A digest's algorithm and first characters.
pub fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, encoded)) => format!("{algorithm}:{}", encoded.chars().take(12).collect::<String>()),
        None => digest.to_owned(),
    }
}

/// A text for a terminal: what it would obey is written out.
pub fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// A text of an answer, without what a terminal would obey; `-` where there is none.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_ages_and_digests_are_short() {
        assert_eq!(
            (size(Some(3 << 20)).as_str(), size(Some(12)).as_str(), size(None).as_str()),
            ("3.0 MiB", "12 B", "-")
        );
        for (seconds, told) in [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400 * 3, "3d")] {
            assert_eq!(age(seconds), told);
        }
        assert_eq!(short(&format!("sha256:{}", "a".repeat(64))), "sha256:aaaaaaaaaaaa");
        assert_eq!(short("x"), "x");
        for (number, what, told) in
            [(1, "repository", "1 repository"), (0, "repository", "0 repositories"), (2, "tag", "2 tags")]
        {
            assert_eq!(count(number, what), told);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(text(&Value::String("it's a\u{1b}[2Jb\n".into())), "it's a\\u{1b}[2Jb\\n");
        assert_eq!((text(&Value::Null), text(&Value::from(7))), ("-".into(), "7".into()));
    }
}
