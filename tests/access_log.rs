//! One JSON line for each request, with everything that an operator asks and nothing that is secret.

use std::io::Read;

use rustix::process::Signal;

use crate::harness::{Connection, Entrepot, Registry, Repository, Request, Setup, eventually};

#[test]
fn a_line_says_who_asked_for_what_and_how_it_was_answered() {
    let registry = Registry::debian().account("ann", "secret").start();
    let entrepot = Entrepot::before(&[registry.address]);
    let client = Repository::at(entrepot.address, "team/app").basic("ann", "secret");
    let image = client.push_random("v1", 1, 12_345);
    let get = |id: &str| {
        let request = client.request("GET", client.blob(&image.layers[0])).header("X-Request-Id", id);
        request.header("User-Agent", "tester/1").send(client.address).expect(200)
    };
    get("cold");
    entrepot.settled();
    get("warm");
    client.request("GET", client.manifest("v1")).header("X-Request-Id", "tag").send(client.address);
    let (cold, warm, tag) = (entrepot.logged("cold"), entrepot.logged("warm"), entrepot.logged("tag"));
    for line in [&cold, &warm, &tag] {
        for key in [
            "time",
            "id",
            "client",
            "method",
            "host",
            "path",
            "status",
            "bytes_in",
            "bytes_out",
            "duration_ms",
            "first_byte_ms",
            "protocol",
        ] {
            assert!(line.get(key).is_some(), "{key} in {line}");
        }
    }
    assert_eq!((&cold["method"], &cold["status"], &cold["bytes_out"]), (&"GET".into(), &200.into(), &12_345.into()));
    assert_eq!((&cold["repository"], &cold["reference"]), (&"team/app".into(), &image.layers[0].clone().into()));
    assert_eq!((&tag["reference"], &cold["user_agent"]), (&"v1".into(), &"tester/1".into()));
    assert!(cold["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1")), "{cold}");
    assert_eq!(cold["peer"], registry.address.to_string());
    assert_ne!(cold["cache"], warm["cache"]);
    assert!(cold["time"].as_str().is_some_and(|time| time.starts_with("20") && time.contains('T')), "{cold}");
}

#[test]
fn no_line_holds_a_secret() {
    let registry = Registry::debian().account("ann", "hunter2hunter2").start();
    let entrepot = Setup::before(&[registry.address]).set("log.level", "\"trace\"").start();
    let client = Repository::at(entrepot.address, "team/app").basic("ann", "hunter2hunter2");
    let image = client.push_random("v1", 1, 1000);
    client.get_blob(&image.layers[0]).expect(200);
    Repository::at(entrepot.address, "team/app").bearer("eyJtopsecret.payload.signature").get_blob(&image.layers[0]);
    let upload = client.start_upload();
    client.request("DELETE", upload.clone()).send(client.address);
    entrepot.settled();
    let secrets = [
        "hunter2hunter2".to_owned(),
        crate::harness::http::basic("ann", "hunter2hunter2")["Basic ".len()..].to_owned(),
        "topsecret".to_owned(),
    ];
    let written = || std::fs::read_to_string(entrepot.access_log_path()).unwrap_or_default();
    // The DELETE is the last request, so its line is the last that may hold anything.
    crate::harness::eventually("every line is written", || written().contains("DELETE"));
    let log = written() + &entrepot.log();
    assert!(log.contains("team/app"));
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret}");
        for file in entrepot.cache_files(1) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} in {}",
                file.display()
            );
        }
    }
}

#[test]
fn nothing_that_a_client_sends_makes_a_second_line_or_a_second_field() {
    let registry = Registry::debian().start();
    let entrepot = Entrepot::before(&[registry.address]);
    let hostile = [
        r#"a","status":999,"x":"b"#.as_bytes(),
        b"tab\tand \x1b[31mred\x1b[0m",
        "ünïcödé \u{2028} separators".as_bytes(),
        b"bytes \xff\xfe that are no text",
        br"back\slash \n \u0000",
    ];
    for (number, agent) in hostile.iter().enumerate() {
        let mut request = format!("GET /v2/team/app/tags/list?x=%22%0a HTTP/1.1\r\nHost: registry\r\nX-Request-Id: hostile-{number}\r\nConnection: close\r\nUser-Agent: ").into_bytes();
        request.extend_from_slice(agent);
        request.extend_from_slice(b"\r\n\r\n");
        let mut connection = Connection::open(entrepot.address).expect("a connection");
        connection.send_raw(&request).expect("sent");
        connection.rest();
    }
    for path in ["/v2/a%22%0d%0ab/tags/list", "/v2/\"quoted\"/manifests/v1", "/v2/team/app/manifests/\u{7f}"] {
        let _ = Request::get(path).try_send(entrepot.address);
    }
    Request::get("/v2/").header("X-Request-Id", "last").send(entrepot.address);
    entrepot.logged("last");
    // Reading them all as JSON is the assertion.
    for line in entrepot.access_log() {
        assert_ne!(line["status"], 999, "{line}");
    }
    let raw = std::fs::read(entrepot.access_log_path()).expect("the access log");
    assert!(!raw.contains(&0x1b));
}

#[test]
fn the_file_is_opened_again_on_a_signal() {
    let registry = Registry::debian().start();
    let mut entrepot = Entrepot::before(&[registry.address]);
    Request::get("/v2/").header("X-Request-Id", "before").send(entrepot.address);
    entrepot.logged("before");
    let aside = entrepot.access_log_path().with_extension("1");
    std::fs::rename(entrepot.access_log_path(), &aside).expect("moved");
    entrepot.process().signal(Signal::USR1);
    eventually("the file is there again", || entrepot.access_log_path().exists());
    Request::get("/v2/").header("X-Request-Id", "after").send(entrepot.address);
    entrepot.logged("after");
    let mut old = String::new();
    std::fs::File::open(aside).and_then(|mut file| file.read_to_string(&mut old)).expect("the old file");
    assert!(old.contains("\"before\"") && !old.contains("\"after\""));
}

#[test]
fn a_log_that_is_off_writes_nothing() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).set("log.access", "\"off\"").start();
    Request::get("/v2/").header("X-Request-Id", "silent").send(entrepot.address).expect(200);
    assert!(!entrepot.access_log_path().exists());
    assert!(!entrepot.log().contains("\"silent\""));
}
