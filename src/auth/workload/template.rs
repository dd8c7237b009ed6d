//! Names made of claims: `gh:{repository_id}`. Two different pairs of values never give one name: no value may hold a ':', and
//! between two claims stands one.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::claims;

/// Of a template, and of the name that comes of it, in bytes.
const MAX_NAME: usize = 256;
/// What stands before the ':' of other names.
const RESERVED: [&str; 6] = ["anonymous", "authenticated", "group", "robot", "user", "workload"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(String),
}

/// What is wrong with a template, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("is empty or longer than {MAX_NAME} bytes")]
    Length,
    #[error("has a brace without its other half, or nothing between two")]
    Braces,
    #[error("has other characters than printable ones of ASCII without spaces, quotation marks and backslashes")]
    Characters,
    #[error("has two claims without a ':' between them, so that different ones could give the same name")]
    Joined,
    #[error("begins as names of another kind do: write another word before the ':'")]
    Reserved,
}

/// The claims that a template needs are not there, or hold what no name may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoName;

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(TemplateError::Length);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').map_or((rest, None), |(literal, after)| (literal, Some(after)));
            if literal.contains('}') {
                return Err(TemplateError::Braces);
            }
            if !literal.chars().all(|c| c == ':' || is_plain(c)) {
                return Err(TemplateError::Characters);
            }
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            }
            let Some(after) = after else { break };
            let (claim, after) = after.split_once('}').ok_or(TemplateError::Braces)?;
            if claim.is_empty() || claim.contains('{') {
                return Err(TemplateError::Braces);
            }
            let apart = parts.iter().rev().map_while(|part| match part {
                Part::Text(text) => Some(text),
                Part::Claim(_) => None,
            });
            if parts.iter().any(|part| matches!(part, Part::Claim(_)))
                && !apart.into_iter().any(|text| text.contains(':'))
            {
                return Err(TemplateError::Joined);
            }
            parts.push(Part::Claim(claim.to_owned()));
            rest = after;
        }
        let template = Template(parts);
        match template.prefix() {
            Some(prefix) if prefix.is_empty() || RESERVED.contains(&prefix) => Err(TemplateError::Reserved),
            _ => Ok(template),
        }
    }
}

impl Template {
    /// The word before the first ':', if every name of it begins with that.
    pub fn prefix(&self) -> Option<&str> {
        match self.0.first() {
            Some(Part::Text(text)) => text.split_once(':').map(|(prefix, _)| prefix),
            _ => None,
        }
    }

    /// The name of who these claims are of.
    pub fn name(&self, payload: &Map<String, Value>) -> Result<String, NoName> {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Claim(claim) => {
                    let value = match claims::find(payload, claim).ok_or(NoName)? {
                        Value::String(text) => text.clone(),
                        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
                        Value::Bool(value) => value.to_string(),
                        _ => return Err(NoName),
                    };
                    if value.is_empty() || value.len() > MAX_NAME || !value.chars().all(is_plain) {
                        return Err(NoName);
                    }
                    name.push_str(&value);
                }
            }
        }
        if name.len() > MAX_NAME { Err(NoName) } else { Ok(name) }
    }

    /// Whether claims could give this name.
    pub fn fits(&self, name: &str) -> bool {
        let mut rest = name;
        for (index, part) in self.0.iter().enumerate() {
            let left = match (part, self.0.get(index + 1)) {
                (Part::Text(text), _) => rest.strip_prefix(text.as_str()),
                // The text behind a claim holds a ':', or is the end.
                (Part::Claim(_), Some(Part::Text(text))) => match text.find(':') {
                    Some(colon) => rest.find(':').and_then(|at| at.checked_sub(colon)).and_then(|end| value(rest, end)),
                    None => rest.len().checked_sub(text.len()).and_then(|end| value(rest, end)),
                },
                (Part::Claim(_), _) => value(rest, rest.len()),
            };
            let Some(left) = left else { return false };
            rest = left;
        }
        rest.is_empty()
    }
}

/// What follows a value that ends there, if it can be one.
fn value(text: &str, end: usize) -> Option<&str> {
    let (value, rest) = text.split_at_checked(end)?;
    (!value.is_empty() && value.chars().all(is_plain)).then_some(rest)
}

/// A character that a value may hold.
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !":\"'`\\{}".contains(c)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(template: &str, claims: Value) -> Option<String> {
        let template: Template = template.parse().unwrap();
        let name = template.name(claims.as_object().unwrap()).ok();
        assert!(name.as_ref().is_none_or(|name| template.fits(name)), "{name:?}");
        name
    }

    #[test]
    fn a_name_is_made_of_claims() {
        let claims =
            json!({ "sub": "a/b", "id": 7, "yes": true, "kubernetes.io": { "namespace": "prod" }, "k/l": "flat" });
        for (template, expected) in [
            ("gh:{id}", "gh:7"),
            ("gh:{sub}:{id}", "gh:a/b:7"),
            ("gh:{sub}-x:{id}-y", "gh:a/b-x:7-y"),
            ("k8s:{kubernetes.io/namespace}", "k8s:prod"),
            ("x:{k/l}", "x:flat"),
            ("x:{yes}", "x:true"),
            ("ci:deploy", "ci:deploy"),
            ("{sub}", "a/b"),
        ] {
            assert_eq!(name(template, claims.clone()).as_deref(), Some(expected), "{template}");
        }
    }

    #[test]
    fn no_claim_leads_to_anothers_name() {
        for value in [
            json!("a:b"),
            json!(""),
            json!("a b"),
            json!("a\nb"),
            json!("a\"b"),
            json!("ä"),
            json!("a\u{202e}b"),
            json!("{sub}"),
            json!("x".repeat(MAX_NAME)),
            json!(1.5),
            json!(null),
            json!(["a"]),
            json!({ "a": 1 }),
        ] {
            assert_eq!(name("gh:{v}", json!({ "v": value })), None, "{value}");
        }
        assert_eq!(name("gh:{absent}", json!({})), None);
    }

    #[test]
    fn a_template_that_could_be_read_in_two_ways_is_refused() {
        use TemplateError::{Braces, Characters, Joined, Length, Reserved};
        for (text, expected) in [
            ("", Length),
            ("gh:{", Braces),
            ("gh:{}", Braces),
            ("gh:}", Braces),
            ("gh:{a{b}}", Braces),
            ("gh: {a}", Characters),
            ("gh:\u{e4}{a}", Characters),
            ("gh:{a}{b}", Joined),
            ("gh:{a}/{b}", Joined),
            ("robot:{a}", Reserved),
            ("user:{a}", Reserved),
            (":{a}", Reserved),
        ] {
            assert_eq!(text.parse::<Template>(), Err(expected), "{text}");
        }
        assert_eq!("x".repeat(MAX_NAME + 1).parse::<Template>(), Err(Length));
        assert_eq!("gh:{a}".parse::<Template>().unwrap().prefix(), Some("gh"));
        assert_eq!("{a}:gh".parse::<Template>().unwrap().prefix(), None);
        assert_eq!("ab{a}:gh".parse::<Template>().unwrap().prefix(), None);
    }

    #[test]
    fn names_that_it_cannot_give_do_not_fit() {
        let fits = |template: &str, name: &str| template.parse::<Template>().unwrap().fits(name);
        for name in ["gh:", "gh:a:b", "gl:a", "gh:a b", "xgh:a", "gh"] {
            assert!(!fits("gh:{a}", name), "{name}");
        }
        assert!(!fits("gh:{a}-x:{b}", "gh:-x:b") && !fits("gh:{a}-x:{b}", "gh:a:b"));
        assert!(fits("ci:deploy", "ci:deploy") && !fits("ci:deploy", "ci:deploys") && !fits("{a}-e", "-e"));
    }
}
