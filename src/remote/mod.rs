//! Another registry on the network: how it is asked (challenge, tokens, redirects), by whose right, what is left of its budget,
//! and whether it is well. Stores nothing, and knows nothing of what is kept or who asks us.
//!
//! A question goes this way: [`breaker`] lets it out → [`budget`] says by which of our [`credentials`] → [`conversation`] puts it, and
//! [`proof`] shows what the remote wants to see ([`challenge`], [`tokens`]) → [`follow`] goes where it leads, over [`net`], no farther
//! than [`trust`] and `outbound` let it → [`answer`].

mod answer;
mod breaker;
mod budget;
mod challenge;
pub mod config;
mod conversation;
mod credentials;
mod error;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod helper;
mod kept;
mod metrics;
mod names;
mod net;
mod path;
mod proof;
mod question;
mod setup;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod tokens;
mod trust;

pub use breaker::BreakerState;
pub use budget::BudgetState;
pub use challenge::{Offer, offers};
pub use config::Config;
pub use error::{RemoteError, Throttle};
pub use metrics::Metrics;
pub use names::RemoteNames;
pub use question::{Answer, Asker, Question, What};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use parking_lot::Mutex;
use reqwest::Url;
use serde::Serialize;

use crate::telemetry::spans;
use breaker::{Breaker, Turn};
use budget::{Budget, Cost};
use conversation::{Conversation, Trouble};
use credentials::{Shown, Source};
use net::Net;
use proof::Who;
use tokens::Tokens;

/// Longest time for one question: more would overflow the clock.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// One other registry. Shared behind an `Arc`; a reload makes a new one, which takes over what the old one knows.
pub struct Remote {
    name: String,
    config: Config,
    names: RemoteNames,
    net: Arc<Net>,
    /// How it wants to see who asks, as far as that is known.
    scheme: ArcSwapOption<Scheme>,
    tokens: Tokens,
    /// Scopes that it wanted instead of the one that the specification has.
    wider: Cache<String, Vec<String>>,
    sources: Vec<Source>,
    budget: Arc<Budget>,
    breaker: Arc<Breaker>,
    /// When it was last asked, and whether it gave any answer.
    heard: Mutex<Option<(Instant, bool)>>,
    /// Whether the log has been told that a login of ours is refused.
    complained: AtomicBool,
    metrics: Arc<Metrics>,
}

/// What a remote is made of beside its configuration, given by whoever wires the rooms.
#[derive(Clone)]
pub struct Surroundings {
    pub fleet: Arc<crate::fleet::Fleet>,
    pub own: crate::outbound::OwnAddresses,
    pub metrics: Arc<Metrics>,
}

/// How a remote wants to see who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// How a remote is, for people and programs that ask.
#[derive(Clone, Debug, Serialize)]
pub struct RemoteState {
    pub name: String,
    pub registry: String,
    pub url: String,
    /// Whether it gave any answer when it was last asked; `None`: it was not asked yet.
    pub up: Option<bool>,
    /// How long ago that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_seconds: Option<u64>,
    pub breaker: BreakerState,
    pub budget: BudgetState,
}

impl Remote {
    /// The name in `[remote.NAME]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What its repositories are called, here and there.
    pub fn names(&self) -> &RemoteNames {
        &self.names
    }

    pub fn state(&self) -> RemoteState {
        let heard = *self.heard.lock();
        RemoteState {
            name: self.name.clone(),
            registry: self.config.registry.clone(),
            url: self.net.trust().base().to_string(),
            up: heard.map(|(_, up)| up),
            asked_seconds: heard.map(|(at, _)| at.elapsed().as_secs()),
            breaker: self.breaker.state(),
            budget: self.budget.state(),
        }
    }

    /// Whether a manifest may be asked for that no client waits for: the last pulls of a budget are for those who do.
    pub async fn may_spare(&self) -> Result<(), RemoteError> {
        self.budget.may_spare().await
    }

    /// Asks, and resolves with the head of the final answer, which is a success: 200, or 206 where a range was asked for. It is told
    /// whom the request passed that this task works for, so that one that goes round is ended.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answer, RemoteError> {
        let began = Instant::now();
        let mut waiting = spans::waiting(|| format!("remote {}", metrics::kind(&question.what)).into());
        let result = self.admitted(&question).await;
        if let Some(waiting) = &mut waiting {
            waiting.set("entrepot.remote", self.name.as_str());
            if let Err(error) = &result {
                waiting.fail(&error.to_string());
            }
        }
        drop(waiting);
        match &result {
            Err(RemoteError::Resting { .. } | RemoteError::Exhausted { .. }) => {}
            result => *self.heard.lock() = Some((Instant::now(), !matches!(result, Err(RemoteError::Down(_))))),
        }
        self.metrics.asked(&self.name, &question.what, &result, began.elapsed());
        result
    }

    async fn admitted(&self, question: &Question<'_>) -> Result<Answer, RemoteError> {
        let pass = self.breaker.admit().map_err(|retry_after| RemoteError::Resting { retry_after })?;
        let deadline = tokio::time::Instant::now() + question.within.min(LONGEST);
        let asked = AtomicBool::new(false);
        let answer = tokio::time::timeout_at(deadline, self.answer(question, deadline, &asked)).await;
        let answer = answer.unwrap_or_else(|_| Err(RemoteError::Down("no answer in time".into())));
        match &answer {
            // It was not asked, or may not have been.
            Err(RemoteError::Exhausted { .. } | RemoteError::Throttled(_)) => drop(pass),
            Err(RemoteError::Down(_)) if !asked.load(Ordering::Relaxed) => drop(pass),
            Err(RemoteError::Down(why)) => {
                if pass.done(false) == Some(Turn::Rests) {
                    tracing::warn!(remote = self.name, why, "a remote does not answer, and is asked only now and then");
                }
            }
            _ => {
                if pass.done(true) == Some(Turn::Well) {
                    tracing::info!(remote = self.name, "a remote answers again");
                }
            }
        }
        answer
    }

    /// Says in `asked` when the remote is asked: before that, a credential may have been long in coming.
    async fn answer(
        &self,
        question: &Question<'_>,
        deadline: tokio::time::Instant,
        asked: &AtomicBool,
    ) -> Result<Answer, RemoteError> {
        let who = self.who(question, question.head).await?;
        asked.store(true, Ordering::Relaxed);
        match Conversation::new(self, question, who, deadline)?.hold().await {
            Ok(answer) => return Ok(answer),
            Err(Trouble::Error(error)) => return Err(error),
            Err(Trouble::NoHead) => {}
        }
        let range = matches!(question.what, What::Blob(_)).then_some((0, Some(1)));
        let instead = Question { head: false, range, ..*question };
        let who = self.who(&instead, false).await?;
        match Conversation::new(self, &instead, who, deadline)?.hold().await {
            Ok(answer) => answer::as_head(answer),
            Err(Trouble::Error(error)) => Err(error),
            Err(Trouble::NoHead) => Err(RemoteError::Useless("it answers neither HEAD nor GET".into())),
        }
    }

    /// By whose right this is asked.
    async fn who(&self, question: &Question<'_>, head: bool) -> Result<Who, RemoteError> {
        if let Asker::Caller(_) = question.asker {
            self.budget.admit()?;
            let denied = RemoteError::Denied(http::StatusCode::UNAUTHORIZED);
            return Ok(Who { index: None, shown: Shown::by(question.asker).ok_or(denied)? });
        }
        let index = self.budget.choose(Cost::of(&question.what, head, false)).await?;
        let shown = match self.sources.get(index) {
            Some(source) => Shown::Login(source.login().await?),
            None => Shown::Nothing,
        };
        Ok(Who { index: Some(index), shown })
    }

    fn learn(&self, scheme: Scheme) {
        if self.scheme.load().as_deref() != Some(&scheme) {
            self.scheme.store(Some(Arc::new(scheme)));
        }
    }
}
