//! Who asks: nobody where nobody is asked, and where they are, one user by Basic, or by Bearer as the token protocol has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

use crate::harness::Request;
use crate::harness::http::basic;

pub const USER: &str = "ann";
pub const PASSWORD: &str = "5ecret-p4ssword";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    None,
    Basic,
    Bearer,
}

impl Login {
    /// The value of `Authorization` for a request of that target.
    pub fn authorization(self, address: SocketAddr, target: &str) -> Option<String> {
        match self {
            Login::None => None,
            Login::Basic => Some(basic(USER, PASSWORD)),
            Login::Bearer => Some(format!("Bearer {}", token(address, &scopes(target)))),
        }
    }
}

/// What a client asks a token for that is about to send this: all that may be done in the repositories that it names.
fn scopes(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let below = path.strip_prefix("/v2/").unwrap_or_default();
    let end = ["/blobs/", "/manifests/", "/tags/", "/referrers/"].iter().find_map(|part| below.rfind(part));
    let from = query.split('&').find_map(|pair| pair.strip_prefix("from=")).map(|from| from.replace("%2F", "/"));
    let names = end.map(|end| below[..end].to_owned()).into_iter().chain(from);
    let scopes = names.map(|name| format!("&scope=repository:{name}:pull,push,delete"));
    scopes.collect::<String>() + "&scope=registry:catalog:*"
}

/// As clients do: the challenge says where, and a token is used again for what it was given for.
fn token(address: SocketAddr, scopes: &str) -> String {
    static TOKENS: OnceLock<Mutex<BTreeMap<(SocketAddr, String), String>>> = OnceLock::new();
    let mut tokens = TOKENS.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let given = tokens.entry((address, scopes.to_owned())).or_insert_with(|| {
        let asked = Request::get("/v2/").send(address);
        assert_eq!(asked.status, 401, "{}", asked.text());
        let challenge = asked.header("www-authenticate").expect("a challenge");
        let value = |name: &str| {
            let (_, rest) = challenge.split_once(&format!("{name}=\"")).expect("a parameter");
            rest.split('"').next().expect("its end").to_owned()
        };
        let realm = url::Url::parse(&value("realm")).expect("an address");
        assert_eq!(realm.port(), Some(address.port()));
        let target = format!("{}?service={}{scopes}", realm.path(), value("service"));
        let answer = Request::get(target).basic(USER, PASSWORD).send(address);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().expect("a token").to_owned()
    });
    given.clone()
}
