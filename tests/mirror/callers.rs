//! `identity = "caller"`: each client by its own right at the remote, cold and warm, and nothing crosses.

use super::world::{Hub, pull_blob, pull_image, pulls_image};
use crate::harness::remote::Login;
use crate::harness::{FakeRemote, Fault, Image, Manner, Repository, Rule, digest, eventually};

const SIZE: usize = 20_000;
const ANN: (&str, &str) = ("ann", "anns-own-password");
const BOB: (&str, &str) = ("bob", "bobs-own-password");

struct Private {
    hub: Hub,
    /// ann's, bob's, and both's.
    images: [Image; 3],
    shared: String,
}

const NAMES: [&str; 3] = ["ann/app", "bob/app", "both/app"];

fn private(login: Login) -> Private {
    let manner = Manner { login, ..Manner::plain() }
        .user(ANN.0, ANN.1)
        .user(BOB.0, BOB.1)
        .private("ann/app", &["ann"])
        .private("bob/app", &["bob"])
        .private("both/app", &["ann", "bob"]);
    let remote = FakeRemote::start(manner);
    let realm = remote.tokens.address;
    let entrepot = super::world::mirroring(&[("hub", "docker.io", remote.address())])
        .set("remote.hub.identity", "\"caller\"")
        .set("remote.hub.keep", "\"storage\"")
        .set("remote.hub.realms", &format!("[\"{realm}\"]"))
        .start();
    let images = [0, 1, 2].map(|number| remote.put(NAMES[number], "1", number as u64 + 1, SIZE));
    // The same layer in ann's and in bob's.
    let shared = remote.shelf(|shelf| {
        shelf.repository("bob/app").put_blob(b"of both".to_vec());
        shelf.repository("ann/app").put_blob(b"of both".to_vec())
    });
    Private { hub: Hub { entrepot, remote }, images, shared }
}

impl Private {
    fn as_user(&self, (user, password): (&str, &str), number: usize) -> Repository {
        self.hub.client(NAMES[number]).basic(user, password)
    }

    /// Everything that might give something away.
    fn nothing_for(&self, client: &Repository, number: usize) {
        let image = &self.images[number];
        for answer in [
            client.get_manifest("1"),
            client.get_manifest(&image.digest),
            client.head_manifest("1"),
            client.head_manifest(&image.digest),
            client.get_blob(&image.layers[0]),
            client.head_blob(&image.layers[0]),
            client.get_blob(&image.config),
            client.request("GET", format!("/v2/{}/tags/list", client.name)).send(client.address),
        ] {
            assert!(matches!(answer.status, 401 | 403 | 404), "{} {}: {}", client.name, answer.status, answer.text());
            assert!(!answer.text().contains(&image.digest));
            assert_ne!(answer.header("docker-content-digest"), Some(image.digest.as_str()));
        }
    }
}

#[test]
fn each_has_what_the_remote_gives_it_and_nothing_else() {
    for login in [Login::Basic, Login::Bearer] {
        let world = private(login);
        for round in ["cold", "warm", "again"] {
            for (user, own, others) in [(ANN, 0, 1), (BOB, 1, 0)] {
                world.nothing_for(&world.as_user(user, others), others);
                pulls_image(&world.as_user(user, own), "1", &world.images[own]);
                pulls_image(&world.as_user(user, 2), "1", &world.images[2]);
                pull_blob(&world.as_user(user, own), &world.shared).unwrap_or_else(|what| panic!("{round}: {what}"));
                world.nothing_for(&world.as_user(user, others), others);
            }
            // Who shows nothing, or something wrong, has nothing.
            for (number, name) in NAMES.into_iter().enumerate() {
                world.nothing_for(&world.hub.client(name), number);
                world.nothing_for(&world.as_user((ANN.0, "a-wrong-password"), number), number);
                world.nothing_for(&world.hub.client(name).bearer("a.strange.token-of-nobody"), number);
            }
        }
        let fetched = [0, 1, 2].map(|number| world.hub.remote.gets(&world.images[number].layers[0]));
        assert_eq!(fetched, [1, 1, 1], "{login:?}: the right is asked for, the bytes came once");
    }
}

#[test]
fn who_may_no_more_is_refused_the_tag_at_once_and_others_go_on() {
    let mut world = private(Login::Basic);
    world.hub.entrepot.reload(|setup| setup.set("remote.hub.tag_ttl", "\"0s\""), "ok");
    pulls_image(&world.as_user(ANN, 2), "1", &world.images[2]);
    pulls_image(&world.as_user(BOB, 2), "1", &world.images[2]);
    world.hub.remote.behaves(|manner| {
        manner.private.insert("both/app".into(), ["ann".to_owned()].into());
    });
    let bob = world.as_user(BOB, 2);
    assert!(matches!(bob.get_manifest("1").status, 401 | 403 | 404), "a tag is asked about each time here");
    pulls_image(&world.as_user(ANN, 2), "1", &world.images[2]);
}

#[test]
fn a_caller_s_credentials_are_shown_to_the_remote_and_its_realms_alone() {
    let world = private(Login::Bearer);
    world.hub.remote.behaves(|manner| manner.blobs_redirect = true);
    pulls_image(&world.as_user(ANN, 0), "1", &world.images[0]);
    let shown = world.hub.remote.authorizations();
    assert!(!shown.iter().any(|(part, _)| *part == "store"));
    assert!(shown.iter().any(|(part, value)| *part == "tokens" && value.starts_with("Basic")), "ann's own right");
}

/// Whose right it is cannot be known while the remote is down.
#[test]
fn nobody_has_anything_private_while_the_remote_is_down_but_who_was_just_let_in() {
    let world = private(Login::Basic);
    pulls_image(&world.as_user(ANN, 0), "1", &world.images[0]);
    world.hub.kept("ann/app", &world.images[0].layers);
    world.hub.remote.die();
    let bob = world.as_user(BOB, 0);
    for answer in
        [bob.get_manifest("1"), bob.get_manifest(&world.images[0].digest), bob.get_blob(&world.images[0].layers[0])]
    {
        assert!(matches!(answer.status, 401 | 403 | 404 | 503), "{}", answer.status);
        assert_ne!(digest(&answer.body), world.images[0].layers[0]);
    }
    world.hub.remote.revive();
    eventually("ann goes on", || pull_image(&world.as_user(ANN, 0), "1", &world.images[0]).is_ok());
}

#[test]
fn a_question_under_way_for_one_is_no_answer_for_another() {
    let world = private(Login::Basic);
    let gate = crate::harness::Gate::new();
    world.hub.remote.wire.on(Rule::new("", "/manifests/1", Fault::Hold(gate.clone())));
    let (ann, bob) = (world.as_user(ANN, 0), world.as_user(BOB, 0));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ann.get_manifest("1"));
        eventually("the remote is asked", || world.hub.remote.asked() > 0);
        let joined = scope.spawn(|| bob.get_manifest("1"));
        eventually("it is asked by the other too", || world.hub.remote.asked() > 1);
        gate.open();
        assert_eq!(asked.join().expect("an answer").expect(200), world.images[0].manifest);
        assert!(matches!(joined.join().expect("an answer").status, 401 | 403 | 404));
    });
}

/// What is kept for callers lies in the registry's storage too: by its other doors it is not there.
#[test]
fn what_is_kept_for_callers_is_given_by_no_other_door() {
    for hosts in ["", "hosts = [\"priv.test\"], "] {
        let mut world = private(Login::Basic);
        let routes = format!(
            "[{{ {hosts}repositories = \"docker.io/**\", read = \"remote.hub\" }}, {{ read = \"registry\", write = \"registry\" }}]"
        );
        world.hub.entrepot.reload(|setup| setup.set("route", &routes), "ok");
        let image = world.images[0].clone();
        let address = world.hub.entrepot.address;
        let (user, password) = ANN;
        let ask = |what: &str| {
            let request = crate::harness::Request::get(format!("/v2/docker.io/ann/app/{what}")).basic(user, password);
            request.header("Host", "priv.test").send(address)
        };
        assert_eq!(ask("manifests/1").expect(200), image.manifest);
        assert_eq!(ask(&format!("blobs/{}", image.layers[0])).expect(200).len(), SIZE);
        world.hub.kept("ann/app", &image.layers);
        // By another host, by ns there, and by a mount from it.
        world.nothing_for(&world.hub.client("ann/app"), 0);
        world.nothing_for(&world.as_user(BOB, 0), 0);
        for what in [format!("manifests/{}", image.digest), format!("blobs/{}", image.layers[0]), "manifests/1".into()]
        {
            let answer = world.hub.by_ns("GET", "ann/app", &what);
            assert!(matches!(answer.status, 401 | 403 | 404), "{hosts} {what}: {}", answer.status);
        }
        let own = Repository::at(address, "team/own");
        for query in [format!("mount={}&from=docker.io/ann/app", image.layers[0]), format!("mount={}", image.layers[0])]
        {
            let answer = own.request("POST", format!("/v2/team/own/blobs/uploads/?{query}")).send(address);
            assert_ne!(answer.status, 201, "{hosts}{query}: a mount takes it out");
            assert_eq!(own.get_blob(&image.layers[0]).status, 404);
        }
        let manifest = own
            .request("PUT", "/v2/team/own/manifests/x")
            .header("Content-Type", crate::harness::repository::OCI_MANIFEST);
        assert!(manifest.body(image.manifest.clone()).send(address).status >= 400, "{hosts}");
        assert_eq!(own.get_blob(&image.layers[0]).status, 404);
    }
}
