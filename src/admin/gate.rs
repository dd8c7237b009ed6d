//! Who asks, and whether they may: where there are rules, `admin` is asked for by Basic, of everybody and everywhere, loopback and the
//! socket not left out. What is ordered at the socket only ([`super::Order::only_at_socket`]) needs no login there.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method};
use hyper::StatusCode;

use super::answer::{Answer, error};
use super::order::Needs;
use super::{AdminState, Asker, Operator};
use crate::auth::{Asked, Permission, Refused, Unproven};

/// Longest `User-Agent` that is looked at, in bytes.
const MAX_AGENT: usize = 256;
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"Entrepot admin\", charset=\"UTF-8\"");

/// # Errors
/// The refusal, finished.
pub(super) async fn identify(head: &Parts, from: IpAddr, state: &dyn AdminState) -> Result<Operator, Box<Answer>> {
    let field = |name| head.headers.get(name);
    let asker = Asker {
        authorization: field(AUTHORIZATION),
        host: asked_host(head),
        address: from,
        user_agent: field(USER_AGENT).map(|agent| agent.as_bytes().iter().copied().take(MAX_AGENT).collect()),
    };
    let operator = state.identify(&asker).await.map_err(|unproven| Box::new(turned_away(&unproven)))?;
    // Where rules are, the name gives nobody a right.
    if !operator.permit.is_ruled() && from.is_loopback() && may_be_led_here(&asker.host) {
        let message = "this is asked for by a name that may be anybody's: ask by the address, or by the name localhost";
        return Err(Box::new(error(StatusCode::FORBIDDEN, "DENIED", message)));
    }
    Ok(operator)
}

/// As it was asked for, lower case, without port; empty if it was not.
fn asked_host(head: &Parts) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(host, _)| host);
    host.to_ascii_lowercase()
}

/// Whether a stranger can have made this name lead to loopback: a web page of theirs, seen on this machine, would be told by its own
/// name what is answered here. Names without a dot are given by who runs the network.
fn may_be_led_here(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.contains('.') && host.parse::<IpAddr>().is_err() && !host.starts_with('[') && !host.ends_with(".localhost")
}

/// # Errors
/// The refusal, finished.
pub(super) fn admit(
    operator: &Operator,
    needs: &Needs,
    (method, path): (&Method, &str),
    state: &dyn AdminState,
) -> Result<(), Box<Answer>> {
    let everywhere = || "**".to_owned();
    // The first where the right is lacking: it may be there in the others.
    let lacking = match needs {
        Needs::Everything => {
            operator.permit.decide(Permission::Admin, Asked::Everywhere).err().map(|refused| (everywhere(), refused))
        }
        Needs::Repositories(names) => names.iter().find_map(|name| {
            let decided = operator.permit.decide(Permission::Admin, Asked::In(name));
            decided.err().map(|refused| (name.to_string(), refused))
        }),
    };
    let Some((place, refused)) = lacking else { return Ok(()) };
    state.refused(operator, refused, &format!("{method} {path}"));
    Err(Box::new(denied(operator, &place, refused)))
}

fn denied(operator: &Operator, place: &str, refused: Refused) -> Answer {
    let who = operator.permit.identity();
    if who.is_anonymous() {
        return challenged("log in: this needs a user with the permission 'admin'");
    }
    let why = match refused {
        Refused::Token => "the token was not given for it",
        Refused::Rules(_) => "no [[auth.rule]] allows it, or one denies it",
    };
    error(StatusCode::FORBIDDEN, "DENIED", &format!("{who} needs the permission 'admin' in {place}: {why}"))
}

fn turned_away(unproven: &Unproven) -> Answer {
    let (status, wait) = match unproven {
        Unproven::Wrong | Unproven::Token(_) => return challenged(&unproven.to_string()),
        Unproven::Busy => (StatusCode::TOO_MANY_REQUESTS, 1),
        Unproven::TooOften(limited) => (StatusCode::TOO_MANY_REQUESTS, limited.wait.as_secs().max(1)),
        Unproven::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, 5),
    };
    let message = match unproven {
        Unproven::Unavailable(_) => "it cannot be found out now who you are: try again".to_owned(),
        told => told.to_string(),
    };
    let code = if status == StatusCode::SERVICE_UNAVAILABLE { "UNAVAILABLE" } else { "TOOMANYREQUESTS" };
    let mut answer = error(status, code, &message);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    answer
}

fn challenged(message: &str) -> Answer {
    let mut answer = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
    answer.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    answer
}
