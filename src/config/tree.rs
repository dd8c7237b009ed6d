//! The configuration before it has types: values that know where they were written. Built from a
//! TOML file, changed by the environment, then read into structs. Knows no key by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The file as a whole, or no file.
    Start,
    /// Line of the file, from 1.
    Line(usize),
    /// Name of the environment variable.
    Variable(Arc<str>),
}

/// The way from the root to a value: `cluster.main.peers[1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub origin: Origin,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A key that the environment took away, or that is passed over because it is wrong.
    Unset,
    Text(String),
    /// What an environment variable says: becomes what its key wants when it is read.
    Raw(String),
    Integer(i64),
    Boolean(bool),
    /// Something that no key wants: a fraction, a date. Kept as written, for the message.
    Other(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// Why a text is no TOML; the line counts from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub line: usize,
    pub what: String,
}

/// Offsets at which lines begin, to turn a byte offset into a line.
struct Lines(Vec<usize>);

impl Node {
    /// Parses a whole file.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let lines = Lines::of(text);
        let table = DeTable::parse(text).map_err(|error| SyntaxError {
            line: lines.at(error.span().map_or(0, |span| span.start)),
            what: error.message().trim().to_owned(),
        })?;
        let value = Value::of_table(table.get_ref(), &|offset| Origin::Line(lines.at(offset)));
        Ok(Node { origin: Origin::Start, value })
    }

    /// What the text of an environment variable means where a text is not wanted: `true`, `12`,
    /// `[…]`, `{…}` and quoted text as in TOML, anything else the text itself.
    pub fn interpret(text: &str, origin: &Origin) -> Self {
        let value = match DeValue::parse(text) {
            // A fraction or a date is more likely a name or an address that looks like one.
            Ok(parsed) => match Value::of(parsed.get_ref(), &|_| origin.clone()) {
                Value::Other(_) => Value::Text(text.into()),
                value => value,
            },
            Err(_) => Value::Text(text.into()),
        };
        Node { origin: origin.clone(), value }
    }

    /// The value at `path`, if the whole path exists.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, step| node.child(step).filter(|child| child.value != Value::Unset))
    }

    /// Where the value at `path` was written, or the nearest thing around it.
    pub fn origin_of(&self, path: &Path) -> Origin {
        let mut node = self;
        for step in &path.0 {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.origin.clone()
    }

    /// Passes over the deepest value on the way to `path`; false when that is the root itself.
    pub fn prune(&mut self, path: &Path) -> bool {
        self.prune_along(&path.0)
    }

    fn prune_along(&mut self, steps: &[Step]) -> bool {
        if let [step, rest @ ..] = steps
            && let Some(child) = self.child_mut(step)
            && child.value != Value::Unset
        {
            child.prune_along(rest);
            return true;
        }
        self.value = Value::Unset;
        false
    }

    /// Takes what the environment took away out of lists, so that indices are those of the structs.
    pub fn compact(&mut self) {
        match &mut self.value {
            Value::List(items) => {
                items.retain(|item| item.value != Value::Unset);
                items.iter_mut().for_each(Node::compact);
            }
            Value::Table(entries) => entries.values_mut().for_each(Node::compact),
            _ => {}
        }
    }

    fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.get(key),
            (Value::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Node> {
        match (&mut self.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.get_mut(key),
            (Value::List(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        }
    }
}

impl Value {
    fn of(value: &DeValue<'_>, origin: &dyn Fn(usize) -> Origin) -> Self {
        match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other(format!("the number {number}")),
            },
            DeValue::Float(number) => Value::Other(format!("the fraction {number}")),
            DeValue::Datetime(time) => Value::Other(format!("the time {time}")),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(items) => Value::List(items.iter().map(|item| Self::node(item, origin)).collect()),
            DeValue::Table(table) => Self::of_table(table, origin),
        }
    }

    fn of_table(table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Self {
        let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let node = Node { origin: origin(key.span().start), value: Self::of(value.get_ref(), origin) };
            (key.get_ref().clone().into_owned(), node)
        };
        Value::Table(table.iter().map(entry).collect())
    }

    fn node(item: &Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> Node {
        Node { origin: origin(item.span().start), value: Self::of(item.get_ref(), origin) }
    }
}

impl Path {
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.then(Step::Key(key.into()))
    }

    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// The path of what holds this value; the root for the root.
    pub fn parent(&self) -> Self {
        Path(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Path(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => write!(f, "{}{key}", if index > 0 { "." } else { "" })?,
                Step::Index(number) => write!(f, "[{number}]")?,
            }
        }
        Ok(())
    }
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines(std::iter::once(0).chain(ends.map(|(offset, _)| offset + 1)).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tree: &Node, path: &Path) -> Origin {
        tree.origin_of(path)
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "threads = 1\n[[listener]]\naddress = \"a\"\n\n[[listener]]\n[cluster.main]\npeers = [\n  \"x\",\n  { address = \"y\",\n    weight = 2 },\n]\n";
        let tree = Node::parse(text).unwrap();
        let root = Path::default();
        assert_eq!(line(&tree, &root.key("threads")), Origin::Line(1));
        assert_eq!(line(&tree, &root.key("listener").index(0).key("address")), Origin::Line(3));
        assert_eq!(line(&tree, &root.key("listener").index(1)), Origin::Line(5));
        let peers = root.key("cluster").key("main").key("peers");
        assert_eq!(line(&tree, &peers), Origin::Line(7));
        assert_eq!(line(&tree, &peers.index(1).key("weight")), Origin::Line(10));
        assert_eq!(line(&tree, &peers.index(1).key("absent")), Origin::Line(9));
        assert_eq!(peers.index(1).key("weight").to_string(), "cluster.main.peers[1].weight");
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let error = Node::parse("threads = 1\n[cache\nmemory = 1\n").unwrap_err();
        assert_eq!(error.line, 2, "{}", error.what);
    }

    #[test]
    fn pruning_takes_the_deepest_value_that_exists() {
        let mut tree = Node::parse("[a]\nb = [1, 2]\n").unwrap();
        let b = Path::default().key("a").key("b");
        assert!(tree.prune(&b.index(0).key("c")));
        assert_eq!(tree.get(&b.index(0)), None);
        assert!(tree.get(&b.index(1)).is_some());
        assert!(!tree.prune(&Path::default().key("z")));
    }

    #[test]
    fn a_variable_is_text_unless_it_is_plainly_something_else() {
        let value = |text: &str| Node::interpret(text, &Origin::Start).value;
        for text in
            ["10GiB", "127.0.0.1", "127.0.0.1:5000", "[::1]:5000", "30s", "1.5", "off", "2026-01-01", "1e3", "a b"]
        {
            assert_eq!(value(text), Value::Text(text.into()), "{text}");
        }
        assert_eq!(value("true"), Value::Boolean(true));
        assert_eq!(value("4096"), Value::Integer(4096));
        assert_eq!(value("'x'"), Value::Text("x".into()));
        assert!(matches!(value("[\"a\", \"b\"]"), Value::List(items) if items.len() == 2));
        assert!(matches!(value("{ a = 1 }"), Value::Table(entries) if entries.len() == 1));
    }
}
