//! Why a value could not be read into its struct, in words for the person who wrote it.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::tree::Path;

/// An error on its way up; gets its path where it passes the value that it is about.
#[derive(Debug)]
pub struct Fault {
    pub path: Option<Path>,
    /// The required key that is not there.
    pub missing: Option<&'static str>,
    pub what: String,
}

impl Fault {
    fn new(what: String) -> Self {
        Fault { path: None, missing: None, what }
    }

    /// Says better what some libraries say of a text, which is neither the text nor what is allowed.
    pub fn about(mut self, text: &str) -> Self {
        let allowed = match self.what.as_str() {
            "invalid socket address syntax" => SOCKET_ADDRESS,
            "invalid IP address syntax" => NETWORK,
            _ => return self,
        };
        self.what = format!("is {}, but must be {allowed}", named(Unexpected::Str(text)));
        self
    }

    /// Says where, unless something deeper did.
    pub fn at(mut self, path: &Path) -> Self {
        if self.path.is_none() {
            self.path = Some(self.missing.map_or_else(|| path.clone(), |key| path.key(key)));
        }
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::new(format!("is {}, but must be {}", named(found), allowed(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(format!("is \"{variant}\", which is not known{}", suggestion(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(format!("'{field}' is not a key{}", suggestion(field, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Fault { missing: Some(field), ..Fault::new("is missing, and it is required".into()) }
    }
}

/// `; did you mean 'disk'? allowed: disk, memory`.
pub fn suggestion(given: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), *name))
        .filter(|(distance, name)| *distance <= 1.max(name.len() / 3))
        .min();
    let meant = near.map_or(String::new(), |(_, name)| format!("; did you mean '{name}'?"));
    format!("{meant}{} allowed: {}", if meant.is_empty() { ";" } else { "" }, known.join(", "))
}

/// What was found, as the file shows it.
fn named(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Str(text) => format!("the text \"{text}\""),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a table".into(),
        Unexpected::Other(what) => what.into(),
        other => other.to_string(),
    }
}

/// What a type wants, without the names that the code gives to types.
fn allowed(expected: &dyn Expected) -> String {
    let words = expected.to_string();
    match words.as_str() {
        "a boolean" => "true or false".into(),
        "a string" => "text in quotes".into(),
        "a sequence" => "a list: [ … ]".into(),
        "a map" => "a table".into(),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "usize" | "u64" => "a whole number, 0 or more".into(),
        "socket address" => SOCKET_ADDRESS.into(),
        "IPv4 or IPv6 network address" => NETWORK.into(),
        "path string" => "the path of a file, in quotes".into(),
        words if words.starts_with("struct ") => "a table".into(),
        words => words.into(),
    }
}

const SOCKET_ADDRESS: &str = "an IP address and a port, such as \"127.0.0.1:5000\", \"0.0.0.0:443\" or \"[::]:443\"";
const NETWORK: &str = "a network, such as \"10.0.0.0/8\", \"192.168.1.7/32\" or \"fd00::/8\"";

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(suggestion("dsik", &["disk", "memory"]), "; did you mean 'disk'? allowed: disk, memory");
        assert_eq!(suggestion("zzz", &["disk", "memory"]), "; allowed: disk, memory");
    }
}
