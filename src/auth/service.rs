//! What the token endpoint answers (distribution's token protocol, and its OAuth2 form): a token for what was asked for, as far
//! as the rules allow it. Asking for too much is no error; a wrong password is, and never gives a token for nobody.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::authenticator::{Authenticator, Caller, Proof, Setup, Unproven, now};
use super::credential::Credential;
use super::identity::{Identity, Kind};
use super::logins::Shown;
use super::metrics::Means;
use super::permission::Permission;
use super::policy::{Asked, Asker, Policy};
use super::token::{Access, KeySet, Minted, Scope, Subject};
use super::turned_away::{TurnedAway, claimed};
use super::workload::USER;
use crate::oci::RepositoryName;
use crate::oci::action::query_values;

/// A form is no longer than this, in bytes: 32 scopes of the longest names.
pub const MAX_FORM: usize = 16 << 10;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// An OIDC issuer's token is both.
const SUBJECT_TOKENS: [&str; 2] = ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

/// What somebody asks of the token endpoint.
pub struct Ask<'a> {
    /// From `Authorization`.
    pub credential: Credential,
    /// Query and form, one after the other: each is `name=value&…`.
    pub parameters: &'a [&'a str],
    /// POST: the OAuth2 form of the answer.
    pub form: bool,
    pub host: &'a str,
    pub shown: Shown<'a>,
    /// The name that rules know a repository by which clients may ask for by another at this host; `None`: none.
    pub canonical: &'a (dyn Fn(&RepositoryName) -> Option<RepositoryName> + Sync),
}

/// How the token was asked for, in POST's `grant_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// With a name and a password, or none.
    Login,
    /// With what was given instead of a password.
    Refresh,
    /// A workload's token for one of ours (RFC 8693).
    Exchange,
    Unsupported,
}

/// What is answered.
pub enum Answer {
    /// 200 with this JSON, for no cache to keep.
    Token { body: String, identity: Identity },
    /// 400 with OAuth2's error.
    Refused(&'static str),
    /// What was to be exchanged is nobody's: 400, as a failed login.
    NotExchanged(Unproven),
    /// 401, 429 or 503.
    Unproven(Unproven),
}

impl Authenticator {
    /// Gives a token.
    pub async fn give(&self, ask: &Ask<'_>) -> Answer {
        let Some(setup) = self.setup() else { return Answer::Refused("unsupported_response_type") };
        let value = |key| ask.value(key);
        let exchange = ask.grant() == Grant::Exchange;
        // A token exchange may name it as RFC 8693 does.
        let audience = if exchange { value("audience") } else { None };
        if [value("service"), audience].into_iter().flatten().any(|service| service != setup.config.token.service) {
            // Never a token for somebody else's service.
            return Answer::Refused("invalid_target");
        }
        let credential = match ask.grant() {
            Grant::Unsupported => return Answer::Refused("unsupported_grant_type"),
            Grant::Refresh if !setup.config.refresh_tokens => return Answer::Refused("unsupported_grant_type"),
            Grant::Refresh => return self.give_again(&setup, ask, &value("refresh_token").unwrap_or_default()).await,
            Grant::Exchange => match ask.exchanged() {
                Ok(credential) => credential,
                Err(error) => return Answer::Refused(error),
            },
            Grant::Login => match (&ask.credential, value("username"), value("password")) {
                (Credential::None, user, password) if ask.form => {
                    Credential::login(&user.unwrap_or_default(), &password.unwrap_or_default())
                }
                _ => ask.credential.clone(),
            },
        };
        if matches!(&credential, Credential::Bearer(_)) {
            // A token that gives tokens would never end.
            return Answer::Unproven(Unproven::Token("gives no tokens: use a password or a robot's secret".into()));
        }
        if exchange && !setup.outside.is_workload(USER) {
            return Answer::Refused("unsupported_grant_type");
        }
        let caller = match self.identify(&credential, &ask.shown).await {
            Ok(caller) => caller,
            // RFC 8693 §2.2.2.
            Err(unproven @ Unproven::Token(_)) if exchange => {
                tracing::debug!(why = %unproven, "a token is not exchanged");
                return Answer::NotExchanged(unproven);
            }
            Err(unproven) => return Answer::Unproven(unproven),
        };
        let refresh = match ask.wants_refresh() && matches!(credential, Credential::Basic { .. }) {
            true => self.refresh_token(&setup, &caller.identity).await,
            false => None,
        };
        self.answer(&setup, ask, caller, refresh).await
    }

    /// Gives a token to who shows what was given instead of a password, which stays as it is.
    async fn give_again(&self, setup: &Setup, ask: &Ask<'_>, shown: &str) -> Answer {
        let proven = self.refresh(setup, shown);
        match self.counted(&ask.shown, (None, shown), Means::Refresh, proven).await {
            Ok(caller) => self.answer(setup, ask, caller, Some(shown.to_owned())).await,
            Err(unproven) => Answer::Unproven(unproven),
        }
    }

    async fn answer(&self, setup: &Setup, ask: &Ask<'_>, caller: Caller, refresh: Option<String>) -> Answer {
        let access = granted(&setup.policy, &caller.identity, ask, &scopes(ask));
        match self.mint(setup, &caller, access.clone()).await {
            Ok(minted) => Answer::Token { body: body(&minted, &access, ask, refresh), identity: caller.identity },
            Err(unproven) => Answer::Unproven(unproven),
        }
    }

    async fn mint(&self, setup: &Setup, caller: &Caller, access: Vec<Access>) -> Result<Minted, Unproven> {
        let token = &setup.config.token;
        let now = now();
        let unavailable = |why: String| Unproven::Unavailable(why);
        let keys = self.signing.keys(token, now).await.map_err(|error| unavailable(error.to_string()))?;
        let subject = self.subject(setup, &keys, &caller.identity, now).ok_or(Unproven::Wrong)?;
        let name = caller.identity.known().map_or("", |known| known.name.as_str());
        let minted = keys.mint(now, token, (name, subject), access);
        self.minted(&caller.identity);
        minted.map_err(|error| unavailable(error.to_string()))
    }

    /// What a token says of its subject, beside the name.
    fn subject(&self, setup: &Setup, keys: &KeySet, identity: &Identity, now: u64) -> Option<Subject> {
        let Some(known) = identity.known() else { return Some(Subject::Anonymous) };
        Some(match known.kind {
            Kind::User => {
                let signer = keys.signer(now)?;
                Subject::User { version: self.version(setup, keys, signer.kid(), &known.name)? }
            }
            Kind::Robot => Subject::Robot { id: known.secret.clone()? },
            Kind::Workload => Subject::Workload { version: known.secret.clone()? },
        })
    }
}

impl Ask<'_> {
    /// Why nothing was given, for those who record it.
    pub fn turned_away(&self, why: &Unproven) -> TurnedAway {
        match (&self.credential, self.value("username")) {
            (Credential::None, Some(user)) if self.form => {
                let password = self.value("password").filter(|password| !password.is_empty());
                let claimed = password.and_then(|_| claimed(&user));
                TurnedAway::Unproven { why: why.word(), claimed, proof: Proof::Basic }
            }
            (shown, _) => TurnedAway::unproven(why, Some(shown)),
        }
    }

    /// The same of a token that was to be exchanged.
    pub fn not_exchanged(why: &Unproven) -> TurnedAway {
        TurnedAway::Unproven { why: why.word(), claimed: Some(USER.to_owned()), proof: Proof::Bearer }
    }

    /// The first value of a parameter.
    fn value(&self, key: &str) -> Option<String> {
        self.parameters.iter().find_map(|part| query_values(part, key).next().flatten())
    }

    /// Whether the client would keep something instead of the password: docker asks with each login.
    fn wants_refresh(&self) -> bool {
        self.value("offline_token").as_deref() == Some("true")
            || self.value("access_type").as_deref() == Some("offline")
    }

    /// The credential that is exchanged: RFC 8693 §2.1, of which one token for another of the same bearer is all that is taken.
    fn exchanged(&self) -> Result<Credential, &'static str> {
        let value = |key| self.value(key);
        let token = value("subject_token").filter(|token| !token.is_empty()).ok_or("invalid_request")?;
        let kind = value("subject_token_type").unwrap_or_default();
        let wanted = value("requested_token_type").is_none_or(|kind| kind == ACCESS_TOKEN);
        if !SUBJECT_TOKENS.contains(&kind.as_str()) || !wanted || value("actor_token").is_some() {
            return Err("invalid_request");
        }
        if !matches!(self.credential, Credential::None) {
            // Which of two is meant is anybody's guess.
            return Err("invalid_request");
        }
        Ok(Credential::login(USER, &token))
    }

    fn grant(&self) -> Grant {
        match self.value("grant_type").as_deref() {
            None | Some("password") => Grant::Login,
            Some("refresh_token") => Grant::Refresh,
            Some(EXCHANGE) if self.form => Grant::Exchange,
            Some(_) => Grant::Unsupported,
        }
    }
}

/// What nobody in particular would be given for a query.
#[cfg(any(test, fuzzing))]
pub(super) fn given_for(policy: &Policy, query: &str) -> Vec<Access> {
    let shown = Shown { address: std::net::Ipv4Addr::LOCALHOST.into(), limits: None };
    let canonical = &|name: &RepositoryName| Some(name.clone());
    let ask = Ask { credential: Credential::None, parameters: &[query], form: true, host: "", shown, canonical };
    let _ = (ask.grant(), ask.value("username"), ask.value("password"));
    granted(policy, &Identity::Anonymous, &ask, &scopes(&ask))
}

fn scopes(ask: &Ask<'_>) -> Vec<Access> {
    let texts = ask.parameters.iter().flat_map(|part| query_values(part, "scope")).flatten();
    let canonical = |text: &str| Some((ask.canonical)(&text.parse().ok()?)?.to_string());
    Scope::parse(texts, canonical).access
}

/// What of it the rules allow, by the host and from the address that the token was asked by.
fn granted(policy: &Policy, identity: &Identity, ask: &Ask<'_>, wanted: &[Access]) -> Vec<Access> {
    let asker = Asker { identity, host: ask.host, address: ask.shown.address };
    let may = |permission, asked: Asked<'_>| policy.decide(&asker, permission, asked).allowed;
    let allowed = |access: &Access| -> Vec<String> {
        let wants = |word: &str| access.actions.iter().any(|action| action == word || action == "*");
        match access.kind.as_str() {
            "registry" if access.name == "catalog" && wants("*") && may(Permission::Catalog, Asked::Anywhere) => {
                vec!["*".to_owned()]
            }
            "repository" => {
                let Ok(name) = access.name.parse::<RepositoryName>() else { return Vec::new() };
                let words = [("pull", Permission::Pull), ("push", Permission::Push), ("delete", Permission::Delete)];
                let given =
                    words.into_iter().filter(|(word, permission)| wants(word) && may(*permission, Asked::In(&name)));
                given.map(|(word, _)| word.to_owned()).collect()
            }
            _ => Vec::new(),
        }
    };
    let given = wanted.iter().map(|access| Access { actions: allowed(access), ..access.clone() });
    given.filter(|access| !access.actions.is_empty()).collect()
}

/// Both names of the token, since clients differ.
fn body(minted: &Minted, access: &[Access], ask: &Ask<'_>, refresh: Option<String>) -> String {
    let issued = UNIX_EPOCH + Duration::from_secs(minted.issued_at);
    let mut body = json!({
        "token": minted.token,
        "access_token": minted.token,
        "expires_in": minted.expires_in,
        "issued_at": humantime::format_rfc3339_seconds(issued).to_string(),
    });
    if let (Some(refresh), Some(fields)) = (refresh, body.as_object_mut()) {
        fields.insert("refresh_token".into(), refresh.into());
    }
    if ask.form
        && let Some(fields) = body.as_object_mut()
    {
        let words = access.iter().map(|access| format!("{}:{}:{}", access.kind, access.name, access.actions.join(",")));
        fields.insert("scope".into(), words.collect::<Vec<_>>().join(" ").into());
        fields.insert("token_type".into(), "Bearer".into());
        if ask.grant() == Grant::Exchange {
            fields.insert("issued_token_type".into(), ACCESS_TOKEN.into());
        }
    }
    body.to_string()
}
