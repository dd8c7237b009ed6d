//! What commands say beside their answer, on stderr: sentences, or, with `--json`, a line of JSON for each of them. Errors have the shape
//! that the registry and the admin endpoint give theirs.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ArgMatches;
use clap::error::Error;
use serde_json::{Value, json};

use super::{Failure, INTERRUPTED};

/// Exit code: it was misused.
const MISUSED: u8 = 2;
/// The flag that every command has whose answer can be JSON.
const FLAG: &str = "--json";

/// Said once, before a command begins: it is one for the whole process, as stderr is.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// How a command came to nothing. Each is an exit status too.
#[derive(Clone, Copy)]
enum Code {
    Failed,
    Misused,
    Interrupted,
}

impl Code {
    fn word(self) -> &'static str {
        match self {
            Code::Failed => "FAILED",
            Code::Misused => "MISUSED",
            Code::Interrupted => "INTERRUPTED",
        }
    }

    fn exit(self) -> ExitCode {
        match self {
            Code::Failed => ExitCode::FAILURE,
            Code::Misused => ExitCode::from(MISUSED),
            Code::Interrupted => ExitCode::from(INTERRUPTED),
        }
    }
}

/// From here on it is said as this command line wants it.
pub fn as_wanted_by(matches: &ArgMatches) {
    AS_JSON.store(wants_json(matches), Ordering::Relaxed);
}

/// The flag belongs to the innermost command, or to one that may stand without an inner one.
fn wants_json(matches: &ArgMatches) -> bool {
    let here = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or_default();
    here || matches.subcommand().is_some_and(|(_, inner)| wants_json(inner))
}

/// What the words cannot be understood as: help and the version too, which are no failure.
pub fn misunderstood(error: &Error, words: &[OsString]) -> ExitCode {
    if error.use_stderr() && words.iter().any(|word| word == FLAG) {
        AS_JSON.store(true, Ordering::Relaxed);
        return ended(Code::Misused, &what_is_wrong(&error.render().to_string()));
    }
    // Whoever no longer reads has what they wanted.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Of what is shown to people, without how the command is used.
fn what_is_wrong(shown: &str) -> String {
    let told = shown.split("\n\nUsage:").next().unwrap_or_default();
    told.strip_prefix("error: ").unwrap_or(told).trim().to_owned()
}

/// Says on stderr why a command failed.
pub fn fail(what: impl std::fmt::Display) -> ExitCode {
    ended(Code::Failed, &what.to_string())
}

/// It never began: what it was told cannot be done by anybody.
pub fn misused(what: impl std::fmt::Display) -> ExitCode {
    ended(Code::Misused, &what.to_string())
}

pub fn give_up(failure: Failure) -> ExitCode {
    match failure {
        Failure::Told(what) => fail(what),
        Failure::Interrupted => interrupted("interrupted"),
    }
}

/// Ctrl-C or SIGTERM ended it, and there is this to say.
pub fn interrupted(what: &str) -> ExitCode {
    ended(Code::Interrupted, what)
}

fn ended(code: Code, what: &str) -> ExitCode {
    match AS_JSON.load(Ordering::Relaxed) {
        true => write(&format!("{}\n", error(code, what))),
        false => write(&format!("{what}\n")),
    }
    code.exit()
}

fn error(code: Code, what: &str) -> Value {
    json!({ "errors": [{ "code": code.word(), "message": what }] })
}

/// A line that should be known, whatever comes of the command.
pub fn err(line: &str) {
    print_err(&format!("{line}\n"));
}

/// Lines of that kind.
pub fn print_err(text: &str) {
    match AS_JSON.load(Ordering::Relaxed) {
        true => {
            text.lines().filter(|line| !line.trim().is_empty()).for_each(|line| write(&format!("{}\n", note(line))))
        }
        false => write(text),
    }
}

fn note(line: &str) -> Value {
    json!({ "notes": [{ "message": line }] })
}

/// Not by eprint!, which panics where nobody reads.
fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    fn matches(words: &[&str]) -> ArgMatches {
        Arguments::command().try_get_matches_from(std::iter::once("entrepot").chain(words.iter().copied())).unwrap()
    }

    #[test]
    fn the_flag_is_found_wherever_a_command_has_it() {
        for (words, wanted) in [
            (&["status", "--json"][..], true),
            (&["status"], false),
            (&["gc", "run", "--json"], true),
            (&["uploads", "--json"], true),
            (&["uploads", "cancel", "--json", "id"], true),
            (&["uploads", "cancel", "id"], false),
            (&["check", "a.toml"], false),
            (&["quota", "--json"], true),
        ] {
            assert_eq!(wants_json(&matches(words)), wanted, "{words:?}");
        }
    }

    #[test]
    fn an_error_is_one_line() {
        let told = error(Code::Failed, "one\n\"two\"").to_string();
        assert_eq!(told, r#"{"errors":[{"code":"FAILED","message":"one\n\"two\""}]}"#);
        assert_eq!(note("x").to_string(), r#"{"notes":[{"message":"x"}]}"#);
    }

    #[test]
    fn how_a_command_is_used_is_no_part_of_what_is_wrong() {
        let shown =
            "error: unexpected argument '--x' found\n\nUsage: entrepot status\n\nFor more information, try '--help'.\n";
        assert_eq!(what_is_wrong(shown), "unexpected argument '--x' found");
        assert_eq!(what_is_wrong("error: two\n  lines\n"), "two\n  lines");
        assert_eq!(what_is_wrong(""), "");
    }
}
