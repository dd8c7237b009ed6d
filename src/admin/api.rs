//! `/api/v1/…`: orders, from the table of [`ROUTES`].

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::request::Parts;
use hyper::StatusCode;

use super::answer::{Answer, absent, error, from_browser, json_answer, refusal, wrong_method};
use super::mirror::busy;
use super::order::{API, ROUTES};
use super::{AdminState, AtSocket, Done, Long, Operator, gate, steps};

/// What there is to be asked, for programs; tested against the table.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// What is answered at once asks storage at most for each of some thousand things.
const AT_ONCE: Duration = Duration::from_secs(300);
/// A collection of a large store, or reading every blob of it, as slowly as the operator wishes.
const IN_STEPS: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) async fn answer(
    head: &Parts,
    body: &[u8],
    operator: &Operator,
    (state, long): (&Arc<dyn AdminState>, &Long),
) -> Answer {
    let full = head.uri.path();
    let path = full.strip_prefix(API).unwrap_or_default();
    // HEAD is answered as GET.
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    let Some(route) = ROUTES.iter().find(|route| route.path == path && route.method == method.as_str()) else {
        // Who may do nothing here is not told what there is.
        if let Err(answer) = gate::admit(operator, &super::order::Needs::Everything, (method, full), state.as_ref()) {
            return *answer;
        }
        return match allowed(path) {
            Some(allowed) => wrong_method(allowed),
            None => absent(),
        };
    };
    if method != Method::GET && from_browser(&head.headers) {
        return error(StatusCode::FORBIDDEN, "DENIED", "a web page may not change anything here");
    }
    let order = match (route.read)(body) {
        Ok(order) => order,
        Err(why) if operator.permit.identity().is_anonymous() && operator.permit.is_ruled() => {
            // Whoever has not logged in is asked to before anything is told.
            return gate::admit(operator, &super::order::Needs::Everything, (method, full), state.as_ref())
                .map_or_else(|answer| *answer, |()| refusal(&why));
        }
        Err(why) => return refusal(&why),
    };
    let only_at_socket = order.only_at_socket();
    // Where only the socket will do, whoever may open it is known by the system, and no rule can say more.
    if only_at_socket.is_none() || head.extensions.get::<AtSocket>().is_none() {
        if let Err(answer) = gate::admit(operator, &order.needs(), (method, full), state.as_ref()) {
            return *answer;
        }
        if let Some(why) = only_at_socket {
            return error(StatusCode::FORBIDDEN, "DENIED", why);
        }
    }
    let Some(place) = long.begin(if route.steps { IN_STEPS } else { AT_ONCE }) else { return busy() };
    match state.perform(order, operator).await {
        Ok(Done::Told(value)) => json_answer(StatusCode::OK, &value),
        Ok(Done::Steps(told)) => steps::answer(told, place, "who ordered this has left: it goes no further"),
        Err(why) => refusal(&why),
    }
}

/// The methods of a path that there is.
fn allowed(path: &str) -> Option<&'static str> {
    let has = |method: &str| ROUTES.iter().any(|route| route.path == path && route.method == method);
    match (has("GET"), has("POST")) {
        (true, true) => Some("GET, HEAD, POST"),
        (true, false) => Some("GET, HEAD"),
        (false, true) => Some("POST"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Beside the API: what there was before it.
    const OTHERS: [(&str, &str); 10] = [
        ("get", "/"),
        ("get", "/metrics"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/status"),
        ("get", "/explain"),
        ("get", "/mirror/status"),
        ("post", "/mirror/warm"),
        ("post", "/cache/purge"),
        ("get", "/openapi.json"),
    ];

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        let mut written = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{method} {path}");
                // Any of them may be asked wrongly.
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                written.insert((method.clone(), path.clone()));
            }
        }
        let routes = ROUTES.iter().map(|route| (route.method.to_ascii_lowercase(), format!("{API}{}", route.path)));
        let others = OTHERS.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
        assert_eq!(written, routes.chain(others).collect());
    }

    /// What the document says of a body, the table reads; and of each field.
    #[test]
    fn the_document_has_every_field_of_every_body() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        for order in super::super::order::tests::orders() {
            let call = order.call();
            let Some(body) = call.body else { continue };
            let operation = &document["paths"][&call.path][call.method.to_ascii_lowercase()];
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let written: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
            let sent: BTreeSet<_> = body.as_object().unwrap().keys().cloned().collect();
            assert!(sent.is_subset(&written), "{}: {sent:?} of {written:?}", call.path);
            assert_eq!(schema["additionalProperties"], false, "{}", call.path);
        }
    }
}
