//! Logins, authorities, those that refuse, and what is no option.

use super::run::{bench, small, tags, users};
use crate::harness::{Authority, Registry, Setup, TokenServer, ports, scratch, secrets};

const PASSWORD: &str = "the-word-of-who-measures";

fn quoted(path: &std::path::Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// An Entrepot where `ann` may what is listed.
fn ruled(folder: &std::path::Path, allow: &str) -> (crate::harness::Entrepot, String) {
    let (users, word) = users(folder, "ann", PASSWORD);
    let rules = format!("[{{ repositories = \"**\", who = [\"user:ann\"], allow = [{allow}] }}]");
    let setup = Setup::registry().set("auth.htpasswd", &quoted(&users)).set("auth.rule", &rules);
    (setup.start(), word.display().to_string())
}

#[test]
fn each_address_has_a_login_of_its_own() {
    let folder = scratch();
    let (server, word) = ruled(folder.path(), "\"pull\", \"push\", \"delete\", \"catalog\"");
    let other_word = folder.path().join("other");
    std::fs::write(&other_word, "the-word-of-the-other").expect("a file");
    secrets::note("the-word-of-the-other");
    let other = Registry::debian().account("bob", "the-word-of-the-other").start();
    let (address, vs, other_word) =
        (server.address.to_string(), other.address.to_string(), other_word.display().to_string());
    let first = ["--user", "ann", "--password-file", &word];
    let second = ["--vs", &vs, "--vs-user", "bob", "--vs-password-file", &other_word, "--json"];
    let told = small(&address, &[&first[..], &second].concat()).well().json();
    assert_eq!((&told["sides"][0]["no_catalog"], &told["sides"][1]["no_catalog"]), (&().into(), &().into()));
    assert_eq!(tags(server.address, Some(("ann", PASSWORD))), Vec::<String>::new());
    assert_eq!(tags(other.address, Some(("bob", "the-word-of-the-other"))), Vec::<String>::new());
    // The first one's is not shown to the second.
    let told = small(&address, &[&first[..], &["--vs", &vs]].concat()).ended(1);
    assert!(told.errors.contains(&format!("http://{vs} answers GET /v2/ with 401")), "{}", told.errors);
    assert!(told.errors.contains("--vs-user"), "{}", told.errors);
}

#[test]
fn a_token_is_asked_for_once_for_what_each_part_needs() {
    let folder = scratch();
    let (users, word) = users(folder.path(), "ann", PASSWORD);
    let all = "\"pull\", \"push\", \"delete\"";
    let rules = format!("[{{ repositories = \"**\", who = [\"user:ann\"], allow = [{all}] }}]");
    let setup = Setup::registry().set("auth.htpasswd", &quoted(&users)).set("auth.rule", &rules);
    let server = setup.set("auth.token.keys", &quoted(&folder.path().join("keys"))).start();
    let word = word.display().to_string();
    let told = small(&server.address.to_string(), &["--user", "ann", "--password-file", &word]).well();
    assert!(told.text.contains("2 images deleted"), "{}", told.text);
    let asked = server.access_log().iter().filter(|line| line.to_string().contains("\"/token")).count();
    // For /v2/, pushes, pulls, the catalog and deletions; two that begin at once may both ask.
    assert!(asked > 0 && asked <= 12, "{asked}");
    assert_eq!(tags(server.address, Some(("ann", PASSWORD))), Vec::<String>::new());
}

#[test]
fn a_password_is_not_sent_to_another_address_by_plain_http() {
    let tokens = TokenServer::start(&[("ann", PASSWORD)], &[("ann", "team/measured")]);
    let registry = Registry::debian().token(&tokens).start();
    let folder = scratch();
    let word = folder.path().join("word");
    std::fs::write(&word, PASSWORD).expect("a file");
    secrets::note(PASSWORD);
    let word = word.display().to_string();
    let told = small(&registry.address.to_string(), &["--user", "ann", "--password-file", &word]).ended(1);
    assert!(told.errors.contains("the password is not sent there"), "{}", told.errors);
    assert_eq!(tokens.asked(), 0);
}

#[test]
fn who_may_not_push_is_told_so_and_nothing_is_measured() {
    let folder = scratch();
    let (server, word) = ruled(folder.path(), "\"pull\"");
    let address = server.address.to_string();
    let told = small(&address, &["--user", "ann", "--password-file", &word]).ended(1);
    // As distribution does, it asks for another login.
    let refused = told.errors.contains("answers POST /v2/team/measured/blobs/uploads/ with 401: UNAUTHORIZED")
        && told.errors.contains("this user may not");
    assert!(refused && told.text.is_empty(), "{}{}", told.text, told.errors);
    let closed = Setup::registry().set("registry.read_only", "true").start();
    let told = small(&closed.address.to_string(), &[]).ended(1);
    assert!(told.errors.contains("with 405: UNSUPPORTED"), "{}", told.errors);
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "not-the-word-of-ann").expect("a file");
    let wrong = wrong.display().to_string();
    let told = small(&address, &["--user", "ann", "--password-file", &wrong]).ended(1);
    assert!(told.errors.contains("with 401"), "{}", told.errors);
}

#[test]
fn a_registry_that_does_not_delete_is_told_of_and_is_no_failure() {
    let kept = Registry::debian().keeping_all().start();
    let told = small(&kept.address.to_string(), &[]).well();
    let line = "stay in team/measured, since deleting is refused";
    assert!(
        told.text.contains("2 images of") && told.text.contains(line) && told.text.contains("405"),
        "{}",
        told.text
    );
    assert_eq!(tags(kept.address, None).len(), 2);
    let folder = scratch();
    let (server, word) = ruled(folder.path(), "\"pull\", \"push\"");
    let told = small(&server.address.to_string(), &["--user", "ann", "--password-file", &word, "--json"]).well().json();
    let cleanup = &told["sides"][0]["cleanup"];
    assert_eq!((&cleanup["deleted"], &cleanup["left"]), (&0.into(), &2.into()));
    assert!(cleanup["refused"].as_str().expect("why").contains("this user may not"), "{told:#}");
}

#[test]
fn an_authority_of_ones_own_is_believed_where_it_is_named() {
    let authority = Authority::new();
    let issued = authority.issue("measured", &["localhost", "127.0.0.1"]);
    let server = Registry::debian().tls(&issued.certificate, &issued.key).start();
    let address = format!("https://localhost:{}", server.address.port());
    let ca = authority.path().display().to_string();
    small(&address, &["--ca", &ca]).well();
    let told = small(&address, &[]).ended(1);
    assert!(told.errors.contains("does not answer") && told.errors.contains("ertificate"), "{}", told.errors);
    assert!(told.errors.contains("--ca FILE"), "{}", told.errors);
}

#[test]
fn who_is_not_there_and_what_is_no_registry_are_told() {
    let nowhere = ports::free().to_string();
    let told = small(&nowhere, &[]).ended(1);
    assert!(told.errors.contains(&format!("http://{nowhere} does not answer: ")), "{}", told.errors);
    assert!(told.errors.contains("onnection refused"), "{}", told.errors);
    let server = Setup::registry().start();
    let told = small(&format!("{}/elsewhere", server.address), &[]).ended(1);
    assert!(told.errors.contains("answers GET /elsewhere/v2/ with 404"), "{}", told.errors);
    let below = Setup::registry().set("listener.0.prefix", "\"/below\"").start();
    small(&format!("http://{}/below", below.address), &[]).well();
}

#[test]
fn bad_options_are_named_before_anything_is_asked() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("empty"), "").expect("a file");
    let nowhere = ports::free().to_string();
    for (options, part) in [
        (&["--pushes", "0"][..], "--pushes"),
        (&["--concurrency", "1000"], "--concurrency"),
        (&["--layer", "0"], "a layer has 1 byte to 1.0 GiB"),
        (&["--layer", "1GiB", "--pushes", "100"], "64.0 GiB is the most"),
        (&["--time", "2d"], "a run takes 1s to 24h"),
        (&["--time", "5"], "is not a span of time"),
        (&["--repository", "UPPER"], "repository name"),
        (&["--user", "ann"], "--password-file"),
        (&["--user", "ann", "--password-file", &path("nowhere")], "nowhere"),
        (&["--user", "ann", "--password-file", &path("empty")], "is empty"),
        (&["--vs-user", "ann", "--vs-password-file", "-"], "--vs"),
        (&["--vs", "ann:word@registry.lab"], "holds no login"),
        (&["--ca", &path("empty")], "holds no certificate"),
        (&["--plot", &path("no/where.svg")], "--plot"),
        (&["--plot", &path("")], "is a folder"),
    ] {
        let told = bench(&[&[nowhere.as_str()], options].concat()).ended(2);
        assert!(told.errors.contains(part) && told.text.is_empty(), "{options:?}: {}", told.errors);
    }
    let both = ["--user", "a", "--password-file", "-", "--vs", &nowhere, "--vs-user", "b", "--vs-password-file", "-"];
    let told = bench(&[&[nowhere.as_str()], &both[..]].concat()).ended(2);
    assert!(told.errors.contains("stdin holds one password"), "{}", told.errors);
}
