//! Whether everybody reads a manifest that is pushed as we do (CVE-2021-41190). `Manifest::parse` is lenient with what is
//! stored already; this is for what comes new: JSON in UTF-8, not nested for ever, no key twice on any level, and no key
//! that another program would take for a known one. And whether it names no more than there are bounds for, before anything
//! is made of it.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{MAX_BLOBS, MAX_LISTED, ManifestError};

/// Levels of objects and lists. Manifests have five; parsers of others give up at 100 and more.
pub const MAX_DEPTH: usize = 64;

/// Judges the bytes. With `known_type`, also the spelling of keys: what those of an unknown type mean is not known.
///
/// # Errors
/// `ManifestError::Json`, which says what is wrong, or `TooMany`.
pub fn check(bytes: &[u8], known_type: bool) -> Result<(), ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ManifestError::Json(error.to_string()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let place = if known_type { ObjectKind::Manifest } else { ObjectKind::Elsewhere };
    let over = Cell::new(None);
    let read = Value { place, depth: 0, over: &over }.deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| over.take().unwrap_or_else(|| ManifestError::Json(error.to_string())))
}

/// Of a known key, in bytes: 13 characters, of which none needs more than three.
const LONGEST_SPELLING: usize = 40;

/// What an object is, which tells its known keys.
#[derive(Clone, Copy)]
enum ObjectKind {
    Manifest,
    Descriptor,
    /// Lists of descriptors.
    Blobs,
    Manifests,
    Platform,
    Elsewhere,
}

impl ObjectKind {
    fn keys(self) -> &'static [&'static str] {
        match self {
            ObjectKind::Manifest => &super::KEYS,
            ObjectKind::Descriptor => {
                &["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"]
            }
            ObjectKind::Platform => &["architecture", "os", "os.version", "os.features", "variant", "features"],
            ObjectKind::Blobs | ObjectKind::Manifests | ObjectKind::Elsewhere => &[],
        }
    }

    /// The known key that this one could be taken for.
    fn respelled(self, key: &str) -> Option<&'static str> {
        if key.len() > LONGEST_SPELLING || self.keys().contains(&key) {
            return None;
        }
        let folded = folded(key);
        self.keys().iter().find(|known| known.eq_ignore_ascii_case(&folded)).copied()
    }

    fn below(self, key: &str) -> ObjectKind {
        match (self, key) {
            (ObjectKind::Manifest, "config" | "subject") => ObjectKind::Descriptor,
            (ObjectKind::Manifest, "layers" | "blobs") => ObjectKind::Blobs,
            (ObjectKind::Manifest, "manifests") => ObjectKind::Manifests,
            (ObjectKind::Descriptor, "platform") => ObjectKind::Platform,
            _ => ObjectKind::Elsewhere,
        }
    }
}

impl ObjectKind {
    /// What stands in a list here, and how many of it there may be.
    fn each(self) -> (ObjectKind, Option<(&'static str, usize)>) {
        match self {
            ObjectKind::Blobs => (ObjectKind::Descriptor, Some(("blobs", MAX_BLOBS))),
            ObjectKind::Manifests => (ObjectKind::Descriptor, Some(("manifests", MAX_LISTED))),
            _ => (ObjectKind::Elsewhere, None),
        }
    }
}

/// As programs compare keys that do not mind their case: Go's encoding/json folds U+017F to `s` and U+212A to `k`, others
/// dotless i to `i`.
fn folded(key: &str) -> String {
    key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Any value, looked at and dropped.
#[derive(Clone, Copy)]
struct Value<'a> {
    place: ObjectKind,
    depth: usize,
    /// Set when there is too much of something.
    over: &'a Cell<Option<ManifestError>>,
}

impl Value<'_> {
    fn inside<E: serde::de::Error>(self, place: ObjectKind) -> Result<Self, E> {
        match self.depth < MAX_DEPTH {
            true => Ok(Value { place, depth: self.depth + 1, ..self }),
            false => Err(E::custom(format!("nested more than {MAX_DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
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

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (place, most) = self.place.each();
        let each = self.inside(place)?;
        let mut count = 0;
        while list.next_element_seed(each)?.is_some() {
            count += 1;
            if let Some((what, most)) = most.filter(|(_, most)| count > *most) {
                self.over.set(Some(ManifestError::TooMany { what, most }));
                return Err(A::Error::custom("too many"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(super::Key(key)) = map.next_key::<super::Key<'de>>()? {
            if let Some(known) = self.place.respelled(&key) {
                return Err(A::Error::custom(format!("'{key}' is another spelling of '{known}'")));
            }
            map.next_value_seed(self.inside(self.place.below(&key))?)?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("the key '{twice}' stands twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: impl AsRef<[u8]>) -> String {
        match check(text.as_ref(), true) {
            Err(ManifestError::Json(why)) => why,
            other => panic!("{other:?}: {}", String::from_utf8_lossy(text.as_ref())),
        }
    }

    #[test]
    fn what_is_no_utf_8_is_refused_wherever_it_stands() {
        for text in [
            &b"{\"x\":\"\xff\"}"[..],
            b"{\"\xff\":1}",
            b"{\"layers\":[],\"annotations\":{\"a\":\"\xc3\x28\"}}",
            // A surrogate, as UTF-8 never has it.
            b"{\"x\":\"\xed\xa0\x80\"}",
            b"\xef\xbb\xbf{}",
            b"{\"x\":\"\\ud800\"}",
            b"{\"\\udc00\":1}",
        ] {
            refused(text);
        }
        assert_eq!(check("{\"annotations\":{\"é\":\"\\ud83d\\ude00\"}}".as_bytes(), true), Ok(()));
    }

    #[test]
    fn nesting_ends_at_its_bound() {
        let nested =
            |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
            let good = nested(open, close, MAX_DEPTH - 1);
            assert_eq!(check(format!("{{\"x\":{good}}}").as_bytes(), true), Ok(()));
            for levels in [MAX_DEPTH, 1000, 100_000] {
                let why = refused(format!("{{\"x\":{}}}", nested(open, close, levels)));
                assert!(why.contains("64 levels"), "{why}");
            }
        }
    }

    #[test]
    fn a_key_that_another_program_takes_for_a_known_one_is_refused() {
        for key in [
            "layerſ",
            "ſubject",
            "\\u017fubject",
            "SUBJECT",
            "Layers",
            "MEDIATYPE",
            "mediatype",
            "manifestſ",
            "Config",
            "annotationſ",
            "ſchemaVersion",
            "blobſ",
            "artifacttype",
            "fslayers",
            "confıg",
        ] {
            refused(format!("{{\"{key}\":1}}"));
        }
        for key in ["dıgest", "Digest", "ſize", "SIZE", "MediaType", "urlſ", "Data", "Platform", "annotationſ"] {
            for place in ["config", "subject"] {
                refused(format!("{{\"{place}\":{{\"{key}\":1}}}}"));
            }
            for place in ["layers", "blobs", "manifests"] {
                refused(format!("{{\"{place}\":[{{\"digest\":\"a:b\"}},{{\"{key}\":1}}]}}"));
            }
        }
        for key in ["OS", "oſ", "Architecture", "os.verſion", "Variant"] {
            refused(format!("{{\"manifests\":[{{\"platform\":{{\"{key}\":\"x\"}}}}]}}"));
        }
        assert_eq!(folded("\u{212a}ey"), "key", "the Kelvin sign");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_on_every_level() {
        for text in [
            r#"{"x":1,"x":2}"#,
            r#"{"x":{"y":1,"y":2}}"#,
            r#"{"x":[[{"y":1,"\u0079":2}]]}"#,
            r#"{"annotations":{"a":"b","a":"c"}}"#,
            r#"{"manifests":[{"platform":{"os":"linux","os":"windows"}}]}"#,
            r#"{"layers":[{"digest":"a:b","digest":"a:c"}]}"#,
        ] {
            assert!(refused(text).contains("twice"), "{text}");
            assert!(check(text.as_bytes(), false).is_err(), "of an unknown type too: {text}");
        }
    }

    #[test]
    fn lists_end_at_their_bound() {
        let list = |key: &str, count: usize| format!("{{\"{key}\":[{}{{}}]}}", "{},".repeat(count - 1));
        for (key, what, most) in
            [("layers", "blobs", MAX_BLOBS), ("blobs", "blobs", MAX_BLOBS), ("manifests", "manifests", MAX_LISTED)]
        {
            assert_eq!(check(list(key, most).as_bytes(), true), Ok(()));
            let over = list(key, most + 1);
            assert_eq!(check(over.as_bytes(), true), Err(ManifestError::TooMany { what, most }));
            // What follows is not looked at any more.
            assert_eq!(check(over.replace(']', ",!").as_bytes(), true), Err(ManifestError::TooMany { what, most }));
            assert_eq!(check(over.as_bytes(), false), Ok(()));
        }
    }

    #[test]
    fn what_programs_write_is_taken() {
        for text in [
            r#"{"schemaVersion":2,"annotations":{"Layers":"1","layers":"2","ſ":"3"},"extra":{"Digest":1,"digest":2}}"#,
            r#"{"config":{"digest":"a:b","data":"e30=","platform":null},"layers":null,"size":1e3,"x":-5,"y":true}"#,
        ] {
            assert_eq!(check(text.as_bytes(), true), Ok(()), "{text}");
        }
        assert_eq!(check("{\"Layers\":1}".as_bytes(), false), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), known: bool) {
            let _ = check(&bytes, known);
        }

        #[test]
        fn what_is_good_is_one_json_object_or_value_for_others_too(text in "[\\[\\]{}\":,a1 ]{0,40}") {
            if check(text.as_bytes(), true).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
    }
}
