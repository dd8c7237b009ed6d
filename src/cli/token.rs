//! `entrepot token …`: secrets for programs, and the keys that our tokens can be checked with. Works on the storage of a
//! configuration, whether something serves from it or not.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::recorded::Recorded;
use crate::app;
use crate::audit::Deed;
use crate::auth::robot::{Robot, is_id};
use crate::auth::robots::{self, Listed};
use crate::auth::{Permission, Shelf, Signing};
use crate::config::{Config, Source};
use crate::units::Span;

#[derive(Subcommand)]
pub enum Command {
    /// Make a secret for a program, and print it: it is shown this once. Any user name will do with it.
    Create {
        /// What rules and logs call it; several secrets may have one name
        #[arg(long)]
        name: String,
        /// Repositories that it is for, such as 'team/**'; may be given several times
        #[arg(long = "repo", value_name = "PATTERN", required = true)]
        repositories: Vec<String>,
        /// What it may do there: pull, push, overwrite, delete, catalog, joined by commas
        #[arg(long, value_delimiter = ',', required = true)]
        allow: Vec<String>,
        /// When it ends, such as 90d [default: never]
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
        #[command(flatten)]
        place: Place,
    },
    /// List the secrets: id, name, what for, until when, when used last.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Take secrets away, by id, all of a robot's name, or all refresh tokens of user:NAME. Every instance refuses them within seconds.
    Revoke {
        /// As `entrepot token list` shows it
        #[arg(value_name = "ID-OR-NAME")]
        which: String,
        #[command(flatten)]
        place: Place,
    },
    /// Print the public keys of our tokens (JWKS), for distribution v3: auth.token.jwks, with `x5c = false` in auth.token
    Jwks {
        #[command(flatten)]
        place: Place,
    },
    /// Print the certificates of our tokens' keys (PEM), for distribution 2.8 and v3: auth.token.rootcertbundle
    Certificates {
        #[command(flatten)]
        place: Place,
    },
    /// Make the next signing key now. It is published at once and signs after one token's life.
    Rotate {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub struct Place {
    /// The configuration file [default: as `serve` finds it]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(format!("cannot start: {error}")),
    };
    let outcome = runtime.block_on(execute(command));
    // What a driver does on a thread of its own is done, or is not worth waiting for.
    runtime.shutdown_background();
    match outcome {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(format!("it cannot be printed: {error}")),
        },
        Err(what) => super::fail(what),
    }
}

async fn execute(command: Command) -> Result<String, String> {
    match command {
        Command::Create { name, repositories, allow, expires, place } => {
            create(&place, &name, repositories, &allow, expires).await
        }
        Command::List { place } => list(&place).await,
        Command::Revoke { which, place } => revoke(&place, &which).await,
        Command::Jwks { place } => Ok(format!("{}\n", keys(&place).await?.jwks())),
        Command::Certificates { place } => Ok(keys(&place).await?.certificates()),
        Command::Rotate { place } => rotate(&place).await,
    }
}

impl Place {
    fn load(self: &Place) -> Result<Config, String> {
        Source::find(self.config.clone()).load().map_err(|errors| errors.to_string())
    }
}

async fn create(
    place: &Place,
    name: &str,
    repositories: Vec<String>,
    allow: &[String],
    expires: Option<Span>,
) -> Result<String, String> {
    let allow = allow.iter().map(|word| word.trim().parse::<Permission>().map_err(|error| error.to_string()));
    let allow = allow.collect::<Result<Vec<_>, _>>()?;
    let now = now();
    let expires = expires.map(|span| now.saturating_add(span.0.as_secs()));
    let (robot, secret) = Robot::make(name, repositories, &allow, (now, expires)).map_err(|error| error.to_string())?;
    let config = place.load()?;
    if config.auth.is_none() {
        return Err("there is no section [auth], so nobody would ask for the secret".into());
    }
    let shelf = app::shelf::of(&config).await?;
    let recorded = Recorded::begin(&config, deed("robot_created", &named(secret.id(), name)))?;
    let kept = robots::keep(&shelf, &robot, &secret).await;
    recorded.end(kept, |()| None).map_err(|error| format!("the secret cannot be kept: {error}"))?;
    Ok(format!("{}\n", secret.reveal()))
}

async fn list(place: &Place) -> Result<String, String> {
    let shelf = app::shelf::of(&place.load()?).await?;
    let (listed, damaged) = robots::list(&shelf).await.map_err(|error| format!("they cannot be listed: {error}"))?;
    for what in damaged {
        super::err(&format!("not readable: {what}"));
    }
    let now = now();
    let mut text = String::new();
    for Listed { id, robot, used } in listed {
        let ends = robot.expires.map_or("never".to_owned(), time);
        let ended = if robot.is_expired(now) { " (ended)" } else { "" };
        let used = used.map_or("never".to_owned(), time);
        if let Some(user) = robot.user() {
            text.push_str(&format!("{id}  {user}  refresh token of this user  ends {ends}{ended}  used {used}\n"));
            continue;
        }
        let (repositories, allow) = (robot.repositories.join(" "), robot.allow.join(","));
        text.push_str(&format!("{id}  {}  {repositories}  {allow}  ends {ends}{ended}  used {used}\n", robot.name));
    }
    Ok(text)
}

async fn revoke(place: &Place, which: &str) -> Result<String, String> {
    let config = place.load()?;
    let shelf = app::shelf::of(&config).await?;
    let (listed, _) = robots::list(&shelf).await.map_err(|error| format!("it cannot be revoked: {error}"))?;
    let mut text = String::new();
    if is_id(which) && listed.iter().all(|listed| listed.id != which) {
        // Perhaps one that cannot be read.
        take_away(&config, &shelf, (which, "?"), &mut text).await?;
    }
    let is_meant = |listed: &&Listed| match listed.robot.user() {
        _ if listed.id == which => true,
        // A user's refresh tokens, and not the robots that have the same name.
        Some(user) => which.strip_prefix("user:") == Some(user),
        None => listed.robot.name == which,
    };
    for Listed { id, robot, .. } in listed.iter().filter(is_meant) {
        take_away(&config, &shelf, (id, &robot.name), &mut text).await?;
    }
    if text.is_empty() { Err(format!("there is no secret with the id or name '{which}'")) } else { Ok(text) }
}

async fn take_away(
    config: &Config,
    shelf: &dyn Shelf,
    (id, name): (&str, &str),
    text: &mut String,
) -> Result<(), String> {
    let recorded = Recorded::begin(config, deed("robot_revoked", &named(id, name)))?;
    let was_there = recorded.end(robots::revoke(shelf, id).await, |_| None);
    if was_there.map_err(|error| format!("it cannot be revoked: {error}"))? {
        text.push_str(&format!("{id}: revoked\n"));
    }
    Ok(())
}

/// A secret as the audit names it.
fn named(id: &str, name: &str) -> String {
    format!("robot:{name} {id}")
}

fn deed(action: &'static str, about: &str) -> Deed {
    Deed { action, reference: Some(about.to_owned()), ..Deed::default() }
}

async fn keys(place: &Place) -> Result<std::sync::Arc<crate::auth::KeySet>, String> {
    let (config, signing) = signing(place).await?;
    let auth = config.auth.unwrap_or_default();
    signing.keys(&auth.token, now()).await.map_err(|error| error.to_string())
}

async fn rotate(place: &Place) -> Result<String, String> {
    let (config, signing) = signing(place).await?;
    let auth = config.auth.clone().unwrap_or_default();
    let recorded = Recorded::begin(&config, Deed { action: "token_keys_rotated", ..Deed::default() })?;
    let rotated = signing.rotate(&auth.token, now()).await;
    let keys = recorded.end(rotated, |keys| keys.names().last().map(ToString::to_string));
    let keys = keys.map_err(|error| error.to_string())?;
    Ok(format!("a new key was made; it signs in {}. Keys now: {}\n", auth.token.ttl, keys.names().join(", ")))
}

/// # Errors
/// Keys of a running process's memory are nobody else's to read.
async fn signing(place: &Place) -> Result<(Config, Signing), String> {
    use crate::auth::config::Keys;
    let config = place.load()?;
    let Some(auth) = &config.auth else { return Err("there is no section [auth]".into()) };
    let shelf: Option<std::sync::Arc<dyn crate::auth::Shelf>> = match auth.token.keys {
        Keys::Memory => {
            let what = "the keys are kept in the memory of the process that serves: write `keys = \"storage\"` or a folder in \
                        [auth] token; a running one shows them at /.well-known/jwks.json";
            return Err(what.into());
        }
        Keys::Storage => Some(std::sync::Arc::new(app::shelf::of(&config).await?)),
        Keys::Folder(_) => None,
    };
    Ok((config, Signing::new(shelf)))
}

fn time(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
