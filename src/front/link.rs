//! `Link` of lists (RFC 8288), made right for clients as `Location` is: the next page is at our address, whatever host the
//! peer believes to be.

use http::HeaderValue;
use http::header::LINK;
use pingora::http::ResponseHeader;
use pingora::prelude::Result;

/// Mends the links of a peer's answer: [`relative`] for each field.
pub fn mend(response: &mut ResponseHeader, authorities: &[&str]) -> Result<()> {
    let short = |value: &HeaderValue| HeaderValue::from_str(&relative(value.to_str().ok()?, authorities)?).ok();
    let fields: Vec<_> = response.headers.get_all(LINK).iter().map(|value| (short(value), value.clone())).collect();
    if fields.iter().all(|(short, _)| short.is_none()) {
        return Ok(());
    }
    response.remove_header(&LINK);
    for (short, value) in fields {
        response.append_header(LINK, short.unwrap_or(value))?;
    }
    Ok(())
}

/// The links with those into `/v2/`, or to one of these authorities, without scheme and host. `None`: nothing to change.
pub fn relative(links: &str, authorities: &[&str]) -> Option<String> {
    let (mut text, mut rest, mut changed) = (String::with_capacity(links.len()), links, false);
    while let Some((before, from)) = rest.split_once('<') {
        let (target, after) = from.split_once('>')?;
        let short = split_absolute(target).filter(|(authority, path)| {
            path.starts_with("/v2/") || authorities.iter().any(|known| known.eq_ignore_ascii_case(authority))
        });
        let target = match short {
            Some((_, path)) => path,
            None => target,
        };
        changed |= short.is_some();
        text.extend([before, "<", target, ">"]);
        rest = after;
    }
    text.push_str(rest);
    changed.then_some(text)
}

/// `https://host:port/path?query` as (`host:port`, `/path?query`).
fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let lower = target.get(..8).unwrap_or(target).to_ascii_lowercase();
    let scheme = ["http://", "https://", "//"].into_iter().find(|scheme| lower.starts_with(scheme))?;
    let rest = target.get(scheme.len()..)?;
    Some(rest.split_at(rest.find('/')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_registry_lose_the_peer_s_name() {
        let known = ["10.0.0.7:5000", "registry.example"];
        for (link, expected) in [
            (
                r#"<http://10.0.0.7:5000/v2/a/tags/list?last=x&n=1>; rel="next""#,
                r#"</v2/a/tags/list?last=x&n=1>; rel="next""#,
            ),
            (r#"<HTTPS://whatever/v2/_catalog?last=a%2Fb>; rel="next""#, r#"</v2/_catalog?last=a%2Fb>; rel="next""#),
            (r#"<//10.0.0.7:5000/api/x>; rel=next"#, r#"</api/x>; rel=next"#),
            (
                r#"<http://p/v2/x>; rel=next, <https://docs.example/>; rel=help"#,
                r#"</v2/x>; rel=next, <https://docs.example/>; rel=help"#,
            ),
        ] {
            assert_eq!(relative(link, &known).as_deref(), Some(expected));
        }
        for link in [
            r#"</v2/a/tags/list?last=x>; rel="next""#,
            "<https://docs.example/v1/>; rel=help",
            "<http://p",
            "<http:",
            "",
            "<é/v2/>",
        ] {
            assert_eq!(relative(link, &known), None, "{link}");
        }
    }
}
