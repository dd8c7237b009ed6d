//! Whose a credential is, now. A token says who somebody was when it was given; whether they still are, is asked each time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use moka::sync::Cache;

use super::config::Config;
use super::credential::Credential;
use super::htpasswd::HtpasswdFile;
use super::identity::Identity;
use super::metrics::{Means, Metrics};
use super::passwords::{Outcome, Passwords, same};
use super::permit::{Permit, Refused};
use super::policy::Policy;
use super::refresh::Refreshes;
use super::robot::Secret;
use super::robots::Robots;
use super::shelf::Shelf;
use super::token::{self, Claims, Grants, KeySet, Signing, Subject};
use super::vouch::Vouched;
use super::workload::Outside;
use crate::limits::{Limited, Source};
use crate::outbound::OwnAddresses;

/// Tokens whose signature was checked, so that a pull of many layers costs it once: in bytes of them, with what was read of them
/// about twice as much.
const CHECKED: u64 = 16 << 20;
/// … and not longer than this.
const CHECKED_TIME: Duration = Duration::from_secs(60);
/// How long an upload may outlive the token that it was begun with.
const LATE: u64 = 24 * 3600;
/// What is said of a token that was good once.
const EXPIRED: &str = "has expired";
/// How often files and keys are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Finds out who asks. Shared behind an `Arc`; one for the process.
pub struct Authenticator {
    setup: ArcSwapOption<Setup>,
    pub(super) passwords: Passwords,
    pub(super) robots: Robots,
    pub(super) signing: Signing,
    checked: Cache<Arc<str>, Arc<Checked>>,
    /// Refresh tokens that were given to a user within the hour.
    pub(super) refreshes: Refreshes,
    pub(super) vouched: Vouched,
    /// Where this process listens: no issuer of others is there.
    own: OwnAddresses,
    pub(super) metrics: Arc<Metrics>,
}

/// What a configuration says. Replaced on reload.
pub(super) struct Setup {
    pub config: Config,
    pub policy: Arc<Policy>,
    htpasswd: Option<HtpasswdFile>,
    pub outside: Outside,
}

impl Setup {
    /// What a credential is by its form.
    pub(super) fn means(&self, credential: &Credential) -> Means {
        match credential {
            Credential::Basic { user, .. } if self.outside.is_workload(user) => Means::Workload,
            Credential::Bearer(_) => Means::Bearer,
            Credential::Basic { .. } | Credential::None => Means::Basic,
        }
    }

    /// The user with the password, as they are now; `None`: there is no such user. Secret.
    pub(super) fn standing(&self, user: &str) -> Option<String> {
        match (&self.config.username, &self.config.password) {
            (Some(name), Some(password)) if name == user => Some(format!("own\0{user}\0{}", password.reveal())),
            _ => {
                let users = self.htpasswd.as_ref()?.users();
                Some(format!("file\0{user}\0{}", users.version(user)?))
            }
        }
    }
}

/// A configuration that can be taken over.
pub struct Prepared(Option<Arc<Setup>>);

impl Prepared {
    /// The rules that it says.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.0.as_ref().map(|setup| setup.policy.clone())
    }
}

/// A token of ours whose signature is good.
struct Checked {
    claims: Claims,
    kid: String,
    grants: Arc<Grants>,
}

/// How somebody has proven who they are: it decides how they are told that they may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// With nothing.
    None,
    Basic,
    Bearer,
    /// When the connection began.
    Certificate,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub proof: Proof,
    /// Of a token.
    pub grants: Option<Arc<Grants>>,
    /// The token has ended, so that it is good for nothing but uploads of its subject.
    pub late: bool,
}

/// A credential was shown, and it is nobody's: never is its bearer taken for anonymous instead.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unproven {
    #[error("the credentials are wrong")]
    Wrong,
    #[error("the token {0}")]
    Token(String),
    #[error("too many logins are being checked")]
    Busy,
    #[error(transparent)]
    TooOften(Limited),
    /// Not the client's fault.
    #[error("{0}")]
    Unavailable(String),
}

impl Unproven {
    /// In a word, for counters and the audit.
    pub fn word(&self) -> &'static str {
        match self {
            Unproven::Wrong => "wrong",
            Unproven::Token(why) if why == EXPIRED => "expired",
            Unproven::Token(_) => "token",
            Unproven::Busy => "busy",
            Unproven::TooOften(_) => "limited",
            Unproven::Unavailable(_) => "unavailable",
        }
    }

    pub fn expired() -> Self {
        Unproven::Token(EXPIRED.into())
    }
}

impl Caller {
    /// Whom the certificate of a connection names.
    pub fn certified(user: &str) -> Self {
        Caller { identity: Identity::user(user), proof: Proof::Certificate, grants: None, late: false }
    }

    fn anonymous() -> Self {
        Caller { identity: Identity::Anonymous, proof: Proof::None, grants: None, late: false }
    }
}

impl Authenticator {
    pub fn new(shelf: Option<Arc<dyn Shelf>>, own: OwnAddresses, metrics: Arc<Metrics>) -> Self {
        Authenticator {
            setup: ArcSwapOption::empty(),
            passwords: Passwords::start(),
            robots: Robots::new(shelf.clone()),
            signing: Signing::new(shelf),
            checked: Cache::builder()
                .weigher(|token: &Arc<str>, _: &Arc<Checked>| u32::try_from(token.len()).unwrap_or(u32::MAX))
                .max_capacity(CHECKED)
                .time_to_live(CHECKED_TIME)
                .build(),
            refreshes: Refreshes::default(),
            vouched: Vouched::default(),
            own,
            metrics,
        }
    }

    /// What a configuration says, read and not yet in force.
    ///
    /// # Errors
    /// A sentence: rules that cannot be read, or a file of users or keys that cannot.
    pub async fn prepare(&self, config: Option<&Config>) -> Result<Prepared, String> {
        let Some(config) = config.cloned() else { return Ok(Prepared(None)) };
        let policy = Policy::new(&config).map_err(|(index, error)| format!("auth.rule.{index}: {error}"))?;
        let policy = Arc::new(policy);
        let htpasswd = match config.htpasswd.clone() {
            Some(path) => {
                let opened = tokio::task::spawn_blocking(move || HtpasswdFile::open(&path)).await;
                Some(opened.map_err(|error| error.to_string())?.map_err(|error| format!("auth.htpasswd: {error}"))?)
            }
            None => None,
        };
        let before = self.setup();
        let before = before.as_ref().map(|before| &before.outside);
        let outside = Outside::prepare(&config, before, &self.own, &self.metrics).await?;
        let setup = Setup { config, policy, htpasswd, outside };
        if let Err(error) = self.signing.keys(&setup.config.token, now()).await {
            // Storage may come later: until then there are no tokens, and Basic works.
            tracing::warn!(%error, "no tokens can be given yet");
        }
        Ok(Prepared(Some(Arc::new(setup))))
    }

    /// Takes a configuration over, at the start and on reload.
    pub fn commit(&self, prepared: Prepared) {
        self.setup.store(prepared.0);
        self.checked.invalidate_all();
        self.vouched.forget();
    }

    /// Looks at what may change beside us, until dropped: the file of users, the signing keys, and the keys of others.
    pub async fn watch(self: Arc<Self>) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(setup) = self.setup.load_full() else { continue };
            setup.outside.refresh();
            if setup.htpasswd.is_some() {
                let setup = setup.clone();
                let _ = tokio::task::spawn_blocking(move || setup.htpasswd.as_ref().map(HtpasswdFile::refresh)).await;
            }
            if let Err(error) = self.signing.refresh(&setup.config.token, now()).await {
                tracing::warn!(%error, "signing keys stay as they were");
            }
        }
    }

    pub(super) fn setup(&self) -> Option<Arc<Setup>> {
        self.setup.load_full()
    }

    /// Whose a credential is that is shown `from` there.
    pub(super) async fn prove(&self, credential: &Credential, from: Source) -> Result<Caller, Unproven> {
        let Some(setup) = self.setup() else { return Ok(Caller::anonymous()) };
        let by = |proof| move |identity| Caller { identity, proof, grants: None, late: false };
        let (means, found) = match credential {
            Credential::None => return Ok(Caller::anonymous()),
            Credential::Basic { user, password } => {
                let found = self.login(&setup, (user, password), from).await;
                (setup.means(credential), found.map(by(Proof::Basic)))
            }
            Credential::Bearer(text) if Secret::is_meant(text) => {
                (Means::Bearer, self.robot(text).await.map(by(Proof::Bearer)))
            }
            Credential::Bearer(text) => match setup.outside.bearer(text, now(), LATE).await {
                Some(found) => (Means::Verifier, found),
                None => (Means::Bearer, self.token(&setup, text).await),
            },
        };
        self.metrics.identified(means, &found);
        found
    }

    /// A name and a password, or a robot's secret or a workload's token in its place.
    async fn login(&self, setup: &Setup, (user, password): (&str, &str), from: Source) -> Result<Identity, Unproven> {
        if Secret::is_meant(password) {
            return self.robot(password).await;
        }
        if setup.outside.is_workload(user) {
            return setup.outside.workload(password, now()).await;
        }
        let mut by_file = true;
        if let (Some(name), Some(own)) = (&setup.config.username, &setup.config.password)
            && name == user
        {
            if same(own.reveal().as_bytes(), password.as_bytes()) {
                return Ok(Identity::user(user));
            }
            // It takes as long as for any other name, and the file's user of this name is not meant.
            by_file = false;
        }
        let users = setup.htpasswd.as_ref().map(HtpasswdFile::users).unwrap_or_default();
        match self.passwords.check((user, password.as_bytes()), &users, from).await {
            Ok(Outcome::Right { .. }) if by_file => Ok(Identity::user(user)),
            Ok(Outcome::Right { .. }) => Err(Unproven::Wrong),
            Ok(Outcome::Wrong) => Err(Unproven::Wrong),
            Err(_) => Err(Unproven::Busy),
        }
    }

    async fn robot(&self, text: &str) -> Result<Identity, Unproven> {
        let Some(secret) = Secret::read(text) else { return Err(Unproven::Wrong) };
        let found = self.robots.with_secret(&secret, now()).await;
        found.map_err(|error| Unproven::Unavailable(error.to_string()))?.ok_or(Unproven::Wrong)
    }

    async fn token(&self, setup: &Setup, text: &str) -> Result<Caller, Unproven> {
        let now = now();
        let checked = match self.checked.get(text) {
            Some(checked) => checked,
            None => self.check(setup, text, now).await?,
        };
        let ended = checked.claims.exp <= now;
        if ended && checked.claims.exp.saturating_add(LATE) <= now {
            return Err(Unproven::expired());
        }
        let identity = self.standing(setup, &checked, now).await?;
        Ok(Caller { identity, proof: Proof::Bearer, grants: Some(checked.grants.clone()), late: ended })
    }

    /// Checks a signature, which is remembered; also of a token that has ended, for the uploads begun with it.
    async fn check(&self, setup: &Setup, text: &str, now: u64) -> Result<Arc<Checked>, Unproven> {
        let config = &setup.config.token;
        let unavailable = |error: token::NoKeys| Unproven::Unavailable(error.to_string());
        let mut keys = self.signing.keys(config, now).await.map_err(unavailable)?;
        let mut found = keys.verify(now, text, &config.service, &config.service);
        if matches!(found, Err(token::Refused::UnknownKey))
            && let Some(newer) = self.signing.look_again(config, now).await
        {
            keys = newer;
            found = keys.verify(now, text, &config.service, &config.service);
        }
        let verified = match found {
            Ok(verified) => verified,
            Err(token::Refused::Expired(verified)) => *verified,
            Err(refused) => return Err(Unproven::Token(refused.to_string())),
        };
        let mut grants = Grants::of_token(&verified.claims.jti);
        for access in &verified.claims.access {
            grants.add(&access.kind, &access.name, &access.actions);
        }
        let checked = Arc::new(Checked { claims: verified.claims, kid: verified.kid, grants: Arc::new(grants) });
        self.checked.insert(text.into(), checked.clone());
        Ok(checked)
    }

    /// The token's subject as it stands now.
    async fn standing(&self, setup: &Setup, checked: &Checked, now: u64) -> Result<Identity, Unproven> {
        let claims = &checked.claims;
        let gone = || Unproven::Token("is of somebody who is not there any more, or has another password".into());
        match &claims.ent {
            Subject::Anonymous => Ok(Identity::Anonymous),
            Subject::User { version } => {
                let keys = self.signing.present().ok_or_else(gone)?;
                let present = self.version(setup, &keys, &checked.kid, &claims.sub).ok_or_else(gone)?;
                if present == *version { Ok(Identity::user(&claims.sub)) } else { Err(gone()) }
            }
            Subject::Robot { id } => {
                let found = self.robots.with_id(id, now).await;
                found.map_err(|error| Unproven::Unavailable(error.to_string()))?.ok_or_else(gone)
            }
            Subject::Workload { version } => setup.outside.standing(version, &claims.sub).ok_or_else(gone),
        }
    }

    /// What ties a token to the password that its user has now; `None`: there is no such user.
    pub(super) fn version(&self, setup: &Setup, keys: &KeySet, kid: &str, user: &str) -> Option<String> {
        keys.bind(kid, setup.standing(user)?.as_bytes())
    }

    pub(super) fn minted(&self, identity: &Identity) {
        self.metrics.minted(identity);
    }

    /// Counts a refusal.
    pub fn denied(&self, refused: Refused, anonymous: bool) {
        self.metrics.denied(refused, anonymous);
    }

    /// The keys that others may check our tokens with: a JWKS document.
    pub async fn jwks(&self) -> Result<Option<String>, String> {
        let Some(setup) = self.setup() else { return Ok(None) };
        let keys = self.signing.keys(&setup.config.token, now()).await.map_err(|error| error.to_string())?;
        Ok(Some(keys.jwks()))
    }

    /// The name of the token service, in challenges.
    pub fn service(&self) -> Option<String> {
        let setup = self.setup()?;
        let outside = setup.outside.realm().map(|(_, service)| service.to_owned());
        outside.or_else(|| Some(setup.config.token.service.clone()))
    }

    /// Where tokens are given, if the configuration says.
    pub fn realm(&self) -> Option<String> {
        let setup = self.setup()?;
        setup.outside.realm().map(|(realm, _)| realm.to_owned()).or_else(|| setup.config.realm.clone())
    }
}

impl Caller {
    pub fn permit(&self, policy: &Arc<Policy>, host: &str, address: std::net::IpAddr) -> Permit {
        Permit::new(policy.clone(), (self.identity.clone(), self.grants.clone(), self.late), host, address)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
