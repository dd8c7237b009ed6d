//! What is shown of who asks, and what a refusal changes about that: the way of the remote is learned, tokens are got, replaced and
//! widened, helpers asked again. Each of these happens once in a question.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::timeout_at;

use super::budget::Cost;
use super::challenge::{Bearer, Offer, offers};
use super::credentials::{Login, Shown};
use super::error::Throttle;
use super::token::Token;
use super::tokens::TokenFor;
use super::{Remote, RemoteError, Scheme};

/// Most scopes of one token.
const MAX_SCOPES: usize = 16;

/// By whose right is asked.
pub struct Who {
    /// Which of our own credentials it is; `None`: a caller's.
    pub index: Option<usize>,
    pub shown: Shown,
}

/// What was shown last.
enum Used {
    Nothing,
    Basic,
    Bearer(TokenFor, Arc<Token>),
    /// What a caller shows.
    Other,
}

/// What comes after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Again,
    /// Again, if there is another login.
    Renew,
    Refused,
}

/// What one question shows.
pub struct Proof<'a> {
    remote: &'a Remote,
    who: Who,
    deadline: tokio::time::Instant,
    began: Instant,
    /// The scope that the specification has for the question, if it needs one.
    plain: Option<String>,
    scopes: Vec<String>,
    used: Used,
    moved: bool,
    widened: bool,
    dropped: bool,
    renewed: bool,
}

impl<'a> Proof<'a> {
    pub fn new(remote: &'a Remote, who: Who, scope: Option<String>, deadline: tokio::time::Instant) -> Self {
        Proof {
            remote,
            who,
            deadline,
            began: Instant::now(),
            scopes: scope
                .iter()
                .flat_map(|scope| remote.wider.get(scope).unwrap_or_else(|| vec![scope.clone()]))
                .collect(),
            plain: scope,
            used: Used::Nothing,
            moved: false,
            widened: false,
            dropped: false,
            renewed: false,
        }
    }

    /// Which of our own credentials it is; `None`: a caller's.
    pub fn index(&self) -> Option<usize> {
        self.who.index
    }

    /// What is shown at first, by what is known of how the remote wants it.
    pub async fn authorization(&mut self) -> Result<Option<HeaderValue>, RemoteError> {
        let login = match &self.who.shown {
            Shown::Token(token) => {
                self.used = Used::Other;
                return Ok(Some(token.clone()));
            }
            Shown::Login(login) => Some(login.clone()),
            Shown::Nothing => None,
        };
        let known = self.remote.scheme.load_full();
        let (used, authorization) = match known.as_deref() {
            None => (Used::Nothing, None),
            Some(Scheme::Basic) => match login {
                Some(login) => (Used::Basic, Some(login.basic().clone())),
                None => (Used::Nothing, None),
            },
            // The remote's next challenge may know another way, or it is told why there is none.
            Some(Scheme::Bearer { realm, .. })
                if login.is_some() && self.remote.net.trust().may_have_credentials(realm).is_err() =>
            {
                (Used::Nothing, None)
            }
            Some(Scheme::Bearer { realm, service }) => {
                let what =
                    TokenFor { realm: realm.clone(), service: service.clone(), scopes: self.scopes.clone(), login };
                let got = timeout_at(self.deadline, self.remote.tokens.get(&self.remote.net, &what)).await;
                let token =
                    got.map_err(|_| RemoteError::Down("its token service does not answer in time".into()))??;
                let authorization = token.authorization().clone();
                (Used::Bearer(what, token), Some(authorization))
            }
        };
        self.used = used;
        Ok(authorization)
    }

    /// There is no token: whether another login, or another way, gives hope of one. Else why there is none.
    pub async fn recovers(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        let again = match &error {
            RemoteError::Denied(status) => self.renew(*status).await,
            RemoteError::Useless(_) | RemoteError::Down(_) => {
                // What is known of how it wants to be asked may be of yesterday: it is asked without, for a new challenge.
                self.remote.scheme.store(None);
                matches!(error, RemoteError::Useless(_)) && once(&mut self.moved) == Step::Again
            }
            RemoteError::Throttled(Throttle::Abuse { retry_after }) => return Err(self.throttled(*retry_after)),
            _ => false,
        };
        if again { Ok(()) } else { Err(error) }
    }

    /// The token service wants fewer requests: so the remote is left alone too.
    fn throttled(&self, retry_after: Option<Duration>) -> RemoteError {
        let after = retry_after.map(|after| (RETRY_AFTER, HeaderValue::from(after.as_secs())));
        let headers = HeaderMap::from_iter(after);
        RemoteError::Throttled(self.remote.budget.refused(self.who.index, Cost::Free, &headers, &[]))
    }

    /// Whether a refusal may be over when it is asked once more.
    pub async fn answers(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<bool, RemoteError> {
        let step = match status {
            StatusCode::UNAUTHORIZED => self.challenged(headers)?,
            _ => self.forbidden(headers)?,
        };
        Ok(match step {
            Step::Again => true,
            Step::Refused => false,
            Step::Renew => self.renew(status).await,
        })
    }

    /// It was let in.
    pub fn served(&self) {
        if matches!(self.who.shown, Shown::Login(_)) && self.who.index.is_some() {
            self.remote.complained.store(false, Ordering::Relaxed);
        }
    }

    /// A 401.
    fn challenged(&mut self, headers: &HeaderMap) -> Result<Step, RemoteError> {
        let login = match &self.who.shown {
            Shown::Token(_) => return Ok(Step::Refused),
            Shown::Login(login) => Some(login.clone()),
            Shown::Nothing => None,
        };
        match self.choose(headers, login.as_ref())? {
            None => Ok(match &self.used {
                // No challenge: what was shown may still be too old.
                Used::Bearer(..) => self.drop_token(false),
                _ => Step::Refused,
            }),
            Some((Scheme::Basic, _)) => {
                self.remote.learn(Scheme::Basic);
                Ok(if matches!(self.used, Used::Basic) { Step::Renew } else { Step::Again })
            }
            Some((scheme, said)) => Ok(self.bearer(scheme, said)),
        }
    }

    /// The best offer that can be taken up; `None`: there is none.
    fn choose(&self, headers: &HeaderMap, login: Option<&Arc<Login>>) -> Result<Option<(Scheme, Bearer)>, RemoteError> {
        let trust = self.remote.net.trust();
        let mut trouble = None;
        for offer in offers(headers) {
            match offer {
                Offer::Bearer(said) => {
                    let Ok(realm) = trust.base().join(&said.realm) else { continue };
                    match login.map_or(Ok(()), |_| trust.may_have_credentials(&realm)) {
                        Ok(()) => {
                            return Ok(Some((Scheme::Bearer { realm, service: said.service.clone() }, said)));
                        }
                        Err(error) => trouble = trouble.or(Some(error)),
                    }
                }
                Offer::Basic if login.is_some() => return Ok(Some((Scheme::Basic, Bearer::default()))),
                Offer::Basic => {}
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// A Bearer challenge, of a realm that may be asked.
    fn bearer(&mut self, scheme: Scheme, said: Bearer) -> Step {
        let same = self.remote.scheme.load().as_deref() == Some(&scheme);
        self.remote.learn(scheme);
        let more = said.scopes.iter().any(|scope| !self.scopes.contains(scope));
        match &self.used {
            Used::Bearer(..) if !same => once(&mut self.moved),
            Used::Bearer(..) if more => {
                let new: Vec<_> = said.scopes.into_iter().filter(|scope| !self.scopes.contains(scope)).collect();
                self.want(self.scopes.iter().cloned().chain(new).collect());
                once(&mut self.widened)
            }
            Used::Bearer(..) if said.error.as_deref() == Some("insufficient_scope") => Step::Refused,
            Used::Bearer(..) => self.drop_token(said.error.as_deref() == Some("invalid_token")),
            _ => {
                if more {
                    self.want(said.scopes);
                }
                Step::Again
            }
        }
    }

    /// The remote wants other scopes than the specification has: next time they are asked for at once.
    fn want(&mut self, scopes: Vec<String>) {
        self.scopes = scopes;
        self.scopes.truncate(MAX_SCOPES);
        if let Some(plain) = &self.plain {
            self.remote.wider.insert(plain.clone(), self.scopes.clone());
        }
    }

    /// `invalid`: the remote says that it is the token. One that is new has no better one.
    fn drop_token(&mut self, invalid: bool) -> Step {
        let Used::Bearer(what, token) = &self.used else { return Step::Refused };
        if !invalid && token.received() >= self.began {
            return Step::Refused;
        }
        self.remote.tokens.forget(what, token);
        once(&mut self.dropped)
    }

    /// A 403: who is asked may mean 401 by it.
    fn forbidden(&mut self, headers: &HeaderMap) -> Result<Step, RemoteError> {
        match &self.used {
            // Logins that clouds give for some hours end with this, and sometimes before their time.
            Used::Basic => Ok(Step::Renew),
            Used::Bearer(..) if !offers(headers).is_empty() => self.challenged(headers),
            _ => Ok(Step::Refused),
        }
    }

    /// Our login was refused: asks a helper again for one, once.
    async fn renew(&mut self, refused: StatusCode) -> bool {
        let (Some(index), Shown::Login(login)) = (self.who.index, &self.who.shown) else { return false };
        let source = self.remote.sources.get(index).filter(|_| !self.renewed);
        self.renewed = true;
        let new = match source {
            Some(source) => source.renew(login).await,
            None => None,
        };
        if let Some(login) = new {
            self.who.shown = Shown::Login(login);
            return true;
        }
        // Without this a wrong password looks as if nothing were there. Once: it is so for each question.
        if refused == StatusCode::UNAUTHORIZED && !self.remote.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(remote = self.remote.name, credential = index, "a remote refuses a login of ours");
        }
        false
    }
}

fn once(done: &mut bool) -> Step {
    if std::mem::replace(done, true) { Step::Refused } else { Step::Again }
}
