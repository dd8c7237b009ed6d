//! What a peer is told of the client, and whose word counts for it.

use crate::harness::fault_proxy::Seen;
use crate::harness::nginx::Nginx;
use crate::harness::{Answer, Fault, FaultProxy, Reply, Request, Rule, Setup};

/// Sends one request through; what the peer saw and what the client got.
fn through(trusted: bool, request: impl Fn(Request) -> Request) -> (Seen, Answer) {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let networks = if trusted { "[\"127.0.0.0/8\"]" } else { "[]" };
    let entrepot = setup.set("listener.0.trusted_proxies", networks).start();
    let answer = request(Request::get("/v2/team/app/tags/list")).send(entrepot.address);
    (peer.seen_of("GET", "/tags/list").remove(0), answer)
}

fn claims(request: Request) -> Request {
    request
        .header("Host", "registry.example.com")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "public.example.com")
        .header("X-Forwarded-Prefix", "/public")
        .header("X-Forwarded-Port", "444")
        .header("X-Real-IP", "203.0.113.7")
        .header("Forwarded", "for=203.0.113.7;proto=https;host=public.example.com")
}

#[test]
fn a_stranger_s_claims_of_who_it_is_are_replaced() {
    let (seen, _) = through(false, claims);
    assert_eq!(seen.header("host"), Some("registry.example.com"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("registry.example.com"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!((seen.header("x-forwarded-prefix"), seen.header("x-forwarded-port")), (None, None));
    let forwarded = seen.header("forwarded").unwrap_or_default().to_ascii_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
    assert!(!forwarded.contains("203.0.113.7") && !forwarded.contains("public"), "{forwarded}");
}

#[test]
fn a_trusted_proxy_s_claims_are_believed_and_added_to() {
    let (seen, _) = through(true, claims);
    assert_eq!(seen.header("host"), Some("registry.example.com"));
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("public.example.com"));
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"));
    let forwarded = seen.header("forwarded").unwrap_or_default().to_ascii_lowercase();
    assert!(forwarded.starts_with("for=203.0.113.7;") && forwarded.contains("for=127.0.0.1"), "{forwarded}");
}

#[test]
fn a_request_id_is_made_or_taken_over_and_told_to_both_sides() {
    let (seen, answer) = through(false, |request| request);
    let made = seen.header("x-request-id").map(str::to_owned).expect("an id");
    assert!(made.len() >= 16 && made.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{made}");
    assert_eq!(answer.header("x-request-id"), Some(made.as_str()));
    let (seen, answer) = through(false, |request| request.header("X-Request-Id", "abc-123"));
    assert_eq!((seen.header("x-request-id"), answer.header("x-request-id")), (Some("abc-123"), Some("abc-123")));
    for hostile in ["a b", "x\"y", &"z".repeat(500)] {
        let (seen, _) = through(false, |request| request.header("X-Request-Id", hostile));
        assert_ne!(seen.header("x-request-id"), Some(hostile));
        assert!(seen.header("x-request-id").is_some());
    }
}

#[test]
fn a_trace_goes_on_with_a_span_of_ours() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let (seen, _) = through(false, |request| request.header("traceparent", parent.clone()).header("tracestate", "a=b"));
    let handed = seen.header("traceparent").expect("a traceparent");
    assert!(handed.starts_with(&format!("00-{trace}-")) && handed.ends_with("-01"), "{handed}");
    assert_eq!(seen.header("tracestate"), Some("a=b"));
    let (seen, _) =
        through(false, |request| request.header("traceparent", "00-zero-zero-01").header("tracestate", "a=b"));
    let begun = seen.header("traceparent").expect("a traceparent");
    assert_eq!((begun.len(), seen.header("tracestate")), (55, None));
}

#[test]
fn what_is_meant_for_one_hop_goes_no_further() {
    let (seen, answer) = through(false, |request| {
        request
            .header("Connection", "X-Hop, keep-alive")
            .header("X-Hop", "1")
            .header("Keep-Alive", "timeout=5")
            .header("TE", "trailers")
    });
    assert_eq!((seen.header("x-hop"), seen.header("keep-alive"), seen.header("te")), (None, None, None));
    assert_eq!(answer.status, 200);
    let peer = FaultProxy::recording();
    let hop = Reply::new(200).header("Connection", "X-Hop").header("X-Hop", "1").header("X-Kept", "2").body("{}");
    peer.on(Rule::new("GET", "/tags/list", Fault::Answer(hop)));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let answer = Request::get("/v2/team/app/tags/list").send(entrepot.address);
    assert_eq!((answer.header("x-hop"), answer.header("x-kept")), (None, Some("2")));
}

#[test]
fn no_client_can_make_us_drop_a_header_that_matters_to_the_peer() {
    for named in ["authorization", "host", "content-length", "x-forwarded-for"] {
        let peer = FaultProxy::recording();
        let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
        let request = Request::get("/v2/team/app/tags/list").header("Connection", named);
        let answer = request.header("Authorization", "Bearer abc").send(entrepot.address);
        for seen in peer.seen() {
            let kept = (seen.header("authorization"), seen.header("x-forwarded-for"));
            assert_eq!(kept, (Some("Bearer abc"), Some("127.0.0.1")), "{named}");
        }
        assert_eq!(answer.status, if peer.seen().is_empty() { 400 } else { 200 }, "{named}");
    }
}

#[test]
fn a_peer_s_absolute_location_is_made_right_for_the_client() {
    let peer = FaultProxy::recording();
    let opened = |place: String| {
        Reply::new(202).header("Location", place).header("Docker-Upload-UUID", "u").header("Range", "0-0")
    };
    let address = peer.address;
    let place = format!("http://{address}/v2/team/app/blobs/uploads/u-1?_state=abc%3D%3D");
    peer.on(Rule::new("POST", "/blobs/uploads/", Fault::Answer(opened(place))));
    peer.on(Rule::new(
        "PATCH",
        "",
        Fault::Answer(Reply::new(202).header("Location", "/v2/team/app/blobs/uploads/u-1?_state=def")),
    ));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let answer = Request::new("POST", "/v2/team/app/blobs/uploads/").send(entrepot.address);
    let place = crate::harness::repository::location(&answer);
    assert!(!answer.header("location").unwrap_or_default().contains(&address.to_string()), "{place}");
    assert!(place.starts_with("/v2/team/app/blobs/uploads/") && place.contains("_state=abc%3D%3D"), "{place}");
    let patched = Request::new("PATCH", place).body("x").send(entrepot.address);
    // The peer gets its own address back, without what we put in.
    assert_eq!(peer.seen_of("PATCH", "").remove(0).target, "/v2/team/app/blobs/uploads/u-1?_state=abc%3D%3D");
    assert!(crate::harness::repository::location(&patched).contains("_state=def"));
}

/// What `GET /v2/` answers on a listener that sends everybody to https, from a trusted proxy that says this.
fn before_https(fields: &[(&str, &str)]) -> Answer {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks().set("listener.0.redirect_to_https", "true");
    let entrepot = setup.set("listener.0.trusted_proxies", "[\"127.0.0.0/8\"]").start();
    let request = Request::get("/v2/team/app/tags/list").header("Host", "inner.example.com");
    fields.iter().fold(request, |request, (name, value)| request.header(name, *value)).send(entrepot.address)
}

#[test]
fn who_came_by_https_is_not_sent_there_again() {
    for fields in [
        &[("X-Forwarded-Proto", "https")][..],
        &[("X-Forwarded-Proto", "https, http")],
        &[("X-Forwarded-Proto", "https,https")],
        &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")],
        &[("X-Forwarded-For", "203.0.113.7:5555"), ("X-Forwarded-Proto", "https, http")],
        &[("X-Forwarded-For", "203.0.113.7, 127.0.0.2"), ("X-Forwarded-Proto", "https, http")],
        &[("Forwarded", "for=\"[2001:db8::1]:4711\";proto=https;host=registry.example.com")],
        &[("Forwarded", "for=_hidden;proto=https, for=127.0.0.2;proto=http")],
    ] {
        assert_ne!(before_https(fields).status, 308, "{fields:?}");
    }
}

#[test]
fn who_came_by_http_is_sent_to_the_host_that_it_named() {
    for (fields, host) in [
        (&[][..], "inner.example.com"),
        (&[("X-Forwarded-Proto", "http")], "inner.example.com"),
        (
            &[("X-Forwarded-Proto", "http, https"), ("X-Forwarded-Host", "registry.example.com:8080")],
            "registry.example.com",
        ),
        (&[("Forwarded", "for=203.0.113.7;proto=http;host=registry.example.com")], "registry.example.com"),
        // Made up in front of a proxy that appends.
        (&[("X-Forwarded-For", "6.6.6.6, 203.0.113.7"), ("X-Forwarded-Proto", "https, http")], "inner.example.com"),
    ] {
        let answer = before_https(fields);
        let place = format!("https://{host}/v2/team/app/tags/list");
        assert_eq!((answer.status, answer.header("location")), (308, Some(place.as_str())), "{fields:?}");
    }
}

#[test]
fn two_nginx_one_behind_the_other_end_in_one_scheme_and_one_host() {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks().set("listener.0.redirect_to_https", "true");
    let entrepot = setup.set("listener.0.trusted_proxies", "[\"127.0.0.0/8\"]").start();
    let hop = |to: std::net::SocketAddr, fields: &'static str| {
        Nginx::start(move |address| {
            format!(
                "server {{ listen {address}; location / {{ proxy_pass http://{to}; {fields}
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
            )
        })
    };
    // The inner one appends and lets Host be its own; the outer one says what a client at its TLS side would be.
    let inner = hop(entrepot.address, "proxy_set_header X-Forwarded-Proto \"$http_x_forwarded_proto, $scheme\";");
    let outer =
        hop(inner.address, "proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host $http_host;");
    let answer = Request::get("/v2/team/app/tags/list").header("Host", "registry.example.com").send(outer.address);
    assert_ne!(answer.status, 308);
    let seen = peer.seen_of("GET", "/tags/list").remove(0);
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("registry.example.com"));
    assert!(seen.header("forwarded").is_some_and(|told| told.contains(";proto=https;host=\"registry.example.com\"")));
}
