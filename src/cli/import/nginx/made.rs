//! The configuration in the making: each key with where it comes from.

use std::path::PathBuf;

use super::access::{Access, Said};
use super::notes::Notes;
use super::tree::{Directive, Place};
use crate::sockets::Address;
use crate::units::Secret;

/// One key, its value as TOML has it, and whose word it is.
pub struct Line {
    pub key: String,
    pub value: String,
    pub from: String,
}

/// Keys of one section, in the order in which they came.
#[derive(Default)]
pub struct Keys(pub Vec<Line>);

impl Keys {
    /// Sets a key. Where it is set already, the first word counts, and another one is told of.
    pub fn put(&mut self, key: &str, value: String, from: &Directive, notes: &mut Notes) {
        match self.0.iter().find(|line| line.key == key) {
            None => self.0.push(Line { key: key.into(), value, from: format!("{}: {}", from.at, from.name) }),
            Some(line) if line.value == value => {}
            Some(line) => {
                let why = format!("`{key}` is {} already, by {}; here it has one value for all", line.value, line.from);
                notes.lost(&*from.name, why, &from.at);
            }
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|line| line.key == key)
    }
}

/// A server's certificate.
#[derive(PartialEq, Eq)]
pub struct Certificate {
    pub certificate: String,
    pub key: String,
    pub names: Vec<String>,
    pub from: String,
}

pub struct Listener {
    pub address: Address,
    pub from: String,
    pub ssl: bool,
    pub proxy_protocol: bool,
    pub certificates: Vec<Certificate>,
    /// Servers that send their clients to https, and those that serve.
    pub redirects: Vec<Place>,
    pub serves: Vec<Place>,
    pub keys: Keys,
}

pub struct Peer {
    pub address: String,
    pub weight: u32,
    pub max_connections: u32,
    pub backup: bool,
    pub from: String,
}

/// `[cluster.NAME]` or `[remote.NAME]`.
pub struct Backend {
    pub name: String,
    /// The public registry that it is, where it is mirrored instead of balanced over.
    pub mirrors: Option<&'static str>,
    pub from: String,
    pub peers: Vec<Peer>,
    pub keys: Keys,
    pub forward: Vec<(String, String)>,
    /// Of the login that it is asked with.
    pub secret: Option<SecretFile>,
}

impl Backend {
    /// As routes name it.
    pub fn target(&self) -> String {
        format!("{}.{}", if self.mirrors.is_some() { "remote" } else { "cluster" }, self.name)
    }
}

impl Made {
    pub fn secrets(&self) -> impl Iterator<Item = &SecretFile> {
        self.backends.iter().filter_map(|backend| backend.secret.as_ref())
    }

    /// Takes those in that a route names.
    pub fn take_backends(&mut self, all: Vec<Backend>) {
        let mut places = Vec::new();
        for (index, backend) in all.into_iter().enumerate() {
            places.push(self.backends.len());
            if self.routes.iter().any(|route| route.backend == index) {
                self.backends.push(backend);
            }
        }
        for route in &mut self.routes {
            route.backend = places.get(route.backend).copied().unwrap_or_default();
        }
    }
}

pub struct Route {
    /// Empty: any.
    pub hosts: Vec<String>,
    pub repositories: String,
    /// Which of the backends.
    pub backend: usize,
    pub writes: bool,
    pub ruled: bool,
    /// What its rules say, or would.
    pub access: Access,
    pub from: String,
}

pub struct Rule {
    pub hosts: Vec<String>,
    pub repositories: String,
    pub said: Said,
    pub from: String,
}

/// A login that does not go into the configuration itself.
pub struct SecretFile {
    pub path: PathBuf,
    pub text: Secret,
    pub from: String,
}

/// A server that is served, and where.
pub struct Served {
    pub at: Place,
    pub addresses: Vec<Address>,
    /// It asks who may.
    pub closed: bool,
    /// Files of whose certificates its clients need.
    pub authorities: Vec<String>,
}

#[derive(Default)]
pub struct Made {
    pub served: Vec<Served>,
    pub listeners: Vec<Listener>,
    pub backends: Vec<Backend>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub auth: Keys,
    pub cache: Keys,
    pub limits: Keys,
    pub cors: Keys,
    pub log: Keys,
    pub notes: Notes,
}
