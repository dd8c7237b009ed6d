use proptest::prelude::*;

use super::*;
use crate::oci::error_code::ErrorCode;

const HEX: &str = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

fn get(path: &str) -> Result<Resource, ActionError> {
    Action::parse(&Method::GET, path, None).map(|action| action.resource)
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn digest() -> Digest {
    format!("sha256:{HEX}").parse().unwrap()
}

#[test]
fn every_route_is_read() {
    let tag = |tag: &str| Reference::Tag(tag.parse().unwrap());
    for (method, path, route) in [
        ("GET", "/v2", Resource::Base),
        ("HEAD", "/v2/", Resource::Base),
        ("GET", "/v2/_catalog", Resource::Catalog { page: Ok(Page::default()) }),
        ("GET", "/v2/a/b/tags/list", Resource::Tags { name: name("a/b"), page: Ok(Page::default()) }),
        (
            "GET",
            "/v2/a/manifests/v1.2",
            Resource::Manifest { name: name("a"), reference: tag("v1.2"), tags: Ok(vec![]) },
        ),
        (
            "PUT",
            &format!("/v2/a/b/c/manifests/sha256:{HEX}"),
            Resource::Manifest { name: name("a/b/c"), reference: Reference::Digest(digest()), tags: Ok(vec![]) },
        ),
        ("GET", &format!("/v2/a/blobs/sha256:{HEX}"), Resource::Blob { name: name("a"), digest: digest() }),
        ("GET", &format!("/v2/a/blobs/sha256%3A{HEX}"), Resource::Blob { name: name("a"), digest: digest() }),
        (
            "GET",
            &format!("/v2/a/manifests/sha256%3a{HEX}"),
            Resource::Manifest { name: name("a"), reference: Reference::Digest(digest()), tags: Ok(vec![]) },
        ),
        ("DELETE", &format!("/v2/a/blobs/sha256:{HEX}"), Resource::Blob { name: name("a"), digest: digest() }),
        ("POST", "/v2/a/blobs/uploads/", Resource::UploadStart { name: name("a"), start: UploadStart::default() }),
        ("POST", "/v2/a/blobs/uploads", Resource::UploadStart { name: name("a"), start: UploadStart::default() }),
        (
            "PATCH",
            "/v2/a/blobs/uploads/x-_.=~9",
            Resource::Upload { name: name("a"), id: "x-_.=~9".into(), digest: None },
        ),
        (
            "GET",
            &format!("/v2/a/referrers/sha256:{HEX}"),
            Resource::Referrers {
                name: name("a"),
                digest: digest(),
                artifact_types: vec![],
                page: Ok(Page::default()),
            },
        ),
        ("OPTIONS", "/v2/a/tags/list", Resource::Tags { name: name("a"), page: Ok(Page::default()) }),
        ("GET", "/", Resource::Outside),
        ("BREW", "/service/token", Resource::Outside),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(Action::parse(&method, path, None).map(|action| action.resource), Ok(route), "{path}");
    }
}

#[test]
fn names_may_hold_the_words_of_the_routes() {
    for (path, expected) in [
        ("/v2/blobs/uploads/manifests/x", "blobs/uploads"),
        ("/v2/a/tags/list/manifests/x", "a/tags/list"),
        ("/v2/manifests/tags/list", "manifests"),
        ("/v2/a/blobs/uploads/tags/list", "a/blobs/uploads"),
        ("/v2/tags/list/tags/list", "tags/list"),
        ("/v2/a/blobs/blobs/uploads/id", "a/blobs"),
        ("/v2/v2/manifests/manifests", "v2"),
    ] {
        assert_eq!(get(path).unwrap().repository().unwrap().as_str(), expected, "{path}");
    }
    let blob = get(&format!("/v2/a/blobs/uploads/blobs/sha256:{HEX}")).unwrap();
    assert_eq!(blob, Resource::Blob { name: name("a/blobs/uploads"), digest: digest() });
}

#[test]
fn what_cannot_exist_is_not_there() {
    let long = format!("/v2/{}/tags/list", "a".repeat(256));
    let long_tag = format!("/v2/a/manifests/{}", "t".repeat(129));
    let long_id = format!("/v2/a/blobs/uploads/{}", "i".repeat(513));
    for (path, code, status) in [
        ("/v2/A/tags/list", ErrorCode::NameUnknown, 404),
        (&long, ErrorCode::NameUnknown, 404),
        ("/v2/a//b/tags/list", ErrorCode::NameUnknown, 404),
        ("/v2//tags/list", ErrorCode::NameUnknown, 404),
        ("/v2/a/../b/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/a%2fb/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/a%00/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/a\0/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/%2e%2e/a/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/a\\b/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/é/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/_a/manifests/x", ErrorCode::NameUnknown, 404),
        ("/v2/a%2fmanifests%2fx", ErrorCode::NameUnknown, 404),
        ("/v2/../etc/passwd", ErrorCode::NameUnknown, 404),
        ("/v2//", ErrorCode::NameUnknown, 404),
        ("/v2/a/blobs/uploads/%2e", ErrorCode::BlobUploadUnknown, 404),
        ("/v2/a/blobs/uploads/..", ErrorCode::BlobUploadUnknown, 404),
        (&long_id, ErrorCode::BlobUploadUnknown, 404),
        ("/v2/a/manifests/..", ErrorCode::ManifestUnknown, 404),
        ("/v2/a/manifests/a%2fb", ErrorCode::ManifestUnknown, 404),
        ("/v2/a/manifests/.x", ErrorCode::ManifestUnknown, 404),
        ("/v2/a/manifests/x%00", ErrorCode::ManifestUnknown, 404),
        (&long_tag, ErrorCode::ManifestUnknown, 404),
        ("/v2/a/manifests/sha256:baddigeststring", ErrorCode::ManifestUnknown, 404),
        ("/v2/a/blobs/sha256:00", ErrorCode::BlobUnknown, 404),
        ("/v2/a/blobs/latest", ErrorCode::BlobUnknown, 404),
        ("/v2/a/blobs/..", ErrorCode::BlobUnknown, 404),
        (&format!("/v2/a/blobs/sha256%253A{HEX}"), ErrorCode::BlobUnknown, 404),
        (&format!("/v2/a/blobs/sha384:{HEX}"), ErrorCode::BlobUnknown, 404),
        ("/v2/x/manifests/.INVALID", ErrorCode::ManifestUnknown, 404),
        ("/v2/x/manifests/-x", ErrorCode::ManifestUnknown, 404),
        ("/v2/x/blobs/nodigest", ErrorCode::BlobUnknown, 404),
        ("/v2/RC/bb/tags/list", ErrorCode::NameUnknown, 404),
        ("/v2/RC/bb/blobs/uploads/x", ErrorCode::NameUnknown, 404),
        (&format!("/v2/RC/bb/referrers/sha256:{HEX}"), ErrorCode::NameUnknown, 404),
        ("/v2/a/referrers/x", ErrorCode::DigestInvalid, 400),
        ("/v2/a", ErrorCode::NameUnknown, 404),
        ("/v2/a/b/c", ErrorCode::NameUnknown, 404),
        ("/v2/a/tags", ErrorCode::NameUnknown, 404),
        ("/v2/a/tags/list/", ErrorCode::NameUnknown, 404),
        ("/v2/a/manifests/", ErrorCode::NameUnknown, 404),
        ("/v2/a/uploads/x", ErrorCode::NameUnknown, 404),
        ("/v2/_catalog/", ErrorCode::NameUnknown, 404),
        ("/v2/tags/list", ErrorCode::NameUnknown, 404),
        ("/v2/blobs/uploads/", ErrorCode::NameUnknown, 404),
        ("/%762/a/manifests/x", ErrorCode::NameInvalid, 400),
        ("//v2/a/manifests/x", ErrorCode::NameInvalid, 400),
    ] {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            let error = Action::parse(&method, path, None).unwrap_err();
            assert_eq!((error.code(), error.status().as_u16()), (code, status), "{method} {path}");
        }
    }
}

#[test]
fn who_pushes_to_what_cannot_exist_is_told_what_is_wrong() {
    let long_tag = format!("/v2/a/manifests/{}", "t".repeat(129));
    for (path, code) in [
        ("/v2/A/manifests/x", ErrorCode::NameInvalid),
        ("/v2/a/../b/manifests/x", ErrorCode::NameInvalid),
        ("/v2/a%2fb/blobs/uploads/", ErrorCode::NameInvalid),
        ("/v2/a/../..", ErrorCode::NameInvalid),
        ("/v2/a/manifests/.INVALID", ErrorCode::TagInvalid),
        (&long_tag, ErrorCode::TagInvalid),
        ("/v2/a/manifests/sha256:baddigeststring", ErrorCode::DigestInvalid),
        ("/v2/a/blobs/nodigest", ErrorCode::DigestInvalid),
        ("/v2/a/blobs/uploads/..", ErrorCode::BlobUploadInvalid),
    ] {
        for method in [Method::PUT, Method::POST, Method::PATCH] {
            let error = Action::parse(&method, path, None).unwrap_err();
            assert_eq!((error.code(), error.status().as_u16()), (code, 400), "{method} {path}");
        }
    }
}

#[test]
fn other_methods_are_405_and_say_what_is_allowed() {
    for (method, path, allow) in [
        (Method::POST, "/v2/", "GET, HEAD, OPTIONS"),
        (Method::DELETE, "/v2/_catalog", "GET, HEAD, OPTIONS"),
        (Method::POST, "/v2/a/manifests/x", "GET, HEAD, PUT, DELETE, OPTIONS"),
        (Method::PUT, &format!("/v2/a/blobs/sha256:{HEX}"), "GET, HEAD, DELETE, OPTIONS"),
        (Method::GET, "/v2/a/blobs/uploads/", "POST, OPTIONS"),
        (Method::TRACE, "/v2/a/blobs/uploads/x", "GET, HEAD, PATCH, PUT, DELETE, OPTIONS"),
    ] {
        let error = Action::parse(&method, path, None).unwrap_err();
        assert_eq!((error.code(), error.status().as_u16()), (ErrorCode::Unsupported, 405));
        assert_eq!(error.allow(), Some(allow));
    }
}

#[test]
fn the_digest_of_a_push_is_checked_before_any_byte_is_sent() {
    let put = |query: Option<&str>| Action::parse(&Method::PUT, "/v2/a/blobs/uploads/x", query).map_err(|e| e.code());
    assert!(put(Some(&format!("_state=x%2B&digest=sha256%3A{HEX}"))).is_ok());
    assert!(put(Some(&format!("digest=sha256:{HEX}&digest-x=1"))).is_ok());
    for bad in [None, Some("_state=x"), Some("digest="), Some("digest"), Some("digest=sha256:x"), Some("digest=%ff")] {
        assert_eq!(put(bad), Err(ErrorCode::DigestInvalid), "{bad:?}");
    }
    for twice in ["digest", "%64igest", "digest=&digest"] {
        let query = format!("digest=sha256:{HEX}&{twice}=sha256:{HEX}");
        assert_eq!(put(Some(&query)), Err(ErrorCode::DigestInvalid), "{query}: a peer might take the other one");
        assert_eq!(query_value(&query, "digest"), None);
    }
    assert!(put(Some(&format!("d%69gest=sha256:{HEX}"))).is_ok());
    assert_eq!(query_value("a=1&tag=x%2By+z", "tag").as_deref(), Some("x+y z"));
    assert_eq!(put(Some("digest=a\r\nb")), Err(ErrorCode::NameInvalid));
    let post = |query: Option<&str>| Action::parse(&Method::POST, "/v2/a/blobs/uploads/", query).map_err(|e| e.code());
    assert!(post(None).is_ok());
    assert!(post(Some("mount=nonsense&from=B")).is_ok(), "a peer ignores a bad mount and opens an upload");
    assert_eq!(post(Some("digest=nonsense")), Err(ErrorCode::DigestInvalid));
}

fn asked(method: Method, target: &str) -> Action {
    let (path, query) = target.split_once('?').unwrap();
    Action::parse(&method, path, Some(query)).unwrap()
}

#[test]
fn what_a_query_says_is_read_with_the_path() {
    let started = |query: &str| match asked(Method::POST, &format!("/v2/a/blobs/uploads/?{query}")).resource {
        Resource::UploadStart { start, .. } => start,
        other => panic!("{other:?}"),
    };
    let mount = |from: Option<&str>| Some(Mount { digest: digest(), from: from.map(name) });
    assert_eq!(started(&format!("mount=sha256%3A{HEX}&from=b%2Fc")).mount, mount(Some("b/c")));
    assert_eq!(started(&format!("mount=sha256:{HEX}")).mount, mount(None));
    for wish in ["mount=sha256:x".to_owned(), format!("mount=sha256:{HEX}&from=B"), format!("mount=sha256:{HEX}&from=")]
    {
        assert_eq!(started(&wish).mount, None, "{wish}");
    }
    let two = started(&format!("mount=sha256:{HEX}&from=b&from=c"));
    assert_eq!(two.mount, None, "of two repositories, neither is meant, nor any");
    let whole = started(&format!("digest=sha256:{HEX}&digest-algorithm=sha512"));
    assert_eq!((whole.digest, whole.algorithm), (Some(digest()), Ok(Algorithm::Sha512)));
    assert_eq!(started("digest-algorithm=md5").algorithm, Err(QueryError::Algorithm));

    let tags = |query: &str| match asked(Method::PUT, &format!("/v2/a/manifests/x?{query}")).resource {
        Resource::Manifest { tags, .. } => tags,
        other => panic!("{other:?}"),
    };
    assert_eq!(tags("tag=b&tag=a&tag=b").map(|tags| tags.len()), Ok(2));
    assert!(matches!(tags("tag=-"), Err(QueryError::Tag(_))) && matches!(tags("tag="), Err(QueryError::Tag(_))));
    let many = |count: usize| (0..count).map(|number| format!("tag=t{number}")).collect::<Vec<_>>().join("&");
    assert_eq!(tags(&many(query::MAX_TAGS)).map(|tags| tags.len()), Ok(query::MAX_TAGS));
    assert_eq!(tags(&many(query::MAX_TAGS + 1)), Err(QueryError::TooManyTags));

    let about = asked(Method::GET, &format!("/v2/a/referrers/sha256:{HEX}?artifactType=b/x+y&artifactType=a/b&n=3"));
    let Resource::Referrers { artifact_types, page, .. } = about.resource else { panic!() };
    assert_eq!((artifact_types, page.unwrap().n), (vec!["a/b".to_owned(), "b/x+y".to_owned()], Some(3)));
    let Resource::Tags { page, .. } = asked(Method::GET, "/v2/a/tags/list?n=x").resource else { panic!() };
    assert!(page.is_err(), "a peer may know better");
    assert_eq!(asked(Method::GET, "/v2/a/manifests/x?ns=docker.io").ns.as_deref(), Some("docker.io"));
}

#[test]
fn reads_and_writes_are_told_apart() {
    for (method, path, read, write) in [
        (Method::GET, "/v2/a/manifests/x", true, false),
        (Method::HEAD, "/v2/a/manifests/x", true, false),
        (Method::PUT, "/v2/a/manifests/x", false, true),
        (Method::DELETE, "/v2/a/manifests/x", false, true),
        (Method::OPTIONS, "/v2/a/manifests/x", false, false),
        (Method::POST, "/v2/a/blobs/uploads/", false, true),
        (Method::PATCH, "/v2/a/blobs/uploads/x", false, true),
        (Method::GET, "/v2/a/blobs/uploads/x", false, false),
        (Method::GET, "/v2/", true, false),
    ] {
        let action = Action::parse(&method, path, None).unwrap();
        assert_eq!((action.is_read(), action.is_write()), (read, write), "{method} {path}");
    }
}

const NAME: &str =
    "[a-z0-9]{1,8}((\\.|_|__|--?)[a-z0-9]{1,4}){0,2}(/(blobs|manifests|tags|uploads|list|[a-z0-9]{1,5})){0,4}";

proptest! {
    #[test]
    fn any_path_is_no_panic(path in ".*", query in proptest::option::of(".*")) {
        for method in [Method::GET, Method::PUT, Method::POST] {
            let _ = Action::parse(&method, &path, query.as_deref());
            let _ = Action::parse(&method, &format!("/v2/{path}"), query.as_deref());
        }
    }

    #[test]
    fn any_valid_manifest_reads_back(text in NAME, tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}") {
        let route = get(&format!("/v2/{text}/manifests/{tag}")).unwrap();
        let reference = Reference::Tag(tag.parse().unwrap());
        prop_assert_eq!(route, Resource::Manifest { name: text.parse().unwrap(), reference, tags: Ok(vec![]) });
    }

    #[test]
    fn any_valid_upload_reads_back(text in NAME, id in "[a-zA-Z0-9=~_-]{1,40}") {
        let route = get(&format!("/v2/{text}/blobs/uploads/{id}")).unwrap();
        prop_assert_eq!(route, Resource::Upload { name: text.parse().unwrap(), id, digest: None });
    }

    #[test]
    fn what_is_accepted_holds_nothing_that_a_peer_could_normalise(path in "/v2/[aA%2fF/.0\\\\]{0,12}/(manifests|blobs/uploads)/[a%2f./]{1,6}") {
        if get(&path).is_ok() {
            let parts_are_plain = path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
            prop_assert!(parts_are_plain && !path.contains(['%', '\\']));
        }
    }
}
