//! `entrepot mirror …`: other registries that a running Entrepot mirrors.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin::{Admin, AdminArguments};
use super::warm;
use super::words::{age, printable, short, text};

/// How long we wait: storage is asked for each blob of each image.
const TIMEOUT: Duration = Duration::from_secs(310);
/// We read no more than this of the answer.
const MAX_ANSWER: usize = 64 << 20;

#[derive(Subcommand)]
pub enum Command {
    /// Bring images whole, so that they can be pulled while their registry is down. Exit code 0: all are.
    Warm(warm::Warm),
    /// Say how remotes are, what is left of their pulls, and which images can be pulled while they are down.
    Status(Status),
}

#[derive(Args)]
pub struct Status {
    /// Only this one, by its name in the configuration: hub for [remote.hub]
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,
    /// Tell of so many images of each remote
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    limit: usize,
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Warm(command) => warm::run(command),
        Command::Status(command) => super::say(super::interruptible(status(command))),
    }
}

async fn status(command: Status) -> Result<String, String> {
    let admin = Admin::find(command.admin)?;
    let limit = command.limit.to_string();
    let remote = command.remote.as_ref().map(|remote| ("remote", remote.as_str()));
    let pairs: Vec<_> = [("limit", limit.as_str())].into_iter().chain(remote).collect();
    let answer = admin.ask(admin.get("/mirror/status", &pairs).timeout(TIMEOUT), MAX_ANSWER).await?;
    Ok(if command.json { format!("{answer:#}\n") } else { shown(&answer) })
}

/// For people. Writing to a String cannot fail.
fn shown(answer: &Value) -> String {
    let now = answer["now"].as_u64().unwrap_or_default();
    let mut told = String::new();
    let remotes = answer["remotes"].as_array().map_or(&[][..], Vec::as_slice);
    if remotes.is_empty() {
        told.push_str("no registry is mirrored: the configuration has no [remote.NAME]\n");
    }
    for remote in remotes {
        let names = (text(&remote["remote"]), text(&remote["registry"]), text(&remote["url"]));
        let _ = writeln!(told, "{}  {} at {}, kept in {}", names.0, names.1, names.2, text(&remote["keep"]));
        let _ = writeln!(told, "  {}", state(remote));
        if let Some(trouble) = remote["trouble"].as_str() {
            let _ = writeln!(told, "  what is kept cannot be read: {}", printable(trouble));
        }
        let images = remote["images"].as_array().map_or(&[][..], Vec::as_slice);
        let more = if remote["more"] == true { "more than " } else { "" };
        let _ = writeln!(told, "  tags known: {more}{}", text(&remote["tags"]));
        for image in images {
            let _ = writeln!(told, "    {}", one_image(image, now));
        }
    }
    told
}

fn one_image(image: &Value, now: u64) -> String {
    let ago = |key: &str| image[key].as_u64().filter(|at| *at > 0).map(|at| age(now.saturating_sub(at)));
    let asked = ago("asked").map_or_else(|| "never asked".into(), |ago| format!("asked {ago} ago"));
    let pulled = ago("pulled").map(|ago| format!(", pulled {ago} ago")).unwrap_or_default();
    let offline: Vec<_> = image["offline"].as_array().into_iter().flatten().map(offline).collect();
    let offline = if offline.is_empty() { "no".to_owned() } else { offline.join(", ") };
    let digest = short(&text(&image["digest"]));
    format!("{}:{}  {digest}  {asked}{pulled}; pulls offline: {offline}", text(&image["name"]), text(&image["tag"]))
}

fn offline(platform: &Value) -> String {
    let whole = if platform["whole"] == true { "yes" } else { "no" };
    match platform["platform"].as_str() {
        Some(name) if !name.is_empty() => format!("{} {whole}", printable(name)),
        _ => whole.to_owned(),
    }
}

/// How a remote is, in one line.
pub fn state(remote: &Value) -> String {
    let state = &remote["state"];
    let up = match state["up"].as_bool() {
        Some(true) => "answers",
        Some(false) => "does not answer",
        None => "has not been asked",
    };
    let ago = state["asked_seconds"].as_u64().map(|ago| format!(" ({} ago)", age(ago))).unwrap_or_default();
    let mut told = vec![format!("{up}{ago}")];
    if let Some(breaker) = state["breaker"].as_str().filter(|breaker| *breaker != "closed") {
        told.push(format!("breaker {}", printable(breaker)));
    }
    let budget = &state["budget"];
    if let Some(seconds) = budget["paused_seconds"].as_u64() {
        told.push(format!("it had enough of us: nothing is asked for {} more", age(seconds)));
    }
    told.extend(budget["credentials"].as_array().into_iter().flatten().filter_map(pulls_left));
    told.join("; ")
}

/// `76 of 100 pulls left for ann (203.0.113.7)`; nothing where the remote never told.
fn pulls_left(credential: &Value) -> Option<String> {
    let wait = credential["wait_seconds"].as_u64().map(|seconds| format!(", the next in {}", age(seconds)));
    let left = credential["left"].as_u64().or_else(|| wait.as_ref().map(|_| 0))?;
    let limit = credential["limit"].as_u64().map(|limit| format!(" of {limit}")).unwrap_or_default();
    let source = credential["source"].as_str().map(|source| format!(" ({})", printable(source)));
    let (source, wait) = (source.unwrap_or_default(), wait.unwrap_or_default());
    Some(format!("{left}{limit} pulls left for {}{source}{wait}", text(&credential["credential"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_shown_with_what_pulls_offline() {
        let told = shown(&json!({
            "now": 1000,
            "remotes": [{
                "remote": "hub", "registry": "docker.io", "url": "https://registry-1.docker.io", "keep": "storage",
                "state": { "up": false, "asked_seconds": 5, "breaker": "open", "budget": { "paused_seconds": 61, "credentials": [
                    { "credential": "ann", "source": "203.0.113.7", "left": 76, "limit": 100 },
                    { "credential": "bob", "left": null, "limit": null },
                    { "credential": "eve", "left": 0, "limit": 100, "wait_seconds": 7200 },
                ] } }, "tags": 10_000, "more": true,
                "images": [
                    { "name": "docker.io/library/alpine", "tag": "3", "digest": format!("sha256:{}", "a".repeat(64)), "asked": 700,
                      "pulled": 940, "offline": [{ "platform": "linux/amd64", "whole": true }, { "platform": "linux/arm64", "whole": false }] },
                    { "name": "docker.io/library/none", "tag": "1", "digest": null, "asked": 0, "pulled": 0, "offline": [] },
                ],
            }],
        }));
        for line in [
            "hub  docker.io at https://registry-1.docker.io, kept in storage\n",
            "  does not answer (5s ago); breaker open; it had enough of us: nothing is asked for 1m more; 76 of 100 pulls left for ann (203.0.113.7); \
             0 of 100 pulls left for eve, the next in 2h\n",
            "  tags known: more than 10000\n",
            "    docker.io/library/alpine:3  sha256:aaaaaaaaaaaa  asked 5m ago, pulled 1m ago; pulls offline: linux/amd64 yes, linux/arm64 no\n",
            "    docker.io/library/none:1  -  never asked; pulls offline: no\n",
        ] {
            assert!(told.contains(line), "{line}\n{told}");
        }
        assert!(shown(&json!({})).contains("no registry is mirrored"));
    }
}
