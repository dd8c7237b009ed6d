use std::net::IpAddr;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use prometheus::Registry;

use super::table::Table;
use super::*;

fn bucket(rate: &str, burst: u32, clock: &FakeRelativeClock) -> Bucket<FakeRelativeClock> {
    Bucket::new(rate.parse().unwrap(), burst, (weight::REQUEST, weight::MOST), clock.clone())
}

fn source(text: &str) -> Source {
    Source::of(text.parse::<IpAddr>().unwrap())
}

fn limits(config: &str) -> Arc<Limits> {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    Limits::new(&toml::from_str(config).unwrap(), None, metrics)
}

/// How many of a weight are let through at once.
fn at_once(bucket: &Bucket<FakeRelativeClock>, key: u64, weight: u32) -> u32 {
    (0..).take_while(|_| bucket.take(key, weight).is_ok()).count().try_into().unwrap()
}

#[test]
fn a_burst_is_so_many_seconds_worth_and_then_they_come_at_the_rate() {
    let clock = FakeRelativeClock::default();
    let bucket = bucket("10/s", 4, &clock);
    assert_eq!(at_once(&bucket, 1, weight::REQUEST), 40);
    assert_eq!(bucket.take(1, weight::REQUEST), Err(Duration::from_millis(100)));
    assert_eq!(bucket.take(2, weight::REQUEST), Ok(()), "another client");
    clock.advance(Duration::from_millis(99));
    assert_eq!(bucket.take(1, weight::REQUEST), Err(Duration::from_millis(1)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(bucket.take(1, weight::REQUEST), Ok(()));
    assert_eq!(at_once(&bucket, 1, weight::REQUEST), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(at_once(&bucket, 1, weight::REQUEST), 10);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(at_once(&bucket, 1, weight::REQUEST), 40, "no more than a burst after a pause");
}

#[test]
fn what_is_cheap_may_come_oftener_and_what_is_dear_less_often() {
    let clock = FakeRelativeClock::default();
    let bucket = bucket("10/s", 4, &clock);
    assert_eq!(at_once(&bucket, 1, weight::CHEAP), 160);
    assert_eq!(at_once(&bucket, 2, weight::TOKEN), 10);
    assert_eq!(at_once(&bucket, 3, weight::PASSWORD), 13);
    assert_eq!(at_once(&bucket, 3, weight::CHEAP), 4, "what is left");
}

#[test]
fn there_is_room_for_the_costliest_however_low_the_rate() {
    let clock = FakeRelativeClock::default();
    let bucket = bucket("1/h", 1, &clock);
    assert_eq!(bucket.take(1, weight::TOKEN), Ok(()));
    assert_eq!(bucket.take(1, weight::PASSWORD), Ok(()));
    assert_eq!(bucket.take(1, weight::CHEAP), Err(Duration::from_secs(900)));
}

#[test]
fn memory_is_bounded_and_who_finds_no_room_shares_a_count() {
    let clock = FakeRelativeClock::default();
    let weights = (weight::REQUEST, weight::REQUEST);
    let bucket = Bucket::over("1/s".parse().unwrap(), 2, weights, clock.clone(), Table::with_room(4));
    let spread = |client: u64| client << 32 | client;
    let admitted = (0..10_000).filter(|client| bucket.take(spread(*client), weight::REQUEST).is_ok()).count();
    assert_eq!(bucket.clients(), 64);
    assert_eq!(admitted, 64 + 16 * 2, "each one's own first, and a burst for the others of each part");
    assert_eq!(bucket.take(spread(0), weight::REQUEST), Ok(()), "who was there has its own count still");
    bucket.sweep();
    assert_eq!(bucket.clients(), 64, "none is worn off");
    clock.advance(Duration::from_secs(3));
    bucket.sweep();
    assert_eq!(bucket.clients(), 0);
    assert_eq!(bucket.take(spread(20_000), weight::REQUEST), Ok(()));
}

#[test]
fn an_ipv6_network_is_one_client() {
    assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
}

#[test]
fn no_two_subjects_have_one_word() {
    let address = Subject::Address(source("192.0.2.1"));
    let words = [address, Subject::Identity("user:ann"), Subject::Name("user:ann"), Subject::Name("ann")];
    let words: std::collections::BTreeSet<String> = words.iter().map(Subject::word).collect();
    assert_eq!(words.len(), 4);
    assert!(words.iter().all(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())));
}

#[tokio::test]
async fn what_is_not_limited_is_not_counted() {
    let limits = limits("");
    let subject = Subject::Address(source("192.0.2.1"));
    for _ in 0..1000 {
        assert!(limits.request_here(subject, weight::TOKEN).is_ok() && limits.admits_hit(subject));
        assert!(limits.login(source("192.0.2.1"), Some("ann"), "x").await.is_ok());
        assert!(limits.upload(subject).unwrap().is_none());
    }
}

#[tokio::test]
async fn a_login_that_was_right_is_not_counted_there_again() {
    let limits = limits("logins = \"1/h\"\nburst = 1");
    let (home, elsewhere) = (source("192.0.2.1"), source("192.0.2.2"));
    let attempt = limits.login(home, Some("ann"), "right").await.unwrap();
    limits.tried(&attempt, Some(true));
    for _ in 0..100 {
        let again = limits.login(home, Some("ann"), "right").await.unwrap();
        limits.tried(&again, Some(true));
    }
    let wrong = limits.login(home, Some("ann"), "wrong").await.unwrap();
    limits.tried(&wrong, Some(false));
    assert!(limits.login(home, Some("ann"), "wrong").await.is_err());
    assert!(limits.login(elsewhere, Some("ann"), "right").await.is_ok(), "one address alone does not keep others out");
    assert!(limits.login(elsewhere, Some("bob"), "x").await.is_ok());
    let known = limits.login(home, Some("ann"), "right").await.unwrap();
    // Another password now.
    limits.tried(&known, Some(false));
    assert!(limits.login(home, Some("ann"), "right").await.is_err());
}

#[tokio::test]
async fn one_address_alone_does_not_fill_the_count_of_a_name() {
    let limits = limits("logins = \"1/h\"\nburst = 1");
    let guess = async |number: u8| {
        let mut guesses = 0;
        while let Ok(attempt) =
            limits.login(source(&format!("192.0.2.{number}")), Some("ann"), &guesses.to_string()).await
        {
            limits.tried(&attempt, Some(false));
            guesses += 1;
        }
        guesses
    };
    for number in 1..=8 {
        assert_eq!(guess(number).await, 1, "{number}");
    }
    assert_eq!(guess(9).await, 0, "by now the name is tried too often");
    let named = limits.login(source("192.0.2.10"), Some("ann"), "right").await;
    assert_eq!(named.err().map(|limited| limited.kind), Some(Kind::Logins));
    assert!(limits.login(source("192.0.2.10"), Some("bob"), "right").await.is_ok());
}

#[tokio::test]
async fn a_wrong_login_counts_twice() {
    let limits = limits("logins = \"1/h\"\nburst = 36000");
    let home = source("192.0.2.1");
    for _ in 0..5 {
        let attempt = limits.login(home, None, "wrong").await.unwrap();
        limits.tried(&attempt, Some(false));
    }
    let limited = limits.login(home, None, "other").await.err().unwrap();
    assert!(limited.wait > Duration::from_secs(3000) && limited.wait <= Duration::from_secs(3600), "{limited:?}");
}

#[tokio::test]
async fn uploads_under_way_are_counted_by_client() {
    let limits = limits("uploads = 2");
    let (one, other) = (Subject::Identity("user:ann"), Subject::Address(source("192.0.2.1")));
    let places: Vec<_> = (0..2).map(|_| limits.upload(one).unwrap()).collect();
    assert_eq!(limits.upload(one).unwrap_err().kind, Kind::Uploads);
    let others = limits.upload(other).unwrap();
    drop(places);
    let again = limits.upload(one).unwrap();
    drop((again, others));
    assert_eq!(limits.uploads.as_ref().unwrap().clients(), 0);
}

#[test]
fn a_burst_is_four_seconds_unless_said() {
    let config: Config = toml::from_str("requests = \"5/m\"").unwrap();
    assert_eq!(config.burst, 4);
}
