//! A run, and what it said.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::entrepot::BINARY;
use crate::harness::{Request, secrets};

/// A run that is over soon.
pub const SMALL: [&str; 12] =
    ["--pushes", "2", "--pulls", "3", "--requests", "4", "--concurrency", "2", "--layers", "2", "--layer", "70000"];
pub const REPOSITORY: &str = "team/measured";

pub struct Told {
    pub text: String,
    pub errors: String,
    pub code: Option<i32>,
}

/// Of these options alone.
pub fn bench(options: &[&str]) -> Told {
    let mut command = Command::new(BINARY);
    command.arg("bench").args(options);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_")) {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).output().expect("bench runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = Told { text: text(&output.stdout), errors: text(&output.stderr), code: output.status.code() };
    let found = secrets::found_in(&format!("{}{}", told.text, told.errors));
    assert!(found.is_empty(), "it shows secrets: {found:?}");
    told
}

/// A small one, in [`REPOSITORY`], with more options, or in the place of the usual ones.
pub fn small(address: &str, more: &[&str]) -> Told {
    let usual = SMALL.chunks(2).filter(|option| !more.contains(&option[0])).flatten().copied();
    let options: Vec<&str> =
        [address, "--repository", REPOSITORY].into_iter().chain(usual).chain(more.iter().copied()).collect();
    bench(&options)
}

impl Told {
    #[track_caller]
    pub fn well(self) -> Self {
        self.ended(0)
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.text, self.errors);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}{}", self.text, self.errors))
    }
}

/// The tags of [`REPOSITORY`] there.
pub fn tags(address: SocketAddr, login: Option<(&str, &str)>) -> Vec<String> {
    let request = Request::get(format!("/v2/{REPOSITORY}/tags/list"));
    let request = match login {
        Some((user, password)) => request.basic(user, password),
        None => request,
    };
    let answer: Value = serde_json::from_str(&request.send(address).text()).unwrap_or_default();
    answer["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

/// A file of users with this one, and one with the password.
pub fn users(folder: &std::path::Path, user: &str, password: &str) -> (PathBuf, PathBuf) {
    let (users, word) = (folder.join("users"), folder.join("word"));
    std::fs::write(&word, password).expect("a file");
    secrets::note(password);
    let (users_text, word_text) = (users.display().to_string(), word.display().to_string());
    let added = crate::harness::Entrepot::cli(&[
        "user",
        "add",
        &users_text,
        user,
        "--cost",
        "4",
        "--password-file",
        &word_text,
    ]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    (users, word)
}
