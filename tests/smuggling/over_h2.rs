//! What becomes of the corpus of HTTP/2: see `h2_corpus`.

use super::frames::{Client, END_HEADERS, END_STREAM, Frame, HEADERS, Outcome, block};
use super::h2_corpus::{corpus, hidden};
use super::h2_payload::{Cut, Payload};
use super::{Place, World, Wrong};
use crate::harness::eventually;

fn method(place: Place) -> &'static str {
    if matches!(place, Place::Cache | Place::List) { "GET" } else { "POST" }
}

impl World {
    fn send_frames(&mut self, payload: &Payload, number: usize, target: &str, cut: Cut) -> Result<(), String> {
        let mut client = Client::open(self.address());
        let outcome = client.send(&payload.frames(target, number, method(self.place), cut));
        match (&outcome, payload.refused) {
            (Outcome::Status(400..), true) | (Outcome::Reset(_) | Outcome::GoAway(_), true) => {}
            (Outcome::Status(202), false) => {}
            // It may have been answered before its content came, which nobody wanted.
            (Outcome::Status(200), true) if payload.in_content && self.place == Place::Cache => {}
            (Outcome::Status(200), false) if !self.place.passes() => {}
            (Outcome::Status(202), true) if payload.unseen => {}
            _ => return Err(format!("{outcome:?}")),
        }
        if !matches!(outcome, Outcome::GoAway(_)) {
            let next = format!("/v2/next-{number:05}/tags/list");
            let head = [(":method", "GET"), (":scheme", "http"), (":authority", "registry"), (":path", next.as_str())];
            match client.send(&[Frame::new(HEADERS, END_HEADERS | END_STREAM, block(head))]) {
                Outcome::Status(202 | 404) | Outcome::GoAway(_) => {}
                other => return Err(format!("then {other:?}")),
            }
        }
        self.good_client(number)
    }

    fn frames_at_the_peer(&self, sent: &[(usize, Payload)], wrong: &mut Wrong) {
        let seen = self.peer.seen();
        self.peer.faults().into_iter().for_each(|fault| wrong.note("at the peer", 0, fault));
        for (number, payload) in sent {
            let prefix = format!("/v2/p-{number:05}/");
            let own: Vec<_> = seen.iter().filter(|one| one.target.starts_with(&prefix)).collect();
            let right = match payload.refused || !self.place.passes() {
                // Served as if what is wrong with it had not been sent: once, and as one request.
                true if payload.unseen => own.len() <= 1,
                // Its head may have gone on before a body that is not what it said.
                true => own.iter().all(|one| !one.whole),
                false => matches!(own[..], [one] if one.whole && one.body == payload.content(*number)),
            };
            let smuggled = seen.iter().filter(|one| one.target.contains(&format!("smuggled-{number:05}"))).count();
            if !right || smuggled > 0 {
                wrong.note(&payload.name, *number, format!("the peer saw {own:?} and {smuggled} smuggled"));
            }
        }
    }
}

fn nothing_is_smuggled(place: Place, corpus: &[Payload], cuts: &[Cut]) {
    let mut world = World::start(place);
    let (mut sent, mut wrong) = (Vec::new(), Wrong::default());
    let sendings = corpus.iter().flat_map(|payload| cuts.iter().map(move |cut| (payload, *cut)));
    for (number, (payload, cut)) in sendings.enumerate() {
        let target = place.target(method(place), number).expect("a target");
        if let Err(why) = world.send_frames(payload, number, &target, cut) {
            wrong.note(&payload.name, number, format!("{cut:?}: {why}"));
        }
        sent.push((number, payload.clone()));
    }
    eventually("no peer is busy", || world.entrepot.metric("entrepot_peer_in_flight", &[]) == 0.0);
    world.frames_at_the_peer(&sent, &mut wrong);
    wrong.none_of(sent.len());
}

#[test]
fn what_the_registry_answers_over_h2_has_one_end() {
    nothing_is_smuggled(Place::Registry, &corpus(), &[Cut::Nowhere; 2]);
}

#[test]
fn what_the_cache_answers_over_h2_has_one_end() {
    nothing_is_smuggled(Place::Cache, &corpus(), &[Cut::Nowhere; 2]);
}

#[test]
fn what_is_streamed_to_a_peer_over_h2_has_one_end() {
    nothing_is_smuggled(Place::Upload, &corpus(), &[Cut::Nowhere; 2]);
}

#[test]
fn what_is_asked_of_a_peer_over_h2_has_one_end() {
    nothing_is_smuggled(Place::List, &corpus(), &[Cut::Nowhere; 2]);
}

/// What the library takes away before anybody else sees the head: it forgets that a head was malformed when a CONTINUATION
/// follows, cuts a path at `#`, and passes over what trailers may not hold. Nothing of it may reach a peer.
fn unseen(corpus: Vec<Payload>) -> Vec<Payload> {
    corpus.into_iter().map(Payload::unseen).collect()
}

#[test]
fn what_is_forgotten_before_a_continuation_reaches_no_peer() {
    nothing_is_smuggled(Place::Upload, &unseen(corpus()), &[Cut::InTheMiddle, Cut::BeforeTheLastByte]);
}

#[test]
fn what_no_field_of_a_request_shows_reaches_no_peer() {
    nothing_is_smuggled(Place::Upload, &unseen(hidden()), &[Cut::Nowhere; 2]);
}
