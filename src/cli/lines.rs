//! Lines of JSON out of pieces.

use serde_json::Value;

/// Bytes of one line: a report at the end of long work is the longest.
const MAX_LINE: usize = 8 << 20;

#[derive(Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// The lines that are whole now.
    ///
    /// # Errors
    /// For people: what comes is none.
    pub fn take(&mut self, piece: &[u8]) -> Result<Vec<Value>, String> {
        self.0.extend_from_slice(piece);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            return if self.0.len() > MAX_LINE { Err("it sends a line without end".into()) } else { Ok(Vec::new()) };
        };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        let steps = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        steps.map(|line| serde_json::from_slice(line).map_err(|_| "it sends what is no step".into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_come_in_any_pieces() {
        let text = b"{\"event\":\"a\"}\n{\"event\":\"b\"}\n";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut steps = lines.take(&text[..cut]).unwrap();
            steps.extend(lines.take(&text[cut..]).unwrap());
            assert_eq!(steps, [json!({ "event": "a" }), json!({ "event": "b" })], "{cut}");
        }
        assert!(Lines::default().take(&vec![b' '; MAX_LINE + 1]).is_err());
        assert!(Lines::default().take(b"<html>\n").is_err());
    }
}
