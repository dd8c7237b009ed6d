//! A remote that does not answer is not asked again and again, and costs nobody time.

use super::world::{Hub, is_stale, is_unavailable, pulls};
use crate::harness::{Fault, Gate, Manner, Reply, Rule, Setup, eventually};

const SIZE: usize = 2000;

fn impatient(setup: Setup) -> Setup {
    setup
        .set("remote.hub.tag_ttl", "\"0s\"")
        .set("remote.hub.timeouts", "{ manifest = \"1s\", first_byte = \"1s\", connect = \"1s\", read = \"1s\" }")
}

/// Asks for many things; only some of it reaches the remote.
fn left_alone(fault: Fault) {
    let hub = Hub::start(Manner::plain(), impatient);
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    pulls(&client, "1", &image);
    hub.kept("team/app", &image.blobs());
    hub.remote.wire.on(Rule::new("", "/v2/", fault));
    hub.remote.forget_seen();
    // As long as it takes to find out; then the counting begins.
    for number in 0..8 {
        is_unavailable(&client.get_manifest(&format!("a{number}")));
    }
    let found_out = hub.remote.asked();
    assert!(found_out <= 20, "{found_out}");
    for number in 0..200 {
        is_unavailable(&client.get_manifest(&format!("b{number}")));
        is_unavailable(&client.get_blob(&crate::harness::digest(format!("{number}").as_bytes())));
        let kept = client.get_manifest("1");
        assert!(kept.status == 200 && is_stale(&kept), "{number}: {}", kept.status);
    }
    let more = hub.remote.asked() - found_out;
    assert!(more <= 4, "{more} of 600 were asked while it rests");
    hub.remote.forget_rules();
    eventually("it is asked again", || !is_stale(&client.get_manifest("1")));
    hub.remote.put("team/app", "b1", 5, SIZE);
    eventually("and what it has is served", || client.get_manifest("b1").status == 200);
}

#[test]
fn a_remote_that_says_503_is_left_alone() {
    left_alone(Fault::Answer(Reply::new(503)));
}

#[test]
fn a_remote_that_hangs_up_is_left_alone() {
    left_alone(Fault::Hangup);
}

#[test]
fn a_remote_that_says_nothing_is_left_alone() {
    let gate = Gate::new();
    left_alone(Fault::Hold(gate.clone()));
    gate.open();
}

#[test]
fn refusals_and_what_is_not_there_are_no_failures() {
    let hub = Hub::start(Manner::plain(), impatient);
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    for number in 0..20 {
        assert_eq!(client.get_manifest(&format!("none{number}")).status, 404);
    }
    hub.remote.wire.on(Rule::new("", "/team/secret/", Fault::Answer(Reply::new(403))));
    for number in 0..20 {
        assert_eq!(hub.client("team/secret").get_manifest(&format!("{number}")).status, 404);
    }
    pulls(&client, "1", &image);
}
