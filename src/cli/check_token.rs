//! `entrepot auth check-token`: whose a token or a robot's secret is, and whether it is good now. It is read from stdin or a file and
//! never from the command line, which everybody on the machine can list; and never printed.

use std::fmt::Write as _;
use std::io::{Read as _, stdin};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::app;
use crate::auth::config::Keys;
use crate::auth::robot::Secret;
use crate::auth::robots::{self, Listed};
use crate::auth::workload::USER as WORKLOAD;
use crate::auth::{
    self, Asked, Authenticator, Claims, Config as Auth, Credential, Permission, Permit, Shelf, Shown, Subject,
    read_claims,
};
use crate::config::{Config, Source};
use crate::oci::RepositoryName;
use crate::outbound::OwnAddresses;

/// Longest that is read, in bytes: a token is 16 KiB at most.
const MAX: u64 = 64 << 10;

#[derive(Args)]
pub struct CheckToken {
    /// Nothing, or '-' for stdin: a secret on a command line can be seen by others
    #[arg(value_name = "-", hide = true)]
    given: Option<String>,
    /// Read it from a file instead of from stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// From which address it would be shown
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// By which host
    #[arg(long)]
    host: Option<String>,
    /// The configuration file [default: as `serve` finds it]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What it is, and whether it is good.
pub fn run(command: &CheckToken) -> Result<(String, bool), String> {
    if command.given.as_deref().is_some_and(|given| given != "-") {
        return Err(
            "a token on the command line is seen by everybody who lists processes: give it on stdin, or by --file"
                .into(),
        );
    }
    let text = read(command.file.as_deref())?;
    let config = Source::find(command.config.clone()).load().map_err(|errors| errors.to_string())?;
    let Some(auth) = config.auth.clone() else {
        return Err("there is no section [auth], so no token is asked for".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let told = runtime.block_on(async {
        match Secret::is_meant(&text) {
            true => robot(&config, &auth, &text).await,
            false => token(&config, &auth, &text, command).await,
        }
    });
    runtime.shutdown_background();
    told
}

fn read(file: Option<&Path>) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    let mut text = String::new();
    match file {
        Some(file) => std::fs::File::open(file).and_then(|file| file.take(MAX).read_to_string(&mut text)),
        None => stdin().lock().take(MAX).read_to_string(&mut text),
    }
    .map_err(failed)?;
    let text = text.trim();
    let bare = text.strip_prefix("Bearer ").unwrap_or(text).trim();
    if bare.is_empty() { Err("there is nothing to check".into()) } else { Ok(bare.to_owned()) }
}

async fn robot(config: &Config, auth: &Auth, text: &str) -> Result<(String, bool), String> {
    let Some(secret) = Secret::read(text) else {
        return Ok(("not a robot's secret: it begins like one, and was mistyped or cut short\n".into(), false));
    };
    let shelf = app::shelf::of(config).await?;
    let (listed, _) = robots::list(&shelf).await.map_err(|error| format!("robots cannot be read: {error}"))?;
    let found = listed.into_iter().find(|listed| listed.id == secret.id() && listed.robot.has(&secret));
    let Some(Listed { id, robot, used }) = found else {
        return Ok((
            format!(
                "secret {}\nnot good: there is none of this id: it was revoked, or is of another storage\n",
                secret.id()
            ),
            false,
        ));
    };
    let stands = match robot.user() {
        Some(_) => authenticator(config, auth).await?.0.has_refresh_token(text).await,
        None => true,
    };
    let mut text = match robot.user() {
        Some(user) => format!("refresh token {id} of user {}\n", plain(user)),
        None => format!("secret {id} of robot {}\n", robot.name),
    };
    let now = now();
    // Writing to a String cannot fail.
    if robot.user().is_none() {
        let _ = writeln!(text, "  for       {}: {}", robot.repositories.join(" "), robot.allow.join(", "));
    }
    let _ = writeln!(text, "  made      {}", moment(robot.created));
    let _ = writeln!(text, "  ends      {}", robot.expires.map_or("never".to_owned(), |end| ends(end, now)));
    let _ = writeln!(text, "  used      {}", used.map_or("never".to_owned(), moment));
    let ended = robot.is_expired(now);
    let said = match (ended, stands) {
        (true, _) => "not good: it has ended",
        (false, false) => "not good: its user is gone or has another password, or `refresh_tokens` is off",
        (false, true) => "good; what a rule denies to it, `auth explain` says",
    };
    let _ = writeln!(text, "{said}");
    Ok((text, stands && !ended))
}

async fn token(config: &Config, auth: &Auth, text: &str, command: &CheckToken) -> Result<(String, bool), String> {
    let (kid, claims) = match read_claims(text) {
        // Another Entrepot's look as ours do.
        Ok((_, claims)) if claims.iss != auth.token.service && !auth.verifier.is_empty() => {
            return of_others(config, auth, text).await;
        }
        Ok(read) => read,
        Err(why) if auth.workload.is_empty() && auth.verifier.is_empty() => {
            return Ok((format!("not a token of ours: it {why}\n"), false));
        }
        Err(_) => return of_others(config, auth, text).await,
    };
    let mut told = describe(&kid, &claims);
    if auth.token.keys == Keys::Memory {
        told.push_str(
            "unknown: the keys of tokens are in the memory of the process that serves (`keys` in [auth] token)\n",
        );
        return Ok((told, false));
    }
    let (authenticator, policy) = authenticator(config, auth).await?;
    match authenticator.identify(&Credential::Bearer(text.to_owned()), &unlimited()).await {
        Err(why) => {
            let _ = writeln!(told, "not good: {why}");
            Ok((told, false))
        }
        Ok(caller) => {
            let address = command.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let host = command.host.clone().unwrap_or_default().to_ascii_lowercase();
            told.push_str(&left(&caller.permit(&policy, &host, address), &claims));
            let _ = match caller.late {
                true => writeln!(told, "not good: it has ended, so it is good for the uploads begun with it only"),
                false => writeln!(told, "good: it is of {}", caller.identity),
            };
            Ok((told, !caller.late))
        }
    }
}

/// A token of an OIDC issuer, or of another token service.
async fn of_others(config: &Config, auth: &Auth, text: &str) -> Result<(String, bool), String> {
    let (authenticator, _) = authenticator(config, auth).await?;
    let as_workload = Credential::login(WORKLOAD, text);
    let mut told = "no token of ours\n".to_owned();
    for (of, credential) in [("a workload", as_workload), ("another service", Credential::Bearer(text.to_owned()))] {
        match authenticator.identify(&credential, &unlimited()).await {
            Ok(caller) => {
                let _ = writeln!(told, "good: a token of {of}, {}", plain(&caller.identity.to_string()));
                return Ok((told, true));
            }
            Err(why) => {
                let _ = writeln!(told, "as a token of {of} not good: {why}");
            }
        }
    }
    Ok((told, false))
}

/// Whoever runs commands here may try as often as they like.
fn unlimited() -> Shown<'static> {
    Shown { address: Ipv4Addr::LOCALHOST.into(), limits: None }
}

async fn authenticator(config: &Config, auth: &Auth) -> Result<(Authenticator, Arc<auth::Policy>), String> {
    // Whose robots it knows, the storage says; without one it knows none.
    let shelf = match app::shelf::of(config).await {
        Ok(shelf) => Some(Arc::new(shelf) as Arc<dyn Shelf>),
        Err(_) if auth.token.keys != Keys::Storage => None,
        Err(error) => return Err(error),
    };
    let metrics = auth::Metrics::new(&prometheus::Registry::new()).map_err(|error| error.to_string())?;
    let authenticator = Authenticator::new(shelf, OwnAddresses::default(), Arc::new(metrics));
    let prepared = authenticator.prepare(Some(auth)).await?;
    let policy = prepared.policy().ok_or("there are no rules")?;
    authenticator.commit(prepared);
    Ok((authenticator, policy))
}

/// What stands in it, believed or not.
fn describe(kid: &str, claims: &Claims) -> String {
    let now = now();
    let of = match &claims.ent {
        Subject::Anonymous => "nobody".to_owned(),
        Subject::User { .. } => format!("user {}", claims.sub),
        Subject::Robot { id } => format!("robot {}, secret {id}", claims.sub),
        Subject::Workload { .. } => format!("workload {}", claims.sub),
    };
    let mut text = format!("token of {}\n", plain(&of));
    let grants: Vec<_> =
        claims.access.iter().map(|one| format!("{} {}: {}", one.kind, one.name, one.actions.join(", "))).collect();
    let grants = if grants.is_empty() { "nothing: it only logs in".to_owned() } else { grants.join("; ") };
    for (key, value) in [
        ("issuer", claims.iss.clone()),
        ("audience", claims.aud.clone()),
        ("key", kid.to_owned()),
        ("id", claims.jti.clone()),
        ("issued", moment(claims.iat)),
        ("ends", ends(claims.exp, now)),
        ("given for", grants),
    ] {
        let _ = writeln!(text, "  {key:<9} {}", plain(&value));
    }
    text
}

/// What the rules leave of what it was given for.
fn left(permit: &Permit, claims: &Claims) -> String {
    let mut text = String::new();
    for access in &claims.access {
        let may: Vec<&str> = match (access.kind.as_str(), access.name.parse::<RepositoryName>()) {
            ("repository", Ok(name)) => {
                let asked = [Permission::Pull, Permission::Push, Permission::Overwrite, Permission::Delete];
                asked.into_iter().filter(|permission| permit.may(*permission, &name)).map(Permission::word).collect()
            }
            ("registry", _) if permit.decide(Permission::Catalog, Asked::Anywhere).is_ok() => vec!["catalog"],
            _ => Vec::new(),
        };
        let may = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
        let _ = writeln!(text, "  by the rules now, {}: {may}", plain(&access.name));
    }
    text
}

/// A token may hold anything until it is proven, and what is printed goes to a terminal.
fn plain(text: &str) -> String {
    text.chars().take(4096).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn ends(end: u64, now: u64) -> String {
    let span = |seconds: u64| humantime::format_duration(Duration::from_secs(seconds));
    match end > now {
        true => format!("{} (in {})", moment(end), span(end - now)),
        false => format!("{} ({} ago)", moment(end), span(now - end)),
    }
}

fn moment(seconds: u64) -> String {
    // Beyond the year 9999 there is no such text.
    let seconds = seconds.min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
