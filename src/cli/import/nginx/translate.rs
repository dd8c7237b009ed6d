//! Directives → a configuration: which servers are for registries, and what becomes of each.

use std::path::{Path, PathBuf};

use super::backends::Backends;
use super::general;
use super::known;
use super::listeners;
use super::made::Made;
use super::notes::{Notes, plain};
use super::routes;
use super::rules;
use super::scope::Scope;
use super::servers::{Does, Server};
use super::tree::{Directive, Fault};

/// What is wanted of a configuration.
pub struct Wanted<'a> {
    /// Servers of these names alone; empty: all.
    pub servers: &'a [String],
    /// Where the result goes, beside which passwords are written.
    pub output: Option<&'a Path>,
    /// The folder that nginx looks for files in.
    pub home: &'a Path,
}

/// Names of servers that are told to who asks for another.
const MAX_NAMES: usize = 50;

/// Directives that name a file.
const FILES: [&str; 8] = [
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "auth_basic_user_file",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "ssl_crl",
];

/// # Errors
/// Where there is nothing to serve, with the reasons.
pub fn translate(mut tree: Vec<Directive>, wanted: &Wanted<'_>, notes: Notes) -> Result<Made, Fault> {
    whole_paths(&mut tree, wanted.home);
    let mut made = Made { notes, ..Made::default() };
    // A file that nginx includes in its `http` can stand for itself.
    let http = tree.iter().find(|directive| directive.name == "http" && directive.block.is_some());
    let scope = Scope::new(http.map_or(tree.as_slice(), Directive::inner));
    are_there(&scope, wanted.servers)?;
    let servers: Vec<Server<'_>> = scope
        .every("server")
        .filter(|directive| directive.block.is_some() && is_wanted(directive, wanted.servers))
        .map(|directive| Server::read(directive, &scope, &mut made.notes))
        .collect();
    let mut backends = Backends::new(&scope, wanted.output);
    let defaults = listeners::defaults(&servers);
    // A server that is nobody's default is found by its names, and comes first; whoever asks for another name gets the default.
    let mut order: Vec<usize> = (0..servers.len()).collect();
    order.sort_by_key(|index| defaults.contains(index));
    let several = servers.iter().filter(|server| matches!(server.does, Does::Serves(_))).count() > 1;
    let mut served: Vec<usize> = Vec::new();
    for index in order {
        let Some(server) = servers.get(index) else { continue };
        let standing = routes::Standing { default: defaults.contains(&index), several };
        let Does::Serves(entries) = &server.does else { continue };
        match routes::of(server, entries, standing, &mut backends, &mut made) {
            Ok(()) => served.push(index),
            Err(why) => made.notes.leave("server", format!("is left out: {why}"), server.at),
        }
    }
    let imported = |directive: &Directive| {
        servers.iter().enumerate().any(|(index, server)| {
            std::ptr::eq(server.directive, directive)
                && (served.contains(&index) || matches!(server.does, Does::ToHttps))
        })
    };
    if served.is_empty() {
        known::rest(&tree, &|_| false, &mut made.notes);
        let why = "nothing in it can be served: no `server` hands requests for /v2/ to a registry in a way that is understood";
        return Err(Fault::Nothing(format!("{why}\n{}", made.notes.lines().join("\n"))));
    }
    listeners::of(&servers, &served, &mut made);
    if made.listeners.is_empty() {
        let why = "no address is left to listen on";
        return Err(Fault::Nothing(format!("{why}\n{}", made.notes.lines().join("\n"))));
    }
    let used: Vec<&Directive> = backends.caches().collect();
    general::cache(&scope, &used, &mut made);
    made.take_backends(backends.finish());
    rules::shut(&mut made);
    known::rest(&tree, &imported, &mut made.notes);
    Ok(made)
}

fn is_wanted(server: &Directive, names: &[String]) -> bool {
    names.is_empty() || names_of(server).any(|name| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
}

fn names_of(server: &Directive) -> impl Iterator<Item = &str> {
    let lines = server.inner().iter().filter(|inner| inner.name == "server_name");
    lines.flat_map(|inner| inner.args.iter().map(String::as_str))
}

/// # Errors
/// A name that is wanted is no server's: which there are.
fn are_there(scope: &Scope<'_>, wanted: &[String]) -> Result<(), Fault> {
    let servers = scope.every("server").filter(|directive| directive.block.is_some());
    let mut known: Vec<&str> = servers.flat_map(names_of).filter(|name| !name.is_empty()).collect();
    let Some(absent) = wanted.iter().find(|wanted| !known.iter().any(|name| wanted.eq_ignore_ascii_case(name))) else {
        return Ok(());
    };
    known.sort_unstable();
    known.dedup();
    let (shown, more) = (known.len().min(MAX_NAMES), known.len().saturating_sub(MAX_NAMES));
    let there = match known.is_empty() {
        true => "no server has a `server_name`: leave --server out".to_owned(),
        false => format!("there are: {}", known[..shown].join(", ")),
    };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(Fault::Nothing(plain(&format!("no server has the `server_name` {absent}; {there}{more}"))))
}

/// nginx looks for files beside its main one; Entrepot is started wherever.
fn whole_paths(level: &mut [Directive], home: &Path) {
    for directive in level {
        if FILES.contains(&directive.name.as_str())
            && let Some(file) = directive.args.first_mut()
            && !file.contains(['$', ':'])
        {
            let whole: PathBuf = home.join(&*file);
            *file = whole.display().to_string();
        }
        whole_paths(directive.block.as_deref_mut().unwrap_or_default(), home);
    }
}
