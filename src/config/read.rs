//! Reads a tree into structs. The type that a key has decides what its text means, which is how a
//! value from the environment needs no quotes. Goes on after a mistake, to report the next one too.

use std::cell::RefCell;

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, Unexpected, Visitor};

use super::fault::{Fault, suggestion};
use super::tree::{Node, Path, Value};

/// No more problems than this are reported of one configuration.
const MAX_PROBLEMS: usize = 100;

/// What is wrong, and at which key.
pub type Finding = (Path, String);

/// Reads `tree`, or says everything that is wrong with its keys and types.
pub fn read<T: DeserializeOwned>(mut tree: Node) -> Result<T, Vec<Finding>> {
    let mut findings: Vec<Finding> = Vec::new();
    loop {
        let notes = Notes::default();
        let outcome = T::deserialize(Reader { node: &tree, path: Path::default(), notes: &notes });
        for (path, what) in notes.unknown.into_inner() {
            note(&mut findings, path, what);
        }
        let fault = match outcome {
            Ok(value) if findings.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(fault) => fault.at(&Path::default()),
        };
        let path = fault.path.clone().unwrap_or_default();
        note(&mut findings, path.clone(), fault.what);
        // Read again without the culprit; without what holds it when it cannot be left out.
        let culprit = if fault.missing.is_some() { path.parent() } else { path };
        if findings.len() >= MAX_PROBLEMS || !tree.prune(&culprit) {
            break;
        }
    }
    Err(findings)
}

/// One problem for each key: that a wrong key is then missing is no news.
fn note(findings: &mut Vec<Finding>, path: Path, what: String) {
    if !findings.iter().any(|(known, _)| *known == path) {
        findings.push((path, what));
    }
}

/// What is met on the way.
#[derive(Default)]
struct Notes {
    /// Keys that no struct has.
    unknown: RefCell<Vec<Finding>>,
    /// Keys of structs that the tree does not set; for the proof that the reference names them all.
    #[cfg(test)]
    absent: RefCell<Vec<Path>>,
}

/// The keys that the structs met while reading have, and that `tree` does not set.
#[cfg(test)]
pub fn absent_keys<T: DeserializeOwned>(tree: &Node) -> (Result<T, Fault>, Vec<Path>) {
    let notes = Notes::default();
    let outcome = T::deserialize(Reader { node: tree, path: Path::default(), notes: &notes });
    (outcome, notes.absent.into_inner())
}

/// One value to read.
struct Reader<'a> {
    node: &'a Node,
    path: Path,
    notes: &'a Notes,
}

impl Reader<'_> {
    /// The value with what a variable says taken for what it plainly is.
    fn interpreted<R>(self, read: impl FnOnce(Reader<'_>) -> R) -> R {
        match &self.node.value {
            Value::Raw(text) => {
                let node = Node::interpret(text, &self.node.origin);
                read(Reader { node: &node, path: self.path, notes: self.notes })
            }
            _ => read(self),
        }
    }

    /// The value as text, if it is text. A variable's value is, and may be quoted.
    fn text(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Raw(raw) if raw.starts_with(['"', '\'']) => match Node::interpret(raw, &self.node.origin).value {
                Value::Text(text) => Some(text),
                _ => Some(raw.clone()),
            },
            Value::Raw(raw) => Some(raw.clone()),
            _ => None,
        }
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        self.interpreted(|this| match &this.node.value {
            Value::Unset => visitor.visit_unit(),
            Value::Text(text) | Value::Raw(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Other(what) => Err(Fault::invalid_type(Unexpected::Other(what), &visitor)),
            Value::List(items) => visitor.visit_seq(Items { reader: &this, items, next: 0 }),
            Value::Table(entries) => {
                visitor.visit_map(Entries { reader: &this, entries: entries.iter(), fields: None, value: None })
            }
        })
        .map_err(|fault| fault.at(&path))
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        self.interpreted(|this| {
            let Value::Table(entries) = &this.node.value else {
                return Err(Fault::invalid_type(this.node.value.unexpected(), &"a table"));
            };
            #[cfg(test)]
            for field in fields.unwrap_or_default() {
                if !entries.contains_key(*field) {
                    this.notes.absent.borrow_mut().push(this.path.key(*field));
                }
            }
            visitor.visit_map(Entries { reader: &this, entries: entries.iter(), fields, value: None })
        })
        .map_err(|fault| fault.at(&path))
    }
}

impl Value {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Value::Unset => Unexpected::Unit,
            Value::Text(text) | Value::Raw(text) => Unexpected::Str(text),
            Value::Integer(number) => Unexpected::Signed(*number),
            Value::Boolean(value) => Unexpected::Bool(*value),
            Value::Other(what) => Unexpected::Other(what),
            Value::List(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
        }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor.visit_str(&text).map_err(|fault: Fault| fault.about(&text)),
            None => Err(Fault::invalid_type(self.node.value.unexpected(), &visitor)),
        }
        .map_err(|fault| fault.at(&self.path))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let path = self.path.clone();
        self.interpreted(|this| match &this.node.value {
            Value::List(items) => visitor.visit_seq(Items { reader: &this, items, next: 0 }),
            other => Err(Fault::invalid_type(other.unexpected(), &"a list: [ … ]")),
        })
        .map_err(|fault| fault.at(&path))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.table(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.table(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => {
                let variant: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            None => {
                let allowed = format!("one of \"{}\"", variants.join("\", \""));
                Err(Fault::invalid_type(self.node.value.unexpected(), &allowed.as_str()))
            }
        }
        .map_err(|fault| fault.at(&self.path))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

/// The items of a list; those passed over keep their numbers.
struct Items<'a> {
    reader: &'a Reader<'a>,
    items: &'a [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        while let Some(node) = self.items.get(self.next) {
            let path = self.reader.path.index(self.next);
            self.next += 1;
            if node.value != Value::Unset {
                let reader = Reader { node, path: path.clone(), notes: self.reader.notes };
                return seed.deserialize(reader).map(Some).map_err(|fault| fault.at(&path));
            }
        }
        Ok(None)
    }
}

/// The entries of a table. With `fields`, other keys are noted and passed over.
struct Entries<'a> {
    reader: &'a Reader<'a>,
    entries: std::collections::btree_map::Iter<'a, String, Node>,
    fields: Option<&'static [&'static str]>,
    value: Option<(&'a String, &'a Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        for (key, node) in self.entries.by_ref() {
            if let Some(fields) = self.fields
                && !fields.contains(&key.as_str())
            {
                let what = format!("is not a key{}", suggestion(key, fields));
                self.reader.notes.unknown.borrow_mut().push((self.reader.path.key(key), what));
                continue;
            }
            if node.value == Value::Unset {
                continue;
            }
            self.value = Some((key, node));
            let name: StringDeserializer<Fault> = key.clone().into_deserializer();
            return seed.deserialize(name).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::custom("a value was asked for before its key"));
        };
        let path = self.reader.path.key(key);
        let reader = Reader { node, path: path.clone(), notes: self.reader.notes };
        seed.deserialize(reader).map_err(|fault| fault.at(&path))
    }
}
