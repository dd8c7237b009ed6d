//! `entrepot explain IMAGE`: what a running Entrepot knows of an image, and where its parts are.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin::{Admin, AdminArguments};
use super::words::{age, short, size, text};

/// How long we wait: storage is asked for each blob.
const TIMEOUT: Duration = Duration::from_secs(310);
/// We read no more than this of the answer: 64 manifests of 4,096 blobs are less.
const MAX_ANSWER: usize = 64 << 20;

#[derive(Args)]
pub struct Explain {
    /// docker.io/library/alpine:3, alpine:3, ghcr.io/team/app@sha256:…
    #[arg(value_name = "IMAGE")]
    image: String,
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

pub fn run(command: Explain) -> ExitCode {
    let told = super::interruptible(async move {
        let admin = Admin::find(command.admin)?;
        let question = admin.get("/explain", &[("ref", &command.image)]).timeout(TIMEOUT);
        let answer = admin.ask(question, MAX_ANSWER).await?;
        let text = if command.json { format!("{answer:#}\n") } else { shown(&answer) };
        Ok((text, answer["here"] == true))
    });
    match told {
        Ok((text, true)) => super::say(Ok(text)),
        Ok((text, false)) => {
            super::say(Ok(text));
            ExitCode::FAILURE
        }
        Err(failure) => super::give_up(failure),
    }
}

/// For people. Writing to a String cannot fail.
fn shown(answer: &Value) -> String {
    let now = answer["now"].as_u64().unwrap_or_default();
    let mut told = String::new();
    let reference = text(&answer["reference"]);
    let sign = if reference.contains(':') { '@' } else { ':' };
    let _ = writeln!(told, "{}{sign}{reference}", text(&answer["name"]));
    for route in list(&answer["routes"]) {
        let hosts: Vec<_> = list(&route["hosts"]).iter().map(text).collect();
        let hosts = if hosts.is_empty() { "any host".into() } else { hosts.join(", ") };
        let write = route["write"].as_str().unwrap_or("refused");
        let _ = writeln!(
            told,
            "  route     {hosts}, {}: read {}, write {write}; {}",
            text(&route["repositories"]),
            text(&route["read"]),
            text(&route["who"])
        );
    }
    let remote = &answer["remote"];
    if remote.is_object() {
        let place = (text(&remote["registry"]), text(&remote["url"]));
        let _ = writeln!(
            told,
            "  remote    {}: {} at {} ({})",
            text(&remote["remote"]),
            text(&answer["there"]),
            place.0,
            place.1
        );
        let _ = writeln!(told, "            {}", super::mirror::state(remote));
    }
    if let Some(pushed) = answer["pushed"].as_str() {
        let _ = writeln!(
            told,
            "  pushed    {}: this is what is served; deleting the tag uncovers the remote's",
            short(pushed)
        );
    }
    tag(&answer["tag"], now, &mut told);
    if remote.is_object() && answer["here"] == false {
        let _ = writeln!(told, "  here      nothing");
    }
    if let Some(said) = answer["answer"].as_str() {
        let _ = writeln!(told, "  so        {said}");
    }
    for manifest in list(&answer["manifests"]) {
        one_manifest(manifest, &mut told);
    }
    told
}

/// What is known of what the remote's tag names.
fn tag(tag: &Value, now: u64, told: &mut String) {
    if !tag.is_object() {
        return;
    }
    let ago =
        |value: &Value| value.as_u64().filter(|at| *at > 0).map(|at| format!("{} ago", age(now.saturating_sub(at))));
    let asked = ago(&tag["asked"]).unwrap_or_else(|| "never".into());
    let pulled = ago(&tag["pulled"]).map(|ago| format!(", last pulled {ago}")).unwrap_or_default();
    let _ = writeln!(told, "  tag       asked {asked}{pulled}: {}", text(&tag["why"]));
    for (place, digest) in list(&tag["digests"]).iter().enumerate() {
        let which = if place == 0 { "newest" } else { "before" };
        let _ = writeln!(told, "  {which}    {}", text(digest));
    }
    match tag["offline"].as_str() {
        Some(offline) if tag["digests"][0] == offline => {
            let _ = writeln!(told, "  offline   the newest is served while the remote is down");
        }
        Some(offline) => {
            let _ = writeln!(
                told,
                "  offline   {offline} is served while the remote is down: of the newest not all is here"
            );
        }
        None => {
            let _ = writeln!(told, "  offline   nothing is served while the remote is down: nothing is whole here");
        }
    }
}

fn one_manifest(manifest: &Value, told: &mut String) {
    let platform = manifest["platform"].as_str().map(|platform| format!(" {platform}")).unwrap_or_default();
    let whole = match (manifest["kept"].as_bool(), manifest["whole"].as_bool()) {
        (Some(true), _) if list(&manifest["blobs"]).is_empty() => "here",
        (Some(true), Some(true)) => "whole here",
        (Some(true), _) => "here, not all that it names",
        _ => "not here",
    };
    let _ = writeln!(told, "  manifest  {}{platform}: {whole}", text(&manifest["digest"]));
    for blob in list(&manifest["blobs"]) {
        let places: Vec<_> = list(&blob["places"]).iter().map(text).collect();
        let places = if places.is_empty() { "absent".into() } else { places.join(", ") };
        let _ = writeln!(
            told,
            "    blob    {} {:>9}  {places}",
            short(&text(&blob["digest"])),
            size(blob["size"].as_u64())
        );
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_explained_line_by_line() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let told = shown(&json!({
            "name": "docker.io/library/alpine", "reference": "3", "here": true, "there": "library/alpine", "now": 1000,
            "routes": [{ "hosts": [], "repositories": "docker.io/**", "read": "remote.hub", "write": null, "who": "everybody may pull" }],
            "remote": { "remote": "hub", "registry": "docker.io", "url": "https://registry-1.docker.io", "state": {} },
            "answer": "the remote is asked",
            "tag": { "digests": [digest], "asked": 880, "pulled": 0, "why": "tag_ttl is 1m: asked again at the next pull", "offline": digest },
            "manifests": [
                { "digest": digest, "platform": "linux/amd64", "kept": true, "whole": false, "blobs": [
                    { "digest": digest, "size": 3 << 20, "places": ["storage", "memory"] },
                    { "digest": digest, "size": 1, "places": [] },
                ] },
            ],
        }));
        for line in [
            "docker.io/library/alpine:3\n",
            "  offline   the newest is served while the remote is down\n",
            "  route     any host, docker.io/**: read remote.hub, write refused; everybody may pull\n",
            "  remote    hub: library/alpine at docker.io (https://registry-1.docker.io)\n",
            "  tag       asked 2m ago: tag_ttl is 1m: asked again at the next pull\n",
            "  so        the remote is asked\n",
            "linux/amd64: here, not all that it names\n",
            "    blob    sha256:aaaaaaaaaaaa   3.0 MiB  storage, memory\n",
            "  absent\n",
        ] {
            assert!(told.contains(line), "{line}\n{told}");
        }
    }

    #[test]
    fn an_answer_without_anything_is_shown_without_a_panic() {
        assert_eq!(shown(&json!({})), "-:-\n");
        assert_eq!(shown(&json!([])), "-:-\n");
    }
}
