//! Private content never leaves to someone whom the peer would refuse: warm or cold, whole or in part, by any name.

use std::time::Duration;

use crate::harness::repository::{ACCEPT, Image};
use crate::harness::{
    Answer, Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Rule, Serving, Setup, TokenServer, digest,
    eventually, random_bytes,
};

const LAYER: usize = 100_000;

/// One way to ask for some of an image, and what an allowed client is answered.
struct Question {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    /// A HEAD with a Range may be answered either way: only GET has ranges, and registries differ.
    statuses: &'static [u16],
}

impl Question {
    fn ask(&self, client: &Repository) -> Answer {
        let request = client.request(self.method, &self.path);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send(client.address)
    }

    fn name(&self) -> String {
        format!("{} {} {:?}", self.method, self.path, self.headers)
    }
}

/// Everything that can be asked of an image.
fn questions(repository: &Repository, image: &Image) -> Vec<Question> {
    let mut all = Vec::new();
    let mut add = |method, path: String, headers: &[(&'static str, &str)], statuses| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.push(Question { method, path, headers, statuses });
    };
    let layer = &image.layers[0];
    let (layer_tag, manifest_tag) = (format!("\"{layer}\""), format!("\"{}\"", image.digest));
    for (method, ranged) in [("GET", [206].as_slice()), ("HEAD", &[200, 206])] {
        add(method, repository.blob(layer), &[], &[200]);
        add(method, repository.blob(&image.config), &[], &[200]);
        add(method, repository.blob(layer), &[("Range", "bytes=10-19")], ranged);
        add(method, repository.blob(layer), &[("Range", "bytes=-5")], ranged);
        add(method, repository.blob(layer), &[("If-None-Match", &layer_tag)], &[304]);
        for reference in ["v1", &image.digest] {
            add(method, repository.manifest(reference), &[("Accept", ACCEPT)], &[200]);
            let conditional = [("Accept", ACCEPT), ("If-None-Match", manifest_tag.as_str())];
            add(method, repository.manifest(reference), &conditional, &[304]);
        }
    }
    all
}

/// Asks everything as `client`: each answer is 401 with a challenge, and holds nothing of the content.
fn assert_refused(client: &Repository, image: &Image) {
    for question in questions(client, image) {
        let (answer, name) = (question.ask(client), question.name());
        assert_eq!(answer.status, 401, "{name}");
        assert!(answer.header("www-authenticate").is_some(), "{name}: {:?}", answer.headers);
        assert!(answer.body.len() < 2000, "{name}: {} bytes", answer.body.len());
        assert_eq!((answer.header("etag"), answer.header("docker-content-digest")), (None, None), "{name}");
    }
}

fn assert_allowed(client: &Repository, image: &Image) {
    for question in questions(client, image) {
        let answer = question.ask(client);
        assert!(question.statuses.contains(&answer.status), "{}: {}", question.name(), answer.status);
    }
}

/// A password-protected registry with one private image, warmed in Entrepot or not.
fn protected(warm: bool) -> (Serving, Entrepot, Image) {
    let registry = Registry::debian().account("ann", "secret").account("bob", "hidden").start();
    let image = Repository::at(registry.address, "private/app").basic("ann", "secret").push_random("v1", 1, LAYER);
    Repository::at(registry.address, "other/app").basic("ann", "secret").push_random("v1", 2, 10);
    let entrepot = Entrepot::before(&[registry.address]);
    if warm {
        assert_allowed(&Repository::at(entrepot.address, "private/app").basic("ann", "secret"), &image);
        entrepot.settled();
    }
    (registry, entrepot, image)
}

fn strangers(entrepot: &Entrepot) -> [Repository; 4] {
    let client = || Repository::at(entrepot.address, "private/app");
    [client(), client().basic("ann", "wrong"), client().basic("eve", "secret"), client().bearer("abc.def.ghi")]
}

#[test]
fn what_one_user_warmed_is_refused_to_strangers() {
    let (_registry, entrepot, image) = protected(true);
    for stranger in strangers(&entrepot) {
        assert_refused(&stranger, &image);
    }
    assert_allowed(&Repository::at(entrepot.address, "private/app").basic("bob", "hidden"), &image);
}

#[test]
fn what_nobody_warmed_is_refused_to_strangers_too() {
    let (_registry, entrepot, image) = protected(false);
    for stranger in strangers(&entrepot) {
        assert_refused(&stranger, &image);
    }
    assert_allowed(&Repository::at(entrepot.address, "private/app").basic("bob", "hidden"), &image);
}

#[test]
fn warm_content_is_not_found_under_a_repository_that_does_not_hold_it() {
    let (_registry, entrepot, image) = protected(true);
    let other = Repository::at(entrepot.address, "other/app").basic("ann", "secret");
    other.get_manifest("v1").expect(200);
    for answer in
        [other.get_blob(&image.layers[0]), other.head_blob(&image.layers[0]), other.get_manifest(&image.digest)]
    {
        assert_eq!(answer.status, 404);
    }
    let range = other.request("GET", other.blob(&image.layers[0])).header("Range", "bytes=0-9").send(other.address);
    assert_eq!(range.status, 404);
    let quoted = format!("\"{}\"", image.layers[0]);
    let known = other.request("GET", other.blob(&image.layers[0])).header("If-None-Match", quoted).send(other.address);
    assert_eq!(known.status, 404);
    let stranger = Repository::at(entrepot.address, "other/app");
    assert_eq!(stranger.get_blob(&image.layers[0]).status, 401);
}

#[test]
fn strangers_are_refused_while_the_registry_is_down_and_its_users_are_served() {
    let (mut registry, entrepot, image) = protected(true);
    registry.kill();
    for stranger in strangers(&entrepot) {
        for question in questions(&stranger, &image) {
            let answer = question.ask(&stranger);
            assert!(matches!(answer.status, 401 | 503), "{}: {}", question.name(), answer.status);
            assert!(answer.body.len() < 2000, "{}", question.name());
        }
    }
    assert_allowed(&Repository::at(entrepot.address, "private/app").basic("ann", "secret"), &image);
}

#[test]
fn a_client_that_joins_a_running_fill_is_asked_for_its_own_permission() {
    let registry = Registry::debian().account("ann", "secret").start();
    let owner = Repository::at(registry.address, "private/app").basic("ann", "secret");
    let blob = owner.push_blob(&random_bytes(3, 4 << 20));
    let peer = FaultProxy::before(registry.address);
    let gate = crate::harness::Gate::new();
    peer.on(Rule::new("GET", &blob, Fault::HoldAt(1 << 20, gate.clone())).times(1));
    let entrepot = Entrepot::before(&[peer.address]);
    let owner = Repository::at(entrepot.address, "private/app").basic("ann", "secret");
    let mut first = owner.request("GET", owner.blob(&blob)).open(entrepot.address);
    assert_eq!(first.status, 200);
    first.read_exactly(1000);
    for stranger in strangers(&entrepot) {
        assert_eq!(stranger.get_blob(&blob).status, 401);
        assert_eq!(stranger.head_blob(&blob).status, 401);
    }
    gate.open();
    assert_eq!(first.finish().body.len(), (4 << 20) - 1000);
    assert_eq!(digest(&owner.get_blob(&blob).expect(200)), blob);
}

#[test]
fn a_challenge_is_the_registry_s_own() {
    let (registry, entrepot, _image) = protected(false);
    let direct = crate::harness::Request::get("/v2/").send(registry.address);
    let through = crate::harness::Request::get("/v2/").send(entrepot.address);
    assert_eq!((through.status, through.header("www-authenticate")), (401, direct.header("www-authenticate")));
    assert_eq!(through.json(), direct.json());
}

/// A registry with tokens behind a peer that counts, and an image of ten layers in it.
fn with_tokens(ttl: &str) -> (TokenServer, Serving, FaultProxy, Entrepot, Image) {
    let tokens =
        TokenServer::start(&[("ann", "secret"), ("bob", "hidden")], &[("ann", "private/app"), ("bob", "other/app")]);
    let registry = Registry::v3().token(&tokens).start();
    let token = tokens.token("ann", "private/app", "pull,push");
    let layers: Vec<Vec<u8>> = (0..10).map(|n| random_bytes(n, 20_000)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let image = Repository::at(registry.address, "private/app").bearer(&token).push_image("v1", &layers);
    let peer = FaultProxy::before(registry.address);
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.verdict_ttl", &format!("\"{ttl}\"")).start();
    (tokens, registry, peer, entrepot, image)
}

/// A pull as docker makes it: the tag, then the config and three layers at a time.
fn pull(client: &Repository, image: &Image) {
    assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
    client.get_blob(&image.config).expect(200);
    for layers in image.layers.chunks(3) {
        std::thread::scope(|scope| {
            for layer in layers {
                scope.spawn(|| assert_eq!(digest(&client.get_blob(layer).expect(200)), *layer));
            }
        });
    }
}

#[test]
fn a_pull_of_ten_layers_with_a_fresh_token_asks_the_peer_once() {
    let (tokens, _registry, peer, entrepot, image) = with_tokens("60s");
    let client = |token: &str| Repository::at(entrepot.address, "private/app").bearer(token);
    pull(&client(&tokens.token("ann", "private/app", "pull")), &image);
    entrepot.settled();
    peer.forget_seen();
    pull(&client(&tokens.token("ann", "private/app", "pull")), &image);
    let asked: Vec<_> = peer.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn a_token_for_something_else_opens_nothing() {
    let (tokens, _registry, _peer, entrepot, image) = with_tokens("60s");
    let client = |token: &str| Repository::at(entrepot.address, "private/app").bearer(token);
    pull(&client(&tokens.token("ann", "private/app", "pull")), &image);
    entrepot.settled();
    let bobs = tokens.token("bob", "private/app", "pull");
    let elsewhere = tokens.token("bob", "other/app", "pull");
    let good = tokens.token("ann", "private/app", "pull");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    for token in [bobs, elsewhere, forged, String::from("x")] {
        assert_refused(&client(&token), &image);
    }
    assert_refused(&Repository::at(entrepot.address, "private/app"), &image);
}

#[test]
fn a_token_is_believed_no_longer_than_it_lives() {
    let (tokens, _registry, peer, entrepot, image) = with_tokens("60s");
    let token = tokens.token_for("ann", "private/app", "pull", Duration::from_secs(3));
    let client = Repository::at(entrepot.address, "private/app").bearer(&token);
    pull(&client, &image);
    entrepot.settled();
    peer.forget_seen();
    client.get_blob(&image.layers[0]).expect(200);
    assert_eq!(peer.seen().len(), 0);
    eventually("the peer is asked again when the token has expired", || {
        client.get_blob(&image.layers[0]);
        !peer.seen().is_empty()
    });
}

#[test]
fn a_withdrawn_permission_counts_after_the_ttl_at_the_latest() {
    let (tokens, _registry, peer, entrepot, image) = with_tokens("1s");
    let client = Repository::at(entrepot.address, "private/app").bearer(&tokens.token("ann", "private/app", "pull"));
    pull(&client, &image);
    entrepot.settled();
    let refusal = Reply::new(403).header("Content-Type", "application/json").body(r#"{"errors":[{"code":"DENIED"}]}"#);
    peer.on(Rule::new("", "/v2/private/", Fault::Answer(refusal)));
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..3 {
        let answer = client.get_blob(&image.layers[0]);
        assert_eq!((answer.status, answer.error_code().as_str()), (403, "DENIED"));
        assert_eq!(client.head_blob(&image.layers[1]).status, 403);
    }
    peer.forget_rules();
    client.get_blob(&image.layers[0]).expect(200);
}

#[test]
fn a_refusal_and_an_absence_are_not_remembered() {
    let (tokens, registry, _peer, entrepot, _image) = with_tokens("60s");
    let token = tokens.token("ann", "private/app", "pull,push");
    let client = Repository::at(entrepot.address, "private/app").bearer(&token);
    let bytes = random_bytes(77, 5000);
    let digest = digest(&bytes);
    for _ in 0..2 {
        assert_eq!(client.head_blob(&digest).status, 404);
        assert_eq!(client.get_blob(&digest).status, 404);
    }
    // Behind Entrepot's back, so that nothing but asking again can tell.
    Repository::at(registry.address, "private/app").bearer(&token).push_blob(&bytes);
    client.head_blob(&digest).expect(200);
    assert_eq!(client.get_blob(&digest).expect(200), bytes);
}

#[test]
fn a_public_cluster_serves_anyone_but_only_what_the_repository_holds() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, LAYER);
    Repository::at(registry.address, "team/other").push_random("v1", 2, 10);
    let peer = FaultProxy::before(registry.address);
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.permission", "\"public\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    client.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    peer.forget_seen();
    Repository::at(entrepot.address, "team/app").basic("anyone", "at all").get_blob(&image.layers[0]).expect(200);
    assert_eq!(peer.seen().len(), 0);
    assert_eq!(Repository::at(entrepot.address, "team/other").get_blob(&image.layers[0]).status, 404);
}
