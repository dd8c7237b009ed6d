//! `Link: <…>; rel="next"`: where a list goes on (RFC 8288). Registries put there whatever they like, so its query is taken as it is.

use http::HeaderMap;
use http::header::LINK;

/// Longest query that is followed, in bytes. Tokens of pages have some hundred.
const MAX_QUERY: usize = 4 << 10;
/// Longest field that is read.
const MAX_FIELD: usize = 16 << 10;

/// The query of the next page, without `?`. `None`: this is the last one, or what is said of the next makes no sense.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(LINK).iter().filter_map(|field| field.to_str().ok());
    fields.filter(|field| field.len() <= MAX_FIELD).find_map(of_field)
}

fn of_field(field: &str) -> Option<String> {
    let mut rest = field;
    while let Some(start) = rest.find('<') {
        let (target, after) = rest.get(start + 1..)?.split_once('>')?;
        let (is_next, after) = parameters(after);
        if is_next {
            return query(target);
        }
        rest = after;
    }
    None
}

/// Whether the parameters of one link say that it is the next page; and what stands behind them.
fn parameters(text: &str) -> (bool, &str) {
    let (mut is_next, mut told) = (false, false);
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(behind) = rest.strip_prefix(';') else { return (is_next, rest) };
        let (name, value, after) = parameter(behind.trim_start());
        // Only the first `rel` counts.
        if !told && name.eq_ignore_ascii_case("rel") {
            told = true;
            is_next = value.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        rest = after;
    }
}

/// Name and value of a parameter, and what stands behind it. No relation has what a quoted string would escape.
fn parameter(text: &str) -> (&str, &str, &str) {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let Some(value) = after.strip_prefix('=') else { return (name.trim(), "", after) };
    let value = value.trim_start();
    let (value, after) = match value.strip_prefix('"') {
        Some(quoted) => {
            let end = end_of_quoted(quoted);
            (quoted.get(..end).unwrap_or_default(), quoted.get(end + 1..).unwrap_or_default())
        }
        None => value.split_at(value.find([';', ',']).unwrap_or(value.len())),
    };
    (name.trim(), value.trim(), after)
}

/// Where the closing quote is, or the end.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => return place,
            _ => escaped = false,
        }
    }
    text.len()
}

fn query(target: &str) -> Option<String> {
    let target = target.split('#').next()?;
    let (_, query) = target.split_once('?')?;
    let fits = !query.is_empty() && query.len() <= MAX_QUERY && query.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| query.to_owned())
}

#[cfg(any(test, fuzzing))]
pub(in crate::mirror) mod fuzz {
    use super::*;

    /// Any lines of `Link`: no panic, and only what can stand in a URL.
    pub(in crate::mirror) fn link(bytes: &[u8]) {
        let values = bytes.split(|byte| *byte == b'\n').filter_map(|line| http::HeaderValue::from_bytes(line).ok());
        let headers: HeaderMap = values.map(|value| (LINK, value)).collect();
        if let Some(query) = next(&headers) {
            assert!(!query.is_empty() && query.len() <= MAX_QUERY);
            assert!(query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'>'));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[&str]) -> Option<String> {
        next(&fields.iter().map(|field| (LINK, field.parse().unwrap())).collect())
    }

    #[test]
    fn the_next_page_is_found_in_all_forms_that_registries_write() {
        for (field, query) in [
            (r#"</v2/_catalog?last=a&n=1>; rel="next""#, "last=a&n=1"),
            (r#"<https://r.example/v2/a/tags/list?n=1&last=b>; rel=next"#, "n=1&last=b"),
            (r#"</v2/a/tags/list?next_page=gAAAA%3D%3D&n=50>; rel="next""#, "next_page=gAAAA%3D%3D&n=50"),
            (r#"<?last=b>;rel="next""#, "last=b"),
            (r#"</x?a=1>; rel="prev", </x?a=3>; rel="next""#, "a=3"),
            (r#"</x?a=1,2>; title="a, <b>; rel=\"prev"; REL="last Next""#, "a=1,2"),
            (r#"  </x?a=1> ; type = x ; rel = "next" "#, "a=1"),
            (r#"</x?a=1#f>; rel=next"#, "a=1"),
        ] {
            assert_eq!(of(&[field]).as_deref(), Some(query), "{field}");
        }
        assert_eq!(of(&[r#"</x?a=1>; rel="prev""#, r#"</x?a=2>; rel="next""#]).as_deref(), Some("a=2"));
    }

    #[test]
    fn all_else_is_no_next_page() {
        for field in [
            "",
            "next",
            "</x?a=1>",
            "</x?a=1>; rel",
            "</x?a=1>; rel=\"",
            "</x?a=1; rel=next",
            "</x>; rel=next",
            "</x?>; rel=next",
            "</x?a b>; rel=next",
            "</x?a=1>; rel=prev; rel=next",
            "</x?a=1>; rev=next",
            "</x?a=1>; title=\"; rel=next",
            "</x?a=1>, rel=next",
        ] {
            assert_eq!(of(&[field]), None, "{field}");
        }
        assert_eq!(of(&[&format!("</x?{}>; rel=next", "a".repeat(MAX_QUERY + 1))]), None);
    }

    proptest! {
        #[test]
        fn any_field_is_no_panic(bytes: Vec<u8>, text in "[<>;,=\"\\\\rel next?a-]{0,80}") {
            fuzz::link(&bytes);
            fuzz::link(text.as_bytes());
        }
    }
}
