//! What is left out of the result, and how it is told.

use std::path::Path;

use super::tests::{These, collapsed};
use super::{read, write};
use crate::cli::import::SOCKET;

fn made(text: &str, servers: &[&str]) -> Result<super::Made, String> {
    let files = These([("n", text.to_owned())].into());
    let servers: Vec<String> = servers.iter().map(|name| (*name).to_owned()).collect();
    read(&files, Path::new("n"), None, &servers).map_err(|fault| fault.to_string())
}

#[test]
fn a_server_or_a_location_that_is_left_out_is_no_whole_result() {
    let whole =
        "server { listen 80; server_name a.example; gzip on; sub_filter a b; location / { proxy_pass http://a:1; } }";
    for (more, complete) in [
        ("", true),
        ("server { listen 80; server_name b.example; location / { root /srv; } }", false),
        ("server { listen 80; server_name b.example; location / { proxy_pass http://a:1; rewrite ^/a /b; } }", false),
        (
            "server { listen 80; server_name b.example; location /v2/ { proxy_pass http://a:1; } location /files/ { root /srv; } }",
            false,
        ),
        (
            "server { listen 80; server_name b.example; location /v2/ { proxy_pass http://a:1; } location = /v2/_catalog { deny all; } }",
            false,
        ),
        ("server { listen 80; listen udp:x; server_name b.example; location / { proxy_pass http://a:1; } }", false),
        ("include absent.d/*.conf;", true),
    ] {
        let made = made(&format!("{whole} {more}"), &[]).unwrap();
        assert_eq!(made.notes.is_complete(), complete, "{more}\n{}", made.notes.lines().join("\n"));
    }
    // Of the server that is wanted nothing is missing.
    let both = format!("{whole} server {{ listen 80; server_name b.example; location / {{ root /srv; }} }}");
    assert!(made(&both, &["a.example"]).unwrap().notes.is_complete());
}

#[test]
fn a_server_that_is_not_there_is_told_of_with_those_that_are() {
    let one = |name: &str| format!("server {{ listen 80; {name} location / {{ proxy_pass http://a:1; }} }}");
    let both = [one("server_name b.example B.example.net;"), one("server_name a.example;"), one("")].concat();
    let why = |text: &str, names: &[&str]| made(text, names).err().unwrap();
    let told = "no server has the `server_name` c.example; there are: B.example.net, a.example, b.example";
    assert_eq!(why(&both, &["c.example"]), told);
    // One that is there makes up for no other.
    assert_eq!(why(&both, &["a.example", "c.example"]), told);
    assert_eq!(
        why(&one(""), &["c"]),
        "no server has the `server_name` c; no server has a `server_name`: leave --server out"
    );
    assert!(made(&both, &["A.EXAMPLE"]).is_ok());
    let many: String = (0..60).map(|n| one(&format!("server_name h{n}.example;"))).collect();
    assert!(why(&many, &["c"]).ends_with("and 10 more"));
}

#[test]
fn commands_find_what_was_imported_and_are_told_who_may_use_it() {
    let one = |inside: &str| format!("server {{ listen 80; location / {{ proxy_pass http://a:1; {inside} }} }}");
    let open = write::text(&made(&one(""), &[]).unwrap(), "n", false);
    let table: toml::Table = open.parse().unwrap();
    assert_eq!(table["admin"]["unix"].as_str(), Some(SOCKET));
    assert!(!open.contains("user:NAME"), "nobody is asked who they are: {open}");
    let asks = write::text(&made(&one("auth_basic a; auth_basic_user_file /u;"), &[]).unwrap(), "n", false);
    assert!(collapsed(&asks).contains("no rule here allows anybody `admin`"), "{asks}");
    let named: String = asks.lines().map(|line| format!("{}\n", uncommented(line))).collect();
    let table: toml::Table = named.parse().unwrap();
    let rules = table["auth"]["rule"].as_array().unwrap();
    let rule = rules.last().unwrap();
    assert_eq!((rule["who"].to_string(), rule["allow"].to_string()), ("[\"user:NAME\"]".into(), "[\"admin\"]".into()));
}

/// As who follows the comment does it.
fn uncommented(line: &str) -> &str {
    let of_rule = ["# [[auth.rule]]", "# who = ", "# allow = "].iter().any(|start| line.starts_with(start));
    if of_rule { &line[2..] } else { line }
}
