//! What a token has to be before its signature is looked at. Two programs that read the same token otherwise than each other are
//! how tokens are forged: so nothing is taken that could be read in two ways.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Longest token, in bytes.
pub const MAX_TOKEN: usize = 16 << 10;
/// A token that is good for longer is none of those that we take.
pub const MAX_LIFE: u64 = 24 * 3600;

/// A token's parts, read and not believed.
#[derive(Debug)]
pub struct Parts {
    pub header: Map<String, Value>,
    pub payload: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStrict {
    #[error("is too long")]
    TooLong,
    #[error("is not written as a token")]
    Shape,
    #[error("says something twice")]
    Twice,
    #[error("demands what is not understood here")]
    Critical,
    #[error("is not signed in a way that is taken here")]
    Algorithm,
    #[error("has no end, or a far one")]
    Endless,
}

/// Reads a token's parts.
pub fn read(token: &str) -> Result<Parts, NotStrict> {
    if token.len() > MAX_TOKEN {
        return Err(NotStrict::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NotStrict::Shape);
    };
    if URL_SAFE_NO_PAD.decode(signature).map_or(true, |signature| signature.is_empty()) {
        return Err(NotStrict::Shape);
    }
    let (header, payload) = (object(header)?, object(payload)?);
    if ["crit", "b64"].iter().any(|name| header.contains_key(*name)) {
        return Err(NotStrict::Critical);
    }
    // Of what the library does not know, it says only that it cannot read it.
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    if algorithm.is_empty() || algorithm.eq_ignore_ascii_case("none") || algorithm.starts_with("HS") {
        return Err(NotStrict::Algorithm);
    }
    if header.get("typ").is_some_and(|kind| !kind.is_string()) || header.get("kid").is_some_and(|kid| !kid.is_string())
    {
        return Err(NotStrict::Shape);
    }
    let time = |name: &str| payload.get(name).and_then(Value::as_u64);
    let end = time("exp").ok_or(NotStrict::Endless)?;
    let begin = time("iat").or_else(|| time("nbf")).unwrap_or(end);
    if end.saturating_sub(begin) > MAX_LIFE {
        return Err(NotStrict::Endless);
    }
    Ok(Parts { header, payload })
}

/// A part that is a JSON object whose members are all there once.
fn object(part: &str) -> Result<Map<String, Value>, NotStrict> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| NotStrict::Shape)?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let object = reader.deserialize_map(Once).map_err(|error| match error.to_string().starts_with(TWICE) {
        true => NotStrict::Twice,
        false => NotStrict::Shape,
    })?;
    reader.end().map_err(|_| NotStrict::Shape)?;
    Ok(object)
}

const TWICE: &str = "a member twice";

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Map<String, Value>, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    const HEADER: &str = r#"{"alg":"ES256","kid":"x"}"#;
    const PAYLOAD: &str = r#"{"exp":100,"iat":50}"#;

    fn fault(header: &str, payload: &str) -> Option<NotStrict> {
        read(&token(header, payload, "AA")).err()
    }

    #[test]
    fn a_plain_token_is_read() {
        let parts = read(&token(HEADER, PAYLOAD, "AA")).unwrap();
        assert_eq!((parts.header["kid"].as_str(), parts.payload["exp"].as_u64()), (Some("x"), Some(100)));
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        for (header, payload, expected) in [
            (r#"{"alg":"none"}"#, PAYLOAD, NotStrict::Algorithm),
            (r#"{"alg":"NoNe"}"#, PAYLOAD, NotStrict::Algorithm),
            (r#"{"alg":"HS256"}"#, PAYLOAD, NotStrict::Algorithm),
            (r#"{"alg":""}"#, PAYLOAD, NotStrict::Algorithm),
            (r#"{"alg":7}"#, PAYLOAD, NotStrict::Algorithm),
            (r#"{}"#, PAYLOAD, NotStrict::Algorithm),
            (r#"{"alg":"ES256","crit":[]}"#, PAYLOAD, NotStrict::Critical),
            (r#"{"alg":"ES256","b64":true}"#, PAYLOAD, NotStrict::Critical),
            (r#"{"alg":"ES256","alg":"ES256"}"#, PAYLOAD, NotStrict::Twice),
            (r#"{"alg":"ES256","kid":7}"#, PAYLOAD, NotStrict::Shape),
            (HEADER, r#"{"exp":100,"exp":100}"#, NotStrict::Twice),
            (HEADER, r#"{"exp":100,"sub":"a","s\u0075b":"b"}"#, NotStrict::Twice),
            (HEADER, r#"{"iat":1}"#, NotStrict::Endless),
            (HEADER, r#"{"exp":"100"}"#, NotStrict::Endless),
            (HEADER, r#"{"exp":1.5}"#, NotStrict::Endless),
            (HEADER, r#"{"exp":-1}"#, NotStrict::Endless),
            (HEADER, r#"{"exp":86501,"iat":100}"#, NotStrict::Endless),
            (HEADER, r#"{"exp":86501,"nbf":100}"#, NotStrict::Endless),
            (HEADER, "[]", NotStrict::Shape),
            (HEADER, r#"{"exp":100} {}"#, NotStrict::Shape),
            ("\"x\"", PAYLOAD, NotStrict::Shape),
            ("", PAYLOAD, NotStrict::Shape),
        ] {
            assert_eq!(fault(header, payload), Some(expected), "{header} {payload}");
        }
        assert_eq!(fault(HEADER, r#"{"exp":86500,"iat":100}"#), None);
    }

    #[test]
    fn the_form_is_one() {
        let good = token(HEADER, PAYLOAD, "AA");
        for wrong in [
            String::new(),
            ".".into(),
            "..".into(),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}="),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            good.replacen('.', "=.", 1),
            token(HEADER, PAYLOAD, ""),
            token(HEADER, PAYLOAD, "+/"),
            // The same bytes, written with other bits that nobody reads.
            token(HEADER, PAYLOAD, "AB"),
        ] {
            assert_eq!(read(&wrong).err(), Some(NotStrict::Shape), "{wrong:?}");
        }
        assert_eq!(read(&"a".repeat(MAX_TOKEN + 1)).err(), Some(NotStrict::TooLong));
    }
}
