//! Redirects: each hop is judged, and sees no credentials that are not meant for it. Their URLs may be signed: nothing keeps or shows them.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout_at};

use super::RemoteError;
use super::challenge::{Offer, offers};
use super::net::{Ask, Net};
use super::token::Token;
use super::tokens::{TokenFor, Tokens};

/// Most redirects of one question.
const MAX_HOPS: usize = 5;

/// Who is shown `Authorization` besides the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Showing {
    /// The remote itself.
    Home,
    /// Whoever may give tokens for credentials.
    TokenServices,
}

/// One question by GET or HEAD, with where it may lead.
pub struct Walk<'a> {
    pub net: &'a Arc<Net>,
    /// Where nobody's tokens come from, if others than the remote may want one.
    pub tokens: Option<&'a Tokens>,
    pub method: Method,
    /// Without `Authorization`.
    pub headers: &'a HeaderMap,
    pub authorization: Option<&'a HeaderValue>,
    pub showing: Showing,
    /// Whether it may lead from TLS to none.
    pub plain: bool,
    /// Whether it may lead anywhere at all.
    pub away: bool,
    pub deadline: Instant,
}

/// The answer at the end of a walk.
pub struct Arrived {
    pub response: Response,
    /// Whether it led somewhere else first.
    pub led: bool,
    /// Whether whoever answers is the remote itself.
    pub home: bool,
    /// What the first one said besides, where it is not the one that answers.
    pub first: Option<HeaderMap>,
}

impl Walk<'_> {
    pub async fn from(&self, start: Url) -> Result<Arrived, RemoteError> {
        let mut url = start.clone();
        let mut first = None;
        for hop in 0..=MAX_HOPS {
            let mut headers = self.headers.clone();
            if let Some(authorization) = self.authorization.filter(|_| hop == 0 || self.is_shown_to(&url)) {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let mut ask = Ask { method: self.method.clone(), url: url.clone(), headers, body: Bytes::new() };
            let mut response = self.net.send(ask.clone(), self.deadline).await?;
            if hop > 0
                && let Some(token) = self.nobodys_token(&url, &response).await
            {
                ask.headers.insert(header::AUTHORIZATION, token.authorization().clone());
                response = self.net.send(ask, self.deadline).await?;
            }
            let Some(next) = self.next(&url, &response)? else {
                return Ok(Arrived { response, led: hop > 0, home: self.net.trust().is_home(&url), first });
            };
            if first.is_none() {
                first = Some(response.headers().clone());
            }
            url = next;
        }
        Err(RemoteError::Useless(format!("it redirects more than {MAX_HOPS} times")))
    }

    /// Some lead to registries that want a token of anybody. Ours are not shown there.
    async fn nobodys_token(&self, url: &Url, response: &Response) -> Option<Arc<Token>> {
        let tokens = self.tokens.filter(|_| response.status() == StatusCode::UNAUTHORIZED)?;
        if self.net.trust().is_home(url) {
            return None;
        }
        let offer = offers(response.headers()).into_iter().next()?;
        let Offer::Bearer(said) = offer else { return None };
        let realm = url.join(&said.realm).ok()?;
        let what = TokenFor { realm, service: said.service, scopes: said.scopes, login: None };
        timeout_at(self.deadline, tokens.get(self.net, &what)).await.ok()?.ok()
    }

    fn is_shown_to(&self, url: &Url) -> bool {
        match self.showing {
            Showing::Home => self.net.trust().is_home(url),
            Showing::TokenServices => self.net.trust().may_have_credentials(url).is_ok(),
        }
    }

    /// Where an answer leads; `None`: it is the last.
    fn next(&self, url: &Url, response: &Response) -> Result<Option<Url>, RemoteError> {
        if !is_redirect(response.status()) {
            return Ok(None);
        }
        if !self.away {
            return Err(RemoteError::Unsupported(response.status()));
        }
        let location = response.headers().get(LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let next = location.and_then(|location| url.join(location).ok());
        let mut next = next.ok_or_else(|| RemoteError::Useless("it redirects to nowhere".into()))?;
        next.set_fragment(None);
        if url.scheme() == "https" && next.scheme() != "https" && !self.plain {
            return Err(RemoteError::Useless("it redirects from TLS to none".into()));
        }
        Ok(Some(next))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
