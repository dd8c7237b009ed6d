//! Whether two patterns of repositories may be about the same one.

/// More alternatives of one pattern are not looked at: then it may be about any.
const MAX_ALTERNATIVES: usize = 1000;

/// Whether some name may match both. Where that is not clear it may.
pub fn may_meet(one: &str, other: &str) -> bool {
    let (Some(all), Some(others)) = (alternatives(one), alternatives(other)) else { return true };
    all.iter().any(|one| others.iter().any(|other| may_meet_by_parts(one, other)))
}

/// A pattern without braces for each of what braces stand for; `None` where they are too many, or not closed.
fn alternatives(glob: &str) -> Option<Vec<String>> {
    let mut left = vec![glob.to_owned()];
    let mut done = Vec::new();
    while let Some(glob) = left.pop() {
        // The innermost braces first.
        let Some(close) = glob.find('}') else {
            if glob.contains('{') {
                return None;
            }
            done.push(glob);
            continue;
        };
        let open = glob.get(..close)?.rfind('{')?;
        let (before, inner, after) = (glob.get(..open)?, glob.get(open + 1..close)?, glob.get(close + 1..)?);
        // An inner comma parts what is around it too, if there is anything around: then each alternative stands for itself.
        left.extend(inner.split(',').map(|name| format!("{before}{name}{after}")));
        if left.len() + done.len() > MAX_ALTERNATIVES {
            return None;
        }
    }
    Some(done)
}

fn may_meet_by_parts(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            // What any number of parts may follow may be followed by none.
            (Some(part), None) | (None, Some(part)) => return part.contains("**"),
            (Some(one), Some(other)) if one.contains("**") || other.contains("**") => return true,
            (Some(one), Some(other)) if !part_may_meet(one, other) => return false,
            (Some(_), Some(_)) => {}
        }
    }
}

/// By what stands before the first sign and behind the last.
fn part_may_meet(one: &str, other: &str) -> bool {
    const SIGNS: [char; 3] = ['*', '?', '['];
    let start = |part: &'_ str| part.find(SIGNS);
    match (start(one), start(other)) {
        (None, None) => one == other,
        _ => {
            let before = |part: &str| part.split(SIGNS).next().unwrap_or_default().to_owned();
            let behind = |part: &str| part.rsplit(['*', '?', ']']).next().unwrap_or_default().to_owned();
            let (one_start, other_start) = (before(one), before(other));
            let (one_end, other_end) = (behind(one), behind(other));
            (one_start.starts_with(&other_start) || other_start.starts_with(&one_start))
                && (one_end.ends_with(&other_end) || other_end.ends_with(&one_end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_a_name_may_match_both() {
        for (one, other, meet) in [
            ("a/**", "b/**", false),
            ("a/**", "a/b/**", true),
            ("{a,b}/**", "{c,b}/**", true),
            ("{a,b}/**", "{c,d}/**", false),
            ("*/x/**", "a/**", true),
            ("*/x/**", "a/y/**", false),
            ("a-*/**", "a-b/**", true),
            ("a-*/**", "b-*/**", false),
            ("*-a/**", "*-b/**", false),
            ("{a*,a*/**}", "ab", true),
            ("{a*,a*/**}", "b/a", false),
            ("{{x,y}*,{x,y}*/**}", "z/**", false),
            ("{{x,y}*,{x,y}*/**}", "yes/**", true),
            ("**", "a", true),
            ("a/b", "a", false),
            ("{a", "b", true),
        ] {
            assert_eq!(may_meet(one, other), meet, "{one} {other}");
            assert_eq!(may_meet(other, one), meet, "{other} {one}");
        }
        let many = "{a,b,c,d,e,f,g,h,i,j}".repeat(5);
        assert!(may_meet(&many, "z"));
    }
}
