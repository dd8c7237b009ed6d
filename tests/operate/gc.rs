//! `entrepot gc`, as a person uses it. What the collector does is tested elsewhere.

use super::world::{Kept, on};
use crate::harness::eventually;

const SIZE: usize = 10_000;

#[test]
fn what_was_removed_comes_back_with_a_server_and_without() {
    let mut kept = Kept::new();
    for running in [true, false] {
        let app = kept.repository("team/app");
        let image = app.push_random("1", 1, SIZE);
        app.push_manifest("2", crate::harness::repository::OCI_MANIFEST, &image.manifest);
        if !running {
            kept.server.kill();
        }
        let told = on(&kept.server, &["rm", "team/app:1", "--all-tags", "--json"]).json();
        let run = told["runs"][0].as_str().expect("a run").to_owned();
        let said = on(&kept.server, &["gc", "undelete", &run]).well();
        assert!(said.contains("2 tags, 1 manifest and"), "{said}");
        let told = on(&kept.server, &["repo", "rm", "team/app", "--yes", "--json"]).json();
        assert_eq!(told["tags"], 2);
        on(&kept.server, &["gc", "undelete", "team/app"]).well();
        if !running {
            kept.server.restart();
        }
        for tag in ["1", "2"] {
            assert_eq!(kept.repository("team/app").get_manifest(tag).expect(200), image.manifest);
        }
        kept.repository("team/app").get_blob(&image.layers[0]).expect(200);
        eventually("the list has them", || super::world::tags(&kept.server, "team/app") == ["1", "2"]);
    }
}

#[test]
fn a_plan_changes_nothing_a_run_is_told_of_and_its_status_too() {
    let mut kept = Kept::new();
    kept.repository("team/app").push_random("1", 1, SIZE);
    kept.with_and_without_server(|kept, running| {
        let blobs = kept.blobs();
        let said = on(&kept.server, &["gc", "plan"]).well();
        assert!(
            said.contains("marked     1 repository,")
                && said.contains("condemned  0 manifests and 0 blobs would be, in"),
            "{said}"
        );
        let told = on(&kept.server, &["gc", "plan", "--json"]).json();
        assert_eq!((told["dry"].as_bool(), told["moved"].as_u64()), (Some(true), Some(0)));
        if running {
            assert!(on(&kept.server, &["gc", "status"]).well().starts_with("no collection has run here yet\n"));
        }
        let told = on(&kept.server, &["gc", "run", "--json"]).json();
        assert!(told["run"].as_str().is_some_and(|run| run.starts_with("gc-")), "{told}");
        let said = on(&kept.server, &["gc", "status"]).well();
        assert!(said.starts_with("last       gc-") && said.contains("in trash   0 (0 B)"), "{said}");
        assert_eq!(kept.blobs(), blobs);
    });
}

#[test]
fn a_plan_names_what_would_go_and_leaves_it() {
    let kept = Kept::new();
    let app = kept.repository("team/app");
    app.push_random("1", 1, SIZE);
    let layer = crate::harness::random_bytes(9, SIZE);
    app.push_blob(&layer);
    kept.age();
    let blobs = kept.blobs();
    let said = on(&kept.server, &["gc", "plan"]).well();
    assert!(said.contains("condemned  0 manifests and 1 blob would be"), "{said}");
    assert_eq!(kept.blobs(), blobs);
    app.get_blob(&crate::harness::digest(&layer)).expect(200);
}

#[test]
fn a_pause_holds_until_somebody_lets_it_go_on() {
    let kept = Kept::new();
    kept.repository("team/app").push_random("1", 1, SIZE);
    for more in [&[][..], &["--no-server"]] {
        let with = |arguments: &[&'static str]| on(&kept.server, &[arguments, more].concat());
        let said = with(&["gc", "pause"]).well();
        assert!(said.starts_with("collections are paused since "), "{said}");
        assert!(with(&["gc", "status"]).well().contains("collections are paused since "));
        let said = with(&["gc", "run"]).badly();
        assert!(said.contains("collections are paused") && said.contains("entrepot gc resume"), "{said}");
        assert_eq!(with(&["gc", "resume"]).well(), "collections go on\n");
        with(&["gc", "run"]).well();
    }
}

#[test]
fn what_cannot_be_meant_is_told() {
    let kept = Kept::new();
    for (arguments, told) in [
        (&["gc", "undelete", "Team"][..], "neither a run, nor a digest, nor a repository"),
        (&["gc", "undelete", "sha256:1"], "'sha256:1' is not a digest"),
        (&["gc", "undelete", "gc-20260101T000000Z-00000000"], "gc-20260101T000000Z-00000000"),
        (&["gc", "undelete", "never/there"], "never/there"),
    ] {
        for more in [&[][..], &["--no-server"]] {
            let said = on(&kept.server, &[arguments, more].concat()).badly();
            assert!(said.contains(told), "{arguments:?} {more:?}: {said}");
        }
    }
    for wrong in [&["gc"][..], &["gc", "run", "--untagged", "5M"], &["gc", "undelete"]] {
        assert_eq!(super::world::entrepot(wrong).code, Some(2), "{wrong:?}");
    }
}
