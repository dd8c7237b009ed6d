//! `entrepot mirror warm IMAGE…`: has a running Entrepot bring images whole, and shows how far it is.

mod progress;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::timeout;

use super::admin::{Admin, AdminArguments};
use super::lines::Lines;
use progress::Progress;

/// Images of one order, and bytes of a file of them.
const MAX_IMAGES: usize = 10_000;
const MAX_FILE: u64 = 1 << 20;
/// Bytes of an answer that says why nothing is brought.
const MAX_REFUSAL: usize = 64 << 10;
/// A step comes each second while something is fetched; a server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct Warm {
    /// docker.io/library/alpine:3, alpine:3, ghcr.io/team/app@sha256:…
    #[arg(value_name = "IMAGE", required_unless_present = "from")]
    images: Vec<String>,
    /// Which platforms of an image, such as linux/arm64 [default: that of the server's machine]
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "all_platforms")]
    platform: Vec<String>,
    /// All platforms of each image
    #[arg(long)]
    all_platforms: bool,
    /// A file with an image on each line, '-' for stdin; '#' begins a comment
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Each step as a line of JSON, errors too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub fn run(command: Warm) -> ExitCode {
    let mut progress = Progress::new(command.json);
    let outcome = super::interruptible(warm(command, &mut progress));
    progress.clear();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            if matches!(failure, super::Failure::Interrupted) {
                super::err("what was fetched stays; the same command goes on from there");
            }
            super::give_up(failure)
        }
    }
}

/// Whether every image is whole.
async fn warm(command: Warm, progress: &mut Progress) -> Result<bool, String> {
    let mut images = command.images;
    if let Some(file) = &command.from {
        images.extend(listed(&read(file)?));
    }
    let mut seen = BTreeSet::new();
    images.retain(|image| seen.insert(image.clone()));
    if images.is_empty() || images.len() > MAX_IMAGES {
        return Err(format!("1 to {MAX_IMAGES} images can be warmed at once, not {}", images.len()));
    }
    let platforms = if command.all_platforms { vec!["all".to_owned()] } else { command.platform };
    let order = json!({ "images": images, "platforms": platforms }).to_string();
    let admin = Admin::find(command.admin)?;
    let question = admin.post("/mirror/warm").header("Content-Type", "application/json").body(order);
    let mut answer = question.send().await.map_err(|error| admin.silent(&error))?;
    if answer.status() != 200 {
        let refused = admin.read(answer, MAX_REFUSAL).await;
        return Err(refused.err().unwrap_or_else(|| "the admin endpoint does not answer as Entrepot's does".into()));
    }
    let mut lines = Lines::default();
    loop {
        let chunk = timeout(SILENCE, answer.chunk()).await.map_err(|_| gone("it says nothing any more"))?;
        let Some(chunk) = chunk.map_err(|error| admin.silent(&error))? else {
            return Err(gone("the answer ended before the work did"));
        };
        for step in lines.take(&chunk).map_err(|what| gone(&what))? {
            if step["event"] == "beat" {
                continue;
            }
            progress.step(&step);
            if step["event"] == "end" {
                return Ok(step["failed"] == 0);
            }
        }
    }
}

fn gone(what: &str) -> String {
    format!("the server stopped: {what}; what was fetched stays")
}

fn read(file: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", file.display());
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(MAX_FILE + 1).read_to_string(&mut text),
        _ => std::fs::File::open(file).map_err(failed)?.take(MAX_FILE + 1).read_to_string(&mut text),
    };
    match read.map_err(failed)? as u64 > MAX_FILE {
        true => Err(format!("{} is longer than {MAX_FILE} bytes", file.display())),
        false => Ok(text),
    }
}

/// The images of a file: one on a line, without comments.
fn listed(text: &str) -> impl Iterator<Item = String> + '_ {
    let images = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    images.filter(|image| !image.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_image_on_each_line() {
        let text = "# for the lab\nalpine:3\n\n  docker.io/library/busybox  # small\n";
        assert_eq!(listed(text).collect::<Vec<_>>(), ["alpine:3", "docker.io/library/busybox"]);
    }
}
