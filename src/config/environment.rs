//! The environment over the file: `ENTREPOT_CACHE__DISK=10GiB` is `[cache] disk = "10GiB"`.
//!
//! A variable names a key by its path in upper case, joined by `__`. Items of a list go by number;
//! the number after the last one adds an item. An empty value takes a key away. Which keys exist
//! is not decided here: a key that nobody knows is found when the tree is read.

use std::cmp::Ordering;
use std::sync::Arc;

use super::tree::{Node, Origin, Path, Value};

/// Every variable of ours begins so.
pub const PREFIX: &str = "ENTREPOT_";
/// Names the configuration file; not a key.
pub const FILE_VARIABLE: &str = "ENTREPOT_CONFIG";
/// What commands log in with at the admin endpoint; no keys.
pub const USER_VARIABLE: &str = "ENTREPOT_ADMIN_USER";
pub const PASSWORD_VARIABLE: &str = "ENTREPOT_ADMIN_PASSWORD";
pub const PASSWORD_FILE_VARIABLE: &str = "ENTREPOT_ADMIN_PASSWORD_FILE";
/// Where a process that is to take another's place finds it; no key.
pub const SUCCESSOR_VARIABLE: &str = "ENTREPOT_SUCCESSOR";
/// Variables of ours that say nothing of the configuration.
pub const NO_KEYS: [&str; 5] =
    [FILE_VARIABLE, USER_VARIABLE, PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE, SUCCESSOR_VARIABLE];

/// No key lies deeper; the tree is walked by recursion, so that depth needs a bound.
const MAX_DEPTH: usize = 16;

/// A variable that means a key.
struct Variable {
    name: Arc<str>,
    steps: Vec<String>,
    value: String,
}

/// Something wrong with a variable itself.
pub struct Complaint {
    pub origin: Origin,
    pub path: Path,
    pub what: String,
}

/// Lays the variables over `tree`.
pub fn overlay(tree: &mut Node, environment: impl Iterator<Item = (String, String)>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        if NO_KEYS.contains(&name.as_str()) || set_by_kubernetes(key, &value) {
            continue;
        }
        let steps: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
        let name: Arc<str> = name.as_str().into();
        if steps.iter().any(String::is_empty) || steps.len() > MAX_DEPTH {
            let what = "names no key: write ENTREPOT_ and the key's path joined by '__', as in ENTREPOT_CACHE__DISK";
            complaints.push(Complaint { origin: Origin::Variable(name), path: Path::default(), what: what.into() });
            continue;
        }
        variables.push(Variable { name, steps, value });
    }
    // A whole before its parts, and items in their order, however the environment is sorted.
    variables.sort_by(|a, b| compare(&a.steps, &b.steps));
    for variable in variables {
        let origin = Origin::Variable(variable.name.clone());
        if let Err((path, what)) = set(tree, Path::default(), &variable.steps, &variable) {
            complaints.push(Complaint { origin, path, what });
        }
    }
    tree.compact();
    complaints
}

/// Kubernetes gives every pod variables for each Service. Those of a Service called `entrepot…`
/// begin like ours: `ENTREPOT_SERVICE_HOST`, `ENTREPOT_PORT=tcp://…`, `ENTREPOT_PORT_5000_TCP_ADDR`.
pub(super) fn set_by_kubernetes(key: &str, value: &str) -> bool {
    if key.contains("__") {
        return false;
    }
    let key = format!("_{key}");
    let protocol = |rest: &str| ["_TCP", "_UDP", "_SCTP"].iter().any(|name| rest.contains(name));
    key.ends_with("_SERVICE_HOST")
        || key.ends_with("_SERVICE_PORT")
        || key.contains("_SERVICE_PORT_")
        || (key.ends_with("_PORT") && value.contains("://"))
        || key
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()) && protocol(rest))
}

fn compare(a: &[String], b: &[String]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (a.parse::<usize>(), b.parse::<usize>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Goes down `steps` and puts the variable's value there.
fn set(node: &mut Node, path: Path, steps: &[String], variable: &Variable) -> Result<(), (Path, String)> {
    let origin = Origin::Variable(variable.name.clone());
    let [step, rest @ ..] = steps else {
        let value = if variable.value.is_empty() { Value::Unset } else { Value::Raw(variable.value.clone()) };
        *node = Node { origin, value };
        return Ok(());
    };
    if let Value::Raw(text) = &node.value {
        *node = Node::interpret(text, &node.origin);
    }
    if node.value == Value::Unset {
        if variable.value.is_empty() {
            return Ok(()); // what is not there need not be taken away; a wrong name is still noticed
        }
        let value =
            if step.parse::<usize>().is_ok() { Value::List(Vec::new()) } else { Value::Table(Default::default()) };
        *node = Node { origin: origin.clone(), value };
    }
    match &mut node.value {
        Value::List(items) => {
            let path = |index| path.index(index);
            let child = item(items, step, variable).map_err(|what| (path(0).parent(), what))?;
            match child {
                Some((index, child)) => set(child, path(index), rest, variable),
                None => Ok(()),
            }
        }
        Value::Table(entries) => {
            let child = entries.entry(step.clone()).or_insert(Node { origin, value: Value::Unset });
            set(child, path.key(step), rest, variable)
        }
        _ => Err((path, format!("is a single value, so it has no '{step}' in it"))),
    }
}

/// The item that `step` means; `None` when a missing one is to be taken away.
fn item<'a>(
    items: &'a mut Vec<Node>,
    step: &str,
    variable: &Variable,
) -> Result<Option<(usize, &'a mut Node)>, String> {
    let count = items.len();
    let index: usize =
        step.parse().map_err(|_| format!("is a list: name an item by its number, 0 to {count}, not '{step}'"))?;
    if index >= count && variable.value.is_empty() {
        return Ok(None);
    }
    if index == count {
        items.push(Node { origin: Origin::Variable(variable.name.clone()), value: Value::Unset });
    }
    items
        .get_mut(index)
        .map(|node| Some((index, node)))
        .ok_or_else(|| format!("has the numbers below {count}, so the next is {count}; {index} would leave a gap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_over(file: &str, variables: &[(&str, &str)]) -> (Node, Vec<Complaint>) {
        let mut tree = Node::parse(file).unwrap();
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let complaints = overlay(&mut tree, pairs);
        (tree, complaints)
    }

    fn raw(tree: &Node, path: &Path) -> Option<String> {
        match &tree.get(path)?.value {
            Value::Raw(text) | Value::Text(text) => Some(text.clone()),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn a_variable_changes_adds_and_takes_away() {
        let file = "[cache]\ndisk = \"1GiB\"\nmemory = \"1MiB\"\n[[listener]]\naddress = \"a\"\n";
        let (tree, complaints) = laid_over(
            file,
            &[
                ("ENTREPOT_CACHE__DISK", "10GiB"),
                ("ENTREPOT_CACHE__MEMORY", ""),
                ("ENTREPOT_LISTENER__1__ADDRESS", "b"),
                ("ENTREPOT_CLUSTER__MAIN__PEERS__0", "127.0.0.1:5011"),
                ("PATH", "/bin"),
            ],
        );
        assert!(complaints.is_empty());
        let root = Path::default();
        assert_eq!(raw(&tree, &root.key("cache").key("disk")).as_deref(), Some("10GiB"));
        assert_eq!(raw(&tree, &root.key("cache").key("memory")), None);
        assert_eq!(raw(&tree, &root.key("listener").index(1).key("address")).as_deref(), Some("b"));
        let peer = root.key("cluster").key("main").key("peers").index(0);
        assert_eq!(raw(&tree, &peer).as_deref(), Some("127.0.0.1:5011"));
        assert_eq!(tree.origin_of(&peer), Origin::Variable("ENTREPOT_CLUSTER__MAIN__PEERS__0".into()));
    }

    #[test]
    fn items_are_added_in_their_order_and_a_whole_goes_before_its_parts() {
        let names: Vec<String> = (0..12).map(|n| format!("ENTREPOT_LIST__{n}")).collect();
        let mut variables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        variables.reverse();
        variables.push(("ENTREPOT_WHOLE__1", "b"));
        variables.push(("ENTREPOT_WHOLE", "[\"a\"]"));
        let (tree, complaints) = laid_over("", &variables);
        assert!(complaints.is_empty());
        assert_eq!(raw(&tree, &Path::default().key("list").index(11)).as_deref(), Some("x"));
        assert_eq!(raw(&tree, &Path::default().key("whole").index(1)).as_deref(), Some("b"));
    }

    #[test]
    fn an_item_taken_away_does_not_move_the_others_variables() {
        let (tree, complaints) =
            laid_over("list = [\"a\", \"b\", \"c\"]\n", &[("ENTREPOT_LIST__0", ""), ("ENTREPOT_LIST__2", "z")]);
        assert!(complaints.is_empty());
        assert_eq!(raw(&tree, &Path::default().key("list").index(0)).as_deref(), Some("b"));
        assert_eq!(raw(&tree, &Path::default().key("list").index(1)).as_deref(), Some("z"));
    }

    #[test]
    fn a_gap_a_word_for_a_number_and_a_value_with_parts_are_refused() {
        for (name, fragment) in [
            ("ENTREPOT_LIST__5", "so the next is 1"),
            ("ENTREPOT_LIST__FIRST", "by its number"),
            ("ENTREPOT_TEXT__MORE", "single value"),
            ("ENTREPOT_CACHE____DISK", "names no key"),
            ("ENTREPOT_", "names no key"),
            (&format!("ENTREPOT_{}", ["A"; 17].join("__")), "names no key"),
        ] {
            let (_, complaints) = laid_over("list = [1]\ntext = \"a\"\n", &[(name, "x")]);
            assert_eq!(complaints.len(), 1, "{name}");
            assert!(complaints[0].what.contains(fragment), "{name}: {}", complaints[0].what);
            assert_eq!(complaints[0].origin, Origin::Variable(name.into()));
        }
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_our_name_is_not_ours() {
        for (name, value) in [
            ("ENTREPOT_SERVICE_HOST", "10.0.0.1"),
            ("ENTREPOT_SERVICE_PORT", "5000"),
            ("ENTREPOT_SERVICE_PORT_HTTP", "5000"),
            ("ENTREPOT_PORT", "tcp://10.0.0.1:5000"),
            ("ENTREPOT_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
            ("ENTREPOT_PORT_5000_TCP_PROTO", "tcp"),
            ("ENTREPOT_ADMIN_SERVICE_HOST", "10.0.0.2"),
            ("ENTREPOT_ADMIN_PORT_5001_TCP_ADDR", "10.0.0.2"),
        ] {
            assert!(set_by_kubernetes(name.strip_prefix(PREFIX).unwrap(), value), "{name}");
        }
        assert!(!set_by_kubernetes("PORT", "5000"));
        assert!(!set_by_kubernetes("CACHE__DISK", "10GiB"));
    }
}
