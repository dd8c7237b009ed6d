//! One look at a Redis, for who sets it up: what it is, what it does when it is full, and whether it lets us work.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, cmd};

use super::connect::Connector;
use super::words;
use crate::fleet::Config;

/// How long one answer may take: this is no request that a client waits for.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is written for a trial is gone after this, whatever happens.
const TRIAL: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    pub version: String,
    /// `maxmemory_policy`; empty where it is not told.
    pub policy: String,
    /// Bytes that it may hold; 0: as many as there are.
    pub most: u64,
    pub used: u64,
    /// It copies another one, and takes no writes.
    pub is_replica: bool,
    pub clock: Option<SystemTime>,
    /// Why nothing can be written, or no script run.
    pub refuses: Option<String>,
}

/// Connects as a server does, and asks.
///
/// # Errors
/// For people: no connection, no login, no answer.
pub async fn inspect(config: &Config) -> Result<Inspected, String> {
    let to_read = config.clone();
    let connector = tokio::task::spawn_blocking(move || Connector::new(&to_read));
    let connector = connector.await.map_err(|error| error.to_string())??;
    let (connection, _) = connector.connect().await?;
    let mut handle = connection.handle.clone();
    let mut seen = of_info(&ask::<String>(&mut handle, &cmd("INFO")).await?);
    if let Ok((seconds, micros)) = ask::<(u64, u64)>(&mut handle, &cmd("TIME")).await {
        seen.clock = UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_micros(micros));
    }
    seen.refuses = trial(&mut handle, &config.prefix).await.err();
    Ok(seen)
}

/// Writes a key that nobody reads, by the commands that a fleet needs.
async fn trial(handle: &mut MultiplexedConnection, prefix: &str) -> Result<(), String> {
    let key = format!("{prefix}doctor:{}", words::word());
    let milliseconds = u64::try_from(TRIAL.as_millis()).unwrap_or(1);
    ask::<Option<String>>(handle, cmd("SET").arg(&key).arg("1").arg("NX").arg("PX").arg(milliseconds)).await?;
    let script = "return redis.call('DEL', KEYS[1])";
    match ask::<i64>(handle, cmd("EVAL").arg(script).arg(1).arg(&key)).await? {
        1 => Ok(()),
        _ => Err("what was just written is gone".into()),
    }
}

async fn ask<T: FromRedisValue>(handle: &mut MultiplexedConnection, command: &Cmd) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, command.query_async::<T>(handle)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

fn of_info(info: &str) -> Inspected {
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    Inspected {
        version: field("redis_version").to_owned(),
        policy: field("maxmemory_policy").to_owned(),
        most: field("maxmemory").parse().unwrap_or(0),
        used: field("used_memory").parse().unwrap_or(0),
        is_replica: field("role") == "slave",
        clock: None,
        refuses: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_words_are_read() {
        let info = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:900\r\nused_memory_rss:1\r\nmaxmemory:1000\r\n\
                    maxmemory_human:1000B\r\nmaxmemory_policy:allkeys-lru\r\nrole:master\r\n";
        let seen = of_info(info);
        assert_eq!((seen.version.as_str(), seen.policy.as_str()), ("7.0.15", "allkeys-lru"));
        assert_eq!((seen.most, seen.used, seen.is_replica), (1000, 900, false));
        assert_eq!(of_info(""), Inspected::default());
    }
}
