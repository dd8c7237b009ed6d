//! Fields that a listener sets on every answer, whoever gives it; written down once.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::exchange::write_field;
use super::head::is_token;
use crate::outbound::hop::is_hop_by_hop;

/// More than anybody sets.
const MAX_FIELDS: usize = 32;
/// Of one value, in bytes.
const MAX_VALUE: usize = 4096;

/// What the protocol, the registry or another section says: a second word of ours would break what clients rely on.
const NOT_TO_BE_SET: [&str; 26] = [
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "cache-status",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "proxy-authenticate",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "www-authentication-info",
    "x-request-id",
];
const NOT_TO_BEGIN: [&str; 3] = ["access-control-", "docker-", "oci-"];

/// Names and values, and how they stand in a head of HTTP/1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerFields {
    fields: Vec<(HeaderName, HeaderValue)>,
    lines: Vec<u8>,
}

impl AnswerFields {
    /// Sets them, in the place of what was there.
    pub(super) fn set_in(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Adds them to a head of HTTP/1 that ends with its empty line.
    pub(super) fn extend(&self, head: &mut Vec<u8>) {
        if !self.lines.is_empty() {
            head.truncate(head.len().saturating_sub(b"\r\n".len()));
            head.extend_from_slice(&self.lines);
            head.extend_from_slice(b"\r\n");
        }
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let parsed = name.parse::<HeaderName>().ok().filter(|_| is_token(name.as_bytes()));
        let parsed = parsed.ok_or("is no name of a field")?;
        let text = parsed.as_str();
        if is_hop_by_hop(&parsed)
            || NOT_TO_BE_SET.contains(&text)
            || NOT_TO_BEGIN.iter().any(|start| text.starts_with(start))
        {
            return Err("is said by Entrepot itself, and cannot be set".into());
        }
        if self.fields.iter().any(|(known, _)| *known == parsed) {
            return Err("is set twice, in other letters".into());
        }
        if self.fields.len() >= MAX_FIELDS {
            return Err(format!("is one too many: at most {MAX_FIELDS} fields can be set"));
        }
        let clean = !value.is_empty() && value.len() <= MAX_VALUE && value.trim_ascii().len() == value.len();
        let printable = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let value = HeaderValue::from_str(value).ok().filter(|_| clean && printable);
        let value = value.ok_or_else(|| {
            format!("has a value that is empty, longer than {MAX_VALUE} bytes, or has other characters than ASCII's printable ones")
        })?;
        write_field(&mut self.lines, text, value.as_bytes());
        self.fields.push((parsed, value));
        Ok(())
    }
}

impl<'de> Deserialize<'de> for AnswerFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = AnswerFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields with their values: { \"X-Frame-Options\" = \"DENY\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<AnswerFields, A::Error> {
        let mut fields = AnswerFields::default();
        while let Some(name) = entries.next_key::<String>()? {
            entries.next_value_seed(Field { name: &name, fields: &mut fields })?;
        }
        Ok(fields)
    }
}

/// The value of one field, so that what is wrong is told of at its line.
struct Field<'a> {
    name: &'a str,
    fields: &'a mut AnswerFields,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Field<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a field, as text")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.fields.add(self.name, value).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_down_once_and_replace_what_was_there() {
        let fields: AnswerFields = toml::from_str("x-frame-options = \"DENY\"\nServer = \"none of yours\"").unwrap();
        let mut head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        fields.extend(&mut head);
        let text = String::from_utf8(head).unwrap();
        assert!(
            text.contains("\r\nX-Frame-Options: DENY\r\n") && text.contains("\r\nServer: none of yours\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n") && !text.trim_end().contains("\r\n\r\n"), "{text}");
        let mut headers = HeaderMap::new();
        headers.append("server", HeaderValue::from_static("a peer"));
        headers.append("server", HeaderValue::from_static("another"));
        fields.set_in(&mut headers);
        assert_eq!(headers.get_all("server").iter().collect::<Vec<_>>(), ["none of yours"]);
        let mut head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        AnswerFields::default().extend(&mut head);
        assert_eq!(head, b"HTTP/1.1 200 OK\r\n\r\n");
    }

    #[test]
    fn what_would_break_an_answer_cannot_be_set() {
        let mut fields = AnswerFields::default();
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Date",
            "Set-Cookie",
            "Docker-Content-Digest",
            "Docker-Ratelimit-Source",
            "Location",
            "Www-Authenticate",
            "OCI-Subject",
            "Access-Control-Allow-Origin",
            "Vary",
        ] {
            assert!(fields.add(name, "x").unwrap_err().contains("cannot be set"), "{name}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "ü"] {
            assert!(fields.add(name, "x").is_err(), "{name:?}");
        }
        for value in ["", " x", "x ", "a\r\nb: c", "a\tb", "a\0", "ü", &"x".repeat(MAX_VALUE + 1)] {
            assert!(fields.add("x-a", value).is_err(), "{value:?}");
        }
        fields.add("X-A", "x").unwrap();
        assert!(fields.add("x-a", "y").unwrap_err().contains("twice"));
        (1..MAX_FIELDS).for_each(|at| fields.add(&format!("x-{at}"), "x").unwrap());
        assert!(fields.add("x-more", "x").unwrap_err().contains("one too many"));
    }
}
