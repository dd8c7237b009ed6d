//! What must hold for everything that this room reads of remotes, whatever they write.

use std::time::{Duration, Instant};

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

use super::challenge::{self, Offer};
use super::token::Token;
use super::trust::Named;

/// `WWW-Authenticate`, a line of input for each field: what is read is bounded, and what is offered can be used.
pub fn challenges(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let read = challenge::read(&headers);
    assert!(read.len() <= 16 * headers.len() + 16);
    assert!(read.iter().all(|one| !one.scheme.is_empty() && one.parameters.len() <= 32));
    let offers = challenge::offers(&headers);
    for offer in &offers {
        let Offer::Bearer(bearer) = offer else { continue };
        assert!(!bearer.realm.is_empty() && bearer.scopes.len() <= 16);
        assert!(bearer.service.as_deref() != Some("") && bearer.error.as_deref() != Some(""));
        assert!(bearer.scopes.iter().all(|scope| !scope.is_empty() && !scope.contains(char::is_whitespace)));
    }
    assert!(offers.iter().skip_while(|offer| matches!(offer, Offer::Bearer(_))).count() <= 1, "Basic is the last");
}

/// The answer of a token service: a token can be shown, is never shown in a log, and ends.
pub fn token(bytes: &[u8]) {
    let now = Instant::now();
    let Ok(token) = Token::read(bytes, now) else { return };
    assert!(token.authorization().as_bytes().starts_with(b"Bearer ") && token.authorization().is_sensitive());
    assert!(!token.is_good(now + Duration::from_secs(24 * 3600)) && (!token.is_young(now) || token.is_good(now)));
    let _ = Named::parse(&String::from_utf8_lossy(bytes), true);
}

/// The fields that tell how many pulls are left.
pub fn rate_limit(bytes: &[u8]) {
    super::budget::fuzz::fields(bytes);
}
