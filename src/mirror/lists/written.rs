//! Lists as clients get them: in our own pages, whatever those of the remote were.

use http::HeaderValue;
use http::header::{CONTENT_TYPE, HeaderName, LINK};
use http::{HeaderMap, StatusCode};

use crate::cache::Source;
use crate::mirror::{Body, Reply};
use crate::oci::manifest::Index;
use crate::oci::pagination::link_next;
use crate::oci::{Annotations, Descriptor, Page, media_type};

/// Longest list of names, all of them together, in bytes.
pub(super) const MAX_LIST_BYTES: usize = 16 << 20;
/// Longest page that is sent at once; the list goes on behind a `Link`.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// A descriptor's keys and its size, as JSON.
const KEYS: usize = 120;

const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Where a list is, for the `Link` to what follows.
pub(super) struct Place<'a> {
    pub(super) path: String,
    /// The registry that we were asked to stand for.
    pub(super) ns: Option<&'a str>,
}

/// Names in their order, of which a page is wanted. None of them has a character that JSON escapes. `head`: the object up to its list.
pub(super) fn names(head: &str, names: &[String], page: &Page, place: &Place<'_>) -> Reply {
    let start = page.last.as_ref().map_or(0, |last| names.partition_point(|name| name <= last));
    let rest = names.get(start..).unwrap_or_default();
    let mut text =
        String::with_capacity(head.len() + rest.len().min(page.n.unwrap_or(usize::MAX)).min(1 << 16) * 16 + 3);
    text.push_str(head);
    let mut count = 0_usize;
    for name in rest.iter().take(page.n.unwrap_or(usize::MAX)) {
        if text.len() + name.len() > MAX_PAGE_BYTES {
            break;
        }
        text.push_str(if count > 0 { ",\"" } else { "\"" });
        text.push_str(name);
        text.push('"');
        count += 1;
    }
    text.push_str("]}\n");
    let mut reply = json(text.into(), media_type::JSON);
    let last = count.checked_sub(1).and_then(|index| rest.get(index)).filter(|_| count < rest.len());
    if let Some(last) = last {
        let n = page.n.unwrap_or(count).to_string();
        link(&mut reply, place, &[("last", last), ("n", &n)]);
    }
    reply
}

/// Referrers in the order of their digests, of which a page is wanted, of some types (none: of any).
pub(super) fn referrers(found: &[Descriptor], wanted: &[String], page: &Page, place: &Place<'_>) -> Reply {
    let fits = |own: &Descriptor| {
        wanted.is_empty() || own.artifact_type.as_ref().is_some_and(|own| wanted.binary_search(own).is_ok())
    };
    let behind = |own: &Descriptor| page.last.as_ref().is_none_or(|last| own.digest > *last);
    let found: Vec<&Descriptor> = found.iter().filter(|own| fits(own) && behind(own)).collect();
    let mut bytes = 0;
    let fitting = found.iter().take_while(|own| {
        let first = bytes == 0;
        bytes += length(own);
        first || bytes <= MAX_PAGE_BYTES
    });
    let count = fitting.count().min(page.n.unwrap_or(usize::MAX));
    let shown = found.get(..count).unwrap_or_default();
    // Nothing in it can fail to be JSON.
    let body = serde_json::to_vec(&Index::new(shown)).unwrap_or_default();
    let mut reply = json(body, media_type::OCI_INDEX);
    if !wanted.is_empty() {
        reply.headers.insert(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = shown.last().filter(|_| count < found.len()) {
        let n = page.n.map(|n| n.to_string());
        let filters = wanted.iter().map(|wanted| ("artifactType", wanted.as_str()));
        let behind = [("last", last.digest.as_str())];
        let parameters: Vec<_> = filters.chain(behind).chain(n.as_deref().map(|n| ("n", n))).collect();
        link(&mut reply, place, &parameters);
    }
    reply
}

fn length(own: &Descriptor) -> usize {
    let urls: usize = own.urls.iter().flatten().map(|url| url.len() + 3).sum();
    let annotations = own.annotations.as_ref().map_or(0, Annotations::weight);
    KEYS + own.media_type.len()
        + own.digest.len()
        + own.artifact_type.as_ref().map_or(0, String::len)
        + urls
        + annotations
}

/// About how many bytes it takes in memory.
pub(super) fn weight(own: &Descriptor) -> usize {
    size_of::<Descriptor>() + length(own)
}

fn link(reply: &mut Reply, place: &Place<'_>, parameters: &[(&str, &str)]) {
    let ns = place.ns.map(|ns| ("ns", ns));
    let parameters: Vec<_> = parameters.iter().copied().chain(ns).collect();
    if let Ok(value) = HeaderValue::try_from(link_next(&place.path, &parameters)) {
        reply.headers.insert(LINK, value);
    }
}

fn json(body: Vec<u8>, media_type: &'static str) -> Reply {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
    let source = Some(Source::Miss);
    Reply { status: StatusCode::OK, headers, body: Body::Bytes(body.into()), source, problem: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest, Manifest};

    fn text(reply: &Reply) -> String {
        let Body::Bytes(bytes) = &reply.body else { panic!("a small body") };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn next(reply: &Reply) -> Option<Page> {
        let link = reply.headers.get(LINK)?.to_str().unwrap();
        let (_, query) = link.strip_suffix(">; rel=\"next\"").unwrap().split_once('?').unwrap();
        Some(Page::parse(Some(query)).unwrap())
    }

    fn place() -> Place<'static> {
        Place { path: "/v2/a/tags/list".into(), ns: Some("docker.io") }
    }

    #[test]
    fn names_are_paged_through_to_their_end() {
        let all: Vec<String> = (0..25).map(|n| format!("v{n:02}")).collect();
        let (mut seen, mut page) = (Vec::new(), Some(Page { n: Some(10), last: None }));
        while let Some(wanted) = page {
            let reply = names(r#"{"tags":["#, &all, &wanted, &place());
            let value: serde_json::Value = serde_json::from_str(&text(&reply)).unwrap();
            seen.extend(value["tags"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()));
            if let Some(link) = reply.headers.get(LINK) {
                assert!(link.to_str().unwrap().contains("ns=docker.io"));
            }
            page = next(&reply);
        }
        assert_eq!(seen, all);
        let whole = names(r#"{"tags":["#, &all, &Page::default(), &place());
        assert!(next(&whole).is_none() && text(&whole).contains("v24"));
        let none = names(r#"{"tags":["#, &all, &Page { n: Some(0), last: None }, &place());
        assert_eq!((text(&none).as_str(), next(&none)), ("{\"tags\":[]}\n", None));
        let behind = names(r#"{"tags":["#, &all, &Page { n: None, last: Some("v235".into()) }, &place());
        assert_eq!(text(&behind), "{\"tags\":[\"v24\"]}\n");
    }

    #[test]
    fn a_page_is_never_endless() {
        let all: Vec<String> = (0..50_000).map(|n| format!("{n:0>127}")).collect();
        let reply = names("{\"tags\":[", &all, &Page::default(), &place());
        assert!(text(&reply).len() < MAX_PAGE_BYTES + 1024 && next(&reply).is_some());
    }

    #[test]
    fn referrers_are_filtered_and_paged() {
        let of = |n: u8| Descriptor {
            digest: Digest::of(Algorithm::Sha256, &[n]).to_string(),
            artifact_type: Some(if n.is_multiple_of(2) { "a/even" } else { "a/odd" }.to_owned()),
            ..Descriptor::default()
        };
        let mut all: Vec<_> = (0..20).map(of).collect();
        all.sort_by(|one, other| one.digest.cmp(&other.digest));
        let wanted = vec!["a/even".to_owned()];
        let (mut seen, mut page) = (Vec::new(), Some(Page { n: Some(3), last: None }));
        while let Some(now) = page {
            let reply = referrers(&all, &wanted, &now, &place());
            assert_eq!(reply.headers[OCI_FILTERS_APPLIED], "artifactType");
            seen.extend(Manifest::parse(text(&reply).as_bytes()).unwrap().manifests.unwrap());
            page = next(&reply);
        }
        assert_eq!(
            seen,
            all.iter().filter(|own| own.artifact_type == Some("a/even".into())).cloned().collect::<Vec<_>>()
        );
        let whole = referrers(&all, &[], &Page::default(), &place());
        assert!(!whole.headers.contains_key(OCI_FILTERS_APPLIED) && next(&whole).is_none());
        assert_eq!(whole.headers[CONTENT_TYPE], media_type::OCI_INDEX);
    }
}
