//! What a peer says beside the content reaches the client that it was said to, also where the bytes come from the cache:
//! limits, CORS, warnings, fields that nobody knows; refusals with their bodies; next pages and token services at our
//! address.

use crate::harness::nginx::Nginx;
use crate::harness::repository::ACCEPT;
use crate::harness::{Answer, Entrepot, FaultProxy, Registry, Reply, Repository, Request, Setup, digest, random_bytes};

const SAID: [(&str, &str); 7] = [
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "Docker-Content-Digest"),
    ("ratelimit-remaining", "99;w=21600"),
    ("retry-after", "7"),
    ("warning", "299 - \"of the peer\""),
    ("x-unheard-of", "yes"),
    ("oci-something", "new"),
];

/// nginx before a registry, which says all this with every answer.
fn talkative(registry: std::net::SocketAddr) -> Nginx {
    let fields = SAID.map(|(name, value)| format!("add_header {name} '{value}' always;")).concat();
    Nginx::start(|address| {
        format!(
            "server {{
        listen {address};
        {fields}
        add_header Set-Cookie 'session=5ecret' always;
        add_header Alt-Svc 'h3=\":443\"' always;
        client_max_body_size 0;
        location / {{ proxy_pass http://{registry}; proxy_set_header Host $http_host; proxy_http_version 1.1; }}
    }}"
        )
    })
}

#[track_caller]
fn assert_said(answer: &Answer, what: &str) {
    for (name, value) in SAID {
        assert!(answer.headers.all(name).any(|said| said == value), "{what}: {name}: {:?}", answer.headers);
    }
    for name in ["set-cookie", "alt-svc"] {
        assert_eq!(answer.header(name), None, "{what}");
    }
    for name in ["content-length", "content-type", "etag", "docker-content-digest", "x-request-id", "cache-control"] {
        assert!(answer.headers.all(name).count() <= 1, "{what}: {name}: {:?}", answer.headers);
    }
}

#[test]
fn what_a_peer_says_is_handed_on_with_what_comes_from_the_cache() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 100_000);
    let nginx = talkative(registry.address);
    let setup = Setup::before(&[nginx.address]).set("cluster.main.verdict_ttl", "\"1h\"");
    let entrepot = setup.start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.blob(&image.layers[0]);
    let get = |method: &str, target: &str| client.request(method, target).header("Accept", ACCEPT).send(client.address);

    assert_said(&get("HEAD", &blob), "a blob's HEAD");
    assert_said(&get("GET", "/v2/"), "a ping");
    for round in ["cold", "warm"] {
        for method in ["GET", "HEAD"] {
            let answer = get(method, &client.manifest("v1"));
            assert_eq!((answer.status, answer.header("docker-content-digest")), (200, Some(image.digest.as_str())));
            assert_said(&answer, &format!("{round} {method}"));
        }
        let known = client.request("GET", client.manifest("v1")).header("Accept", ACCEPT);
        let known = known.header("If-None-Match", format!("\"{}\"", image.digest)).send(client.address);
        assert_eq!(known.status, 304);
        assert_said(&known, round);
    }
    // The first GET of a repository that nothing is remembered of asks; whoever reads from the cache alone is told nothing.
    let other = Repository::at(registry.address, "other/app").push_blob(&random_bytes(4, 50_000));
    let other = format!("/v2/other/app/blobs/{other}");
    assert_said(&get("GET", &other), "a blob's GET that asked");
    entrepot.settled();
    let hit = get("GET", &other);
    assert_eq!((hit.status, hit.header("ratelimit-remaining"), hit.header("warning")), (200, None, None));
    // Answers that pingora streams have the peer's fields in any case.
    let list = get("GET", "/v2/team/app/tags/list");
    assert_eq!((list.status, list.header("ratelimit-remaining")), (200, Some("99;w=21600")));
}

#[test]
fn a_refusal_keeps_the_peer_s_fields() {
    let registry = Registry::debian().account("ann", "secret").start();
    let nginx = talkative(registry.address);
    let entrepot = Entrepot::before(&[nginx.address]);
    let client = Repository::at(entrepot.address, "team/app");
    for answer in [
        client.get_blob(&digest(b"x")),
        client.head_blob(&digest(b"x")),
        client.get_manifest("v1"),
        client.request("GET", "/v2/").send(client.address),
    ] {
        assert_eq!(answer.status, 401);
        assert_said(&answer, &answer.text());
        assert_eq!(answer.headers.all("www-authenticate").count(), 1);
    }
    assert_eq!(client.get_blob(&digest(b"x")).error_code(), "UNAUTHORIZED");
}

/// A peer that refuses every blob and manifest in its own words.
fn refusing(status: u16) -> FaultProxy {
    FaultProxy::scripted(move |seen| {
        let reply = Reply::new(status).header("Retry-After", "30").header("X-Reason", "policy");
        match seen.method.as_str() {
            "HEAD" => reply,
            _ => reply.header("Content-Type", "application/problem+json").body("{\"errors\":[{\"code\":\"SCANNED\"}]}"),
        }
    })
}

#[test]
fn a_refusal_s_body_is_the_peer_s_where_one_can_be_had() {
    // Asked by HEAD: 401 and 429 are not asked again for the sake of their body.
    for (status, blob_code, asked) in [
        (401, "UNAUTHORIZED", 1),
        (429, "TOOMANYREQUESTS", 1),
        (403, "SCANNED", 2),
        (412, "SCANNED", 2),
        (451, "SCANNED", 2),
    ] {
        let peer = refusing(status);
        let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
        let client = Repository::at(entrepot.address, "team/app");
        let answer = client.get_blob(&digest(b"x"));
        assert_eq!((answer.status, answer.error_code()), (status, blob_code.into()), "{}", answer.text());
        assert_eq!((answer.header("retry-after"), answer.header("x-reason")), (Some("30"), Some("policy")), "{status}");
        assert_eq!(peer.seen().len(), asked, "{status}");
        let manifest = client.get_manifest("v1");
        assert_eq!((manifest.status, manifest.error_code()), (status, "SCANNED".into()));
        assert_eq!(manifest.header("content-type"), Some("application/problem+json"));
        assert_eq!((manifest.header("retry-after"), manifest.header("x-reason")), (Some("30"), Some("policy")));
    }
}

#[test]
fn the_next_page_is_at_our_address_whatever_the_peer_calls_itself() {
    let peer = FaultProxy::scripted(|seen| {
        let host = if seen.target.contains("_catalog") { "registry.internal:5000" } else { "10.0.0.1" };
        let link =
            format!("<http://{host}{}&last=a%2Fb>; rel=\"next\", <https://docs.example/>; rel=\"help\"", seen.target);
        Reply::new(200).header("Content-Type", "application/json").header("Link", link).body("{}")
    });
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let referrers = format!("/v2/a/referrers/{}?n=1", digest(b"x"));
    for target in ["/v2/a/tags/list?n=1", "/v2/_catalog?n=1", referrers.as_str()] {
        let answer = Request::get(target).send(entrepot.address);
        let expected = format!("<{target}&last=a%2Fb>; rel=\"next\", <https://docs.example/>; rel=\"help\"");
        assert_eq!(answer.header("link"), Some(expected.as_str()));
    }
}

#[test]
fn a_token_service_at_the_peer_s_own_address_is_reached_through_us() {
    let peer = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = peer.clone();
    let server = FaultProxy::scripted(move |seen| {
        if seen.target.starts_with("/service/token") {
            return Reply::new(200).header("Content-Type", "application/json").body("{\"token\":\"t\"}");
        }
        let own: &std::net::SocketAddr = known.get().expect("known by now");
        Reply::new(401).header("WWW-Authenticate", format!("Bearer realm=\"http://{own}/service/token\",service=\"r\""))
    });
    peer.set(server.address).expect("once");
    let setup = Setup::before(&[server.address])
        .without_health_checks()
        .set("cluster.main.forward", "[\"/service/\"]")
        .set("listener.0.trusted_proxies", "[\"127.0.0.1/32\"]");
    let plain = setup.clone().start();
    let mending = setup.set("cluster.main.rewrite_realm", "true").start();
    let blob = format!("/v2/a/blobs/{}", digest(b"x"));
    for (method, target) in [
        ("GET", "/v2/"),
        ("GET", blob.as_str()),
        ("HEAD", &blob),
        ("GET", "/v2/a/manifests/v1"),
        ("GET", "/v2/a/tags/list"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v1"),
    ] {
        let own = format!("Bearer realm=\"http://{}/service/token\",service=\"r\"", server.address);
        let answer = Request::new(method, target).send(plain.address);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(own.as_str())), "{method} {target}");

        let ours = format!("Bearer realm=\"http://{}/service/token\",service=\"r\"", mending.address);
        let answer = Request::new(method, target).send(mending.address);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(ours.as_str())), "{method} {target}");

        let outside =
            Request::new(method, target).header("Host", "registry.example").header("X-Forwarded-Proto", "https");
        let answer = outside.send(mending.address);
        let ours = "Bearer realm=\"https://registry.example/service/token\",service=\"r\"";
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(ours)), "{method} {target}");
    }
    assert_eq!(Request::get("/service/token").send(mending.address).expect(200), b"{\"token\":\"t\"}");
}
