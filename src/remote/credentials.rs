//! Whose right a remote is asked by: logins of files, of helpers, and of callers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::helper::{self, Helper};
use super::{Asker, RemoteError, config};
use crate::units::Secret;

/// The longest password file, in bytes. Google's keys are 2.4 KiB.
const MAX_FILE: u64 = 64 << 10;
/// The username by which credential helpers say that the secret is an identity token.
const IDENTITY_TOKEN: &str = "<token>";
/// The username that goes with one where it has to be shown as a password.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A login, as it is shown. Has no `Debug` that shows it.
#[derive(Clone)]
pub struct Login {
    /// `Authorization`.
    basic: HeaderValue,
    /// An identity token, by which tokens are asked for instead.
    refresh: Option<Secret>,
    /// As a helper said it.
    said: Option<Arc<helper::Login>>,
}

/// One of our own credentials.
pub enum Source {
    Password(Arc<Login>),
    Helper(Arc<Helper>),
}

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("{path}: {reason}", path = path.display())]
    File { path: PathBuf, reason: String },
    #[error("{path} is empty, or too long for a password", path = path.display())]
    Content { path: PathBuf },
    #[error("a username must not be empty, and holds no colon: '{0}'")]
    Username(String),
    #[error("there is neither a password for '{0}' nor a file with one")]
    NoPassword(String),
    #[error("a credential helper needs a program")]
    NoProgram,
}

impl Login {
    fn new(username: &str, secret: &Secret) -> Self {
        let refresh = (username == IDENTITY_TOKEN).then(|| secret.clone());
        let shown = if refresh.is_some() { NOBODY } else { username };
        let pair = STANDARD.encode(format!("{shown}:{}", secret.reveal()));
        // Base64 is always a field's value.
        let basic = HeaderValue::from_str(&format!("Basic {pair}")).unwrap_or(HeaderValue::from_static("Basic"));
        Login { basic: sensitive(basic), refresh, said: None }
    }

    fn said(said: Arc<helper::Login>) -> Self {
        Login { said: Some(said.clone()), ..Login::new(&said.username, &said.secret) }
    }

    /// As Basic credentials (RFC 7617).
    pub fn basic(&self) -> &HeaderValue {
        &self.basic
    }

    pub fn refresh(&self) -> Option<&Secret> {
        self.refresh.as_ref()
    }

    /// Tells logins apart, and tells nothing of them.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.basic.as_bytes()).into()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(login)")
    }
}

/// What a credential is called where people see it: no secret.
pub fn name(credentials: &config::Credentials) -> String {
    match credentials {
        config::Credentials::Password(password) => password.username.clone(),
        config::Credentials::Exec(exec) => exec.exec.first().cloned().unwrap_or_default(),
    }
}

impl Source {
    /// Reads a password's file. Blocking.
    pub fn load(credentials: &config::Credentials, registry: &str) -> Result<Self, CredentialError> {
        match credentials {
            config::Credentials::Password(password) => {
                let username = &password.username;
                if username.is_empty() || username.contains(':') {
                    return Err(CredentialError::Username(username.clone()));
                }
                let secret = match (&password.password, &password.password_file) {
                    (Some(secret), _) => secret.clone(),
                    (None, Some(file)) => read_secret(file)?,
                    (None, None) => return Err(CredentialError::NoPassword(username.clone())),
                };
                Ok(Source::Password(Arc::new(Login::new(username, &secret))))
            }
            config::Credentials::Exec(exec) if exec.exec.is_empty() => Err(CredentialError::NoProgram),
            config::Credentials::Exec(exec) => {
                Ok(Source::Helper(Arc::new(Helper::new(exec.exec.clone(), registry.to_owned()))))
            }
        }
    }

    /// The login; a helper is asked for it.
    pub async fn login(&self) -> Result<Arc<Login>, RemoteError> {
        match self {
            Source::Password(login) => Ok(login.clone()),
            Source::Helper(helper) => match helper.login().await {
                Ok(said) => Ok(Arc::new(Login::said(said))),
                Err(why) => Err(RemoteError::Useless(format!("the credential helper: {why}"))),
            },
        }
    }

    /// This login was refused: another one, if a helper has one.
    pub async fn renew(&self, refused: &Login) -> Option<Arc<Login>> {
        let Source::Helper(helper) = self else { return None };
        let said = helper.again(refused.said.as_deref()?).await?;
        Some(Arc::new(Login::said(said)))
    }
}

/// What a caller shows, as it may be used.
pub enum Shown {
    Nothing,
    /// For the remote and its token service.
    Login(Arc<Login>),
    /// For the remote alone: it is a token of its.
    Token(HeaderValue),
}

impl Shown {
    /// `None` for what is shown in a way that we do not know, and for `Mirror`, which shows what is ours.
    pub fn by(asker: &Asker) -> Option<Self> {
        let Asker::Caller(field) = asker else { return None };
        let Some(field) = field else { return Some(Shown::Nothing) };
        let (scheme, _) = field.to_str().ok()?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("basic") {
            let basic = sensitive(field.clone());
            Some(Shown::Login(Arc::new(Login { basic, refresh: None, said: None })))
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Some(Shown::Token(sensitive(field.clone())))
        } else {
            None
        }
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// The secret of a file: its text without the end of its line.
fn read_secret(path: &std::path::Path) -> Result<Secret, CredentialError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| CredentialError::File { path: path.to_owned(), reason: error.to_string() };
    let mut text = String::new();
    std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)).map_err(failed)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || text.len() as u64 == MAX_FILE {
        return Err(CredentialError::Content { path: path.to_owned() });
    }
    Ok(Secret::from(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_a_login_in_a_log() {
        let login = Login::new("alice", &Secret::from("hush"));
        assert_eq!(login.basic(), "Basic YWxpY2U6aHVzaA==");
        assert!(login.basic().is_sensitive());
        assert!(!format!("{login:?} {:?}", login.basic()).contains("YWxp"));
        assert_ne!(login.fingerprint(), Login::new("alice", &Secret::from("hush2")).fingerprint());
    }

    #[test]
    fn an_identity_token_is_known_by_its_username() {
        let login = Login::new("<token>", &Secret::from("t"));
        assert_eq!(login.refresh().map(Secret::reveal), Some("t"));
        assert_eq!(STANDARD.decode(&login.basic().to_str().unwrap()[6..]).unwrap(), format!("{NOBODY}:t").into_bytes());
        assert!(Login::new("alice", &Secret::from("t")).refresh().is_none());
    }

    #[test]
    fn a_caller_s_token_is_no_login() {
        let by = |text: &'static str| Shown::by(&Asker::Caller(Some(HeaderValue::from_static(text))));
        assert!(matches!(by("bAsIc YTpi"), Some(Shown::Login(_))));
        assert!(matches!(by("Bearer abc"), Some(Shown::Token(_))));
        assert!(by("Negotiate abc").is_none() && by("Basic").is_none());
        assert!(matches!(Shown::by(&Asker::Caller(None)), Some(Shown::Nothing)));
        assert!(Shown::by(&Asker::Mirror).is_none());
    }

    #[tokio::test]
    async fn a_password_is_the_text_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let load = |text: &str, username: &str| {
            std::fs::write(&path, text).unwrap();
            let password =
                config::Password { username: username.into(), password_file: Some(path.clone()), password: None };
            Source::load(&config::Credentials::Password(password), "r.example")
        };
        let login = load("hush\r\n", "alice").unwrap().login().await.unwrap();
        assert_eq!(login.basic(), "Basic YWxpY2U6aHVzaA==");
        assert!(load("", "alice").is_err() && load("\n", "alice").is_err());
        assert!(load("hush", "").is_err() && load("hush", "a:b").is_err());
        std::fs::remove_file(&path).unwrap();
        let gone = config::Password { username: "a".into(), password_file: Some(path.clone()), password: None };
        assert!(Source::load(&config::Credentials::Password(gone), "r").is_err());
    }
}
