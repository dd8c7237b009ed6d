//! What browsers are told of who may read our answers (CORS, the Fetch standard): the fields of each answer, and the answer to the
//! question that a browser asks before a request.

pub mod config;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

pub use config::Config;

/// What scripts may read beside the fields that they always may. With credentials a wildcard would be a name.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Accept-Ranges, Cache-Status, Content-Length, Content-Range, Docker-Content-Digest, Docker-Distribution-Api-Version, \
     Docker-Upload-Uuid, Etag, Link, Location, OCI-Chunk-Max-Length, OCI-Chunk-Min-Length, OCI-Filters-Applied, OCI-Subject, \
     OCI-Tag, Range, Retry-After, Warning, WWW-Authenticate, X-Request-Id",
);
/// What requests may say beside what they always may.
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "Accept, Authorization, Cache-Control, Content-Range, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, \
     If-Unmodified-Since, Range, X-Request-Id",
);
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// Seconds that a browser believes the answer to its question.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const EVERYBODY: HeaderValue = HeaderValue::from_static(config::ANY);
/// The answer is another for another origin, also to those who name none: a cache must not mix them up.
pub const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// A peer's own, in whose place ours stand: two would be none.
pub static PEERS: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// The origins of a configuration.
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

impl Cors {
    pub fn new(config: &Config) -> Self {
        let origins = config.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        Cors { any: config.origins.iter().any(|origin| origin == config::ANY), origins }
    }

    /// What stands in every answer to a request with this method and these fields, whoever gives it; a head that is refused before it
    /// is read has none.
    pub fn fields(&self, method: &Method, request: &HeaderMap) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(VARY, BY_ORIGIN);
        let Some(origin) = one_origin(request) else { return fields };
        if self.any {
            fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, EVERYBODY);
        } else if self.origins.contains(origin) {
            fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        } else {
            return fields;
        }
        if is_preflight(method, request) {
            fields.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
            fields.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        fields
    }
}

/// Whether this is a browser's question whether it may send a request. It comes without any credentials.
pub fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
    *method == Method::OPTIONS && request.contains_key(ORIGIN) && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to it: what is in every answer says the rest. Who may not hears nothing that allows it.
pub fn preflight() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The origin that a request names; two are none.
fn one_origin(request: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = request.get_all(ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(&Config { origins: origins.iter().map(|origin| origin.to_string()).collect() })
    }

    fn from(origins: &[&'static str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for origin in origins {
            fields.append(ORIGIN, HeaderValue::from_static(origin));
        }
        fields
    }

    fn told(cors: &Cors, request: &HeaderMap) -> (Option<String>, bool) {
        let fields = cors.fields(&Method::GET, request);
        assert_eq!(fields[VARY], "Origin");
        let origin = fields.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|origin| origin.to_str().unwrap().to_owned());
        assert_eq!(origin.is_some(), fields.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
        (origin, fields.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS))
    }

    #[test]
    fn only_listed_origins_are_let_in_and_named() {
        let cors = cors(&["https://ui.example.com", "http://localhost:3000"]);
        let let_in = |origin: &str| (Some(origin.to_owned()), true);
        assert_eq!(told(&cors, &from(&["https://ui.example.com"])), let_in("https://ui.example.com"));
        assert_eq!(told(&cors, &from(&["http://localhost:3000"])), let_in("http://localhost:3000"));
        for other in [
            &["https://ui.example.com:8443"][..],
            &["http://ui.example.com"],
            &["https://ui.example.com.evil.example"],
            &["null"],
            &["*"],
            &[],
            &["https://ui.example.com", "https://evil.example"],
        ] {
            assert_eq!(told(&cors, &from(other)), (None, false), "{other:?}");
        }
    }

    #[test]
    fn all_origins_never_come_with_credentials() {
        let cors = cors(&["*"]);
        assert_eq!(told(&cors, &from(&["https://anybody.example"])), (Some("*".into()), false));
        assert_eq!(told(&cors, &from(&[])), (None, false));
    }

    #[test]
    fn a_question_is_told_from_other_options() {
        let cors = cors(&["https://ui.example.com"]);
        let mut asked = from(&["https://ui.example.com"]);
        assert!(!is_preflight(&Method::OPTIONS, &asked));
        asked.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        assert!(is_preflight(&Method::OPTIONS, &asked) && !is_preflight(&Method::GET, &asked));
        let fields = cors.fields(&Method::OPTIONS, &asked);
        assert!(fields[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("Authorization"));
        assert!(fields[ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("PATCH"));
        assert_eq!(fields[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        asked.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
        let refused = cors.fields(&Method::OPTIONS, &asked);
        assert_eq!((refused.len(), refused.contains_key(VARY)), (1, true));
    }
}
