//! What a token is asked for: `repository:a/b:pull,push` (distribution, "Token Scope Documentation"), each in a parameter of its
//! own or several in one. What cannot be read is left out: asking for too much is no error.

use super::claims::Access;

/// Scopes of one request; what comes after them is not looked at.
const MAX_SCOPES: usize = 32;
const ACTIONS: [&str; 4] = ["pull", "push", "delete", "*"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// In the order of asking, each thing once.
    pub access: Vec<Access>,
}

impl Scope {
    /// `name` says what the rules call a repository that is asked for by some text; `None`: that is no name.
    pub fn parse(texts: impl Iterator<Item = String>, name: impl Fn(&str) -> Option<String>) -> Scope {
        let mut access: Vec<Access> = Vec::new();
        let words: Vec<String> =
            texts.flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
        for word in words.iter().filter(|word| !word.is_empty()).take(MAX_SCOPES) {
            let Some(one) = one(word, &name) else { continue };
            match access.iter_mut().find(|known| known.kind == one.kind && known.name == one.name) {
                Some(known) => {
                    let new: Vec<_> =
                        one.actions.into_iter().filter(|action| !known.actions.contains(action)).collect();
                    known.actions.extend(new);
                }
                None => access.push(one),
            }
        }
        Scope { access }
    }
}

/// A name may hold a colon, as `host:port/a` does, so the kind ends at the first and the actions begin at the last.
fn one(word: &str, name: &impl Fn(&str) -> Option<String>) -> Option<Access> {
    let (kind, rest) = word.split_once(':')?;
    let (asked, list) = rest.rsplit_once(':')?;
    let name = match kind {
        "repository" => name(asked)?,
        "registry" if asked == "catalog" => asked.to_owned(),
        _ => return None,
    };
    let mut actions: Vec<String> = Vec::new();
    for action in list.split(',').filter(|action| ACTIONS.contains(action)) {
        if !actions.iter().any(|known| known == action) {
            actions.push(action.to_owned());
        }
    }
    (!actions.is_empty()).then(|| Access { kind: kind.to_owned(), name, actions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::RepositoryName;

    fn parsed(texts: &[&str]) -> Vec<String> {
        let name = |text: &str| text.parse::<RepositoryName>().ok().map(|name| name.to_string());
        let scope = Scope::parse(texts.iter().map(ToString::to_string), name);
        scope.access.iter().map(|one| format!("{}:{}:{}", one.kind, one.name, one.actions.join(","))).collect()
    }

    #[test]
    fn scopes_come_in_one_text_or_in_many() {
        let both = ["repository:a/b:pull", "repository:c:pull,push"];
        assert_eq!(parsed(&both), both);
        assert_eq!(parsed(&["repository:a/b:pull repository:c:pull,push"]), both);
        assert_eq!(parsed(&["repository:a:push,pull", "repository:a:pull,delete"]), ["repository:a:push,pull,delete"]);
        assert_eq!(parsed(&["registry:catalog:*", "repository:a:*"]), ["registry:catalog:*", "repository:a:*"]);
        assert_eq!(parsed(&["repository:a:pull,pull,fly,Push"]), ["repository:a:pull"]);
        assert_eq!(parsed(&["  repository:a:pull  "]), ["repository:a:pull"]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for text in [
            "",
            ":",
            "::",
            "repository",
            "repository:a",
            "repository::pull",
            "repository:a:",
            "repository:a:fly",
            "repository:A:pull",
            "repository:a/../b:pull",
            "repository:Host:5000/a:pull",
            "repository(plugin):a:pull",
            "registry:other:*",
            "user:a:pull",
            "repository:a\n:pull",
        ] {
            assert_eq!(parsed(&[text]), Vec::<String>::new(), "{text:?}");
        }
        let many: Vec<String> = (0..40).map(|number| format!("repository:a{number}:pull")).collect();
        assert_eq!(parsed(&[&many.join(" ")]).len(), MAX_SCOPES);
    }
}
