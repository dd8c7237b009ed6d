//! What a token service gives, and for how long it is good.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;

/// Life of a token whose answer does not say, by the token protocol.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// No token is believed for longer.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest token, in bytes; more does not fit into the head of a request.
const MAX_TOKEN: usize = 32 << 10;

/// One token, in the form in which it is shown.
pub struct Token {
    authorization: HeaderValue,
    /// By our own clock: that of the service may be wrong.
    received: Instant,
    life: Duration,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iat: Option<f64>,
    exp: Option<f64>,
}

impl Token {
    /// Reads a token service's answer, which came at `received`; or says why it is none.
    pub fn read(body: &[u8], received: Instant) -> Result<Self, &'static str> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| "is not JSON as the token protocol has it")?;
        let given = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = given.ok_or("holds no token")?;
        if token.len() > MAX_TOKEN {
            return Err("holds a token that is too long");
        }
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| "holds a token that is no field's value")?;
        authorization.set_sensitive(true);
        let said = answer.expires_in.as_ref().and_then(seconds).unwrap_or(DEFAULT_LIFE);
        let life = claimed_life(&token).map_or(said, |claimed| claimed.min(said)).min(MAX_LIFE);
        Ok(Token { authorization, received, life })
    }

    /// `Authorization`.
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// When it was asked for.
    pub fn received(&self) -> Instant {
        self.received
    }

    pub fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.received) < self.life
    }

    /// Whether it need not be asked for anew: that is done when a fifth of its life is left.
    pub fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.received) < self.life * 4 / 5
    }
}

/// A number of seconds, which some write as text. What is no number, or not above 0, says nothing.
fn seconds(value: &Value) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    positive(number)
}

fn positive(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MAX_LIFE.as_secs_f64())))
}

/// How long a JWT says that it is good. Nothing of it is believed but that: it only makes our own time shorter.
fn claimed_life(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    positive(claims.exp? - claims.iat?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(body: &str) -> Duration {
        Token::read(body.as_bytes(), Instant::now()).unwrap().life
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn either_name_of_the_token_will_do() {
        for body in [
            r#"{"token":"abc"}"#,
            r#"{"access_token":"abc","token_type":"Bearer"}"#,
            r#"{"token":"","access_token":"abc"}"#,
            r#"{"token":null,"access_token":"abc","issued_at":7}"#,
            r#"{"token":"abc","access_token":"def"}"#,
        ] {
            let token = Token::read(body.as_bytes(), Instant::now()).unwrap();
            assert_eq!(token.authorization(), "Bearer abc", "{body}");
            assert!(token.authorization().is_sensitive());
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = format!("{{\"token\":\"{}\"}}", "x".repeat(MAX_TOKEN + 1));
        for body in ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":7}"#, "{\"token\":\"a\\nb\"}", "<html>", &long] {
            assert!(Token::read(body.as_bytes(), Instant::now()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_shorter_of_what_is_said_counts() {
        let of = |said: &str, claims: &str| life(&format!("{{\"token\":\"{}\"{said}}}", jwt(claims))).as_secs();
        for (said, claims, seconds) in [
            ("", "{}", 60),
            (",\"expires_in\":300", "{}", 300),
            (",\"expires_in\":\"300\"", "{}", 300),
            (",\"expires_in\":300.5", "{\"iat\":1,\"exp\":101}", 100),
            (",\"expires_in\":300", "{\"iat\":100,\"exp\":1000}", 300),
            (",\"expires_in\":0", "{}", 60),
            (",\"expires_in\":-5", "{\"exp\":5}", 60),
            (",\"expires_in\":null", "{\"iat\":9,\"exp\":5}", 60),
            (",\"expires_in\":1e300", "{}", 86_400),
            (",\"expires_in\":true", "not json", 60),
        ] {
            assert_eq!(of(said, claims), seconds, "{said} {claims}");
        }
    }

    #[test]
    fn a_token_is_asked_for_anew_before_it_ends() {
        let then = Instant::now();
        let token = Token::read(br#"{"token":"a","expires_in":100}"#, then).unwrap();
        let after = |seconds| then + Duration::from_secs(seconds);
        for (seconds, good, young) in
            [(0, true, true), (79, true, true), (80, true, false), (99, true, false), (100, false, false)]
        {
            assert_eq!((token.is_good(after(seconds)), token.is_young(after(seconds))), (good, young), "{seconds}");
        }
    }
}
