//! Helpers as real programs: scripts of a shell.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;

struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Script { folder };
        // Renamed into its place: a file that somebody has open for writing cannot be run, and a fork in another thread has it open.
        let written = script.path("written");
        std::fs::write(&written, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(written, script.path("helper")).unwrap();
        script
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Run by the shell, not by its `#!`.
    fn exec(&self) -> Vec<String> {
        vec!["/bin/sh".into(), self.path("helper").display().to_string()]
    }

    async fn ask(&self) -> Result<Login, String> {
        ask_helper(&self.exec(), "registry.example:5000").await
    }

    fn helper(&self) -> Arc<Helper> {
        Arc::new(Helper::new(self.exec(), "registry.example:5000".into()))
    }

    fn counted(&self) -> usize {
        std::fs::read_to_string(self.path("runs")).unwrap_or_default().len()
    }
}

fn login(username: &str, secret: &str) -> Login {
    Login { username: username.into(), secret: secret.into() }
}

/// A helper that counts its runs in a file beside it, and says what the file `secret` holds.
fn counting() -> Script {
    let script = Script::new(
        r#"here=$(dirname "$0"); printf x >> "$here/runs"
printf '{"ServerURL":"x","Username":"AWS","Secret":"%s"}' "$(cat "$here/secret")""#,
    );
    std::fs::write(script.path("secret"), "one").unwrap();
    script
}

#[tokio::test]
async fn a_helper_is_given_the_registrys_name_and_get() {
    let script = Script::new(
        r#"read name; printf '{"ServerURL":"%s","Username":"%s","Secret":"s of %s"}\n' "$name" "$1" "$name""#,
    );
    assert_eq!(script.ask().await, Ok(login("get", "s of registry.example:5000")));
    let mut exec = script.exec();
    exec.push("argument".into());
    assert_eq!(ask_helper(&exec, "r").await, Ok(login("argument", "s of r")));
}

#[tokio::test]
async fn a_helper_that_does_not_read_its_input_is_as_good() {
    let script = Script::new(r#"exec <&-; printf '{"ServerURL":"","Username":"<token>","Secret":"t"}'"#);
    assert_eq!(script.ask().await, Ok(login("<token>", "t")));
}

#[tokio::test]
async fn what_a_helper_gets_wrong_is_told_without_its_secret() {
    for (text, told) in [
        ("echo '{\"Username\":\"u\",\"Secret\":\"hidden'", "no JSON object"),
        ("echo '{\"Username\":\"u\",\"Secret\":[\"hidden\"]}'", "no JSON object"),
        ("echo '{\"Username\":\"u\"}'", "no JSON object"),
        ("echo '{\"Username\":\"u\",\"Secret\":\"\"}'", "none that can be sent"),
        ("printf '{\"Username\":\"u\",\"Secret\":\"hidden\\\\nX-Field: 1\"}'", "none that can be sent"),
        ("true", "no JSON object"),
        ("echo 'credentials not found' >&2; echo hidden; exit 1", "credentials not found"),
        ("echo hidden; exit 3", "it does not say why"),
        ("kill -9 $$", "it failed"),
    ] {
        let error = Script::new(text).ask().await.unwrap_err();
        assert!(error.contains(told) && !error.contains("hidden"), "{text}: {error}");
    }
    let error = ask_helper(&["/nowhere/helper".into()], "r").await.unwrap_err();
    assert!(error.contains("/nowhere/helper: it cannot be run"), "{error}");
    assert!(ask_helper(&[], "r").await.is_err());
}

#[tokio::test]
async fn endless_output_is_refused_and_does_not_hold_it_up() {
    let script = Script::new("yes | head -c 1000000");
    let error = script.ask().await.unwrap_err();
    assert!(error.contains("more than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn a_helper_runs_once_for_all_who_ask() {
    let script = counting();
    let helper = script.helper();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let helper = Arc::clone(&helper);
            tokio::spawn(async move { helper.login().await })
        })
        .collect();
    for asked in asking {
        assert_eq!(*asked.await.unwrap().unwrap(), login("AWS", "one"));
    }
    assert_eq!(script.counted(), 1);
}

#[tokio::test]
async fn what_was_refused_is_asked_for_again_once() {
    let script = counting();
    let helper = script.helper();
    let first = helper.login().await.unwrap();
    std::fs::write(script.path("secret"), "two").unwrap();
    assert_eq!(helper.again(&first).await, None, "it was asked a moment ago");
    helper.said.lock().await.as_mut().unwrap().at -= PAUSE;
    let second = helper.again(&first).await.unwrap();
    assert_eq!(*second, login("AWS", "two"));
    assert_eq!(helper.again(&first).await, Some(Arc::clone(&second)), "another one has asked again");
    assert_eq!(helper.again(&second).await, None);
    helper.said.lock().await.as_mut().unwrap().at -= PAUSE;
    assert_eq!(helper.again(&second).await, None, "it says the same");
    assert_eq!(script.counted(), 3);
    assert_eq!(helper.login().await, Ok(second));
    helper.said.lock().await.as_mut().unwrap().at -= KEPT;
    helper.login().await.unwrap();
    assert_eq!(script.counted(), 4, "after an hour");
}

#[tokio::test]
async fn a_helper_that_fails_is_not_run_for_each_request() {
    let script = Script::new(r#"printf x >> "$(dirname "$0")/runs"; exit 1"#);
    let helper = script.helper();
    for _ in 0..10 {
        assert!(helper.login().await.is_err());
    }
    assert_eq!(script.counted(), 1);
    helper.said.lock().await.as_mut().unwrap().at -= PAUSE;
    assert!(helper.login().await.is_err());
    assert_eq!(script.counted(), 2);
}

#[tokio::test]
async fn what_it_says_is_kept_though_nobody_waited_for_it() {
    let script = Script::new("echo run >> \"${0%/*}/runs\"\nsleep 1\necho '{\"Username\":\"AWS\",\"Secret\":\"one\"}'");
    let helper = script.helper();
    assert!(tokio::time::timeout(Duration::from_millis(100), helper.login()).await.is_err(), "it takes longer");
    assert_eq!(*helper.login().await.unwrap(), login("AWS", "one"));
    let runs = std::fs::read_to_string(script.path("runs")).unwrap();
    assert_eq!(runs.lines().count(), 1, "it ran once for both");
}
