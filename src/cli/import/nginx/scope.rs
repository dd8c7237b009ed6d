//! What counts at a place: nginx's blocks take over what the blocks around them say, unless they say it themselves.

use super::tree::Directive;

/// Variables in the values of variables.
const MAX_VARIABLES: usize = 8;

/// A block and those around it, the outermost first.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    pub fn new(level: &'a [Directive]) -> Self {
        Scope { levels: vec![level] }
    }

    pub fn inner(&self, level: &'a [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(level);
        Scope { levels }
    }

    /// What the innermost block says itself.
    pub fn own(&self, name: &str) -> Option<&'a Directive> {
        self.levels.last().and_then(|level| level.iter().find(|directive| directive.name == name))
    }

    pub fn one(&self, name: &str) -> Option<&'a Directive> {
        self.levels.iter().rev().find_map(|level| level.iter().find(|directive| directive.name == name))
    }

    /// The value of a directive with one.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.one(name).map(|directive| directive.arg(0))
    }

    /// All of these names in the innermost block that has any: a list is taken over as a whole.
    pub fn all(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of = |level: &&'a [Directive]| {
            level.iter().filter(|directive| names.contains(&directive.name.as_str())).collect::<Vec<_>>()
        };
        self.levels.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// All of this name at any level: what adds up, such as `if` and `set`.
    pub fn every(&self, name: &str) -> impl Iterator<Item = &'a Directive> {
        self.levels.iter().flat_map(|level| level.iter()).filter(move |directive| directive.name == name)
    }

    /// All that stands at any level, the outermost first.
    pub fn outer_first(&self) -> impl Iterator<Item = &'a Directive> {
        self.levels.iter().flat_map(|level| level.iter())
    }

    /// Text with the variables in it that `set` gives a fixed value; `None` where one has no such value.
    pub fn resolved(&self, text: &str) -> Option<String> {
        let mut text = text.to_owned();
        for _ in 0..MAX_VARIABLES {
            let Some(start) = text.find('$') else { return Some(text) };
            let (before, rest) = (text.get(..start)?, text.get(start + 1..)?);
            let (name, after) = variable(rest)?;
            let set = self.levels.iter().rev().find_map(|level| {
                level.iter().rev().find(|set| set.name == "set" && set.arg(0).strip_prefix('$') == Some(name))
            })?;
            text = format!("{before}{}{after}", set.arg(1));
            if text.len() > 4096 {
                return None;
            }
        }
        None
    }
}

/// `name` or `{name}` at the beginning of a text, and what follows.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}
