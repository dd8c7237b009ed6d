//! What must hold for the readers of this room, whatever comes in.

use bytes::BytesMut;

use super::body::{Body, Framing, Piece};
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
            assert_eq!(Some(&whole), stepwise.as_ref().ok());
            assert!(whole.is_none_or(|head| head.length <= bytes.len().min(LIMIT)));
        }
        Err(refusal) => assert!((400..600).contains(&refusal.status)),
    }
}

/// So does a chunked body, and it ends at the same byte.
pub fn chunked(bytes: &[u8]) {
    let (mut whole, mut rest) = (Body::new(Framing::Chunked), BytesMut::from(bytes));
    let at_once = read(&mut whole, &mut rest);
    let mut stepwise = Body::new(Framing::Chunked);
    let (mut content, mut end, mut taken) = (Vec::new(), Piece::More, 0);
    for byte in bytes.chunks(1) {
        let (more, outcome) = read(&mut stepwise, &mut BytesMut::from(byte));
        content.extend(more);
        end = outcome;
        if end != Piece::More {
            break;
        }
        taken += 1;
    }
    assert_eq!((content, &end), (at_once.0, &at_once.1));
    assert_eq!(whole.done(), end == Piece::End);
    // The byte that ends a body is its last; nothing behind it is touched.
    if end == Piece::End {
        assert_eq!(bytes.len() - rest.len(), taken + 1);
    }
}

/// All content that comes of `input`, and why no more does.
fn read(body: &mut Body, input: &mut BytesMut) -> (Vec<u8>, Piece) {
    let mut content = Vec::new();
    loop {
        match body.take(input) {
            Piece::Content(bytes) => content.extend_from_slice(&bytes),
            end => return (content, end),
        }
    }
}
