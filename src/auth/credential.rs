//! What `Authorization` says (RFC 7617, RFC 6750), before anybody looks whose it is.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::HeaderValue;

/// Longest field that is read, in bytes: a token with all scopes that are granted at once is half of it.
const MAX_LENGTH: usize = 16 << 10;

/// With padding or without: some scripts leave it away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Never shown: has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// No field, or a login of nobody: skopeo sends an empty one when it was asked for Basic and has none.
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Authorization is neither Basic nor Bearer as they are written")]
pub struct Malformed;

impl Credential {
    pub fn read(field: Option<&HeaderValue>) -> Result<Credential, Malformed> {
        let Some(field) = field else { return Ok(Credential::None) };
        let text = field.to_str().ok().filter(|text| text.len() <= MAX_LENGTH).ok_or(Malformed)?;
        let (scheme, rest) = text.trim().split_once(' ').ok_or(Malformed)?;
        let rest = rest.trim();
        match scheme {
            _ if scheme.eq_ignore_ascii_case("basic") => Credential::basic(rest),
            _ if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() && !rest.contains(' ') => {
                Ok(Credential::Bearer(rest.to_owned()))
            }
            _ => Err(Malformed),
        }
    }

    fn basic(encoded: &str) -> Result<Credential, Malformed> {
        let pair = String::from_utf8(BASE64.decode(encoded).map_err(|_| Malformed)?).map_err(|_| Malformed)?;
        let (user, password) = pair.split_once(':').ok_or(Malformed)?;
        Ok(Credential::login(user, password))
    }

    /// A name and a password, however they came.
    pub fn login(user: &str, password: &str) -> Credential {
        match user.is_empty() && password.is_empty() {
            true => Credential::None,
            false => Credential::Basic { user: user.to_owned(), password: password.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credential, Malformed> {
        Credential::read(Some(&HeaderValue::from_str(text).unwrap()))
    }

    fn is_basic(text: &str, user: &str, password: &str) -> bool {
        read(text) == Ok(Credential::Basic { user: user.into(), password: password.into() })
    }

    #[test]
    fn logins_are_read() {
        assert!(is_basic("Basic YWxpY2U6c2VjcmV0", "alice", "secret"));
        assert!(is_basic("basic  YWxpY2U6c2VjcmV0", "alice", "secret"));
        // A password may hold colons, and be without padding.
        assert!(is_basic("Basic YTpiOmM=", "a", "b:c") && is_basic("Basic YTpiOmM", "a", "b:c"));
        assert!(is_basic("Basic dXNlcjo=", "user", "") && is_basic("Basic OnB3", "", "pw"));
        assert!(read("Bearer a.b.c") == Ok(Credential::Bearer("a.b.c".into())));
        assert!(read("BEARER x") == Ok(Credential::Bearer("x".into())));
    }

    #[test]
    fn a_login_of_nobody_is_none() {
        assert!(Credential::read(None) == Ok(Credential::None));
        assert!(read("Basic Og==") == Ok(Credential::None));
    }

    #[test]
    fn what_is_neither_is_malformed() {
        for text in
            ["", "Basic", "Basic ", "Basic %%%", "Basic YWxpY2U", "Basic /w==", "Bearer", "Bearer a b", "Digest x", "x"]
        {
            assert!(read(text) == Err(Malformed), "{text}");
        }
        assert!(read(&format!("Bearer {}", "a".repeat(MAX_LENGTH))) == Err(Malformed));
    }
}
