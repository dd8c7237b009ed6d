//! Content at hand of a cluster that is read under rules: given at once to who was admitted a moment ago, and to nobody else.

use crate::harness::repository::Repository;
use crate::harness::{Connection, Entrepot, Registry, Request, Serving, Setup, eventually, scratch};

const PASSWORD: &str = "5ecret-p4ssword";

struct Front {
    _peer: Serving,
    entrepot: Entrepot,
    layer: String,
    _folder: tempfile::TempDir,
}

/// A cluster from which ann and robots of `team/**` read `team/a`, whose layer is in memory.
fn front() -> Front {
    let peer = Registry::debian().start();
    let image = Repository::at(peer.address, "team/a").push_random("v1", 1, 20_000);
    let folder = scratch();
    let entrepot = Setup::registry()
        .storage_at(&folder.path().join("data"))
        .set("cluster.main.peers", &format!("[\"{}\"]", peer.address))
        .set("route", "[{ repositories = \"own/**\", read = \"registry\", write = \"registry\" }, { read = \"cluster.main\", auth = \"rules\" }]")
        .set("auth.username", "\"ann\"")
        .set("auth.password", &format!("{PASSWORD:?}"))
        .set("auth.rule", "[{ repositories = \"team/**\", who = [\"user:ann\"], allow = [\"pull\"] }]")
        .start();
    let layer = image.layers[0].clone();
    Front { _peer: peer, entrepot, layer, _folder: folder }
}

impl Front {
    fn token(&self, user: &str, password: &str) -> String {
        let request = Request::get("/token?scope=repository:team/a:pull").basic(user, password);
        request.send(self.entrepot.address).json()["token"].as_str().expect("a token").to_owned()
    }

    fn status(&self, token: Option<&str>, id: &str) -> u16 {
        let repository = Repository::at(self.entrepot.address, "team/a");
        let repository = token.iter().fold(repository, |repository, token| repository.bearer(token));
        let request = repository.request("GET", repository.blob(&self.layer)).header("X-Request-Id", id);
        // Kept alive: who says that it closes takes the long way.
        let connection = Connection::open(self.entrepot.address).expect("a connection");
        connection.ask(request).expect("an answer").0.status
    }

    fn identified(&self) -> f64 {
        self.entrepot.metric("entrepot_auth_logins_total", &[("kind", "bearer")])
    }
}

#[test]
fn who_was_admitted_is_not_looked_at_again_and_others_are() {
    let front = front();
    let token = front.token("ann", PASSWORD);
    eventually("the layer is in memory, and given at once", || {
        let before = front.identified();
        assert_eq!(front.status(Some(&token), "first"), 200);
        let looked_at = front.identified();
        assert_eq!(front.status(Some(&token), "second"), 200);
        looked_at > before && front.identified() == looked_at
    });
    for id in ["first", "second"] {
        assert_eq!(front.entrepot.logged(id)["identity"], "ann", "{id}");
    }
    assert_eq!(front.status(None, "nobody"), 401);
    let forged = format!("{}x{}", &token[..token.len() - 5], &token[token.len() - 4..]);
    assert_eq!(front.status(Some(&forged), "forged"), 401);
    assert_eq!(front.status(Some(&token), "third"), 200);
}

#[test]
fn a_reload_counts_at_once_for_what_is_at_hand() {
    let mut front = front();
    let token = front.token("ann", PASSWORD);
    for id in ["a", "b", "c"] {
        assert_eq!(front.status(Some(&token), id), 200);
    }
    let none = "[{ repositories = \"team/**\", who = [\"user:bob\"], allow = [\"pull\"] }]";
    front.entrepot.reload(|setup| setup.set("auth.rule", none), "ok");
    assert_eq!(front.status(Some(&token), "after"), 401);
}

#[test]
fn a_revoked_robot_gets_nothing_that_is_at_hand() {
    let front = front();
    let config = front.entrepot.config_path().display().to_string();
    let made = Entrepot::cli(&[
        "token", "create", "--name", "ci", "--repo", "team/**", "--allow", "pull", "--config", &config,
    ]);
    let secret = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let secret = secret.split_whitespace().find(|word| word.starts_with("ent_")).expect("a secret").to_owned();
    let token = front.token("any", &secret);
    assert_eq!(front.status(Some(&token), "before"), 200);
    let revoked = Entrepot::cli(&["token", "revoke", "ci", "--config", &config]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    // Asked all the time, so that what is remembered of it is used.
    eventually("it is refused", || front.status(Some(&token), "after") == 401);
}
