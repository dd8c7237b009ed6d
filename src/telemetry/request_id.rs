//! The id of one request, as in `X-Request-Id`: the same in the client's answer, at the peer and in the access log.

use std::fmt;

use hex::encode_to_slice;

/// Longest id that we take over from outside.
pub const MAX_ID: usize = 128;
const MADE: usize = 32;

/// An id of `[A-Za-z0-9._-]{1,128}`.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    /// Ours, in place: no allocation for the usual request.
    Made([u8; MADE]),
    Given(Box<str>),
}

impl RequestId {
    /// A new id: 128 random bits in hex. They come from the thread's generator, so one id does not tell the next.
    #[allow(clippy::new_without_default)] // two ids are never equal, which a default would suggest
    pub fn new() -> Self {
        let mut hex = [b'0'; MADE];
        // Cannot fail: 16 bytes are 32 digits.
        let _ = encode_to_slice(rand::random::<u128>().to_be_bytes(), &mut hex);
        RequestId(Repr::Made(hex))
    }

    /// The id that came with the request if it is well-formed, else a new one.
    pub fn accept(inbound: Option<&[u8]>) -> Self {
        inbound.and_then(Self::parse).unwrap_or_else(Self::new)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > MAX_ID || !text.iter().all(allowed) {
            return None;
        }
        std::str::from_utf8(text).ok().map(|text| RequestId(Repr::Given(text.into())))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Hex digits are always UTF-8.
            Repr::Made(hex) => std::str::from_utf8(hex).unwrap_or_default(),
            Repr::Given(text) => text,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_128_bits_of_hex_and_differ() {
        let (one, two) = (RequestId::new(), RequestId::new());
        assert_eq!(one.as_str().len(), 32);
        assert!(one.as_str().bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        assert_ne!(one, two);
    }

    #[test]
    fn a_well_formed_id_is_taken_over() {
        for good in ["a", "7b1c-22.X_z", &"a".repeat(128)] {
            assert_eq!(RequestId::accept(Some(good.as_bytes())).as_str(), good);
        }
    }

    #[test]
    fn any_other_id_is_replaced() {
        for bad in ["", "a b", "a\nb", "a\"b", "é", "a,b", "${x}", "<b>", &"a".repeat(129)] {
            let id = RequestId::accept(Some(bad.as_bytes()));
            assert!(id.as_str() != bad && id.as_str().len() == 32, "{bad}");
        }
        assert_eq!(RequestId::accept(Some(&[0xff])).as_str().len(), 32);
        assert_eq!(RequestId::accept(None).as_str().len(), 32);
    }
}
