//! What keeps other things than images in a registry: oras.

use std::process::Command;

use super::Open;
use crate::harness::tools::{Containers, fails, run};
use crate::permissions::PASSWORD;

#[test]
fn oras_logs_in_to_push_mount_and_delete_and_pulls_without() {
    let (mut open, containers) = (Open::start(), Containers::new());
    std::fs::write(open.path("note.txt"), "a note").expect("a file");
    let (own, other) = (open.image("team/notes:1"), open.image("other/notes:1"));
    let folder = open.files.path().to_owned();
    let oras = |arguments: &[&str]| -> Command {
        let mut oras = containers.built("oras");
        oras.args(arguments).current_dir(&folder);
        oras
    };
    let push = ["push", "--plain-http", &own, "note.txt:text/plain"];
    let copy = ["cp", "--from-plain-http", "--to-plain-http", &own, &other];
    fails(&mut oras(&push));
    fails(&mut oras(&["login", "--plain-http", "-u", "ann", "-p", "wrong", &open.host]));
    run(&mut oras(&["login", "--plain-http", "-u", "ann", "-p", PASSWORD, &open.host]));
    run(&mut oras(&push));
    run(&mut oras(&copy));
    assert!(open.mounted() >= 1);
    let delete = ["manifest", "delete", "--plain-http", "--force", &other];
    fails(&mut oras(&delete));
    open.with_deletion();
    run(&mut oras(&delete));
    assert!(run(&mut oras(&["repo", "ls", "--plain-http", &open.host])).contains("team/notes"));
    run(&mut oras(&["logout", &open.host]));
    fails(&mut oras(&copy));
    run(&mut oras(&["pull", "--plain-http", "--output", "back", &own]));
    assert_eq!(std::fs::read(open.files.path().join("back/note.txt")).expect("the file"), b"a note");
    assert_eq!(run(&mut oras(&["repo", "tags", "--plain-http", &open.image("team/notes")])), "1");
    assert!(open.is_there("team/notes", "1") && !open.is_there("other/notes", "1"));
}
