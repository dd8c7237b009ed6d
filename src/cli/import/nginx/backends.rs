//! Clusters and remotes: one for each pool that is asked in the same way.

use std::path::{Path, PathBuf};

use super::fields::{self, Told};
use super::made::{Backend, Keys, Line, SecretFile};
use super::notes::Notes;
use super::scope::Scope;
use super::tree::{Directive, Place};
use super::upstream::{self, Target};
use super::values::quoted;

/// Where a password's file is said to be when the result goes to stdout.
const FOLDER: &str = "/etc/entrepot";
const MAX_NAME: usize = 40;

pub struct Backends<'a> {
    http: Scope<'a>,
    output: Option<PathBuf>,
    known: Vec<(Identity<'a>, Backend)>,
    caches: Vec<&'a Directive>,
}

/// What a location wants of its cluster.
pub struct Wanted<'w> {
    pub target: &'w Target,
    /// Rules judge who asks there.
    pub ruled: bool,
    /// Paths outside /v2/ that are handed on, and whose word that is.
    pub forward: &'w [(String, String)],
    pub at: &'w Place,
}

/// What makes two of them the same.
struct Identity<'a> {
    target: Target,
    told: Told<'a>,
    ruled: bool,
    forward: Vec<String>,
}

impl<'a> Backends<'a> {
    pub fn new(http: &Scope<'a>, output: Option<&Path>) -> Self {
        Backends { http: http.clone(), output: output.map(Path::to_owned), known: Vec::new(), caches: Vec::new() }
    }

    /// The one that a location hands requests to.
    ///
    /// # Errors
    /// Where it has no peers.
    pub fn find(&mut self, wanted: &Wanted<'_>, scope: &Scope<'a>, notes: &mut Notes) -> Result<usize, String> {
        let (target, at) = (wanted.target, wanted.at);
        let upstream = self.upstream(target);
        let mirrors = target.public(upstream);
        // A remote has images and nothing else.
        let forward: &[(String, String)] = if mirrors.is_some() { &[] } else { wanted.forward };
        let told = fields::asked(scope, notes);
        let paths = forward.iter().map(|(path, _)| path.clone()).collect();
        let identity = Identity { target: target.clone(), told, ruled: wanted.ruled, forward: paths };
        if let Some(index) = self.known.iter().position(|(known, _)| known.same(&identity)) {
            let (_, backend) = self.known.get_mut(index).ok_or("it is gone")?;
            if backend.mirrors.is_none() {
                upstream::toward(scope, target.secure, &mut backend.keys, notes);
            }
            return Ok(index);
        }
        let name = self.name(mirrors.unwrap_or(&target.authority), mirrors.is_some());
        let mut keys = Keys::default();
        let from = format!(
            "{}: {}",
            upstream.map_or(at, |upstream| &upstream.at),
            if upstream.is_some() { "upstream" } else { "proxy_pass" }
        );
        let peers = match (mirrors, upstream) {
            (Some(registry), _) => {
                let why = format!(
                    "{registry} is mirrored: its images are fetched once, kept, and served while it is down; nothing is pushed to it"
                );
                notes.other("proxy_pass", why, at);
                Vec::new()
            }
            (None, Some(upstream)) => upstream::read(upstream, &mut keys, notes),
            (None, None) => target.peer(at.to_string()).into_iter().collect(),
        };
        if peers.is_empty() && mirrors.is_none() {
            return Err(format!("{} has no peer that can be gone to", target.authority));
        }
        if mirrors.is_none() {
            upstream::toward(scope, target.secure, &mut keys, notes);
        }
        let secret = self.told(&identity, (&name, mirrors.is_some()), &mut keys, notes);
        self.known.push((identity, Backend { name, mirrors, from, peers, keys, forward: forward.to_vec(), secret }));
        Ok(self.known.len() - 1)
    }

    pub fn http(&self) -> &Scope<'a> {
        &self.http
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Backend> {
        self.known.get_mut(index).map(|(_, backend)| backend)
    }

    /// The `upstream` that a target names.
    fn upstream(&self, target: &Target) -> Option<&'a Directive> {
        self.http.every("upstream").find(|upstream| upstream.arg(0).eq_ignore_ascii_case(&target.authority))
    }

    /// Whether it is a public registry, which is mirrored.
    pub fn is_mirror(&self, target: &Target) -> bool {
        target.public(self.upstream(target)).is_some()
    }

    /// Remembers which caches are used.
    pub fn cached<'s>(&mut self, scopes: impl Iterator<Item = &'s Scope<'a>>)
    where
        'a: 's,
    {
        self.caches.extend(scopes.filter_map(|scope| scope.one("proxy_cache")));
    }

    /// Whose caches are used.
    pub fn caches(&self) -> impl Iterator<Item = &'a Directive> {
        self.caches.iter().copied()
    }

    pub fn finish(self) -> Vec<Backend> {
        self.known.into_iter().map(|(_, backend)| backend).collect()
    }

    /// What the peers are told of who asks, as a key, and the file of the password that belongs to it.
    fn told(
        &self,
        identity: &Identity<'a>,
        (name, mirror): (&str, bool),
        keys: &mut Keys,
        notes: &mut Notes,
    ) -> Option<SecretFile> {
        match &identity.told {
            // A mirror asks by its own right, or by none.
            Told::Own | Told::Nothing(_) if mirror => None,
            Told::Own if identity.ruled => {
                let from = "who logs in does so here, and the peers are not shown it".to_owned();
                keys.0.push(Line { key: "authorization".into(), value: quoted("drop"), from });
                None
            }
            Told::Own => None,
            Told::Nothing(from) => {
                keys.put("authorization", quoted("drop"), from, notes);
                None
            }
            Told::Login { username, password, from } => {
                let secret = self.secret(name, password, from);
                let file = secret.path.display().to_string();
                let login = format!("{{ username = {}, password_file = {} }}", quoted(username), quoted(&file));
                match mirror {
                    true => keys.put("credentials", format!("[{login}]"), from, notes),
                    false => keys.put("authorization", login, from, notes),
                }
                Some(secret)
            }
        }
    }

    /// The file of a password.
    fn secret(&self, name: &str, password: &str, from: &Directive) -> SecretFile {
        let folder = self.output.as_deref().and_then(Path::parent).unwrap_or(Path::new(FOLDER));
        let path = folder.join(format!("{name}.password"));
        SecretFile { path, text: password.into(), from: format!("{}: {}", from.at, from.name) }
    }

    /// A name that nobody has yet, of what nginx calls it.
    fn name(&self, authority: &str, mirror: bool) -> String {
        let host = if mirror { authority } else { authority.rsplit_once(':').map_or(authority, |(host, _)| host) };
        let mut name = String::new();
        for c in host.chars().take(MAX_NAME) {
            let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
            if !(c == '-' && (name.is_empty() || name.ends_with('-'))) {
                name.push(c);
            }
        }
        let name = name.trim_end_matches('-');
        let name = if name.starts_with(|c: char| c.is_ascii_lowercase()) {
            name.to_owned()
        } else {
            format!("registry-{name}")
        };
        let name = name.trim_end_matches('-').to_owned();
        let taken = |name: &str| self.known.iter().any(|(_, backend)| backend.name == name);
        let mut found = name.clone();
        let mut number = 2;
        while taken(&found) {
            found = format!("{name}-{number}");
            number += 1;
        }
        found
    }
}

impl Identity<'_> {
    fn same(&self, other: &Self) -> bool {
        let told = match (&self.told, &other.told) {
            (Told::Own, Told::Own) | (Told::Nothing(_), Told::Nothing(_)) => true,
            (Told::Login { username, password, .. }, Told::Login { username: name, password: word, .. }) => {
                username == name && password == word
            }
            _ => false,
        };
        // Only what clients show themselves is another matter where rules judge it.
        let ruled = self.ruled == other.ruled || !matches!(self.told, Told::Own);
        self.target == other.target && told && ruled && self.forward == other.forward
    }
}
