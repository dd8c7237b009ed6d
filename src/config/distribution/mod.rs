//! The configuration of distribution (registry:2, registry:3), understood as it is: its file, with the variables `REGISTRY_…` over it.
//!
//! - `document`: the file; `environment`: the variables; `section`: the keys of one section, as they are asked for
//! - `drivers`: what each storage driver is here; `collected`: that alone, for who collects garbage
//! - `registry`, `http`, `auth`, `redis`, `proxy`, `rest`: what the sections are here, put into a `draft`
//! - `translation`: the whole way; `written`: the draft as a file of ours

mod auth;
mod collected;
mod document;
mod draft;
mod drivers;
mod environment;
mod http;
mod proxy;
mod redis;
mod registry;
mod rest;
mod section;
#[cfg(test)]
mod tests;
mod translation;
mod written;

use std::path::{Path, PathBuf};

use super::environment::set_by_kubernetes;
use super::errors::{Errors, Problem};
use super::model::Config;
use super::tree::Origin;

pub use collected::{Distribution, find};
pub use document::{MAX_FILE, PATH_VARIABLE, is_its};
pub use translation::{BUILT_IN, Told, Translation};
pub use written::Secrets;

/// Where images of distribution have their file: version 3, version 2.
const USUAL_PLACES: [&str; 2] = ["/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];
/// How such files are called.
const ENDINGS: [&str; 2] = ["yml", "yaml"];
/// Kernels with IPv6 list their addresses here.
const IPV6: &str = "/proc/net/if_inet6";

/// What an address without a host means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub ipv6: bool,
}

impl Machine {
    pub fn here() -> Self {
        Machine { ipv6: std::fs::metadata(IPV6).is_ok() }
    }
}

/// The environment, as far as it is text.
pub fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The variables that are keys of distribution's.
pub fn keys(variables: &[(String, String)]) -> Vec<&str> {
    let is_key = |(name, value): &&(String, String)| {
        environment::is_key_of(name, &environment::SECTIONS) && !is_of_kubernetes(name, value)
    };
    variables.iter().filter(is_key).map(|(name, _)| name.as_str()).collect()
}

/// Whether a variable says what a registry of distribution keeps or where it listens, and not only how.
pub fn says_what_to_serve(name: &str) -> bool {
    name.starts_with("REGISTRY_STORAGE") || name == "REGISTRY_HTTP_ADDR"
}

/// Kubernetes gives every pod variables for each Service: `REGISTRY_HTTP_SERVICE_HOST` is of one that is called `registry-http`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    name.strip_prefix("REGISTRY_").is_some_and(|key| set_by_kubernetes(key, value))
}

/// Whether a file is called as distribution's are: no file of ours is.
pub fn has_its_ending(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending))
}

/// Where a file may be mounted for distribution.
pub fn mounted() -> Option<PathBuf> {
    USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The configuration that a text, with the variables over it, amounts to.
///
/// # Errors
/// All that is wrong, by distribution's keys.
pub fn load(path: Option<&Path>, text: &str, variables: Vec<(String, String)>) -> Result<Config, Errors> {
    let problem =
        |what: String| Problem { file: path.map(PathBuf::from), origin: Origin::Start, path: String::new(), what };
    let translation = Translation::of(text, variables, Machine::here());
    let translation = translation.map_err(|faults| Errors(faults.into_iter().map(problem).collect()))?;
    translation.config(path)
}
