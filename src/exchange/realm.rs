//! `rewrite_realm`: where a peer's challenge sends clients for a token. Registries behind a proxy often name their own
//! address there, which clients cannot reach; with `forward` we can hand the request on, so we name ourselves. A peer that names the
//! address that it was told is ours knows nothing of a listener's prefix, which is put there in any case.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::prelude::Result;
use url::Url;

use super::context::{Outside, RequestContext};
use crate::cluster::Cluster;

/// Makes the challenges among these fields of an answer right for the client, where the cluster wants it.
/// `from`: the request's own fields.
pub fn mend(from: &HeaderMap, ctx: &RequestContext, headers: &mut HeaderMap) {
    let below = !ctx.connection.settings().prefix.is_none();
    let Some(cluster) = ctx.cluster.as_ref().filter(|cluster| below || cluster.config().rewrite_realm) else { return };
    if !headers.contains_key(WWW_AUTHENTICATE) {
        return;
    }
    let Some(outside) = ctx.outside(from) else { return };
    if let http::header::Entry::Occupied(mut challenges) = headers.entry(WWW_AUTHENTICATE) {
        for challenge in challenges.iter_mut() {
            if let Some(ours) = rewritten(challenge, cluster, &outside) {
                *challenge = ours;
            }
        }
    }
}

/// The same for an answer that pingora streams.
pub fn mend_head(from: &HeaderMap, ctx: &RequestContext, response: &mut ResponseHeader) -> Result<()> {
    if !response.headers.contains_key(WWW_AUTHENTICATE) {
        return Ok(());
    }
    let mut headers = response.headers.clone();
    mend(from, ctx, &mut headers);
    response.remove_header(&WWW_AUTHENTICATE);
    for value in headers.get_all(WWW_AUTHENTICATE) {
        response.append_header(WWW_AUTHENTICATE, value.clone())?;
    }
    Ok(())
}

/// A challenge with its realm at our own address. `None`: nothing in it is at a peer's and covered by `forward`.
fn rewritten(challenge: &HeaderValue, cluster: &Cluster, outside: &Outside) -> Option<HeaderValue> {
    let covered = |url: &Url| {
        let theirs = cluster.config().rewrite_realm && is_at(url, |host, port| cluster.is_peer(host, port));
        (theirs || outside.is_without_prefix(url)) && cluster.forwards(url.path())
    };
    HeaderValue::from_str(&replaced(challenge.to_str().ok()?, outside, covered)?).ok()
}

fn is_at(url: &Url, known: impl Fn(&str, u16) -> bool) -> bool {
    url.host_str().zip(url.port_or_known_default()).is_some_and(|(host, port)| known(host, port))
}

impl Outside {
    /// An address of ours as somebody writes it who was told our host alone.
    fn is_without_prefix(&self, url: &Url) -> bool {
        let own = Url::parse(&format!("{}://{}", self.scheme, self.authority));
        !self.prefix.is_empty()
            && own.is_ok_and(|own| {
                is_at(url, |host, port| own.host_str() == Some(host) && own.port_or_known_default() == Some(port))
            })
    }
}

fn replaced(challenge: &str, outside: &Outside, covered: impl Fn(&Url) -> bool) -> Option<String> {
    const REALM: &str = "realm=\"";
    let lower = challenge.to_ascii_lowercase();
    let (mut text, mut from, mut changed) = (String::with_capacity(challenge.len()), 0, false);
    while let Some(start) = lower.get(from..)?.find(REALM).map(|at| from + at + REALM.len()) {
        let end = start + challenge.get(start..)?.find('"')?;
        let realm = challenge.get(start..end)?;
        text.push_str(challenge.get(from..start)?);
        match Url::parse(realm).ok().filter(|url| matches!(url.scheme(), "http" | "https") && covered(url)) {
            Some(url) => {
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                text.push_str(&outside.address(&format!("{}{query}", url.path())));
                changed = true;
            }
            None => text.push_str(realm),
        }
        from = end;
    }
    text.push_str(challenge.get(from..)?);
    changed.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_at_a_peer_becomes_ours_and_any_other_stays() {
        let outside = Outside { scheme: "https", authority: "registry.example".into(), prefix: String::new() };
        let covered = |url: &Url| url.host_str() == Some("10.0.0.1") && url.path().starts_with("/service/");
        let all = |challenge: &str| replaced(challenge, &outside, covered);
        assert_eq!(
            all(r#"Bearer realm="http://10.0.0.1:5001/service/token?a=b",service="r",scope="x""#).as_deref(),
            Some(r#"Bearer realm="https://registry.example/service/token?a=b",service="r",scope="x""#)
        );
        assert_eq!(
            all(r#"Basic realm="peer", bearer REALM="http://10.0.0.1/service/token""#).as_deref(),
            Some(r#"Basic realm="peer", bearer REALM="https://registry.example/service/token""#)
        );
        for other in [
            r#"Bearer realm="https://auth.example/service/token",service="r""#,
            r#"Bearer realm="http://10.0.0.1/other/token""#,
            r#"Bearer realm="ftp://10.0.0.1/service/token""#,
            r#"Basic realm="peer""#,
            r#"Bearer realm="http://10.0.0.1/service/token"#,
            "Bearer realm=http",
            "",
        ] {
            assert_eq!(all(other), None, "{other}");
        }
    }

    #[test]
    fn our_own_address_gets_the_prefix_that_nobody_told_the_peer() {
        let outside = |prefix: &str| Outside { scheme: "https", authority: "r.example".into(), prefix: prefix.into() };
        let (none, below) = (outside(""), outside("/registry"));
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(below.is_without_prefix(&url("https://r.example/service/token")));
        assert!(below.is_without_prefix(&url("https://r.example:443/service/token")));
        assert!(!below.is_without_prefix(&url("https://r.example:8443/service/token")));
        assert!(!below.is_without_prefix(&url("https://auth.example/service/token")));
        assert!(!none.is_without_prefix(&url("https://r.example/service/token")));
        let challenge = r#"Bearer realm="https://r.example/token?a=b",service="r""#;
        let expected = r#"Bearer realm="https://r.example/registry/token?a=b",service="r""#;
        assert_eq!(replaced(challenge, &below, |url| below.is_without_prefix(url)).as_deref(), Some(expected));
    }
}
