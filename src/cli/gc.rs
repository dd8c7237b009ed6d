//! `entrepot gc …`: what nothing needs is taken away, and brought back.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::operator::{OperatorArguments, Workplace};
use super::progress::Shown;
use super::words::{count, short, size, text};
use super::{AT_ONCE, Failure, err, give_up, interruptible, ordered};
use crate::admin::Order;
use crate::admin::order::{GcRun, Undelete};
use crate::maintenance::journal::is_run;
use crate::oci::NameError;
use crate::units::Span;

/// Repositories and digests that are shown.
const MAX_SHOWN: usize = 20;

#[derive(Subcommand)]
pub enum Command {
    /// Say what a collection would take away. Changes nothing that any client sees; remembers what manifests name, for the next time.
    Plan(Run),
    /// Collect now, whatever the schedule says, also under maintenance and read_only. A run that was cut off goes on where it stopped.
    Run(Run),
    /// Say what the collector does or did last, what waits to be moved, and what is in the trash.
    Status {
        #[command(flatten)]
        arguments: OperatorArguments,
    },
    /// Bring back what was taken away, as long as its bytes are there: not after a `gc run --now` has deleted them.
    Undelete {
        /// A run as its report names it, a repository, or a digest
        #[arg(value_name = "RUN|REPOSITORY|DIGEST")]
        what: String,
        #[command(flatten)]
        arguments: OperatorArguments,
    },
    /// Let no collection begin or go on, over the whole fleet.
    Pause {
        #[command(flatten)]
        arguments: OperatorArguments,
    },
    /// Let collections go on.
    Resume {
        #[command(flatten)]
        arguments: OperatorArguments,
    },
}

#[derive(Args)]
pub struct Run {
    /// Delete at once what is older than `grace`: no quarantine, no trash, and no way back, also of what rm, untag, repo rm and
    /// retention took. For a full disk
    #[arg(long)]
    now: bool,
    /// Also manifests that no tag leads to and nobody has pulled for so long, whatever `[gc] untagged` says, such as 30d
    #[arg(long, value_name = "SPAN")]
    untagged: Option<Span>,
    /// Though another program writes into the same storage, whatever `[gc] foreign` says
    #[arg(long)]
    careful: bool,
    /// Though there are blobs and nothing in any repository, because all of them were deleted on purpose
    #[arg(long)]
    empty: bool,
    #[command(flatten)]
    arguments: OperatorArguments,
}

pub fn run(command: Command) -> ExitCode {
    let code = match command {
        Command::Plan(run) => collect(run, true),
        Command::Run(run) => collect(run, false),
        Command::Status { arguments } => ordered(&arguments, || Ok(Order::Gc), AT_ONCE, status).map(drop),
        Command::Undelete { what, arguments } => {
            let hint = "what is back stays; the same command goes on from there";
            match ordered(&arguments, || Ok(Order::GcUndelete(meant(&what)?)), (step, hint), restored) {
                Ok(outcome) if items(&outcome.report, "gone").is_empty() => Ok(()),
                Ok(_) => Err(ExitCode::FAILURE),
                Err(code) => Err(code),
            }
        }
        Command::Pause { arguments } => ordered(&arguments, || Ok(Order::GcPause), AT_ONCE, paused).map(drop),
        Command::Resume { arguments } => ordered(&arguments, || Ok(Order::GcResume), AT_ONCE, paused).map(drop),
    };
    code.map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

fn collect(run: Run, dry: bool) -> Result<(), ExitCode> {
    let untagged = run.untagged.map(|span| span.to_string());
    let order = GcRun { dry, now: run.now, untagged, careful: run.careful, empty: run.empty };
    let hint = if dry { "" } else { "what was done stays, and nothing is half done; the next run goes on from there" };
    if run.now && !dry {
        warn_of_now(&run.arguments)?;
    }
    ordered(&run.arguments, || Ok(Order::GcRun(order)), (step, hint), report).map(drop)
}

/// On stderr, before anything goes: what could be brought back until now. That it cannot be told keeps nobody from a run, since the disk is
/// full.
fn warn_of_now(arguments: &OperatorArguments) -> Result<(), ExitCode> {
    let status = interruptible(async {
        let workplace = Workplace::find(arguments)?;
        workplace.perform(Order::Gc, &mut |_| {}).await
    });
    match status {
        Ok(outcome) => err(&costs_of_now(&outcome.report)),
        Err(Failure::Told(why)) => err(&format!("how much waits that --now deletes for good cannot be told: {why}")),
        Err(interrupted @ Failure::Interrupted) => return Err(give_up(interrupted)),
    }
    Ok(())
}

fn costs_of_now(status: &Value) -> String {
    let of = |key: &str| heap(&status[key], "blobs", "bytes");
    format!(
        "--now deletes for good, as far as it is older than [gc] grace, what waits: {} unlinked, {} in the trash, and what this run \
         condemns besides (`entrepot gc plan --now` says how much). No undelete brings that back, whatever took it away: collections, \
         retention, rm, untag, repo rm",
        of("unlinked"),
        of("trash")
    )
}

/// A digest has a colon; the name of a run has its time in it, with capital letters, which no repository has.
fn meant(text: &str) -> Result<Undelete, String> {
    if text.contains(':') {
        let digest = text.parse().map_err(|error| format!("'{}' is not a digest: {error}", text.escape_debug()))?;
        return Ok(Undelete { digest: Some(digest), ..Undelete::default() });
    }
    if is_run(text) && text.contains('T') {
        return Ok(Undelete { run: Some(text.to_owned()), ..Undelete::default() });
    }
    let wrong = |error: NameError| {
        format!("'{}' is neither a run, nor a digest, nor a repository: {error}", text.escape_debug())
    };
    Ok(Undelete { repository: Some(text.parse().map_err(wrong)?), ..Undelete::default() })
}

fn items<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().map_or(&[], Vec::as_slice)
}

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or(0)
}

/// `12 (3.4 MiB)`
fn heap(report: &Value, count: &str, bytes: &str) -> String {
    format!("{} ({})", number(report, count), size(report[bytes].as_u64()))
}

fn step(step: &Value) -> Shown {
    let name = || text(&step["repository"]);
    let digest = || text(&step["digest"]);
    let bytes = || size(step["size"].as_u64());
    match step["event"].as_str().unwrap_or_default() {
        "marking" => Shown::now(format!("{} marked, {}", count(number(step, "repositories"), "repository"), name())),
        "condemned" => Shown::line(format!(
            "{}: not needed: {} and {}",
            name(),
            count(number(step, "manifests_count"), "manifest"),
            count(number(step, "blobs_count"), "blob")
        )),
        "unreadable" => Shown::line(format!("{}: nothing is taken, since {} cannot be read", name(), short(&digest()))),
        "shard" => Shown {
            part: step["done"].as_u64().zip(step["of"].as_u64()),
            ..Shown::now("blobs that nobody links".to_owned())
        },
        "eligible" => Shown::line(format!("{} would go, {}", digest(), bytes())),
        "looking" => Shown::now(format!(
            "{} looked at once more for {}",
            count(number(step, "repositories"), "repository"),
            count(number(step, "due"), "blob")
        )),
        "moved" => Shown::line(format!("{} is in the trash, {}", digest(), bytes())),
        "deleted" => Shown::line(format!("{} is deleted, {}", digest(), bytes())),
        "healed" => Shown::line(format!("{}: {} is linked again, because a manifest needs it", name(), digest())),
        "rescued" => Shown::line(format!("{} is brought back, because it is needed", digest())),
        "restored" => Shown::line(format!("{}: back: {}", name(), count(number(step, "links"), "link"))),
        "waiting" => {
            let until =
                step["until"].as_str().map(|until| format!(" until {}", text(&until.into()))).unwrap_or_default();
            Shown::now(format!("waits{until}: {}", text(&step["why"])))
        }
        _ => Shown::default(),
    }
}

/// Writing to a String cannot fail.
fn report(report: &Value) -> String {
    let mut told = String::new();
    let would = report["dry"] == true;
    let _ = writeln!(
        told,
        "marked     {}, {}; needed: {}",
        count(number(report, "repositories"), "repository"),
        count(number(report, "manifests"), "manifest"),
        count(number(report, "needed"), "content")
    );
    let (manifests, blobs) = (number(report, "condemned_manifests"), number(report, "condemned_blobs"));
    let links = format!("{} and {}", count(manifests, "manifest"), count(blobs, "blob"));
    let _ = match would {
        true => writeln!(told, "condemned  {links} would be, in their repositories"),
        false => writeln!(told, "condemned  {links}, in their repositories"),
    };
    let _ = writeln!(told, "unlinked   {}", heap(report, "unlinked", "unlinked_bytes"));
    if !would || report["now"] != true {
        let _ = writeln!(told, "to trash   {}", heap(report, "moved", "moved_bytes"));
    }
    let _ = writeln!(told, "deleted    {}", heap(report, "deleted", "freed_bytes"));
    let _ = writeln!(told, "in trash   {}", heap(report, "trash", "trash_bytes"));
    for (key, one, what) in [
        ("healed", "link", "written again, because a manifest needs it"),
        ("rescued", "blob", "brought back, because it is needed"),
        ("lost", "content", "needed and nowhere: `entrepot verify` says which"),
    ] {
        if number(report, key) > 0 {
            let _ = writeln!(told, "{} {what}", count(number(report, key), one));
        }
    }
    repositories(report, &mut told);
    for note in items(report, "notes") {
        let _ = writeln!(told, "note: {}", text(note));
    }
    if !would {
        way_back(report, manifests + blobs > 0, &mut told);
    }
    told
}

/// What can be brought back of what a run took.
fn way_back(report: &Value, condemned: bool, told: &mut String) {
    let now = report["now"] == true;
    if now && number(report, "deleted") > 0 {
        told.push_str("what is deleted is gone for good: nothing brings it back\n");
    }
    let Some(run) = report["run"].as_str().filter(|_| condemned) else { return };
    let run = text(&run.into());
    let _ = match now {
        false => writeln!(told, "`entrepot gc undelete {run}` brings back what was condemned"),
        true => writeln!(
            told,
            "`entrepot gc undelete {run}` brings back only what was condemned and not deleted: what is younger than [gc] grace, or \
             held by another repository too"
        ),
    };
}

fn repositories(report: &Value, told: &mut String) {
    let all = items(report, "from");
    for one in all.iter().take(MAX_SHOWN) {
        let _ = writeln!(
            told,
            "  {}  {}, {}, {}",
            text(&one["repository"]),
            count(number(one, "manifests"), "manifest"),
            count(number(one, "blobs"), "blob"),
            size(one["bytes"].as_u64())
        );
    }
    if all.len() > MAX_SHOWN {
        let _ = writeln!(told, "  and {} more", all.len() - MAX_SHOWN);
    }
    for name in items(report, "kept").iter().take(MAX_SHOWN) {
        let _ = writeln!(told, "  {}: nothing is taken, since a manifest of it cannot be read", text(name));
    }
}

fn status(report: &Value) -> String {
    let mut told = String::new();
    for (key, runs) in [("running", true), ("last", false)] {
        let run = &report[key];
        if run.is_object() {
            let _ = writeln!(told, "{key:<9}  {}", one_run(run, runs));
        }
    }
    if told.is_empty() {
        told.push_str("no collection has run here yet\n");
    }
    let of = |key: &str| heap(&report[key], "blobs", "bytes");
    let _ = writeln!(told, "unlinked   {}, of which {} are due", of("unlinked"), of("due"));
    if let Some(next) = report["next_due"].as_str() {
        let _ = writeln!(told, "           the next at {}", text(&next.into()));
    }
    let _ = writeln!(told, "in trash   {}", of("trash"));
    if report["paused"].is_object() {
        told.push_str(&paused(report));
    }
    told
}

/// `runs`: it is under way; otherwise it has ended, or was cut off.
fn one_run(run: &Value, runs: bool) -> String {
    let (begun, beat) = (text(&run["begun"]), text(&run["beat"]));
    let ended = match run["ended"].as_str() {
        Some(ended) => format!("{begun} to {}", text(&ended.into())),
        None if runs => format!("{} since {begun}, heard of at {beat}", text(&run["phase"])),
        None => format!("begun at {begun}, cut off at {beat}; the next run goes on with it"),
    };
    let error = run["error"].as_str().map(|error| format!("; it failed: {}", text(&error.into()))).unwrap_or_default();
    let (condemned, freed) =
        (number(run, "condemned_manifests") + number(run, "condemned_blobs"), heap(run, "deleted", "freed_bytes"));
    let name = (text(&run["run"]), text(&run["by"]));
    format!(
        "{} by {}, {ended}: {condemned} condemned, {} to trash, {freed} deleted{error}",
        name.0,
        name.1,
        heap(run, "moved", "moved_bytes")
    )
}

fn paused(report: &Value) -> String {
    match report["paused"].is_object() {
        true => {
            let paused = &report["paused"];
            format!("collections are paused since {} by {}\n", text(&paused["since"]), text(&paused["by"]))
        }
        false => "collections go on\n".to_owned(),
    }
}

fn restored(report: &Value) -> String {
    let names: Vec<_> = items(report, "repositories").iter().map(text).collect();
    let back = ["tags", "manifests", "blobs"].map(|key| number(report, key));
    let [tags, manifests, blobs] = back;
    let bytes = report["rescued_bytes"].as_u64();
    let mut told = if back != [0, 0, 0] || !names.is_empty() {
        let names = names.join(", ");
        format!(
            "back: {}, {} and {} in {names}, {} of them from the trash\n",
            count(tags, "tag"),
            count(manifests, "manifest"),
            count(blobs, "blob"),
            size(bytes)
        )
    } else if !items(report, "gone").is_empty() {
        "nothing more could be brought back:\n".to_owned()
    } else if bytes.is_some_and(|bytes| bytes > 0) {
        format!("all of it was linked already; {} of it are back from the trash\n", size(bytes))
    } else if !items(report, "moved_tags").is_empty() {
        "all of it is there already, but for tags that lead elsewhere by now:\n".to_owned()
    } else {
        "all of it is there already\n".to_owned()
    };
    for gone in items(report, "gone").iter().take(MAX_SHOWN) {
        let _ = writeln!(told, "  {} is gone for good", text(gone));
    }
    for moved in items(report, "moved_tags").iter().take(MAX_SHOWN) {
        let (name, tag, was) = (text(&moved["repository"]), text(&moved["tag"]), text(&moved["was"]));
        let _ = writeln!(told, "  {name}:{tag} leads elsewhere by now, and stays so; it led to {was}");
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_digests_and_repositories_are_told_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert!(meant(&digest).unwrap().digest.is_some());
        assert!(meant("gc-20261130T020000Z-01234567").unwrap().run.is_some());
        for name in ["team/app", "my-app", "gc-tools", "rm"] {
            assert!(meant(name).unwrap().repository.is_some(), "{name}");
        }
        for wrong in ["", "Team/app", "sha256:1", "a b"] {
            assert!(meant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_says_what_went_where() {
        let mut told = json!({
            "run": "gc-20261130T020000Z-01234567", "dry": false, "now": false, "repositories": 4, "kept": ["b"], "from": [
                { "repository": "team/app", "manifests": 1, "blobs": 2, "bytes": 3072 }],
            "manifests": 5, "needed": 9, "condemned_blobs": 2, "condemned_manifests": 1, "unlinked": 3, "unlinked_bytes": 2048,
            "moved": 1, "moved_bytes": 1024, "deleted": 0, "freed_bytes": 0, "trash": 1, "trash_bytes": 1024, "healed": 1,
            "notes": ["a note"],
        });
        let shown = report(&told);
        for line in [
            "marked     4 repositories, 5 manifests; needed: 9 contents\n",
            "condemned  1 manifest and 2 blobs, in their repositories\n",
            "to trash   1 (1.0 KiB)\n",
            "1 link written again",
            "  team/app  1 manifest, 2 blobs, 3.0 KiB\n",
            "  b: nothing is taken, since a manifest of it cannot be read\n",
            "note: a note\n",
            "`entrepot gc undelete gc-20261130T020000Z-01234567` brings back",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        (told["now"], told["deleted"]) = (json!(true), json!(1));
        let now = report(&told);
        assert!(now.contains("what is deleted is gone for good: nothing brings it back\n"), "{now}");
        assert!(now.contains("` brings back only what was condemned and not deleted: "), "{now}");
        told["condemned_blobs"] = json!(0);
        told["condemned_manifests"] = json!(0);
        assert!(report(&told).contains("gone for good") && !report(&told).contains("undelete"));
        (told["condemned_blobs"], told["condemned_manifests"]) = (json!(2), json!(1));
        told["dry"] = json!(true);
        assert!(!report(&told).contains("gone for good"));
        assert!(
            report(&told).contains("condemned  1 manifest and 2 blobs would be, in")
                && !report(&told).contains("undelete")
        );
    }

    #[test]
    fn how_it_stands_is_said_also_where_nothing_ever_ran() {
        let none = status(&json!({ "unlinked": { "blobs": 0, "bytes": 0 }, "due": {}, "trash": {} }));
        assert!(none.starts_with("no collection has run here yet\nunlinked   0 (0 B)"), "{none}");
        let paused = status(&json!({ "paused": { "since": "x", "by": "user:a" } }));
        assert!(paused.ends_with("collections are paused since x by user:a\n"));
        assert_eq!(super::paused(&json!({})), "collections go on\n");
    }

    #[test]
    fn what_came_back_and_what_need_not_or_cannot_is_told_apart() {
        let none = json!({ "repositories": [], "tags": 0, "manifests": 0, "blobs": 0, "rescued_bytes": 0, "gone": [], "moved_tags": [] });
        assert_eq!(restored(&none), "all of it is there already\n");
        let mut some = none.clone();
        (some["repositories"], some["tags"]) = (json!(["a", "b"]), json!(2));
        assert_eq!(restored(&some), "back: 2 tags, 0 manifests and 0 blobs in a, b, 0 B of them from the trash\n");
        let mut gone = none.clone();
        gone["gone"] = json!(["sha256:1"]);
        assert_eq!(restored(&gone), "nothing more could be brought back:\n  sha256:1 is gone for good\n");
        let mut moved = none.clone();
        moved["moved_tags"] = json!([{ "repository": "a", "tag": "1", "was": "sha256:1" }]);
        let moved = restored(&moved);
        assert!(
            moved.starts_with("all of it is there already, but for tags that lead elsewhere by now:\n  a:1 leads"),
            "{moved}"
        );
    }

    #[test]
    fn what_now_costs_is_said_before() {
        let costs =
            costs_of_now(&json!({ "unlinked": { "blobs": 3, "bytes": 2048 }, "trash": { "blobs": 1, "bytes": 1024 } }));
        assert!(
            costs.contains("3 (2.0 KiB) unlinked, 1 (1.0 KiB) in the trash") && costs.contains("No undelete"),
            "{costs}"
        );
    }

    #[test]
    fn a_run_that_was_cut_off_is_not_told_as_if_it_went_on() {
        let run = json!({ "run": "gc-1", "by": "user:a", "begun": "x", "beat": "y", "phase": "mark" });
        let runs = status(&json!({ "running": run }));
        assert!(runs.starts_with("running    gc-1 by user:a, mark since x, heard of at y: "), "{runs}");
        let cut = status(&json!({ "last": run }));
        assert!(
            cut.starts_with("last       gc-1 by user:a, begun at x, cut off at y; the next run goes on with it: "),
            "{cut}"
        );
        let mut failed = run.clone();
        (failed["ended"], failed["error"]) = (json!("z"), json!("another program"));
        let failed = status(&json!({ "last": failed }));
        assert!(
            failed.starts_with("last       gc-1 by user:a, x to z: ")
                && failed.contains("; it failed: another program")
        );
    }
}
