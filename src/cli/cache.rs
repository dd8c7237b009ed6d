//! `entrepot cache …`: asks a running Entrepot, through its admin endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::config::Source;
use crate::oci::Digest;

/// How long we wait for the admin endpoint in all: a purge is two deletions.
const TIMEOUT: Duration = Duration::from_secs(30);
/// We read no more than this of its answer.
const MAX_ANSWER: usize = 4 << 10;

#[derive(Subcommand)]
pub enum Command {
    /// Forget one blob or manifest, in memory and on disk.
    Purge {
        /// Such as sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        digest: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
}

/// How the running Entrepot is found.
#[derive(Args)]
pub struct AdminArguments {
    /// The configuration file that it runs with; its `[admin]` address is asked
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Its admin address
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

pub fn run(command: Command) -> ExitCode {
    let Command::Purge { digest, admin } = command;
    match purge(&digest, admin) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(what) => super::fail(what),
    }
}

fn purge(digest: &str, admin: AdminArguments) -> Result<String, String> {
    let digest: Digest = digest.parse().map_err(|error| format!("'{digest}' is not a digest: {error}"))?;
    let admin = authority(admin)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let url = format!("http://{admin}/cache/purge?digest={digest}");
    let (status, body) = runtime
        .block_on(ask(&url))
        .map_err(|error| format!("no answer from the admin endpoint {admin}: {}", innermost(&error)))?;
    match meaning(status, &body) {
        Ok(true) => Ok(format!("{digest}: purged")),
        Ok(false) => Ok(format!("{digest}: not cached")),
        Err(what) => Err(format!("the admin endpoint {admin} {what}")),
    }
}

/// What an answer means: 200 with `{"purged": …}`, or errors in the shape of the distribution specification.
fn meaning(status: u16, body: &str) -> Result<bool, String> {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    if status == 200 {
        let purged = answer.pointer("/purged").and_then(Value::as_bool);
        return purged.ok_or_else(|| "does not answer as Entrepot's does".into());
    }
    let message = answer.pointer("/errors/0/message").and_then(Value::as_str).unwrap_or("no reason given");
    Err(format!("answered {status}: {}", message.escape_debug()))
}

/// `host:port` of the admin endpoint.
fn authority(admin: AdminArguments) -> Result<String, String> {
    if let Some(admin) = admin.admin {
        return Ok(admin);
    }
    let source = Source::find(admin.config);
    let config = source.load().map_err(|errors| errors.to_string())?;
    let admin = config.admin.ok_or("the configuration has no [admin] address; give --admin ADDRESS")?;
    Ok(reachable(admin.address).to_string())
}

/// An endpoint that listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(url: &str) -> reqwest::Result<(u16, String)> {
    // No proxy of the environment: the admin endpoint is ours and near.
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let mut answer = client.post(url).send().await?;
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_ANSWER);
    Ok((answer.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

/// The cause at the bottom says most: "Connection refused".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_loopback() {
        for (given, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            assert_eq!(reachable(given.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn an_answer_is_understood_or_told() {
        assert_eq!(meaning(200, "{\"purged\":true}\n"), Ok(true));
        assert_eq!(meaning(200, "{\"purged\":false}"), Ok(false));
        assert!(meaning(200, "<html>").unwrap_err().contains("as Entrepot's does"));
        assert_eq!(
            meaning(403, "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\\u001b\"}]}"),
            Err("answered 403: no\\u{1b}".into())
        );
        assert_eq!(meaning(502, ""), Err("answered 502: no reason given".into()));
    }
}
