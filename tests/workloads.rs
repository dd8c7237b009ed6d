//! Those whom others vouch for: programs with tokens of an OIDC issuer, and bearers of another token service's tokens.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::issuer::{Key, now};
use crate::harness::repository::Repository;
use crate::harness::tools::{Containers, busybox_tree, fails, run};
use crate::harness::{Answer, Dockerd, Entrepot, Issuer, Reply, Request, Setup, docker, eventually, scratch};

const SIZE: usize = 20_000;
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Workloads of `main` push to `team/**` by their group, and to `own/**` by their name; everybody pulls `public/**`.
const RULES: &str = r#"[
    { repositories = "team/**", who = ["group:ci"], allow = ["push", "overwrite"] },
    { repositories = "own/**", who = ["user:gh:7"], allow = ["push"] },
    { repositories = "public/**", who = ["anonymous"], allow = ["pull"] },
    { repositories = "shared/**", who = ["workload:ann"], allow = ["push", "overwrite"] },
]"#;

fn entry(issuer: &Issuer) -> String {
    format!(
        "[{{ issuer = {:?}, audience = \"registry.test\", require = {{ ref = \"main\" }}, user = \"gh:{{repository_id}}\", \
         groups = [\"ci\"] }}]",
        issuer.url()
    )
}

fn setup(issuer: &Issuer) -> Setup {
    Setup::registry().set("auth.workload", &entry(issuer)).set("auth.rule", RULES).set("log.level", "\"trace\"")
}

fn ask(entrepot: &Entrepot, token: &str, scope: &str) -> Answer {
    Request::get(format!("/token?service=entrepot&account=oidc&scope={scope}"))
        .basic("oidc", token)
        .send(entrepot.address)
}

fn post(entrepot: &Entrepot, form: String) -> Answer {
    let request = Request::new("POST", "/token").header("Content-Type", "application/x-www-form-urlencoded");
    request.body(form).send(entrepot.address)
}

fn exchange(entrepot: &Entrepot, token: &str, scope: &str) -> Answer {
    post(entrepot, format!("grant_type={EXCHANGE}&subject_token={token}&subject_token_type={JWT}&scope={scope}"))
}

fn given(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_workload_pushes_with_its_token() {
    let issuer = Issuer::start();
    let entrepot = setup(&issuer).start();
    let at = |name: &str| Repository::at(entrepot.address, name);
    let token = issuer.token();
    // As a password everywhere; by the other key too.
    at("team/basic").basic("oidc", &token).push_random("v1", 1, SIZE);
    at("own/basic").basic("oidc", &issuer.sign(1, &issuer.claims())).push_random("v1", 2, SIZE);
    assert_eq!(at("other/a").basic("oidc", &token).get_manifest("v1").status, 403);
    // For a token of ours, as clients ask for it.
    let scope = |name: &str| format!("repository:{name}:pull,push");
    let asked = given(&ask(&entrepot, &token, &scope("team/asked")));
    at("team/asked").bearer(&asked).push_random("v1", 3, SIZE);
    let form = format!("grant_type=password&username=oidc&password={token}&scope={}", scope("team/form"));
    let posted = given(&post(&entrepot, form));
    at("team/form").bearer(&posted).push_random("v1", 4, SIZE);
    let answer = exchange(&entrepot, &token, &scope("team/exchange"));
    assert_eq!(answer.json()["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(answer.json()["token_type"], "Bearer");
    let pushed = at("team/exchange").bearer(&given(&answer));
    let image = pushed.push_random("v1", 5, SIZE);
    assert_eq!(pushed.get_manifest("v1").expect(200), image.manifest);
    // Asking for too much gives what there is.
    assert_eq!(exchange(&entrepot, &token, "repository:other/a:pull,push").json()["scope"], "");
    // The keys were asked for once or twice, and the token is in no log.
    assert!(issuer.asked() <= 2, "{}", issuer.asked());
    assert!(entrepot.metric("entrepot_auth_logins_total", &[("kind", "workload"), ("result", "ok")]) >= 5.0);
    assert!(entrepot.metric("entrepot_auth_tokens_total", &[("kind", "workload")]) >= 3.0);
    assert!(entrepot.metric("entrepot_auth_key_fetches_total", &[("result", "ok")]) >= 1.0);
    let access = || std::fs::read_to_string(entrepot.access_log_path()).unwrap_or_default();
    eventually("the access log", || access().contains(r#""identity":"gh:7""#));
    let logs = entrepot.log() + &access();
    for secret in [token.as_str(), token.rsplit('.').next().expect("a signature"), "subject_token"] {
        assert!(!logs.contains(secret), "{secret}");
    }
}

#[test]
fn a_failed_exchange_is_a_failed_login_for_the_audit() {
    let issuer = Issuer::start();
    let folder = scratch();
    let file = folder.path().join("audit.log");
    let entrepot = setup(&issuer).set("audit.to", &format!("{file:?}")).start();
    let forged = Key::es256("es-1").sign(json!({}), &issuer.claims());
    assert_eq!(exchange(&entrepot, &forged, "repository:team/a:pull").status, 400);
    eventually("it is recorded", || {
        let lines = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.any(|line| {
            (line["action"].as_str(), line["result"].as_str(), line["actor"]["name"].as_str())
                == (Some("login"), Some("failed"), Some("oidc"))
        })
    });
}

#[test]
fn a_token_that_does_not_fit_is_nobodys() {
    let issuer = Issuer::start();
    let entrepot = setup(&issuer).start();
    let other = Issuer::start();
    let claims = issuer.claims();
    let short = json!({"kid": "es-1"});
    for (what, token) in [
        ("audience", issuer.token_but(json!({"aud": "registry.other"}))),
        ("no audience", issuer.token_but(json!({"aud": []}))),
        ("requirement", issuer.token_but(json!({"ref": "dev"}))),
        ("expired", issuer.token_but(json!({"iat": now() - 900, "nbf": now() - 900, "exp": now() - 120}))),
        ("not yet", issuer.token_but(json!({"nbf": now() + 300}))),
        ("a life of days", issuer.token_but(json!({"exp": now() + 48 * 3600}))),
        ("another issuer", other.token()),
        ("another's key", Key::es256("es-1").sign(json!({}), &claims)),
        ("a key in the head", {
            let forger = Key::es256("es-1");
            forger.sign(json!({"jwk": forger.jwk(), "jku": other.url() + "/keys"}), &claims)
        }),
        ("an algorithm of none", Key::es256("es-1").sign(json!({"alg": "none"}), &claims)),
        ("another algorithm", Key::rs256("rs-1").sign(short, &claims)),
        ("no token", "password".into()),
        ("nothing", String::new()),
    ] {
        let public = Repository::at(entrepot.address, "public/a").basic("oidc", &token);
        assert_eq!(public.get_manifest("v1").status, 401, "{what}");
        assert_eq!(ask(&entrepot, &token, "repository:team/a:pull").status, 401, "{what}");
        let answer = exchange(&entrepot, &token, "repository:team/a:pull");
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")), "{what}");
    }
    let token = issuer.token();
    for form in [
        format!("grant_type={EXCHANGE}&subject_token={token}"),
        format!(
            "grant_type={EXCHANGE}&subject_token={token}&subject_token_type=urn:ietf:params:oauth:token-type:saml2"
        ),
        format!("grant_type={EXCHANGE}&subject_token={token}&subject_token_type={JWT}&actor_token=x"),
        format!("grant_type={EXCHANGE}&subject_token={token}&subject_token_type={JWT}&requested_token_type=x"),
    ] {
        assert_eq!(post(&entrepot, form.clone()).json()["error"], "invalid_request", "{form}");
    }
    for (more, error) in [("&audience=entrepot", None), ("&audience=other", Some("invalid_target"))] {
        let form = format!("grant_type={EXCHANGE}&subject_token={token}&subject_token_type={JWT}{more}");
        assert_eq!(post(&entrepot, form).json()["error"].as_str(), error, "{more}");
    }
    // Nobody asked where the head of a token said.
    assert_eq!(other.server.seen().len(), 0);
    // By any other name it is a password, and a wrong one.
    assert_eq!(Repository::at(entrepot.address, "team/a").basic("ann", &token).get_manifest("v1").status, 401);
    assert_eq!(Repository::at(entrepot.address, "team/a").bearer(&token).get_manifest("v1").status, 401);
}

#[test]
fn keys_are_rotated_and_kept_while_the_issuer_is_down() {
    let issuer = Issuer::start();
    let mut entrepot = setup(&issuer).start();
    given(&ask(&entrepot, &issuer.token(), "repository:team/a:pull"));
    issuer.publish(vec![Key::es256("es-2"), Key::es256("es-3")]);
    // A key that is not known is looked for at once.
    given(&ask(&entrepot, &issuer.token(), "repository:team/a:pull"));
    issuer.server.die();
    given(&ask(&entrepot, &issuer.sign(1, &issuer.claims()), "repository:team/a:pull"));
    // A reload keeps them too.
    entrepot.reload(|setup| setup.set("auth.groups", "{ other = [\"ann\"] }"), "ok");
    given(&ask(&entrepot, &issuer.sign(1, &issuer.claims_but(json!({"jti": "1"}))), "repository:team/a:pull"));
}

#[test]
fn an_issuer_that_is_down_from_the_start_is_asked_again() {
    let issuer = Issuer::start();
    issuer.server.die();
    let entrepot = setup(&issuer).start();
    let token = issuer.token();
    let answer = ask(&entrepot, &token, "repository:team/a:pull");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(exchange(&entrepot, &token, "repository:team/a:pull").status, 503);
    // Others are not kept from what they may.
    assert_eq!(Repository::at(entrepot.address, "public/a").get_manifest("v1").status, 404);
    eventually("it is told", || entrepot.log().contains("the keys of an issuer cannot be read"));
    assert!(entrepot.metric("entrepot_auth_key_fetches_total", &[("result", "failed")]) >= 1.0);
    issuer.server.revive();
    eventually("it is asked again", || ask(&entrepot, &token, "repository:team/a:pull").status == 200);
}

#[test]
fn keys_that_are_not_known_are_asked_for_once_a_minute() {
    let issuer = Issuer::start();
    let entrepot = setup(&issuer).start();
    given(&ask(&entrepot, &issuer.token(), "repository:team/a:pull"));
    eventually("the first question is over", || issuer.asked() >= 1);
    let before = issuer.asked();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (entrepot, issuer) = (&entrepot, &issuer);
            scope.spawn(move || {
                for round in 0..25 {
                    let token = Key::es256(&format!("unknown-{thread}-{round}")).sign(json!({}), &issuer.claims());
                    assert_eq!(ask(entrepot, &token, "repository:team/a:pull").status, 401);
                }
            });
        }
    });
    // One for them all; and one more if the machine was slow for a minute.
    assert!(issuer.asked() <= before + 2, "{} {before}", issuer.asked());
    given(&ask(&entrepot, &issuer.token(), "repository:team/a:pull"));
}

#[test]
fn a_discovery_document_that_is_not_the_issuers_is_refused() {
    let issuer = Issuer::start();
    let other = Issuer::start();
    let keys = format!("{}/keys", issuer.url());
    let json = |value: Value| Reply::new(200).header("Content-Type", "application/json").body(value.to_string());
    for (what, reply) in [
        ("larger than", json(json!({"issuer": issuer.url(), "jwks_uri": keys, "padding": "x".repeat(16 << 20)}))),
        ("another issuer's", json(json!({"issuer": other.url(), "jwks_uri": keys}))),
        ("another issuer's", json(json!({"issuer": issuer.url() + "/", "jwks_uri": keys}))),
        ("does not name", json(json!({"issuer": issuer.url()}))),
        ("neither https nor", json(json!({"issuer": issuer.url(), "jwks_uri": "http://10.0.0.1/keys"}))),
        ("link-local", json(json!({"issuer": issuer.url(), "jwks_uri": "https://169.254.169.254/keys"}))),
        ("answered with 302", Reply::new(302).header("Location", other.url() + "/.well-known/openid-configuration")),
        ("answered with 404", Reply::new(404)),
    ] {
        issuer.discovery(Some(reply));
        let entrepot = setup(&issuer).start();
        assert_eq!(ask(&entrepot, &issuer.token(), "repository:team/a:pull").status, 503, "{what}");
        eventually(what, || entrepot.log().contains(what));
        let resident = entrepot.metric("process_resident_memory_bytes", &[]);
        assert!(resident < f64::from(512 << 20), "{resident}");
    }
    assert_eq!((other.server.seen().len(), issuer.asked()), (0, 0));
}

#[test]
fn our_own_address_is_no_issuers() {
    let issuer = Issuer::start();
    let mut entrepot = setup(&issuer).start();
    let own = format!("http://{}/.well-known/jwks.json", entrepot.address);
    entrepot.reload(|setup| setup.set("auth.workload.0.jwks", &format!("{own:?}")), "ok");
    eventually("it is not asked", || entrepot.log().contains("is an address of ours"));
}

#[test]
fn an_entry_that_changes_ends_its_tokens() {
    let issuer = Issuer::start();
    let mut entrepot = setup(&issuer).start();
    let token = issuer.token();
    let ours = given(&ask(&entrepot, &token, "repository:team/a:pull,push"));
    let (bearer, basic) = {
        let at = |name: &str| Repository::at(entrepot.address, name);
        (at("team/a").bearer(&ours), at("team/a").basic("oidc", &token))
    };
    bearer.push_random("v1", 1, SIZE);
    // What has nothing to do with it changes nothing.
    entrepot.reload(|setup| setup.set("auth.groups", "{ other = [\"ann\"] }"), "ok");
    bearer.get_manifest("v1").expect(200);
    entrepot.reload(|setup| setup.set("auth.workload.0.require", "{ ref = \"dev\" }"), "ok");
    let refused = bearer.get_manifest("v1");
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|field| field.ends_with("error=\"invalid_token\"")));
    assert_eq!(basic.get_manifest("v1").status, 401);
    let again = issuer.token_but(json!({"ref": "dev"}));
    let ours = given(&ask(&entrepot, &again, "repository:team/a:pull"));
    let bearer = Repository::at(entrepot.address, "team/a").bearer(&ours);
    bearer.get_manifest("v1").expect(200);
    let rules = RULES.replace("\"group:ci\"", "\"user:ann\"");
    entrepot.reload(|setup| setup.set("auth.workload", "[]").set("auth.rule", &rules), "ok");
    assert_eq!(bearer.get_manifest("v1").status, 401);
    assert_eq!(
        post(&entrepot, format!("grant_type={EXCHANGE}&subject_token=x&subject_token_type={JWT}")).json()["error"],
        "unsupported_grant_type"
    );
}

#[test]
fn skopeo_pushes_with_a_token_and_explain_says_why() {
    let issuer = Issuer::start();
    let entrepot = setup(&issuer).start();
    let (containers, files) = (Containers::new(), scratch());
    Repository::at(entrepot.address, "team/seed").basic("oidc", &issuer.token()).push_random("1", 5, SIZE);
    let from = format!("docker://{}/team/seed:1", entrepot.address);
    let to = |name: &str| format!("docker://{}/{name}:1", entrepot.address);
    let credentials = format!("oidc:{}", issuer.token());
    let archive = format!("oci:{}:1", files.path().join("image").display());
    run(containers.skopeo().args(["copy", "--src-tls-verify=false", "--src-creds", &credentials, &from, &archive]));
    run(containers.skopeo().args([
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        &credentials,
        &archive,
        &to("team/app"),
    ]));
    fails(containers.skopeo().args([
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        &credentials,
        &archive,
        &to("other/app"),
    ]));
    let explain = |who: &str, what: &str| {
        let config = entrepot.config_path().display().to_string();
        let said = Entrepot::cli(&["auth", "explain", who, "push", what, "--config", &config]);
        (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
    };
    for (who, what, may) in [
        ("user:gh:8", "team/app", true),
        ("gh:8", "own/app", false),
        ("workload:gh:7", "own/app", true),
        ("gl:7", "team/app", false),
        ("ann", "team/app", false),
    ] {
        let (found, text) = explain(who, what);
        assert_eq!(found, may, "{who} {what}: {text}");
    }
    assert!(explain("gh:8", "team/app").1.contains("workload:gh:8 may push team/app"));
}

#[test]
fn docker_logs_in_with_a_token() {
    let issuer = Issuer::start();
    let entrepot = setup(&issuer).start();
    let (dockerd, files) = (Dockerd::start(), scratch());
    let host = entrepot.address.to_string();
    let image = format!("{host}/team/busybox:1");
    docker::import(&dockerd, &busybox_tree(files.path()), &image);
    dockerd.fails(&["push", &image]);
    dockerd.fails(&["login", "-u", "oidc", "-p", &issuer.token_but(json!({"ref": "dev"})), &host]);
    dockerd.run(&["login", "-u", "oidc", "-p", &issuer.token(), &host]);
    dockerd.run(&["push", &image]);
    dockerd.forget(&[&image]);
    dockerd.run(&["pull", &image]);
}

/// What another token service says.
fn granted(subject: &str, actions: &[&str]) -> Value {
    let now = now();
    json!({
        "iss": "hub", "aud": "hub-registry", "sub": subject, "iat": now, "nbf": now - 5, "exp": now + 300,
        "access": [{"type": "repository", "class": "", "name": "shared/a", "actions": actions}],
    })
}

fn verified(folder: &Path, entry: &str) -> Entrepot {
    let entry = format!("[{{ issuer = \"hub\", service = \"hub-registry\", {entry} }}]")
        .replace("FOLDER", &folder.display().to_string());
    let rules = RULES.replace("\"group:ci\"", "\"user:x\"");
    Setup::registry().set("auth.verifier", &entry).set("auth.rule", &rules).start()
}

fn counts_as_ours(entrepot: &Entrepot, good: &dyn Fn(&Value) -> String, wrong: &[String]) {
    let at = |name: &str, token: &str| Repository::at(entrepot.address, name).bearer(token);
    let push = good(&granted("ann", &["pull", "push"]));
    let image = at("shared/a", &push).push_random("v1", 1, SIZE);
    // The token narrows what the rules allow, and the rules what the token does.
    let pull = at("shared/a", &good(&granted("ann", &["pull"])));
    assert_eq!(pull.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(pull.request("POST", pull.uploads()).send(pull.address).status, 401);
    assert_eq!(at("shared/b", &push).get_manifest("v1").status, 401);
    assert_eq!(at("shared/a", &good(&granted("eve", &["pull"]))).get_manifest("v1").status, 401);
    assert_eq!(at("shared/a", &good(&granted("", &["pull"]))).get_manifest("v1").status, 401);
    for token in wrong {
        let refused = at("shared/a", token).get_manifest("v1");
        assert_eq!(refused.status, 401, "{token}");
        assert!(
            refused.header("www-authenticate").is_some_and(|field| field.ends_with("error=\"invalid_token\"")),
            "{token}"
        );
    }
}

#[test]
fn tokens_of_another_service_count_by_its_keys() {
    let folder = scratch();
    let own = Key::es256("hub-1");
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, json!({"keys": [own.jwk()]}).to_string()).expect("the keys");
    let entrepot = verified(folder.path(), "jwks = \"FOLDER/jwks.json\", realm = \"https://hub.example/token\"");
    let (forger, claims) = (Key::es256("hub-1"), granted("ann", &["pull"]));
    let but = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        own.sign(json!({}), &claims)
    };
    let wrong = [
        forger.sign(json!({}), &claims),
        forger.sign(json!({"jwk": forger.jwk()}), &claims),
        but("aud", json!("other")),
        but("iss", json!("other")),
        but("exp", json!(now() - 200_000)),
        but("nbf", json!(now() + 200)),
        Key::es256("hub-2").sign(json!({}), &claims),
    ];
    counts_as_ours(&entrepot, &|claims| own.sign(json!({}), claims), &wrong);
    // Clients are sent to where it gives tokens.
    let base = Request::get("/v2/").send(entrepot.address);
    let expected = "Bearer realm=\"https://hub.example/token\",service=\"hub-registry\"";
    assert_eq!((base.status, base.header("www-authenticate")), (401, Some(expected)));
    // Another key in the file is taken within seconds, and the old one is not any more.
    let next = Key::es256("hub-2");
    std::fs::write(&jwks, json!({"keys": [next.jwk()]}).to_string()).expect("the keys");
    let at = |token: &str| Repository::at(entrepot.address, "shared/a").bearer(token).get_manifest("v1").status;
    eventually("the new key is known", || at(&next.sign(json!({}), &claims)) == 200);
    eventually("the old one is not", || at(&but("jti", json!(now()))) == 401);
}

#[test]
fn tokens_of_another_service_count_by_certificates() {
    use base64::Engine as _;
    let folder = scratch();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = rcgen::KeyPair::generate().expect("a key");
    let root = rcgen::CertifiedIssuer::self_signed(params, root_key).expect("a certificate");
    let foreign = crate::harness::Authority::new();
    let leaf_key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::default().signed_by(&leaf_key, &root).expect("a certificate");
    std::fs::write(folder.path().join("bundle.pem"), root.pem()).expect("the bundle");
    let entrepot = verified(folder.path(), "certificates = \"FOLDER/bundle.pem\"");
    let chain = json!({"x5c": [base64::engine::general_purpose::STANDARD.encode(leaf.der())]});
    let (own, forger) = (Key::of("", &leaf_key), Key::es256(""));
    let stranger = foreign.issue("stranger", &["hub.example"]);
    let strange = json!({"x5c": [base64::engine::general_purpose::STANDARD.encode(&stranger.der)]});
    let stranger = rcgen::KeyPair::from_pem(&std::fs::read_to_string(&stranger.key).expect("a key")).expect("a key");
    let claims = granted("ann", &["pull"]);
    let wrong = [
        forger.sign(chain.clone(), &claims),
        own.sign(json!({}), &claims),
        own.sign(json!({"jwk": own.jwk()}), &claims),
        Key::of("", &stranger).sign(strange, &claims),
    ];
    counts_as_ours(&entrepot, &|claims| own.sign(chain.clone(), claims), &wrong);
    // Without a realm, clients are sent to us.
    let base = Request::get("/v2/").send(entrepot.address);
    assert!(base.header("www-authenticate").is_some_and(|field| field.contains("service=\"entrepot\"")));
}
