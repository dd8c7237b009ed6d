//! What nginx keeps somebody from is not open in what comes of it: a server is left out, or rules and paths say the same.

use super::tests::{collapsed, imported};

const LOGIN: &str = "auth_basic x; auth_basic_user_file u;";

#[test]
fn a_server_is_left_out_where_its_locations_would_open_each_other() {
    let main = "location /v2/ { proxy_pass http://a; }";
    let tls = "listen 443 ssl; ssl_certificate c; ssl_certificate_key k;";
    for (inside, told) in [
        // Some of the same repositories, and others who may.
        (
            format!("location /v2/x/ {{ proxy_pass http://a; {LOGIN} }} location /v2/x/y/ {{ proxy_pass http://a; deny all; }}"),
            "may be about the same repositories",
        ),
        (
            format!("{main} location ~ ^/v2/[^/]+/x/ {{ proxy_pass http://a; deny all; }} location /v2/y/ {{ proxy_pass http://a; {LOGIN} }}"),
            "may be about the same repositories",
        ),
        // A pattern goes before what is compared by its beginning.
        (
            format!("location ~ ^/v2/ {{ proxy_pass http://a; {LOGIN} }} location /v2/x/ {{ proxy_pass http://a; }}"),
            "may be about the same repositories",
        ),
        (
            format!("{main} location ~ ^/ {{ proxy_pass http://a; {LOGIN} }}"),
            "rules are about repositories",
        ),
        (
            format!("{main} location /v2/x/ {{ proxy_pass http://a; {LOGIN} }} location ~ /blobs/ {{ proxy_pass http://a; {LOGIN} }}"),
            "rules are about repositories",
        ),
        // A class that is less than any name.
        (
            format!("{main} location ~ ^/v2/[a-z]+/ {{ proxy_pass http://a; {LOGIN} }}"),
            "rules are about repositories",
        ),
        // Repositories that are not handed on.
        (format!("{main} location /v2/x/ {{ return 302 /y; }}"), "not handed to a registry"),
        (format!("{main} location /v2/x/ {{ return 200; }}"), "not handed to a registry"),
        (format!("{main} location /v2/x/ {{ try_files $uri =404; }}"), "not handed to a registry"),
        (format!("{main} location /v2/x/ {{ content_by_lua_block {{ }} }}"), "not handed to a registry"),
        (format!("{main} location /v2/x/ {{ proxy_pass http://unix:/run/r.sock; }}"), "socket of the file system"),
        (format!("{main} location /v2/x/ {{ proxy_pass http://a; rewrite ^ /y break; }}"), "changes the path"),
        (format!("{main} location /v2/x/ {{ proxy_pass http://a; try_files $uri @y; }}"), "looks for files"),
        (format!("{main} location ~ secret {{ return 403; }}"), "may be about repositories"),
        (format!("rewrite ^/v2/x/ /v2/y/; {main}"), "changes paths"),
        // A certificate and a password.
        (
            format!(
                "{tls} ssl_verify_client on; ssl_client_certificate a; location /v2/ {{ proxy_pass http://a; {LOGIN} }}"
            ),
            "either is enough",
        ),
        // Addresses that are known in another way.
        (
            "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; location / { proxy_pass http://a; allow 10.0.0.0/8; deny all; }"
                .into(),
            "real_ip_recursive on",
        ),
        (
            "listen unix:/run/n.sock; location / { proxy_pass http://a; allow 10.0.0.0/8; deny all; }".into(),
            "a socket of the file system has none",
        ),
        (
            "listen 80 proxy_protocol; location / { proxy_pass http://a; allow 10.0.0.0/8; deny all; }".into(),
            "PROXY protocol",
        ),
        (format!("include absent.conf; {main}"), "is not here and may say who may"),
        (format!("server_name a.example; if ($host != b.example) {{ return 444; }} {main}"), "refuses hosts"),
    ] {
        let why = collapsed(&imported(&format!("server {{ {inside} }}")).expect_err(&inside));
        assert!(why.contains(told), "{inside}: {why}");
    }
}

#[test]
fn what_no_request_for_repositories_finds_leaves_the_server_in() {
    for inside in [
        "location ~ /\\.ht { deny all; }",
        "location @later { return 502; }",
        "location ~ ^/admin/ { deny all; }",
        "if ($request_method = OPTIONS) { add_header X y; return 204; }",
        "if ($arg_x) { set $y 1; }",
    ] {
        let text = imported(&format!("server {{ location /v2/ {{ proxy_pass http://a; }} {inside} }}")).unwrap();
        assert!(text.contains("read = \"cluster.a\""), "{inside}: {text}");
    }
}

#[test]
fn what_is_closed_below_a_path_that_is_handed_on_is_not() {
    let of = |inside: &str| {
        let text = imported(&format!("server {{ location / {{ proxy_pass http://a; }} {inside} }}")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let forward = table["cluster"]["a"].get("forward").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        forward.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(" ")
    };
    for (inside, told) in [
        ("", "/"),
        ("location /health { return 200; }", "/ !/health"),
        ("location /other/ { proxy_pass http://b; }", "/ !/other"),
        ("location ^~ /a/ { deny all; } location ~ ^/a/b/ { proxy_pass http://a; }", "/ !/a"),
        ("location /admin { deny all; } location = /admin/open { proxy_pass http://a; }", "/ !/admin"),
        ("location /status { stub_status; }", "/"),
        ("location /.well-known/acme-challenge/ { root /var/www; }", "/"),
        ("location /admin { deny all; }", "/ !/admin"),
        ("location = /admin { deny all; }", "/ !/admin"),
        ("location /v1/ { return 404; }", "/ !/v1"),
        ("location /admin { deny all; } location /admin/open/ { proxy_pass http://a; }", "/admin/open/ / !/admin"),
        ("location /admin { proxy_pass http://a; auth_basic x; auth_basic_user_file u; }", "/ !/admin"),
        ("location = /admin/ { deny all; } location /admin/ { proxy_pass http://a; }", ""),
        ("location = / { return 404; }", ""),
        ("location ~ ^/admin { return 403; } location /admin/x/ { proxy_pass http://a; }", ""),
        ("location /admin { deny all; } location /ui/ { proxy_pass http://a; }", "/ !/admin"),
    ] {
        assert_eq!(of(inside), told, "{inside}");
    }
    let root =
        imported("server { location /v2/ { proxy_pass http://a; } location = / { proxy_pass http://a; } }").unwrap();
    assert!(!root.contains("forward ="), "{root}");
    let acme = "server { location / { proxy_pass http://a; } location /.well-known/acme-challenge/ { root /w; } }";
    assert!(collapsed(&imported(acme).unwrap()).contains("acme = true"));
}

#[test]
fn servers_with_other_paths_have_clusters_of_their_own() {
    let server = |name: &str, path: &str| {
        format!("server {{ server_name {name}.example; location {path} {{ proxy_pass http://a; }} }}\n")
    };
    let text = imported(&format!("{}{}", server("x", "/"), server("y", "/v2/"))).unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert!(
        table["cluster"]["a"].get("forward").is_some() != table["cluster"]["a-2"].get("forward").is_some(),
        "{text}"
    );
}

#[test]
fn a_host_that_alone_is_let_in_is_the_route_s_even_of_the_default_server() {
    let text = imported(
        "server { server_name a.example b.example; if ($host != a.example) { return 444; } location / { proxy_pass http://a; } }",
    );
    assert!(text.unwrap().contains("hosts = [\"a.example\"]"));
}

#[test]
fn an_address_asks_all_its_clients_for_the_same_certificates() {
    let server = |name: &str, more: &str| {
        format!(
            "server {{ listen 443 ssl; server_name {name}.example; ssl_certificate c; ssl_certificate_key k; {more} \
             location / {{ proxy_pass http://{name}; }} }}\n"
        )
    };
    let asks = |ca: &str| format!("ssl_verify_client on; ssl_client_certificate {ca};");
    for (one, other, left_out) in
        [(asks("a"), asks("a"), false), (asks("a"), asks("b"), true), (String::new(), asks("a"), true)]
    {
        let text = collapsed(&imported(&format!("{}{}", server("x", &one), server("y", &other))).unwrap());
        assert_eq!(text.contains("is left out"), left_out, "{text}");
    }
}

#[test]
fn the_same_server_at_an_address_for_itself_is_not_had_elsewhere() {
    let server = |listen: &str| {
        format!("server {{ listen {listen}; server_name a.example; location / {{ proxy_pass http://a:1; }} }}\n")
    };
    let text = collapsed(&imported(&format!("{}{}", server("5000"), server("127.0.0.1:5001"))).unwrap());
    assert!(text.contains("it listens elsewhere"), "{text}");
}

#[test]
fn rules_are_for_names_that_no_other_server_has() {
    let server = |name: &str, more: &str| {
        format!("server {{ server_name {name}; location /v2/ {{ proxy_pass http://a; {more} }} }}\n")
    };
    // The second one has a name of its own, and one of the first's.
    let text = imported(&format!(
        "{}{}{}",
        server("z.example", ""),
        server("x.example", LOGIN),
        server("x.example y.example", "allow 10.0.0.0/8; deny all;")
    ))
    .unwrap();
    let table: toml::Table = text.parse().unwrap();
    for rule in table["auth"]["rule"].as_array().unwrap() {
        let hosts = rule["hosts"].as_array().unwrap();
        assert_eq!(hosts.len(), 1, "{text}");
        assert_eq!(hosts[0].as_str() == Some("y.example"), rule.get("from").is_some(), "{text}");
    }
    let wide = collapsed(
        &imported(&format!(
            "{}{}{}",
            server("z.example", ""),
            server("*.x.example", LOGIN),
            server("a.x.example", "allow 10.0.0.0/8; deny all;")
        ))
        .unwrap(),
    );
    assert!(wide.contains("so do the rules of another server"), "{wide}");
}

#[test]
fn a_mirror_beside_rules_asks_nobody() {
    let text = imported(&format!(
        "server {{ server_name m.example; location / {{ proxy_pass https://registry-1.docker.io; }} }}\n\
         server {{ server_name r.example; location /v2/ {{ proxy_pass http://a; {LOGIN} }} }}"
    ))
    .unwrap();
    let table: toml::Table = text.parse().unwrap();
    let routes = table["route"].as_array().unwrap();
    let auth = |target: &str| {
        let route = routes.iter().find(|route| route["read"].as_str() == Some(target)).unwrap();
        route.get("auth").and_then(toml::Value::as_str)
    };
    assert_eq!((auth("remote.docker-io"), auth("cluster.a")), (Some("peers"), Some("rules")), "{text}");
}

#[test]
fn how_tls_is_spoken_is_said_of_listeners_that_speak_it() {
    let tls = "listen 443 ssl; ssl_certificate c; ssl_certificate_key k;";
    let server = |listen: &str, more: &str| {
        imported(&format!("server {{ {listen} {more} location / {{ proxy_pass http://a; }} }}")).unwrap()
    };
    let newest = "ssl_protocols TLSv1.3;";
    assert!(server(tls, newest).contains("tls_min_version = \"1.3\""));
    assert!(!server("listen 80;", newest).contains("tls_min_version ="));
    let ciphers = "ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305;";
    let text = server(tls, ciphers);
    assert!(
        text.contains(
            "tls_ciphers = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256\"]"
        ),
        "{text}"
    );
    assert!(!server(tls, "ssl_ciphers HIGH:!aNULL;").contains("tls_ciphers ="));
    assert!(!server(tls, &format!("{newest} {ciphers}")).contains("tls_ciphers ="));
    let revoked = server(tls, "ssl_verify_client on; ssl_client_certificate a; ssl_crl l;");
    assert!(revoked.contains("client_crl = ") && revoked.contains("client_ca = "), "{revoked}");
    assert!(server("listen unix:/run/n.sock;", "").contains("address = \"unix:/run/n.sock\""));
}
