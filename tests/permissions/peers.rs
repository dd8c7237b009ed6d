//! Entrepot as the token service of registries of another make, with a front before them or none.

use std::path::PathBuf;

use super::{PASSWORD, RULES, Ruled, SIZE, challenge, setup};
use crate::harness::forge::{Signer, Token, now};
use crate::harness::repository::Repository;
use crate::harness::tools::{Containers, fails, run};
use crate::harness::{Entrepot, Registry, Request, Serving, Setup, scratch};

/// Entrepot with its signing keys in a folder, and what others need to check them.
struct Service {
    ruled: Ruled,
    keys: PathBuf,
}

fn service() -> Service {
    service_with("x5c = true")
}

fn service_with(more: &str) -> Service {
    let folder = scratch();
    let keys = folder.path().join("keys");
    let token = format!("{{ keys = {:?}, service = \"registry.fleet\", {more} }}", keys.display().to_string());
    let entrepot = setup(folder.path()).set("auth.token", &token).start();
    Service { ruled: Ruled { entrepot, folder }, keys }
}

impl Service {
    fn settings(&self, trust: &str) -> String {
        let realm = format!("http://{}/token", self.ruled.entrepot.address);
        format!("{{realm: \"{realm}\", service: registry.fleet, issuer: registry.fleet, {trust}}}")
    }

    fn told(&self, word: &str, file: &str) -> String {
        let config = self.ruled.entrepot.config_path().display().to_string();
        let said = Entrepot::cli(&["token", word, "--config", &config]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let path = self.ruled.folder.path().join(file);
        std::fs::write(&path, said.stdout).expect("a file");
        path.display().to_string()
    }

    /// 2.8, which knows certificates only.
    fn debian(&self) -> Serving {
        let bundle = self.told("certificates", "bundle.pem");
        Registry::debian().token_settings(&self.settings(&format!("rootcertbundle: {bundle}"))).start()
    }

    /// v3, by the public keys, which it does not look at when a token has a certificate.
    fn v3_by_keys(&self) -> Serving {
        let jwks = self.told("jwks", "jwks.json");
        Registry::v3().token_settings(&self.settings(&format!("jwks: {jwks}"))).start()
    }

    fn v3(&self) -> Serving {
        let bundle = self.told("certificates", "bundle.pem");
        Registry::v3().token_settings(&self.settings(&format!("rootcertbundle: {bundle}"))).start()
    }

    fn token(&self, login: Option<(&str, &str)>, scope: &str) -> String {
        let request = Request::get(format!("/token?service=registry.fleet&scope={scope}"));
        let request = login.iter().fold(request, |request, (user, password)| request.basic(user, password));
        let answer = request.send(self.ruled.entrepot.address);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().expect("a token").to_owned()
    }
}

/// Tokens that look like that one and are none.
fn forgeries(token: &str, ours: &Signer) -> Vec<(&'static str, String)> {
    let (real, stranger) = (Token::read(token), Signer::stranger());
    let later = now() + 3600;
    let signature = token.rsplit('.').next().expect("a signature");
    vec![
        ("a stranger's key with our name", stranger.sign(&real)),
        (
            "a stranger's key and certificate with our name",
            stranger.sign(&real.clone().headed("x5c", vec![stranger.certificate.clone()])),
        ),
        ("another's", ours.sign(&real.clone().with("aud", "another"))),
        ("of another issuer", ours.sign(&real.clone().with("iss", "another"))),
        ("ended", ours.sign(&real.clone().ended(3600))),
        ("not yet", ours.sign(&real.clone().with("nbf", later).with("exp", later + 600))),
        ("unsigned", format!("{}.", real.clone().headed("alg", "none").unsigned())),
        ("with another's signature", format!("{}.{signature}", real.clone().with("sub", "eve").unsigned())),
    ]
}

fn takes_our_tokens(service: &Service, registry: &Serving) {
    let at = |name: &str| Repository::at(registry.address, name);
    // It sends clients to us.
    let asked = at("team/a").get_manifest("v1");
    let realm = format!("http://{}/token", service.ruled.entrepot.address);
    assert!(challenge(&asked).contains(&format!("Bearer realm=\"{realm}\",service=\"registry.fleet\"")), "{asked:?}");
    let ann = Some(("ann", PASSWORD));
    let push = service.token(ann, "repository:team/a:pull,push");
    let image = at("team/a").bearer(&push).push_random("v1", 1, SIZE);
    let pull = service.token(ann, "repository:team/a:pull");
    let reader = at("team/a").bearer(&pull);
    assert_eq!(reader.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(reader.request("POST", reader.uploads()).send(reader.address).status, 401);
    assert_eq!(at("team/ab").bearer(&push).get_manifest("v1").status, 401);
    // What bob asks for and may not have is not in his token.
    let bob = service.token(Some(("bob", PASSWORD)), "repository:team/a:pull");
    assert_eq!(at("team/a").bearer(&bob).get_manifest("v1").status, 401);
    let nobody = service.token(None, "repository:public/a:pull,push");
    assert_eq!(at("public/a").bearer(&nobody).get_manifest("v1").status, 404);
    let signer = Signer::of_folder(&service.keys);
    // Made anew as it was, it is good: what is wrong with the others is what they say.
    reader.clone().bearer(&signer.sign(&Token::read(&pull))).get_manifest("v1").expect(200);
    for (what, token) in forgeries(&pull, &signer) {
        let answer = reader.clone().bearer(&token).get_manifest("v1");
        assert_eq!(answer.status, 401, "{what}");
    }
}

#[test]
fn docker_registry_takes_our_tokens_by_our_certificate_and_no_forged_ones() {
    let service = service();
    takes_our_tokens(&service, &service.debian());
}

#[test]
fn distribution_v3_takes_our_tokens_by_our_keys_and_no_forged_ones() {
    let service = service_with("x5c = false");
    takes_our_tokens(&service, &service.v3_by_keys());
}

#[test]
fn distribution_v3_takes_our_tokens_by_our_certificate_and_no_forged_ones() {
    let service = service();
    takes_our_tokens(&service, &service.v3());
}

#[test]
fn we_take_none_of_the_forged_ones_ourselves() {
    let service = service();
    let client = service.ruled.repository("team/a");
    service.ruled.ann("team/a").push_random("v1", 1, SIZE);
    let token = service.token(Some(("ann", PASSWORD)), "repository:team/a:pull");
    let signer = Signer::of_folder(&service.keys);
    client.clone().bearer(&signer.sign(&Token::read(&token))).get_manifest("v1").expect(200);
    for (what, token) in forgeries(&token, &signer) {
        let answer = client.clone().bearer(&token).get_manifest("v1");
        assert_eq!(answer.status, 401, "{what}");
        assert!(challenge(&answer).ends_with("error=\"invalid_token\""), "{what}: {}", challenge(&answer));
    }
}

/// Both make the next key known before it signs: who has the certificates of now takes the tokens of then.
#[test]
fn peers_that_got_the_keys_after_a_rotation_take_the_tokens_of_before() {
    let service = service();
    let before = service.token(Some(("ann", PASSWORD)), "repository:team/a:pull,push");
    service.told("rotate", "said");
    for registry in [service.debian(), service.v3()] {
        let client = Repository::at(registry.address, "team/a").bearer(&before);
        client.push_random("v1", 1, SIZE);
        let now = service.token(Some(("ann", PASSWORD)), "repository:team/a:pull");
        Repository::at(registry.address, "team/a").bearer(&now).get_manifest("v1").expect(200);
    }
}

#[test]
fn skopeo_logs_in_to_us_for_a_registry_that_takes_our_tokens() {
    let service = service();
    for registry in [service.debian(), service.v3()] {
        let (containers, files, host) = (Containers::new(), scratch(), registry.address.to_string());
        logs_in_pushes_and_pulls(&service, &containers, files.path(), &host);
    }
}

fn logs_in_pushes_and_pulls(service: &Service, containers: &Containers, files: &std::path::Path, host: &str) {
    service.ruled.ann("seed/a").push_random("1", 5, SIZE);
    let (seed, oci) = (format!("docker://{}/seed/a:1", service.ruled.entrepot.address), files.join("image"));
    let (oci, right) = (format!("oci:{}:1", oci.display()), format!("ann:{PASSWORD}"));
    run(containers.skopeo().args(["copy", "--src-tls-verify=false", "--src-creds", &right, &seed, &oci]));
    let (image, open) = (format!("docker://{host}/team/a:1"), format!("docker://{host}/public/a:1"));
    let push = ["copy", "--dest-tls-verify=false"];
    fails(containers.skopeo().args(push).args([&oci, &image]));
    fails(containers.skopeo().args(["login", "--tls-verify=false", "-u", "ann", "-p", "wrong", host]));
    run(containers.skopeo().args(["login", "--tls-verify=false", "-u", "ann", "-p", PASSWORD, host]));
    for place in [&image, &open] {
        run(containers.skopeo().args(push).args([&oci, place]));
    }
    run(containers.skopeo().args(["logout", host]));
    let back = |name: &str| format!("dir:{}", files.join(name).display());
    run(containers.skopeo().args(["copy", "--src-tls-verify=false", &open, &back("open")]));
    fails(containers.skopeo().args(["copy", "--src-tls-verify=false", &image, &back("closed")]));
}

/// The front has no rules: the peer's challenge goes through it, to a token service that is elsewhere.
#[test]
fn a_front_before_a_peer_that_takes_our_tokens_changes_nothing_for_clients() {
    let service = service();
    for registry in [service.debian(), service.v3()] {
        let front = Entrepot::before(&[registry.address]);
        guards(&service, &front);
        let (containers, files) = (Containers::new(), scratch());
        logs_in_pushes_and_pulls(&service, &containers, files.path(), &front.address.to_string());
    }
}

/// One program is both: it has rules for its own registry, and leaves the rest to peers that take its tokens.
#[test]
fn a_front_may_be_the_token_service_of_its_own_peers() {
    let service = service();
    let registry = service.debian();
    let routes = r#"[
        { hosts = ["own.test"], read = "registry", write = "registry" },
        { read = "cluster.main", write = "cluster.main", auth = "peers" },
    ]"#;
    let entrepot = Setup::before(&[registry.address])
        .storage_at(&service.ruled.folder.path().join("both"))
        .set("route", routes)
        .set("auth.htpasswd", &format!("{:?}", service.ruled.folder.path().join("users").display().to_string()))
        .set(
            "auth.token",
            &format!("{{ keys = {:?}, service = \"registry.fleet\" }}", service.keys.display().to_string()),
        )
        .set("auth.rule", RULES)
        .start();
    guards(&service, &entrepot);
    let own = Request::get("/v2/team/a/manifests/v1").header("Host", "own.test").send(entrepot.address);
    assert_eq!(own.status, 401);
    assert!(challenge(&own).starts_with("Bearer realm=\"http://own.test/token\""), "{}", challenge(&own));
}

/// What the peer says decides, for what is cached too.
fn guards(service: &Service, front: &Entrepot) {
    let at = |name: &str| Repository::at(front.address, name);
    let base = Request::get("/v2/").send(front.address);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"registry.fleet\"", service.ruled.entrepot.address);
    assert_eq!((base.status, challenge(&base).starts_with(&realm)), (401, true), "{}", challenge(&base));
    let asked = at("team/a").get_manifest("v1");
    assert_eq!(asked.status, 401);
    assert!(challenge(&asked).contains("scope=\"repository:team/a:pull\""), "{}", challenge(&asked));
    let ann = Some(("ann", PASSWORD));
    let push = service.token(ann, "repository:team/a:pull,push");
    let image = at("team/a").bearer(&push).push_random("v1", 1, SIZE);
    let reader = at("team/a").bearer(&service.token(ann, "repository:team/a:pull"));
    reader.get_manifest("v1").expect(200);
    reader.get_blob(&image.layers[0]).expect(200);
    front.settled();
    reader.get_blob(&image.layers[0]).expect(200);
    let bob = service.token(Some(("bob", PASSWORD)), "repository:team/a:pull");
    let nobody = service.token(None, "repository:team/a:pull");
    let forged = forgeries(&push, &Signer::of_folder(&service.keys));
    let strangers = [bob, nobody].into_iter().map(|token| ("a stranger's", token)).chain(forged);
    for (what, token) in strangers {
        let stranger = at("team/a").bearer(&token);
        for answer in [
            stranger.get_blob(&image.layers[0]),
            stranger.head_blob(&image.layers[0]),
            stranger.get_manifest("v1"),
            stranger.get_manifest(&image.digest),
        ] {
            assert_eq!(answer.status, 401, "{what}");
            assert!(answer.body.len() < 2000 && challenge(&answer).starts_with("Bearer "), "{what}: {answer:?}");
        }
    }
    assert_eq!(at("team/a").get_blob(&image.layers[0]).status, 401);
    // By another repository than the one that holds it.
    let elsewhere = at("team/b").bearer(&service.token(ann, "repository:team/b:pull"));
    assert_eq!(elsewhere.get_blob(&image.layers[0]).status, 404);
}

/// The peers ask for tokens, and the client is asked by us alone: whatever it logs in with, they are told who it is.
#[test]
fn peers_are_told_who_asks_by_our_tokens_whatever_the_client_shows() {
    for registry in [Service::debian as fn(&Service) -> Serving, Service::v3] {
        let mut service = service();
        let registry = registry(&service);
        let peers = format!("{{ main = {{ peers = [\"{}\"], authorization = \"token\" }} }}", registry.address);
        let routes = "[{ hosts = [\"own\"], read = \"registry\", write = \"registry\" }, \
            { read = \"cluster.main\", write = \"cluster.main\", auth = \"rules\" }]";
        service.ruled.entrepot.reload(|setup| setup.set("cluster", &peers).set("route", routes), "ok");
        let (ann, nobody) = (service.ruled.ann("team/a"), service.ruled.repository("public/a"));
        let image = ann.push_random("v1", 1, SIZE);
        assert_eq!(ann.get_manifest("v1").expect(200), image.manifest);
        let token = service.token(Some(("ann", PASSWORD)), "repository:team/a:pull");
        for _ in 0..2 {
            let reader = service.ruled.repository("team/a").bearer(&token);
            assert_eq!(reader.get_blob(&image.layers[0]).status, 200);
        }
        // Rules first: the peer is not asked, and what is cached stays ann's.
        assert_eq!(service.ruled.bob("team/a").get_blob(&image.layers[0]).status, 403);
        assert_eq!(service.ruled.repository("team/a").get_blob(&image.layers[0]).status, 401);
        let public = service.ruled.ann("public/a").push_random("v1", 2, SIZE);
        assert_eq!(nobody.get_manifest("v1").expect(200), public.manifest);
        assert_eq!(nobody.request("POST", nobody.uploads()).send(nobody.address).status, 401);
        // From one repository into another, which the peer is told of too.
        let target = format!("/v2/team/b/blobs/uploads/?mount={}&from=team/a", image.layers[0]);
        assert_eq!(ann.request("POST", target).send(ann.address).status, 201);
        assert_eq!(ann.request("DELETE", ann.manifest(&image.digest)).send(ann.address).status, 202);
        // The peer itself takes nobody without a token.
        assert_eq!(Repository::at(registry.address, "public/a").get_manifest("v1").status, 401);
    }
}
