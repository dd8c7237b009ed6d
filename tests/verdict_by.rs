//! Peers that judge by the client's address: with `verdict_by = "credential_and_address"` what they give to one address is
//! given to no other, warm or cold, while they answer and while they are down.

use std::net::SocketAddr;

use crate::harness::nginx::Nginx;
use crate::harness::repository::{ACCEPT, Image};
use crate::harness::{
    Answer, Entrepot, Fault, FaultProxy, Gate, Registry, Repository, Request, Rule, Serving, Setup, eventually,
};

const SIZE: usize = 100_000;
const LET_IN: &str = "127.0.0.2";
const KEPT_OUT: &str = "127.0.0.3";

/// nginx before a registry, which lets one address in.
fn judge(registry: SocketAddr) -> Nginx {
    Nginx::start(|address| {
        format!(
            "server {{
        listen {address};
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        allow {LET_IN};
        deny all;
        client_max_body_size 0;
        location / {{ proxy_pass http://{registry}; proxy_set_header Host $http_host; proxy_http_version 1.1; }}
    }}"
        )
    })
}

struct Judged {
    _registry: Serving,
    nginx: Option<Nginx>,
    peer: FaultProxy,
    entrepot: Entrepot,
    image: Image,
}

fn judged(verdict_by: Option<&str>) -> Judged {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, SIZE);
    let nginx = judge(registry.address);
    let peer = FaultProxy::before(nginx.address);
    let mut setup = Setup::before(&[peer.address])
        .without_health_checks()
        .set("cluster.main.verdict_ttl", "\"1h\"")
        .set("listener.0.trusted_proxies", "[\"127.0.0.1/32\"]");
    if let Some(verdict_by) = verdict_by {
        setup = setup.set("cluster.main.verdict_by", &format!("\"{verdict_by}\""));
    }
    Judged { _registry: registry, nginx: Some(nginx), peer, entrepot: setup.start(), image }
}

impl Judged {
    fn ask(&self, from: &str, method: &str, target: &str) -> Answer {
        let request = Request::new(method, target).header("X-Forwarded-For", from).header("Accept", ACCEPT);
        request.send(self.entrepot.address)
    }

    /// Everything that can be asked of the image, and what came.
    fn all(&self, from: &str) -> Vec<(String, Answer)> {
        let path = Repository::at(self.entrepot.address, "team/app");
        let mut answers = Vec::new();
        for target in [
            "/v2/".to_owned(),
            path.manifest("v1"),
            path.manifest(&self.image.digest),
            path.blob(&self.image.layers[0]),
            path.blob(&self.image.config),
        ] {
            for method in ["GET", "HEAD"] {
                answers.push((format!("{from} {method} {target}"), self.ask(from, method, &target)));
            }
        }
        answers
    }
}

#[test]
fn what_one_address_may_read_is_refused_to_another() {
    let mut judged = judged(Some("credential_and_address"));
    for round in ["cold", "warm"] {
        for (what, answer) in judged.all(KEPT_OUT) {
            assert_eq!(answer.status, 403, "{round} {what}");
            assert!(answer.body.len() < 1000, "{round} {what}");
        }
        for (what, answer) in judged.all(LET_IN) {
            assert_eq!(answer.status, 200, "{round} {what}");
        }
        judged.entrepot.settled();
    }
    // What is remembered is used: that address asks for no permission again, which nginx would be asked for.
    let blob = judged.image.layers[0].clone();
    let before = judged.peer.count("", &blob);
    judged.ask(LET_IN, "GET", &format!("/v2/team/app/blobs/{blob}")).expect(200);
    assert_eq!(judged.peer.count("", &blob), before);

    judged.nginx = None;
    for (what, answer) in judged.all(LET_IN) {
        assert_eq!(answer.status, 200, "while the peer is down: {what}");
    }
    for (what, answer) in judged.all(KEPT_OUT) {
        assert!(matches!(answer.status, 403 | 503), "while the peer is down: {what}: {}", answer.status);
        assert!(answer.body.len() < 1000, "{what}");
    }
}

#[test]
fn by_default_a_verdict_counts_for_every_address_as_the_reference_says() {
    for verdict_by in [None, Some("credential")] {
        let judged = judged(verdict_by);
        let blob = format!("/v2/team/app/blobs/{}", judged.image.layers[0]);
        assert_eq!(judged.ask(KEPT_OUT, "GET", &blob).status, 403);
        judged.ask(LET_IN, "GET", &blob).expect(200);
        judged.ask(KEPT_OUT, "GET", &blob).expect(200);
    }
}

#[test]
fn nobody_joins_the_question_of_another_address() {
    let judged = judged(Some("credential_and_address"));
    for target in [
        "/v2/".to_owned(),
        format!("/v2/team/app/blobs/{}", judged.image.layers[0]),
        format!("/v2/team/app/manifests/{}", judged.image.digest),
        "/v2/team/app/manifests/v1".into(),
    ] {
        judged.peer.forget_seen();
        let gate = Gate::new();
        judged.peer.on(Rule::new("", &target, Fault::Hold(gate.clone())).times(1));
        std::thread::scope(|scope| {
            let first = scope.spawn(|| judged.ask(LET_IN, "GET", &target));
            eventually("the first asks", || judged.peer.count("", &target) == 1);
            assert_eq!(judged.ask(KEPT_OUT, "GET", &target).status, 403, "{target}");
            gate.open();
            first.join().expect("the first is answered").expect(200);
        });
    }
}

#[test]
fn a_connection_s_own_address_counts_where_no_proxy_is_trusted() {
    let judged = judged(Some("credential_and_address"));
    let blob = format!("/v2/team/app/blobs/{}", judged.image.layers[0]);
    judged.ask(LET_IN, "GET", &blob).expect(200);
    judged.entrepot.settled();
    let mut judged = judged;
    judged.entrepot.reload(|setup| setup.set("listener.0.trusted_proxies", "[]"), "ok");
    assert_eq!(judged.ask(LET_IN, "GET", &blob).status, 403, "a claim that is not believed");
}
