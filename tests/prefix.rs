//! A listener with a prefix: everything is reached below it, and every address of ours has it.

use crate::harness::repository::{location, with_digest};
use crate::harness::{
    Answer, Connection, Entrepot, FaultProxy, Registry, Reply, Repository, Request, Setup, digest, random_bytes,
};

const PREFIX: &str = "/team/registry";

fn below(setup: Setup) -> Entrepot {
    setup.set("listener.0.prefix", &format!("{PREFIX:?}")).start()
}

/// An address of ours in an answer.
#[track_caller]
fn ours(answer: &Answer) -> String {
    let place = answer.header("location").expect("a Location").to_owned();
    assert!(place.starts_with(&format!("{PREFIX}/v2/")) && !place.contains(&format!("{PREFIX}{PREFIX}")), "{place}");
    place
}

/// Follows `Link` to the end; everything that the pages hold.
fn pages(address: std::net::SocketAddr, first: &str, list: &str) -> Vec<String> {
    let (mut target, mut found) = (Some(first.to_owned()), Vec::new());
    while let Some(next) = target.take() {
        let answer = Request::get(next).send(address);
        found.extend(answer.json()[list].as_array().into_iter().flatten().map(ToString::to_string));
        target = answer.header("link").map(|link| {
            assert!(link.starts_with(&format!("<{PREFIX}/v2/")), "{link}");
            link.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned()
        });
        answer.expect(200);
    }
    found
}

/// Every way to push, every list, and what was pushed, all below the prefix.
fn everything_is_reached(entrepot: &Entrepot) {
    let address = entrepot.address;
    let client = Repository::at(address, "app").below(PREFIX);
    assert_eq!(Request::get(format!("{PREFIX}/v2/")).send(address).status, 200);
    let bytes = random_bytes(7, 100_000);
    let opened = client.request("POST", client.uploads()).send(address);
    let patched = client.request("PATCH", ours(&opened)).body(bytes.clone()).send(address);
    assert_eq!(patched.status, 202, "{}", patched.text());
    let closed = client.request("PUT", with_digest(&ours(&patched), &digest(&bytes))).send(address);
    assert_eq!(closed.status, 201, "{}", closed.text());
    assert!(Request::get(ours(&closed)).send(address).expect(200) == bytes);
    let left = ours(&client.request("POST", client.uploads()).send(address));
    assert_eq!(Request::get(left.clone()).send(address).status, 204);
    assert_eq!(Request::new("DELETE", left).send(address).status, 204);
    let image = client.push_random("v1", 1, 50_000);
    let put =
        client.request("PUT", client.manifest("v2")).header("Content-Type", crate::harness::repository::OCI_MANIFEST);
    let put = put.body(image.manifest.clone()).send(address);
    assert_eq!(put.status, 201, "{}", put.text());
    Request::get(ours(&put)).header("Accept", "*/*").send(address).expect(200);
    assert_eq!(pages(address, &format!("{PREFIX}/v2/app/tags/list?n=1"), "tags"), ["\"v1\"", "\"v2\""]);
    for _ in 0..3 {
        let blob = client.request("GET", client.blob(&image.layers[0])).header("X-Request-Id", "blob").send(address);
        assert!(blob.expect(200) == random_bytes(1, 50_000));
        client.get_manifest(&image.digest).expect(200);
        client.get_manifest("v1").expect(200);
        entrepot.settled();
    }
    let line = entrepot.logged("blob");
    assert_eq!(line["path"], client.blob(&image.layers[0]), "as it was asked");
    assert_eq!(line["repository"], "app");
}

/// What is outside is not there, whatever is asked.
fn nothing_is_reached_without(entrepot: &Entrepot, blob: &str) {
    for target in [
        "/v2/".to_owned(),
        "/".into(),
        format!("/v2/app/blobs/{blob}"),
        "/v2/app/manifests/v1".into(),
        format!("/team/v2/app/blobs/{blob}"),
        format!("{PREFIX}v2/"),
        format!("/x/..{PREFIX}/v2/"),
        "/team%2Fregistry/v2/".into(),
        format!("{PREFIX}?n=1"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = Request::new(method, target.clone()).send(entrepot.address);
            assert_eq!(answer.status, 404, "{method} {target}");
        }
    }
    for health in ["/healthz".to_owned(), format!("{PREFIX}/healthz")] {
        assert_eq!(Request::get(health).send(entrepot.address).status, 200);
    }
}

#[test]
fn the_registry_is_pushed_to_and_pulled_from_below_it_and_nowhere_else() {
    let entrepot = below(Setup::registry());
    everything_is_reached(&entrepot);
    let other = Repository::at(entrepot.address, "other").below(PREFIX);
    let image = other.push_random("v1", 2, 100);
    let catalog = pages(entrepot.address, &format!("{PREFIX}/v2/_catalog?n=1"), "repositories");
    assert_eq!(catalog, ["\"app\"", "\"other\""]);
    // A mount's Location too.
    let target = format!(
        "{}?mount={}&from=other",
        Repository::at(entrepot.address, "app").below(PREFIX).uploads(),
        image.config
    );
    let mounted = Request::new("POST", target).send(entrepot.address);
    assert_eq!(mounted.status, 201);
    Request::get(ours(&mounted)).send(entrepot.address).expect(200);
    nothing_is_reached_without(&entrepot, &image.layers[0]);
    for (accept, place) in [("text/html", "href=\"/team/registry/v2/\""), ("text/plain", "begin at /team/registry/v2/")]
    {
        let page = Request::get(format!("{PREFIX}/")).header("Accept", accept).send(entrepot.address).text();
        assert!(page.contains(place), "{page}");
    }
}

#[test]
fn peers_are_asked_without_it_and_what_they_say_of_us_gets_it() {
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let entrepot = below(Setup::before(&[peer.address]).without_health_checks());
    everything_is_reached(&entrepot);
    let seen = peer.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.target.starts_with("/v2/")), "{seen:?}");
    let hits = entrepot.metric("entrepot_cache_requests_total", &[("result", "hit_memory")]);
    assert!(hits >= 2.0, "{hits}: what is at hand is found below the prefix");
    nothing_is_reached_without(&entrepot, &digest(&random_bytes(1, 50_000)));
}

#[test]
fn a_client_is_sent_for_its_token_below_it() {
    let setup = Setup::registry().set("auth.username", "\"ann\"").set("auth.password", "\"5ecret-p4ssword\"");
    let rules = "[{ who = [\"user:ann\"], allow = [\"pull\", \"push\"] }]";
    let entrepot = below(setup.set("auth.rule", rules));
    let refused = Request::get(format!("{PREFIX}/v2/app/tags/list")).header("Host", "r.example").send(entrepot.address);
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").expect("a challenge").to_owned();
    assert!(challenge.contains(&format!("realm=\"http://r.example{PREFIX}/token\"")), "{challenge}");
    let service = challenge.split("service=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a service");
    let scope = format!("service={service}&scope=repository:app:pull,push");
    let asked = Request::get(format!("{PREFIX}/token?{scope}")).header("Host", "r.example");
    let given = asked.basic("ann", "5ecret-p4ssword").send(entrepot.address);
    assert_eq!(given.status, 200, "{}", given.text());
    let token = given.json()["token"].as_str().expect("a token").to_owned();
    given.expect(200);
    assert_eq!(Request::get(format!("/token?{scope}")).send(entrepot.address).status, 404);
    let client = Repository::at(entrepot.address, "app").below(PREFIX).bearer(&token);
    let opened = client.request("POST", client.uploads()).header("Host", "r.example").send(entrepot.address);
    assert_eq!(opened.status, 202, "{}", opened.text());
    assert!(location(&opened).starts_with(PREFIX));
}

#[test]
fn a_peer_s_realm_at_our_own_address_gets_it() {
    let peer = FaultProxy::scripted(|seen| {
        let host = seen.header("x-forwarded-host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/service/token\",service=\"r\"");
        Reply::new(401).header("WWW-Authenticate", challenge).header("Content-Type", "application/json").body("{}")
    });
    let setup = Setup::before(&[peer.address]).without_health_checks().set("cluster.main.forward", "[\"/service/\"]");
    let entrepot = below(setup);
    for target in ["/v2/", "/v2/app/tags/list", "/v2/app/manifests/v1"] {
        let request = Request::get(format!("{PREFIX}{target}")).header("Host", "r.example:5000");
        let answer = request.send(entrepot.address);
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let realm = format!("realm=\"http://r.example:5000{PREFIX}/service/token\"");
        assert!(answer.status == 401 && challenge.contains(&realm), "{target}: {challenge}");
    }
    Request::get(format!("{PREFIX}/service/token?a=b")).send(entrepot.address);
    assert_eq!(peer.seen_of("GET", "/service/").last().expect("handed on").target, "/service/token?a=b");
}

#[test]
fn https_is_asked_for_the_address_as_it_was_asked() {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks().set("listener.0.redirect_to_https", "true");
    let entrepot = below(setup);
    let asked = Request::get(format!("{PREFIX}/v2/app/tags/list?n=1")).header("Host", "r.example");
    let answer = asked.send(entrepot.address);
    let place = answer.header("location").map(str::to_owned);
    assert_eq!((answer.status, place), (308, Some(format!("https://r.example{PREFIX}/v2/app/tags/list?n=1"))));
    assert_eq!(Request::get("/v2/").header("Host", "r.example").send(entrepot.address).status, 404);
}

#[test]
fn a_reload_moves_it_and_a_connection_keeps_what_it_began_with() {
    let registry = Registry::debian().start();
    let mut entrepot = below(Setup::before(&[registry.address]));
    let kept = Connection::open(entrepot.address).expect("a connection");
    let (answer, kept) = kept.ask(Request::get(format!("{PREFIX}/v2/"))).expect("an answer");
    assert_eq!(answer.status, 200);
    entrepot.reload(|setup| setup.set("listener.0.prefix", "\"/\""), "ok");
    assert_eq!(Request::get("/v2/").send(entrepot.address).status, 200);
    assert_eq!(kept.ask(Request::get(format!("{PREFIX}/v2/"))).expect("an answer").0.status, 200);
}
