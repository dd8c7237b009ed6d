//! `entrepot status`: how an Entrepot is, and all that serve with it.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::operator::OperatorArguments;
use super::words::{age, printable, size, text};
use super::{AT_ONCE, ordered};
use crate::admin::Order;

/// Names of one certificate that are shown.
const NAMES: usize = 5;

#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    arguments: OperatorArguments,
}

pub fn run(command: Status) -> ExitCode {
    match ordered(&command.arguments, || Ok(Order::Status), AT_ONCE, shown) {
        Ok(outcome) => match outcome.silent {
            Some(silent) => super::fail(silent),
            None => ExitCode::SUCCESS,
        },
        Err(code) => code,
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// For people. Writing to a String cannot fail.
fn shown(report: &Value) -> String {
    let mut told = String::new();
    if report["version"].is_string() {
        instance(report, &mut told);
    }
    if let Some(why) = report["upgrade"]["refused"].as_str() {
        let at = text(&report["upgrade"]["at"]);
        let _ = writeln!(told, "upgrade      given up at {at}, this process goes on: {}", printable(why));
    }
    instances(report, &mut told);
    peers(report, &mut told);
    certificates(report, &mut told);
    for remote in items(&report["remotes"]) {
        let _ = writeln!(told, "remote       {}: {}", text(&remote["remote"]), text(&remote["registry"]));
    }
    storage(report, &mut told);
    if let Some(maintenance) = Some(&report["maintenance"]).filter(|maintenance| maintenance.is_object()) {
        let reason = text(&maintenance["reason"]);
        let _ = writeln!(
            told,
            "maintenance  writes are refused since {} by the word of {}: {reason}",
            text(&maintenance["since"]),
            text(&maintenance["by"])
        );
    }
    if let Some(uploads) = report["uploads"].as_u64() {
        let _ = writeln!(told, "uploads      {uploads} under way");
    }
    collection(&report["gc"], &mut told);
    jobs(&report["jobs"], &mut told);
    told
}

fn collection(gc: &Value, told: &mut String) {
    if !gc.is_object() {
        return;
    }
    let state = if gc["paused"].is_object() {
        "paused".to_owned()
    } else if gc["running"].is_object() {
        format!("{} runs since {}", text(&gc["running"]["run"]), text(&gc["running"]["begun"]))
    } else if let (Some(ended), true) = (gc["last"]["ended"].as_str(), gc["last"]["error"].is_string()) {
        format!("the last one was refused or failed at {}, `entrepot gc status` says why", printable(ended))
    } else if let Some(ended) = gc["last"]["ended"].as_str() {
        format!("the last one ended at {}", printable(ended))
    } else if gc["last"].is_object() {
        "the last one was cut off, and the next goes on with it".to_owned()
    } else {
        "none yet".to_owned()
    };
    let heap = |key: &str| format!("{} ({})", text(&gc[key]["blobs"]), size(gc[key]["bytes"].as_u64()));
    let _ = writeln!(told, "collection   {state}; unlinked {}, in the trash {}", heap("unlinked"), heap("trash"));
}

fn jobs(jobs: &Value, told: &mut String) {
    for job in items(&jobs["schedules"]) {
        let runs = items(&jobs["running"]).iter().any(|running| running["job"] == job["job"]);
        let runs = if runs { ", runs now" } else { "" };
        let (name, schedule, next) = (text(&job["job"]), text(&job["schedule"]), text(&job["next"]));
        let last = last_run(&jobs["last"], &job["job"]);
        let _ = writeln!(told, "job          {name}: {schedule}, next at {next}{runs}{last}");
    }
}

/// How the last run of that kind ended which this instance began.
fn last_run(last: &Value, job: &Value) -> String {
    let Some(run) = items(last).iter().find(|run| run["job"] == *job) else { return String::new() };
    let how = match run["result"].as_str() {
        Some("ok") => "done",
        Some("left_out") => "left out",
        _ => "FAILED",
    };
    format!("; last here at {}, {how}: {}", text(&run["ended"]), text(&run["what"]))
}

fn instance(report: &Value, told: &mut String) {
    let state = match (report["draining"] == true, report["ready"] == true) {
        (true, _) => "stops".to_owned(),
        (false, true) => "ready".to_owned(),
        (false, false) => {
            let reasons: Vec<_> = items(&report["reasons"]).iter().map(text).collect();
            format!("not ready: {}", reasons.join("; "))
        }
    };
    let addresses: Vec<_> = items(&report["instance"]["addresses"]).iter().map(text).collect();
    let login = if report["login"] == true { "who asks has to log in" } else { "nobody is asked to log in" };
    let _ = writeln!(told, "entrepot     {} on {}: {state}; {login}", text(&report["version"]), addresses.join(", "));
}

fn instances(report: &Value, told: &mut String) {
    let own = report["instance"]["id"].as_str();
    for other in items(&report["instances"]).iter().filter(|other| own.is_none() || other["id"].as_str() != own) {
        let addresses: Vec<_> = items(&other["addresses"]).iter().map(text).collect();
        let seen = age(other["seen_seconds"].as_u64().unwrap_or_default());
        let state = match other["up"] == true {
            true => format!("serves, seen {seen} ago"),
            false => format!("gone, seen {seen} ago"),
        };
        let place = (text(&other["program"]), addresses.join(", "), text(&other["host"]));
        let _ = writeln!(told, "instance     {} on {} at {}: {state}", place.0, place.1, place.2);
    }
}

fn peers(report: &Value, told: &mut String) {
    for (name, cluster) in report["clusters"].as_object().into_iter().flatten() {
        for peer in items(&cluster["peers"]) {
            let state = if peer["healthy"] == true { "well" } else { "down" };
            let _ = writeln!(
                told,
                "peer         {}: {} {state}, {} requests under way",
                printable(name),
                text(&peer["address"]),
                text(&peer["in_flight"])
            );
        }
    }
}

/// Those that come by themselves.
fn certificates(report: &Value, told: &mut String) {
    for certificate in items(&report["certificates"]) {
        let names: Vec<_> = items(&certificate["names"]).iter().take(NAMES).map(text).collect();
        let more = items(&certificate["names"]).len().saturating_sub(NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let until = match certificate["until"].as_str() {
            Some(until) => format!("until {}", printable(until)),
            None => "MISSING, clients are refused".to_owned(),
        };
        let next = match (certificate["ordering"] == true, certificate["next"].as_str()) {
            (true, _) => "; is ordered now".to_owned(),
            (false, Some(next)) => format!("; ordered next at {}", printable(next)),
            (false, None) => String::new(),
        };
        let error = match certificate["last_error"]["what"].as_str() {
            Some(what) => format!("; FAILED at {}: {}", text(&certificate["last_error"]["at"]), printable(what)),
            None => String::new(),
        };
        let trouble = certificate["trouble"].as_str().map(|what| format!("; {}", printable(what))).unwrap_or_default();
        let _ = writeln!(told, "certificate  {}{more}: {until}{next}{error}{trouble}", names.join(", "));
    }
}

fn storage(report: &Value, told: &mut String) {
    let storage = &report["storage"];
    if storage.is_object() {
        let trouble = storage["trouble"].as_str().or(storage["write_trouble"].as_str());
        let state = match (trouble, storage["disk"].as_str()) {
            (Some(trouble), _) => printable(trouble),
            (None, Some("full")) => "reads only".to_owned(),
            (None, _) => "well".to_owned(),
        };
        let room = match (storage["used"].as_u64(), storage["total"].as_u64()) {
            (Some(used), Some(total)) if total > 0 => {
                let part = u128::from(used) * 100 / u128::from(total);
                let level = match storage["disk"].as_str() {
                    Some("full") => ": too full, pushes are refused",
                    Some("warned") => ", nearly full",
                    _ => "",
                };
                format!(", {} of {} used ({part} %){level}", size(Some(used)), size(Some(total)))
            }
            _ => String::new(),
        };
        let _ = writeln!(told, "storage      {}: {state}{room}", text(&storage["place"]));
    }
    match report["redis"]["up"].as_bool() {
        Some(true) => told.push_str("redis        answers\n"),
        Some(false) => told.push_str("redis        does not answer: it goes without\n"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_known_is_shown_and_nothing_else() {
        let told = shown(&json!({
            "version": "0.1.0", "draining": false, "ready": true, "reasons": [], "login": true,
            "instance": { "id": "a", "addresses": ["127.0.0.1:5000"] },
            "instances": [
                { "id": "a", "up": true },
                { "id": "b", "program": "0.1.0", "addresses": ["10.0.0.2:5000"], "host": "two", "seen_seconds": 200, "up": false },
            ],
            "clusters": { "main": { "peers": [{ "address": "10.0.0.9:5000", "healthy": false, "in_flight": 0 }] } },
            "certificates": [
                { "names": ["a.example", "b.example"], "until": "2027-01-01T00:00:00Z", "next": "2026-12-01T00:00:00Z", "ordering": false, "last_error": null, "trouble": null },
                { "names": ["c.example"], "until": null, "next": "2026-12-01T00:00:00Z", "ordering": true, "last_error": { "at": "2026-11-30T00:00:00Z", "what": "no" }, "trouble": "no storage" },
            ],
            "remotes": [{ "remote": "hub", "registry": "docker.io" }],
            "storage": { "place": "storage.root /x", "trouble": null, "write_trouble": null, "used": 50, "total": 200, "disk": "warned" },
            "redis": { "up": false },
            "maintenance": { "since": "2026-11-30T00:00:00Z", "by": "user:a", "reason": "a move" },
            "uploads": 2,
            "gc": { "last": { "ended": "2026-11-30T02:10:00.000Z" }, "unlinked": { "blobs": 3, "bytes": 2048 }, "trash": { "blobs": 0, "bytes": 0 } },
            "jobs": { "schedules": [{ "job": "gc", "schedule": "0 2 * * *", "next": "2026-12-01T02:00:00Z" }], "running": [{ "job": "gc" }] },
        }));
        assert_eq!(
            told,
            "entrepot     0.1.0 on 127.0.0.1:5000: ready; who asks has to log in\n\
             instance     0.1.0 on 10.0.0.2:5000 at two: gone, seen 3m ago\n\
             peer         main: 10.0.0.9:5000 down, 0 requests under way\n\
             certificate  a.example, b.example: until 2027-01-01T00:00:00Z; ordered next at 2026-12-01T00:00:00Z\n\
             certificate  c.example: MISSING, clients are refused; is ordered now; FAILED at 2026-11-30T00:00:00Z: no; no storage\n\
             remote       hub: docker.io\n\
             storage      storage.root /x: well, 50 B of 200 B used (25 %), nearly full\n\
             redis        does not answer: it goes without\n\
             maintenance  writes are refused since 2026-11-30T00:00:00Z by the word of user:a: a move\n\
             uploads      2 under way\n\
             collection   the last one ended at 2026-11-30T02:10:00.000Z; unlinked 3 (2.0 KiB), in the trash 0 (0 B)\n\
             job          gc: 0 2 * * *, next at 2026-12-01T02:00:00Z, runs now\n"
        );
        let upgrade = shown(&json!({ "upgrade": { "at": "2026-11-30T00:00:00Z", "refused": "it ended" } }));
        assert_eq!(upgrade, "upgrade      given up at 2026-11-30T00:00:00Z, this process goes on: it ended\n");
        assert_eq!(shown(&json!({})), "");
        let full = shown(&json!({
            "storage": { "place": "/x", "trouble": null, "write_trouble": null, "used": 199, "total": 200, "disk": "full" },
            "jobs": {
                "schedules": [{ "job": "gc", "schedule": "0 2 * * *", "next": "2026-12-01T02:00:00Z" }],
                "last": [{ "job": "gc", "ended": "2026-11-30T02:10:00Z", "result": "failed", "what": "no lease" }],
            },
        }));
        assert_eq!(
            full,
            "storage      /x: reads only, 199 B of 200 B used (99 %): too full, pushes are refused\n\
             job          gc: 0 2 * * *, next at 2026-12-01T02:00:00Z; last here at 2026-11-30T02:10:00Z, FAILED: no lease\n"
        );
    }

    #[test]
    fn a_collection_that_was_refused_has_not_just_ended() {
        let last = |last: Value| shown(&json!({ "gc": { "last": last, "unlinked": {}, "trash": {} } }));
        let refused = last(json!({ "ended": "x", "error": "another program pushes into this storage" }));
        assert!(
            refused.contains("the last one was refused or failed at x, `entrepot gc status` says why; "),
            "{refused}"
        );
        assert!(last(json!({ "ended": "x" })).contains("the last one ended at x; "));
        assert!(last(json!({ "begun": "x" })).contains("the last one was cut off, and the next goes on with it; "));
    }
}
