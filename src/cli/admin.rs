//! How a command finds a running Entrepot and asks its admin endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::fs::{Access, access};
use rustls::RootCertStore;
use serde_json::Value;

use super::login::Login;
use super::words::printable;
use crate::admin::{Config as Section, NOTHING_HERE};
use crate::config::Source;
use crate::outbound::{self, tls};

/// A connection to it: it is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Begins the path of a socket.
const UNIX: &str = "unix:";

/// How the running Entrepot is found, and who asks it.
#[derive(Args, Clone)]
pub struct AdminArguments {
    /// The configuration file that it runs with; its `[admin]` address is asked [default: as `serve` finds it]
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub(super) config: Option<PathBuf>,
    /// Its admin address, or the path of its socket
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin: Option<String>,
    /// Who asks, where it has users [default: $ENTREPOT_ADMIN_USER]; the password is in $ENTREPOT_ADMIN_PASSWORD, or in the file that
    /// $ENTREPOT_ADMIN_PASSWORD_FILE names
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
}

/// The admin endpoint of a running Entrepot.
pub struct Admin {
    place: Place,
    /// What may be wrong if nobody is there.
    hint: &'static str,
    login: Option<Login>,
    client: reqwest::Client,
}

enum Place {
    /// `host:port`
    Address(String),
    Socket(PathBuf),
}

impl Admin {
    /// # Errors
    /// For people: the configuration cannot be read, or names no admin address; or a login lacks its other half.
    pub fn find(arguments: AdminArguments) -> Result<Self, String> {
        if let Some(admin) = &arguments.admin {
            return Admin::named(admin, arguments.user.as_deref());
        }
        let source = Source::find(arguments.config);
        let config = source.load().map_err(|errors| errors.to_string())?;
        let section = config.admin.as_ref().ok_or("the configuration has no [admin] address; give --admin ADDRESS")?;
        Admin::of(section, &source, arguments.user.as_deref())
    }

    /// By what stands after `--admin`.
    pub fn named(admin: &str, user: Option<&str>) -> Result<Self, String> {
        let socket = admin.strip_prefix(UNIX).or(Some(admin).filter(|admin| admin.starts_with('/')));
        let place = socket.map_or_else(|| Place::Address(admin.to_owned()), |path| Place::Socket(path.into()));
        Admin::at(place, "", user)
    }

    /// Of a configuration: its socket, if it is there and we may open it; others ask at the address.
    pub fn of(section: &Section, source: &Source, user: Option<&str>) -> Result<Self, String> {
        let hint = match source.path {
            Some(_) => " (is it running, with this configuration?)",
            None => " (no configuration file was found: give --config FILE or --admin ADDRESS)",
        };
        let socket = section.unix.as_deref().filter(|path| access(*path, Access::WRITE_OK).is_ok());
        let socket = socket.map(Path::to_owned);
        let address = || Place::Address(reachable(section.address).to_string());
        Admin::at(socket.map_or_else(address, Place::Socket), hint, user)
    }

    fn at(place: Place, hint: &'static str, user: Option<&str>) -> Result<Self, String> {
        // It is ours and near, and speaks no TLS: no authority is needed, which a machine may have none of.
        let tls = tls::http_client(RootCertStore::empty(), None).map_err(|error| format!("cannot start: {error}"))?;
        let client = outbound::client(tls).connect_timeout(CONNECT_TIMEOUT);
        let client = match &place {
            Place::Address(_) => client,
            Place::Socket(path) => client.unix_socket(path.as_path()),
        };
        let client = client.build().map_err(|error| format!("cannot start: {error}"))?;
        Ok(Admin { place, hint, login: Login::find(user)?, client })
    }

    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.logged_in(self.client.get(format!("http://{}{path}?{query}", self.authority())))
    }

    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.logged_in(self.client.post(format!("http://{}{path}", self.authority())))
    }

    fn logged_in(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.login {
            Some(Login { user, password }) => request.basic_auth(user, Some(password.reveal())),
            None => request,
        }
    }

    fn authority(&self) -> &str {
        match &self.place {
            Place::Address(authority) => authority,
            Place::Socket(_) => "localhost",
        }
    }

    pub fn is_socket(&self) -> bool {
        matches!(self.place, Place::Socket(_))
    }

    /// As people know it.
    pub fn name(&self) -> String {
        match &self.place {
            Place::Address(authority) => authority.clone(),
            Place::Socket(path) => path.display().to_string(),
        }
    }

    /// Asks, and reads an answer of up to `most` bytes.
    ///
    /// # Errors
    /// For people: nobody answers, or the answer is a refusal or none of Entrepot's.
    pub async fn ask(&self, question: reqwest::RequestBuilder, most: usize) -> Result<Value, String> {
        let answer = question.send().await.map_err(|error| self.silent(&error))?;
        self.read(answer, most).await
    }

    /// An answer's meaning.
    pub async fn read(&self, mut answer: reqwest::Response, most: usize) -> Result<Value, String> {
        let mut body = Vec::new();
        while body.len() <= most
            && let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(&error))?
        {
            body.extend_from_slice(&chunk);
        }
        if body.len() > most {
            return Err(format!("the admin endpoint {} gives an answer of more than {most} bytes", self.name()));
        }
        let status = answer.status().as_u16();
        if let Some(sentence) = asked_wrongly(status, &body) {
            return Err(sentence);
        }
        meaning(status, &body)
            .map_err(|what| format!("the admin endpoint {} {what}{}", self.name(), self.advice(status)))
    }

    /// What may help who was refused.
    fn advice(&self, status: u16) -> &'static str {
        match (status, &self.login) {
            (401, None) => {
                ": say who you are by --user, with the password in ENTREPOT_ADMIN_PASSWORD or in the file that \
                 ENTREPOT_ADMIN_PASSWORD_FILE names"
            }
            _ => "",
        }
    }

    pub fn silent(&self, error: &reqwest::Error) -> String {
        format!("no answer from the admin endpoint {}: {}{}", self.name(), innermost(error), self.hint)
    }
}

/// What an Entrepot says to who asked for what is not there, or cannot be: a sentence, which needs no more. That there is no such path
/// is said of the endpoint, which may be an older one's.
fn asked_wrongly(status: u16, body: &[u8]) -> Option<String> {
    let answer = serde_json::from_slice::<Value>(body).ok().filter(|_| matches!(status, 400 | 404 | 409))?;
    let error = answer.pointer("/errors/0")?;
    let is_path = status == 404 && error["code"] == "UNSUPPORTED" && error["message"] == NOTHING_HERE;
    error["message"].as_str().filter(|message| !message.is_empty() && !is_path).map(printable)
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

/// An endpoint that listens on every address is asked on this machine's own.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
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
    fn a_path_is_a_socket() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (given, name) in [("127.0.0.1:1", "127.0.0.1:1"), ("/run/a.sock", "/run/a.sock"), ("unix:b", "b")] {
            let admin = Admin::named(given, None).unwrap();
            assert_eq!(
                (admin.name().as_str(), matches!(admin.place, Place::Socket(_))),
                (name, !given.contains(':') || given.starts_with(UNIX))
            );
        }
    }

    #[test]
    fn who_asked_wrongly_is_told_the_sentence_alone() {
        let body = |code: &str, message: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        let absent = body("NAME_UNKNOWN", "there is no a/b:x");
        for status in [400, 404, 409] {
            assert_eq!(asked_wrongly(status, absent.as_bytes()).unwrap(), "there is no a/b:x");
        }
        for status in [200, 401, 403, 500, 503] {
            assert_eq!(asked_wrongly(status, absent.as_bytes()), None);
        }
        for other in [body("UNSUPPORTED", NOTHING_HERE), body("X", ""), "<html>".into(), "{}".into()] {
            assert_eq!(asked_wrongly(404, other.as_bytes()), None, "{other}");
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
