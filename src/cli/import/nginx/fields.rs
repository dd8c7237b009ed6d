//! Fields that nginx sets: of requests, which peers see, and of answers, which clients do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::made::Keys;
use super::notes::{Notes, Weight};
use super::scope::Scope;
use super::tree::Directive;
use super::values::{list, quoted};
use crate::{cors, listener};

/// What Entrepot writes itself, in the place of whatever the client sent.
const WRITTEN: [&str; 15] = [
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-uri",
    "x-scheme",
    "forwarded",
    "x-request-id",
    "front-end-https",
    "x-nginx-proxy",
    "x-client-ip",
];
/// Of one hop.
const OF_A_HOP: [&str; 6] = ["connection", "upgrade", "accept-encoding", "proxy", "te", "range"];

/// What peers are told of who asks.
pub enum Told<'a> {
    /// The client's own.
    Own,
    Nothing(&'a Directive),
    Login {
        username: String,
        password: String,
        from: &'a Directive,
    },
}

/// `proxy_set_header`.
pub fn asked<'a>(scope: &Scope<'a>, notes: &mut Notes) -> Told<'a> {
    let mut told = Told::Own;
    for directive in scope.all(&["proxy_set_header"]) {
        let name = directive.arg(0).to_ascii_lowercase();
        let value = directive.arg(1);
        match name.as_str() {
            "authorization" => told = authorization(directive, scope, notes),
            "host" => host(directive, value, notes),
            "x-forwarded-proto" if value == "https" => {
                let why = "nginx says https whatever the client spoke. If something before Entrepot ends TLS, name it in `trusted_proxies` \
                           and let it send X-Forwarded-Proto";
                notes.other("proxy_set_header X-Forwarded-Proto https", why, &directive.at);
            }
            _ if WRITTEN.contains(&name.as_str()) => {
                notes.say(
                    Weight::Needless,
                    "proxy_set_header",
                    "Entrepot tells peers of the client, its host and scheme",
                    &directive.at,
                );
            }
            _ if OF_A_HOP.contains(&name.as_str()) || name.starts_with("docker-") => {
                notes.say(
                    Weight::Needless,
                    "proxy_set_header",
                    "connections to peers are kept, and fields of one hop are not handed on",
                    &directive.at,
                );
            }
            _ => {
                let why = "Entrepot hands a client's own fields on, and adds none but those that tell of the client";
                notes.lost(format!("proxy_set_header {}", directive.arg(0)), why, &directive.at);
            }
        }
    }
    told
}

fn host(directive: &Directive, value: &str, notes: &mut Notes) {
    if ["$http_host", "$host", "$host:$server_port", "$http_host:$server_port", "$proxy_host"].contains(&value) {
        notes.say(
            Weight::Needless,
            "proxy_set_header Host",
            "peers see the host that the client asked for",
            &directive.at,
        );
    } else {
        notes.other(
            "proxy_set_header Host",
            "peers see the host that the client asked for, not a fixed one",
            &directive.at,
        );
    }
}

fn authorization<'a>(directive: &'a Directive, scope: &Scope<'_>, notes: &mut Notes) -> Told<'a> {
    let value = directive.arg(1);
    if value.is_empty() {
        return Told::Nothing(directive);
    }
    if value == "$http_authorization" {
        return Told::Own;
    }
    let login = scope.resolved(value).and_then(|value| {
        let encoded = value.strip_prefix("Basic ").or_else(|| value.strip_prefix("basic "))?.trim();
        let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (username, password) = pair.split_once(':')?;
        let good = !username.is_empty() && !password.is_empty() && !pair.contains(char::is_control);
        good.then(|| (username.to_owned(), password.to_owned()))
    });
    match login {
        Some((username, password)) => Told::Login { username, password, from: directive },
        None => {
            let why = "is neither empty nor a fixed login by Basic: peers are told of nobody; see `authorization` of the cluster";
            notes.lost("proxy_set_header Authorization", why, &directive.at);
            Told::Nothing(directive)
        }
    }
}

/// `add_header`: fields of all answers of a listener, and what browsers are told.
pub fn answered(scope: &Scope<'_>, keys: &mut Keys, cors: &mut Keys, notes: &mut Notes) {
    let mut set: Vec<String> = Vec::new();
    let mut from = None;
    for directive in scope.all(&["add_header"]) {
        let (name, value) = (directive.arg(0), directive.arg(1));
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("docker-distribution") {
            notes.say(
                Weight::Needless,
                "add_header",
                "registries say Docker-Distribution-Api-Version themselves",
                &directive.at,
            );
        } else if lower.starts_with("access-control-") {
            origin(directive, &lower, cors, notes);
        } else if value.contains('$') {
            notes.lost(
                format!("add_header {name}"),
                "its value is made of variables, and fields of answers are fixed here",
                &directive.at,
            );
        } else {
            let field = format!("{} = {}", quoted(name), quoted(value));
            match fault(&[set.as_slice(), std::slice::from_ref(&field)].concat()) {
                None => {
                    set.push(field);
                    from = from.or(Some(directive));
                }
                Some(_) => {
                    notes.lost(format!("add_header {name}"), "a listener cannot set it (see `headers`)", &directive.at)
                }
            }
        }
    }
    if let Some(from) = from {
        keys.put("headers", format!("{{ {} }}", set.join(", ")), from, notes);
        notes.other(
            "add_header",
            "the field is on every answer of the listener, also where nginx says nothing without `always`",
            &from.at,
        );
    }
}

/// What a listener would say of such fields.
fn fault(fields: &[String]) -> Option<String> {
    let text = format!("address = \"127.0.0.1:1\"\nheaders = {{ {} }}", fields.join(", "));
    toml::from_str::<listener::config::Config>(&text).err().map(|error| error.to_string())
}

fn origin(directive: &Directive, name: &str, keys: &mut Keys, notes: &mut Notes) {
    let value = directive.arg(1);
    if name != "access-control-allow-origin" {
        notes.say(Weight::Needless, "add_header Access-Control-…", "[cors] says all that browsers need", &directive.at);
    } else if value == cors::config::ANY || cors::config::fault(value).is_none() {
        keys.put("origins", list([value]), directive, notes);
    } else {
        notes.lost("add_header Access-Control-Allow-Origin", "is no fixed origin: name them in [cors]", &directive.at);
    }
}
