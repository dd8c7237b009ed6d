//! What is in memory is answered at once, by a shorter way than all else: the answer has to be the same on both.

use std::collections::BTreeMap;

use http::Method;

use crate::harness::h2_client::{End, H2Client, Streamed};
use crate::harness::repository::ACCEPT;
use crate::harness::{Answer, Connection, Entrepot, Registry, Repository, Request, Setup, eventually};

/// Fields that differ from answer to answer, or that one protocol does not have.
const OWN: [&str; 3] = ["date", "x-request-id", "connection"];

fn fields<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let named = all.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    named.filter(|(name, _)| !OWN.contains(&name.as_str())).collect()
}

fn told(answer: &Answer) -> BTreeMap<String, String> {
    fields(answer.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Keys of a line of the access log, and what of it does not depend on the moment.
fn line(entrepot: &Entrepot, id: &str) -> (Vec<String>, Vec<serde_json::Value>) {
    let line = entrepot.logged(id);
    let keys = line.as_object().expect("an object").keys().cloned().collect();
    let same =
        ["client", "method", "host", "path", "repository", "reference", "status", "bytes_out", "cache", "protocol"];
    (keys, same.iter().map(|key| line[key].clone()).collect())
}

#[test]
fn the_short_way_and_the_long_one_say_the_same() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 70_000);
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let (blob, manifest) = (client.blob(&image.layers[0]), client.manifest(&image.digest));
    for (target, accept) in [(blob, "*/*"), (manifest, ACCEPT)] {
        let ask = |id: &str, more: &[(&str, &str)]| {
            let request = client.request("GET", target.clone()).header("Accept", accept).header("X-Request-Id", id);
            let request = more.iter().fold(request, |request, (name, value)| request.header(name, *value));
            // Kept alive: who says that it closes takes the long way.
            Connection::open(client.address).and_then(|connection| connection.ask(request)).expect("an answer").0
        };
        ask("cold", &[]).expect(200);
        let short = ask("short", &[]);
        // A condition that does not hold for this content: only the long way looks at it.
        let long = ask("long", &[("If-None-Match", "\"sha256:other\"")]);
        assert!(
            short.header("cache-status").is_some_and(|status| status.contains("hit; detail=memory")),
            "{:?}",
            short.headers
        );
        assert_eq!(told(&short), told(&long), "{target}");
        assert_eq!(line(&entrepot, "short"), line(&entrepot, "long"), "{target}");
        let h2 = H2Client::open(entrepot.address);
        let request =
            Streamed { method: Method::GET, target: target.clone(), length: None, pieces: vec![], end: End::OnHeaders };
        // Under another host name it is asked for anew.
        h2.send(request.clone()).expect("an answer");
        let reply = h2.send(request).expect("an answer");
        let multiplexed =
            fields(reply.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))));
        assert_eq!((multiplexed, &reply.body), (told(&short), &short.body), "{target}");
    }
}

#[test]
fn above_the_bound_of_requests_under_way_the_rest_is_told_to_come_again() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).set("listener.0.max_requests", "1").start();
    let client = Repository::at(entrepot.address, "team/app");
    // A request is counted until its line is logged, which may be after its client has read the answer.
    let under_way = |count: f64| entrepot.metric("entrepot_requests_in_flight", &[]) == count;
    client.request("GET", "/v2/").send(client.address).expect(200);
    eventually("the question is over", || under_way(0.0));
    let upload = client.start_upload();
    eventually("the upload is open", || under_way(0.0));
    // One whose body is awaited is under way.
    let mut slow = Connection::open(entrepot.address).expect("a connection");
    let head = format!("PATCH {upload} HTTP/1.1\r\nHost: registry\r\nContent-Length: 10\r\n\r\n");
    slow.send_raw(head.as_bytes()).expect("sent");
    eventually("it is under way", || under_way(1.0));
    let refused = client.request("GET", "/v2/").send(client.address);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{:?}", refused.headers);
    Request::get("/healthz").send(client.address).expect(200);
    slow.send_raw(b"0123456789").expect("sent");
    eventually("it is over", || under_way(0.0));
    client.request("GET", "/v2/").send(client.address).expect(200);
}
