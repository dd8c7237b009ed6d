//! What is asked, as a path of the distribution specification and as a scope of the token protocol.

use http::HeaderValue;
use http::header::HeaderMap;
use reqwest::Url;

use super::RemoteError;
use super::question::{Question, What};
use crate::oci::media_type::{ANY_MANIFEST, JSON, OCI_INDEX};

/// The longest query of a list, in bytes.
const MAX_QUERY: usize = 8 << 10;

/// The URL of what is asked, below the remote's own.
pub fn url(base: &Url, question: &Question<'_>) -> Result<Url, RemoteError> {
    let name = || question.repository.ok_or_else(|| RemoteError::Useless("no repository to ask about".into()));
    let (path, query) = match question.what {
        What::Manifest(reference) => (format!("{}/manifests/{reference}", name()?), ""),
        What::Blob(digest) => (format!("{}/blobs/{digest}", name()?), ""),
        What::Tags(query) => (format!("{}/tags/list", name()?), query),
        What::Referrers(digest, query) => (format!("{}/referrers/{digest}", name()?), query),
        What::Catalog(query) => ("_catalog".to_owned(), query),
        What::Ping => (String::new(), ""),
    };
    if query.len() > MAX_QUERY {
        return Err(RemoteError::Useless("the query is too long".into()));
    }
    let mut url = base.clone();
    url.set_path(&format!("{}/v2/{path}", base.path().trim_end_matches('/')));
    url.set_query((!query.is_empty()).then_some(query));
    Ok(url)
}

/// The scope that it needs; a ping needs none.
pub fn scope(question: &Question<'_>) -> Option<String> {
    match (question.repository, question.what) {
        (_, What::Ping) => None,
        (Some(name), _) => Some(format!("repository:{name}:pull")),
        (None, _) => Some("registry:catalog:*".to_owned()),
    }
}

/// What `Accept` says.
pub fn accept(question: &Question<'_>, headers: &mut HeaderMap) {
    let plain = match question.what {
        What::Manifest(_) if question.accept.is_empty() => ANY_MANIFEST,
        What::Manifest(_) => {
            for value in question.accept {
                headers.append(http::header::ACCEPT, value.clone());
            }
            return;
        }
        What::Blob(_) => "*/*",
        What::Referrers(..) => OCI_INDEX,
        What::Tags(_) | What::Catalog(_) | What::Ping => JSON,
    };
    headers.insert(http::header::ACCEPT, HeaderValue::from_static(plain));
}

/// Whether what comes is proven by a digest, so that it matters little over which wire it comes.
pub fn is_proven(question: &Question<'_>) -> bool {
    match question.what {
        // A piece, and a size, nobody can check.
        What::Blob(_) => !question.head && question.range.is_none_or(|(_, end)| end.is_none()),
        What::Manifest(reference) => matches!(reference, crate::oci::Reference::Digest(_)),
        What::Tags(_) | What::Referrers(..) | What::Catalog(_) | What::Ping => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::remote::Asker;

    #[test]
    fn paths_are_those_of_the_specification() {
        let name = "library/alpine".parse().unwrap();
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let tag = "v1.2".parse().unwrap();
        let asked = |what, repository| Question {
            repository,
            what,
            head: false,
            accept: &[],
            range: None,
            asker: &Asker::Mirror,
            within: Duration::from_secs(1),
        };
        for (base, what, expected) in [
            ("https://r.example", What::Manifest(&tag), "https://r.example/v2/library/alpine/manifests/v1.2"),
            (
                "https://r.example/",
                What::Tags("n=5&last=x"),
                "https://r.example/v2/library/alpine/tags/list?n=5&last=x",
            ),
            (
                "https://r.example:8443/api/docker/",
                What::Tags(""),
                "https://r.example:8443/api/docker/v2/library/alpine/tags/list",
            ),
        ] {
            let url = url(&base.parse().unwrap(), &asked(what, Some(&name))).unwrap();
            assert_eq!(url.as_str(), expected);
        }
        let base: Url = "https://r.example".parse().unwrap();
        let blob = url(&base, &asked(What::Blob(&digest), Some(&name))).unwrap();
        assert_eq!(blob.path(), format!("/v2/library/alpine/blobs/{digest}"));
        let strange = url(&base, &asked(What::Tags("last=a b#c"), Some(&name))).unwrap();
        assert!(strange.fragment().is_none() && !strange.as_str().contains(' '));
        let catalog = asked(What::Catalog("n=1"), None);
        assert_eq!(url(&base, &catalog).unwrap().as_str(), "https://r.example/v2/_catalog?n=1");
        assert_eq!(scope(&catalog).unwrap(), "registry:catalog:*");
        assert_eq!(scope(&asked(What::Tags(""), Some(&name))).unwrap(), "repository:library/alpine:pull");
        let ping = asked(What::Ping, None);
        assert_eq!((url(&base, &ping).unwrap().as_str(), scope(&ping)), ("https://r.example/v2/", None));
        assert!(url(&base, &asked(What::Tags(""), None)).is_err());
        assert!(url(&base, &asked(What::Tags(&"x".repeat(10_000)), Some(&name))).is_err());
    }
}
