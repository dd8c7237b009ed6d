//! What must hold for the readers of this room, whatever comes in.

use super::body::{Body, Framing};
use super::head::Scanner;

const LIMIT: usize = 2 << 10;

/// A head means the same whether it comes at once or byte by byte.
pub fn head(bytes: &[u8]) {
    let whole = Scanner::default().advance(bytes, LIMIT);
    let mut scanner = Scanner::default();
    let mut steps = (0..=bytes.len()).filter_map(|end| bytes.get(..end)).map(|part| scanner.advance(part, LIMIT));
    let stepwise = steps.find(|outcome| !matches!(outcome, Ok(None))).unwrap_or(Ok(None));
    assert_eq!(whole.is_ok(), stepwise.is_ok(), "{whole:?} at once, {stepwise:?} byte by byte");
    match whole {
        Ok(whole) => {
            assert_eq!(Some(whole), stepwise.ok());
            assert!(whole.is_none_or(|head| head.length <= bytes.len().min(LIMIT)));
        }
        Err(refusal) => assert!((400..600).contains(&refusal.status)),
    }
}

/// So does a chunked body, and it ends at the same byte.
pub fn chunked(bytes: &[u8]) {
    let mut whole = Body::new(Framing::Chunked);
    let taken = whole.follow(bytes);
    let mut stepwise = Body::new(Framing::Chunked);
    let steps = bytes.chunks(1).map(|byte| stepwise.follow(byte)).sum::<usize>();
    assert_eq!((taken, whole.done(), whole.broken()), (steps, stepwise.done(), stepwise.broken()));
    assert!(taken <= bytes.len() && !(whole.done() && whole.broken()));
    assert!(whole.done() || taken == bytes.len());
}
