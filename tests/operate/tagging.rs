//! `entrepot tag`, `untag`.

use super::world::{Kept, entrepot, on, tags};
use crate::harness::eventually;

#[test]
fn a_tag_is_set_moved_and_taken_away_with_a_server_and_without() {
    let mut kept = Kept::new();
    let one = kept.repository("team/app").push_random("1", 1, 10_000);
    let two = kept.repository("team/app").push_random("2", 2, 10_000);
    kept.with_and_without_server(|kept, running| {
        let said = on(&kept.server, &["tag", "team/app:1", "team/app:stable"]).well();
        assert_eq!(said, format!("team/app:stable leads to {}\n", one.digest));
        let said = on(&kept.server, &["tag", "team/app:1", "team/app:stable"]).well();
        assert_eq!(said, format!("team/app:stable leads to {}, as it did before\n", one.digest));
        let by_digest = format!("team/app@{}", two.digest);
        let said = on(&kept.server, &["tag", &by_digest, "team/app:stable"]).well();
        assert_eq!(said, format!("team/app:stable leads to {}; before, to {}\n", two.digest, one.digest));
        if running {
            assert_eq!(kept.repository("team/app").get_manifest("stable").expect(200), two.manifest);
            assert_eq!(tags(&kept.server, "team/app"), ["1", "2", "stable"]);
        }
        let told = on(&kept.server, &["untag", "team/app:stable", "--json"]).json();
        assert_eq!(
            (told["image"].as_str(), told["digest"].as_str()),
            (Some("team/app:stable"), Some(two.digest.as_str()))
        );
        let said = on(&kept.server, &["untag", "team/app:stable"]).badly();
        assert!(said.contains("there is no team/app:stable"), "{said}");
        if running {
            assert_eq!(kept.repository("team/app").get_manifest("stable").status, 404);
            assert_eq!(kept.repository("team/app").get_manifest(&two.digest).status, 200, "its manifest stays");
            assert_eq!(tags(&kept.server, "team/app"), ["1", "2"]);
        }
    });
    assert_eq!(tags(&kept.server, "team/app"), ["1", "2"]);
}

/// What a command does without the server is seen by one that runs elsewhere over the same storage.
#[test]
fn a_server_sees_what_a_command_has_done_to_its_storage() {
    let kept = Kept::new();
    let image = kept.repository("team/app").push_random("1", 1, 10_000);
    assert_eq!(tags(&kept.server, "team/app"), ["1"]);
    on(&kept.server, &["tag", "team/app:1", "team/app:2", "--no-server"]).well();
    assert_eq!(kept.repository("team/app").get_manifest("2").expect(200), image.manifest);
    eventually("the list has it", || tags(&kept.server, "team/app") == ["1", "2"]);
}

#[test]
fn what_cannot_be_meant_is_told_in_a_sentence() {
    let kept = Kept::start(|setup| setup.set("registry.immutable_tags", "[\"team/*:v*\"]"));
    kept.repository("team/app").push_random("1", 1, 10_000);
    kept.repository("team/app").push_random("v1", 2, 10_000);
    for (arguments, told) in [
        (&["tag", "team/app", "team/app:x"][..], "'team/app' says neither tag nor digest"),
        (&["tag", "Team/app:1", "team/app:x"], "'Team/app:1' names no repository"),
        (&["tag", "team/app:1", "team/other:x"], "`entrepot cp` copies from one to another"),
        (&["tag", "team/app:absent", "team/app:x"], "there is no team/app:absent"),
        (&["tag", "team/app:1", "team/app:v1"], "the tag 'v1' exists and never changes here"),
        (&["tag", "localhost:5000/team/app:1", "team/app:x"], "begins with a registry's address"),
        (&["untag", "team/app:v1"], "team/app:v1 stays: its tag 'v1' never changes here"),
        (&["untag", &format!("team/app@sha256:{}", "a".repeat(64))], "is no tag: `entrepot rm` removes a manifest"),
        (&["untag", "absent:1"], "there is no absent:1"),
    ] {
        let said = on(&kept.server, arguments).badly();
        assert!(said.contains(told) && said.lines().count() == 1, "{arguments:?}: {said}");
        let said = on(&kept.server, &[arguments, &["--no-server"]].concat()).badly();
        assert!(said.contains(told) && said.lines().count() == 1, "{arguments:?}, without a server: {said}");
    }
    assert_eq!(tags(&kept.server, "team/app"), ["1", "v1"]);
    for wrong in [&["tag", "a:1"][..], &["untag"], &["tag", "a:1", "a:2", "--nonsense"]] {
        assert_eq!(entrepot(wrong).code, Some(2), "{wrong:?}");
    }
}
