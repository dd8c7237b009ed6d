//! Certificates come by themselves from a real authority (Pebble, which rejects nonces on purpose): proven in each way, renewed when it
//! wants, ordered once by a fleet, shown until they end whatever fails.

mod clock;
mod handshakes;
mod world;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use self::world::{Place, connect, last_error, leaf, patiently, quoted, told};
use crate::harness::pebble::{HMAC, KID, Settings};
use crate::harness::{Entrepot, Pebble, Request, Setup, eventually, ports};

#[test]
fn a_name_is_proven_over_http_before_routes_rules_and_redirects() {
    let place = Place::new();
    let mut entrepot = place
        .setup(&["registry.example.com", "r.example.com"])
        .set("listener.1.redirect_to_https", "true")
        .set("acme.challenges", "[\"http-01\"]")
        .set("limits.requests", "\"1/h\"")
        .start();
    let shown = place.shown("registry.example.com");
    assert_eq!(place.shown("r.example.com"), shown);
    assert_eq!(leaf(&place.chain()), shown);
    let client = place.pebble.client(&["http/1.1"]);
    let (connection, _) = connect(&client, place.pebble.tls, "registry.example.com").expect("a handshake");
    assert!(connection.ask(Request::get("/healthz")).expect("an answer").0.status == 200);
    // Nothing is left of the order, and the path is anybody's again.
    eventually("the challenges are over", || {
        std::fs::read_dir(place.acme().join("challenges")).is_ok_and(|mut list| list.next().is_none())
    });
    let asked = Request::get("/.well-known/acme-challenge/abc").send(place.pebble.http);
    assert!(asked.status == 308 || asked.status == 429, "{}", asked.status);
    eventually("the order is over", || told(&entrepot)["ordering"] == false);
    let told = told(&entrepot);
    assert!(told["until"].is_string() && told["last_error"].is_null(), "{told}");
    assert!(entrepot.metric("entrepot_acme_orders_total", &[("result", "issued")]) == 1.0);
    assert_eq!(entrepot.metric("entrepot_acme_failures", &[]), 0.0);
    eventually("its end is told", || {
        entrepot.metric("entrepot_certificate_expiry_seconds", &[("name", "r.example.com")]) > 1e9
            && entrepot.metric("entrepot_certificate_lifetime_seconds", &[("name", "r.example.com")]) > 7_000_000.0
    });
    let status = Entrepot::cli(&["status", "--admin", &entrepot.admin.to_string()]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("certificate  r.example.com, registry.example.com: until 20"), "{status}");
    // No secret of it is in the log, and none for others in the folder.
    let key = place.kept("certificates")["key"].as_str().expect("a key").to_owned();
    let secret = key.lines().nth(1).expect("a line of the key");
    assert!(!entrepot.log().contains(secret) && !entrepot.metrics().contains(secret));
    let modes = Command::new("find").arg(place.acme()).args(["-perm", "/077"]).output().expect("find");
    assert_eq!(String::from_utf8_lossy(&modes.stdout), "");
    // What is kept is shown at once after a restart, though nobody gives another.
    entrepot.restart();
    assert_eq!(connect(&client, place.pebble.tls, "registry.example.com").expect("a handshake").1, shown);
    assert_eq!(place.pebble.issued(), 1);
}

#[test]
fn names_and_addresses_are_proven_by_handshakes() {
    let place = Place::new();
    let _entrepot =
        place.setup(&["registry.example.com", "127.0.0.1"]).set("acme.challenges", "[\"tls-alpn-01\"]").start();
    let shown = place.shown("registry.example.com");
    assert_eq!(place.shown("127.0.0.1"), shown);
    assert!(_entrepot.metric("entrepot_tls_handshakes_total", &[("result", "challenge")]) >= 2.0);
    // Afterwards nobody is shown anything by that protocol, and beside others it is none.
    let only = place.pebble.client(&["acme-tls/1"]);
    assert!(connect(&only, place.pebble.tls, "registry.example.com").is_err());
    let beside = place.pebble.client(&["acme-tls/1", "http/1.1"]);
    assert_eq!(connect(&beside, place.pebble.tls, "registry.example.com").expect("a handshake").1, shown);
}

#[test]
fn wildcards_are_proven_by_records_in_dns() {
    let place = Place::new();
    let hook = place.pebble.dns.hook(place.folder.path(), "");
    let entrepot = place
        .setup(&["*.apps.example.com", "apps.example.com"])
        .set("acme.dns", &format!("{{ exec = [{}] }}", quoted(&hook)))
        .start();
    let shown = place.shown("one.apps.example.com");
    assert_eq!(place.shown("apps.example.com"), shown);
    assert!(place.pebble.dns.asked("_acme-challenge.apps.example.com.") >= 1, "{}", place.pebble.log());
    assert_eq!(last_error(&entrepot), "");
}

#[test]
fn an_account_elsewhere_is_shown_to_an_authority_that_wants_one() {
    let place = Place::with(&Settings { eab: true, ..Settings::default() });
    let key = place.folder.path().join("hmac");
    std::fs::write(&key, format!("{HMAC}\n")).expect("the key");
    let mut entrepot = place.setup(&["registry.example.com"]).start();
    eventually("it is refused without", || last_error(&entrepot).contains("externalAccountRequired"));
    let eab = format!("{{ kid = \"{KID}\", hmac_file = {} }}", quoted(&key));
    entrepot.reload(|setup| setup.set("acme.eab", &eab), "ok");
    place.shown("registry.example.com");
    assert!(!entrepot.log().contains(HMAC));
}

#[test]
fn it_is_renewed_when_the_authority_wants_it_and_when_it_was_revoked() {
    let place = Place::new();
    let entrepot = place.setup(&["registry.example.com"]).start();
    let first = place.shown("registry.example.com");
    place.pebble.wants_renewed(&place.chain());
    patiently("another is shown", || place.shown("registry.example.com") != first);
    assert!(entrepot.log().contains("https://ca.example/incident-7"), "{}", entrepot.log());
    assert!(place.pebble.log().contains("is a replacement of"), "the order says which one it is for");
    let second = place.shown("registry.example.com");
    place.pebble.revoke(&place.kept("accounts")["credentials"], &place.chain());
    patiently("another is shown", || place.shown("registry.example.com") != second);
    assert_eq!((place.pebble.issued(), last_error(&entrepot).as_str()), (3, ""));
}

#[test]
fn without_an_authority_clients_are_refused_with_a_line_and_the_rest_is_served() {
    let mut place = Place::new();
    let root = place.pebble.client(&["http/1.1"]);
    place.pebble.kill();
    let entrepot = place.setup(&["registry.example.com"]).start();
    Request::get("/v2/").send(entrepot.address).expect(200);
    eventually("it is told", || last_error(&entrepot).contains("does not answer"));
    assert!(connect(&root, place.pebble.tls, "registry.example.com").is_err());
    assert!(entrepot.log().contains("a handshake is refused: there is no certificate yet"), "{}", entrepot.log());
    assert!(entrepot.metric("entrepot_acme_failures", &[("name", "registry.example.com")]) >= 1.0);
    place.pebble.restart();
    place.shown("registry.example.com");
    eventually("that is forgotten", || last_error(&entrepot).is_empty());
}

#[test]
fn a_reload_with_other_names_takes_no_certificate_away() {
    let mut place = Place::new();
    let mut entrepot = place.setup(&["registry.example.com"]).start();
    let first = place.shown("registry.example.com");
    let client = place.pebble.client(&["http/1.1"]);
    place.pebble.kill();
    let tls = "[{ acme = true, names = [\"registry.example.com\", \"r.example.com\"] }]";
    entrepot.reload(|setup| setup.set("listener.2.tls", tls), "ok");
    patiently("the other one is tried", || told(&entrepot)["failures"].as_u64() >= Some(1));
    assert_eq!(connect(&client, place.pebble.tls, "registry.example.com").expect("a handshake").1, first);
    assert!(connect(&client, place.pebble.tls, "r.example.com").is_err(), "it was never shown for that one");
    // It also stands in after a restart with another authority's directory, for the same names.
    place.pebble.restart();
    let shown = place.shown("r.example.com");
    assert_eq!(place.shown("registry.example.com"), shown);
    let trusting = place.pebble.client(&["http/1.1"]);
    place.pebble.kill();
    let nowhere = format!("\"https://{}/dir\"", ports::free());
    entrepot.reload(|setup| setup.set("acme.directory", &nowhere), "ok");
    entrepot.restart();
    assert_eq!(connect(&trusting, place.pebble.tls, "registry.example.com").expect("a handshake").1, shown);
}

#[test]
fn an_authority_that_is_away_for_its_whole_life_takes_no_certificate_away() {
    let mut place = Place::with(&Settings { validity: 60, ..Settings::default() });
    let entrepot = place.setup(&["registry.example.com"]).start();
    place.shown("registry.example.com");
    let client = place.pebble.client(&["http/1.1"]);
    let refused = || entrepot.log().matches("there is no certificate yet").count();
    let before = refused();
    place.pebble.kill();
    patiently("it is tried", || told(&entrepot)["failures"].as_u64() >= Some(1));
    let first = connect(&client, place.pebble.tls, "registry.example.com").expect("a handshake").1;
    // It ends, and clients say so: it is not taken away.
    patiently("it has ended", || connect(&client, place.pebble.tls, "registry.example.com").is_err());
    assert_eq!(refused(), before, "{}", entrepot.log());
    // The authority comes back without knowing our account.
    place.pebble.restart();
    // It was asked in vain more and more seldom.
    let until = Instant::now() + Duration::from_secs(120);
    while connect(&place.pebble.client(&["http/1.1"]), place.pebble.tls, "registry.example.com").is_err() {
        assert!(Instant::now() < until, "{}", entrepot.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_ne!(place.shown("registry.example.com"), first);
    assert!(entrepot.log().contains("does not know our account any more"), "{}", entrepot.log());
}

#[test]
fn a_name_that_does_not_lead_here_rests_after_five_tries_and_the_ways_are_changed() {
    let place = Place::new();
    // The authority asks where nobody listens.
    let setup = place.setup(&["registry.example.com"]);
    let setup = setup
        .set("listener.1.address", &format!("\"{}\"", ports::free()))
        .set("listener.2.address", &format!("\"{}\"", ports::free()));
    let entrepot = setup.start();
    patiently("it was tried three times", || entrepot.metric("entrepot_acme_failures", &[]) >= 3.0);
    patiently("it was tried five times", || entrepot.metric("entrepot_acme_failures", &[]) >= 5.0);
    assert!(last_error(&entrepot).starts_with("registry.example.com: "), "{}", last_error(&entrepot));
    for way in ["http-01", "tls-alpn-01"] {
        assert!(
            entrepot.log().contains(&format!("way=\"{way}\"")) || entrepot.log().contains(&format!("way={way}")),
            "{}",
            entrepot.log()
        );
    }
    let plan = place.kept("plans");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    assert!(plan["try_at"].as_u64().expect("a time") > now + 3000, "{plan}");
}

#[test]
fn after_failed_proofs_it_is_tried_where_it_does_not_count() {
    let place = Place::new();
    let staging = Pebble::start();
    let setup = place.setup(&["registry.example.com"]).set("acme.challenges", "[\"http-01\"]");
    // Nobody answers the authority at first, and the other one asks elsewhere.
    let setup = setup
        .set("listener.1.address", &format!("\"{}\"", staging.http))
        .set("acme.staging", &format!("\"{}\"", staging.directory()));
    let both = place.folder.path().join("both.pem");
    let ca = |pebble: &Pebble| std::fs::read_to_string(pebble.authority_path()).expect("a root");
    std::fs::write(&both, ca(&place.pebble) + &ca(&staging)).expect("both roots");
    let mut entrepot = setup.set("acme.ca", &quoted(&both)).start();
    patiently("it worked where it does not count", || {
        entrepot.metric("entrepot_acme_orders_total", &[("result", "rehearsed")]) >= 1.0
    });
    assert!(staging.issued() >= 1 && place.pebble.issued() == 0);
    assert!(
        connect(&staging.client(&[]), place.pebble.tls, "registry.example.com").is_err(),
        "it is nobody's certificate"
    );
    let http = format!("\"{}\"", place.pebble.http);
    entrepot.reload(|setup| setup.set("listener.3.address", &http), "ok");
    place.shown("registry.example.com");
}

#[test]
fn what_the_authority_refuses_is_told() {
    let place = Place::with(&Settings { blocked: vec!["blocked.example.com".into()], ..Settings::default() });
    let entrepot = place.setup(&["blocked.example.com"]).start();
    eventually("it is told", || last_error(&entrepot).contains("rejectedIdentifier"));
    assert_eq!(place.pebble.issued(), 0);
}

/// Three instances over one storage. The authority's questions go to the first.
fn fleet(place: &Place, names: &[&str], change: impl Fn(Setup, usize) -> Setup) -> Vec<Entrepot> {
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, String::from_utf8(Entrepot::cli(&["fleet", "secret"]).stdout).expect("text"))
        .expect("the secret");
    let start = |index: usize| {
        let mut setup = place
            .setup(names)
            .storage_at(&place.folder.path().join("data"))
            .set("acme.storage", "\"registry\"")
            .set("fleet.secret_file", &quoted(&secret))
            .set("fleet.advertise", "\"http://127.0.0.1:1\"");
        if index > 0 {
            setup = setup
                .set("listener.1.address", &format!("\"{}\"", ports::free()))
                .set("listener.2.address", &format!("\"{}\"", ports::free()));
        }
        change(setup, index).start()
    };
    (0..3).map(start).collect()
}

fn tls_of(entrepot: &Entrepot) -> SocketAddr {
    let text = entrepot.setup.text();
    let table: toml::Table = text.parse().expect("TOML");
    table["listener"][2]["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}

#[test]
fn a_fleet_orders_once_and_each_instance_shows_it() {
    let place = Place::new();
    let instances = fleet(&place, &["registry.example.com"], |setup, _| setup);
    let shown = place.shown("registry.example.com");
    let client = place.pebble.client(&[]);
    for entrepot in &instances {
        let address = tls_of(entrepot);
        patiently("it is taken over", || {
            connect(&client, address, "registry.example.com").is_ok_and(|(_, der)| der == shown)
        });
    }
    assert_eq!(place.pebble.issued(), 1);
    let orders: f64 =
        instances.iter().map(|entrepot| entrepot.metric("entrepot_acme_orders_total", &[("result", "issued")])).sum();
    assert_eq!(orders, 1.0);
    // Keys are sealed, as everybody could read who reads the bucket.
    let output =
        Command::new("grep").args(["-rl", "PRIVATE KEY"]).arg(place.folder.path().join("data")).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let kept = place.folder.path().join("data/entrepot/v1/acme/certificates");
    assert_eq!(std::fs::read_dir(kept).expect("a folder").count(), 1);
}

#[test]
fn what_is_kept_outlives_the_secret_that_sealed_it() {
    let place = Place::new();
    let (secret, data) = (place.folder.path().join("secret"), place.folder.path().join("data"));
    let fresh = || String::from_utf8(Entrepot::cli(&["fleet", "secret"]).stdout).expect("text").trim().to_owned();
    let (old, new) = (fresh(), fresh());
    let write = |text: String| std::fs::write(&secret, text).expect("the secret");
    write(format!("{old}\n"));
    let setup = place.setup(&["registry.example.com"]).storage_at(&data).set("acme.storage", "\"registry\"");
    let mut entrepot = setup.set("fleet.secret_file", &quoted(&secret)).start();
    let shown = place.shown("registry.example.com");
    let one_of = |kind: &str| {
        let list = std::fs::read_dir(data.join("entrepot/v1/acme").join(kind)).ok()?;
        std::fs::read(list.flatten().next()?.path()).ok()
    };
    let kept = || ["accounts", "certificates", "last"].map(one_of);
    patiently("it is all written", || kept().iter().all(Option::is_some));
    let before = kept();
    write(format!("{new}\n{old}\n"));
    entrepot.restart();
    patiently("it is sealed anew", || kept().iter().zip(&before).all(|(now, before)| now.is_some() && now != before));
    write(format!("{new}\n"));
    entrepot.restart();
    let client = place.pebble.client(&["http/1.1"]);
    assert_eq!(connect(&client, place.pebble.tls, "registry.example.com").expect("a handshake").1, shown);
    // The account too: another certificate is ordered with it.
    let tls = "[{ acme = true, names = [\"registry.example.com\", \"r.example.com\"] }]";
    entrepot.reload(|setup| setup.set("listener.2.tls", tls), "ok");
    place.shown("r.example.com");
}

#[test]
fn an_instance_that_does_not_order_answers_for_the_one_that_does() {
    let place = Place::new();
    // Whoever the authority asks is another one, which begins only while the order is under way.
    let asked = TcpListener::bind(place.pebble.http).expect("the authority's port");
    let nowhere = |setup: Setup| setup.set("listener.1.address", &format!("\"{}\"", ports::free()));
    let shared = |setup: Setup| setup.set("acme.challenges", "[\"http-01\"]");
    let one = shared(nowhere(place.setup(&["registry.example.com"]))).start();
    let (question, _) = asked.accept().expect("the authority asks");
    let tls = format!("\"{}\"", ports::free());
    let other = shared(nowhere(place.setup(&["registry.example.com"]))).set("listener.2.address", &tls).start();
    assert_eq!(other.metric("entrepot_acme_orders_total", &[]), 0.0);
    let text = other.setup.text().parse::<toml::Table>().expect("TOML");
    let other_plain = text["listener"][1]["address"].as_str().expect("an address").to_owned();
    // It asks more than once.
    std::thread::spawn(move || {
        for question in std::iter::once(question).chain(asked.incoming().flatten()) {
            let answer = TcpStream::connect(&other_plain).expect("the other instance");
            let copy =
                |mut from: TcpStream, mut to: TcpStream| std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            copy(question.try_clone().expect("a handle"), answer.try_clone().expect("a handle"));
            copy(answer, question);
        }
    });
    place.shown("registry.example.com");
    let issued = |entrepot: &Entrepot| entrepot.metric("entrepot_acme_orders_total", &[("result", "issued")]);
    assert_eq!((issued(&one), issued(&other), place.pebble.issued()), (1.0, 0.0, 1));
}

#[test]
fn when_the_one_that_orders_is_killed_another_goes_on() {
    let place = Place::new();
    let mark = place.folder.path().join("hangs");
    // Whoever is first hangs for as long as the test wants; the next does not.
    let hangs =
        format!("if mkdir {0} 2>/dev/null; then while [ -e {0} ]; do sleep 0.05; done; exit 1; fi", mark.display());
    let hook = place.pebble.dns.hook(place.folder.path(), &hangs);
    let dns = format!("{{ exec = [{}] }}", quoted(&hook));
    let mut instances = fleet(&place, &["*.example.com"], |setup, _| setup.set("acme.dns", &dns));
    let orders = |entrepot: &Entrepot| told(entrepot)["ordering"] == true;
    patiently("one orders", || mark.exists() && instances.iter().any(orders));
    let holder = instances.iter().position(orders).expect("one that orders");
    let mut holder = instances.remove(holder);
    holder.kill();
    let client = place.pebble.client(&[]);
    for entrepot in &instances {
        let address = tls_of(entrepot);
        patiently("it is shown", || connect(&client, address, "one.example.com").is_ok());
    }
    // Lets the program of the killed one end.
    std::fs::remove_dir(&mark).expect("the mark");
    assert_eq!(place.pebble.issued(), 1);
}

#[test]
fn no_handshake_fails_while_keys_are_changed() {
    handshakes::none_fails_while_keys_are_changed(1_500, 2);
}

#[test]
fn two_hundred_names_are_two_certificates() {
    let place = Place::new();
    let names = |host: &str| (0..100).map(|n| format!("{host}{n}.example.com")).collect::<Vec<_>>();
    let (a, b) = (names("a"), names("b"));
    let tls = format!("[{{ acme = true, names = {a:?} }}, {{ acme = true, names = {b:?} }}]");
    let entrepot = place.setup(&["unused.example.com"]).set("listener.2.tls", &tls).start();
    for name in ["a0.example.com", "a99.example.com", "b0.example.com", "b99.example.com"] {
        place.shown(name);
    }
    assert_eq!((place.pebble.issued(), last_error(&entrepot).as_str()), (2, ""));
}
