//! What commands have in common that speak with a registry as its clients do: what its challenges want to see, and what it answers.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use super::access::Access;
use super::words::printable;
use crate::outbound::causes;
use crate::remote::{Offer, offers};

/// We read no more than this of an answer whose length others decide, in bytes.
pub const MAX_ANSWER: usize = 1 << 20;
/// A reason of a registry's is shown up to here, in characters.
const MAX_REASON: usize = 200;

/// Who proves who asks.
pub struct Prover<'a> {
    pub client: &'a Client,
    /// Of the registry.
    pub base: &'a Url,
    pub access: Option<&'a Access>,
}

impl Prover<'_> {
    /// What a challenge wants to see; `None`: it is not to be had.
    ///
    /// # Errors
    /// For people: the token's endpoint is none, or gives nothing.
    pub async fn proof(&self, challenge: &HeaderMap) -> Result<Option<HeaderValue>, String> {
        for offer in offers(challenge) {
            match offer {
                Offer::Basic => {
                    let Some(access) = self.access else { continue };
                    return Ok(Some(access.basic()));
                }
                Offer::Bearer(bearer) => {
                    let mut realm =
                        self.base.join(&bearer.realm).map_err(|_| "the challenge names no realm".to_owned())?;
                    let near = realm.origin() == self.base.origin();
                    if realm.scheme() != "https" && !near && self.access.is_some() {
                        return Err(format!(
                            "tokens are given at {}, by plain http: the password is not sent there",
                            realm.host_str().unwrap_or_default()
                        ));
                    }
                    if let Some(service) = &bearer.service {
                        realm.query_pairs_mut().append_pair("service", service);
                    }
                    for scope in &bearer.scopes {
                        realm.query_pairs_mut().append_pair("scope", scope);
                    }
                    return self.token(realm).await;
                }
            }
        }
        Ok(None)
    }

    async fn token(&self, realm: Url) -> Result<Option<HeaderValue>, String> {
        let mut request = self.client.request(Method::GET, realm);
        if let Some(access) = self.access {
            request = request.header(AUTHORIZATION, access.basic());
        }
        let answer = request.send().await.map_err(|error| format!("the token's endpoint: {}", causes(&error)))?;
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(format!("the token's endpoint answers {}", status.as_u16()));
        }
        let answer: Value = serde_json::from_slice(&body(answer, MAX_ANSWER).await?).unwrap_or_default();
        let token = answer["token"].as_str().or(answer["access_token"].as_str());
        let token = token.ok_or("the token's endpoint gives no token")?;
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| "the token is none".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// All of a body that has no more bytes than this.
///
/// # Errors
/// For people: it breaks off, or is longer.
pub async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| causes(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > most {
            return Err(format!("the answer is longer than {most} bytes"));
        }
    }
    Ok(body)
}

/// What a registry says of a refusal, without what a terminal would obey.
pub async fn reason(answer: Response) -> String {
    let body = body(answer, MAX_ANSWER).await.unwrap_or_default();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (code, message) = (&told["errors"][0]["code"], &told["errors"][0]["message"]);
    let text = match (code.as_str(), message.as_str()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => "no reason given".to_owned(),
    };
    printable(&text.chars().take(MAX_REASON).collect::<String>())
}
