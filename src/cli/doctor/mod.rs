//! `entrepot doctor`: what is wrong with an installation, before and after it goes live. Each check is a file; all are done whatever
//! the others find, each within its time; what they ask with is what a server asks with.

mod asked;
mod certificates;
mod clients;
mod clock;
mod disk;
mod door;
mod files;
mod finding;
mod fleet;
mod image;
mod limits;
mod names;
mod peers;
mod placeholders;
mod ports;
mod report;
mod storage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;

use super::access::Access;
use super::admin::Admin;
use super::client::body;
use crate::acme::LETS_ENCRYPT;
use crate::config::{Config, Errors, Source};
use crate::oci::RepositoryName;
use crate::outbound::tls;
use certificates::Trust;
use clients::Reached;
use clock::Clocks;
use door::{Door, There};
use finding::{Findings, REPORT, blocking_within, within};
use image::Probe;
use report::{Report, Stage};

/// One check.
const CHECK_TIME: Duration = Duration::from_secs(30);
/// Those that ask much of others: storage with its own tries, all peers, a push.
const LONG_CHECK_TIME: Duration = Duration::from_secs(90);
/// The admin endpoint, which is near.
const ADMIN_TIME: Duration = Duration::from_secs(10);
/// A page of metrics is no longer than this, in bytes.
const MAX_METRICS: usize = 16 << 20;

#[derive(Args)]
pub struct Doctor {
    /// The configuration file [default: as `serve` finds it]
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// It shall not be running yet: its ports have to be free [default: found out by looking whether it answers]
    #[arg(long, conflicts_with = "after")]
    before: bool,
    /// It shall be running: it has to answer
    #[arg(long)]
    after: bool,
    /// How clients call it: NAME, or NAME:PORT [default: the first name of a certificate or a route]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Who pushes, pulls and deletes the probe image
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// The file with the password of --user; - for stdin
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Where the probe image is pushed to, and deleted again
    #[arg(long, value_name = "REPOSITORY", default_value = "entrepot-doctor/probe")]
    repository: RepositoryName,
    /// Certificates (PEM) of an authority of your own, which your clients are given
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print what docker, containerd and podman have to be told of this address
    #[arg(long)]
    clients: bool,
    /// As JSON, errors too
    #[arg(long)]
    json: bool,
}

pub fn run(doctor: Doctor) -> ExitCode {
    let access = match (&doctor.user, &doctor.password_file) {
        (Some(user), Some(file)) => match Access::read(user, file) {
            Ok(access) => Some(access),
            Err(why) => return super::misused(why),
        },
        _ => None,
    };
    let mut report = Report::new(doctor.json);
    let pending = Pending::default();
    let work = async {
        examine(&doctor, access, &pending, &mut report).await;
        Ok::<_, String>(())
    };
    let done = super::interruptible_then(work, clean_up(&pending));
    match done {
        Ok(()) => report.end(doctor.clients),
        Err(failure) => super::give_up(failure),
    }
}

/// The probe that may have pushed something.
type Pending = Mutex<Option<Arc<Probe>>>;

/// Whoever is cut off leaves nothing behind either.
async fn clean_up(pending: &Pending) {
    let probe = pending.lock().clone();
    if let Some(probe) = probe {
        within("delete", CHECK_TIME, probe.delete()).await;
    }
}

async fn examine(doctor: &Doctor, access: Option<Access>, pending: &Pending, report: &mut Report) {
    let source = Source::find(doctor.config.clone());
    let file = source.path.clone();
    let reading = source.clone();
    let read = tokio::task::spawn_blocking(move || (reading.load(), reading.written())).await;
    let (config, written) = match read {
        Ok(read) => read,
        Err(error) => {
            let mut findings = Findings::of("config");
            findings.error(format!("could not be read: {error}"), REPORT);
            return report.add(findings);
        }
    };
    report.add(of_config(&source, &config));
    report.add(placeholders::check(&written));
    let config = config.ok().map(Arc::new);
    let for_secrets = config.clone();
    let secrets = move || files::secrets(for_secrets.as_deref(), &written, file.as_deref());
    report.add(blocking_within("secrets", CHECK_TIME, secrets).await);
    match config {
        Some(config) => {
            let patient = Patient { doctor, source, config, access, pending, clocks: Clocks::default() };
            patient.examine(report).await;
        }
        None => {
            let mut findings = Findings::of("config");
            findings.error(
                "no more can be checked until the configuration has no errors",
                "correct them, and run this again",
            );
            report.add(findings);
        }
    }
}

fn of_config(source: &Source, config: &Result<Config, Errors>) -> Findings {
    let mut findings = Findings::of("config");
    let name = source.path.as_ref().map_or("the built-in configuration".into(), |path| path.display().to_string());
    match config {
        Ok(config) => {
            findings.ok(format!("{name} has no errors"));
            config.warnings().into_iter().for_each(|warning| findings.warning(warning, ""));
        }
        Err(errors) => {
            let advice = "conf/entrepot.toml has every key with its bounds";
            errors.0.iter().for_each(|problem| findings.error(problem.to_string(), advice));
        }
    }
    findings
}

/// An installation whose configuration can be read.
struct Patient<'a> {
    doctor: &'a Doctor,
    source: Source,
    config: Arc<Config>,
    access: Option<Access>,
    pending: &'a Pending,
    clocks: Clocks,
}

impl Patient<'_> {
    async fn examine(&self, report: &mut Report) {
        let config = &self.config;
        let address = self.doctor.address.clone();
        let for_names = config.clone();
        let names = tokio::task::spawn_blocking(move || names::of(&for_names, address.as_deref())).await;
        let names = names.unwrap_or_default();
        report.add(within("names", CHECK_TIME, names::check(&names)).await);
        let doors = self.doors(&names).await;
        let (serving, there) = self.ports(&doors, report).await;
        self.files(&names, serving.as_deref(), report).await;
        let storage = self.surroundings(report).await;
        if report.stage() == Stage::After {
            // A login is shown to nobody else.
            let ours = |index: usize| there.get(index).is_some_and(|there| *there == Some(There::Entrepot));
            let door = self.way_in(ours).and_then(|index| doors.get(index)?.clone());
            match door {
                Some(door) => self.image(door, storage, report).await,
                None => {
                    let mut findings = Findings::of("push");
                    findings.warning(
                        "no listener can be asked from here: each is a unix socket, wants a PROXY header or a client certificate, leads to \
                         https, or did not answer as Entrepot does",
                        "push and pull through what stands before it",
                    );
                    report.add(findings);
                }
            }
        }
        report.add(self.clocks.check());
        let (findings, reached) = match self.unconfigured() {
            Some(addresses) => asked::reached(&addresses, self.mirrored()).await,
            None => {
                let reached = self.reached(&names).await;
                (reached.check(), Some(reached))
            }
        };
        report.add(findings);
        reached.into_iter().for_each(|reached| report.clients(reached));
    }

    /// For each listener; `None` where it cannot be asked from here.
    async fn doors(&self, names: &[(String, String)]) -> Vec<Option<Arc<Door>>> {
        let (config, access) = (self.config.clone(), self.access.clone());
        let (ca, name) = (self.doctor.ca.clone(), self.name(names));
        let made = move || {
            let mut roots = Trust::of(ca.as_deref()).or_else(|_| Trust::of(None)).map(|trust| trust.roots);
            // Whom we believe when we order certificates may be who signs them.
            let of_acme = config.acme.as_ref().and_then(|acme| acme.ca.as_ref());
            if let (Ok(roots), Some(file)) = (&mut roots, of_acme) {
                roots.add_parsable_certificates(tls::certificates(file).unwrap_or_default());
            }
            let door = |listener: &crate::listener::Config| {
                let is_closed = listener.proxy_protocol || listener.client_certificate_required;
                let roots = roots.as_ref().ok().filter(|_| !is_closed)?.clone();
                let address = super::admin::reachable(listener.address.tcp()?);
                let name = name_for(listener, name.as_deref()).unwrap_or_else(|| address.ip().to_string());
                Door::new((listener, address), &name, roots, access.clone()).ok().map(Arc::new)
            };
            config.listener.iter().map(door).collect()
        };
        tokio::task::spawn_blocking(made).await.unwrap_or_default()
    }

    /// How clients call us, if there is a name.
    fn name(&self, names: &[(String, String)]) -> Option<String> {
        let given = self.doctor.address.as_deref().map(|address| names::without_port(address).to_owned());
        given.or_else(|| names.first().map(|(name, _)| name.clone()))
    }

    /// Finds out, or is told, whether it runs; what it says of itself if it does.
    async fn ports(&self, doors: &[Option<Arc<Door>>], report: &mut Report) -> (Option<String>, Vec<Option<There>>) {
        let asked = doors.iter().map(|door| async move {
            match door {
                Some(door) => Some(door.who_is_there().await),
                None => None,
            }
        });
        let there = tokio::time::timeout(CHECK_TIME, futures::future::join_all(asked)).await.unwrap_or_default();
        let admin = self.admin().await;
        let answers = there.iter().flatten().any(|there| *there == There::Entrepot) || matches!(admin, Some(Ok(_)));
        let stage = match (self.doctor.before, self.doctor.after || answers) {
            (true, _) | (false, false) => Stage::Before,
            (false, true) => Stage::After,
        };
        report.begin(stage);
        if stage == Stage::Before {
            report.add(ports::free(&self.config));
            return (None, there);
        }
        let outcome = admin.as_ref().map(|answer| answer.as_ref().map(|_| ()).map_err(Clone::clone));
        report.add(ports::ours(&self.config, &there, outcome.as_ref()));
        report.add(within("ready", CHECK_TIME, self.ready()).await);
        (admin.and_then(Result::ok), there)
    }

    /// Its page of metrics; `None`: there is no admin endpoint.
    async fn admin(&self) -> Option<Result<String, String>> {
        let section = self.config.admin.as_ref()?;
        let ask = async {
            let admin = Admin::of(section, &self.source, None)?;
            let answer = admin.get("/metrics", &[]).timeout(ADMIN_TIME).send().await;
            let answer = answer.map_err(|error| admin.silent(&error))?;
            let text = body(answer, MAX_METRICS).await?;
            Ok::<_, String>(String::from_utf8_lossy(&text).into_owned())
        };
        Some(ask.await)
    }

    /// Whether it says itself that requests should be sent to it.
    async fn ready(&self) -> Findings {
        let mut findings = Findings::of("ready");
        let Some(section) = &self.config.admin else { return findings };
        let asked = async {
            let admin = Admin::of(section, &self.source, None)?;
            let answer = admin.get("/readyz", &[]).timeout(ADMIN_TIME).send().await;
            body(answer.map_err(|error| admin.silent(&error))?, MAX_METRICS).await
        };
        // That nobody answers was told of.
        let Ok(answer) = asked.await else { return findings };
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer["ready"] == true {
            true => findings.ok("it says that requests should be sent to it"),
            false => {
                let reasons = answer["reasons"].as_array().into_iter().flatten().map(super::words::text);
                let reasons = reasons.collect::<Vec<_>>().join("; ");
                findings.error(
                    format!("it says that no requests should be sent to it: {reasons}"),
                    "mend what it names; `entrepot status` says more",
                );
            }
        }
        findings
    }

    /// What is looked for on this machine.
    async fn files(&self, names: &[(String, String)], metrics: Option<&str>, report: &mut Report) {
        let hosts: Vec<String> = names.iter().filter(|(_, key)| is_served(key)).map(|(name, _)| name.clone()).collect();
        let (config, ca) = (self.config.clone(), self.doctor.ca.clone());
        let look = move || certificates::check(&config, &hosts, ca.as_deref());
        report.add(blocking_within("certificates", CHECK_TIME, look).await);
        let config = self.config.clone();
        report.add(blocking_within("users", CHECK_TIME, move || files::users(&config)).await);
        let config = self.config.clone();
        report.add(blocking_within("logs", CHECK_TIME, move || files::logs(&config)).await);
        let config = self.config.clone();
        report.add(blocking_within("disk", CHECK_TIME, move || disk::check(&config)).await);
        report.add(limits::check(&self.config, metrics.and_then(limits::of_metrics)));
    }

    /// Whom we speak with; the storage, if it is well.
    async fn surroundings(&self, report: &mut Report) -> Option<Arc<crate::storage::Storage>> {
        let (config, clocks) = (&*self.config, &self.clocks);
        let mut opened = None;
        if config.uses_registry() {
            let look = async {
                let (findings, storage) = storage::check(config, clocks).await;
                opened = storage;
                findings
            };
            report.add(within("storage", LONG_CHECK_TIME, look).await);
        }
        report.add(within("redis", CHECK_TIME, fleet::redis(config, clocks)).await);
        report.add(within("fleet secret", CHECK_TIME, fleet::secret(config)).await);
        report.add(within("peers", LONG_CHECK_TIME, peers::peers(config, clocks)).await);
        if !config.remote.is_empty() {
            report.add(within("remotes", LONG_CHECK_TIME, peers::remotes(config, clocks)).await);
        }
        opened
    }

    /// The listener that the probe goes through, of those that are `ours`.
    fn way_in(&self, ours: impl Fn(usize) -> bool) -> Option<usize> {
        let listeners = self.config.listener.iter().enumerate();
        let may = |listener: &crate::listener::Config| {
            let is_closed = listener.proxy_protocol || listener.client_certificate_required;
            listener.address.tcp().is_some() && !listener.redirect_to_https && !is_closed
        };
        let open: Vec<_> = listeners.filter(|(index, listener)| may(listener) && ours(*index)).collect();
        let by_tls = open.iter().find(|(_, listener)| !listener.tls.is_empty());
        by_tls.or(open.first()).map(|(index, _)| *index)
    }

    async fn image(&self, door: Arc<Door>, storage: Option<Arc<crate::storage::Storage>>, report: &mut Report) {
        let takes_pushes = self.config.route.iter().any(|route| route.write.is_some());
        let probe = Arc::new(Probe::new(door, self.doctor.repository.clone(), takes_pushes, storage));
        *self.pending.lock() = Some(Arc::clone(&probe));
        report.add(within("login", CHECK_TIME, probe.login()).await);
        report.add(within("push", LONG_CHECK_TIME, probe.walk()).await);
        // Also when that took too long.
        report.add(within("delete", CHECK_TIME, probe.delete()).await);
    }

    /// Where to ask how clients are spoken to, if no file says it: the built-in configuration knows nothing of that address.
    fn unconfigured(&self) -> Option<Vec<String>> {
        let address = self.doctor.address.clone()?;
        if self.source.path.is_some() || self.config.listener.iter().any(|listener| !listener.tls.is_empty()) {
            return None;
        }
        let ports = self.config.listener.iter().filter_map(|listener| listener.address.tcp().map(|tcp| tcp.port()));
        let has_port = names::without_port(&address) != address;
        let with_ports: Vec<_> = ports.filter(|_| !has_port).map(|port| format!("{address}:{port}")).collect();
        Some(std::iter::once(address).chain(with_ports).collect())
    }

    fn mirrored(&self) -> Vec<String> {
        self.config.remote.values().map(|remote| remote.registry.clone()).collect()
    }

    async fn reached(&self, names: &[(String, String)]) -> Reached {
        let index = self.way_in(|_| true).unwrap_or(0);
        let listener = self.config.listener.get(index);
        let tls = listener.is_some_and(|listener| !listener.tls.is_empty());
        let tcp = listener.and_then(|listener| listener.address.tcp());
        let port = tcp.map_or(443, |address| address.port());
        let usual = if tls { 443 } else { 80 };
        let own = tcp.map(|address| super::admin::reachable(address).ip().to_string());
        let name = self.name(names).or(own).unwrap_or_default();
        let address = match &self.doctor.address {
            Some(address) if names::without_port(address) != address => address.clone(),
            _ if port == usual => name,
            _ if name.contains(':') => format!("[{name}]:{port}"),
            _ => format!("{name}:{port}"),
        };
        let files: Vec<_> =
            listener.iter().flat_map(|one| one.tls.iter().filter_map(|pair| pair.certificate.clone())).collect();
        // What comes by itself is believed where everybody believes who it comes from.
        let comes = listener.is_some_and(|one| one.tls.iter().any(|entry| entry.acme));
        let public = self.config.acme.as_ref().is_none_or(|acme| acme.directory == LETS_ENCRYPT);
        let believed = move || {
            let any = comes || !files.is_empty();
            any && (public || !comes) && files.iter().all(|file| certificates::is_believed(file))
        };
        let believed = tokio::task::spawn_blocking(believed).await.unwrap_or(false);
        Reached { address, tls, believed, mirrored: self.mirrored() }
    }
}

/// The name that a listener is asked by: one of its certificates has it. `name`: how clients call us.
fn name_for(listener: &crate::listener::Config, name: Option<&str>) -> Option<String> {
    let own: Vec<&String> = listener.tls.iter().flat_map(|entry| &entry.names).collect();
    let covers = |own: &str, name: &str| {
        let below = own.strip_prefix("*.").zip(name.split_once('.'));
        own.eq_ignore_ascii_case(name) || below.is_some_and(|(own, (_, rest))| own.eq_ignore_ascii_case(rest))
    };
    let bare = name.map(names::without_port);
    match bare.filter(|name| own.is_empty() || own.iter().any(|own| covers(own, name))) {
        Some(name) => Some(name.to_owned()),
        None => own.iter().find(|name| !name.starts_with("*.")).map(ToString::to_string).or(name.map(str::to_owned)),
    }
}

/// Whether a name is one that listeners are asked by.
fn is_served(key: &str) -> bool {
    key == "--address" || key.starts_with("route[")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        doctor: Doctor,
    }

    #[test]
    fn what_goes_together_is_given_together() {
        let parse = |words: &[&str]| Line::try_parse_from(std::iter::once("doctor").chain(words.iter().copied()));
        assert_eq!(parse(&["a.toml"]).unwrap().doctor.repository.to_string(), "entrepot-doctor/probe");
        for wrong in
            [&["--before", "--after"][..], &["--user", "ann"], &["--password-file", "-"], &["--repository", "A B"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
