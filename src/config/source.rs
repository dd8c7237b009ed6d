//! Where the configuration comes from, and loading it: at the start and again on SIGHUP.

use std::path::{Path as FilePath, PathBuf};

use super::check;
use super::environment::{self, FILE_VARIABLE, PREFIX};
use super::errors::{Errors, Problem};
use super::file;
use super::model::Config;
use super::read::read;
use super::secrets;
use super::tree::{Node, Origin, Path};
use crate::units::Size;

/// Read when neither `--config` nor `ENTREPOT_CONFIG` names a file.
pub const DEFAULT_FILE: &str = "/etc/entrepot/entrepot.toml";

/// A configuration file is no longer than this, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The file, if any; the process's environment always counts too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `None`: the environment alone.
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
                // Its value may be a path of the file, which need not be UTF-8.
                (Some(FILE_VARIABLE), None) => {}
                _ => {
                    let origin = Origin::Variable(name.to_string_lossy().into());
                    return Err(Errors::whole(self.path.clone(), origin, "is not UTF-8 text"));
                }
            }
        }
        Config::load(path, pairs.into_iter())
    }
}

impl Config {
    /// Reads `path`, if given, lays `environment` over it and checks the whole.
    ///
    /// # Errors
    /// Everything that is wrong, with where it was written and what is allowed. A file that is no TOML
    /// is a single error; wrong keys and types are told together, and so are faults across sections.
    pub fn load(path: Option<&FilePath>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Errors> {
        let environment: Vec<_> = environment.collect();
        let names_keys = |(name, _): &(String, String)| name.starts_with(PREFIX) && name != FILE_VARIABLE;
        if path.is_none() && !environment.iter().any(names_keys) {
            let what = format!(
                "there is no configuration: give --config FILE or {FILE_VARIABLE}, write {DEFAULT_FILE}, \
                 or set keys such as {PREFIX}LISTENER__0__ADDRESS"
            );
            return Err(Errors::whole(None, Origin::Start, what));
        }
        let mut tree = parse(path)?;
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
        problems.extend(found.into_iter().map(|(path, what)| Problem {
            file: file.clone(),
            origin: origin(&tree, &path),
            path: path.to_string(),
            what,
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

fn parse(path: Option<&FilePath>) -> Result<Node, Errors> {
    let Some(path) = path else { return Ok(Node::empty(Origin::Start)) };
    let fault = |origin, what| Errors::whole(Some(path.into()), origin, what);
    let text = file::text(path, MAX_FILE).map_err(|what| fault(Origin::Start, what))?;
    Node::parse(&text).map_err(|error| fault(Origin::Line(error.line), format!("is not TOML: {}", error.what)))
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
