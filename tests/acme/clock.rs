//! Instances whose clock is ten days wrong, with certificates of six days: to them each has ended long ago, or has not begun. They go by the
//! authority's clock, which its answers tell.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::world::{Place, connect, last_error, patiently, told};
use crate::harness::pebble::Settings;
use crate::harness::{Entrepot, Setup, eventually};

const NAME: &str = "registry.example.com";
const DAY: f64 = 86_400.0;

/// An instance whose clock is another than this machine's, by Debian's package `libfaketime`.
struct Wrong {
    entrepot: Entrepot,
    /// All that it was: what the library leaves behind in memory of each is taken away at the end.
    processes: Vec<u32>,
}

impl Wrong {
    /// `by`: as `+10d`, in the words of the library, or a file that says so.
    fn start(setup: Setup, by: (&str, &str)) -> Self {
        // For spans of time, the clock that nobody sets counts.
        let mut entrepot = setup
            .environment("LD_PRELOAD", &library().display().to_string())
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .environment("FAKETIME_CACHE_DURATION", "1")
            .environment(by.0, by.1)
            .start();
        let processes = vec![entrepot.process().id()];
        Wrong { entrepot, processes }
    }

    fn restart(&mut self) {
        self.entrepot.restart();
        self.processes.push(self.entrepot.process().id());
    }

    fn said(&self, what: &str) -> usize {
        self.entrepot.log().matches(what).count()
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        for process in &self.processes {
            for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
                let _ = std::fs::remove_file(PathBuf::from("/dev/shm").join(name));
            }
        }
    }
}

fn library() -> PathBuf {
    let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let path = PathBuf::from(folder).join("libfaketime.so.1");
    assert!(path.exists(), "{} is missing: `make install` puts it there", path.display());
    path
}

fn place() -> Place {
    Place::with(&Settings { validity: 6 * 86_400, ..Settings::default() })
}

fn setup(place: &Place) -> Setup {
    place.setup(&[NAME])
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_secs_f64()
}

/// How often the authority was asked when it wants it renewed.
fn asked(place: &Place) -> usize {
    place.pebble.log().matches("renewalInfo/ -> calling handler").count()
}

/// It has looked at what there is to do, and gone on, several times.
fn looks_on(place: &Place) {
    let before = asked(place);
    patiently("the authority is asked when it wants it renewed", || asked(place) >= before + 3);
}

const IS_WRONG: &str = "this machine's clock is not the authority's";
const IS_RIGHT: &str = "this machine's clock is the authority's again";

fn nothing_is_ordered_or_lost_by(by: &str) {
    let place = place();
    let mut wrong = Wrong::start(setup(&place), ("FAKETIME", by));
    let first = place.shown(NAME);
    assert_eq!(wrong.said(IS_WRONG), 1, "{}", wrong.entrepot.log());
    let client = place.pebble.client(&["http/1.1"]);
    for _ in 0..2 {
        // Whenever it begins, it does not know what time it is.
        wrong.restart();
        let shown = || connect(&client, place.pebble.tls, NAME).expect("a handshake").1;
        assert_eq!(shown(), first);
        looks_on(&place);
        assert_eq!(shown(), first);
        assert_eq!(wrong.entrepot.metric("entrepot_acme_orders_total", &[]), 0.0, "{}", wrong.entrepot.log());
        let next = wrong.entrepot.metric("entrepot_acme_next_order_seconds", &[("name", NAME)]);
        assert!(next > now() + 2.0 * DAY && next < now() + 6.0 * DAY, "{next}");
        let ask_at = place.kept("plans")["ask_at"].as_f64().expect("a time");
        assert!((ask_at - now()).abs() < DAY, "{ask_at}: what is written down is for all instances");
    }
    assert_eq!((place.pebble.issued(), last_error(&wrong.entrepot).as_str()), (1, ""));
    // It comes when it is time, and once.
    place.pebble.wants_renewed(&place.chain());
    patiently("another is shown", || place.shown(NAME) != first);
    looks_on(&place);
    assert_eq!((place.pebble.issued(), last_error(&wrong.entrepot).as_str()), (2, ""));
}

#[test]
fn an_instance_whose_clock_is_ten_days_ahead_orders_once_and_loses_nothing() {
    nothing_is_ordered_or_lost_by("+10d");
}

#[test]
fn an_instance_whose_clock_is_ten_days_behind_orders_once_and_loses_nothing() {
    nothing_is_ordered_or_lost_by("-10d");
}

/// Nobody tells it that the certificate has not ended: it is shown all the same, and what was tried in vain is forgotten then.
#[test]
fn a_clock_ahead_while_the_authority_is_away_takes_no_certificate_away() {
    let mut place = place();
    let mut wrong = Wrong::start(setup(&place), ("FAKETIME", "+10d"));
    let first = place.shown(NAME);
    let client = place.pebble.client(&["http/1.1"]);
    let shown = |place: &Place| connect(&client, place.pebble.tls, NAME).expect("a handshake").1;
    place.pebble.kill();
    wrong.restart();
    assert_eq!(shown(&place), first);
    patiently("it is tried", || told(&wrong.entrepot)["failures"].as_u64() >= Some(2));
    assert!(last_error(&wrong.entrepot).contains("does not answer"), "{}", last_error(&wrong.entrepot));
    assert_eq!(shown(&place), first);
    place.pebble.restart();
    patiently("that is forgotten", || last_error(&wrong.entrepot).is_empty());
    looks_on(&place);
    assert_eq!((place.pebble.issued(), told(&wrong.entrepot)["failures"].as_u64()), (1, Some(0)));
    assert_eq!(shown(&place), first);
}

#[test]
fn a_clock_that_is_set_while_it_runs_orders_nothing() {
    let place = place();
    let file = place.folder.path().join("clock");
    let set = |by: &str| std::fs::write(&file, by).expect("a file");
    set("-10d");
    let path = file.display().to_string();
    let wrong = Wrong::start(setup(&place), ("FAKETIME_TIMESTAMP_FILE", &path));
    let first = place.shown(NAME);
    looks_on(&place);
    for round in 1..=2 {
        assert_eq!(wrong.said(IS_WRONG), round);
        // Set right, what it knows of the authority's clock is wrong by ten days, until it asks.
        set("+0");
        eventually("it is told", || wrong.said(IS_RIGHT) == round);
        looks_on(&place);
        set("+10d");
        eventually("it is told", || wrong.said(IS_WRONG) == round + 1);
        looks_on(&place);
    }
    assert_eq!((place.pebble.issued(), place.shown(NAME) == first), (1, true), "{}", wrong.entrepot.log());
    assert_eq!(last_error(&wrong.entrepot), "");
}
