//! Every digest that stands in some JSON, wherever it stands: for who must not take away what a manifest may need. A registry
//! asks what a manifest means; this asks what it could mean, to any program: BuildKit lists layers as `manifests`, schema 1 has
//! `fsLayers`, artifacts have whatever they like.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::oci::{Algorithm, Digest};

/// What some JSON names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Sorted, each once.
    pub digests: Vec<Digest>,
    /// What it is about.
    pub subject: Option<Digest>,
    /// It names content by a hash that we cannot compute (sha384, which Go's programs can): what that is, nobody here can tell.
    pub unknown: bool,
}

/// `None`: these bytes are no JSON that we can read, so they may name anything.
pub fn named(bytes: &[u8]) -> Option<Named> {
    let mut found = Named::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Values { found: &mut found, depth: 0, place: Place::Elsewhere }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found.digests.sort_unstable();
    found.digests.dedup();
    Some(found)
}

/// Where a value stands, for the subject's sake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The value of the key `subject` of the outermost object.
    Subject,
    /// The value of the key `digest` of that.
    SubjectsDigest,
    Elsewhere,
}

struct Values<'a> {
    found: &'a mut Named,
    depth: usize,
    place: Place,
}

impl Values<'_> {
    fn text(&mut self, text: &str) {
        if self.place == Place::SubjectsDigest {
            self.found.subject = text.parse().ok();
        }
        scan(text, &mut *self.found);
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = self.depth + 1;
        while list.next_element_seed(Values { found: &mut *self.found, depth, place: Place::Elsewhere })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Keys are text as well: some annotate by digest.
        while let Some(key) = map.next_key::<String>()? {
            scan(&key, &mut *self.found);
            // Go reads keys in any case.
            let place = match self.place {
                Place::Elsewhere if self.depth == 0 && key.eq_ignore_ascii_case("subject") => Place::Subject,
                Place::Subject if key.eq_ignore_ascii_case("digest") => Place::SubjectsDigest,
                _ => Place::Elsewhere,
            };
            map.next_value_seed(Values { found: &mut *self.found, depth: self.depth + 1, place })?;
        }
        Ok(())
    }
}

/// Digests within a text: also those that follow a name (`app@sha256:…`) or stand in JSON that is itself a string.
fn scan(text: &str, found: &mut Named) {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let length = algorithm.name().len() + 1 + algorithm.len() * 2;
        let start = if algorithm == Algorithm::Sha256 { "sha256:" } else { "sha512:" };
        for (at, _) in text.match_indices(start) {
            found.digests.extend(text.get(at..at + length).and_then(|digest| digest.parse::<Digest>().ok()));
        }
    }
    found.unknown |= text.contains("sha384:");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn of(value: &serde_json::Value) -> Named {
        named(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn every_digest_counts_wherever_it_stands() {
        let long = Digest::of(Algorithm::Sha512, b"long");
        let all: Vec<Digest> = (0..10).map(|number| digest(&number.to_string())).collect();
        let value = json!({
            "config": {"digest": all[0]},
            "layers": [{"digest": all[1], "annotations": {"x": all[2]}}, [[{"deep": [all[3]]}]]],
            "fsLayers": [{"blobSum": all[4]}],
            "history": [{"v1Compatibility": format!("{{\"x\":\"{}\"}}", all[5])}],
            "manifests": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": all[6]}],
            "anything": format!("registry.test/app:1@{} and {long}", all[7]),
            "keys": {all[8].text(): null},
            "subject": {"digest": all[9], "size": 1.5, "more": true},
        });
        let found = of(&value);
        let mut expected = all.clone();
        expected.push(long);
        expected.sort_unstable();
        assert_eq!((found.digests, found.subject, found.unknown), (expected, Some(all[9]), false));
    }

    #[test]
    fn only_the_manifests_own_subject_is_one() {
        let (one, other) = (digest("1"), digest("2"));
        for (value, subject) in [
            (json!({"subject": {"digest": one}}), Some(one)),
            (json!({"Subject": {"Digest": one}}), Some(one)),
            (json!({"annotations": {"subject": {"digest": one}}}), None),
            (json!({"subject": {"annotations": {"digest": other}, "digest": one}}), Some(one)),
            (json!({"subject": [{"digest": one}]}), None),
            (json!({"subject": one}), None),
            (json!([{"subject": {"digest": one}}]), None),
        ] {
            let found = of(&value);
            assert_eq!(found.subject, subject, "{value}");
            assert!(found.digests.contains(&one));
        }
    }

    #[test]
    fn escapes_are_read_and_what_is_no_digest_is_none() {
        let one = digest("1");
        let escaped = format!("{{\"\\u0073ha256:x\":\"s\\u0068a256:{}\"}}", one.hex());
        assert_eq!(named(escaped.as_bytes()).unwrap().digests, [one]);
        for text in ["sha256:", "sha256:abc", &one.text()[..70], &one.text().to_uppercase(), "sha256:é", "sha512:é"] {
            assert_eq!(of(&json!([text])).digests, [], "{text}");
        }
    }

    #[test]
    fn a_hash_that_we_cannot_compute_is_told() {
        assert!(of(&json!({"layers": [{"digest": format!("sha384:{}", "a".repeat(96))}]})).unknown);
        assert!(!of(&json!({"layers": []})).unknown);
    }

    #[test]
    fn what_cannot_be_read_may_name_anything() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for bytes in ["", "{", "{\"a\":}", "{} {}", "\u{feff}{}", &deep] {
            assert_eq!(named(bytes.as_bytes()), None, "{bytes}");
        }
        assert_eq!(named(b"\xff"), None);
        assert_eq!(named(b" {} "), Some(Named::default()));
        // Of a key that stands twice, both count.
        let (one, other) = (digest("1"), digest("2"));
        let twice = format!("{{\"config\":{{\"digest\":\"{one}\"}},\"config\":{{\"digest\":\"{other}\"}}}}");
        assert_eq!(named(twice.as_bytes()).unwrap().digests.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "\\PC{0,80}") {
            let _ = named(&bytes);
            let _ = named(json!({"a": text}).to_string().as_bytes());
        }
    }
}
