//! When a bearer token ends, if it says so. Nothing is verified: the peer does that; an end that somebody forged could
//! only shorten what is remembered of his own token.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

const PAYLOAD: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

/// The `exp` of a JWT in an `Authorization` header, in whole seconds since 1970. `None` for everything else.
pub fn expiry(authorization: &[u8]) -> Option<u64> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    let mut parts = token.trim_ascii().split(|b| *b == b'.');
    let (Some(_header), Some(payload), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let payload = PAYLOAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    // A float's cast saturates: a negative end is long ago.
    claims.exp.map(|exp| exp as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(payload: &str) -> Vec<u8> {
        format!("Bearer e30.{}.c2ln", PAYLOAD.encode(payload)).into_bytes()
    }

    #[test]
    fn the_end_of_a_token_is_read() {
        assert_eq!(expiry(&bearer(r#"{"iss":"x","exp":1700000000,"access":[{"a":[1]}]}"#)), Some(1_700_000_000));
        assert_eq!(expiry(&bearer(r#"{"exp":1700000000.9}"#)), Some(1_700_000_000));
        assert_eq!(expiry(&bearer(r#"{"exp":-5}"#)), Some(0));
        assert_eq!(expiry(&bearer(r#"{"exp":1e300}"#)), Some(u64::MAX));
        let lower = String::from_utf8(bearer(r#"{"exp":7}"#)).unwrap().replace("Bearer", "bearer");
        assert_eq!(expiry(lower.trim_end_matches('=').as_bytes()), Some(7));
    }

    #[test]
    fn what_is_no_token_has_no_end() {
        for other in
            [&b""[..], b"Bearer ", b"Bearer a.b.c", b"Bearer a.b", b"Basic dTpw", b"Bearer opaque", b"Bearer\xff"]
        {
            assert_eq!(expiry(other), None);
        }
        for payload in [r#"{}"#, r#"{"exp":"soon"}"#, r#"{"exp":null}"#, "[]", &"[".repeat(9000)] {
            assert_eq!(expiry(&bearer(payload)), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes: Vec<u8>, payload in ".*") {
            expiry(&bytes);
            expiry(&[b"Bearer ", &bytes[..]].concat());
            expiry(&bearer(&payload));
        }
    }
}
