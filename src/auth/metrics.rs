//! Counts of logins and tokens.

use prometheus::{IntCounterVec, Opts, Registry};

use super::authenticator::{Caller, Unproven};
use super::identity::Identity;
use super::permit::Refused;

/// Made once for the process.
pub struct Metrics {
    logins: IntCounterVec,
    tokens: IntCounterVec,
    key_fetches: IntCounterVec,
    denials: IntCounterVec,
}

/// What was shown: a password or a robot's secret, a token of ours, a workload's, another token service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    Basic,
    Bearer,
    Workload,
    Verifier,
    /// What was given instead of a password.
    Refresh,
}

impl Means {
    const ALL: [Means; 5] = [Means::Basic, Means::Bearer, Means::Workload, Means::Verifier, Means::Refresh];

    fn word(self) -> &'static str {
        match self {
            Means::Basic => "basic",
            Means::Bearer => "bearer",
            Means::Workload => "workload",
            Means::Verifier => "verifier",
            Means::Refresh => "refresh",
        }
    }
}

const SUBJECTS: [&str; 4] = ["anonymous", "user", "robot", "workload"];
const FETCHES: [&str; 2] = ["ok", "failed"];
const RESULTS: [&str; 6] = ["ok", "wrong", "token", "busy", "limited", "unavailable"];
const REASONS: [&str; 3] = ["anonymous", "rules", "token"];

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let logins =
            Opts::new("entrepot_auth_logins_total", "Credentials that were shown, by kind and what came of them.");
        let logins = IntCounterVec::new(logins, &["kind", "result"])?;
        for means in Means::ALL {
            for result in RESULTS {
                logins.with_label_values(&[means.word(), result]);
            }
        }
        let tokens =
            Opts::new("entrepot_auth_tokens_total", "Tokens that were given, by the kind of who they are for.");
        let tokens = IntCounterVec::new(tokens, &["kind"])?;
        for kind in SUBJECTS {
            tokens.with_label_values(&[kind]);
        }
        let fetches =
            Opts::new("entrepot_auth_key_fetches_total", "Questions for the keys of others, by what came of them.");
        let key_fetches = IntCounterVec::new(fetches, &["result"])?;
        for result in FETCHES {
            key_fetches.with_label_values(&[result]);
        }
        let denials = Opts::new("entrepot_auth_denials_total", "Requests that were refused, by what said no.");
        let denials = IntCounterVec::new(denials, &["reason"])?;
        for reason in REASONS {
            denials.with_label_values(&[reason]);
        }
        registry.register(Box::new(logins.clone()))?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(key_fetches.clone()))?;
        registry.register(Box::new(denials.clone()))?;
        Ok(Metrics { logins, tokens, key_fetches, denials })
    }

    pub(super) fn identified(&self, means: Means, found: &Result<Caller, Unproven>) {
        let result = match found {
            Ok(_) => "ok",
            Err(Unproven::Wrong) => "wrong",
            Err(Unproven::Token(_)) => "token",
            Err(Unproven::Busy) => "busy",
            Err(Unproven::TooOften(_)) => "limited",
            Err(Unproven::Unavailable(_)) => "unavailable",
        };
        self.logins.with_label_values(&[means.word(), result]).inc();
    }

    pub(super) fn minted(&self, identity: &Identity) {
        let kind = identity.known().map_or("anonymous", |known| known.kind.word());
        self.tokens.with_label_values(&[kind]).inc();
    }

    /// Whether the keys of an issuer could be read.
    pub(super) fn fetched(&self, well: bool) {
        let [ok, failed] = FETCHES;
        self.key_fetches.with_label_values(&[if well { ok } else { failed }]).inc();
    }

    pub fn denied(&self, refused: Refused, anonymous: bool) {
        let reason = match refused {
            Refused::Token => "token",
            Refused::Rules(_) if anonymous => "anonymous",
            Refused::Rules(_) => "rules",
        };
        self.denials.with_label_values(&[reason]).inc();
    }
}
