//! Request smuggling: where one request ends and the next begins is the same to the client, to us and to the peer, or the
//! request is refused (RFC 9112 §2 to §9, §11.2; RFC 9113 §8). Every payload of the corpus is sent to what we answer ourselves
//! and to what is passed on, at once and in two pieces.

mod bodies;
mod frames;
mod framing;
mod h2_corpus;
mod h2_payload;
mod heads;
mod over_h2;
mod payload;
mod peer;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use payload::{Must, Payload};
use peer::{BLOB, Peer};
use wire::{Answer, Wire};

use crate::harness::{Entrepot, Repository, Request, Setup, digest, eventually};

fn corpus() -> Vec<Payload> {
    [
        framing::both(),
        framing::codings(),
        framing::lengths(),
        heads::lines(),
        heads::line_ends(),
        heads::fields(),
        heads::of_the_connection(),
        bodies::broken(),
        bodies::cut(),
        bodies::whole(),
        bodies::of_methods(),
        bodies::expecting(),
        bodies::pipelined(),
    ]
    .concat()
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The integrated registry.
    Registry,
    /// The cache; the body is nobody's.
    Cache,
    /// A peer that bodies are streamed to, each on a connection of its own.
    Upload,
    /// A peer, over a connection that is kept where there is no body.
    List,
}

impl Place {
    /// What a payload asks for here; `None` when it has nothing to ask.
    fn target(self, method: &str, number: usize) -> Option<String> {
        let (blob, own) = (digest(BLOB), format!("/v2/p-{number:05}"));
        match (self, method) {
            (Place::Registry, "GET" | "HEAD") => Some(format!("/v2/team/app/blobs/{blob}")),
            (Place::Cache, "GET") => Some(format!("/v2/team/app/blobs/{blob}")),
            (Place::Upload | Place::Registry, "DELETE" | "PATCH") => Some(format!("{own}/blobs/uploads/x")),
            (Place::Upload | Place::Registry, "PUT") => Some(format!("{own}/blobs/uploads/x?digest={}", digest(b"x"))),
            (Place::Upload, "GET" | "HEAD" | "OPTIONS") => Some(format!("{own}/tags/list")),
            (Place::Upload | Place::Registry, _) => Some(format!("{own}/blobs/uploads/")),
            // What is no GET is in the other places.
            (Place::List, "HEAD" | "DELETE" | "PUT" | "PATCH" | "OPTIONS") => None,
            (Place::Cache, "HEAD" | "DELETE" | "PUT" | "PATCH" | "OPTIONS") => None,
            (Place::Cache | Place::List, _) => Some(format!("{own}/tags/list")),
        }
    }

    fn payloads(self) -> Vec<Payload> {
        let of_get = matches!(self, Place::Cache | Place::List);
        corpus().iter().map(|payload| if of_get { payload.as_get() } else { payload.clone() }).collect()
    }

    fn passes(self) -> bool {
        matches!(self, Place::Upload | Place::List)
    }

    /// The answer needs no content, so none is read. The registry reads and forgets what was not wanted, so that the
    /// connection goes on, but asks nobody to send it.
    fn leaves_content(self, payload: &Payload) -> bool {
        self == Place::Cache || self == Place::Registry && payload.expects()
    }
}

/// A front, what is behind it, and a client that does nothing wrong.
struct World {
    place: Place,
    entrepot: Entrepot,
    peer: Peer,
    good: Option<Wire>,
}

impl World {
    fn start(place: Place) -> World {
        let peer = Peer::start();
        let setup = match place {
            Place::Registry => Setup::registry(),
            _ => Setup::before(&[peer.address]).without_health_checks().set("cluster.main.verdict_ttl", "\"1h\""),
        };
        let entrepot = setup.start();
        let team = Repository::at(entrepot.address, "team/app");
        match place {
            Place::Registry => drop(team.push_blob(BLOB)),
            _ => assert_eq!(team.get_blob(&digest(BLOB)).expect(200), BLOB),
        }
        World { place, entrepot, peer, good: None }
    }

    fn address(&self) -> SocketAddr {
        self.entrepot.address
    }

    /// Sends the payload, and says what is wrong with what comes back.
    fn send(&mut self, payload: &Payload, number: usize, target: &str, in_two: bool) -> Result<(), String> {
        let bytes = payload.bytes(target, number);
        let mut wire = Wire::open(self.address());
        match in_two {
            false => wire.send(&[&bytes]),
            true => wire.send(&[&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]]),
        }
        if payload.must == Must::Cut {
            wire.half_close();
        }
        let first = wire.answer(payload.method());
        let own = Own { place: self.place, number, target };
        let ends = match &payload.must {
            Must::Refuse => refused(first)?,
            // Content that is not wanted need not be read to be left alone.
            Must::Break if self.place.leaves_content(payload) => first.map(|_| true).ok_or("no answer")?,
            Must::Break => refused(first)?,
            Must::Cut => own.answers_a_cut(first, self.place.leaves_content(payload))?,
            Must::Serve(_) => own.is(first)?,
            Must::Last(_) => own.is(first)?.then_some(true).ok_or("the connection goes on")?,
            Must::Answer => first.ok_or("no answer")?.closes,
            // A connection may end with any answer, and does where content is left alone.
            Must::Two(_) => own.is(first)? || own.is_smuggled(wire.answer("GET"))?,
            Must::Then(_) => own.is(first)? || refused(wire.answer("GET"))?,
        };
        match ends {
            true => nothing_more(&mut wire)?,
            false => self.goes_on(&mut wire, number)?,
        }
        self.good_client(number)
    }

    /// The same connection answers its next request.
    fn goes_on(&self, wire: &mut Wire, number: usize) -> Result<(), String> {
        ask(wire, self.place, "next", number).map(drop).map_err(|why| format!("then {why}"))
    }

    /// Another client's request over what connections there are to the peer.
    fn good_client(&mut self, number: usize) -> Result<(), String> {
        let mut wire = self.good.take().unwrap_or_else(|| Wire::open(self.entrepot.address));
        let closes = ask(&mut wire, self.place, "good", number).map_err(|why| format!("for the next client {why}"))?;
        self.good = (!closes).then_some(wire);
        Ok(())
    }

    /// What the peer saw, in the end.
    fn seen_by_the_peer(&self, sent: &[(usize, Payload)], wrong: &mut Wrong) {
        eventually("no peer is busy", || self.entrepot.metric("entrepot_peer_in_flight", &[]) == 0.0);
        let seen = self.peer.seen();
        self.peer.faults().into_iter().for_each(|fault| wrong.note("at the peer", 0, fault));
        for (number, payload) in sent {
            let at = |start: &str| {
                let prefix = format!("/v2/{start}-{number:05}/");
                seen.iter().filter(move |one| one.target.starts_with(&prefix)).collect::<Vec<_>>()
            };
            let own = at("p");
            let right = match (payload.content(*number), self.place.passes()) {
                (Some(content), true) => matches!(own[..], [one] if one.whole && one.body == content),
                _ if matches!(payload.must, Must::Break | Must::Cut) => own.iter().all(|one| !one.whole),
                _ => own.is_empty(),
            };
            let smuggled = at("smuggled").len();
            let allowed = usize::from(matches!(payload.must, Must::Two(_)));
            if !right || smuggled > allowed {
                wrong.note(&payload.name, *number, format!("the peer saw {own:?} and {smuggled} smuggled"));
            }
        }
    }

    /// What the access log calls a request, in the end.
    fn seen_in_the_log(&self, sent: &[(usize, Payload)], wrong: &mut Wrong) {
        let last = Request::get("/v2/").header("X-Request-Id", "the-last").send(self.address());
        assert_eq!(last.header("x-request-id"), Some("the-last"));
        self.entrepot.logged("the-last");
        let log = self.entrepot.access_log();
        let ids: Vec<&str> = log.iter().filter_map(|line| line["id"].as_str()).collect();
        for (number, payload) in sent {
            let smuggled = format!("smuggled-{number:05}");
            let count = ids.iter().filter(|id| **id == smuggled).count();
            if count > usize::from(matches!(payload.must, Must::Two(_))) {
                wrong.note(&payload.name, *number, format!("{count} smuggled in the log"));
            }
        }
    }
}

/// Which answer is a payload's own.
struct Own<'a> {
    place: Place,
    number: usize,
    target: &'a str,
}

impl Own<'_> {
    /// Whether the connection ends with it.
    fn is(&self, answer: Option<Answer>) -> Result<bool, String> {
        let answer = answer.ok_or("no answer")?;
        let named = answer.answers.as_deref().is_none_or(|target| target == self.target);
        let status = if self.place.passes() { answer.status == 202 } else { answer.status < 500 };
        let id = answer.id == format!("own-{:05}", self.number);
        match named && status && id && answer.answers.is_some() == self.place.passes() {
            true => Ok(answer.closes),
            false => Err(format!("not its own answer: {answer:?}")),
        }
    }

    fn is_smuggled(&self, answer: Option<Answer>) -> Result<bool, String> {
        let answer = answer.ok_or("no answer to the request behind it")?;
        match answer.id == format!("smuggled-{:05}", self.number) {
            true => Ok(answer.closes),
            false => Err(format!("not the answer to the request behind it: {answer:?}")),
        }
    }

    /// Nobody may be there to be answered; who is, is told of a fault, unless the body was not wanted.
    fn answers_a_cut(&self, answer: Option<Answer>, left: bool) -> Result<bool, String> {
        match answer {
            Some(answer) if answer.status < 400 && !left => Err(format!("an answer: {answer:?}")),
            _ => Ok(true),
        }
    }
}

/// A refusal of ours, which says that it is the last answer.
fn refused(answer: Option<Answer>) -> Result<bool, String> {
    let answer = answer.ok_or("no answer")?;
    match answer.status >= 400 && answer.closes && answer.answers.is_none() {
        true => Ok(true),
        false => Err(format!("not refused: {answer:?}")),
    }
}

fn nothing_more(wire: &mut Wire) -> Result<(), String> {
    match wire.rest() {
        Ok(rest) if rest.is_empty() => Ok(()),
        Ok(rest) => Err(format!("more came: \"{}\"", rest.escape_ascii())),
        Err(error) => Err(format!("the connection stays open: {error}")),
    }
}

/// Asks for something that nobody else asks for; whether the connection ends then.
fn ask(wire: &mut Wire, place: Place, name: &str, number: usize) -> Result<bool, String> {
    let (id, target) = (format!("{name}-{number:05}"), format!("/v2/{name}-{number:05}/tags/list"));
    wire.send(&[format!("GET {target} HTTP/1.1\r\nHost: registry\r\nX-Request-Id: {id}\r\n\r\n").as_bytes()]);
    let answer = wire.answer("GET").ok_or("no answer")?;
    let answers = (place != Place::Registry).then_some(target);
    match (answer.id == id, answer.answers == answers, answer.status) {
        (true, true, 202 | 404) => Ok(answer.closes),
        _ => Err(format!("another answer: {answer:?}")),
    }
}

/// What is wrong with which payload, each thing once however often it was sent.
#[derive(Default)]
struct Wrong(BTreeMap<String, BTreeSet<String>>);

impl Wrong {
    fn note(&mut self, payload: &str, number: usize, why: String) {
        let why = why.replace(&format!("{number:05}"), "N");
        self.0.entry(payload.to_owned()).or_default().insert(why);
    }

    #[track_caller]
    fn none_of(self, sent: usize) {
        let lines: Vec<String> = self.0.iter().map(|(payload, why)| format!("{payload}\n        {why:?}")).collect();
        assert!(lines.is_empty(), "{} wrong in {sent}:\n{}", lines.len(), lines.join("\n"));
    }
}

fn nothing_is_smuggled(place: Place) {
    let mut world = World::start(place);
    let (mut sent, mut wrong, mut number) = (Vec::new(), Wrong::default(), 0);
    for payload in place.payloads() {
        for in_two in [false, true] {
            number += 1;
            let Some(target) = place.target(payload.method(), number) else { continue };
            if let Err(why) = world.send(&payload, number, &target, in_two) {
                wrong.note(&payload.name, number, why);
            }
            sent.push((number, payload.clone()));
        }
    }
    world.seen_by_the_peer(&sent, &mut wrong);
    world.seen_in_the_log(&sent, &mut wrong);
    wrong.none_of(sent.len());
}

#[test]
fn what_the_registry_answers_has_one_end() {
    nothing_is_smuggled(Place::Registry);
}

#[test]
fn what_the_cache_answers_has_one_end() {
    nothing_is_smuggled(Place::Cache);
}

#[test]
fn what_is_streamed_to_a_peer_has_one_end() {
    nothing_is_smuggled(Place::Upload);
}

#[test]
fn what_goes_to_a_peer_over_a_kept_connection_has_one_end() {
    nothing_is_smuggled(Place::List);
}
