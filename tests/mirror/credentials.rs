//! Whose credentials reach whom: ours the remote and the token services that may have them, a client's nobody at all.

use std::os::unix::fs::PermissionsExt as _;

use super::world::{Hub, folder, login, pull_multi, pulls, pulls_image};
use crate::harness::http::basic;
use crate::harness::remote::Login;
use crate::harness::{FakeRemote, Fault, FaultProxy, Manner, Reply, Repository, Rule, Setup, eventually};

const SIZE: usize = 20_000;
const PASSWORD: &str = "the-mirror-s-own";

fn known(hub: &FakeRemote) -> Setup {
    let realm = hub.tokens.address;
    super::world::mirroring(&[("hub", "docker.io", hub.address())]).set("remote.hub.realms", &format!("[\"{realm}\"]"))
}

/// `team/app` is the mirror's own to pull.
fn private(login: Login) -> FakeRemote {
    let manner = Manner { login, blobs_redirect: true, ..Manner::plain() };
    FakeRemote::start(manner.user("mirror", PASSWORD).private("team/app", &["mirror"]))
}

#[test]
fn what_clients_show_is_passed_to_nobody_and_refused_by_nobody() {
    for manner in [Manner::plain(), Manner::hub()] {
        let hub = Hub::start(manner, |setup| setup);
        let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
        let shown = ["a-client-s-password", "another-s-password"];
        pulls(&hub.client("team/app").basic("client", shown[0]), "1", &image);
        pulls(&hub.client("team/app").bearer("a.client-s.token-of-elsewhere"), "1", &image);
        let base = hub.client("").basic("client", shown[1]).request("GET", "/v2/").send(hub.entrepot.address);
        assert_eq!(base.status, 200, "docker takes challenges from here: none");
        for (part, value) in hub.remote.authorizations() {
            assert!(part == "registry" && value.starts_with("Bearer tok"), "{part} was shown a client's own");
        }
    }
}

#[test]
fn our_own_credentials_reach_the_remote_and_the_realms_that_were_named() {
    for kind in [Login::Basic, Login::Bearer, Login::Both, Login::Joined] {
        let files = folder();
        let fake = private(kind);
        let image = fake.put_multi("team/app", "1", 1, SIZE);
        let setup = known(&fake).set("remote.hub.credentials", &format!("[{}]", login(&files, "mirror", PASSWORD)));
        let entrepot = setup.start();
        pulls(&Repository::at(entrepot.address, "docker.io/team/app"), "1", &image);
        let shown = fake.authorizations();
        let to = |part: &str, value: &str| shown.iter().any(|(at, shown)| *at == part && shown.starts_with(value));
        assert!(!to("store", ""), "{kind:?}");
        match kind {
            Login::Basic => assert!(to("registry", "Basic") && fake.tokens.seen().is_empty()),
            // Bearer before Basic: a password is shown to the token service alone.
            _ => assert!(to("registry", "Bearer") && !to("registry", "Basic"), "{kind:?}: {:?}", shown.len()),
        }
    }
}

#[test]
fn a_realm_that_was_not_named_is_shown_nothing() {
    let files = folder();
    let fake = private(Login::Bearer);
    let secret = fake.put_multi("team/app", "1", 1, SIZE);
    let open = fake.put_multi("library/open", "1", 2, SIZE);
    let setup = super::world::mirroring(&[("hub", "docker.io", fake.address())]);
    let setup = setup.set("remote.hub.credentials", &format!("[{}]", login(&files, "mirror", PASSWORD)));
    let entrepot = setup.start();
    let client = Repository::at(entrepot.address, "docker.io/team/app");
    assert!(pull_multi(&client, "1", &secret).is_err());
    // Nobody is to look for long why nothing comes.
    assert!(
        client.get_manifest("1").status >= 400
            && pull_multi(&client.named("docker.io/library/open"), "1", &open).is_err()
    );
    let told = |line: &serde_json::Value| line.to_string().contains("realms");
    eventually("the access log says what is missing", || entrepot.access_log().iter().any(told));
    let password = basic("mirror", PASSWORD);
    assert!(fake.authorizations().iter().all(|(_, value)| *value != password), "shown to a realm that was not named");
    let forms = fake.tokens.seen().into_iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
    assert!(forms.into_iter().all(|form| !form.contains(PASSWORD)));
}

#[test]
fn no_credential_goes_where_a_redirect_leads() {
    let files = folder();
    for kind in [Login::Basic, Login::Bearer] {
        let fake = private(kind);
        fake.behaves(|manner| manner.manifests_redirect = true);
        let image = fake.put_multi("team/app", "1", 1, SIZE);
        let elsewhere = FaultProxy::scripted(|_| Reply::new(404));
        let entrepot =
            known(&fake).set("remote.hub.credentials", &format!("[{}]", login(&files, "mirror", PASSWORD))).start();
        let client = Repository::at(entrepot.address, "docker.io/team/app");
        pulls(&client, "1", &image);
        let lead = |to: String| Fault::Answer(Reply::new(307).header("Location", to));
        let other = fake.put("team/app", "2", 3, SIZE);
        fake.wire.on(Rule::new("", "/v2/", lead(format!("http://{}/x", elsewhere.address))));
        for reference in ["2", &other.digest] {
            assert_ne!(client.get_manifest(reference).status, 200);
        }
        assert_ne!(client.get_blob(&other.layers[0]).status, 200);
        assert!(!elsewhere.seen().is_empty());
        assert!(elsewhere.seen().iter().all(|seen| seen.header("authorization").is_none()), "{kind:?}");
        assert!(!fake.authorizations().iter().any(|(part, _)| *part == "store"), "{kind:?}");
    }
}

#[test]
fn many_who_wait_ask_for_one_token_and_it_is_asked_for_again_before_it_ends() {
    let hub = Hub::start(Manner { token_life: 300, ..Manner::hub() }, |setup| setup);
    let images: Vec<_> =
        (0..30).map(|number| hub.remote.put("team/app", &format!("v{number}"), number, 1000)).collect();
    let client = hub.client("team/app");
    std::thread::scope(|scope| {
        for (number, image) in images.iter().enumerate() {
            let client = &client;
            scope.spawn(move || pulls_image(client, &format!("v{number}"), image));
        }
    });
    assert_eq!(hub.remote.tokens.seen().len(), 1);
    // What the remote forgets is asked for anew, once.
    hub.remote.expire_tokens();
    let more = hub.remote.put("team/app", "more", 99, 1000);
    pulls_image(&client, "more", &more);
    assert_eq!(hub.remote.tokens.seen().len(), 2);
}

#[test]
fn a_token_that_is_short_is_renewed_and_nobody_is_refused() {
    let hub = Hub::start(Manner { token_life: 2, ..Manner::hub() }, |setup| setup);
    let client = hub.client("team/app");
    for number in 0..30 {
        let image = hub.remote.put("team/app", &format!("v{number}"), number, 1000);
        pulls_image(&client, &format!("v{number}"), &image);
        std::thread::sleep(std::time::Duration::from_millis(120));
    }
    assert!(hub.remote.tokens.seen().len() >= 2);
}

/// A program that says one password, and another after it was asked again.
fn helper(files: &tempfile::TempDir, passwords: [&str; 2]) -> String {
    let (path, count) = (files.path().join("docker-credential-test"), files.path().join("asked"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] || exit 3\nread -r server\nprintf '%s\\n' \"$server\" >> {count}\n\
         if [ \"$(wc -l < {count})\" -gt 1 ]; then secret={1}; else secret={0}; fi\n\
         printf '{{\"ServerURL\":\"%s\",\"Username\":\"AWS\",\"Secret\":\"%s\"}}' \"$server\" \"$secret\"\n",
        passwords[0],
        passwords[1],
        count = count.display()
    );
    std::fs::write(&path, script).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("may be run");
    passwords.into_iter().for_each(crate::harness::secrets::note);
    format!("[{{ exec = [{:?}] }}]", path.display().to_string())
}

#[test]
fn a_helper_is_asked_once_and_again_when_what_it_said_has_ended() {
    let files = folder();
    let passwords = ["first-of-the-helper", "second-of-the-helper"];
    let fake = FakeRemote::start(Manner::ecr("AWS", passwords[0]));
    let images: Vec<_> = (0..4).map(|number| fake.put("team/app", &format!("v{number}"), number, SIZE)).collect();
    let entrepot = known(&fake).set("remote.hub.credentials", &helper(&files, passwords)).start();
    let client = Repository::at(entrepot.address, "docker.io/team/app");
    pulls_image(&client, "v0", &images[0]);
    pulls_image(&client, "v1", &images[1]);
    let asked = || std::fs::read_to_string(files.path().join("asked")).unwrap_or_default();
    assert_eq!(asked().lines().count(), 1, "{}", asked());
    assert!(asked().contains("docker.io"), "it is told which registry: {}", asked());
    fake.behaves(|manner| {
        manner.ended_passwords.insert(passwords[0].into());
    });
    // What it said a moment ago is not asked for again at once.
    eventually("the helper is asked again, for another password than was refused", || {
        assert_ne!(client.get_manifest("v2").status, 200, "the second password is not known there");
        asked().lines().count() == 2
    });
    fake.behaves(|manner| {
        manner.ended_passwords.clear();
        manner.users.insert("AWS".into(), passwords[1].into());
    });
    eventually("the second password is shown", || super::world::pull_image(&client, "v3", &images[3]).is_ok());
    assert!(asked().lines().count() <= 4, "{}", asked());
}

#[test]
fn a_login_that_is_wrong_there_is_a_refusal_and_no_failure() {
    let files = folder();
    let fake = private(Login::Basic);
    fake.put("team/app", "1", 1, SIZE);
    let entrepot = known(&fake)
        .set("remote.hub.credentials", &format!("[{}]", login(&files, "mirror", "not-the-password")))
        .start();
    let client = Repository::at(entrepot.address, "docker.io/team/app");
    for _ in 0..12 {
        let answer = client.get_manifest("1");
        assert!(matches!(answer.status, 401 | 403 | 404), "{} {}", answer.status, answer.text());
    }
}
