//! Rules over mirrored repositories: they speak of the one name, and are the same however a repository is asked for, cold and warm.

use super::world::{mirroring, pull_image};
use crate::harness::http::basic;
use crate::harness::repository::ACCEPT;
use crate::harness::{Answer, Entrepot, FakeRemote, Image, Manner, Repository, Request, eventually, scratch};
use crate::permissions::{PASSWORD, htpasswd};

const RULES: &str = r#"[
    { repositories = "docker.io/library/public", who = ["anonymous"], allow = ["pull"] },
    { repositories = "docker.io/team/**", who = ["user:reader"], allow = ["pull"] },
    { repositories = "docker.io/team/**", who = ["user:writer"], allow = ["push", "overwrite"] },
    { repositories = "team/**", who = ["user:other"], allow = ["pull", "push"] },
    { repositories = "other/**", who = ["user:other"], allow = ["pull"] },
]"#;
const USERS: [&str; 3] = ["reader", "writer", "other"];
const SIZE: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Team,
    Absent,
    Public,
}

impl Place {
    const ALL: [Place; 3] = [Place::Team, Place::Absent, Place::Public];

    /// As the remote calls it; Docker Hub's short names are in `library`.
    fn name(self) -> &'static str {
        match self {
            Place::Team => "team/app",
            Place::Absent => "team/none",
            Place::Public => "public",
        }
    }
}

/// How a repository is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ns,
    Path,
    Both,
    Host,
    HostAndNs,
}

const FORMS: [Form; 5] = [Form::Ns, Form::Path, Form::Both, Form::Host, Form::HostAndNs];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    WrongPassword,
    Basic(&'static str),
    Bearer(&'static str),
    /// Nobody's token.
    Anonymous,
}

const ASKERS: [Shown; 9] = [
    Shown::Nothing,
    Shown::Anonymous,
    Shown::WrongPassword,
    Shown::Basic("reader"),
    Shown::Bearer("reader"),
    Shown::Basic("writer"),
    Shown::Bearer("writer"),
    Shown::Basic("other"),
    Shown::Bearer("other"),
];

struct World {
    entrepot: Entrepot,
    fake: FakeRemote,
    image: Image,
    _folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let folder = scratch();
        let users = folder.path().join("users");
        USERS.iter().for_each(|name| htpasswd(&users, "add", name, PASSWORD));
        let fake = FakeRemote::start(Manner::hub());
        let image = fake.put("team/app", "1", 1, SIZE);
        fake.put("library/public", "1", 1, SIZE);
        let routes = r#"[{ hosts = ["hub.test"], read = "remote.hub", write = "registry" },
            { repositories = "docker.io/**", read = "remote.hub", write = "registry" },
            { read = "registry", write = "registry" }]"#;
        let entrepot = mirroring(&[("hub", "docker.io", fake.address())])
            .set("route", routes)
            .set("auth.htpasswd", &format!("{:?}", users.display().to_string()))
            .set("auth.rule", RULES)
            .start();
        World { entrepot, fake, image, _folder: folder }
    }

    fn token(&self, form: Form, login: Option<&str>) -> String {
        let scopes = Place::ALL.map(|place| {
            let library = if place == Place::Public && form != Form::Host { "library/" } else { "" };
            let path = if matches!(form, Form::Host | Form::HostAndNs) { "" } else { "docker.io/" };
            format!("scope=repository:{path}{library}{}:pull,push", place.name())
        });
        let request = Request::get(format!("/token?service=entrepot&{}", scopes.join("&")));
        let request = match form {
            Form::Host | Form::HostAndNs => request.header("Host", "hub.test"),
            _ => request,
        };
        let request = login.iter().fold(request, |request, user| request.basic(user, PASSWORD));
        let answer = request.send(self.entrepot.address);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    fn credential(&self, form: Form, shown: Shown) -> Option<String> {
        match shown {
            Shown::Nothing => None,
            Shown::WrongPassword => Some(basic("reader", "not-the-password")),
            Shown::Basic(user) => Some(basic(user, PASSWORD)),
            Shown::Bearer(user) => Some(format!("Bearer {}", self.token(form, Some(user)))),
            Shown::Anonymous => Some(format!("Bearer {}", self.token(form, None))),
        }
    }

    fn ask(&self, form: Form, credential: Option<&String>, method: &str, place: Place, what: &str) -> Answer {
        let name = place.name();
        let target = match form {
            Form::Ns | Form::HostAndNs => format!("/v2/{name}/{what}?ns=docker.io"),
            Form::Path => format!("/v2/docker.io/{name}/{what}"),
            Form::Both => format!("/v2/docker.io/{name}/{what}?ns=docker.io"),
            Form::Host => format!("/v2/{name}/{what}"),
        };
        let request = Request::new(method, target).header("Accept", ACCEPT);
        let request = match form {
            Form::Host | Form::HostAndNs => request.header("Host", "hub.test"),
            _ => request,
        };
        credential
            .iter()
            .fold(request, |request, value| request.header("Authorization", value.as_str()))
            .send(self.entrepot.address)
    }
}

fn may_pull(shown: Shown, place: Place) -> bool {
    match shown {
        _ if shown == Shown::WrongPassword => false,
        _ if place == Place::Public => true,
        Shown::Basic("reader" | "writer") | Shown::Bearer("reader" | "writer") => true,
        _ => false,
    }
}

/// What is wrong with an answer.
fn met(answer: &Answer, shown: Shown, place: Place, allowed: bool) -> Result<(), String> {
    let challenged = answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer realm="));
    let right = match (allowed, shown) {
        (true, _) => answer.status == if place == Place::Absent { 404 } else { 200 },
        (false, Shown::Basic(_)) => answer.status == 403,
        (false, _) => answer.status == 401 && challenged,
    };
    if right { Ok(()) } else { Err(format!("{} {:?} {}", answer.status, answer.headers, answer.text())) }
}

#[test]
fn rules_are_the_same_for_every_form_of_a_name_cold_and_warm() {
    let world = World::start();
    let layer = world.image.layers[0].clone();
    let digest = world.image.digest.clone();
    let reads = [
        ("GET", "manifests/1".to_owned()),
        ("HEAD", "manifests/1".into()),
        ("GET", format!("manifests/{digest}")),
        ("HEAD", format!("manifests/{digest}")),
        ("GET", format!("blobs/{layer}")),
        ("HEAD", format!("blobs/{layer}")),
        ("GET", "tags/list".into()),
    ];
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for round in ["cold", "warm"] {
        for form in FORMS {
            // Who may least asks first.
            for shown in ASKERS {
                let credential = world.credential(form, shown);
                for place in Place::ALL {
                    let allowed = may_pull(shown, place);
                    for (method, what) in &reads {
                        let answer = world.ask(form, credential.as_ref(), method, place, what);
                        cells += 1;
                        if let Err(told) = met(&answer, shown, place, allowed) {
                            wrong.push(format!("{round}, {form:?}, {shown:?}: {method} {what} of {place:?}: {told}"));
                        }
                    }
                }
                // Nobody opens an upload who may not, by any name.
                let answer = world.ask(form, credential.as_ref(), "POST", Place::Team, "blobs/uploads/");
                let writes = matches!(shown, Shown::Basic("writer") | Shown::Bearer("writer"));
                cells += 1;
                if (answer.status == 202) != writes {
                    wrong.push(format!("{round}, {form:?}, {shown:?}: an upload: {} {}", answer.status, answer.text()));
                }
            }
        }
    }
    assert_eq!(cells, 2 * 5 * 9 * 22);
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_may_not_be_read_looks_like_what_is_not_there() {
    let world = World::start();
    let reader = world.credential(Form::Path, Shown::Basic("reader"));
    assert_eq!(world.ask(Form::Path, reader.as_ref(), "GET", Place::Team, "manifests/1").status, 200);
    let asked = world.fake.asked();
    for form in FORMS {
        for shown in [Shown::Nothing, Shown::Basic("other"), Shown::Bearer("other"), Shown::WrongPassword] {
            let credential = world.credential(form, shown);
            for what in ["manifests/1", "tags/list", &format!("blobs/{}", world.image.layers[0])] {
                let looks = [Place::Team, Place::Absent].map(|place| {
                    let answer = world.ask(form, credential.as_ref(), "GET", place, what);
                    let same = |text: &str| text.replace(place.name(), "NAME");
                    (answer.status, same(&answer.text()), same(answer.header("www-authenticate").unwrap_or_default()))
                });
                assert_eq!(looks[0], looks[1], "{form:?} {shown:?} {what}");
            }
        }
    }
    assert_eq!(world.fake.asked(), asked, "the remote hears of nobody who may not");
}

#[test]
fn a_mirror_may_be_everybody_s_beside_a_registry_that_is_not() {
    let folder = scratch();
    let users = folder.path().join("users");
    htpasswd(&users, "add", "ann", PASSWORD);
    let fake = FakeRemote::start(Manner::hub());
    let image = fake.put("library/alpine", "3", 1, SIZE);
    let rules = r#"[{ repositories = "docker.io/**", who = ["anonymous"], allow = ["pull"] },
        { who = ["user:ann"], allow = ["pull", "push"] }]"#;
    let entrepot = mirroring(&[("hub", "docker.io", fake.address())])
        .set("auth.htpasswd", &format!("{:?}", users.display().to_string()))
        .set("auth.rule", rules)
        .start();
    pull_image(&Repository::at(entrepot.address, "docker.io/library/alpine"), "3", &image).expect("everybody's");
    let ann = Repository::at(entrepot.address, "team/own").basic("ann", PASSWORD);
    let own = ann.push_random("1", 3, SIZE);
    let stranger = Repository::at(entrepot.address, "team/own");
    assert_eq!(stranger.get_manifest("1").status, 401);
    assert_eq!(stranger.get_blob(&own.layers[0]).status, 401);
    // Nor by calling it a name of the mirror's.
    let through = Repository::at(entrepot.address, "docker.io/team/own");
    assert!(matches!(through.get_blob(&own.layers[0]).status, 401 | 404));
    assert!(matches!(through.get_manifest(&own.digest).status, 401 | 404));
    eventually("the mirror goes on", || {
        pull_image(&Repository::at(entrepot.address, "docker.io/library/alpine"), "3", &image).is_ok()
    });
}

/// Who may not pull from a mirrored repository may not mount from it either, by whatever name.
#[test]
fn nobody_mounts_out_of_a_mirror_what_they_may_not_pull() {
    let world = World::start();
    let layer = world.image.layers[0].clone();
    let reader = world.credential(Form::Path, Shown::Basic("reader"));
    for what in ["manifests/1".to_owned(), format!("blobs/{layer}")] {
        assert_eq!(world.ask(Form::Path, reader.as_ref(), "GET", Place::Team, &what).status, 200);
    }
    let address = world.entrepot.address;
    let other = Repository::at(address, "team/own").basic("other", PASSWORD);
    for query in [
        format!("mount={layer}&from=docker.io/team/app"),
        format!("mount={layer}&from=team/app"),
        format!("mount={layer}&from=team/app&ns=docker.io"),
        format!("mount={layer}"),
    ] {
        let answer = other.request("POST", format!("/v2/team/own/blobs/uploads/?{query}")).send(address);
        assert_ne!(answer.status, 201, "{query}");
        assert_eq!(other.get_blob(&layer).status, 404, "{query}");
    }
}
