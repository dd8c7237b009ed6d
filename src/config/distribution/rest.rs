//! The sections that are a few keys here, or none: `log`, `health`, `notifications`, `middleware`, `validation`, `policy`.

use serde_yaml_ng::Value;

use super::document::Document;
use super::draft::{Draft, Table, Weight};
use super::section::Section;

/// All of them.
pub(super) fn rest(document: &Document, draft: &mut Draft) {
    draft.read(|draft| log(document, draft));
    draft.read(|draft| health(document, draft));
    draft.read(|draft| notifications(document, draft));
    draft.read(|draft| middleware(document, draft));
    draft.read(|draft| validation(document, draft));
    if document.get("policy").is_some() {
        draft.leave("policy", Weight::Lost, "has no counterpart: plugins are kept like any other content");
    }
    if document.get("compatibility").is_some() {
        draft.leave(
            "compatibility",
            Weight::Needless,
            "is not needed: images of schema 1 are given as they are, and none is taken",
        );
    }
    if document.get("reporting").is_some() {
        draft.leave("reporting", Weight::Lost, "has no counterpart: what goes wrong is in the log, and in the metrics");
    }
}

fn log(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let mut log = Section::new("log", document.get("log"))?;
    let (level, from) = match log.text("level")? {
        Some(level) => (Some(level), "log.level"),
        None => (old_level(document)?, "loglevel"),
    };
    if let Some(level) = level {
        let ours = match level.as_str() {
            "panic" | "fatal" => "error",
            "warning" => "warn",
            known @ ("error" | "warn" | "info" | "debug" | "trace") => known,
            other => return Err(format!("{from} is \"{}\"; allowed: error, warn, info, debug", other.escape_debug())),
        };
        draft.set(Table::Log, "level", ours, from);
    }
    match log.text("formatter")?.as_deref() {
        None | Some("text") => {}
        Some("json") => draft.set(Table::Log, "format", "json", "log.formatter"),
        Some("logstash") => {
            draft.set(Table::Log, "format", "json", "log.formatter");
            log.note("formatter", "is logstash, and the fields of the JSON have names of their own");
        }
        Some(other) => return Err(format!("log.formatter is \"{}\"; allowed: text, json", other.escape_debug())),
    }
    let mut access = log.inner("accesslog")?;
    if access.flag("disabled")? == Some(true) {
        draft.set(Table::Log, "access", "off", "log.accesslog.disabled");
    }
    draft.close(access);
    log.leave(&[
        ("fields", Weight::Lost, "has no counterpart: let who ships the log add them"),
        ("hooks", Weight::Lost, "has no counterpart: let alerts of the metrics send mail"),
        ("reportcaller", Weight::Needless, "has no counterpart: each line says its part of the program"),
    ]);
    draft.close(log);
    Ok(())
}

/// As it was before there was a section.
fn old_level(document: &Document) -> Result<Option<String>, String> {
    match document.get("loglevel") {
        None => Ok(None),
        Some(Value::String(level)) => Ok(Some(level.clone())),
        Some(_) => Err("loglevel is no text".into()),
    }
}

fn health(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let mut health = Section::new("health", document.get("health"))?;
    let mut storage = health.inner("storagedriver")?;
    const WHY: &str = "is not needed: storage is watched all the time, and /readyz of [admin] says how it is";
    storage.leave(&[
        ("enabled", Weight::Needless, WHY),
        ("interval", Weight::Needless, WHY),
        ("threshold", Weight::Needless, WHY),
    ]);
    draft.close(storage);
    for kind in ["file", "http", "tcp"] {
        let count = match health.value(kind) {
            Some(Value::Sequence(checks)) => checks.len(),
            Some(_) => 1,
            None => 0,
        };
        if count > 0 {
            let why = "has no counterpart: /readyz of [admin] speaks of storage alone; to be taken out of rotation, send SIGTERM \
                       ([drain] delay) or `entrepot maintenance on`";
            draft.leave(format!("health.{kind}"), Weight::Lost, why);
        }
    }
    draft.close(health);
    Ok(())
}

fn notifications(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let mut notifications = Section::new("notifications", document.get("notifications"))?;
    notifications.leave(&[("events", Weight::Needless, "is not needed without endpoints")]);
    let endpoints = notifications.value("endpoints").and_then(Value::as_sequence);
    for (index, endpoint) in endpoints.into_iter().flatten().enumerate() {
        let name = endpoint.get("name").and_then(Value::as_str).unwrap_or_default();
        let off = endpoint.get("disabled").and_then(Value::as_bool) == Some(true);
        let key = format!("notifications.endpoints[{index}] ({})", name.escape_debug());
        let weight = if off { Weight::Needless } else { Weight::Lost };
        draft.leave(key, weight, "has no counterpart: nobody is called; [audit] writes a line of JSON for each change");
    }
    draft.close(notifications);
    Ok(())
}

fn middleware(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let mut middleware = Section::new("middleware", document.get("middleware"))?;
    for kind in ["registry", "repository", "storage"] {
        let Some(entries) = middleware.value(kind).and_then(Value::as_sequence) else { continue };
        for entry in entries {
            let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
            if entry.get("disabled").and_then(Value::as_bool) == Some(true) {
                continue;
            }
            let why = match name {
                "cloudfront" | "redirect" => {
                    "has no counterpart: clients are led to the store itself ([registry] redirect), and not to a network before it"
                }
                _ => "has no counterpart",
            };
            draft.leave(format!("middleware.{kind}.{}", name.escape_debug()), Weight::Lost, why);
        }
    }
    draft.close(middleware);
    Ok(())
}

fn validation(document: &Document, draft: &mut Draft) -> Result<(), String> {
    let mut validation = Section::new("validation", document.get("validation"))?;
    const WHY: &str = "is not needed: what a manifest names has to be there, whatever it says";
    validation.leave(&[("enabled", Weight::Needless, WHY), ("disabled", Weight::Needless, WHY)]);
    let mut manifests = validation.inner("manifests")?;
    let mut urls = manifests.inner("urls")?;
    const URLS: &str = "has no counterpart: whether layers may be elsewhere, and where, is not looked at";
    urls.leave(&[("allow", Weight::Lost, URLS), ("deny", Weight::Lost, URLS)]);
    draft.close(urls);
    let mut indexes = manifests.inner("indexes")?;
    match indexes.text("platforms")?.as_deref() {
        None | Some("all") => {}
        Some("none") => indexes.note("platforms", "is none, and here an index is taken when all its images are there"),
        Some(_) => indexes.note("platforms", "has no counterpart: an index is taken when all its images are there"),
    }
    indexes.leave(&[("platformlist", Weight::Lost, "has no counterpart, as platforms has none")]);
    draft.close(indexes);
    draft.close(manifests);
    draft.close(validation);
    Ok(())
}
