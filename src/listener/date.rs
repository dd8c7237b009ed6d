//! The `Date` of answers (RFC 9110 §6.6.1), written once a second by each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Calls `with` with the present date.
pub(super) fn with<T>(with: impl FnOnce(&[u8]) -> T) -> T {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    WRITTEN.with_borrow_mut(|(written, text)| {
        if *written != second {
            (*written, *text) = (second, httpdate::fmt_http_date(now));
        }
        with(text.as_bytes())
    })
}

/// Appends the present date.
pub fn push(out: &mut Vec<u8>) {
    with(|date| out.extend_from_slice(date));
}
