//! What the cells are asked of: Entrepot with rules before one backend, content in it, and everybody's credentials.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::cells::{Backend, Place, READS, Shown, State, Who};
use crate::harness::forge::Token;
use crate::harness::http::basic;
use crate::harness::{
    Entrepot, Image, Minio, Redis, Registry, Repository, Request, Serving, ServingRedis, Setup, Signer, eventually,
    random_bytes, scratch,
};
use crate::permissions::{PASSWORD, htpasswd};

const USERS: [(Who, &str); 4] =
    [(Who::Reader, "reader"), (Who::Writer, "writer"), (Who::Other, "other"), (Who::Admin, "admin")];

pub const RULES: &str = r#"[
    { repositories = "public/**", who = ["anonymous"], allow = ["pull"] },
    { repositories = "team/**", who = ["user:reader"], allow = ["pull"] },
    { repositories = "team/**", who = ["user:writer"], allow = ["push"] },
    { repositories = "other/**", who = ["user:other"], allow = ["push", "overwrite", "catalog"] },
    { who = ["user:admin"], allow = ["pull", "push", "overwrite", "delete", "catalog"] },
]"#;

/// A host with a registry of its own, where robots are kept, also before a cluster. Every host has rules here.
const OWN: &str = "own.test";

/// Everything that is asked for anywhere.
const SCOPES: &str = "scope=repository:team/app:pull,push,delete&scope=repository:team/none:pull,push,delete\
    &scope=repository:public/app:pull,push,delete&scope=repository:other/hidden:pull,push,delete&scope=registry:catalog:*";

pub struct World {
    /// What is asked.
    pub entrepot: Entrepot,
    /// Writes what cells need, past all rules and past what is asked.
    pub seeder: Repository,
    pub image: Image,
    /// A manifest that a tag may move to.
    pub other: Image,
    redis: Option<ServingRedis>,
    credentials: BTreeMap<(Who, Shown), String>,
    _behind: Behind,
    _folder: tempfile::TempDir,
}

/// Who stands behind what is asked, and beside it.
#[derive(Default)]
struct Behind {
    /// Gives the tokens, if that is another.
    service: Option<Entrepot>,
    /// Over the same storage without rules: where the seeds go in.
    unruled: Option<Entrepot>,
    peer: Option<Serving>,
    minio: Option<Minio>,
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// `[auth]` of whoever has the rules.
fn with_rules(setup: Setup, folder: &Path) -> Setup {
    setup
        .set("auth.htpasswd", &quoted(&folder.join("users")))
        .set("auth.rule", RULES)
        .set("auth.token", &format!("{{ keys = {} }}", quoted(&folder.join("keys"))))
}

impl World {
    pub fn start(backend: Backend, state: State) -> Self {
        let folder = scratch();
        for (_, name) in USERS {
            htpasswd(&folder.path().join("users"), "add", name, PASSWORD);
        }
        let redis = (state == State::Flushed).then(|| Redis::new().start());
        let (setup, behind) = behind(backend, folder.path());
        let entrepot = redis.iter().fold(setup, |setup, redis| redis.set(setup)).start();
        let mut seeder = Repository::at(behind.seeded_at(), Place::Team.name());
        let keys = folder.path().join("keys");
        let credentials = credentials(behind.service.as_ref().unwrap_or(&entrepot), &keys);
        if behind.service.is_some() {
            seeder = seeder.bearer(credentials[&(Who::Admin, Shown::Bearer)].trim_start_matches("Bearer "));
        }
        let (layer, another) = (random_bytes(1, 2000), random_bytes(2, 2000));
        let image = seeder.push_image("v1", &[&layer]);
        let other = seeder.push_image("v2", &[&another]);
        for place in [Place::Public, Place::Hidden] {
            seeder.named(place.name()).push_image("v1", &[&layer]);
        }
        let world = World { entrepot, seeder, image, other, redis, credentials, _behind: behind, _folder: folder };
        if state != State::Cold {
            world.warm();
        }
        world
    }

    /// A request by somebody.
    pub fn request(&self, (who, shown): (Who, Shown), method: &str, target: impl Into<String>) -> Request {
        let request = Request::new(method, target);
        let authorization = self.credentials.get(&(who, shown));
        authorization.iter().fold(request, |request, value| request.header("Authorization", value.as_str()))
    }

    /// Redis forgets, where there is one.
    pub fn flush(&self) {
        self.redis.iter().for_each(ServingRedis::flush);
    }

    fn warm(&self) {
        for place in [Place::Team, Place::Public] {
            for route in READS {
                super::asking::read(self, route, place, (Who::Admin, Shown::Bearer));
            }
        }
        self.entrepot.settled();
    }
}

impl Behind {
    /// Where content is written past all rules.
    fn seeded_at(&self) -> SocketAddr {
        let unruled = self.unruled.as_ref().map(|seeds| seeds.address);
        unruled.or_else(|| self.peer.as_ref().map(|peer| peer.address)).expect("one of them")
    }
}

/// What is asked, still to be started, and what stands behind it.
fn behind(backend: Backend, folder: &Path) -> (Setup, Behind) {
    let mut behind = Behind::default();
    let setup = match backend {
        Backend::Filesystem => {
            let setup = Setup::registry().storage_at(&folder.join("data"));
            behind.unruled = Some(setup.clone().start());
            with_rules(setup, folder)
        }
        Backend::Minio => {
            let minio = Minio::start(&["matrix"]);
            let setup = minio.bucket("matrix").set(Setup::registry());
            behind.unruled = Some(setup.clone().start());
            behind.minio = Some(minio);
            with_rules(setup, folder)
        }
        Backend::ClusterByRules => {
            let registry = Registry::debian().start();
            let own = format!("{{ hosts = [{OWN:?}], read = \"registry\", write = \"registry\" }}");
            let routes = format!(r#"[{own}, {{ read = "cluster.main", write = "cluster.main", auth = "rules" }}]"#);
            let setup = Setup::before(&[registry.address]).storage_at(&folder.join("own")).set("route", &routes);
            behind.peer = Some(registry);
            with_rules(setup, folder)
        }
        Backend::ClusterByPeers => {
            let service = with_rules(Setup::registry(), folder).start();
            let registry = trusting(&service, folder);
            let setup = Setup::before(&[registry.address]);
            (behind.service, behind.peer) = (Some(service), Some(registry));
            setup
        }
    };
    (setup, behind)
}

/// distribution v3, which takes the tokens of that service.
fn trusting(service: &Entrepot, folder: &Path) -> Serving {
    let config = service.config_path().display().to_string();
    let bundle = folder.join("bundle.pem");
    std::fs::write(&bundle, Entrepot::cli(&["token", "certificates", "--config", &config]).stdout).expect("a file");
    let realm = format!("http://{}/token", service.address);
    let settings =
        format!("{{realm: \"{realm}\", service: entrepot, issuer: entrepot, rootcertbundle: {}}}", bundle.display());
    Registry::v3().token_settings(&settings).start()
}

/// The value of `Authorization` for everybody who shows something.
fn credentials(service: &Entrepot, keys: &Path) -> BTreeMap<(Who, Shown), String> {
    let mut logins: Vec<_> = USERS.map(|(who, name)| (who, basic(name, PASSWORD))).into();
    for (who, name) in [(Who::Robot, "robot"), (Who::RevokedRobot, "revoked")] {
        logins.push((who, basic(name, &robot(service, name))));
    }
    let mut all = BTreeMap::new();
    for (who, login) in logins {
        all.insert((who, Shown::Bearer), format!("Bearer {}", token(service, Some(&login))));
        all.insert((who, Shown::Basic), login);
    }
    all.insert((Who::Anonymous, Shown::Bearer), format!("Bearer {}", token(service, None)));
    all.insert((Who::WrongPassword, Shown::Basic), basic("reader", "not the password"));
    let writers = Token::read(all[&(Who::Writer, Shown::Bearer)].trim_start_matches("Bearer "));
    all.insert((Who::Expired, Shown::Bearer), format!("Bearer {}", Signer::of_folder(keys).sign(&writers.ended(100))));
    let revoked = Entrepot::cli(&["token", "revoke", "revoked", "--config", &config(service)]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    let revoked = &all[&(Who::RevokedRobot, Shown::Basic)];
    eventually("the robot is refused", || {
        Request::get("/token").header("Host", OWN).header("Authorization", revoked).send(service.address).status == 401
    });
    all
}

/// All that may be had of what is asked for.
fn token(service: &Entrepot, login: Option<&str>) -> String {
    let request = Request::get(format!("/token?service=entrepot&{SCOPES}")).header("Host", OWN);
    let request = login.iter().fold(request, |request, login| request.header("Authorization", *login));
    let answer = request.send(service.address);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["token"].as_str().expect("a token").to_owned()
}

fn robot(service: &Entrepot, name: &str) -> String {
    let told = ["--name", name, "--repo", "team/**", "--allow", "pull,push", "--config", &config(service)];
    let made = Entrepot::cli(&[&["token", "create"], &told[..]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).expect("text").trim().to_owned()
}

fn config(entrepot: &Entrepot) -> String {
    entrepot.config_path().display().to_string()
}
