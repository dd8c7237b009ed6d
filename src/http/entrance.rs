//! What `/` says to people, who come with a browser or curl to see what is here. Programs begin at `/v2/`.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, Response};

use crate::exchange::respond::not_allowed;
use crate::listener::{Prefix, RequestHead};

// No version: who is not the operator need not know what to try. No host either: which one the reader came by, it knows.
const TEXT: &str = "This is Entrepot, a registry for container images.\n\n\
    Images are pulled and pushed with docker, podman, skopeo and the like:\n\n    docker pull THIS-HOST/NAME:TAG\n\n\
    Programs begin at /v2/ (the OCI distribution specification); /healthz says whether it lives.\n\
    How to run it and what it does: README.md of Entrepot's source.\n";

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Entrepot</title></head><body>\n\
    <p>This is Entrepot, a registry for container images.</p>\n\
    <p>Images are pulled and pushed with docker, podman, skopeo and the like: <code>docker pull THIS-HOST/NAME:TAG</code></p>\n\
    <p>Programs begin at <a href=\"/v2/\">/v2/</a> (the OCI distribution specification); <a href=\"/healthz\">/healthz</a> \
    says whether it lives. How to run it and what it does: README.md of Entrepot's source.</p>\n</body></html>\n";

/// The answer to a request for `/` that no cluster takes.
pub fn answer(request: &RequestHead, prefix: &Prefix) -> Response<Bytes> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD", "/ takes GET and HEAD; a registry's API is below /v2/");
    }
    let wanted = request.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let page = wanted.flat_map(|value| value.split(',')).any(|range| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("text/html")
    });
    let (media_type, body) = match page {
        true => ("text/html; charset=utf-8", PAGE.replace("href=\"/", &format!("href=\"{prefix}/"))),
        false => ("text/plain; charset=utf-8", TEXT.replace(" /", &format!(" {prefix}/"))),
    };
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}
