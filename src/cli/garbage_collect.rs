//! `entrepot garbage-collect CONFIG`: in the place of distribution's command of that name, with its file, its words and its exit
//! status, so that a cron job goes on. It takes away at once what is old enough, as that job expects; `entrepot gc run` does not. Where
//! a registry may believe for days that it has what it once saw, bytes go to the trash first: at once, an image would be lost.

use std::collections::HashSet;
use std::io::{BufWriter, Stdout, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;

use super::opened::of_another_user;
use super::words::{count, size};
use super::{Failure, interruptible};
use crate::config::distribution::{self, Distribution};
use crate::config::{Config, Source};
use crate::fleet::{self, Fleet};
use crate::maintenance::gc::{self, Collector, Needs, Order, Parts, Report, Step, Tell, Time, Trash, Young};
use crate::oci::Digest;
use crate::registry::quota;
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::units::{Span, seconds};

/// What it is called by those who collect, pause and look.
const BY: &str = "entrepot garbage-collect";
/// Lines that come before the sum in distribution's order are held back, so many; further ones are printed as they come.
const HELD: usize = 100_000;
/// What distribution says of a place without a registry, behind the name of its driver.
const NOTHING: &str = "Path not found: /docker/registry/v2/repositories";
const USAGE: &str = "Usage:\n  entrepot garbage-collect <config> [flags]\n\nFlags:\n  \
    -m, --delete-untagged   delete manifests that are not currently referenced via tag\n  \
    -d, --dry-run           do everything except remove the blobs\n  \
    -q, --quiet             silence output\n      \
        --at-once           no trash: no registry runs that has a cache of blob descriptors";

#[derive(Args)]
pub struct GarbageCollect {
    /// Say what would go, and remove nothing
    #[arg(short = 'd', long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true,
        value_name = "BOOL", action = clap::ArgAction::Set)]
    dry_run: bool,
    /// Manifests go that no tag leads to, no kept index names, and that are about nothing that stays
    #[arg(short = 'm', long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true,
        value_name = "BOOL", action = clap::ArgAction::Set)]
    delete_untagged: bool,
    /// Print nothing but what is wrong
    #[arg(short = 'q', long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true,
        value_name = "BOOL", action = clap::ArgAction::Set)]
    quiet: bool,
    /// Delete at once also where the file names a cache of blob descriptors, or another program pushes: no registry with a cache runs
    #[arg(long)]
    at_once: bool,
    /// Distribution's configuration file (YAML) [default: $REGISTRY_CONFIGURATION_PATH]
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
}

pub fn run(command: GarbageCollect) -> ExitCode {
    let read = match distribution::find(command.config.clone()) {
        Ok(read) => read,
        Err(what) => return super::fail(format!("configuration error: {what}\n{USAGE}")),
    };
    let own = match Source::load_beside() {
        Ok(config) => config,
        Err(errors) => {
            return super::fail(format!("configuration error: of Entrepot's own, whose [gc] counts: {errors}"));
        }
    };
    if !command.quiet {
        let note = of_another_user(&read.storage).filter(|_| !command.dry_run);
        read.notes.iter().chain(&note).for_each(|note| super::err(note));
    }
    let printer = Printer::new((!command.quiet).then(|| BufWriter::new(std::io::stdout())));
    match interruptible(collect(&command, &read, &own, &printer)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told(what)) => super::fail(what),
        Err(Failure::Interrupted) => {
            printer.held();
            super::interrupted("interrupted: what is done stays done, and the next run goes on")
        }
    }
}

async fn collect(command: &GarbageCollect, read: &Distribution, own: &Config, printer: &Printer) -> Result<(), String> {
    let failed = |what: &dyn std::fmt::Display| format!("failed to garbage collect: {what}");
    let config = &read.storage;
    let nothing = || failed(&format!("failed to mark: {}: {NOTHING}", theirs(config.driver)));
    // A root that is not there would be made.
    if config.driver == DriverKind::Filesystem && !config.root.is_dir() {
        return Err(nothing());
    }
    let metrics = prometheus::Registry::new();
    let storage = open(config, &metrics).await?;
    if !storage.has_repositories().await.map_err(|error| failed(&error))? {
        return Err(nothing());
    }
    let fleet = fleet::Metrics::new(&metrics).map_err(|error| failed(&error))?;
    // Where instances share what they know, they have to be told what goes.
    let fleet = Fleet::open(own.redis.as_ref(), false, Arc::new(fleet)).await;
    let metrics = gc::Metrics::new(&metrics).map_err(|error| failed(&error))?;
    // Before that too: whoever presses Ctrl-C keeps what is done.
    recount(&storage, command).await;
    let parts = Parts { storage: storage.clone(), fleet, metrics: Arc::new(metrics) };
    let order = Order {
        dry: command.dry_run,
        now: true,
        trash: trash(command.at_once, read),
        untagged: command.delete_untagged.then_some(seconds(0)),
        by: BY.into(),
        // Whoever had this job has another program there.
        foreign_careful: true,
        young: !command.quiet,
        ..Order::default()
    };
    let outcome = Collector::new(parts, own.gc.clone()).run(order, printer).await;
    recount(&storage, command).await;
    match &outcome {
        Ok(report) => {
            printer.sum(report);
            if let Some(young) =
                report.counts.young.filter(|_| !command.quiet).and_then(|young| too_young(&young, own.gc.grace))
            {
                super::err(&young);
            }
            if printer.stays() && report.counts.moved > 0 && !command.quiet {
                super::err(&in_the_trash(report, read.cache, own.gc.grace.0));
            }
        }
        // What is gone by then is told all the same.
        Err(_) => printer.held(),
    }
    outcome.map(drop).map_err(|error| failed(&error))
}

/// A registry that remembers takes a manifest for a layer that it has seen and that is gone. One that is read-only takes none, and
/// forgets when it is restarted to take some again, but for what Redis remembers.
fn trash(at_once: bool, read: &Distribution) -> Trash {
    match read.cache {
        _ if at_once => Trash::Never,
        Some("redis") => Trash::Always,
        _ if read.read_only => Trash::Never,
        Some(_) => Trash::Always,
        None => Trash::BesideOthers,
    }
}

/// Why less went than somebody expects who knows distribution's command, which takes also what was pushed a moment ago. `None`: nothing
/// is kept for that.
fn too_young(young: &Young, grace: Span) -> Option<String> {
    let until = young.until.filter(|_| young.blobs + young.manifests > 0)?;
    Some(format!(
        "{} and {} that nothing needs stay, because they, or what names them, were written less than {grace} ago and may belong to a push \
         that is under way ([gc] grace in the configuration of Entrepot). A garbage-collect after {} takes all of them.",
        count(young.blobs, "blob"),
        count(young.manifests, "manifest"),
        until_the_second(until),
    ))
}

/// Rounded up: before it, it would be too soon.
fn until_the_second(time: Time) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(time.plus(Duration::from_millis(999)).get())
}

fn in_the_trash(report: &Report, cache: Option<&str>, grace: Duration) -> String {
    let counts = &report.counts;
    let remembers = |memory: &str| format!("a registry that runs with this file remembers what it saw ({memory})");
    let (why, too) = match cache {
        Some(memory @ "redis") => (
            remembers(memory),
            "; remove the registry's keys in Redis before that, since it goes on believing that it has them",
        ),
        Some(memory) => {
            (remembers(memory), "; restart the registry before that, since it goes on believing that it has them")
        }
        None => ("another program has pushed here within a day".to_owned(), ""),
    };
    let read_only = match cache {
        Some("redis") => "",
        _ => "where storage.maintenance.readonly.enabled is true in this file, or ",
    };
    format!(
        "{} blobs ({}) are in the trash and not freed yet, because {why}: what it needs after all comes back from there. The next \
         garbage-collect after {} deletes them{too}. It deletes at once {read_only}with \
         --at-once, which is for when no registry with a cache runs.",
        counts.moved,
        size(Some(counts.moved_bytes)),
        humantime::format_rfc3339_seconds(report.ended.plus(grace).get()),
    )
}

/// Distribution's file has no quotas; those that serve from the same storage may have some, and count anew.
async fn recount(storage: &Storage, command: &GarbageCollect) {
    if !command.dry_run
        && let Err(error) = quota::doubt(storage).await
    {
        super::err(&format!("quotas are not told of it, `entrepot quota recount` does that: {error}"));
    }
}

/// How distribution's own messages call a driver.
fn theirs(driver: DriverKind) -> String {
    match driver {
        DriverKind::S3 => "s3aws".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

async fn open(config: &storage::Config, metrics: &prometheus::Registry) -> Result<Arc<Storage>, String> {
    let driver = format!("{:?}", config.driver).to_lowercase();
    let failed = |what: &dyn std::fmt::Display| format!("failed to construct {driver} driver: {what}");
    let metrics = storage::Metrics::new(metrics).map_err(|error| failed(&error))?;
    Storage::open(config, Arc::new(metrics)).await.map_err(|error| failed(&error))
}

/// Prints in distribution's words: what is marked as it comes, then what goes of manifests, the sum, blobs and links of layers.
struct Printer<W = BufWriter<Stdout>> {
    inner: Mutex<Inner<W>>,
}

struct Inner<W> {
    /// `None`: nothing is printed.
    to: Option<W>,
    manifests: Vec<String>,
    blobs: Vec<String>,
    layers: Vec<String>,
    /// Blobs that go.
    eligible: u64,
    /// What is moved is not deleted by this run.
    stays: bool,
}

impl<W: Write> Inner<W> {
    /// Whoever no longer reads has what they wanted: the collection goes on.
    fn say(&mut self, line: &str) {
        if let Some(to) = &mut self.to {
            let _ = writeln!(to, "{line}");
        }
    }

    fn goes(&mut self, digest: &Digest) {
        self.eligible += 1;
        self.hold(|inner| &mut inner.blobs, format!("blob eligible for deletion: {digest}"));
    }

    fn hold(&mut self, of: impl Fn(&mut Self) -> &mut Vec<String>, line: String) {
        if self.to.is_none() {
            return;
        }
        if self.manifests.len() + self.blobs.len() + self.layers.len() < HELD {
            of(self).push(line);
        } else {
            self.say(&line);
        }
    }
}

impl<W: Write> Printer<W> {
    fn new(to: Option<W>) -> Self {
        let inner =
            Inner { to, manifests: Vec::new(), blobs: Vec::new(), layers: Vec::new(), eligible: 0, stays: false };
        Printer { inner: Mutex::new(inner) }
    }

    fn stays(&self) -> bool {
        self.inner.lock().stays
    }

    /// Lines that are held back, without a sum that is not known.
    fn held(&self) {
        let mut inner = self.inner.lock();
        let (manifests, blobs, layers) =
            (std::mem::take(&mut inner.manifests), std::mem::take(&mut inner.blobs), std::mem::take(&mut inner.layers));
        [manifests, blobs, layers].iter().flatten().for_each(|line| inner.say(line));
        if let Some(to) = &mut inner.to {
            let _ = to.flush();
        }
    }

    fn sum(&self, report: &Report) {
        let mut inner = self.inner.lock();
        let counts = &report.counts;
        let (manifests, blobs, layers) =
            (std::mem::take(&mut inner.manifests), std::mem::take(&mut inner.blobs), std::mem::take(&mut inner.layers));
        manifests.iter().for_each(|line| inner.say(line));
        let sum = format!(
            "\n{} blobs marked, {} blobs and {} manifests eligible for deletion",
            counts.needed, inner.eligible, counts.condemned_manifests
        );
        inner.say(&sum);
        blobs.iter().chain(&layers).for_each(|line| inner.say(line));
        report.notes.iter().filter(|_| inner.to.is_some()).for_each(|note| super::err(note));
        if let Some(to) = &mut inner.to {
            let _ = to.flush();
        }
    }
}

impl<W: Write + Send> Tell for Printer<W> {
    fn step(&self, step: &Step) {
        let mut inner = self.inner.lock();
        match step {
            Step::Condemned { repository, blobs, manifests } => {
                for digest in manifests {
                    // Distribution lists all tags of the repository there, of which none leads to it.
                    let line = format!("manifest eligible for deletion: {{{repository} {digest} []}}");
                    inner.hold(|inner| &mut inner.manifests, line);
                }
                for digest in blobs {
                    let line = format!("{repository}: layer link eligible for deletion: {digest}");
                    inner.hold(|inner| &mut inner.layers, line);
                }
            }
            Step::Eligible { digest, .. } | Step::Deleted { digest, .. } => inner.goes(digest),
            Step::Moved { digest, .. } if inner.stays => inner.goes(digest),
            Step::Unreadable { repository, digest } => {
                let line = format!("{repository}: manifest {digest} cannot be read: nothing goes of this repository");
                inner.say(&line);
            }
            _ => {}
        }
    }

    fn stays_in_trash(&self) {
        self.inner.lock().stays = true;
    }

    fn marked(&self, needs: &Needs<'_>) {
        let mut inner = self.inner.lock();
        if inner.to.is_none() {
            return;
        }
        let name = needs.repository;
        inner.say(name.as_str());
        for digest in needs.manifests {
            // With the space behind it, as distribution has it.
            inner.say(&format!("{name}: marking manifest {digest} "));
        }
        let manifests: HashSet<&Digest> = needs.manifests.iter().collect();
        for digest in needs.needed.iter().filter(|digest| !manifests.contains(digest)) {
            inner.say(&format!("{name}: marking blob {digest}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn what_went_is_told_also_where_the_rest_failed() {
        let printer = Printer::new(Some(Vec::new()));
        let digest = Digest::of(Algorithm::Sha256, b"x");
        printer.step(&Step::Deleted { digest, size: 1 });
        assert!(printer.inner.lock().to.as_ref().unwrap().is_empty(), "it comes behind the sum");
        printer.held();
        let told = printer.inner.lock().to.take().unwrap();
        assert_eq!(String::from_utf8(told).unwrap(), format!("blob eligible for deletion: {digest}\n"));
    }

    fn moved(printer: &Printer<Vec<u8>>) -> String {
        printer.step(&Step::Moved { digest: Digest::of(Algorithm::Sha256, b"x"), size: 1 });
        printer.held();
        String::from_utf8(printer.inner.lock().to.take().unwrap()).unwrap()
    }

    #[test]
    fn what_stays_in_the_trash_is_told_as_what_goes() {
        assert_eq!(moved(&Printer::new(Some(Vec::new()))), "", "it is deleted next, and told then");
        let printer = Printer::new(Some(Vec::new()));
        printer.stays_in_trash();
        assert!(moved(&printer).starts_with("blob eligible for deletion: sha256:"));
        assert_eq!(printer.inner.lock().eligible, 1);
    }

    #[test]
    fn bytes_go_at_once_where_nobody_remembers_or_nobody_may_push() {
        let of = |cache, read_only| {
            let storage = storage::Config::default();
            Distribution { storage, cache, read_only, notes: Vec::new() }
        };
        assert_eq!(trash(false, &of(None, false)), Trash::BesideOthers);
        for cache in ["inmemory", "redis"] {
            assert_eq!(trash(false, &of(Some(cache), false)), Trash::Always);
            let read_only = if cache == "redis" { Trash::Always } else { Trash::Never };
            assert_eq!(trash(false, &of(Some(cache), true)), read_only);
            assert_eq!(trash(true, &of(Some(cache), false)), Trash::Never);
        }
        assert_eq!((trash(false, &of(None, true)), trash(true, &of(None, false))), (Trash::Never, Trash::Never));
    }

    #[test]
    fn what_is_too_young_is_told_with_the_time_when_it_is_not() {
        let time = |text: &str| Time::of(humantime::parse_rfc3339(text).unwrap());
        let young = Young { blobs: 2, manifests: 1, until: Some(time("2026-12-01T10:00:00.250Z")) };
        let told = too_young(&young, seconds(86_400)).unwrap();
        assert!(told.starts_with("2 blobs and 1 manifest that nothing needs stay"), "{told}");
        assert!(told.contains("less than 24h ago") && told.contains("after 2026-12-01T10:00:01Z takes"), "{told}");
        assert_eq!(too_young(&Young::default(), seconds(86_400)), None);
    }

    #[test]
    fn drivers_have_the_names_of_distribution() {
        let names = [DriverKind::Filesystem, DriverKind::S3, DriverKind::Gcs, DriverKind::Azure].map(theirs);
        assert_eq!(names, ["filesystem", "s3aws", "gcs", "azure"]);
    }
}
