//! How a command finds a running Entrepot and asks its admin endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::words::printable;
use crate::config::Source;

/// A connection to it: it is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the running Entrepot is found.
#[derive(Args)]
pub struct AdminArguments {
    /// The configuration file that it runs with; its `[admin]` address is asked [default: as `serve` finds it]
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Its admin address
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// The admin endpoint of a running Entrepot.
pub struct Admin {
    /// `host:port`
    authority: String,
    /// What may be wrong if nobody is there.
    hint: &'static str,
    client: reqwest::Client,
}

impl Admin {
    /// # Errors
    /// For people: the configuration cannot be read, or names no admin address.
    pub fn find(arguments: AdminArguments) -> Result<Self, String> {
        let (authority, hint) = authority(arguments)?;
        // No proxy of the environment: the admin endpoint is ours and near.
        let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).build();
        Ok(Admin { authority, hint, client: client.map_err(|error| format!("cannot start: {error}"))? })
    }

    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.client.get(format!("http://{}{path}?{query}", self.authority))
    }

    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("http://{}{path}", self.authority))
    }

    /// Asks, and reads an answer of up to `most` bytes.
    ///
    /// # Errors
    /// For people: nobody answers, or the answer is a refusal or none of Entrepot's.
    pub async fn ask(&self, question: reqwest::RequestBuilder, most: usize) -> Result<Value, String> {
        let mut answer = question.send().await.map_err(|error| self.silent(&error))?;
        let mut body = Vec::new();
        while body.len() <= most
            && let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(&error))?
        {
            body.extend_from_slice(&chunk);
        }
        if body.len() > most {
            return Err(format!("the admin endpoint {} gives an answer of more than {most} bytes", self.authority));
        }
        meaning(answer.status().as_u16(), &body).map_err(|what| format!("the admin endpoint {} {what}", self.authority))
    }

    pub fn silent(&self, error: &reqwest::Error) -> String {
        format!("no answer from the admin endpoint {}: {}{}", self.authority, innermost(error), self.hint)
    }
}

/// What an answer means: 200 with JSON, or errors in the shape of the distribution specification.
pub fn meaning(status: u16, body: &[u8]) -> Result<Value, String> {
    let answer = serde_json::from_slice::<Value>(body);
    if status == 200 {
        return answer.map_err(|_| "does not answer as Entrepot's does".into());
    }
    let answer = answer.unwrap_or_default();
    let message = answer.pointer("/errors/0/message").and_then(Value::as_str).unwrap_or("no reason given");
    Err(format!("answered {status}: {}", printable(message)))
}

/// `host:port` of the admin endpoint, and what may be wrong if nobody is there.
fn authority(arguments: AdminArguments) -> Result<(String, &'static str), String> {
    if let Some(admin) = arguments.admin {
        return Ok((admin, ""));
    }
    let source = Source::find(arguments.config);
    let hint = match source.path {
        Some(_) => " (is it running, with this configuration?)",
        None => " (no configuration file was found: give --config FILE or --admin ADDRESS)",
    };
    let config = source.load().map_err(|errors| errors.to_string())?;
    let admin = config.admin.ok_or("the configuration has no [admin] address; give --admin ADDRESS")?;
    Ok((reachable(admin.address).to_string(), hint))
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
        assert_eq!(meaning(200, b"{\"purged\":true}\n").unwrap()["purged"], true);
        assert!(meaning(200, b"<html>").unwrap_err().contains("as Entrepot's does"));
        assert_eq!(
            meaning(403, b"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\\u001b\"}]}"),
            Err("answered 403: no\\u{1b}".into())
        );
        assert_eq!(meaning(502, b""), Err("answered 502: no reason given".into()));
    }
}
