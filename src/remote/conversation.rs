//! One question, until it is answered or refused.

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode, Version};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout_at};

use super::budget::{Cost, MAX_REFUSAL};
use super::follow::{Arrived, Showing, Walk};
use super::proof::{Proof, Who};
use super::question::{Answer, Question, What};
use super::tokens::read;
use super::{Remote, RemoteError, answer, path, status};
use crate::outbound::via;
use crate::telemetry::spans;

/// Most times that one question is put: a challenge, a token that is good no more, a scope too small, a login that ended.
const MAX_TRIES: usize = 6;

/// Why there is no answer.
pub enum Trouble {
    /// HEAD cannot be asked; GET perhaps can.
    NoHead,
    Error(RemoteError),
}

impl From<RemoteError> for Trouble {
    fn from(error: RemoteError) -> Self {
        Trouble::Error(error)
    }
}

/// One question under way.
pub struct Conversation<'a> {
    remote: &'a Remote,
    question: &'a Question<'a>,
    cost: Cost,
    deadline: Instant,
    url: Url,
    headers: HeaderMap,
    proof: Proof<'a>,
}

impl<'a> Conversation<'a> {
    pub fn new(
        remote: &'a Remote,
        question: &'a Question<'a>,
        who: Who,
        deadline: Instant,
    ) -> Result<Self, RemoteError> {
        Ok(Conversation {
            remote,
            question,
            cost: Cost::of(&question.what, question.head, false),
            deadline,
            url: path::url(remote.net.trust().base(), question)?,
            headers: headers(question)?,
            proof: Proof::new(remote, who, path::scope(question), deadline),
        })
    }

    pub async fn hold(mut self) -> Result<Answer, Trouble> {
        for _ in 0..MAX_TRIES {
            let authorization = match self.proof.authorization().await {
                Ok(authorization) => authorization,
                Err(error) => {
                    self.proof.recovers(error).await?;
                    continue;
                }
            };
            let arrived = self.ask(authorization.as_ref()).await?;
            let status = arrived.response.status();
            if status != StatusCode::TOO_MANY_REQUESTS {
                let said = arrived.first.as_ref().unwrap_or(arrived.response.headers());
                self.remote.budget.note(self.proof.index(), self.cost, said, status.is_success());
            }
            let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !arrived.led;
            if !refused {
                return self.conclude(arrived).await;
            }
            if !self.proof.answers(status, arrived.response.headers()).await? {
                return Err(RemoteError::Denied(status).into());
            }
        }
        Err(RemoteError::Useless("it asks for something else each time".into()).into())
    }

    async fn ask(&self, authorization: Option<&HeaderValue>) -> Result<Arrived, RemoteError> {
        let walk = Walk {
            net: &self.remote.net,
            tokens: Some(&self.remote.tokens),
            method: if self.question.head { Method::HEAD } else { Method::GET },
            headers: &self.headers,
            authorization,
            showing: Showing::Home,
            plain: path::is_proven(self.question),
            // Some lead these to their web pages.
            away: !matches!(self.question.what, What::Referrers(..)),
            deadline: self.deadline,
        };
        walk.from(self.url.clone()).await
    }

    /// Neither 401 nor 403 of the remote itself.
    async fn conclude(&self, arrived: Arrived) -> Result<Answer, Trouble> {
        let status = arrived.response.status();
        let (question, read_time) = (self.question, self.remote.config.timeouts.read.0);
        if status.is_success() {
            self.proof.served();
            return Ok(answer::answer(arrived.response, question.range, question.head, read_time)?);
        }
        if question.head && status::is_no_head(status, arrived.home) {
            return Err(Trouble::NoHead);
        }
        let first_byte = question.range == Some((0, Some(1)));
        if status == StatusCode::RANGE_NOT_SATISFIABLE
            && first_byte
            && answer::is_of_nothing(arrived.response.headers())
        {
            return Ok(answer::of_nothing());
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.throttled(arrived.response).await.into());
        }
        Err(status::error(status, arrived.home).into())
    }

    async fn throttled(&self, response: Response) -> RemoteError {
        let headers = response.headers().clone();
        let body = timeout_at(self.deadline, read(response, MAX_REFUSAL)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let throttle = self.remote.budget.refused(self.proof.index(), self.cost, &headers, &body);
        match self.question.what {
            What::Referrers(..) => RemoteError::Unsupported(StatusCode::TOO_MANY_REQUESTS),
            _ => RemoteError::Throttled(throttle),
        }
    }
}

fn headers(question: &Question<'_>) -> Result<HeaderMap, RemoteError> {
    let mut headers = HeaderMap::new();
    path::accept(question, &mut headers);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some((start, end)) = question.range.filter(|range| *range != (0, None)) {
        if end.is_some_and(|end| end <= start) {
            return Err(RemoteError::Useless("nothing is asked for".into()));
        }
        let last = end.map(|end| (end - 1).to_string()).unwrap_or_default();
        let range = HeaderValue::from_str(&format!("bytes={start}-{last}"));
        headers.insert(RANGE, range.map_err(|_| RemoteError::Useless("a range that cannot be written".into()))?);
    }
    for value in via::Passed::here().values() {
        headers.append(http::header::VIA, value.clone());
    }
    via::add(&mut headers, Version::HTTP_11);
    spans::hand_on(&mut headers);
    Ok(headers)
}
