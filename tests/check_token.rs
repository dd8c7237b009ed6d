//! `entrepot auth check-token`: whose it is, what it is for, and whether it is good now.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::entrepot::BINARY;
use crate::harness::{Entrepot, Request, Setup, eventually, scratch, secrets};

const PASSWORD: &str = "checked-p4ssword";

/// Runs it with this on stdin.
fn check(config: &str, text: &str, more: &[&str]) -> (Output, String) {
    let mut command = Command::new(BINARY);
    command.args(["auth", "check-token", "--config", config]).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("entrepot runs");
    // Who refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("its stdin").write_all(text.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains(text.trim()) || text.trim().is_empty(), "it repeats what it was given");
    (output, told)
}

fn user(folder: &Path, verb: &str, word: &str) {
    let (users, file) = (folder.join("users").display().to_string(), folder.join("word"));
    std::fs::write(&file, word).expect("a file");
    let said =
        Entrepot::cli(&["user", verb, &users, "ann", "--cost", "4", "--password-file", &file.display().to_string()]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn ruled(folder: &Path, keys: &str) -> Entrepot {
    user(folder, "add", PASSWORD);
    let rules = r#"[{ repositories = "team/**", who = ["user:ann"], allow = ["pull", "push"] }]"#;
    Setup::registry()
        .storage_at(&folder.join("data"))
        .set("auth.htpasswd", &format!("{:?}", folder.join("users").display().to_string()))
        .set("auth.rule", rules)
        .set("auth.token.keys", &format!("{keys:?}"))
        .start()
}

fn token(entrepot: &Entrepot) -> String {
    let target = "/token?service=entrepot&scope=repository:team/app:pull,push,delete&scope=repository:other:pull";
    let answer = Request::get(target).basic("ann", PASSWORD).send(entrepot.address);
    let token = answer.json()["token"].as_str().expect("a token").to_owned();
    secrets::note(&token);
    token
}

#[test]
fn a_token_is_told_whose_it_is_and_stands_while_its_user_does() {
    let folder = scratch();
    let entrepot = ruled(folder.path(), &folder.path().join("keys").display().to_string());
    let (config, token) = (entrepot.config_path().display().to_string(), token(&entrepot));
    let (output, told) = check(&config, &format!("{token}\n"), &[]);
    assert!(output.status.success(), "{told}");
    for part in [
        "token of user ann\n",
        "issuer    entrepot",
        "audience  entrepot",
        "given for repository team/app: pull, push",
        "by the rules now, team/app: pull, push\n",
        "good: it is of user:ann",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(told.contains("(in ") && told.contains("key "), "{told}");
    // As a header has it, and from a file.
    let file = folder.path().join("token");
    std::fs::write(&file, format!("Bearer {token}")).expect("a file");
    assert!(check(&config, "", &["--file", &file.display().to_string()]).0.status.success());
    let (output, told) = check(&config, "", &[&token]);
    assert!(!output.status.success() && told.contains("stdin") && !told.contains(&token), "{told}");
    // Forged, and of nobody.
    for wrong in [format!("{}AAAA", &token[..token.len() - 4]), "a.b.c".into(), "hello".into(), String::new()] {
        let (output, told) = check(&config, &wrong, &[]);
        assert_eq!(output.status.code(), Some(1), "{told}");
    }
    user(folder.path(), "passwd", "another-p4ssword");
    let (output, told) = check(&config, &token, &[]);
    assert!(output.status.code() == Some(1) && told.contains("has another password"), "{told}");
}

#[test]
fn keys_of_a_process_are_not_known_to_a_command() {
    let folder = scratch();
    let entrepot = ruled(folder.path(), "memory");
    let (output, told) = check(&entrepot.config_path().display().to_string(), &token(&entrepot), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("token of user ann") && told.contains("memory of the process that serves"), "{told}");
}

#[test]
fn a_robots_secret_is_told_what_it_is_for_until_it_is_revoked() {
    let folder = scratch();
    let entrepot = ruled(folder.path(), "memory");
    let config = entrepot.config_path().display().to_string();
    let made = Entrepot::cli(&[
        "token",
        "create",
        "--name",
        "ci",
        "--repo",
        "team/**",
        "--allow",
        "push",
        "--expires",
        "90d",
        "--config",
        &config,
    ]);
    let secret = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    secrets::note(&secret);
    let (output, told) = check(&config, &secret, &[]);
    assert!(output.status.success(), "{told}");
    for part in ["of robot ci\n", "for       team/**: push\n", "(in ", "used      never\n", "good"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (output, told) = check(&config, &secret[..secret.len() - 1], &[]);
    assert!(output.status.code() == Some(1) && told.contains("mistyped"), "{told}");
    let request = || Request::get("/v2/").basic("x", &secret).send(entrepot.address).status;
    assert_eq!(request(), 200);
    assert!(Entrepot::cli(&["token", "revoke", "ci", "--config", &config]).status.success());
    let (output, told) = check(&config, &secret, &[]);
    assert!(output.status.code() == Some(1) && told.contains("revoked"), "{told}");
    eventually("it is refused", || request() == 401);
}
