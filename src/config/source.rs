//! Where the configuration comes from, and loading it: at the start and again on SIGHUP.

use std::path::{Path as FilePath, PathBuf};

use super::check;
use super::environment::{self, FILE_VARIABLE, NO_KEYS, PREFIX};
use super::errors::{Errors, Problem};
use super::file;
use super::known;
use super::model::Config;
use super::read::read;
use super::secrets;
use super::tree::{Node, Origin, Path};
use crate::units::Size;

/// What counts without a file: an address that only this machine reaches.
const BUILT_IN: &str = "[[listener]]\naddress = \"127.0.0.1:5000\"\n[admin]\naddress = \"127.0.0.1:5001\"\n";
/// … and a complete registry, unless the environment says what to serve.
const BUILT_IN_ROUTE: &str = "[[route]]\nread = \"registry\"\nwrite = \"registry\"\n";

/// Read when neither `--config` nor `ENTREPOT_CONFIG` names a file.
pub const DEFAULT_FILE: &str = "/etc/entrepot/entrepot.toml";

/// What images of registries with a login are usually told it by, and what it is here; ours win.
const USUAL: [(&str, &str); 2] =
    [("REGISTRY_USERNAME", "ENTREPOT_AUTH__USERNAME"), ("REGISTRY_PASSWORD", "ENTREPOT_AUTH__PASSWORD")];

/// A configuration file is no longer than this, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The file, if any; the process's environment always counts too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `None`: a registry on this machine, with the environment laid over it.
    pub path: Option<PathBuf>,
}

impl Source {
    /// `flag`, else what `ENTREPOT_CONFIG` names, else [`DEFAULT_FILE`] if there is one.
    pub fn find(flag: Option<PathBuf>) -> Self {
        let variable = || std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        Source { path: flag.or_else(variable).or_else(usual) }
    }

    /// Reads the file and the environment again.
    pub fn load(&self) -> Result<Config, Errors> {
        let path = self.path.as_deref();
        let mut pairs = Vec::new();
        for (name, value) in std::env::vars_os() {
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => pairs.push((name.to_owned(), value.to_owned())),
                // What is no key need not be UTF-8: paths are not.
                (Some(name), None) if NO_KEYS.contains(&name) => {}
                _ => {
                    let origin = Origin::Variable(name.to_string_lossy().into());
                    return Err(Errors::whole(self.path.clone(), origin, "is not UTF-8 text"));
                }
            }
        }
        // One of them alone is meant for something else.
        let both = USUAL.iter().all(|(usual, _)| std::env::var_os(usual).is_some_and(|value| !value.is_empty()));
        for (usual, ours) in USUAL.into_iter().filter(|_| both) {
            let given = |name: &str| pairs.iter().any(|(known, _)| known.starts_with(name));
            if let Some(value) = std::env::var(usual).ok().filter(|value| !value.is_empty() && !given(ours)) {
                pairs.push((ours.to_owned(), value));
            }
        }
        Config::load(path, pairs.into_iter())
    }
}

impl Config {
    /// Reads `path`, lays `environment` over it and checks the whole. Without a path, a registry in `./data` on
    /// 127.0.0.1:5000 takes the file's place; its route only if the environment names no route and no cluster.
    ///
    /// # Errors
    /// Everything that is wrong, with where it was written and what is allowed. A file that is no TOML
    /// is a single error; wrong keys and types are told together, and so are faults across sections.
    pub fn load(path: Option<&FilePath>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Errors> {
        let environment: Vec<_> = environment.collect();
        let mut tree = match path {
            Some(path) => parse(path)?,
            None => built_in(&environment)?,
        };
        let complaints = environment::overlay(&mut tree, environment.into_iter());
        let file = path.map(PathBuf::from);
        let mut problems: Vec<Problem> = complaints
            .into_iter()
            .map(|fault| Problem {
                file: file.clone(),
                origin: fault.origin,
                path: fault.path.to_string(),
                what: fault.what,
            })
            .collect();
        let mut found = secrets::resolve(&mut tree, secrets::SECRETS);
        let outcome = read::<Config>(tree.clone());
        let config = match outcome {
            Ok(mut config) => {
                fit_defaults(&mut config, &tree);
                found.extend(check::check(&config));
                Some(config)
            }
            Err(findings) => {
                found.extend(findings);
                None
            }
        };
        problems.extend(found.into_iter().map(|(path, what)| {
            let (origin, path) = (origin(&tree, &path), path.to_string());
            let what = match origin {
                // Most likely one underscore where two belong: then the key is elsewhere.
                Origin::Variable(_) if known::is_alone(&path) => format!("is not a key{}", known::meant(&path)),
                _ => what,
            };
            Problem { file: file.clone(), origin, path, what }
        }));
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Errors(problems)),
        }
    }
}

/// Something missing from the whole file is told at its first line.
fn origin(tree: &Node, path: &Path) -> Origin {
    match tree.origin_of(path) {
        Origin::Start => Origin::Line(1),
        origin => origin,
    }
}

fn parse(path: &FilePath) -> Result<Node, Errors> {
    let fault = |origin, what| Errors::whole(Some(path.into()), origin, what);
    let text = file::text_after_name(path, MAX_FILE).map_err(|what| fault(Origin::Start, what))?;
    Node::parse(&text).map_err(|error| fault(Origin::Line(error.line), format!("is not TOML: {}", error.what)))
}

fn built_in(environment: &[(String, String)]) -> Result<Node, Errors> {
    let names = |section: &str| {
        let rest = |name: &str| name.strip_prefix(PREFIX)?.strip_prefix(section).map(str::to_owned);
        environment.iter().any(|(name, _)| rest(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("__")))
    };
    let route = if names("ROUTE") || names("CLUSTER") { "" } else { BUILT_IN_ROUTE };
    Node::parse(&format!("{BUILT_IN}{route}"))
        .map_err(|error| Errors::whole(None, Origin::Start, format!("the built-in configuration: {}", error.what)))
}

/// One default follows another key, so that lowering that one alone is no mistake.
fn fit_defaults(config: &mut Config, tree: &Node) {
    let root = Path::default();
    let given = |path: Path| tree.get(&path).is_some();
    let cache = &mut config.cache;
    if !given(root.key("cache").key("memory_max_object")) && cache.memory > Size(0) {
        cache.memory_max_object = cache.memory_max_object.min(cache.memory);
    }
}
