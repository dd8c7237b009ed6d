//! What was made, as a file of ours and as lines for people.

use std::path::PathBuf;

use toml::{Table as Fields, Value};

use super::draft::{Draft, Given, Setting};

/// How secrets stand in the text.
#[derive(Clone, Copy)]
pub enum Secrets<'a> {
    /// As they are: for this process alone.
    Shown,
    /// In a file of this name each.
    InFiles(&'a dyn Fn(&str) -> PathBuf),
}

/// The tables with their keys, and above each key what it was made of.
pub(super) fn text(draft: &Draft, secrets: Secrets<'_>) -> String {
    let mut settings: Vec<&Setting> = draft.settings.iter().collect();
    settings.sort_by_key(|setting| setting.table);
    let mut text = String::new();
    let mut last = None;
    for setting in settings {
        if last != Some(setting.table) {
            if last.is_some() {
                text.push('\n');
            }
            text.push_str(setting.table.header());
            text.push('\n');
            last = Some(setting.table);
        }
        text.push_str(&format!("# {}\n{}\n", one_line(&setting.from), line(setting, secrets)));
    }
    text
}

/// `key = value`
fn line(setting: &Setting, secrets: Secrets<'_>) -> String {
    let name = secret_name(setting);
    match (&setting.given, secrets) {
        (Given::Plain(value), _) => format!("{} = {value}", setting.key),
        (Given::Secret(secret), Secrets::Shown) => format!("{} = {}", setting.key, Value::from(secret.reveal())),
        (Given::Secret(_), Secrets::InFiles(file)) => format!("{}_file = {}", setting.key, path(&file(&name))),
        (Given::Login(username, secret), Secrets::Shown) => {
            format!("{} = {}", setting.key, login(username, "password", Value::from(secret.reveal())))
        }
        (Given::Login(username, _), Secrets::InFiles(file)) => {
            format!("{} = {}", setting.key, login(username, "password_file", path(&file(&name))))
        }
    }
}

fn login(username: &str, key: &str, value: Value) -> Value {
    let fields = Fields::from_iter([("username".to_owned(), Value::from(username)), (key.to_owned(), value)]);
    vec![Value::Table(fields)].into()
}

fn path(file: &std::path::Path) -> Value {
    file.display().to_string().into()
}

/// The secrets, by the names of their files.
pub(super) fn secrets(draft: &Draft) -> Vec<(String, String)> {
    let secret = |setting: &Setting| match &setting.given {
        Given::Plain(_) => None,
        Given::Secret(secret) | Given::Login(_, secret) => Some((secret_name(setting), secret.reveal().to_owned())),
    };
    draft.settings.iter().filter_map(secret).collect()
}

/// `storage.secret_access_key`
fn secret_name(setting: &Setting) -> String {
    let key = match setting.given {
        Given::Login(..) => "password",
        _ => setting.key,
    };
    format!("{}.{key}", setting.table.name())
}

/// `storage.s3.bucket is storage.bucket = "images"`, without secrets.
pub(super) fn told(setting: &Setting) -> String {
    let shown = match &setting.given {
        Given::Plain(value) => value.to_string(),
        Given::Secret(_) => "(a secret)".into(),
        Given::Login(username, _) => format!("{} and a secret", Value::from(username.as_str())),
    };
    format!("{} is {}.{} = {shown}", one_line(&setting.from), setting.table.name(), setting.key)
}

/// Keys and values of others may hold line ends.
pub(super) fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
