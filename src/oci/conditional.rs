//! `If-None-Match` and `If-Range` against content whose entity tag is its quoted digest. Values only.

/// The entity tag of content: its digest in quotes.
pub fn etag(digest: &super::Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether an `If-None-Match` header lists `digest` (weakly compared), so that the answer is 304. `*` lists everything;
/// clients of registries also send the digest without quotes.
pub fn none_match_lists(header: &str, digest: &str) -> bool {
    header.split(',').map(str::trim).any(|listed| listed == "*" || opaque(listed) == digest)
}

/// Whether an `If-Range` header names `digest` (strongly compared), so that `Range` counts. A date never does: what has
/// a digest has no need of one.
pub fn if_range_holds(header: &str, digest: &str) -> bool {
    let header = header.trim();
    !header.starts_with("W/") && opaque(header) == digest
}

/// The text of an entity tag without `W/` and quotes; half-open quotes stay, and so match nothing.
fn opaque(tag: &str) -> &str {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_digest_is_found_in_any_form() {
        for header in ["\"sha256:a\"", "sha256:a", "W/\"sha256:a\"", "\"x\", \"sha256:a\"", "*", " sha256:a "] {
            assert!(none_match_lists(header, "sha256:a"), "{header}");
        }
        for header in ["", "\"sha256:b\"", "\"sha256:a", "sha256:a\"", "\"\"", "sha256"] {
            assert!(!none_match_lists(header, "sha256:a"), "{header}");
        }
    }

    #[test]
    fn a_range_holds_only_for_the_same_strong_tag() {
        assert!(if_range_holds("\"sha256:a\"", "sha256:a"));
        for header in ["W/\"sha256:a\"", "\"sha256:b\"", "Wed, 21 Oct 2015 07:28:00 GMT", "*", ""] {
            assert!(!if_range_holds(header, "sha256:a"), "{header}");
        }
    }
}
