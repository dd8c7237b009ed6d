//! The whole way: the file and the variables, what they are here, and what has no counterpart.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::auth::{self, USUAL};
use super::document::Document;
use super::draft::{Draft, Given, Setting, Table, Weight};
use super::written::{self, Secrets};
use super::{Machine, environment, http, proxy, redis, registry, rest};
use crate::config::errors::{Errors, Problem};
use crate::config::model::Config;
use crate::config::source;
use crate::config::tree::{Node, Origin};

/// What the image `registry:2` has where nobody gives it a file: variables are laid over it.
pub const BUILT_IN: &str = "version: 0.1\nlog: {}\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\n\
                            http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}\n";

/// A configuration of distribution, understood.
#[derive(Debug)]
pub struct Translation {
    draft: Draft,
    set_by: Vec<(String, String)>,
}

/// What is told of it, wherever it counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// A line for each key: what it is here. No secrets.
    pub keys: Vec<String>,
    /// What is so anyway.
    pub needless: Vec<String>,
    /// What is not done.
    pub lost: Vec<String>,
}

impl Translation {
    /// # Errors
    /// For people, by distribution's keys: all that cannot be understood, or would not be safe to pass over.
    pub fn of(text: &str, variables: Vec<(String, String)>, machine: Machine) -> Result<Self, Vec<String>> {
        let login = login(&variables);
        let variables = variables.into_iter().filter(|(name, value)| !super::is_of_kubernetes(name, value));
        let (unknown_ones, variables): (Vec<_>, Vec<_>) =
            variables.partition(|(name, _)| environment::is_unknown(name));
        let document = Document::whole(text, variables).map_err(|what| vec![what])?;
        let mut draft = Draft::default();
        let mut mirrors = false;
        draft.read(|draft| registry::storage(&document, draft));
        draft.read(|draft| registry::lists(&document, draft));
        draft.read(|draft| http::http(&document, machine, login.is_some(), draft));
        draft.read(|draft| auth::auth(&document, login, draft));
        draft.read(|draft| redis::redis(&document, draft));
        draft.read(|draft| proxy::proxy(&document, draft).map(|found| mirrors = found));
        rest::rest(&document, &mut draft);
        if !mirrors {
            registry::route(&mut draft);
        }
        unknown(&document, &mut draft);
        for (name, _) in unknown_ones {
            draft.leave(
                name.escape_debug().to_string(),
                Weight::Lost,
                "is not known, and ignored: no section is called so",
            );
        }
        if !draft.faults.is_empty() {
            return Err(draft.faults);
        }
        for setting in &mut draft.settings {
            setting.from = with_variable(&document, &setting.from);
        }
        Ok(Translation { draft, set_by: document.set_by })
    }

    /// For a file of ours: where commands ask, which distribution has none of. `port`: one that is none of these.
    pub fn with_admin(mut self, unix: &str, port: impl Fn(&[u16]) -> u16) -> Self {
        let of = |table: Table, key: &str| self.draft.settings.iter().find(|one| one.table == table && one.key == key);
        if of(Table::Admin, "address").is_none() {
            let address = of(Table::Listener, "address").and_then(|address| match &address.given {
                Given::Plain(value) => value.as_str()?.parse::<SocketAddr>().ok(),
                Given::Secret(_) | Given::Login(..) => None,
            });
            let port = port(&address.iter().map(SocketAddr::port).collect::<Vec<_>>());
            let from = "Entrepot's own: metrics, health, and what operators do, for this machine only";
            self.draft.set(Table::Admin, "address", format!("127.0.0.1:{port}"), from);
        }
        self.draft.set(Table::Admin, "unix", unix, "Entrepot's own");
        self
    }

    /// Whether anybody is asked who they are.
    pub fn asks(&self) -> bool {
        self.draft.settings.iter().any(|one| matches!(one.table, Table::Auth | Table::Verifier))
    }

    /// As a file of ours.
    pub fn toml(&self, secrets: Secrets<'_>) -> String {
        written::text(&self.draft, secrets)
    }

    /// Its secrets, by the names that their files should have.
    pub fn secrets(&self) -> Vec<(String, String)> {
        written::secrets(&self.draft)
    }

    pub fn told(&self) -> Told {
        let of = |weight: Weight| {
            let left = self.draft.left.iter().filter(|left| left.weight == weight);
            left.map(|left| written::one_line(&format!("{} {}", left.key, left.why))).collect()
        };
        let keys = self.draft.settings.iter().map(written::told).collect();
        Told { keys, needless: of(Weight::Needless), lost: of(Weight::Lost) }
    }

    /// The configuration that it amounts to.
    ///
    /// # Errors
    /// What is wrong with it, by distribution's keys.
    pub fn config(&self, file: Option<&Path>) -> Result<Config, Errors> {
        let text = self.toml(Secrets::Shown);
        let tree = Node::parse(&text).map_err(|error| {
            Errors::whole(file.map(Into::into), Origin::Start, format!("cannot be read: {}", error.what))
        })?;
        let config = source::assemble(tree, file, Vec::new());
        let mut config = config.map_err(|errors| Errors(errors.0.into_iter().map(|one| self.theirs(one)).collect()))?;
        config.translated = Some(Arc::new(self.told()));
        Ok(config)
    }

    /// What is wrong, said of the key that it was made of.
    fn theirs(&self, problem: Problem) -> Problem {
        let path = |setting: &Setting| format!("{}.{}", setting.table.path(), setting.key);
        let holds = |setting: &&Setting| {
            let rest = problem.path.strip_prefix(&path(setting));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '_']))
        };
        let found = self.draft.settings.iter().find(holds);
        let key = found.map_or("", |setting| setting.from.split([',', ' ']).next().unwrap_or_default());
        let variable = self.set_by.iter().rev().find(|(of, _)| of == key);
        let origin = variable.map_or(Origin::Start, |(_, name)| Origin::Variable(name.as_str().into()));
        match found {
            Some(_) => Problem { origin, path: format!("{key} ({})", problem.path), ..problem },
            None => Problem { origin, ..problem },
        }
    }
}

/// What images of registries with a login are usually told, if both are.
fn login(variables: &[(String, String)]) -> Option<(String, String)> {
    let value = |name: &str| variables.iter().find(|(known, value)| known == name && !value.is_empty());
    Some((value(USUAL[0])?.1.clone(), value(USUAL[1])?.1.clone()))
}

/// Sections that nobody has read.
fn unknown(document: &Document, draft: &mut Draft) {
    const READ: [&str; 17] = [
        "version",
        "log",
        "loglevel",
        "storage",
        "auth",
        "middleware",
        "http",
        "notifications",
        "redis",
        "health",
        "catalog",
        "tags",
        "proxy",
        "validation",
        "policy",
        "compatibility",
        "reporting",
    ];
    for key in document.whole.keys() {
        let name = key.as_str().unwrap_or_default();
        // What other values lean on is called as its writer likes.
        if !READ.contains(&name) && !name.starts_with("x-") {
            draft.leave(name.escape_debug().to_string(), Weight::Lost, "is not known, and ignored");
        }
    }
}

fn with_variable(document: &Document, from: &str) -> String {
    let key = from.split([',', ' ']).next().unwrap_or_default();
    match document.variable(key) {
        Some(name) => format!("{from} ({name})"),
        None => from.to_owned(),
    }
}

#[cfg(test)]
mod tests;
