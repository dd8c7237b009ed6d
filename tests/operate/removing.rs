//! `entrepot rm` and `entrepot repo rm`.

use super::world::{Kept, catalog, on, tags};
use crate::harness::eventually;

const SIZE: usize = 10_000;

#[test]
fn a_manifest_goes_with_its_tags_if_that_is_meant() {
    let mut kept = Kept::new();
    for (round, running) in [("with", true), ("without", false)] {
        let app = kept.repository("team/app");
        let image = app.push_random(&format!("{round}-1"), 1, SIZE);
        app.push_random(&format!("{round}-other"), 2, SIZE);
        app.push_manifest(&format!("{round}-2"), crate::harness::repository::OCI_MANIFEST, &image.manifest);
        if !running {
            kept.server.kill();
        }
        let named = format!("team/app:{round}-1");
        let said = on(&kept.server, &["rm", &named]).badly();
        assert!(said.contains(&format!("{round}-2 would go with {named}")) && said.contains("--all-tags"), "{said}");
        let said = on(&kept.server, &["rm", &named, "--all-tags"]).well();
        assert!(said.starts_with(&format!("team/app@{} is gone, with its tags ", image.digest)), "{said}");
        assert!(said.contains("`entrepot gc undelete rm-"), "{said}");
        let said = on(&kept.server, &["rm", &format!("team/app@{}", image.digest)]).badly();
        assert!(said.contains("there is no team/app@"), "{said}");
        if !running {
            kept.server.restart();
        }
        assert_eq!(kept.repository("team/app").get_manifest(&image.digest).status, 404);
        eventually("its tags are off the list", || {
            tags(&kept.server, "team/app").iter().filter(|tag| tag.starts_with(round)).eq([&format!("{round}-other")])
        });
    }
}

#[test]
fn deletions_that_the_configuration_forbids_are_forbidden_here_too() {
    let kept = Kept::start(|setup| setup.set("registry.delete", "false"));
    kept.repository("team/app").push_random("1", 1, SIZE);
    for arguments in [&["rm", "team/app:1"][..], &["untag", "team/app:1"], &["repo", "rm", "team/app", "--yes"]] {
        for more in [&[][..], &["--no-server"]] {
            let said = on(&kept.server, &[arguments, more].concat()).badly();
            assert!(said.contains("[registry] delete = false"), "{arguments:?} {more:?}: {said}");
        }
    }
    assert_eq!(kept.repository("team/app").get_manifest("1").status, 200);
}

#[test]
fn a_repository_goes_whole_and_what_is_below_its_name_or_shared_stays() {
    let mut kept = Kept::new();
    for (round, running) in [("with", true), ("without", false)] {
        let name = format!("{round}/app");
        let (app, below, other) =
            (kept.repository(&name), kept.repository(&format!("{name}/sub")), kept.repository("other"));
        let shared = crate::harness::random_bytes(5, SIZE);
        let image = app.push_image("1", &[&shared]);
        app.push_random("2", 2, SIZE);
        below.push_random("1", 3, SIZE);
        let elsewhere = other.push_image("1", &[&shared]);
        assert!(catalog(&kept.server).contains(&name));
        if !running {
            kept.server.kill();
        }
        let told = on(&kept.server, &["repo", "rm", &name]);
        assert_eq!(told.code, Some(1), "{told:?}");
        assert_eq!(told.out, format!("{name} has 2 tags, 2 manifests, 4 blobs; nothing is removed without --yes\n"));
        let told = on(&kept.server, &["repo", "rm", &name, "--json"]).json();
        assert_eq!((told["dry"].as_bool(), told["tags"].as_u64()), (Some(true), Some(2)));
        let said = on(&kept.server, &["repo", "rm", &name, "--yes"]).well();
        assert!(
            said.starts_with(&format!("{name} is gone: 2 tags, 2 manifests, 4 blobs; `entrepot gc undelete rm-")),
            "{said}"
        );
        let said = on(&kept.server, &["repo", "rm", &name, "--yes"]).badly();
        assert!(said.contains(&format!("there is no repository {name}")), "{said}");
        if !running {
            kept.server.restart();
        }
        assert_eq!(kept.repository(&name).get_manifest(&image.digest).status, 404);
        assert_eq!(kept.repository(&name).head_blob(&image.layers[0]).status, 404);
        eventually("the catalog has it no more", || {
            let names = catalog(&kept.server);
            !names.contains(&name) && names.contains(&format!("{name}/sub"))
        });
        assert_eq!(kept.repository(&format!("{name}/sub")).get_manifest("1").status, 200);
        kept.repository("other").get_blob(&elsewhere.layers[0]).expect(200);
        // And it can come again.
        kept.repository(&name).push_random("3", 9, SIZE);
        assert_eq!(tags(&kept.server, &name), ["3"]);
    }
}

#[test]
fn a_repository_with_a_tag_that_never_goes_stays_whole() {
    let kept = Kept::start(|setup| setup.set("registry.immutable_tags", "[\"**:v*\"]"));
    let image = kept.repository("team/app").push_random("v1", 1, SIZE);
    kept.repository("team/app").push_random("nightly", 2, SIZE);
    let said = on(&kept.server, &["repo", "rm", "team/app", "--yes"]).badly();
    assert!(said.contains("team/app stays: its tag 'v1' never changes here"), "{said}");
    assert_eq!(tags(&kept.server, "team/app"), ["nightly", "v1"]);
    kept.repository("team/app").get_blob(&image.layers[0]).expect(200);
    for (name, told) in
        [("Team", "'Team' names no repository"), ("", "names no repository"), ("a:1", "names no repository")]
    {
        let said = on(&kept.server, &["repo", "rm", name, "--yes"]).badly();
        assert!(said.contains(told), "{name}: {said}");
    }
}
