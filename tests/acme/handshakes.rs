//! Clients that begin connections all the time, in every way, while the keys that they are shown are changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion, version};

use super::world::{Place, open, patiently};
use crate::harness::{Connection, Request, Stop, within};

/// Each renewal that comes early waits twice as long as the one before: with more, a machine would do nothing but wait.
const ROUNDS: usize = 5;
/// For all handshakes, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(900);
const CLIENTS: usize = 4;

#[derive(Default)]
struct Done {
    handshakes: AtomicUsize,
    resumed: AtomicUsize,
}

/// Handshakes of old and new TLS, whole and resumed, for all names, while each of so many certificates is renewed at least twice.
pub fn none_fails_while_keys_are_changed(handshakes: usize, certificates: usize) {
    let names: Vec<String> = (0..certificates).map(|n| format!("r{n}.example.com")).collect();
    let place = Place::new();
    let tls: Vec<String> = names.iter().map(|name| format!("{{ acme = true, names = [{name:?}] }}")).collect();
    let setup = place.setup(&["unused.example.com"]).set("listener.2.tls", &format!("[{}]", tls.join(", ")));
    let entrepot = setup.start();
    names.iter().for_each(|name| drop(place.shown(name)));
    let (done, stop, begun) = (Done::default(), Stop::default(), Instant::now());
    let (failed, rounds) = std::thread::scope(|scope| {
        let guard = stop.guard();
        let workers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let clients = clients(&place);
                let (place, names, done, stop) = (&place, &names, &done, &stop);
                scope.spawn(move || shake_hands(place, names, &clients, number, done, stop))
            })
            .collect();
        let mut rounds = 0;
        while rounds < 2 || (rounds < ROUNDS && done.handshakes.load(Relaxed) < handshakes) {
            change_all(&place, &names);
            rounds += 1;
        }
        within(LONG, "enough handshakes", || done.handshakes.load(Relaxed) >= handshakes);
        drop(guard);
        let failed: Vec<String> = workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect();
        (failed, rounds)
    });
    let Done { handshakes, resumed } = done;
    println!(
        "{handshakes:?} handshakes in {:?}, {resumed:?} of them resumed, {certificates} certificates changed {rounds} times each: {} failed",
        begun.elapsed(),
        failed.len()
    );
    assert_eq!(failed, Vec::<String>::new());
    assert!(resumed.load(Relaxed) > 0, "some sessions outlive the key that they began with");
    let issued = entrepot.metric("entrepot_acme_orders_total", &[("result", "issued")]);
    assert_eq!(issued as usize, certificates * (rounds + 1));
    assert_eq!(entrepot.metric("entrepot_acme_failures", &[]), 0.0);
}

/// Of TLS 1.3 and 1.2, each once with sessions that are resumed.
fn clients(place: &Place) -> Vec<Arc<ClientConfig>> {
    let of = |version: &'static SupportedProtocolVersion, resumes| {
        place.pebble.client_of(&["http/1.1"], &[version], resumes)
    };
    vec![of(&version::TLS13, false), of(&version::TLS12, false), of(&version::TLS13, true), of(&version::TLS12, true)]
}

/// Until it is told to stop; what failed.
fn shake_hands(
    place: &Place,
    names: &[String],
    clients: &[Arc<ClientConfig>],
    number: usize,
    done: &Done,
    stop: &Stop,
) -> Vec<String> {
    let mut failed = Vec::new();
    let mut turn = number;
    while !stop.is_set() {
        let (name, client) = (&names[turn % names.len()], &clients[turn / names.len() % clients.len()]);
        turn += 1;
        match shake_hand(place, client, name) {
            Ok(kind) => {
                done.handshakes.fetch_add(1, Relaxed);
                done.resumed.fetch_add(usize::from(kind == Some(HandshakeKind::Resumed)), Relaxed);
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
        // The machine is the authority's too.
        std::thread::sleep(Duration::from_millis(1));
    }
    failed
}

/// One handshake, and a request over what it made.
fn shake_hand(place: &Place, client: &Arc<ClientConfig>, name: &str) -> std::io::Result<Option<HandshakeKind>> {
    let stream = open(client, place.pebble.tls, name)?;
    let kind = stream.conn.handshake_kind();
    let (answer, _) = Connection::over(stream, name).ask(Request::get("/v2/"))?;
    match (answer.status, answer.complete) {
        (200, true) => Ok(kind),
        (status, _) => Err(std::io::Error::other(format!("{status}: {}", answer.text()))),
    }
}

/// The authority wants all of them renewed; returns when clients see that they are.
fn change_all(place: &Place, names: &[String]) {
    let seen = |name: &String| (name.clone(), place.shown(name));
    let before: BTreeMap<String, Vec<u8>> = names.iter().map(seen).collect();
    for kept in place.all_kept("certificates") {
        place.pebble.wants_renewed(kept["chain"].as_str().expect("a chain"));
    }
    for (name, before) in before {
        patiently("another is shown", || place.shown(&name) != before);
    }
}
