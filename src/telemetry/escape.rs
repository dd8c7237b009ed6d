//! Text from outside, made harmless: as the inside of a JSON string, and as part of a human-readable log line.
//!
//! Both escape everything that a terminal, a log shipper or a JavaScript reader could take for an end of line or an
//! instruction: C0 and C1 controls, DEL, U+2028/2029 and the bidirectional overrides.

/// Longest text that one field of a log line takes, in bytes before escaping; a request head may be far larger.
pub const MAX_FIELD: usize = 4096;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes at which copying must stop and look: those to escape, and the lead bytes of characters that may be.
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0x7f] = true;
    table[0xc2] = true; // U+0080–U+00BF, of which the first 32 are C1 controls
    table[0xe2] = true; // U+2000–U+2FFF
    table
};

/// Appends `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD as in `String::from_utf8_lossy`; what
/// is longer than [`MAX_FIELD`] is cut and ends with `…`.
pub fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let (text, cut) = shorten(text);
    match std::str::from_utf8(text) {
        Ok(text) => push_json_str(out, text),
        Err(_) => text.utf8_chunks().for_each(|chunk| {
            push_json_str(out, chunk.valid());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }),
    }
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

/// Appends `text` to a human-readable line. Never adds a line end or a control character.
pub fn push_text(out: &mut String, text: &str) {
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
}

/// As [`push_text`], quoted when a reader could not tell otherwise where the value ends.
pub fn push_value(out: &mut String, text: &str) {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | '=') && !is_unsafe(c);
    if !text.is_empty() && text.chars().all(plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_unsafe(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_json_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !SUSPECT[usize::from(*byte)] {
            continue;
        }
        // A suspect byte is a character's first, so `get` finds a boundary; continuation bytes are never suspects.
        let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) else { continue };
        if !is_unsafe(c) && c != '"' && c != '\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        push_escape(out, c);
        copied = at + c.len_utf8();
    }
    out.extend_from_slice(&bytes[copied..]);
}

fn push_escape(out: &mut Vec<u8>, c: char) {
    if matches!(c, '"' | '\\') {
        out.extend_from_slice(&[b'\\', c as u8]);
        return;
    }
    // Every unsafe character lies in the basic plane, so one \uXXXX says it.
    let code = u32::from(c);
    let digit = |shift: u32| HEX[(code >> shift) as usize & 0xf];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most [`MAX_FIELD`] bytes, not ending within a character, and whether something was cut.
fn shorten(text: &[u8]) -> (&[u8], bool) {
    if text.len() <= MAX_FIELD {
        return (text, false);
    }
    let mut end = MAX_FIELD;
    while end > MAX_FIELD - 4 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    (text.get(..end).unwrap_or_default(), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_json(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn assert_round_trip(text: &[u8]) {
        let line = json(text);
        assert!(!line.chars().any(is_unsafe), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), String::from_utf8_lossy(text));
    }

    #[test]
    fn hostile_texts_round_trip_through_a_json_reader() {
        let hostile: [&[u8]; 15] = [
            b"",
            b"plain",
            b"\"},{\"status\":200,\"x\":\"",
            b"a\r\nb\nc\td\0e",
            b"\x1b[2J\x1b]0;title\x07\x7f",
            "\u{85}\u{9b}31m\u{a0}é".as_bytes(),
            "\u{2028}\u{2029}\u{202e}evil\u{2066}\u{2026}€".as_bytes(),
            b"\\\\u0000\\\"\\",
            b"\xff\xfe\xc3\x28\xe2\x80",
            b"\xe2\x80\xa8\xe2\x28\xa1\xf0\x90\x28\xbc",
            b"\xed\xa0\x80 surrogate",
            "😀\u{10ffff}\u{feff}".as_bytes(),
            b"\xc2",
            b"\xe2",
            b"${jndi:ldap://x} %n%s <script>",
        ];
        hostile.into_iter().for_each(assert_round_trip);
        (0..=255u8).for_each(|byte| assert_round_trip(&[b'a', byte, b'z']));
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert_round_trip(&text);
        }

        #[test]
        fn any_text_round_trips(text in "\\PC{0,50}[\u{0}-\u{20}\u{7f}-\u{a1}\u{2020}-\u{2070}\"\\\\]{0,20}") {
            assert_round_trip(text.as_bytes());
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let long = "é".repeat(MAX_FIELD);
        let back: String = serde_json::from_str(&json(&long.as_bytes()[1..])).unwrap();
        assert!(back.ends_with("é…") && back.len() <= MAX_FIELD + 6, "{}", back.len());
        let exact = "x".repeat(MAX_FIELD);
        assert_eq!(serde_json::from_str::<String>(&json(exact.as_bytes())).unwrap(), exact);
        assert!(json(&[0x80; MAX_FIELD * 2]).len() < MAX_FIELD * 4);
    }

    #[test]
    fn a_value_with_spaces_is_quoted_and_never_breaks_its_line() {
        let value = |text| {
            let mut out = String::new();
            push_value(&mut out, text);
            out
        };
        assert_eq!(value("127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(value(""), "\"\"");
        assert_eq!(value("a b"), "\"a b\"");
        assert_eq!(value("x\nlevel=ERROR \"y\"\u{1b}[0m"), r#""x\nlevel=ERROR \"y\"\u{1b}[0m""#);
        assert_eq!(value("\u{2028}"), r#""\u{2028}""#);
    }
}
