//! "Error Codes". That every body is of the format is audited with every answer of the suite; here are the codes.

use super::data::push_image;
use super::expect::Expect;
use super::{Algorithm, Repo};

on_every_storage![
    errors_must_have_the_code_that_says_why,
    errors_of_head_must_have_no_body,
    methods_that_an_endpoint_lacks_must_be_405_with_allow,
    paths_that_are_no_endpoint_must_be_404,
];

fn errors_must_have_the_code_that_says_why(repo: &Repo) {
    push_image(repo, "v1");
    let absent = Algorithm::Sha256.digest(b"absent");
    let cases = [
        ("GET", "manifests/absent".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("manifests/{absent}"), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "manifests/absent".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("blobs/{absent}"), 404, "BLOB_UNKNOWN"),
        ("DELETE", format!("blobs/{absent}"), 404, "BLOB_UNKNOWN"),
        ("GET", "blobs/sha256:abc".to_owned(), 404, "BLOB_UNKNOWN"),
        ("GET", "manifests/sha256:abc".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", "manifests/.INVALID".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "manifests/.INVALID".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "blobs/nodigest".to_owned(), 404, "BLOB_UNKNOWN"),
        ("GET", "referrers/sha256:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("POST", "blobs/uploads/?digest=sha256:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("PUT", "manifests/v2".to_owned(), 400, "MANIFEST_INVALID"),
        ("GET", format!("/v2/{}/absent/tags/list", repo.name), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/UPPER/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        ("PATCH", format!("blobs/{absent}"), 405, "UNSUPPORTED"),
    ];
    for (method, what, status, code) in cases {
        let answer = repo.send(repo.request(method, &what));
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{method} {what}: {}", answer.text());
    }
}

/// RFC 9110, 9.3.2: as GET, without the body; a client must be able to use the connection further.
fn errors_of_head_must_have_no_body(repo: &Repo) {
    push_image(repo, "v1");
    let connection = crate::harness::Connection::open(repo.address).expect("a connection");
    let mut connection = Some(connection);
    let absent = Algorithm::Sha256.digest(b"absent");
    let impossible = ["manifests/-x", "blobs/nodigest", "/v2/RC/bb/tags/list"].map(str::to_owned);
    for what in ["manifests/absent".to_owned(), format!("blobs/{absent}"), "manifests/v1".to_owned()]
        .into_iter()
        .chain(impossible)
    {
        for method in ["HEAD", "GET"] {
            let (answer, kept) = connection.take().expect("open").ask(repo.request(method, &what)).expect("an answer");
            assert_eq!(answer.status, if what == "manifests/v1" { 200 } else { 404 }, "{method} {what}");
            assert_eq!(answer.body.is_empty(), method == "HEAD");
            connection = Some(kept);
        }
    }
}

/// "Endpoints", code-13; RFC 9110, 15.5.6.
fn methods_that_an_endpoint_lacks_must_be_405_with_allow(repo: &Repo) {
    let digest = Algorithm::Sha256.digest(b"absent");
    for (method, what) in [
        ("PUT", "tags/list".to_owned()),
        ("DELETE", "tags/list".to_owned()),
        ("POST", format!("blobs/{digest}")),
        ("PUT", format!("blobs/{digest}")),
        ("POST", "manifests/v1".to_owned()),
        ("PATCH", "manifests/v1".to_owned()),
        ("DELETE", format!("referrers/{digest}")),
        ("POST", "/v2/".to_owned()),
    ] {
        let answer = repo.send(repo.request(method, &what)).error_is(405, "UNSUPPORTED");
        let allowed = answer.header("allow").unwrap_or_else(|| panic!("{method} {what}: no Allow"));
        assert!(allowed.contains("GET") && !allowed.contains(method), "{method} {what}: {allowed}");
    }
}

/// "Endpoints".
fn paths_that_are_no_endpoint_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    for what in ["tags", "tags/listing", "manifests", "blobs", "nothing/here"] {
        repo.get(what).status_is_one_of(&[400, 404]);
    }
}
