//! What is believed, and what is told, as tables.

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn proxy() -> SocketAddr {
    "10.0.0.1:4000".parse().unwrap()
}

#[test]
fn a_stranger_is_not_believed() {
    let mut fields = headers(&[
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=1.2.3.4"),
        ("x-real-ip", "1.2.3.4"),
    ]);
    let who = client(&fields, proxy(), false, &[]);
    assert_eq!(who, Client { address: "10.0.0.1".parse().unwrap(), https: false });
    tell(&mut fields, proxy(), &who, "registry.example.com", &[]);
    assert_eq!(fields["x-forwarded-for"], "10.0.0.1");
    assert_eq!(fields["x-forwarded-proto"], "http");
    assert_eq!(fields["x-forwarded-host"], "registry.example.com");
    assert_eq!(fields["forwarded"], "for=10.0.0.1;proto=http;host=\"registry.example.com\"");
    assert_eq!(fields["x-real-ip"], "10.0.0.1");
}

#[test]
fn a_trusted_proxy_is_believed_and_appended_to() {
    let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    let mut fields = headers(&[
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.example"),
    ]);
    let who = client(&fields, proxy(), false, &trusted);
    assert_eq!(who, Client { address: "1.2.3.4".parse().unwrap(), https: true });
    tell(&mut fields, proxy(), &who, "inner", &trusted);
    assert_eq!(fields["x-forwarded-for"], "6.6.6.6, 1.2.3.4, 10.9.9.9, 10.0.0.1");
    assert_eq!(fields["x-forwarded-host"], "outer.example");
    assert_eq!(fields["x-real-ip"], "1.2.3.4");
}

#[test]
fn addresses_of_version_6_are_bracketed_and_quoted() {
    let mut fields = HeaderMap::new();
    let connection = "[2001:db8::1]:1".parse().unwrap();
    let who = client(&fields, connection, true, &[]);
    tell(&mut fields, connection, &who, "h", &[]);
    assert_eq!(fields["forwarded"], "for=\"[2001:db8::1]\";proto=https;host=\"h\"");
}

/// The proxies of these tables: 10.0.0.0/8, and the connection comes from one of them.
fn network() -> Vec<IpNet> {
    vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
}

/// Fields, the client's address, and whether it came by https.
type Row = (&'static [(&'static str, &'static str)], &'static str, bool);

#[test]
fn the_client_is_found_through_every_way_in_which_proxies_write_it() {
    let far = "203.0.113.7";
    let far6 = "2001:db8::1";
    let unknown = "10.0.0.1";
    let table: &[Row] = &[
        (&[("x-forwarded-for", "203.0.113.7:5555"), ("x-forwarded-proto", "https")], far, true),
        (&[("x-forwarded-for", "[2001:db8::1]:443"), ("x-forwarded-proto", "HTTPS")], far6, true),
        (&[("x-forwarded-for", "[2001:db8::1]")], far6, false),
        (&[("x-forwarded-for", "2001:db8::1")], far6, false),
        (&[("x-forwarded-for", "\"[2001:db8::1]\"")], far6, false),
        (&[("x-forwarded-for", "::ffff:203.0.113.7")], far, false),
        (&[("x-forwarded-for", "203.0.113.7, ::ffff:10.0.0.2")], far, false),
        (&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "fd00::2, 10.0.0.3")], far, false),
        (&[("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.0.0.2:80")], far, false),
        (&[("x-forwarded-for", "203.0.113.7,,"), ("x-forwarded-proto", "https")], far, true),
        (&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3", false),
        (&[("x-forwarded-for", "unknown"), ("x-forwarded-proto", "https")], unknown, true),
        (&[("x-forwarded-for", "_hidden, 10.0.0.2"), ("x-forwarded-proto", "https")], "10.0.0.2", true),
        (&[("x-forwarded-for", "6.6.6.6, what?, 10.0.0.2")], "10.0.0.2", false),
        (&[("x-real-ip", "203.0.113.7"), ("x-forwarded-proto", "https")], far, true),
        (&[("x-real-ip", "6.6.6.6"), ("x-forwarded-for", "203.0.113.7")], far, false),
        // The scheme of the outermost proxy that we trust.
        (&[("x-forwarded-proto", "https, http")], unknown, true),
        (&[("x-forwarded-proto", "https,https")], unknown, true),
        (&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], unknown, true),
        (&[("x-forwarded-proto", "http, https")], unknown, false),
        (&[("x-forwarded-for", "203.0.113.7, 10.0.0.2"), ("x-forwarded-proto", "https, http")], far, true),
        (&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https, http")], far, true),
        (&[("x-forwarded-for", "203.0.113.7, 10.0.0.2"), ("x-forwarded-proto", "https")], far, true),
        // The left one is what a client made up in front of a proxy that appends.
        (&[("x-forwarded-for", "6.6.6.6, 203.0.113.7"), ("x-forwarded-proto", "https, http")], far, false),
        (&[("x-forwarded-proto", "gopher")], unknown, false),
        (&[("x-forwarded-proto", "")], unknown, false),
        (&[("x-forwarded-ssl", "on"), ("front-end-https", "on")], unknown, false),
        // RFC 7239.
        (&[("forwarded", "for=\"[2001:db8::1]:4711\";proto=https;host=registry.example.com")], far6, true),
        (&[("forwarded", "For=203.0.113.7; PROTO=HTTPS ;by=10.0.0.1")], far, true),
        (&[("forwarded", "for=203.0.113.7;proto=https, for=10.0.0.2;proto=http")], far, true),
        (&[("forwarded", "for=203.0.113.7;proto=https"), ("forwarded", "for=10.0.0.2")], far, true),
        (&[("forwarded", "for=6.6.6.6;proto=https, for=203.0.113.7;proto=http, for=10.0.0.2")], far, false),
        (&[("forwarded", "for=203.0.113.7:5555;proto=https")], far, true),
        (&[("forwarded", "for=\"203\\.0.113.7\";proto=\"https\"")], far, true),
        (&[("forwarded", "for=unknown;proto=https")], unknown, true),
        (&[("forwarded", "for=_hidden;proto=https, for=\"[fd00::2]\"")], "fd00::2", true),
        (&[("forwarded", "proto=https")], unknown, true),
        (&[("forwarded", "for=203.0.113.7, for=10.0.0.2;proto=https")], far, true),
        // Broken anywhere, believed nowhere.
        (&[("forwarded", "for=203.0.113.7;proto=https, for=\"10.0.0.2")], unknown, false),
        (&[("forwarded", "for=203.0.113.7;for=6.6.6.6;proto=https")], unknown, false),
        (&[("forwarded", "for 203.0.113.7")], unknown, false),
        (&[("forwarded", "for=203.0.113.7 proto=https")], unknown, false),
        // What a client breaks on the left does not hide what proxies wrote behind it.
        (&[("forwarded", "for=\", for=203.0.113.7;proto=https")], far, true),
        (&[("forwarded", "for=a b, for=203.0.113.7;proto=https, for=10.0.0.2")], far, true),
        (&[("x-forwarded-for", ", ,"), ("x-real-ip", "6.6.6.6")], unknown, false),
        // The X fields are the proxy's; a Forwarded beside them may be anybody's.
        (&[("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "203.0.113.7")], far, false),
        (&[("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-proto", "http")], unknown, false),
    ];
    for (fields, address, https) in table {
        let who = client(&headers(fields), proxy(), false, &network());
        assert_eq!(who, Client { address: address.parse().unwrap(), https: *https }, "{fields:?}");
    }
}

#[test]
fn a_scheme_that_nobody_names_is_the_connection_s_own() {
    for fields in [&[][..], &[("x-forwarded-for", "203.0.113.7")], &[("forwarded", "for=203.0.113.7")]] {
        assert!(client(&headers(fields), proxy(), true, &network()).https, "{fields:?}");
    }
}

/// X-Forwarded-For, -Proto, -Host and Forwarded as a peer gets them.
fn told(fields: &[(&'static str, &'static str)]) -> [String; 4] {
    let mut fields = headers(fields);
    let who = client(&fields, proxy(), false, &network());
    tell(&mut fields, proxy(), &who, "inner", &network());
    assert!(OTHER_SCHEMES.iter().all(|name| !fields.contains_key(*name)), "{fields:?}");
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, FORWARDED].map(|name| {
        assert_eq!(fields.get_all(&name).iter().count(), 1, "{fields:?}");
        fields[&name].to_str().unwrap().to_owned()
    })
}

#[test]
fn a_peer_hears_of_one_scheme_one_host_and_one_well_formed_chain() {
    for (fields, expected) in [
        (
            &[
                ("x-forwarded-for", "203.0.113.7, 10.0.0.2"),
                ("x-forwarded-proto", "https, http"),
                ("x-forwarded-host", "a.example, b"),
            ][..],
            [
                "203.0.113.7, 10.0.0.2, 10.0.0.1",
                "https",
                "a.example",
                "for=203.0.113.7;proto=https;host=\"a.example\", for=10.0.0.2, for=10.0.0.1",
            ],
        ),
        (
            &[("forwarded", "for=\"[2001:db8::1]:4711\";proto=https;host=a.example, for=10.0.0.2")],
            [
                "2001:db8::1, 10.0.0.2, 10.0.0.1",
                "https",
                "a.example",
                "for=\"[2001:db8::1]\";proto=https;host=\"a.example\", for=10.0.0.2, for=10.0.0.1",
            ],
        ),
        (
            &[("forwarded", "for=_hidden;proto=https")],
            ["10.0.0.1", "https", "inner", "for=_hidden;proto=https;host=\"inner\", for=10.0.0.1"],
        ),
        (
            &[("x-forwarded-for", "<script>"), ("x-forwarded-ssl", "on"), ("x-forwarded-host", "a b")],
            ["10.0.0.1", "http", "inner", "for=unknown;proto=http;host=\"inner\", for=10.0.0.1"],
        ),
        (
            &[("x-forwarded-proto", "http"), ("forwarded", "for=6.6.6.6;proto=https;host=evil.example")],
            ["10.0.0.1", "http", "inner", "for=unknown;proto=http;host=\"inner\", for=10.0.0.1"],
        ),
    ] {
        assert_eq!(told(fields), expected, "{fields:?}");
    }
}

#[test]
fn a_chain_without_end_is_begun_anew() {
    let long: &'static str = Box::leak(format!("203.0.113.7{}", ", 10.0.0.2".repeat(500)).into_boxed_str());
    let [chain, ..] = told(&[("x-forwarded-for", long)]);
    assert!(chain.len() < 2 * MAX_CHAIN && chain.ends_with(", 10.0.0.1"), "{chain}");
    let elements: &'static str = Box::leak(format!("for=203.0.113.7{}", ", for=10.0.0.2".repeat(500)).into_boxed_str());
    let [chain, ..] = told(&[("forwarded", elements)]);
    assert!(chain.len() < 2 * MAX_CHAIN && chain.ends_with("10.0.0.1"), "{chain}");
}

#[test]
fn only_a_port_is_handed_on_as_port() {
    for (port, kept) in [("443", true), ("443, 80", false), ("x", false)] {
        let mut fields = headers(&[("x-forwarded-port", port)]);
        let who = client(&fields, proxy(), false, &network());
        tell(&mut fields, proxy(), &who, "inner", &network());
        assert_eq!(fields.contains_key("x-forwarded-port"), kept, "{port}");
    }
}

proptest::proptest! {
    #[test]
    fn no_field_makes_it_panic_and_what_is_told_can_be_read_again(text in "[ -~]{0,200}") {
        let Ok(value) = HeaderValue::from_str(&text) else { return Ok(()) };
        for name in CHAIN {
            let mut fields = HeaderMap::new();
            fields.insert(name, value.clone());
            let who = client(&fields, proxy(), false, &network());
            tell(&mut fields, proxy(), &who, "inner", &network());
            assert!(rfc7239::parse(fields[FORWARDED].to_str().unwrap()).is_some(), "{:?}", fields[FORWARDED]);
        }
    }
}

#[test]
fn an_entry_that_is_no_text_hides_nobody_behind_a_proxy_that_appends() {
    for name in ["x-forwarded-for", "forwarded"] {
        let mut fields = HeaderMap::new();
        let value: &[u8] = match name {
            "forwarded" => b"for=\xe9, for=203.0.113.7",
            _ => b"\xe9, 203.0.113.7",
        };
        fields.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        fields.insert("x-real-ip", HeaderValue::from_static("6.6.6.6"));
        if name == "forwarded" {
            fields.remove("x-real-ip");
        }
        let who = client(&fields, proxy(), false, &network());
        assert_eq!(who.address, "203.0.113.7".parse::<std::net::IpAddr>().unwrap(), "{name}");
    }
    // However long what the client sent is.
    let filler = format!("for={}, for=203.0.113.7", "x".repeat(3000));
    let fields = HeaderMap::from_iter([(FORWARDED, HeaderValue::from_str(&filler).unwrap())]);
    assert_eq!(client(&fields, proxy(), false, &network()).address, "203.0.113.7".parse::<std::net::IpAddr>().unwrap());
}
