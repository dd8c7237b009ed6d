//! `entrepot serve`: the configuration, then the application.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app;
use crate::config::Source;

pub fn run(config: Option<PathBuf>) -> ExitCode {
    let source = Source::find(config);
    match source.load() {
        Ok(config) => app::serve(source, config),
        Err(errors) => super::fail(errors),
    }
}
