//! Redirects that lead where no content of a registry is: into this machine, to ourselves, in a circle, to a page of
//! refusal. The client gets the next peer's content or 502, and never a word of what was there.

use crate::harness::{
    Answer, Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Rule, Serving, Setup, digest, eventually,
    random_bytes,
};

const SIZE: usize = 100_000;

struct Led {
    _registry: Serving,
    peer: FaultProxy,
    entrepot: Entrepot,
    client: Repository,
    blob: String,
}

impl Led {
    fn new() -> Self {
        let registry = Registry::debian().account("ann", "secret").start();
        let blob =
            Repository::at(registry.address, "team/app").basic("ann", "secret").push_blob(&random_bytes(1, SIZE));
        let peer = FaultProxy::before(registry.address);
        let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
        let client = Repository::at(entrepot.address, "team/app").basic("ann", "secret");
        Led { _registry: registry, peer, entrepot, client, blob }
    }

    /// The peer answers GETs of the blob so from now on.
    fn leads_to(&self, place: &str) {
        self.peer.forget_rules();
        self.peer.on(Rule::new("GET", &self.blob, redirect(place)));
    }

    fn assert_nothing_came(&self, answer: &Answer, what: &str) {
        assert_eq!((answer.status, answer.error_code()), (502, "UNKNOWN".into()), "{what}: {}", answer.text());
        assert!(answer.body.len() < 500 && !answer.text().contains("secret"), "{what}: {}", answer.text());
        assert!(self.entrepot.log().contains("a peer's redirect led nowhere"), "{what}");
    }
}

fn redirect(place: &str) -> Fault {
    Fault::Answer(Reply::new(307).header("Location", place))
}

#[test]
fn a_redirect_into_this_machine_or_to_ourselves_is_not_followed() {
    let led = Led::new();
    let (admin, port, own) = (led.entrepot.admin, led.entrepot.admin.port(), led.entrepot.address);
    for place in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::ffff:169.254.169.254]/latest/meta-data/".into(),
        "http://[fe80::1]/".into(),
        "http://[fd00:ec2::254]/latest/meta-data/".into(),
        "http://100.100.100.200/".into(),
        "http://224.0.0.1/".into(),
        "http://255.255.255.255/".into(),
        format!("http://{admin}/metrics"),
        format!("http://0.0.0.0:{port}/metrics"),
        format!("http://[::]:{port}/metrics"),
        format!("http://[::ffff:127.0.0.1]:{port}/metrics"),
        format!("http://2130706433:{port}/metrics"),
        format!("http://0x7f.1:{port}/metrics"),
        format!("http://localhost:{port}/metrics"),
        format!("http://{own}/healthz"),
        format!("http://localhost:{}/healthz", own.port()),
        "file:///etc/passwd".into(),
        "gopher://127.0.0.1/".into(),
        format!("http://ann:secret@{}/", led.peer.address),
        format!("http://127.0.0.1:1/{}", "x".repeat(17_000)),
        "http://".into(),
    ] {
        led.leads_to(&place);
        led.assert_nothing_came(&led.client.get_blob(&led.blob), &place);
    }
    assert!(led.entrepot.log().contains("is an address of ours"));
    led.peer.forget_rules();
    assert_eq!(digest(&led.client.get_blob(&led.blob).expect(200)), led.blob, "the peer itself is well");
}

#[test]
fn only_content_of_a_redirect_s_target_reaches_a_client() {
    let led = Led::new();
    let store = FaultProxy::scripted(|seen| {
        let status = seen.target.trim_start_matches('/').parse().unwrap_or(500);
        let reply =
            Reply::new(status).header("X-Secret", "secret").header("WWW-Authenticate", "Basic realm=\"secret\"");
        reply.header("Content-Type", "application/xml").body("<Error><Key>secret</Key></Error>")
    });
    for status in [201, 400, 401, 403, 404, 410, 416, 429, 451, 500, 503] {
        led.leads_to(&format!("http://{}/{status}", store.address));
        let answer = led.client.get_blob(&led.blob);
        led.assert_nothing_came(&answer, &status.to_string());
        assert_eq!((answer.header("x-secret"), answer.header("www-authenticate")), (None, None), "{status}");
        led.peer.on(Rule::new("HEAD", &led.blob, redirect(&format!("http://{}/{status}", store.address))));
        let head = led.client.head_blob(&led.blob);
        assert_eq!((head.status, head.header("x-secret")), (502, None), "{status}");
    }
    assert!(store.seen().len() >= 22);
}

#[test]
fn a_peer_that_leads_astray_is_passed_over_for_the_next() {
    let (one, other, volume) = Registry::pair();
    let blob = Repository::at(one.address, "team/app").push_blob(&random_bytes(2, SIZE));
    let store = FaultProxy::scripted(|_| Reply::new(403).body("expired"));
    let (astray, well) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    astray.on(Rule::new("GET", &blob, redirect(&format!("http://{}/bucket", store.address))));
    let setup = Setup::before(&[astray.address, well.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.balance", "\"round_robin\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    for round in 0..4 {
        assert_eq!(digest(&client.get_blob(&blob).expect(200)), blob, "{round}");
        entrepot.settled();
        let purge = crate::harness::Request::new("POST", format!("/cache/purge?digest={blob}"));
        purge.send(entrepot.admin).expect(200);
    }
    assert!(astray.count("GET", &blob) > 0 && store.seen().len() == astray.count("GET", &blob));
    drop(volume);
}

#[test]
fn three_hops_are_followed_each_judged_and_none_told_who_asks() {
    let led = Led::new();
    let last = FaultProxy::scripted(|_| Reply::new(200).body(random_bytes(1, SIZE)));
    let end = format!("http://{}/end?sig=5ecret", last.address);
    let second = FaultProxy::scripted(move |_| Reply::new(302).header("Location", end.clone()));
    let third = second.address;
    let first = FaultProxy::scripted(move |_| Reply::new(307).header("Location", format!("http://{third}/second")));
    led.leads_to(&format!("http://{}/first", first.address));
    assert_eq!(digest(&led.client.get_blob(&led.blob).expect(200)), led.blob);
    for store in [&first, &second, &last] {
        let seen = store.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].header("authorization"), seen[0].header("x-forwarded-for")), (None, None));
    }

    // The last of them may be the one that leads astray.
    let other = led.client.push_blob(&random_bytes(7, 1000));
    let admin = format!("http://{}/metrics", led.entrepot.admin);
    let crooked = FaultProxy::scripted(move |_| Reply::new(302).header("Location", admin.clone()));
    led.peer.on(Rule::new("GET", &other, redirect(&format!("http://{}/x", crooked.address))));
    led.assert_nothing_came(&led.client.get_blob(&other), "the second hop");
    assert!(led.entrepot.log().contains("is an address of ours") && !led.entrepot.log().contains("5ecret"));
}

#[test]
fn a_redirect_to_ourselves_by_another_name_ends_at_once() {
    let led = Led::new();
    let name = FaultProxy::before(led.entrepot.address);
    led.leads_to(&format!("http://{}{}", name.address, led.client.blob(&led.blob)));
    led.assert_nothing_came(&led.client.get_blob(&led.blob), "a circle");
    let seen = name.seen();
    assert!((1..=3).contains(&seen.len()), "{}", seen.len());
    assert!(seen.iter().all(|seen| seen.status == 508), "{seen:?}");

    // Also when nobody waits for it any more.
    let before = led.peer.count("GET", &led.blob);
    let mut gone = crate::harness::Connection::open(led.entrepot.address).expect("a connection");
    gone.write(led.client.request("GET", led.client.blob(&led.blob))).expect("sent");
    eventually("the peer was asked", || led.peer.count("GET", &led.blob) > before);
    drop(gone);
    eventually("nothing is under way", || led.entrepot.metric("entrepot_peer_in_flight", &[]) == 0.0);
    assert!(name.seen().len() <= 6, "{}", name.seen().len());
}

#[test]
fn a_cluster_that_leads_back_to_us_is_told_so() {
    let mut entrepot = Entrepot::before(&[FaultProxy::recording().address]);
    let name = FaultProxy::before(entrepot.address);
    let peers = format!("[\"{}\"]", name.address);
    entrepot.reload(|setup| setup.without_health_checks().set("cluster.main.peers", &peers), "ok");
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.blob(&digest(b"x"));
    let asked = [
        ("GET", "/v2/"),
        ("GET", blob.as_str()),
        ("HEAD", blob.as_str()),
        ("GET", "/v2/team/app/manifests/v1"),
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/_catalog"),
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("PUT", "/v2/team/app/manifests/v1"),
        ("DELETE", "/v2/team/app/manifests/v1"),
    ];
    for (method, target) in asked {
        name.forget_seen();
        let answer = client.request(method, target).send(client.address);
        assert_eq!(answer.status, 508, "{method} {target}: {}", answer.text());
        assert_eq!(name.seen().len(), 1, "{method} {target}");
    }
}

#[test]
fn two_entrepots_one_before_the_other_are_no_circle() {
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let near = Setup::before(&[peer.address]).without_health_checks().start();
    let far = Setup::before(&[near.address]).without_health_checks().start();
    let client = Repository::at(far.address, "team/app");
    let image = client.push_random("v1", 3, SIZE);
    client.get_manifest("v1").expect(200);
    assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
    client.request("GET", "/v2/team/app/tags/list").header("Via", "1.1 somebody").send(client.address).expect(200);
    for seen in peer.seen() {
        let via: Vec<&str> = seen.head.headers.all("via").flat_map(|value| value.split(',')).map(str::trim).collect();
        let by: Vec<&str> = via.iter().filter_map(|member| member.strip_prefix("1.1 entrepot-")).collect();
        assert!(by.len() == 2 && by[0] != by[1], "{} {}: {via:?}", seen.method, seen.target);
        assert_eq!(via.contains(&"1.1 somebody"), seen.target.ends_with("/tags/list"));
    }
}
