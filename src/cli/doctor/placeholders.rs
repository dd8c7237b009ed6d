//! What somebody copied from an example and did not fill in.

use super::finding::Findings;
use crate::config::{Errors, Written};

/// Words that stand for something, in any case.
const WORDS: [&str; 7] =
    ["change_me", "changeme", "change-me", "replace_me", "replace-me", "your-password", "yourpassword"];
/// Domains that are nobody's (RFC 2606), and others that guides write.
const DOMAINS: [&str; 6] =
    ["example.com", "example.org", "example.net", "mydomain.com", "mondomaine.com", "yourdomain.com"];
const CHECK: &str = "placeholders";

pub fn check(written: &Result<Vec<Written>, Errors>) -> Findings {
    let mut findings = Findings::of(CHECK);
    let Ok(written) = written else { return findings };
    for text in written {
        if let Some(found) = placeholder(&text.text) {
            findings.error(text.told(format!("still holds the placeholder '{found}'")), "put in what it stands for");
        }
    }
    if findings.is_all_ok() {
        findings.ok("none is left in the configuration and its secrets");
    }
    findings
}

/// The placeholder alone: the text around it may be a secret. So may be what stands between signs, unless it is the whole text.
fn placeholder(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let apart = |at: usize, length: usize, more: &str| {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || more.as_bytes().contains(byte);
        let before = at.checked_sub(1).and_then(|at| lower.as_bytes().get(at));
        let after = lower.as_bytes().get(at + length);
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    };
    let word = WORDS.iter().find(|word| lower.match_indices(**word).any(|(at, _)| apart(at, word.len(), "")));
    // A domain may have labels before it, and a word that only ends like it is another domain.
    let domain = DOMAINS.iter().find(|name| lower.match_indices(**name).any(|(at, _)| apart(at, name.len(), "-")));
    let shown = word.or(domain).map(|found| (*found).to_owned());
    shown.or_else(|| between(text, "${", '}')).or_else(|| between(text, "{{", '}')).or_else(|| between(text, "<", '>'))
}

/// `${NAME}`, `{{ name }}`, `<your name>`: what stands between is a name, and no address or expression. It is shown where it is the
/// whole text.
fn between(text: &str, open: &str, close: char) -> Option<String> {
    let (_, rest) = text.split_once(open)?;
    let (name, _) = rest.split_once(close)?;
    // `{{ name }}` has spaces; what stands between others may be an expression then.
    let trimmed = if open == "{{" { name.trim() } else { name };
    let is_name = trimmed.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && trimmed.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.' | ':'));
    let end = if open == "{{" { "}}".to_owned() } else { close.to_string() };
    let whole = format!("{open}{name}{end}");
    let shown = if whole == text.trim() { whole } else { format!("{open}…{end}") };
    (is_name && trimmed.len() <= 64).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_filled_in_is_found() {
        for (text, found) in [
            ("https://registry.example.com/token", "example.com"),
            ("CHANGE_ME_IN_PRODUCTION", "change_me"),
            ("x CHANGE_ME", "change_me"),
            ("ChangeMe", "changeme"),
            ("${REGISTRY_PASSWORD}", "${REGISTRY_PASSWORD}"),
            ("<your-bucket>", "<your-bucket>"),
            ("{{ host }}", "{{ host }}"),
            ("hunter2<hush>", "<…>"),
            ("a${b}c", "${…}"),
            ("a{{ b }}", "{{…}}"),
            ("registry.mondomaine.com:443", "mondomaine.com"),
        ] {
            assert_eq!(placeholder(text).unwrap_or_default(), found, "{text}");
        }
        for text in [
            "registry.lab",
            "myexample.com",
            "example.community",
            "notexample.com",
            "team/**",
            "a < b > c",
            "$argon2id$v=19",
            "/var/lib/entrepot",
            "${1}",
        ] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }
}
