//! What is made of distribution's keys, before it is a configuration of ours: each value with where it is from, and what has no
//! counterpart.

use toml::Value;

use super::section::Section;
use crate::units::Secret;

/// What becomes of a key that has no counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// What it is for is so anyway, or needed by nobody here.
    Needless,
    /// What it asks for is not done.
    Lost,
}

/// A key without a counterpart: the sentence is `key why`.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    pub key: String,
    pub why: String,
    pub weight: Weight,
}

/// A table of ours, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Listener,
    Admin,
    Log,
    Drain,
    Cache,
    Remote,
    Registry,
    Storage,
    Redis,
    Auth,
    Verifier,
    Cors,
    Acme,
    Route,
}

impl Table {
    pub(super) fn header(self) -> &'static str {
        match self {
            Table::Listener => "[[listener]]",
            Table::Admin => "[admin]",
            Table::Log => "[log]",
            Table::Drain => "[drain]",
            Table::Cache => "[cache]",
            Table::Remote => "[remote.upstream]",
            Table::Registry => "[registry]",
            Table::Storage => "[storage]",
            Table::Redis => "[redis]",
            Table::Auth => "[auth]",
            Table::Verifier => "[[auth.verifier]]",
            Table::Cors => "[cors]",
            Table::Acme => "[acme]",
            Table::Route => "[[route]]",
        }
    }

    /// As what is wrong with it is told of.
    pub(super) fn path(self) -> &'static str {
        match self {
            Table::Listener => "listener[0]",
            Table::Verifier => "auth.verifier[0]",
            Table::Route => "route[0]",
            other => other.name(),
        }
    }

    /// As people say it.
    pub(super) fn name(self) -> &'static str {
        self.header().trim_matches(['[', ']'])
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Plain(Value),
    Secret(Secret),
    /// A login at a remote.
    Login(String, Secret),
}

/// One key of ours.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) table: Table,
    pub(super) key: &'static str,
    pub(super) given: Given,
    /// Distribution's key, or what goes without saying there.
    pub(super) from: String,
}

/// Grows while the sections are read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Draft {
    pub(super) settings: Vec<Setting>,
    pub(super) left: Vec<Left>,
    /// What cannot be understood, or would not be safe to pass over.
    pub(super) faults: Vec<String>,
}

impl Draft {
    pub(super) fn set(&mut self, table: Table, key: &'static str, value: impl Into<Value>, from: impl Into<String>) {
        self.given(table, key, Given::Plain(value.into()), from);
    }

    pub(super) fn given(&mut self, table: Table, key: &'static str, given: Given, from: impl Into<String>) {
        self.settings.push(Setting { table, key, given, from: from.into() });
    }

    pub(super) fn leave(&mut self, key: impl Into<String>, weight: Weight, why: impl Into<String>) {
        self.left.push(Left { key: key.into(), why: why.into(), weight });
    }

    /// Nothing more is asked of a section.
    pub(super) fn close(&mut self, section: Section<'_>) {
        let (notes, left) = section.done();
        self.left.extend(left);
        self.left.extend(notes);
    }

    /// Reads one section; what is wrong with it is told with what is wrong with the others.
    pub(super) fn read(&mut self, read: impl FnOnce(&mut Draft) -> Result<(), String>) {
        if let Err(fault) = read(self) {
            self.faults.push(fault);
        }
    }
}
