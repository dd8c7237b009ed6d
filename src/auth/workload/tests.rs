//! Forgeries, and what is right beside them: keys from files, so that nobody is asked.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyUsagePurpose};
use serde_json::{Value, json};

use super::*;
use crate::auth::jwt::forge::{Forger, hs256};
use crate::auth::permission::Permission;
use crate::auth::policy::Asked;

const NOW: u64 = 1_800_000_000;
const LATE: u64 = 24 * 3600;
/// By a key of 1,024 bits, for the claims of [`claims`].
const SHORT_MODULUS: &str = "xcHm3eL41DKQ0G70IKtTX12igpmDcrH1wVyvU6gVHShV2XjYD_-Ee7lJGEXjs97ptE-XqcHWMvhJBpHnL4tiL0pxKVfTxv4aje7JhfsUGW-i_iu8WfnQ8sf0\
    vSXeUaeBzTHW_eZ1aRhW0_z0BcF2jbSMwsYia_6bHBNimtUnxvE";
const SHORT_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InNob3J0IiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoidXMiLCJzdWIiO\
    iJyZXBvOmEvYiIsInJlcG9zaXRvcnlfaWQiOiI3IiwicmVmIjoibWFpbiIsImlhdCI6MTgwMDAwMDAwMCwibmJmIjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDA2MDB9.fUbLNlywwYZPCVKBD\
    G92PQ9RtnIW6V2noksJx0ADVWGkFeRNJXIGh0xTKTBGK-dE_xV_Cpgk9sO7iIEELzmSeCGsf7iSWcIY94kYiOgGYykHG0bq4EV_UXMh52zrOrZ7ZFrDSSlTpsO4z3thBvK6yVtC5GdJR6XPb9BU8P2j74E";

/// Whose key is in the issuer's document, and the folder with it.
struct Issuer {
    own: Forger,
    folder: tempfile::TempDir,
}

impl Issuer {
    fn with(own: Forger, more: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<Value> = [own.jwk()].into_iter().chain(more.iter().cloned()).collect();
        std::fs::write(folder.path().join("jwks.json"), json!({ "keys": keys }).to_string()).unwrap();
        Issuer { own, folder }
    }

    fn new() -> Self {
        Issuer::with(Forger::new(), &[])
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.own.sign(&header.to_string(), &claims.to_string())
    }

    async fn workloads(&self) -> Outside {
        self.workloads_with("").await
    }

    async fn workloads_with(&self, more: &str) -> Outside {
        let jwks = self.folder.path().join("jwks.json").display().to_string();
        let entry = format!(
            "[[workload]]\nissuer = \"https://issuer.example\"\naudience = \"us\"\nrequire = {{ ref = \"main\" }}\n\
             user = \"gh:{{repository_id}}\"\ngroups = [\"ci\"]\njwks = {jwks:?}\n{more}"
        );
        outside(&entry).await
    }
}

async fn outside(text: &str) -> Outside {
    let config: Config = toml::from_str(text).unwrap();
    let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    Outside::prepare(&config, None, &OwnAddresses::default(), &metrics).await.unwrap()
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "foreign", "typ": "JWT" })
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "us", "sub": "repo:a/b", "repository_id": "7", "ref": "main",
        "iat": NOW, "nbf": NOW, "exp": NOW + 600,
    })
}

/// With these members changed; null: taken away.
fn but(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            _ => object[name] = value.clone(),
        }
    }
    object
}

async fn why(outside: &Outside, token: &str) -> String {
    match outside.workload(token, NOW).await {
        Ok(identity) => format!("ok {identity}"),
        Err(why) => why.to_string(),
    }
}

#[tokio::test]
async fn a_token_of_the_issuer_is_somebody() {
    for (own, algorithms) in [
        (Forger::new(), &["ES256"][..]),
        (Forger::p384(), &["ES384"]),
        (Forger::ed25519(), &["EdDSA"]),
        (Forger::rsa(), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
    ] {
        let issuer = Issuer::with(own, &[]);
        let outside = issuer.workloads().await;
        for algorithm in algorithms {
            let token = issuer.token(&but(header(), &json!({ "alg": algorithm })), &claims());
            // Remembered the second time.
            for _ in 0..2 {
                let identity = outside.workload(&token, NOW).await.unwrap();
                let known = identity.known().unwrap();
                assert_eq!((known.name.as_str(), &known.groups[..]), ("gh:7", &["ci".to_owned()][..]), "{algorithm}");
            }
            assert!(outside.workload(&token, NOW + 600 + claims::LEEWAY).await.is_err());
        }
    }
}

#[tokio::test]
async fn every_forgery_is_refused() {
    let (issuer, foreign) = (Issuer::new(), Forger::new());
    let outside = issuer.workloads().await;
    let jwk = foreign.jwk();
    for header_of_others in [
        json!({}),
        json!({ "jwk": jwk }),
        json!({ "jku": "https://evil.example/jwks.json" }),
        json!({ "x5u": "https://evil.example/chain.pem" }),
        json!({ "x5c": [foreign.certificate()] }),
    ] {
        let token = foreign.sign(&but(header(), &header_of_others).to_string(), &claims().to_string());
        assert_eq!(why(&outside, &token).await, "the token is not signed as it says", "{header_of_others}");
    }
    for (changes, expected) in [
        (json!({ "kid": "other", "jwk": jwk, "x5c": [foreign.certificate()] }), "a key that its issuer does not have"),
        (json!({ "kid": null }), "does not name the key"),
        (json!({ "kid": 7 }), "is not written as a token"),
        (json!({ "alg": "none" }), "not signed in a way that is taken"),
        (json!({ "alg": "HS256" }), "not signed in a way that is taken"),
        (json!({ "alg": "ES384" }), "a key that its issuer does not have"),
        (json!({ "alg": "RS256" }), "a key that its issuer does not have"),
        (json!({ "alg": "ES257" }), "is not signed as it says"),
        (json!({ "crit": ["exp"] }), "demands what is not understood"),
        (json!({ "b64": false }), "demands what is not understood"),
    ] {
        for by in [&issuer.own, &foreign] {
            let token = by.sign(&but(header(), &changes).to_string(), &claims().to_string());
            let said = why(&outside, &token).await;
            assert!(said.contains(expected), "{changes}: {said}");
        }
    }
    let unsigned =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims().to_string()));
    assert!(why(&outside, &unsigned).await.contains("is not written as a token"));
    let public = issuer.own.jwk().to_string();
    let confused =
        hs256(&but(header(), &json!({ "alg": "HS256" })).to_string(), &claims().to_string(), public.as_bytes());
    assert!(why(&outside, &confused).await.contains("not signed in a way that is taken"));
    let twice = claims().to_string().replacen('{', r#"{"repository_id":"8","#, 1);
    assert_eq!(why(&outside, &issuer.own.sign(&header().to_string(), &twice)).await, "the token says something twice");
    assert_eq!(why(&outside, &issuer.token(&header(), &claims())).await, "ok workload:gh:7");
}

#[tokio::test]
async fn short_keys_are_none() {
    let short = json!({ "kty": "RSA", "use": "sig", "kid": "short", "n": SHORT_MODULUS, "e": "AQAB" });
    let outside = Issuer::with(Forger::new(), &[short]).workloads().await;
    assert!(why(&outside, SHORT_TOKEN).await.contains("a key that its issuer does not have"));
}

#[tokio::test]
async fn claims_have_to_fit() {
    let issuer = Issuer::new();
    let outside = issuer.workloads().await;
    for (changes, expected) in [
        (json!({ "aud": ["them", "us"] }), "ok workload:gh:7"),
        (json!({ "repository_id": 8 }), "ok workload:gh:8"),
        (json!({ "iss": "https://issuer.example/" }), "is of an issuer that is not known"),
        (json!({ "iss": ["https://issuer.example"] }), "is of an issuer that is not known"),
        (json!({ "aud": "them" }), "is for another audience"),
        (json!({ "aud": null }), "is for another audience"),
        (json!({ "aud": ["them"] }), "is for another audience"),
        (json!({ "exp": NOW - claims::LEEWAY }), "has expired"),
        (json!({ "exp": NOW + LATE + 1 }), "has no end, or a far one"),
        (json!({ "exp": null }), "has no end, or a far one"),
        (json!({ "nbf": NOW + claims::LEEWAY + 1 }), "is not good yet"),
        (json!({ "iat": NOW + claims::LEEWAY + 1 }), "is not good yet"),
        (json!({ "nbf": "now" }), "not written as they have to be"),
        (json!({ "ref": "other" }), "not those that are required"),
        (json!({ "ref": null }), "not those that are required"),
        (json!({ "ref": ["main"] }), "not those that are required"),
        (json!({ "repository_id": "7:8" }), "gives its bearer no name"),
        (json!({ "repository_id": null }), "gives its bearer no name"),
    ] {
        let said = why(&outside, &issuer.token(&header(), &but(claims(), &changes))).await;
        assert!(said.contains(expected), "{changes}: {said}");
    }
}

#[tokio::test]
async fn the_first_entry_that_fits_says_who_it_is() {
    let issuer = Issuer::new();
    let jwks = issuer.folder.path().join("jwks.json").display().to_string();
    let more = format!(
        "[[workload]]\nissuer = \"https://issuer.example\"\naudience = \"us\"\nrequire = {{ ref = \"dev\" }}\nuser = \"dev:{{repository_id}}\"\njwks = {jwks:?}\n\
         [[workload]]\nissuer = \"https://issuer.example\"\naudience = \"them\"\nrequire = {{ ref = \"dev\" }}\nuser = \"them:{{repository_id}}\"\njwks = {jwks:?}\n"
    );
    let outside = issuer.workloads_with(&more).await;
    for (changes, expected) in [
        (json!({}), "ok workload:gh:7"),
        (json!({ "ref": "dev" }), "ok workload:dev:7"),
        (json!({ "ref": "dev", "aud": "them" }), "ok workload:them:7"),
        (
            json!({ "ref": "x", "aud": "them" }),
            "the token is of nobody who may log in here: its claims are not those that are required",
        ),
    ] {
        assert_eq!(why(&outside, &issuer.token(&header(), &but(claims(), &changes))).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn our_tokens_end_with_the_entry_that_they_came_by() {
    let issuer = Issuer::new();
    let outside = issuer.workloads().await;
    let identity = outside.workload(&issuer.token(&header(), &claims()), NOW).await.unwrap();
    let version = identity.known().unwrap().secret.clone().unwrap();
    assert_eq!(outside.standing(&version, "gh:7"), Some(identity));
    for text in
        ["require = { ref = \"main\" }\naudience = \"them\"", "require = { ref = \"other\" }\naudience = \"us\""]
    {
        let jwks = issuer.folder.path().join("jwks.json").display().to_string();
        let changed = format!(
            "[[workload]]\nissuer = \"https://issuer.example\"\nuser = \"gh:{{repository_id}}\"\ngroups = [\"ci\"]\njwks = {jwks:?}\n{text}\n"
        );
        assert_eq!(self::outside(&changed).await.standing(&version, "gh:7"), None, "{text}");
    }
}

fn granted(pull: &str) -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "registry", "sub": "ann", "iat": NOW, "nbf": NOW, "exp": NOW + 600,
        "access": [{ "type": "repository", "class": "", "name": pull, "actions": ["pull"] }],
    })
}

async fn verifier(keys: &str, file: &Path) -> Outside {
    let file = file.display().to_string();
    outside(&format!("[[verifier]]\nissuer = \"https://issuer.example\"\nservice = \"registry\"\n{keys} = {file:?}\n"))
        .await
}

/// What comes of a token, if it says that it is of the other service.
async fn borne(outside: &Outside, token: &str, now: u64) -> Option<Result<Caller, String>> {
    Some(outside.bearer(token, now, LATE).await?.map_err(|why| why.to_string()))
}

#[tokio::test]
async fn a_token_of_another_service_grants_what_it_says() {
    let issuer = Issuer::new();
    let outside = verifier("jwks", &issuer.folder.path().join("jwks.json")).await;
    let token = issuer.token(&header(), &granted("a/b"));
    for _ in 0..2 {
        let caller = borne(&outside, &token, NOW).await.unwrap().unwrap();
        assert_eq!((caller.identity.log_name().as_deref(), caller.late), (Some("ann"), false));
        let grants = caller.grants.unwrap();
        let may = |permission, name: &str| grants.allow(permission, Asked::In(&name.parse().unwrap()));
        assert!(may(Permission::Pull, "a/b") && !may(Permission::Push, "a/b") && !may(Permission::Pull, "a/c"));
    }
    // As ours, it is good for its uploads for a while.
    assert!(borne(&outside, &token, NOW + 600 + claims::LEEWAY).await.unwrap().unwrap().late);
    assert!(borne(&outside, &token, NOW + 600 + LATE).await.unwrap().is_err());
    for nobody in [json!({ "sub": "" }), json!({ "sub": null })] {
        let token = issuer.token(&header(), &but(granted("a/b"), &nobody));
        let caller = borne(&outside, &token, NOW).await.unwrap().unwrap();
        assert!(caller.identity.is_anonymous() && caller.grants.is_some());
    }
    for (changes, expected) in [
        (json!({ "aud": "other" }), "is for another audience"),
        (json!({ "sub": "a:b" }), "gives its bearer no name"),
        (json!({ "sub": 7 }), "not written as they have to be"),
        (json!({ "access": "all" }), "not written as they have to be"),
        (json!({ "access": [{ "type": "repository" }] }), "not written as they have to be"),
        (json!({ "nbf": NOW + 100 }), "is not good yet"),
    ] {
        let said = borne(&outside, &issuer.token(&header(), &but(granted("a/b"), &changes)), NOW).await.unwrap();
        assert!(said.as_ref().is_err_and(|why| why.contains(expected)), "{changes}: {said:?}");
    }
    let of_us = issuer.token(&header(), &but(granted("a/b"), &json!({ "iss": "entrepot" })));
    assert!(borne(&outside, &of_us, NOW).await.is_none());
    let forged = Forger::new().sign(&header().to_string(), &granted("a/b").to_string());
    assert!(borne(&outside, &forged, NOW).await.unwrap().is_err());
    // Where keys are named by a document, a certificate names none.
    let foreign = Forger::new();
    let brought = but(header(), &json!({ "x5c": [foreign.certificate()] }));
    assert!(
        borne(&outside, &foreign.sign(&brought.to_string(), &granted("a/b").to_string()), NOW).await.unwrap().is_err()
    );
}

fn authority() -> CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn a_chain_counts_if_it_leads_to_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    let (root, other) = (authority(), authority());
    std::fs::write(&bundle, root.pem()).unwrap();
    let outside = verifier("certificates", &bundle).await;
    let (good, bad, alone) = (Forger::signed_by(&root), Forger::signed_by(&other), Forger::new());
    let by = |forger: &Forger, changes: Value| {
        forger.sign(&but(json!({ "alg": "ES256" }), &changes).to_string(), &granted("a/b").to_string())
    };
    let chain = |forger: &Forger| json!({ "x5c": [forger.certificate()] });
    assert!(borne(&outside, &by(&good, chain(&good)), NOW).await.unwrap().is_ok());
    for (what, token) in [
        ("another authority", by(&bad, chain(&bad))),
        ("by itself", by(&alone, chain(&alone))),
        ("another's chain", by(&bad, chain(&good))),
        ("no chain", by(&good, json!({}))),
        ("a key in the head", by(&good, json!({ "jwk": good.jwk() }))),
        ("an empty chain", by(&good, json!({ "x5c": [] }))),
        ("no chain at all", by(&good, json!({ "x5c": "x" }))),
        ("a long chain", by(&good, json!({ "x5c": vec![good.certificate(); 7] }))),
        ("rubbish", by(&good, json!({ "x5c": ["AAAA"] }))),
        ("another algorithm", by(&good, but(chain(&good), &json!({ "alg": "ES384" })))),
    ] {
        assert!(borne(&outside, &token, NOW).await.unwrap().is_err(), "{what}");
    }
}

#[tokio::test]
async fn a_certificate_of_the_bundle_is_found_by_its_name_while_it_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    let (own, foreign) = (Forger::new(), Forger::new());
    std::fs::write(&bundle, own.pem()).unwrap();
    let outside = verifier("certificates", &bundle).await;
    let der = rustls_pki_types::CertificateDer::from(
        base64::engine::general_purpose::STANDARD.decode(own.certificate()).unwrap(),
    );
    let certificates = Certificates::read(&bundle).unwrap();
    let (libtrust, thumbprint) = certificates.names_of(&der).unwrap();
    assert_eq!(libtrust.len(), 12 * 4 + 11);
    for kid in [libtrust.as_str(), &thumbprint] {
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        assert!(borne(&outside, &own.sign(&header, &granted("a").to_string()), NOW).await.unwrap().is_ok(), "{kid}");
        assert!(
            borne(&outside, &foreign.sign(&header, &granted("a").to_string()), NOW).await.unwrap().is_err(),
            "{kid}"
        );
    }
    let leaf = json!({ "alg": "ES256", "x5c": [own.certificate()] }).to_string();
    let token = own.sign(&leaf, &granted("a").to_string());
    assert!(borne(&outside, &token, NOW).await.unwrap().is_ok());
    // rcgen's certificates are valid from 1975 to 4096.
    let header = serde_json::from_str::<Value>(&leaf).unwrap();
    assert!(certificates.find(header.as_object().unwrap(), 1).is_err());
}
