//! What the instances of a fleet share: Redis, and the secret.

use std::path::Path;

use super::clock::Clocks;
use super::finding::Findings;
use crate::app::shelf;
use crate::auth::config::Keys;
use crate::auth::shelf::{Item, Shelf as _};
use crate::config::Config;
use crate::fleet::{Inspected, inspect, secret};

const REDIS: &str = "redis";
const SECRET: &str = "fleet secret";
/// Older ones lack what we ask.
const OLDEST: u32 = 6;
/// Of what Redis may hold, in percent.
const NEARLY_FULL: u64 = 90;

pub async fn redis(config: &Config, clocks: &Clocks) -> Findings {
    let mut findings = Findings::of(REDIS);
    let Some(redis) = &config.redis else { return findings };
    match inspect(redis).await {
        Ok(seen) => {
            if let Some(clock) = seen.clock {
                clocks.told(format!("Redis ({})", redis.url), clock);
            }
            judge(&redis.url.to_string(), &seen, &mut findings);
        }
        Err(why) => findings.error(
            format!("{}: {why}", redis.url),
            "see whether it runs and this machine reaches it, and whether username, password and tls_ca in [redis] are right; until \
             then nothing is remembered, and nothing can be deleted",
        ),
    }
    findings
}

fn judge(url: &str, seen: &Inspected, findings: &mut Findings) {
    let major = seen.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < OLDEST) {
        findings.error(format!("{url} is Redis {}", seen.version), format!("{OLDEST}.0 or later is needed"));
    }
    if seen.is_replica {
        findings.error(format!("{url} is a replica, which takes no writes"), "name its primary");
    } else if let Some(why) = &seen.refuses {
        findings.error(
            format!("{url} does not let us write keys or run scripts: {why}"),
            "let the user of [redis] have +@all on the keys of its prefix, or make room",
        );
    }
    // Nothing that is lost does harm, so any policy is right; but limits that are counted there begin anew.
    if seen.policy.starts_with("allkeys") {
        findings.warning(
            format!("{url} throws away any key when it is full (maxmemory-policy {})", seen.policy),
            "nothing wrong comes of it, but what is remembered is lost early, and [limits] count anew: give Entrepot a Redis of its \
             own with volatile-lru, or more memory",
        );
    }
    let is_nearly_full = seen.most > 0 && seen.used >= seen.most / 100 * NEARLY_FULL;
    if is_nearly_full && seen.policy == "noeviction" {
        findings.warning(
            format!("{url} is nearly full, and refuses writes then (maxmemory-policy noeviction): nothing could be deleted any more"),
            "give it more memory, or set volatile-lru: all keys of Entrepot expire",
        );
    }
    if findings.is_all_ok() {
        let policy = if seen.policy.is_empty() { "not told" } else { &seen.policy };
        findings.ok(format!("{url} answers: version {}, maxmemory-policy {policy}", seen.version));
    }
}

/// Whether there is one, which it is, and whether what others have sealed in storage opens with it.
pub async fn secret(config: &Config) -> Findings {
    let mut findings = Findings::of(SECRET);
    let Some(file) = config.fleet.secret_file.clone() else { return findings };
    if !file.exists() && config.is_alone() {
        findings.ok(format!("{} is not there yet, and will be made at the first start", file.display()));
        return findings;
    }
    match read(&file).await {
        Ok((name, count)) => {
            let more = if count > 1 { format!(", the first of {count}") } else { String::new() };
            findings.ok(format!(
                "{} holds {name}{more}; this command has to say the same name on every instance",
                file.display()
            ));
        }
        Err(why) => {
            findings.error(format!("fleet.secret_file: {why}"), "copy it from an instance that has it");
            return findings;
        }
    }
    let keys_in_storage = config.auth.as_ref().is_some_and(|auth| auth.token.keys == Keys::Storage);
    if keys_in_storage && super::storage::is_there(config) {
        sealed(config, &mut findings).await;
    }
    findings
}

async fn read(file: &Path) -> Result<(String, usize), String> {
    let file = file.to_owned();
    // Never made here: that is for who serves.
    let read = tokio::task::spawn_blocking(move || secret::load(&file, false));
    let keyring = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok((keyring.name(), keyring.count()))
}

/// The keys of tokens are the one thing that every instance opens.
async fn sealed(config: &Config, findings: &mut Findings) {
    let shelf = match shelf::of(config).await {
        Ok(shelf) => shelf,
        // Of storage, which has a line of its own.
        Err(_) => return,
    };
    match shelf.get(Item::Keys).await {
        Ok(Some(_)) => findings.ok("opens the keys of tokens that are in storage: it is the fleet's"),
        Ok(None) => {}
        Err(error) => {
            // What else may be wrong is storage's.
            if let Some(why) = error.to_string().strip_prefix("what is there ") {
                findings.error(
                    format!("the keys of tokens in storage do not open with it: what is there {why}"),
                    "another instance has another secret: copy that instance's file here",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_redis_is_judged_by_what_it_says() {
        let seen = |change: &dyn Fn(&mut Inspected)| {
            let mut seen = Inspected { version: "7.0.15".into(), policy: "noeviction".into(), ..Inspected::default() };
            change(&mut seen);
            let mut findings = Findings::of(REDIS);
            judge("redis://a:1/0", &seen, &mut findings);
            findings.found.remove(0).level
        };
        assert_eq!(seen(&|_| {}), Level::Ok);
        assert_eq!(seen(&|seen| seen.policy = "volatile-lru".into()), Level::Ok);
        assert_eq!(seen(&|seen| seen.policy = "allkeys-lru".into()), Level::Warning);
        assert_eq!(seen(&|seen| (seen.most, seen.used) = (1000, 950)), Level::Warning);
        assert_eq!(seen(&|seen| seen.version = "5.0.1".into()), Level::Error);
        assert_eq!(seen(&|seen| seen.is_replica = true), Level::Error);
        assert_eq!(seen(&|seen| seen.refuses = Some("OOM".into())), Level::Error);
    }
}
