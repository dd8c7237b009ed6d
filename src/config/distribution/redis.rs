//! The section `redis`, as version 2 and as version 3 have it: `[redis]`.

use std::time::Duration;

use super::document::Document;
use super::draft::{Draft, Given, Table, Weight};
use super::section::Section;
use crate::fleet::config::MAX_TIMEOUT;
use crate::units::{Secret, Span};

const PORT: u16 = 6379;
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

pub(super) fn redis(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let mut redis = Section::new("redis", document.get("redis"))?;
    if !redis.is_given() {
        return Ok(());
    }
    let (one, several) = (redis.text("addr")?, redis.texts("addrs")?);
    let from = if one.is_some() { "redis.addr" } else { "redis.addrs" };
    let addresses: Vec<String> = one.map(|one| vec![one]).unwrap_or(several);
    let sentinel = redis.text("mastername")?.is_some();
    let address = match addresses.as_slice() {
        [address] if !sentinel => address.clone(),
        [] => return Err("redis.addr is missing".into()),
        _ => {
            draft.leave(
                if sentinel { "redis.mastername" } else { "redis.addrs" },
                Weight::Lost,
                "has no counterpart: Entrepot shares what it knows by one Redis server, or not at all, and needs none to be right; \
                 the whole section is left out",
            );
            return Ok(());
        }
    };
    let database = redis.count("db")?.unwrap_or(0);
    let encrypted = tls(&mut redis, draft)?;
    let scheme = if encrypted { "rediss" } else { "redis" };
    draft.set(Table::Redis, "url", format!("{scheme}://{}/{database}", with_port(&address)), from);
    login(&mut redis, draft)?;
    timeouts(&mut redis, draft)?;
    rest(&mut redis, draft)?;
    draft.close(redis);
    Ok(())
}

/// Whoever gives none means Redis' own.
fn with_port(address: &str) -> String {
    let bare = address.rsplit(']').next().unwrap_or_default();
    if bare.contains(':') { address.to_owned() } else { format!("{address}:{PORT}") }
}

/// Version 2 says that it is; version 3 says by what.
fn tls(redis: &mut Section<'_>, draft: &mut Draft) -> Result<bool, String> {
    let mut tls = redis.inner("tls")?;
    let enabled = tls.flag("enabled")?;
    let authorities = tls.texts("rootcas")?;
    let ours = tls.text("certificate")?.is_some() | tls.text("key")?.is_some();
    let on = enabled.unwrap_or(ours || !authorities.is_empty());
    match authorities.as_slice() {
        [file] if on => draft.set(Table::Redis, "tls_ca", file.clone(), "redis.tls.rootcas"),
        [_, _, ..] if on => {
            return Err("redis.tls.rootcas names several files: put all authorities into one PEM file".into());
        }
        _ => {}
    }
    if ours {
        return Err(
            "redis.tls.certificate is given, and Entrepot shows Redis none: let that Redis take a password instead"
                .into(),
        );
    }
    draft.close(tls);
    Ok(on)
}

fn login(redis: &mut Section<'_>, draft: &mut Draft) -> Result<(), String> {
    let (username, password) = (redis.text("username")?, redis.text("password")?);
    if let Some(username) = username {
        draft.set(Table::Redis, "username", username, "redis.username");
    }
    if let Some(password) = password {
        draft.given(Table::Redis, "password", Given::Secret(Secret::from(password)), "redis.password");
    }
    Ok(())
}

/// What a stalled Redis costs is bounded here too.
fn timeouts(redis: &mut Section<'_>, draft: &mut Draft) -> Result<(), String> {
    let connect = redis.span("dialtimeout")?;
    let (read, write) = (redis.span("readtimeout")?, redis.span("writetimeout")?);
    for (ours, theirs, span) in
        [("connect_timeout", "dialtimeout", connect), ("command_timeout", "readtimeout", read.max(write))]
    {
        let Some(span) = span.filter(|span| !span.is_zero()) else { continue };
        let within = span.clamp(LEAST_TIMEOUT, MAX_TIMEOUT);
        if within != span {
            redis.note(theirs, "is not within 1ms and 5s, and the nearer of them counts");
        }
        draft.set(Table::Redis, ours, Span(within).to_string(), redis.path(theirs));
    }
    Ok(())
}

fn rest(redis: &mut Section<'_>, draft: &mut Draft) -> Result<(), String> {
    const POOL: &str = "is not needed: many questions share a connection; see [redis] connections";
    redis.leave(&[
        ("clientname", Weight::Needless, "has no counterpart"),
        ("connmaxidletime", Weight::Needless, POOL),
        ("connmaxlifetime", Weight::Needless, POOL),
        ("maxactiveconns", Weight::Needless, POOL),
        ("maxidleconns", Weight::Needless, POOL),
        ("maxretries", Weight::Needless, "is not needed: what Redis does not answer is asked of storage"),
        ("maxretrybackoff", Weight::Needless, "is not needed: what Redis does not answer is asked of storage"),
        ("minidleconns", Weight::Needless, POOL),
        ("minretrybackoff", Weight::Needless, "is not needed: what Redis does not answer is asked of storage"),
        ("poolfifo", Weight::Needless, POOL),
        ("poolsize", Weight::Needless, POOL),
        ("pooltimeout", Weight::Needless, POOL),
        ("protocol", Weight::Needless, "is not needed"),
        ("sentinelpassword", Weight::Lost, "has no counterpart: one server is spoken to"),
        ("sentinelusername", Weight::Lost, "has no counterpart: one server is spoken to"),
    ]);
    let mut pool = redis.inner("pool")?;
    pool.leave(&[
        ("idletimeout", Weight::Needless, POOL),
        ("maxactive", Weight::Needless, POOL),
        ("maxidle", Weight::Needless, POOL),
    ]);
    draft.close(pool);
    Ok(())
}
