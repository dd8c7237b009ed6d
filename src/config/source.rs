//! Where the configuration comes from, and loading it: at the start and again on SIGHUP.

use std::path::{Path as FilePath, PathBuf};

use super::check;
use super::distribution;
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
    /// `flag`, else what `ENTREPOT_CONFIG` names, else [`DEFAULT_FILE`] if there is one, else what distribution's variable names; in a
    /// container, else a file that is mounted for distribution.
    pub fn find(flag: Option<PathBuf>) -> Self {
        let theirs = || named_by(distribution::PATH_VARIABLE);
        // Where a package of distribution is installed beside us, its file is its own.
        let mounted = || (std::process::id() == 1).then(distribution::mounted).flatten();
        let path = flag.or_else(|| named_by(FILE_VARIABLE)).or_else(usual).or_else(theirs).or_else(mounted);
        Source { path }
    }

    /// The configuration of Entrepot itself, for a command whose argument is one of distribution.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn load_beside() -> Result<Config, Errors> {
        let path = named_by(FILE_VARIABLE).or_else(usual);
        let path = path.filter(|path| !file::text(path, MAX_FILE).is_ok_and(|text| distribution::is_its(&text)));
        Source { path }.load_own()
    }

    /// Reads the file and the environment again, whether they are ours or distribution's.
    pub fn load(&self) -> Result<Config, Errors> {
        match self.of_distribution()? {
            Some(text) => distribution::load(self.path.as_deref(), &text, distribution::variables()),
            None => {
                let variables = distribution::variables();
                let stray = distribution::keys(&variables).into_iter().map(str::to_owned).collect();
                Ok(Config { stray, ..self.load_own()? })
            }
        }
    }

    /// The text of distribution's configuration, if that is what counts.
    pub(super) fn of_distribution(&self) -> Result<Option<String>, Errors> {
        let variables = distribution::variables();
        let theirs = distribution::keys(&variables);
        let is_ours = |name: &str, value: &str| {
            let key = name.strip_prefix(PREFIX).filter(|_| !NO_KEYS.contains(&name));
            key.is_some_and(|key| !environment::set_by_kubernetes(key, value))
        };
        let ours = variables.iter().find(|(name, value)| is_ours(name, value));
        let text = match &self.path {
            // What cannot be read is told by who reads it for what it should be.
            Some(path) => {
                let text = file::text(path, distribution::MAX_FILE).ok();
                // A file of that ending that is neither is a broken one of distribution's.
                let is_its = |text: &String| {
                    distribution::is_its(text) || distribution::has_its_ending(path) && Node::parse(text).is_err()
                };
                text.filter(is_its)
            }
            None => {
                let serves = theirs.iter().any(|name| distribution::says_what_to_serve(name));
                serves.then(|| distribution::BUILT_IN.to_owned())
            }
        };
        let place = self.path.as_ref().map(|path| path.display().to_string());
        match (text, ours) {
            (Some(_), Some((ours, _))) => {
                let other = place.or(theirs.first().map(ToString::to_string)).unwrap_or_default();
                let what = format!(
                    "is of Entrepot's configuration, and {other} is of distribution's, and one of the two counts: take one away, or make \
                     a file of Entrepot with `entrepot import distribution`"
                );
                Err(Errors::whole(None, Origin::Variable(ours.as_str().into()), what))
            }
            // Beside a file of ours, theirs do not count: whoever checks or serves it is told.
            (text, _) => Ok(text),
        }
    }

    /// Reads the file and the environment as ours.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn load_own(&self) -> Result<Config, Errors> {
        Config::load(self.path.as_deref(), self.environment()?.into_iter())
    }

    /// The variables that mean keys.
    pub(super) fn environment(&self) -> Result<Vec<(String, String)>, Errors> {
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
        Ok(pairs)
    }
}

/// What is read before the environment is laid over it.
pub(super) fn tree_of(path: Option<&FilePath>, environment: &[(String, String)]) -> Result<Node, Errors> {
    match path {
        Some(path) => parse(path),
        None => built_in(environment),
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
        let mut tree = tree_of(path, &environment)?;
        let complaints = environment::overlay(&mut tree, environment.into_iter());
        assemble(tree, path, complaints)
    }
}

/// What `ENTREPOT_CONFIG` or distribution's own variable names.
fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn usual() -> Option<PathBuf> {
    Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists())
}

/// Reads a tree of values into the rooms' structs and checks the whole.
pub(super) fn assemble(
    mut tree: Node,
    path: Option<&FilePath>,
    complaints: Vec<environment::Complaint>,
) -> Result<Config, Errors> {
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
