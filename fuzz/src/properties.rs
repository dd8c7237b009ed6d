//! What must hold for every parser of `oci`, whatever comes in: it never panics, and what it accepts prints back to what
//! was parsed. Each function takes one line of text and panics where that is not so. Two callers: `cargo test`, with
//! seeds that proptest damages (tests/parsers.rs), and libFuzzer (fuzz_targets/).

use http::Method;
use serde_json::Value;

use super::oci::{
    self, AcceptClass, Action, ContentRange, Descriptor, Digest, ErrorCode, Host, Manifest, Page, RangeRequest,
    Reference, RepositoryName, Resource, Tag, action, conditional, media_type, pagination, range,
};

/// A parser under test: its name, its property, and lines that it should see first.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&str),
    pub seeds: &'static str,
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        /// Every parser of `oci`.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name,
            seeds: include_str!(concat!("../seeds/", stringify!($name))),
        }),+];
    };
}

targets!(
    digest,
    name,
    reference,
    request,
    query,
    page,
    byte_range,
    content_range,
    conditions,
    accept,
    manifest,
    host,
    error,
);

pub fn digest(text: &str) {
    let Ok(digest) = text.parse::<Digest>() else { return };
    assert_eq!(digest.to_string(), text);
    assert_eq!(format!("{}:{}", digest.algorithm().name(), digest.hex()), text);
    assert_eq!(digest.hash().len(), digest.algorithm().len());
    assert_eq!(digest.text().parse(), Ok(digest));
}

pub fn name(text: &str) {
    let Ok(name) = text.parse::<RepositoryName>() else { return };
    assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
    assert!(text.len() <= oci::name::MAX_NAME);
    // What becomes a path in storage climbs nowhere and meets none of the tree's own folders, which begin with '_'.
    assert!(text.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())));
    assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/._-".contains(&b)));
}

pub fn reference(text: &str) {
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!((tag.as_str(), tag.to_string().as_str()), (text, text));
        assert!(!text.is_empty() && text.len() <= oci::reference::MAX_TAG && !text.starts_with(['.', '-']));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
    }
    match text.parse::<Reference>() {
        Ok(Reference::Tag(tag)) => assert_eq!(Ok(tag), text.parse()),
        Ok(Reference::Digest(digest)) => assert_eq!(Ok(digest), text.parse()),
        Err(_) => assert!(text.parse::<Tag>().is_err() && text.parse::<Digest>().is_err()),
    }
}

/// `METHOD path` or `METHOD path?query`.
pub fn request(line: &str) {
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    match Action::parse(&method, path, query) {
        Ok(action) => {
            let route = &action.resource;
            match printed(route) {
                Some(canonical) => assert_eq!(canonical, canonical_path(path), "{route:?}"),
                None => assert!(!path.starts_with("/v2/") && path != "/v2"),
            }
            // What was meant by one spelling is meant by the canonical one.
            let again = printed(route).unwrap_or_else(|| path.to_owned());
            assert_eq!(Action::parse(&method, &again, query), Ok(action));
        }
        Err(error) => {
            assert!(error.status().is_client_error(), "{error:?}");
            assert_eq!(error.allow().is_some(), error.status().as_u16() == 405);
            assert!(!error.to_string().is_empty() && !error.code().as_str().is_empty());
        }
    }
}

fn printed(route: &Resource) -> Option<String> {
    Some(match route {
        Resource::Base => "/v2/".to_owned(),
        Resource::Catalog { .. } => "/v2/_catalog".to_owned(),
        Resource::Tags { name, .. } => format!("/v2/{name}/tags/list"),
        Resource::Manifest { name, reference, .. } => format!("/v2/{name}/manifests/{reference}"),
        Resource::Blob { name, digest } => format!("/v2/{name}/blobs/{digest}"),
        Resource::UploadStart { name, .. } => format!("/v2/{name}/blobs/uploads/"),
        Resource::Upload { name, id, .. } => format!("/v2/{name}/blobs/uploads/{id}"),
        Resource::Referrers { name, digest, .. } => format!("/v2/{name}/referrers/{digest}"),
        Resource::Outside => return None,
    })
}

/// The few spellings that mean the same: `/v2`, an upload's POST without its last slash, an encoded colon.
fn canonical_path(path: &str) -> String {
    match path {
        "/v2" => "/v2/".to_owned(),
        _ if path.ends_with("/blobs/uploads") => format!("{path}/"),
        _ => path.replace("%3A", ":").replace("%3a", ":"),
    }
}

/// A query; each key that it may hold is looked for.
pub fn query(query: &str) {
    for key in ["digest", "n", "last", "tag", "mount", "from", ""] {
        if let Some(value) = action::query_value(query, key) {
            // One writer of queries, strict about what it escapes, gives the same value back.
            let written: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            assert_eq!(action::query_value(&format!("{key}={written}"), key), Some(value));
        }
    }
}

/// A query again; the link to a page asks for that page.
pub fn page(query: &str) {
    let Ok(page) = Page::parse(Some(query)) else { return };
    let n = page.n.map(|n| n.to_string());
    let last = page.last.as_deref();
    let parameters: Vec<(&str, &str)> =
        [("last", last), ("n", n.as_deref())].into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let link = pagination::link_next("/v2/_catalog", &parameters);
    assert!(link.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
    let target = link.strip_prefix("</v2/_catalog").and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let query = target.expect("a target in angle brackets").strip_prefix('?');
    assert_eq!(Page::parse(query), Ok(page));
}

/// `total header`: a `Range` header for content of so many bytes.
pub fn byte_range(line: &str) {
    let (total, header) = line.split_once(' ').unwrap_or(("4096", line));
    let Ok(total) = total.parse::<u64>() else { return };
    let RangeRequest::Ranges(ranges) = range::parse(header, total) else { return };
    assert!(!ranges.is_empty() && ranges.len() <= range::MAX_RANGES);
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= total));
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| range.start);
    assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?} meet");
    let specs: Vec<String> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    assert_eq!(range::parse(&format!("bytes={}", specs.join(",")), total), RangeRequest::Ranges(ranges.clone()));
    let frame = range::Multipart::new("b".into(), "a/b", &ranges, total);
    let framing: usize = frame.heads().iter().map(String::len).sum::<usize>() + frame.tail().len();
    let content = ranges.iter().map(|range| range.end - range.start).fold(framing as u64, u64::saturating_add);
    assert_eq!(frame.content_length(), content);
}

pub fn content_range(header: &str) {
    let Some(range) = ContentRange::parse(header) else { return };
    assert!(range.first <= range.last && range.len() == range.last - range.first + 1);
    for printed in [
        format!("{}-{}", range.first, range.last),
        range::content_range(&(range.first..range.last + 1), range.last + 1),
    ] {
        assert_eq!(ContentRange::parse(&printed), Some(range), "{printed}");
    }
}

/// `If-None-Match` and `If-Range`.
pub fn conditions(header: &str) {
    let digest = Digest::of(oci::Algorithm::Sha256, b"entrepot");
    let (text, etag) = (digest.to_string(), conditional::etag(&digest));
    let listed = conditional::none_match_lists(header, &text);
    assert!(!listed || header.contains('*') || header.contains(&text));
    assert!(!conditional::if_range_holds(header, &text) || header.contains(&text));
    assert!(conditional::none_match_lists(&format!("{header},{etag}"), &text));
    assert!(conditional::if_range_holds(&etag, &text));
}

/// `Accept`, and any other header that holds media types.
pub fn accept(header: &str) {
    let essence = media_type::essence(header);
    assert_eq!(media_type::essence(essence), essence);
    assert!(!media_type::is_index(header) || media_type::is_manifest(header));
    assert!(!(media_type::is_manifest(header) && media_type::is_schema1(header)));
    let listed: Vec<&str> = header.split(',').collect();
    let class: AcceptClass = media_type::accept_class(&[header]);
    assert_eq!(class, media_type::accept_class(&[header]));
    // A longer list is taken as it is written.
    if listed.len() <= 32 {
        let reversed: Vec<&str> = listed.iter().rev().copied().collect();
        assert_eq!(class, media_type::accept_class(&reversed));
        assert_eq!(class, media_type::accept_class(&[header, header]));
        assert_eq!(class, media_type::accept_class(&[&header.to_ascii_uppercase()]));
    }
}

/// What we take a manifest for is what every other reader takes it for.
pub fn manifest(text: &str) {
    let Ok(manifest) = Manifest::parse(text.as_bytes()) else { return };
    assert!(oci::manifest::is_plain_object(text.as_bytes()));
    // Numbers and escapes beyond what this reader holds may stand where nobody looks.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let texts = |key: &str| value[key].as_str();
    assert_eq!(
        (manifest.media_type.as_deref(), manifest.artifact_type.as_deref()),
        (texts("mediaType"), texts("artifactType"))
    );
    assert_eq!(manifest.schema_version, value["schemaVersion"].as_i64());
    for (key, one) in [("config", &manifest.config), ("subject", &manifest.subject)] {
        assert_eq!(one.is_some(), !value[key].is_null());
        one.iter().for_each(|one| descriptor(one, &value[key]));
    }
    for (key, list) in [("layers", &manifest.layers), ("blobs", &manifest.blobs), ("manifests", &manifest.manifests)] {
        assert_eq!(list.as_ref().map(Vec::len), value[key].as_array().map(Vec::len));
        list.iter().flatten().enumerate().for_each(|(index, one)| descriptor(one, &value[key][index]));
    }
    assert_eq!(one_spelling(&value, MANIFEST_KEYS), Ok(()));
    assert!(manifest.referrer_type() != Some(""));
    let implied = manifest.implied_media_type().to_owned();
    if manifest.check(&implied).is_ok() && media_type::is_manifest(&implied) {
        assert!(manifest.needed().all(|named| named.digest_is_well_formed() && !named.is_foreign()));
        assert!(!(manifest.manifests.is_some() && (manifest.config.is_some() || manifest.layers.is_some())));
    }
}

fn descriptor(read: &Descriptor, value: &Value) {
    assert_eq!(Some(read.digest.as_str()), value["digest"].as_str());
    assert_eq!(read.media_type, value["mediaType"].as_str().unwrap_or_default());
    assert_eq!(read.size, value["size"].as_u64().unwrap_or_default());
    assert_eq!(one_spelling(value, DESCRIPTOR_KEYS), Ok(()));
    let written = serde_json::to_string(read).expect("JSON");
    assert_eq!(serde_json::from_str::<Descriptor>(&written).expect("what we wrote"), *read);
}

/// What any reader of manifests looks at, and of descriptors.
const MANIFEST_KEYS: &[&str] =
    &["schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject", "annotations"];
const DESCRIPTOR_KEYS: &[&str] = &["mediaType", "digest", "size", "artifactType", "annotations", "urls"];

/// Readers that ignore case, as Go's do, must not find another value than we did.
fn one_spelling(value: &Value, known: &[&str]) -> Result<(), String> {
    let keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
    let mut other = keys.filter(|key| known.iter().any(|known| known.eq_ignore_ascii_case(key) && known != key));
    other.next().map_or(Ok(()), |key| Err(format!("another spelling: {key}")))
}

pub fn host(text: &str) {
    let Ok(host) = text.parse::<Host>() else { return };
    assert_eq!(host.as_str(), text.to_ascii_lowercase());
    assert!(!host.name().is_empty() && host.name().len() <= oci::host::MAX_HOST);
    assert!(host.as_str().starts_with(host.name()));
    assert_eq!(host.port().is_some(), host.as_str().len() > host.name().len());
    assert!(host.as_str().bytes().all(|b| b.is_ascii_graphic() && !b"/@,\\?#".contains(&b)));
    assert_eq!(host.as_str().parse(), Ok(host));
}

/// Not a parser, but hostile text goes through it on the way out.
pub fn error(message: &str) {
    for code in [ErrorCode::NameInvalid, ErrorCode::Unknown] {
        let body = oci::error_body(code, message, Some(Value::from(message)));
        let parsed: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(parsed["errors"][0]["code"], code.as_str());
        assert_eq!(parsed["errors"][0]["message"], message);
        assert_eq!(parsed["errors"][0]["detail"], message);
    }
}
