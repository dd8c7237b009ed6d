//! A key that is made by hand signs after one token's life; nobody notices, and what it replaced is good until its last token ends.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::forge::Token;
use crate::harness::{Entrepot, Repository, Request, Setup, Stop, scratch};

const PASSWORD: &str = "5ecret-p4ssword";
/// The shortest that there is.
const TTL: u64 = 60;

fn token(entrepot: &Entrepot) -> String {
    let request = Request::get("/token?service=entrepot&scope=repository:a:pull,push").basic("ann", PASSWORD);
    let answer = request.send(entrepot.address);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_rotation_under_load_fails_nobody() {
    let keys = scratch();
    let entrepot = Setup::registry()
        .set("auth.username", "\"ann\"")
        .set("auth.password", &format!("{PASSWORD:?}"))
        .set("auth.token", &format!("{{ ttl = \"{TTL}s\", keys = {:?} }}", keys.path().display().to_string()))
        .start();
    Repository::at(entrepot.address, "a").basic("ann", PASSWORD).push_random("v1", 1, 20_000);
    let config = entrepot.config_path().display().to_string();
    let (stop, done, signers) = (Stop::default(), AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        let _guard = stop.guard();
        for _ in 0..4 {
            scope.spawn(|| {
                // Kept as clients keep them: until shortly before the end.
                let (mut kept, mut until) = (token(&entrepot), Instant::now() + Duration::from_secs(TTL - 5));
                while !stop.is_set() {
                    if Instant::now() > until {
                        (kept, until) = (token(&entrepot), Instant::now() + Duration::from_secs(TTL - 5));
                    }
                    for token in [&kept, &token(&entrepot)] {
                        let kid = Token::read(token).header["kid"].as_str().expect("a name").to_owned();
                        signers.lock().expect("a lock").insert(kid);
                        Repository::at(entrepot.address, "a").bearer(token).get_manifest("v1").expect(200);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_secs(5));
        assert!(Entrepot::cli(&["token", "rotate", "--config", &config]).status.success());
        std::thread::sleep(Duration::from_secs(2 * TTL + 10));
    });
    println!("{} requests, none failed", done.load(Ordering::Relaxed));
    assert_eq!(signers.lock().expect("a lock").len(), 2);
}
