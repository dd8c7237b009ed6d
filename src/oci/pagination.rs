//! Pages of lists: `n` and `last` of a request, and the `Link` to the next page (distribution-spec, "Listing tags").

use super::action::query_value;

/// What a request for a list asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many; `None`: the registry's own way.
    pub n: Option<usize>,
    /// Those behind this one.
    pub last: Option<String>,
}

/// `n` is no number of results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'n' is a number of results: 0 and more")]
pub struct PageError;

impl Page {
    /// A number that no `usize` holds stands for the largest one; an empty value for none.
    pub fn parse(query: Option<&str>) -> Result<Self, PageError> {
        let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(Page::default()) };
        let value = |key| query_value(query, key).filter(|value| !value.is_empty());
        let n = match value("n") {
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => Some(text.parse().unwrap_or(usize::MAX)),
            Some(_) => return Err(PageError),
            None => None,
        };
        Ok(Page { n, last: value("last") })
    }
}

/// The value of `Link` to the page behind `last`; relative, so that it holds behind any proxy.
pub fn link_next(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut link = format!("<{path}");
    for (index, (key, value)) in parameters.iter().enumerate() {
        link.push(if index == 0 { '?' } else { '&' });
        link.push_str(key);
        link.push('=');
        link.extend(percent_encoding::utf8_percent_encode(value, ENCODED));
    }
    link.push_str(">; rel=\"next\"");
    link
}

/// All but RFC 3986's unreserved characters.
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(query: &str) -> Result<(Option<usize>, Option<String>), PageError> {
        Page::parse(Some(query)).map(|page| (page.n, page.last))
    }

    #[test]
    fn pages_are_read() {
        assert_eq!(Page::parse(None), Ok(Page::default()));
        assert_eq!(page(""), Ok((None, None)));
        assert_eq!(page("n=&last="), Ok((None, None)));
        assert_eq!(page("n=0"), Ok((Some(0), None)));
        assert_eq!(page("last=a%2Fb&n=10"), Ok((Some(10), Some("a/b".into()))));
        assert_eq!(page("n=99999999999999999999999999"), Ok((Some(usize::MAX), None)));
        for bad in ["n=-1", "n=a", "n=1e3", "n=+1", "n=1.5", "n=%20"] {
            assert_eq!(page(bad), Err(PageError), "{bad}");
        }
    }

    #[test]
    fn a_link_is_relative_and_encoded() {
        let link = link_next("/v2/_catalog", &[("last", "a/b"), ("n", "100")]);
        assert_eq!(link, "</v2/_catalog?last=a%2Fb&n=100>; rel=\"next\"");
    }

    proptest! {
        #[test]
        fn any_query_is_no_panic(query in "([nlast=&%0-9a-f+]{0,40})|.*") {
            let _ = Page::parse(Some(&query));
        }

        #[test]
        fn a_link_leads_to_the_page_that_it_names(last in ".{1,40}", n in 0usize..1_000_000) {
            let link = link_next("/p", &[("last", &last), ("n", &n.to_string())]);
            prop_assert!(link.is_ascii());
            let query = link.strip_prefix("</p?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
            prop_assert_eq!(Page::parse(Some(query)), Ok(Page { n: Some(n), last: Some(last) }));
        }
    }
}
