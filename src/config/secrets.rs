//! Secrets by file: where `password` is a secret, `password_file` names a file that holds it, so
//! that neither the configuration nor the environment need carry it.

use std::path::Path as FilePath;

use super::tree::{Node, Path, Value};

/// Paths of the keys that hold secrets, one step each; `*` stands for any key or number. A room
/// that gains a secret key adds it here.
pub const SECRETS: &[&[&str]] = &[
    &["storage", "secret_access_key"],
    &["storage", "account_key"],
    &["redis", "password"],
    &["auth", "password"],
    &["cluster", "*", "authorization", "password"],
];

/// A file that holds a secret is no longer than this, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Puts the contents of the files that `…_file` keys name into the keys themselves.
pub fn resolve(tree: &mut Node, secrets: &[&[&str]]) -> Vec<(Path, String)> {
    let mut findings = Vec::new();
    for secret in secrets {
        if let [parents @ .., key] = secret {
            visit(tree, &Path::default(), parents, key, &mut findings);
        }
    }
    findings
}

fn visit(node: &mut Node, path: &Path, parents: &[&str], key: &str, findings: &mut Vec<(Path, String)>) {
    let [step, rest @ ..] = parents else {
        if let Err(finding) = replace(node, path, key) {
            findings.push(finding);
        }
        return;
    };
    match &mut node.value {
        Value::Table(entries) => {
            for (name, child) in entries.iter_mut().filter(|(name, _)| *step == "*" || name == step) {
                visit(child, &path.key(name), rest, key, findings);
            }
        }
        Value::List(items) if *step == "*" => {
            for (index, child) in items.iter_mut().enumerate() {
                visit(child, &path.index(index), rest, key, findings);
            }
        }
        _ => {}
    }
}

fn replace(node: &mut Node, path: &Path, key: &str) -> Result<(), (Path, String)> {
    let Value::Table(entries) = &mut node.value else { return Ok(()) };
    let file_key = format!("{key}_file");
    let Some(named) = entries.remove(&file_key) else { return Ok(()) };
    let at = path.key(&file_key);
    let file = match named.value {
        Value::Unset => return Ok(()),
        Value::Text(file) | Value::Raw(file) => file,
        _ => return Err((at, "must be the path of a file, in quotes".into())),
    };
    if entries.get(key).is_some_and(|given| given.value != Value::Unset) {
        return Err((at, format!("'{key}' is given too; give one of the two")));
    }
    let (text, outcome) = match secret_in(FilePath::new(&file)) {
        Ok(text) => (text, Ok(())),
        // Something stands for it, so that it is not told to be missing besides; what is told refuses the whole.
        Err(what) => ("unread".to_owned(), Err((at, what))),
    };
    // Text and not Raw: a secret that looks like a number stays what it is.
    entries.insert(key.into(), Node { origin: named.origin, value: Value::Text(text) });
    outcome
}

fn secret_in(file: &FilePath) -> Result<String, String> {
    let text = super::file::text(file, MAX_SECRET)?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(format!("{} is empty", file.display()));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment;

    const PASSWORDS: &[&[&str]] = &[&["remote", "*", "password"]];

    #[test]
    fn a_secret_is_read_from_the_file_that_a_key_or_a_variable_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "  hunter2\n").unwrap();
        let mut tree = Node::parse(&format!("[remote.hub]\npassword_file = {:?}\n", file.to_str().unwrap())).unwrap();
        let variable = ("ENTREPOT_REMOTE__QUAY__PASSWORD_FILE".to_owned(), file.to_str().unwrap().to_owned());
        assert!(environment::overlay(&mut tree, [variable].into_iter()).is_empty());
        assert_eq!(resolve(&mut tree, PASSWORDS), []);
        for name in ["hub", "quay"] {
            let remote = Path::default().key("remote").key(name);
            assert_eq!(tree.get(&remote.key("password")).unwrap().value, Value::Text("hunter2".into()));
            assert_eq!(tree.get(&remote.key("password_file")), None);
        }
    }

    #[test]
    fn a_secret_twice_or_in_no_file_is_refused() {
        let file =
            "[remote.a]\npassword = \"x\"\npassword_file = \"y\"\n[remote.b]\npassword_file = \"/nowhere/secret\"\n";
        let mut tree = Node::parse(file).unwrap();
        let findings = resolve(&mut tree, PASSWORDS);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].1.contains("one of the two"));
        assert!(findings[1].1.contains("/nowhere/secret"));
    }
}
