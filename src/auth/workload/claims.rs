//! What a token of others has to say, whoever its issuer is.

use serde_json::{Map, Value};

use super::config::ClaimValue;
use super::template::NoName;
use crate::auth::jwt::strict::{MAX_LIFE, NotStrict};
use crate::auth::jwt::verify::Forged;

/// Clocks of others differ from ours by no more, in seconds.
pub const LEEWAY: u64 = 60;

/// Why a token of others does not count, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    NotStrict(#[from] NotStrict),
    #[error("is of an issuer that is not known here")]
    Issuer,
    #[error("does not name the key that it is signed with")]
    NoKey,
    #[error("is signed with a key that its issuer does not have")]
    UnknownKey,
    #[error("is not signed as it says")]
    Forged,
    #[error("is for another audience")]
    Audience,
    #[error("is not good yet")]
    NotYet,
    #[error("has expired")]
    Expired,
    #[error("has claims that are not written as they have to be")]
    Shape,
    #[error("is of nobody who may log in here: its claims are not those that are required")]
    Required,
    #[error("gives its bearer no name: a claim is missing, or holds what no name may")]
    Name,
}

impl From<Forged> for Refused {
    fn from(_: Forged) -> Self {
        Refused::Forged
    }
}

impl From<NoName> for Refused {
    fn from(_: NoName) -> Self {
        Refused::Name
    }
}

/// A claim by its name; if there is none of that name, by `outer/inner`.
pub fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (outer, inner) = name.split_once('/')?;
        find(claims.get(outer)?.as_object()?, inner)
    })
}

/// Whether a claim is exactly this: the text "true" is not the value true.
pub fn is(claims: &Map<String, Value>, name: &str, wanted: &ClaimValue) -> bool {
    let found = find(claims, name);
    match wanted {
        ClaimValue::Text(text) => found.and_then(Value::as_str) == Some(text),
        ClaimValue::Number(number) => found.and_then(Value::as_i64) == Some(*number),
        ClaimValue::Boolean(value) => found.and_then(Value::as_bool) == Some(*value),
    }
}

/// Whether it is meant for this audience, alone or among others.
pub fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// When it ends, in seconds since 1970, if it has begun; it may have ended.
pub fn end(claims: &Map<String, Value>, now: u64) -> Result<u64, Refused> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(Refused::Shape),
    };
    let end = time("exp")?.ok_or(Refused::Shape)?;
    for begin in [time("nbf")?, time("iat")?].into_iter().flatten() {
        if begin > now.saturating_add(LEEWAY) {
            return Err(Refused::NotYet);
        }
        if end.saturating_sub(begin) > MAX_LIFE {
            return Err(NotStrict::Endless.into());
        }
    }
    // It need not say when it began.
    if end > now.saturating_add(MAX_LIFE).saturating_add(LEEWAY) {
        return Err(NotStrict::Endless.into());
    }
    Ok(end)
}

/// Whether a token that ends then has ended.
pub fn has_ended(end: u64, now: u64) -> bool {
    end.saturating_add(LEEWAY) <= now
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn ends(claims: Value) -> Result<u64, Refused> {
        end(claims.as_object().unwrap(), NOW)
    }

    #[test]
    fn a_token_has_a_beginning_and_an_end() {
        assert_eq!(ends(json!({ "exp": NOW + 600 })), Ok(NOW + 600));
        assert_eq!(ends(json!({ "exp": NOW + 600, "nbf": NOW + LEEWAY, "iat": NOW + LEEWAY })), Ok(NOW + 600));
        for (claims, expected) in [
            (json!({}), Refused::Shape),
            (json!({ "exp": "600" }), Refused::Shape),
            (json!({ "exp": NOW + 600, "nbf": "1" }), Refused::Shape),
            (json!({ "exp": NOW + 600, "iat": -1 }), Refused::Shape),
            (json!({ "exp": NOW + 600, "iat": null }), Refused::Shape),
            (json!({ "exp": NOW + 600, "nbf": NOW + LEEWAY + 1 }), Refused::NotYet),
            (json!({ "exp": NOW + 600, "iat": NOW + LEEWAY + 1 }), Refused::NotYet),
            (json!({ "exp": NOW + 600, "iat": NOW + 601 - MAX_LIFE - 2 }), Refused::NotStrict(NotStrict::Endless)),
            (json!({ "exp": NOW + 600, "nbf": NOW - MAX_LIFE, "iat": NOW }), Refused::NotStrict(NotStrict::Endless)),
            (json!({ "exp": NOW + MAX_LIFE + LEEWAY + 1 }), Refused::NotStrict(NotStrict::Endless)),
        ] {
            assert_eq!(ends(claims.clone()), Err(expected), "{claims}");
        }
        assert!(has_ended(NOW, NOW + LEEWAY) && !has_ended(NOW, NOW + LEEWAY - 1));
    }

    #[test]
    fn a_claim_is_exactly_what_is_required() {
        let claims = json!({ "a": "true", "b": true, "c": 7, "d": "7", "o": { "i": { "n": "x" }, "i/n": "y" }, "p/q": 1, "p": { "q": 2 } });
        let claims = claims.as_object().unwrap();
        let text = |text: &str| ClaimValue::Text(text.into());
        for (name, wanted) in [
            ("a", text("true")),
            ("b", ClaimValue::Boolean(true)),
            ("c", ClaimValue::Number(7)),
            ("d", text("7")),
            ("o/i/n", text("y")),
            ("p/q", ClaimValue::Number(1)),
        ] {
            assert!(is(claims, name, &wanted), "{name}");
        }
        for (name, wanted) in [
            ("a", ClaimValue::Boolean(true)),
            ("b", text("true")),
            ("c", text("7")),
            ("d", ClaimValue::Number(7)),
            ("a", text("TRUE")),
            ("a", text("tru")),
            ("o", text("x")),
            ("e", text("")),
            ("a/b", text("")),
        ] {
            assert!(!is(claims, name, &wanted), "{name}");
        }
    }

    #[test]
    fn the_audience_is_one_or_among_others() {
        let is_for = |aud: Value| is_for(json!({ "aud": aud }).as_object().unwrap(), "us");
        assert!(is_for(json!("us")) && is_for(json!(["them", "us"])));
        for other in [json!("US"), json!("us "), json!(["them"]), json!([["us"]]), json!({ "us": 1 }), json!(null)] {
            assert!(!is_for(other.clone()), "{other}");
        }
    }
}
