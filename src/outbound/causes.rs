//! What went wrong, without the URL that it went wrong with.

use std::error::Error as _;
use std::fmt::Write as _;

/// The causes below the client library's own sentence, which would name the URL.
pub fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let separator = if text.is_empty() { "" } else { ": " };
        let _ = write!(text, "{separator}{error}"); // writing to a String cannot fail
        cause = error.source();
    }
    if text.is_empty() {
        text.push_str("unknown cause");
    }
    text
}
