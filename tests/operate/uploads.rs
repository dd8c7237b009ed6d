//! `entrepot uploads`.

use super::world::{Kept, on};

const HINT: &str = " (with --foreign, those of other programs are ended too)";

/// It is such a one because of which `gc run` refuses.
#[test]
fn uploads_of_another_program_are_listed_and_given_up_if_that_is_meant() {
    let kept = Kept::new();
    let session = kept.folder.path().join("data/docker/registry/v2/repositories/team/app/_uploads/some-id");
    std::fs::create_dir_all(&session).expect("a folder");
    std::fs::write(session.join("startedat"), "2026-01-01T00:00:00Z").expect("a file");
    std::fs::write(session.join("data"), [7; 2048]).expect("a file");
    let said = on(&kept.server, &["uploads"]).well();
    assert!(
        said.starts_with("some-id  team/app  2.0 KiB so far, begun ") && said.ends_with(", of another program\n"),
        "{said}"
    );
    on(&kept.server, &["uploads", "cancel", "some-id"]).badly();
    assert!(session.exists());
    let told = on(&kept.server, &["uploads", "cancel", "--foreign", "some-id", "other-id"]);
    assert_eq!(told.out, "some-id: given up, 2.0 KiB of team/app\nother-id: there is no such upload\n");
    assert_eq!(told.code, Some(1));
    assert!(!session.exists());
    assert_eq!(on(&kept.server, &["uploads"]).well(), "no upload is under way\n");
}

#[test]
fn uploads_are_listed_and_given_up_with_a_server_and_without() {
    let mut kept = Kept::new();
    assert_eq!(on(&kept.server, &["uploads"]).well(), "no upload is under way\n");
    for running in [true, false] {
        let app = kept.repository("team/app");
        let upload = app.start_upload();
        app.request("PATCH", upload.clone()).body([7; 2048]).send(app.address).expect(202);
        let id = upload.split('?').next().and_then(|path| path.rsplit('/').next()).expect("an id").to_owned();
        if !running {
            kept.server.kill();
        }
        let said = on(&kept.server, &["uploads"]).well();
        assert!(
            said.starts_with(&format!("{id}  team/app  2.0 KiB so far, begun ")) && said.lines().count() == 1,
            "{said}"
        );
        let told = on(&kept.server, &["uploads", "--json"]).json();
        assert_eq!(
            (told["uploads"][0]["id"].as_str(), told["uploads"][0]["bytes"].as_u64()),
            (Some(id.as_str()), Some(2048))
        );
        let absent = "00000000-0000-0000-0000-000000000000";
        let told = on(&kept.server, &["uploads", "cancel", &id, absent]);
        assert_eq!(told.code, Some(1), "{told:?}");
        assert_eq!(told.out, format!("{id}: given up, 2.0 KiB of team/app\n{absent}: there is no such upload{HINT}\n"));
        assert_eq!(on(&kept.server, &["uploads"]).well(), "no upload is under way\n");
        let said = on(&kept.server, &["uploads", "cancel", "nonsense"]).badly();
        assert!(said.contains("'nonsense' is no id of an upload"), "{said}");
        if !running {
            kept.server.restart();
        }
        let app = kept.repository("team/app");
        assert_eq!(app.request("PATCH", upload).body(b"more").send(app.address).status, 404);
    }
}
