//! The texts of a configuration as somebody wrote them, for who looks for what was forgotten in them rather than for what they mean.

use std::path::PathBuf;

use super::distribution::{self, Machine, Secrets, Translation};
use super::environment;
use super::errors::{Errors, Problem};
use super::secrets;
use super::source::{Source, tree_of};
use super::tree::{Node, Origin, Path, Value};

/// Most texts that are looked at: a file of the largest size has no more.
const MAX_TEXTS: usize = 100_000;

/// One text, and where it stands. Has no `Debug`: it may be a secret.
pub struct Written {
    /// The key's path, such as `auth.realm`.
    pub key: String,
    pub text: String,
    file: Option<PathBuf>,
    origin: Origin,
}

impl Written {
    /// What is wrong with it, as every fault of a configuration is told: `file:line: key: what`.
    pub fn told(&self, what: impl Into<String>) -> String {
        let (file, origin, path) = (self.file.clone(), self.origin.clone(), self.key.clone());
        Problem { file, origin, path, what: what.into() }.to_string()
    }
}

impl Source {
    /// Every text of the file and of the environment, also where keys or types are wrong; and the secrets that `…_file` keys name, as
    /// far as they can be read.
    ///
    /// # Errors
    /// The file cannot be read, or is no TOML.
    pub fn written(&self) -> Result<Vec<Written>, Errors> {
        if let Ok(Some(text)) = self.of_distribution() {
            return Ok(self.of_theirs(&text));
        }
        let environment = self.environment()?;
        let mut tree = tree_of(self.path.as_deref(), &environment)?;
        drop(environment::overlay(&mut tree, environment.into_iter()));
        let mut texts = Vec::new();
        self.collect(&tree, &Path::default(), &mut texts);
        let mut with_secrets = Vec::new();
        // Of those that cannot be read, something else stands there.
        if secrets::resolve(&mut tree, secrets::SECRETS).is_empty() {
            self.collect(&tree, &Path::default(), &mut with_secrets);
        }
        with_secrets.retain(|text| !texts.iter().any(|known: &Written| known.key == text.key));
        texts.append(&mut with_secrets);
        Ok(texts)
    }

    /// The same of a configuration of distribution, by our keys: on which line each stands is not known. What is wrong with it is told by
    /// who loads it.
    fn of_theirs(&self, text: &str) -> Vec<Written> {
        let mut texts = Vec::new();
        let made = Translation::of(text, distribution::variables(), Machine::here()).ok();
        if let Some(tree) = made.and_then(|made| Node::parse(&made.toml(Secrets::Shown)).ok()) {
            self.collect(&tree, &Path::default(), &mut texts);
        }
        texts.iter_mut().for_each(|text| text.origin = Origin::Start);
        texts
    }

    fn collect(&self, node: &Node, path: &Path, texts: &mut Vec<Written>) {
        if texts.len() >= MAX_TEXTS {
            return;
        }
        match &node.value {
            Value::Text(text) | Value::Raw(text) => {
                let (file, origin) = (self.path.clone(), node.origin.clone());
                texts.push(Written { key: path.to_string(), text: text.clone(), file, origin });
            }
            Value::Table(entries) => {
                entries.iter().for_each(|(key, child)| self.collect(child, &path.key(key), texts));
            }
            Value::List(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.collect(item, &path.index(index), texts));
            }
            Value::Unset | Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_where_they_stand_and_secrets_behind_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("a.toml"), folder.path().join("secret"));
        std::fs::write(&secret, "CHANGE_ME\n").unwrap();
        let text = format!("wrong = 1\n[redis]\npassword_file = {:?}\n[[route]]\nhosts = [\"a\", \"b\"]\n", secret);
        std::fs::write(&file, text).unwrap();
        let written = Source { path: Some(file.clone()) }.written().unwrap_or_default();
        let of = |key: &str| written.iter().find(|written| written.key == key).map(|written| written.text.as_str());
        assert_eq!(of("route[0].hosts[1]"), Some("b"));
        assert_eq!(of("redis.password_file"), secret.to_str());
        assert_eq!(of("redis.password"), Some("CHANGE_ME"));
        let told = written.iter().find(|written| written.key == "redis.password_file").unwrap().told("is so");
        assert_eq!(told, format!("{}:3: redis.password_file: is so", file.display()));
        std::fs::write(
            &file,
            "version: 0.1\nstorage: {s3: {bucket: b, region: x, secretkey: CHANGE_ME, accesskey: a}}\n",
        )
        .unwrap();
        let written = Source { path: Some(file.clone()) }.written().unwrap_or_default();
        let secret = written.iter().find(|written| written.key == "storage.secret_access_key").unwrap();
        assert_eq!(secret.text, "CHANGE_ME");
        assert_eq!(secret.told("is so"), format!("{}: storage.secret_access_key: is so", file.display()));
        std::fs::write(&file, "no toml").unwrap();
        assert!(Source { path: Some(file) }.written().is_err());
    }
}
