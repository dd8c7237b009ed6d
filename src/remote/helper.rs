//! Programs that know our credential at a remote: docker's credential helpers. They are run with `get` as their last argument, read
//! the registry's name from their standard input, and write `{"ServerURL": …, "Username": …, "Secret": …}`. A user name `<token>`
//! says that the secret is a refresh token.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::outbound::{self, run};
use crate::units::{Secret, Span};

/// Until the program has ended.
const TIME: Span = Span(Duration::from_secs(10));
/// Most that is read of what it writes, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// What a helper said is believed for so long, unless the remote refuses it before.
const KEPT: Duration = Duration::from_secs(3600);
/// A helper is not run again sooner than this: neither after it failed, nor because the remote refuses what it said.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest user name and secret, in bytes; tokens of clouds have some KiB.
const MAX_TEXT: usize = 32 << 10;

/// What a helper said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub secret: Secret,
}

/// A program, and what it said last.
pub struct Helper {
    /// The program and its arguments, without `get`.
    exec: Vec<String>,
    /// What is written to it: the registry's name.
    registry: String,
    /// Held while it runs, so that it runs once for all who ask.
    said: Mutex<Option<Said>>,
}

struct Said {
    at: Instant,
    login: Result<Arc<Login>, String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: Secret,
}

impl Helper {
    pub fn new(exec: Vec<String>, registry: String) -> Self {
        Helper { exec, registry, said: Mutex::new(None) }
    }

    /// What the helper says, or said within the last hour.
    ///
    /// # Errors
    /// Why there is no credential, for the log; without anything secret.
    pub async fn login(self: &Arc<Self>) -> Result<Arc<Login>, String> {
        let this = Arc::clone(self);
        // Whoever asked may not wait as long as it takes; what it says is for those who come after, too.
        let asking = tokio::spawn(async move { this.believed().await });
        asking.await.unwrap_or_else(|_| Err("the helper's task ended too soon".to_owned()))
    }

    async fn believed(&self) -> Result<Arc<Login>, String> {
        let mut said = self.said.lock().await;
        if let Some(said) = said.as_ref() {
            let good_for = if said.login.is_ok() { KEPT } else { PAUSE };
            if said.at.elapsed() < good_for {
                return said.login.clone();
            }
        }
        self.run(&mut said).await
    }

    /// The remote refused this login (401 or 403: those of some clouds end before their time): asks the helper again, if nobody did
    /// since. `None`: it says the same again, or was asked a moment ago, so the refusal holds.
    pub async fn again(self: &Arc<Self>, refused: &Login) -> Option<Arc<Login>> {
        let (this, refused) = (Arc::clone(self), refused.clone());
        tokio::spawn(async move { this.anew(&refused).await }).await.ok().flatten()
    }

    async fn anew(&self, refused: &Login) -> Option<Arc<Login>> {
        let mut said = self.said.lock().await;
        if let Some(Said { at, login: Ok(login) }) = said.as_ref() {
            if **login != *refused {
                return Some(Arc::clone(login));
            }
            if at.elapsed() < PAUSE {
                return None;
            }
        }
        self.run(&mut said).await.ok().filter(|login| **login != *refused)
    }

    async fn run(&self, said: &mut Option<Said>) -> Result<Arc<Login>, String> {
        let login = ask_helper(&self.exec, &self.registry).await.map(Arc::new);
        *said = Some(Said { at: Instant::now(), login: login.clone() });
        login
    }
}

/// Runs the helper once.
///
/// # Errors
/// Why there is no credential, for the log; without anything secret.
pub(super) async fn ask_helper(exec: &[String], registry: &str) -> Result<Login, String> {
    let (program, arguments) = exec.split_first().ok_or("the credential helper has no name")?;
    let mut command = outbound::program(program);
    command.args(arguments).arg("get");
    let output = run::ask(command, registry, TIME, MAX_OUTPUT).await;
    let output = output.map_err(|reason| format!("{program}: {reason}"))?;
    // What serde says of it may have a piece of the secret in it.
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| format!("{program}: its output is no JSON object with 'Username' and 'Secret'"))?;
    let fits = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    if answer.secret.reveal().is_empty() || !fits(answer.secret.reveal()) || !fits(&answer.username) {
        return Err(format!("{program}: its user name or secret is none that can be sent"));
    }
    Ok(Login { username: answer.username, secret: answer.secret })
}
