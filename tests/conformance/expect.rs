//! What tests say of an answer, in words.

use serde_json::Value;

use crate::harness::Answer;
use crate::harness::repository::location;

use super::Repo;

pub trait Expect: Sized {
    #[track_caller]
    fn status_is(self, status: u16) -> Self;
    #[track_caller]
    fn status_is_one_of(self, statuses: &[u16]) -> Self;
    /// The status, and the code of the first error.
    #[track_caller]
    fn error_is(self, status: u16, code: &str) -> Self;
    #[track_caller]
    fn header_is(self, name: &str, value: &str) -> Self;
    #[track_caller]
    fn has_no(self, header: &str) -> Self;
    #[track_caller]
    fn body_is(self, bytes: &[u8]) -> Self;
    #[track_caller]
    fn tags(&self) -> Vec<String>;
    /// The target of `Link: <…>; rel="next"` (RFC 8288), made whole.
    #[track_caller]
    fn next_page(&self) -> Option<String>;
    /// `Location` can be pulled and gives these bytes.
    #[track_caller]
    fn leads_to(self, repo: &Repo, bytes: &[u8]) -> Self;
}

impl Expect for Answer {
    fn status_is(self, status: u16) -> Self {
        self.status_is_one_of(&[status])
    }

    fn status_is_one_of(self, statuses: &[u16]) -> Self {
        let text: String = self.text().chars().take(500).collect();
        assert!(
            statuses.contains(&self.status),
            "{} where {statuses:?} should be: {:?}\n{text}",
            self.status,
            self.headers
        );
        self
    }

    fn error_is(self, status: u16, code: &str) -> Self {
        let (found, text) = (self.error_code(), self.text());
        assert_eq!((self.status, found.as_str()), (status, code), "{text}");
        self
    }

    fn header_is(self, name: &str, value: &str) -> Self {
        let found: Vec<&str> = self.headers.all(name).collect();
        assert_eq!(found, [value], "{name}");
        self
    }

    fn has_no(self, header: &str) -> Self {
        assert_eq!(self.header(header), None, "{header}");
        self
    }

    fn body_is(self, bytes: &[u8]) -> Self {
        assert!(self.body == bytes, "{} bytes that are not the {} pushed", self.body.len(), bytes.len());
        self
    }

    fn tags(&self) -> Vec<String> {
        let body = self.json();
        let tags = body["tags"].as_array().unwrap_or_else(|| panic!("tags are no list: {body}"));
        tags.iter().map(|tag| tag.as_str().expect("a tag is a text").to_owned()).collect()
    }

    fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let (target, parameters) = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).expect("<target>");
        assert!(parameters.replace(' ', "") == r#";rel="next""#, "Link: {link}");
        let path = target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
        assert!(path.starts_with("/v2/"), "Link: {link}");
        Some(path.to_owned())
    }

    fn leads_to(self, repo: &Repo, bytes: &[u8]) -> Self {
        repo.get(&location(&self)).status_is(200).body_is(bytes);
        self
    }
}

/// The descriptors of a list of referrers, in one answer.
#[track_caller]
pub fn referrers(answer: &Answer) -> Vec<Value> {
    let index = answer.json();
    assert_eq!((answer.status, index["schemaVersion"].as_u64()), (200, Some(2)), "{index}");
    assert_eq!(index["mediaType"], super::repo::INDEX, "{index}");
    index["manifests"].as_array().unwrap_or_else(|| panic!("no list of manifests: {index}")).clone()
}
