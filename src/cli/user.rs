//! `entrepot user …`: the users in a file of Apache's `htpasswd`. A running Entrepot sees the change within seconds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::recorded::{Recorded, configuration_of};
use crate::audit::Deed;
use crate::auth::htpasswd::{ChangeError, Edit, MAX_COST, MIN_COST, MakeError, Recipe, USUAL_COST, change, make};
use crate::auth::passwords::MAX_PASSWORD;

#[derive(Subcommand)]
pub enum Command {
    /// Add a user; the file is made if it is not there. The password is a line on stdin, or in a file.
    Add {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: Password,
    },
    /// Give a user another password.
    Passwd {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: Password,
    },
    /// Take a user away.
    Remove {
        #[command(flatten)]
        user: User,
    },
}

#[derive(Args)]
pub struct User {
    /// The file of users, as `[auth] htpasswd` names it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The user's name
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Args)]
pub struct Password {
    /// Read the password from a file, without the end of its line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Of bcrypt: each one more doubles the time that a login takes
    #[arg(long, value_name = "COST", default_value_t = USUAL_COST, value_parser = clap::value_parser!(u32).range(i64::from(MIN_COST)..=i64::from(MAX_COST)))]
    cost: u32,
    /// Hash with argon2id instead of bcrypt, which only Entrepot reads from such a file
    #[arg(long, conflicts_with = "cost")]
    argon2: bool,
}

/// Why nothing was changed. Never shows a password.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("the password cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {MAX_PASSWORD} bytes")]
    TooLong,
    #[error("the password is not UTF-8, as clients send it, or has control characters in it")]
    Characters,
    #[error("the password is one line, and there are more")]
    Lines,
    #[error("{0}")]
    Unrecorded(String),
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

pub fn run(command: Command) -> ExitCode {
    let stdin = io::stdin();
    if stdin.is_terminal() && command.reads_stdin() {
        // Not by eprint!, which panics where nobody reads.
        let _ = write!(io::stderr(), "Password: ");
    }
    match execute(&command, &mut stdin.lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

impl Command {
    fn reads_stdin(&self) -> bool {
        match self {
            Command::Add { password, .. } | Command::Passwd { password, .. } => password.password_file.is_none(),
            Command::Remove { .. } => false,
        }
    }
}

fn execute(command: &Command, stdin: &mut impl BufRead) -> Result<(), UserError> {
    let (user, action, hash) = match command {
        Command::Add { user, password } => (user, "user_added", Some(password.hash(stdin)?)),
        Command::Passwd { user, password } => (user, "user_changed", Some(password.hash(stdin)?)),
        Command::Remove { user } => (user, "user_removed", None),
    };
    let name = &user.name;
    let edit = match (command, &hash) {
        (Command::Add { .. }, Some(hash)) => Edit::Add { name, hash },
        (Command::Passwd { .. }, Some(hash)) => Edit::Replace { name, hash },
        _ => Edit::Remove { name },
    };
    let Some(config) = configuration_of(&user.file) else { return Ok(change(&user.file, &edit)?) };
    let deed = Deed { action, reference: Some(format!("user:{name}")), ..Deed::default() };
    let recorded = Recorded::begin(&config, deed).map_err(UserError::Unrecorded)?;
    Ok(recorded.end(change(&user.file, &edit), |()| None)?)
}

impl Password {
    fn hash(&self, stdin: &mut impl BufRead) -> Result<String, UserError> {
        let password = match &self.password_file {
            Some(path) => whole(path)?,
            None => line(stdin)?,
        };
        let recipe = if self.argon2 { Recipe::Argon2 } else { Recipe::Bcrypt { cost: self.cost } };
        Ok(make(&check(&password)?, recipe)?)
    }
}

/// The longest password, the end of its line, and one byte more, by which a longer one is seen.
const MAX_READ: u64 = MAX_PASSWORD as u64 + 3;

/// What follows the first line is another program's to read.
fn line(stdin: &mut impl BufRead) -> Result<Vec<u8>, UserError> {
    let mut bytes = Vec::new();
    stdin.take(MAX_READ).read_until(b'\n', &mut bytes).map_err(UserError::Unreadable)?;
    Ok(bytes)
}

fn whole(path: &Path) -> Result<Vec<u8>, UserError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(UserError::Unreadable)?;
    BufReader::new(file).take(MAX_READ).read_to_end(&mut bytes).map_err(UserError::Unreadable)?;
    Ok(bytes)
}

/// The password without the end of its line.
fn check(bytes: &[u8]) -> Result<Vec<u8>, UserError> {
    let password = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() {
        return Err(UserError::Empty);
    }
    if password.len() > MAX_PASSWORD {
        return Err(UserError::TooLong);
    }
    if password.contains(&b'\n') {
        return Err(UserError::Lines);
    }
    match std::str::from_utf8(password) {
        Ok(text) if !text.contains(char::is_control) => Ok(password.to_vec()),
        _ => Err(UserError::Characters),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser;

    use super::*;
    use crate::auth::htpasswd::parse;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn run(words: &[&str], stdin: &str) -> Result<(), String> {
        let line = Line::try_parse_from([&["user"], words].concat()).map_err(|error| error.to_string())?;
        execute(&line.command, &mut stdin.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_is_added_changed_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let file = path.to_str().unwrap();
        let right = |name: &str, password: &str| {
            let users = parse(&fs::read(&path).unwrap()).unwrap();
            users.find(name).unwrap().hash.is_of(password.as_bytes()).unwrap()
        };
        run(&["add", file, "alice", "--cost", "4"], "one\nmore\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(right("alice", "one") && !right("alice", "one\n"));
        let told = run(&["add", file, "alice", "--cost=4"], "x\n").unwrap_err();
        assert!(told.contains("is there already") && told.starts_with(file), "{told}");
        assert!(right("alice", "one"));

        let secret = folder.path().join("secret");
        fs::write(&secret, "two\r\n").unwrap();
        run(&["passwd", file, "alice", "--argon2", "--password-file", secret.to_str().unwrap()], "").unwrap();
        assert!(
            right("alice", "two") && fs::read_to_string(&path).unwrap().starts_with("alice:$argon2id$v=19$m=19456,")
        );
        assert!(run(&["passwd", file, "bob", "--cost=4"], "x\n").unwrap_err().contains("no such user"));
        run(&["remove", file, "alice"], "").unwrap();
        assert!(run(&["remove", file, "alice"], "").unwrap_err().contains("no such user"));
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn what_is_no_password_is_told_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let file = path.to_str().unwrap();
        let told = |stdin: &str| run(&["add", file, "alice", "--cost=4"], stdin).unwrap_err();
        assert!(told("").contains("empty") && told("\n").contains("empty") && told("\r\n").contains("empty"));
        assert!(told("hunter\u{0}2\n").contains("control characters"));
        assert!(told(&"hunter2".repeat(11)).contains("--argon2"));
        assert!(told(&"a".repeat(MAX_PASSWORD + 1)).contains("longer than 16384"));
        assert!(!path.exists());
        let secret = folder.path().join("secret");
        for (text, expected) in
            [(&b"hunter2\nhunter3\n"[..], "one line"), (b"hunter2\xff", "not UTF-8"), (b"", "empty")]
        {
            fs::write(&secret, text).unwrap();
            let told = run(&["add", file, "alice", "--password-file", secret.to_str().unwrap()], "").unwrap_err();
            assert!(told.contains(expected) && !told.contains("hunter"), "{told}");
        }
        assert!(
            run(&["add", file, "alice", "--password-file", "/nowhere"], "").unwrap_err().contains("cannot be read")
        );
        assert!(run(&["add", file, "a:b", "--cost=4"], "x").unwrap_err().contains("no colon"));
        assert!(!path.exists());
    }

    #[test]
    fn the_cost_is_bounded_and_argon2_has_none() {
        for words in [["--cost", "3"], ["--cost", "15"], ["--cost", "x"], ["--cost=10", "--argon2"]] {
            assert!(run(&["add", "users", "alice", words[0], words[1]], "x").is_err(), "{words:?}");
        }
        assert!(!Path::new("users").exists());
    }
}
