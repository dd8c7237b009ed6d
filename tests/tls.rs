//! HTTPS: the certificate for the name, renewed without a restart; HTTP/2 where the client wants it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::harness::authority::Issued;
use crate::harness::tools::run;
use crate::harness::{
    Authority, Connection, Entrepot, Registry, Repository, Request, Serving, Setup, Stop, digest, eventually,
    random_bytes,
};

fn listener(certificates: &[&Issued]) -> String {
    let entry = |issued: &&Issued| format!("{{ certificate = {:?}, key = {:?} }}", issued.certificate, issued.key);
    format!("[{}]", certificates.iter().map(entry).collect::<Vec<_>>().join(", "))
}

fn front(certificates: &[&Issued]) -> (Serving, Entrepot) {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).set("listener.0.tls", &listener(certificates)).start();
    (registry, entrepot)
}

/// A TLS connection that asks for `name`; also the certificate that it was shown.
fn connect(authority: &Authority, address: SocketAddr, name: &str) -> Result<(Connection, Vec<u8>), std::io::Error> {
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let session = ClientConnection::new(authority.client(&["http/1.1"]), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(session, TcpStream::connect(address)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let shown =
        stream.conn.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec()).unwrap_or_default();
    Ok((Connection::over(stream, "registry"), shown))
}

/// The certificate shown for a name, whether or not it fits.
fn shown(address: SocketAddr, name: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]);
    if name.is_empty() {
        command.arg("-noservername")
    } else {
        command.args(["-servername", name])
    };
    command.stdin(std::process::Stdio::null());
    let text = String::from_utf8_lossy(&crate::harness::tools::output(&mut command).stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default().trim().to_owned()
}

fn curl(authority: &Authority, address: SocketAddr, arguments: &[&str], path: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--cacert"]).arg(authority.path()).args(arguments);
    run(command
        .args(["-o", "/dev/null", "-w", "%{http_code} %{http_version}"])
        .arg(format!("https://localhost:{}{path}", address.port())))
}

#[test]
fn each_name_gets_its_certificate_and_strangers_get_the_first() {
    let authority = Authority::new();
    let a = authority.issue("a", &["a.example.com"]);
    let b = authority.issue("b", &["b.example.com", "*.b.example.com"]);
    let (_registry, entrepot) = front(&[&a, &b]);
    for (name, expected) in [("a.example.com", &a), ("b.example.com", &b), ("x.b.example.com", &b)] {
        let (connection, shown) = connect(&authority, entrepot.address, name).expect("a handshake");
        assert_eq!(shown, expected.der, "{name}");
        assert_eq!(connection.ask(Request::get("/v2/")).expect("an answer").0.status, 200);
    }
    assert!(shown(entrepot.address, "nobody.example.com").contains("CN = a"));
    assert!(shown(entrepot.address, "").contains("CN = a"));
}

#[test]
fn both_versions_of_tls_and_both_of_http_are_spoken() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["localhost", "127.0.0.1"]);
    let (_registry, entrepot) = front(&[&issued]);
    for version in ["1.2", "1.3"] {
        let limit = [format!("--tlsv{version}"), "--tls-max".to_owned(), version.to_owned()];
        let limit: Vec<&str> = limit.iter().map(String::as_str).collect();
        assert_eq!(curl(&authority, entrepot.address, &[&limit[..], &["--http2"]].concat(), "/v2/"), "200 2");
        assert_eq!(curl(&authority, entrepot.address, &[&limit[..], &["--http1.1"]].concat(), "/v2/"), "200 1.1");
    }
    assert!(entrepot.metric("entrepot_tls_handshakes_total", &[("result", "completed")]) >= 4.0);
}

#[test]
fn blobs_are_pushed_and_pulled_over_http2() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["localhost"]);
    let (registry, entrepot) = front(&[&issued]);
    let files = crate::harness::scratch();
    let bytes = random_bytes(1, 20 << 20);
    let (sent, got) = (files.path().join("sent"), files.path().join("got"));
    std::fs::write(&sent, &bytes).expect("written");
    let base = format!("https://localhost:{}", entrepot.address.port());
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--http2", "--fail-with-body", "--cacert"]).arg(authority.path()).args(arguments);
        run(&mut command)
    };
    let head = curl(&["-X", "POST", "-D", "-", &format!("{base}/v2/team/app/blobs/uploads/")]);
    let place = head.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location").trim().to_owned();
    let path = place.find("/v2/").map_or(place.as_str(), |at| &place[at..]);
    let target = crate::harness::repository::with_digest(&format!("{base}{path}"), &digest(&bytes));
    curl(&["-T", &sent.display().to_string(), &target]);
    for _ in 0..2 {
        curl(&["-o", &got.display().to_string(), &format!("{base}/v2/team/app/blobs/{}", digest(&bytes))]);
        assert!(std::fs::read(&got).expect("read") == bytes);
    }
    assert_eq!(Repository::at(registry.address, "team/app").head_blob(&digest(&bytes)).status, 200);
}

#[test]
fn a_broken_body_is_broken_over_http2_too() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["localhost"]);
    let registry = Registry::debian().start();
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, 3_000_000));
    let peer = crate::harness::FaultProxy::before(registry.address);
    peer.on(crate::harness::Rule::new("GET", &blob, crate::harness::Fault::FlipAt(1_500_000)));
    let entrepot = Setup::before(&[peer.address]).set("listener.0.tls", &listener(&[&issued])).start();
    let mut command = Command::new("curl");
    command.args(["-sS", "--http2", "-o", "/dev/null", "--cacert"]).arg(authority.path());
    crate::harness::tools::fails(
        command.arg(format!("https://localhost:{}/v2/team/app/blobs/{blob}", entrepot.address.port())),
    );
}

#[test]
fn http2_without_tls_is_spoken_to_those_who_know() {
    let registry = Registry::debian().start();
    let entrepot = Entrepot::before(&[registry.address]);
    let mut command = Command::new("curl");
    command.args(["-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
    assert_eq!(run(command.arg(format!("http://{}/v2/", entrepot.address))), "200 2");
}

/// Points the symlinks of `live` to another pair, as certbot and Kubernetes do.
fn point(live: &Path, issued: &Issued) {
    for (name, target) in [("cert.pem", &issued.certificate), ("key.pem", &issued.key)] {
        let new = live.join(format!("{name}.new"));
        std::os::unix::fs::symlink(target, &new)
            .and_then(|()| std::fs::rename(&new, live.join(name)))
            .expect("a symlink");
    }
}

#[test]
fn a_renewed_certificate_is_used_without_a_failed_request_and_a_bad_pair_is_not() {
    let authority = Authority::new();
    let (old, new) = (authority.issue("old", &["localhost"]), authority.issue("new", &["localhost"]));
    let live = authority.folder().join("live");
    std::fs::create_dir(&live).expect("a folder");
    point(&live, &old);
    let linked = Issued { certificate: live.join("cert.pem"), key: live.join("key.pem"), der: Vec::new() };
    let (_registry, entrepot) = front(&[&linked]);
    let (address, authority) = (entrepot.address, Arc::new(authority));
    let seen = || connect(&authority, address, "localhost").expect("a handshake").1;
    assert_eq!(seen(), old.der);
    let (stop, done) = (Stop::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let worker = scope.spawn(|| {
            while !stop.is_set() {
                let (connection, _) = connect(&authority, address, "localhost").expect("a handshake");
                assert_eq!(connection.ask(Request::get("/v2/")).expect("an answer").0.status, 200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        // A certificate with the key of another: refused, and the old pair goes on.
        let mixed = Issued { certificate: new.certificate.clone(), key: old.key.clone(), der: Vec::new() };
        point(&live, &mixed);
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(seen(), old.der);
        point(&live, &new);
        eventually("the new certificate is shown", || seen() == new.der);
        drop(guard);
        worker.join().expect("no request failed");
    });
    assert!(done.load(Ordering::Relaxed) > 10);
    assert!(entrepot.metric("entrepot_certificate_expiry_seconds", &[]) > 1.7e9);
}

#[test]
fn plain_listeners_send_everybody_to_https_but_for_the_health_check() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).set("listener.0.redirect_to_https", "true").start();
    let answer =
        Request::get("/v2/team/app/tags/list?n=1").header("Host", "registry.example.com").send(entrepot.address);
    let place = "https://registry.example.com/v2/team/app/tags/list?n=1";
    assert_eq!((answer.status, answer.header("location")), (308, Some(place)));
    Request::get("/healthz").send(entrepot.address).expect(200);
}

#[test]
fn peers_are_spoken_to_by_tls_and_their_certificates_are_checked() {
    let (authority, other) = (Authority::new(), Authority::new());
    let issued = authority.issue("peer", &["registry.internal", "127.0.0.1"]);
    let registry = Registry::debian().tls(&issued.certificate, &issued.key).start();
    let front = |tls: String| Setup::before(&[registry.address]).set("cluster.main.tls", &tls).start();
    let trusting = front(format!("{{ ca = {:?}, server_name = \"registry.internal\" }}", authority.path()));
    let client = Repository::at(trusting.address, "team/app");
    let image = client.push_random("v1", 1, 100_000);
    assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
    for wrong in [
        format!("{{ ca = {:?} , server_name = \"registry.internal\" }}", other.path()),
        format!("{{ ca = {:?}, server_name = \"other.internal\" }}", authority.path()),
        "true".to_owned(),
    ] {
        let mistrusting = front(wrong.clone());
        let status = Repository::at(mistrusting.address, "team/app").get_manifest("v1").status;
        assert!(matches!(status, 502 | 503), "{status}: {wrong}");
    }
}

#[test]
fn clients_that_never_finish_a_handshake_are_let_go() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["localhost"]);
    let registry = Registry::debian().start();
    let setup = Setup::before(&[registry.address]).set("listener.0.tls", &listener(&[&issued]));
    let entrepot = setup.set("listener.0.timeouts", "{ handshake = \"1s\" }").start();
    let begun = std::time::Instant::now();
    let mut silent = Connection::open(entrepot.address).expect("a connection");
    silent.send_raw(&[0x16, 3, 1]).expect("the first bytes of a handshake");
    silent.rest();
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    let mut plain = Connection::open(entrepot.address).expect("a connection");
    plain.send_raw(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n").expect("sent");
    assert!(!String::from_utf8_lossy(&plain.rest()).contains(" 200 "));
    assert!(entrepot.metric("entrepot_tls_handshakes_total", &[]) >= 1.0);
}

/// What a handshake of openssl's with these arguments agrees on: the version and the cipher suite; `None`: nothing.
fn agreed(address: SocketAddr, arguments: &[&str]) -> Option<(String, String)> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]).args(arguments).stdin(std::process::Stdio::null());
    let text = String::from_utf8_lossy(&crate::harness::tools::output(&mut command).stdout).into_owned();
    // `New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384`
    let line = text.lines().find(|line| line.starts_with("New, TLS"))?;
    let (version, cipher) = line.strip_prefix("New, ")?.split_once(", Cipher is ")?;
    Some((version.to_owned(), cipher.to_owned()))
}

#[test]
fn the_oldest_version_and_the_ciphers_are_the_operator_s_choice_also_after_a_reload() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["localhost", "127.0.0.1"]);
    let (_registry, mut entrepot) = front(&[&issued]);
    let address = entrepot.address;
    let version = |arguments: &[&str]| agreed(address, arguments).map(|(version, _)| version);
    assert_eq!(version(&["-tls1_2"]).as_deref(), Some("TLSv1.2"));
    assert_eq!(version(&["-tls1_3"]).as_deref(), Some("TLSv1.3"));
    let (kept, _) = connect(&authority, address, "localhost").expect("a handshake");
    let (answer, kept) = kept.ask(Request::get("/v2/")).expect("an answer");
    assert_eq!(answer.status, 200);
    entrepot.reload(|setup| setup.set("listener.0.tls_min_version", "\"1.3\""), "ok");
    assert_eq!(version(&["-tls1_2"]), None);
    assert_eq!(version(&["-tls1_3"]).as_deref(), Some("TLSv1.3"));
    // What was agreed on before ends, with an answer that says so or without one.
    let after = kept.ask(Request::get("/v2/"));
    assert!(after.is_err() || after.is_ok_and(|(answer, _)| answer.header("connection") == Some("close")));
    let only = "[\"TLS13_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"]";
    let setup = |setup: Setup| setup.set("listener.0.tls_min_version", "\"1.2\"").set("listener.0.tls_ciphers", only);
    entrepot.reload(setup, "ok");
    let cipher = |arguments: &[&str]| agreed(address, arguments).map(|(_, cipher)| cipher);
    assert_eq!(cipher(&["-tls1_3"]).as_deref(), Some("TLS_AES_128_GCM_SHA256"));
    assert_eq!(cipher(&["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]), None);
    assert_eq!(cipher(&["-tls1_2"]).as_deref(), Some("ECDHE-ECDSA-AES256-GCM-SHA384"));
    assert_eq!(cipher(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]), None);
}
