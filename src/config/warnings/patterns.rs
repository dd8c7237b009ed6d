//! What two patterns of repositories have to do with each other, as far as can be told by what they begin with.

use globset::GlobBuilder;

/// Whether no name can match both, as far as can be told.
pub fn apart(one: &str, other: &str) -> bool {
    let (a, b) = (literal(one), literal(other));
    match (a.len() == one.len(), b.len() == other.len()) {
        (true, _) => !matches(other, one),
        (_, true) => !matches(one, other),
        _ => !a.starts_with(b) && !b.starts_with(a),
    }
}

/// Whether `one` matches all that `other` does, as far as can be told.
pub fn covers(one: &str, other: &str) -> bool {
    let below = one.strip_suffix("**").filter(|folder| literal(folder).len() == folder.len());
    one == other
        || below.is_some_and(|folder| literal(other).starts_with(folder))
        || (literal(other).len() == other.len() && matches(one, other))
}

/// What a pattern begins with before it means more than itself.
fn literal(pattern: &str) -> &str {
    pattern.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default()
}

fn matches(pattern: &str, name: &str) -> bool {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compared_by_what_they_begin_with() {
        for (one, other, expected) in [
            ("a/**", "b/**", true),
            ("a/**", "a/b", false),
            ("a/*", "a/b/c", true),
            ("a", "b", true),
            ("**", "x", false),
            ("{a,b}/**", "c/**", false),
            ("ab/**", "a*/**", false),
        ] {
            assert_eq!((apart(one, other), apart(other, one)), (expected, expected), "{one} {other}");
        }
        for (one, other, expected) in [
            ("**", "{a,b}/*", true),
            ("a/**", "a/b/*", true),
            ("a/**", "a", false),
            ("a/*", "a/b", true),
            ("a/*", "a/**", false),
            ("a*/**", "ab/**", false),
        ] {
            assert_eq!(covers(one, other), expected, "{one} {other}");
        }
    }
}
