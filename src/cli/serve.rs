//! `entrepot serve`: the configuration, then the application.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::app::{self, Beginning};
use crate::config::Source;
use crate::config::distribution::has_its_ending;

pub fn run(config: Option<PathBuf>) -> ExitCode {
    let beginning = match Beginning::of_process(Source::find(config)) {
        Ok(beginning) => beginning,
        Err(what) => return super::fail(what),
    };
    match beginning.source().load() {
        Ok(config) => app::serve(beginning, config),
        Err(errors) => {
            beginning.failed(&errors.to_string());
            super::fail(errors)
        }
    }
}

/// Distribution's image takes its file alone for `serve FILE`: so do we. No command is called as such a file is.
pub fn spelled_out(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|argument| has_its_ending(Path::new(argument))) {
        arguments.insert(1, "serve".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_alone_is_served() {
        let spelled =
            |arguments: &[&str]| spelled_out(arguments.iter().map(OsString::from).collect()).join(" ".as_ref());
        assert_eq!(
            spelled(&["entrepot", "/etc/docker/registry/config.yml"]),
            "entrepot serve /etc/docker/registry/config.yml"
        );
        assert_eq!(spelled(&["entrepot", "config.yaml"]), "entrepot serve config.yaml");
        for same in [&["entrepot"][..], &["entrepot", "check", "a.yml"], &["entrepot", "serve"], &["entrepot", "yml"]] {
            assert_eq!(spelled(same), same.join(" ").as_str());
        }
    }
}
