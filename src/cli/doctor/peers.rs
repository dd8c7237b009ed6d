//! Registries that we ask: the peers of clusters, and remotes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use prometheus::Registry as Prometheus;

use super::clock::Clocks;
use super::finding::{Findings, REPORT};
use crate::cluster::config::Authorization;
use crate::cluster::{self, Cluster, PeerTable};
use crate::config::Config;
use crate::fleet::{self, Fleet};
use crate::outbound::OwnAddresses;
use crate::remote::{self, Asker, Question, Remote, RemoteError, Surroundings, What};
use crate::units::{Span, seconds};

const PEERS: &str = "peers";
const REMOTES: &str = "remotes";
/// What every registry answers.
const BASE: &str = "/v2/";
/// A peer or remote that takes longer is as good as down to who looks at it.
const PATIENCE: Span = seconds(5);
const REMOTE_TIME: Duration = Duration::from_secs(15);
/// Asked at once.
const AT_ONCE: usize = 16;

pub async fn peers(config: &Config, clocks: &Clocks) -> Findings {
    let mut findings = Findings::of(PEERS);
    for (name, section) in &config.cluster {
        if let Err(why) = cluster_of(name, section, clocks, &mut findings).await {
            findings
                .error(format!("cluster.{name}: {why}"), "correct [cluster.NAME] of that name in the configuration");
        }
    }
    findings
}

async fn cluster_of(
    name: &str,
    section: &cluster::Config,
    clocks: &Clocks,
    findings: &mut Findings,
) -> Result<(), String> {
    let mut quick = section.clone();
    // We look once, and wait for nobody who is busy.
    quick.health.interval = seconds(0);
    quick.queue_timeout = PATIENCE;
    quick.timeouts.connect = quick.timeouts.connect.min(PATIENCE);
    quick.timeouts.first_byte = quick.timeouts.first_byte.min(PATIENCE);
    let metrics = cluster::Metrics::new(&Prometheus::new()).map_err(|error| error.to_string())?;
    let table = PeerTable::default();
    let cluster = Cluster::start(name, &quick, &table, Arc::new(metrics)).await;
    let cluster = cluster.map_err(|error| error.to_string())?;
    let found = cluster.snapshot();
    for peer in section.peers.iter().filter(|peer| !found.iter().any(|seen| *seen.authority == *peer.address)) {
        findings.error(
            format!("cluster.{name}: {} does not resolve", peer.address),
            "correct its name, or give it a DNS record",
        );
    }
    let asks = found.into_iter().map(|peer| {
        let cluster = &cluster;
        async move {
            let shown = match peer.address.to_string() == *peer.authority {
                true => peer.authority.to_string(),
                false => format!("{} ({})", peer.authority, peer.address),
            };
            (shown, ask(cluster, peer.id).await)
        }
    });
    let mut asks = futures::stream::iter(asks).buffered(AT_ONCE);
    while let Some((shown, answer)) = asks.next().await {
        let who = format!("cluster.{name}: {shown}");
        match answer {
            Ok(answer) => {
                clocks.said(format!("peer {shown}"), answer.headers());
                judge(&who, answer.status().as_u16(), section, findings);
            }
            Err(why) => findings.error(
                format!("{who} does not answer {BASE}: {why}"),
                "see whether it runs, whether this machine reaches it, and whether `tls` of the cluster is right",
            ),
        }
    }
    Ok(())
}

async fn ask(cluster: &Cluster, id: cluster::PeerId) -> Result<reqwest::Response, String> {
    let in_flight = cluster.begin_on(id).await.map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    if let Some(login) = cluster.authorization(None) {
        headers.insert(AUTHORIZATION, login.clone());
    }
    let answer = in_flight.peer().send(Method::GET, BASE, headers, Bytes::new()).await;
    answer.map_err(|error| error.to_string())
}

fn judge(who: &str, status: u16, section: &cluster::Config, findings: &mut Findings) {
    let logs_in = matches!(section.authorization, Authorization::Login(_));
    match status {
        401 if logs_in => findings.error(
            format!("{who} refuses the login of `authorization`"),
            "correct its username and password; a peer that gives tokens has to be asked by its clients themselves",
        ),
        200 => findings.ok(format!("{who} answers {BASE}")),
        401 => findings.ok(format!("{who} answers {BASE}, and asks for a login")),
        301..=308 => findings.error(
            format!("{who} answers {BASE} with {status}, and leads elsewhere"),
            "is it spoken to by https where it wants http, or the other way round? see `tls` of the cluster",
        ),
        _ => findings.error(
            format!("{who} answers {BASE} with {status}, as no registry does"),
            "see whether this is the registry's address and port, and look into the registry's log",
        ),
    }
}

pub async fn remotes(config: &Config, clocks: &Clocks) -> Findings {
    let mut findings = Findings::of(REMOTES);
    let surroundings = match surroundings().await {
        Ok(surroundings) => surroundings,
        Err(why) => {
            findings.error(format!("cannot be asked: {why}"), REPORT);
            return findings;
        }
    };
    let asks = config.remote.iter().map(|(name, section)| {
        let surroundings = surroundings.clone();
        async move { (name, section, ping(name, section, surroundings).await) }
    });
    let mut asks = futures::stream::iter(asks).buffered(AT_ONCE);
    while let Some((name, section, answer)) = asks.next().await {
        let who = format!("remote.{name} ({})", section.registry);
        let has_login = !section.credentials.is_empty();
        match answer {
            Ok(headers) => {
                clocks.said(format!("remote {name}"), &headers);
                let login = if has_login { ", and takes our login" } else { "" };
                findings.ok(format!("{who} answers{login}"));
            }
            Err(Trouble::Asked(RemoteError::Denied(_))) if !has_login => {
                findings.ok(format!("{who} answers, and asks for a login"));
            }
            Err(Trouble::Asked(RemoteError::Denied(status))) => findings.error(
                format!("{who} refuses our login ({})", status.as_u16()),
                "correct `credentials` of the remote: the username, and what is in the file of the password",
            ),
            Err(Trouble::Asked(error)) => findings.error(
                format!("{who}: {error}"),
                "see whether this machine reaches it (proxy, firewall), and whether `url` and `tls` are right; what is kept is served \
                 meanwhile",
            ),
            Err(Trouble::Made(why)) => findings.error(format!("{who}: {why}"), "correct it in the configuration"),
        }
    }
    findings
}

enum Trouble {
    /// It cannot be asked at all.
    Made(String),
    Asked(RemoteError),
}

async fn surroundings() -> Result<Surroundings, String> {
    let metrics = Prometheus::new();
    let of_fleet = fleet::Metrics::new(&metrics).map_err(|error| error.to_string())?;
    let of_remotes = remote::Metrics::new(&metrics).map_err(|error| error.to_string())?;
    let fleet = Fleet::open(None, true, Arc::new(of_fleet)).await;
    Ok(Surroundings { fleet, own: OwnAddresses::default(), metrics: Arc::new(of_remotes) })
}

async fn ping(name: &str, section: &remote::Config, surroundings: Surroundings) -> Result<HeaderMap, Trouble> {
    let (name, section) = (name.to_owned(), section.clone());
    let made = tokio::task::spawn_blocking(move || Remote::new(&name, &section, surroundings, None)).await;
    let made = made.map_err(|error| Trouble::Made(error.to_string()))?;
    let remote = made.map_err(|error| Trouble::Made(error.to_string()))?;
    let question = Question {
        repository: None,
        what: What::Ping,
        head: false,
        accept: &[],
        range: None,
        asker: &Asker::Mirror,
        within: REMOTE_TIME,
    };
    remote.ask(question).await.map(|answer| answer.headers).map_err(Trouble::Asked)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn answers_of_peers_are_judged() {
        let section = |authorization: &str| -> cluster::Config {
            toml::from_str(&format!("peers = [\"a:1\"]\n{authorization}")).unwrap()
        };
        let level = |status: u16, authorization: &str| {
            let mut findings = Findings::of(PEERS);
            judge("cluster.a: a:1", status, &section(authorization), &mut findings);
            findings.found[0].level
        };
        let login = "authorization = { username = \"ann\", password = \"1234\" }";
        for (status, authorization, expected) in [
            (200, "", Level::Ok),
            (401, "", Level::Ok),
            (401, login, Level::Error),
            (200, login, Level::Ok),
            (404, "", Level::Error),
            (308, "", Level::Error),
        ] {
            assert_eq!(level(status, authorization), expected, "{status} {authorization}");
        }
    }
}
