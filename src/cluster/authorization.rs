//! What the peers are told of who asks: the client's own `Authorization`, none, or a login of the cluster's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use crate::units::Secret;

/// `authorization`: `"pass"`, `"drop"`, `"token"`, or a login of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// The client's own field.
    #[default]
    Pass,
    /// None at all.
    Drop,
    /// A token of ours for what is asked, by which the peers know who asks: they believe our tokens.
    Token,
    /// Basic (RFC 7617) with this login, whatever the client sent.
    Login(Login),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

impl<'de> Deserialize<'de> for Authorization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Authorization;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"pass\", \"drop\", \"token\" or { username = \"…\", password_file = \"…\" }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Authorization, E> {
                match word {
                    "pass" => Ok(Authorization::Pass),
                    "drop" => Ok(Authorization::Drop),
                    "token" => Ok(Authorization::Token),
                    // Not repeated: somebody may have put the secret itself here.
                    _ => Err(E::invalid_value(Unexpected::Other("another word"), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Authorization, A::Error> {
                Login::deserialize(MapAccessDeserializer::new(map)).map(Authorization::Login)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Authorization {
    /// What goes in place of the client's own field; `None` where that is handed on. Never shown in a log.
    pub(super) fn instead(&self) -> Option<Option<HeaderValue>> {
        let login = match self {
            // Whoever let the request in has put the token in place of what the client showed.
            Authorization::Pass | Authorization::Token => return None,
            Authorization::Drop => return Some(None),
            Authorization::Login(login) => login,
        };
        let pair = STANDARD.encode(format!("{}:{}", login.username, login.password.reveal()));
        // Base64 is always a field's value.
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok();
        if let Some(value) = &mut value {
            value.set_sensitive(true);
        }
        Some(value)
    }
}
