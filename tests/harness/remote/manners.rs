//! How public registries differ, as settings.

use std::collections::{BTreeMap, BTreeSet};

/// What a registry is like. Each field alone is a quirk that some registry has.
#[derive(Clone, Debug)]
pub struct Manner {
    pub login: Login,
    /// Names and passwords.
    pub users: BTreeMap<String, String>,
    /// Who may pull what not everybody may; repositories that are not named are everybody's who is let in.
    pub private: BTreeMap<String, BTreeSet<String>>,
    /// The answer about names that are not there: Docker Hub says 401.
    pub unknown: u16,
    /// The token service's answer to who may not have what is asked for; `None`: a token for less. ghcr: 401 or 403.
    pub token_refusal: Option<u16>,
    /// In seconds, as told. It is believed here too.
    pub token_life: u64,
    /// Whether `Docker-Content-Digest` comes.
    pub digest_header: bool,
    /// Whether HEAD of manifests is taken; GitHub Enterprise: 405.
    pub head: bool,
    /// Manifests are redirected to the store, as registry.k8s.io does.
    pub manifests_redirect: bool,
    /// Blobs are redirected to signed addresses of the store, each good for one GET.
    pub blobs_redirect: bool,
    pub referrers: Referrers,
    /// Names of a page of a list, and the most that may be asked for.
    pub page: usize,
    pub budget: Option<Budget>,
    /// Passwords that are right and have ended: 403, as of ECR.
    pub ended_passwords: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    None,
    Basic,
    /// By tokens of the token service.
    Bearer,
    /// Both are offered, in two lines, Basic first.
    Both,
    /// Both are offered in one line.
    Joined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    Listed,
    /// 404, 405 or 429.
    Refused(u16),
    /// 303 to a page of something else, which answers 429: ghcr.
    LedAstray,
}

/// Pulls in a window, as Docker Hub counts them.
#[derive(Clone, Debug)]
pub struct Budget {
    /// By user (`""`: who shows nothing); who is not named has none.
    pub limits: BTreeMap<String, u32>,
    /// What `docker-ratelimit-source` says of a user; left out: the user.
    pub sources: BTreeMap<String, String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl Budget {
    pub fn of(limits: &[(&str, u32)]) -> Self {
        let limits = limits.iter().map(|(user, limit)| ((*user).to_owned(), *limit)).collect();
        Budget { limits, sources: BTreeMap::new(), retry_after: None }
    }

    pub fn source(&self, user: &str) -> String {
        let address = if user.is_empty() { "203.0.113.7" } else { user };
        self.sources.get(user).cloned().unwrap_or_else(|| address.to_owned())
    }
}

impl Manner {
    /// Nothing is asked and nothing is odd.
    pub fn plain() -> Self {
        Manner {
            login: Login::None,
            users: BTreeMap::new(),
            private: BTreeMap::new(),
            unknown: 404,
            token_refusal: None,
            token_life: 300,
            digest_header: true,
            head: true,
            manifests_redirect: false,
            blobs_redirect: false,
            referrers: Referrers::Listed,
            page: 100,
            budget: None,
            ended_passwords: BTreeSet::new(),
        }
    }

    /// Docker Hub: tokens for everybody, blobs at signed addresses, 401 for what is not there.
    pub fn hub() -> Self {
        Manner {
            login: Login::Bearer,
            blobs_redirect: true,
            unknown: 401,
            referrers: Referrers::Refused(404),
            ..Manner::plain()
        }
    }

    pub fn ghcr() -> Self {
        Manner {
            login: Login::Bearer,
            blobs_redirect: true,
            token_refusal: Some(403),
            referrers: Referrers::LedAstray,
            ..Manner::plain()
        }
    }

    pub fn ecr(user: &str, password: &str) -> Self {
        Manner { login: Login::Basic, blobs_redirect: true, ..Manner::plain() }.user(user, password)
    }

    /// registry.k8s.io: nobody is asked, everything is elsewhere.
    pub fn k8s() -> Self {
        Manner { manifests_redirect: true, blobs_redirect: true, ..Manner::plain() }
    }

    pub fn user(mut self, name: &str, password: &str) -> Self {
        super::super::secrets::note(password);
        self.users.insert(name.into(), password.into());
        self
    }

    /// Only these may pull from there.
    pub fn private(mut self, repository: &str, users: &[&str]) -> Self {
        self.private.insert(repository.into(), users.iter().map(|user| (*user).to_owned()).collect());
        self
    }

    pub fn may_pull(&self, user: &str, repository: &str) -> bool {
        self.private.get(repository).is_none_or(|users| users.contains(user))
    }
}
