//! Tokens of a remote's token service: one for each credential and set of scopes, asked for once by all who need it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use moka::sync::Cache;
use reqwest::{Response, Url};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::RemoteError;
use super::budget::retry_after;
use super::credentials::Login;
use super::error::Throttle;
use super::follow::{Showing, Walk};
use super::kept::Kept;
use super::metrics::{Metrics, TokenResult};
use super::net::{Ask, Net};
use super::token::Token;

/// Tokens that are kept, of some KiB each.
const MOST: u64 = 4096;
/// For how long one that nobody asks for is.
const IDLE: Duration = Duration::from_secs(3600);
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// For everything that one question takes: others than who began it may wait for longer than that one does.
const QUESTION: Duration = Duration::from_secs(10);
/// Who we say that we are, where the token protocol wants to know.
const CLIENT: &str = "entrepot";

/// What a token is for.
#[derive(Clone)]
pub struct TokenFor {
    /// Where it is given. With a login: a host that may be sent credentials, as the caller made sure of.
    pub realm: Url,
    pub service: Option<String>,
    /// In any order.
    pub scopes: Vec<String>,
    pub login: Option<Arc<Login>>,
}

/// The tokens of one remote. Clones share them.
#[derive(Clone)]
pub struct Tokens {
    kept: Cache<[u8; 32], Arc<Kept<Token>>>,
    remote: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Tokens {
    /// `remote`: how it is called in metrics.
    pub fn new(remote: &str, metrics: Arc<Metrics>) -> Self {
        let kept = Cache::builder().max_capacity(MOST).time_to_idle(IDLE).build();
        Tokens { kept, remote: remote.into(), metrics }
    }

    /// A token that is good.
    ///
    /// # Errors
    /// `Denied`: the service refuses the login, or anybody; else what is wrong with the service.
    pub fn get(&self, net: &Arc<Net>, what: &TokenFor) -> BoxFuture<'static, Result<Arc<Token>, RemoteError>> {
        let kept = self.kept.get_with(what.key(), Arc::default);
        let (tokens, net, what) = (self.clone(), net.clone(), what.clone());
        let ask = move || {
            async move {
                let outcome = what.ask(&net).await;
                tokens.metrics.token(&tokens.remote, word(&outcome));
                outcome
            }
            .boxed()
        };
        let is_young = |token: &Token| token.is_young(Instant::now());
        async move { kept.get(is_young, |token| token.is_good(Instant::now()), ask).await }.boxed()
    }

    /// The remote says that this token is good no more.
    pub fn forget(&self, what: &TokenFor, token: &Arc<Token>) {
        if let Some(kept) = self.kept.get(&what.key()) {
            kept.forget(token);
        }
    }
}

impl TokenFor {
    fn key(&self) -> [u8; 32] {
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let login = self.login.as_ref().map(|login| login.fingerprint()).unwrap_or_default();
        let mut hash = Sha256::new();
        let parts = [self.realm.as_str(), self.service.as_deref().unwrap_or_default()].into_iter().chain(scopes);
        for part in parts.map(str::as_bytes).chain([login.as_slice()]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    async fn ask(&self, net: &Arc<Net>) -> Result<Token, RemoteError> {
        let received = Instant::now(); // before it is asked, so that it is rather thought older than it is
        let deadline = tokio::time::Instant::now() + QUESTION;
        let mut response = match self.login.as_ref().and_then(|login| login.refresh()) {
            Some(refresh) => self.post(net, refresh.reveal(), deadline).await?,
            None => None,
        };
        if response.is_none() {
            response = Some(self.get(net, deadline).await?);
        }
        let Some(response) = response else { return Err(useless("gives no answer")) };
        if response.status() != StatusCode::OK {
            return Err(refusal(&response));
        }
        let body = tokio::time::timeout_at(deadline, read(response, MAX_ANSWER));
        let body = body.await.map_err(|_| RemoteError::Down("the token service's answer does not end".into()))??;
        Token::read(&body, received).map_err(|what| useless(&format!("gives an answer that {what}")))
    }

    /// By an identity token. `None`: the service does not know this way, so it is asked the other one.
    async fn post(
        &self,
        net: &Net,
        refresh: &str,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Response>, RemoteError> {
        let mut headers = plain_headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = self.form(refresh);
        let ask = Ask { method: Method::POST, url: self.realm.clone(), headers, body };
        let response = net.send(ask, deadline).await?;
        // Each of these is what one of the great registries says to a POST.
        let unknown = matches!(response.status().as_u16(), 400 | 401 | 404 | 405);
        Ok((!unknown).then_some(response))
    }

    fn form(&self, refresh: &str) -> Bytes {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT);
        form.append_pair("refresh_token", refresh);
        if let Some(service) = &self.service {
            form.append_pair("service", service);
        }
        form.append_pair("scope", &self.scopes.join(" "));
        form.finish().into()
    }

    async fn get(&self, net: &Arc<Net>, deadline: tokio::time::Instant) -> Result<Response, RemoteError> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in &self.scopes {
                query.append_pair("scope", scope);
            }
        }
        let walk = Walk {
            net,
            tokens: None,
            method: Method::GET,
            headers: &plain_headers(),
            authorization: self.login.as_ref().map(|login| login.basic()),
            showing: Showing::TokenServices,
            plain: false,
            away: true,
            deadline,
        };
        walk.from(url).await.map(|arrived| arrived.response)
    }
}

fn word(outcome: &Result<Token, RemoteError>) -> TokenResult {
    match outcome {
        Ok(_) => TokenResult::Given,
        Err(RemoteError::Denied(_)) => TokenResult::Refused,
        Err(_) => TokenResult::Failed,
    }
}

fn plain_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

fn refusal(response: &Response) -> RemoteError {
    let status = response.status();
    match status.as_u16() {
        401 | 403 => RemoteError::Denied(status),
        429 => RemoteError::Throttled(Throttle::Abuse { retry_after: retry_after(response.headers()) }),
        408 | 500.. => RemoteError::Down(format!("its token service answers {}", status.as_u16())),
        other => useless(&format!("answers {other}")),
    }
}

fn useless(what: &str) -> RemoteError {
    RemoteError::Useless(format!("its token service {what}"))
}

/// A body of no more than so many bytes.
pub(super) async fn read(mut response: Response, most: usize) -> Result<Bytes, RemoteError> {
    let too_large = || RemoteError::Useless(format!("an answer of more than {most} bytes"));
    if response.content_length().is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    let failed = |error: reqwest::Error| RemoteError::Down(crate::outbound::causes(&error));
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > most {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_set_of_scopes_and_one_login() {
        let base = TokenFor {
            realm: "https://auth.example/token".parse().unwrap(),
            service: None,
            scopes: vec!["repository:a:pull".into(), "repository:b:pull".into()],
            login: None,
        };
        let mut other = base.clone();
        other.scopes.reverse();
        other.scopes.push("repository:a:pull".into());
        assert_eq!(base.key(), other.key());
        other.service = Some("s".into());
        assert_ne!(base.key(), other.key());
        let mut joined = base.clone();
        joined.scopes = vec!["repository:a:pullrepository:b:pull".into()];
        assert_ne!(base.key(), joined.key());
    }
}
