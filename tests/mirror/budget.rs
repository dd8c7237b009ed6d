//! Pulls are counted by Docker Hub: none is spent for nothing, none is asked for that is not there, and what is kept goes on.

use super::world::{Hub, folder, is_stale, is_unavailable, login, pulls, pulls_image};
use crate::harness::remote::Budget;
use crate::harness::{Fault, Manner, Redis, Reply, Rule, eventually};

const SIZE: usize = 2000;

fn limited(limits: &[(&str, u32)]) -> Manner {
    Manner { budget: Some(Budget::of(limits)), ..Manner::plain() }
}

/// GETs of manifests that were refused.
fn refusals(hub: &Hub) -> usize {
    hub.remote.wire.seen_of("GET", "/manifests/").iter().filter(|seen| seen.status == 429).count()
}

#[test]
fn a_budget_that_is_spent_is_asked_of_nobody_and_kept_images_go_on() {
    let hub = Hub::start(limited(&[("", 3)]), |setup| setup.set("remote.hub.tag_ttl", "\"0s\""));
    let images: Vec<_> = (0..6).map(|seed| hub.remote.put("team/app", &format!("v{seed}"), seed, SIZE)).collect();
    let client = hub.client("team/app");
    for (number, image) in images.iter().enumerate().take(3) {
        pulls_image(&client, &format!("v{number}"), image);
    }
    for number in 3..6 {
        for _ in 0..3 {
            is_unavailable(&client.get_manifest(&format!("v{number}")));
        }
    }
    assert!(refusals(&hub) <= 1, "the fields said that nothing is left: {}", refusals(&hub));
    // HEAD is free: a tag that did not move is known to be fresh.
    let fresh = client.get_manifest("v0");
    assert!(!is_stale(&fresh), "{:?}", fresh.headers);
    assert_eq!(fresh.expect(200), images[0].manifest);
    // One that moved cannot be had, and the one before can.
    hub.remote.put("team/app", "v1", 77, SIZE);
    let stale = client.get_manifest("v1");
    assert!(is_stale(&stale), "{} {:?}", stale.status, stale.headers);
    assert_eq!(stale.expect(200), images[1].manifest);
    assert!(refusals(&hub) <= 1);
    // Blobs cost nothing.
    let more = hub.remote.shelf(|shelf| shelf.repository("team/app").put_blob(vec![7; 100]));
    assert_eq!(client.get_blob(&more).expect(200).len(), 100);
}

#[test]
fn what_is_answered_where_nothing_is_left_is_as_was_told() {
    for (told, status) in [("503", 503), ("429", 429), ("404", 404)] {
        let hub = Hub::start(limited(&[("", 1)]), |setup| setup.set("remote.hub.on_exhausted", &format!("{told:?}")));
        hub.remote.put("team/app", "v0", 0, SIZE);
        hub.remote.put("team/app", "v1", 1, SIZE);
        let client = hub.client("team/app");
        client.get_manifest("v0").expect(200);
        let answer = client.get_manifest("v1");
        assert_eq!(answer.status, status, "{told}: {}", answer.text());
        assert!(status == 404 || answer.header("retry-after").is_some(), "{told}: {:?}", answer.headers);
        assert_eq!(client.head_manifest("v1").status, status, "{told}");
    }
}

#[test]
fn several_credentials_are_spent_to_the_end() {
    let files = folder();
    let logins = [("ann", "anns-password-1"), ("bob", "bobs-password-1")];
    let manner = logins
        .iter()
        .fold(limited(&[("", 0), ("ann", 4), ("bob", 7)]), |manner, (user, password)| manner.user(user, password));
    let manner = Manner { login: crate::harness::remote::Login::Basic, ..manner };
    let told: Vec<String> = logins.iter().map(|(user, password)| login(&files, user, password)).collect();
    let hub = Hub::start(manner, |setup| setup.set("remote.hub.credentials", &format!("[{}]", told.join(", "))));
    let client = hub.client("team/app");
    for number in 0..11 {
        let image = hub.remote.put("team/app", &format!("v{number}"), number, SIZE);
        pulls_image(&client, &format!("v{number}"), &image);
    }
    hub.remote.put("team/app", "more", 99, SIZE);
    is_unavailable(&client.get_manifest("more"));
    assert!(refusals(&hub) <= 2, "{}", refusals(&hub));
}

#[test]
fn credentials_that_share_a_source_share_what_is_left() {
    let files = folder();
    let logins = [("ann", "anns-password-2"), ("bob", "bobs-password-2")];
    let mut manner =
        logins.iter().fold(limited(&[("ann", 5), ("bob", 5)]), |manner, (user, password)| manner.user(user, password));
    manner.login = crate::harness::remote::Login::Basic;
    if let Some(budget) = &mut manner.budget {
        budget.sources = logins.iter().map(|(user, _)| ((*user).to_owned(), "203.0.113.9".to_owned())).collect();
    }
    let told: Vec<String> = logins.iter().map(|(user, password)| login(&files, user, password)).collect();
    let hub = Hub::start(manner, |setup| setup.set("remote.hub.credentials", &format!("[{}]", told.join(", "))));
    let client = hub.client("team/app");
    for number in 0..5 {
        let image = hub.remote.put("team/app", &format!("v{number}"), number, SIZE);
        pulls_image(&client, &format!("v{number}"), &image);
    }
    hub.remote.put("team/app", "more", 99, SIZE);
    for _ in 0..5 {
        is_unavailable(&client.get_manifest("more"));
    }
    assert!(refusals(&hub) <= 2, "{}", refusals(&hub));
}

/// Bare text, on anything: not about pulls, and nothing is asked until its time has passed.
#[test]
fn a_remote_that_throttles_everything_is_left_alone() {
    let hub = Hub::start(Manner::plain(), |setup| setup.set("remote.hub.tag_ttl", "\"0s\""));
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    pulls(&client, "1", &image);
    hub.kept("team/app", &image.blobs());
    let reply =
        Reply::new(429).header("Content-Type", "text/html").header("Retry-After", "3").body("Too Many Requests");
    hub.remote.wire.on(Rule::new("", "/v2/", Fault::Answer(reply)));
    hub.remote.forget_seen();
    for number in 0..30 {
        let kept = client.get_manifest("1");
        assert!(is_stale(&kept) && kept.status == 200, "{} {:?}", kept.status, kept.headers);
        let other = client.get_manifest(&format!("other{number}"));
        assert!(matches!(other.status, 429 | 503), "{}", other.status);
        assert!(other.header("retry-after").is_some(), "{:?}", other.headers);
    }
    assert!(hub.remote.asked() <= 4, "asked {} times", hub.remote.asked());
    hub.remote.forget_rules();
    eventually("it is asked again", || !is_stale(&client.get_manifest("1")));
}

#[test]
fn a_fleet_knows_of_each_other_s_budget() {
    let redis = Redis::new().start();
    let hub = Hub::start(limited(&[("", 2)]), |setup| redis.set(setup));
    let other = hub.entrepot.setup.clone().start();
    for number in 0..4 {
        hub.remote.put("team/app", &format!("v{number}"), number, SIZE);
    }
    let client = hub.client("team/app");
    client.get_manifest("v0").expect(200);
    client.get_manifest("v1").expect(200);
    is_unavailable(&client.get_manifest("v2"));
    let gets = hub.remote.gets("/manifests/");
    let at_other = crate::harness::Repository::at(other.address, "docker.io/team/app");
    for _ in 0..3 {
        is_unavailable(&at_other.get_manifest("v3"));
    }
    assert_eq!(hub.remote.gets("/manifests/"), gets, "the other instance asked though it could know");
}
