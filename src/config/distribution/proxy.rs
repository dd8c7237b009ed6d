//! The section `proxy`: a registry that is mirrored, `[remote.upstream]`.

use toml::{Table as Fields, Value};
use url::Url;

use super::document::Document;
use super::draft::{Draft, Given, Table, Weight};
use super::section::Section;
use crate::units::Secret;

/// What Docker Hub is called in references, and where people say that it is.
const HUB: &str = "docker.io";
const HUB_HOSTS: [&str; 4] = ["registry-1.docker.io", "index.docker.io", "hub.docker.com", "docker.io"];

/// Whether another registry is mirrored.
pub(super) fn proxy(document: &Document, draft: &mut Draft) -> Result<bool, String> {
    let mut proxy = Section::new("proxy", document.get("proxy"))?;
    let Some(text) = proxy.text("remoteurl")? else {
        draft.close(proxy);
        return Ok(false);
    };
    let (registry, url) = remote(&text)?;
    draft.set(Table::Remote, "registry", registry, "proxy.remoteurl");
    if let Some(url) = url {
        draft.set(Table::Remote, "url", url, "proxy.remoteurl");
    }
    login(&mut proxy, draft)?;
    draft.set(Table::Remote, "tag_ttl", "0s", "proxy (whether a tag has moved is asked at each pull)");
    draft.set(Table::Remote, "keep", "storage", "storage (what was pulled stays there)");
    draft.set(Table::Route, "read", "remote.upstream", "proxy.remoteurl");
    let stays = "has no counterpart: what was pulled stays, and answers while the remote is down, until it is deleted; \
                 keep = \"cache\" in [remote.upstream] drops what was unused longest when [cache] disk is full";
    proxy.leave(&[
        ("ttl", Weight::Lost, stays),
        ("cachewritetimeout", Weight::Needless, "is not needed: who pulls does not wait for what is kept"),
    ]);
    draft.leave(
        "proxy",
        Weight::Lost,
        "keeps what it pulls below the remote's name, where distribution does not look for it: what distribution has kept is \
         fetched once more, and stays for it",
    );
    draft.close(proxy);
    Ok(true)
}

/// Its name in references, and its address where that does not follow from the name.
fn remote(text: &str) -> Result<(String, Option<String>), String> {
    // Never shown: there may be a password in it.
    let fault = || "proxy.remoteurl is no address such as https://registry-1.docker.io".to_owned();
    let url = Url::parse(text).map_err(|_| fault())?;
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(fault)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("proxy.remoteurl has a login in it: write proxy.username and proxy.password".into());
    }
    if HUB_HOSTS.contains(&host) {
        return Ok((HUB.into(), None));
    }
    let registry = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let bare = text.trim_end_matches('/');
    let follows = bare == format!("https://{registry}");
    Ok((registry, Some(bare.to_owned()).filter(|_| !follows)))
}

fn login(proxy: &mut Section<'_>, draft: &mut Draft) -> Result<(), String> {
    let (username, password) = (proxy.text("username")?, proxy.text("password")?);
    let mut exec = proxy.inner("exec")?;
    let program = exec.text("command")?;
    exec.leave(&[("lifetime", Weight::Needless, "is not needed: the helper is asked again when its login is refused")]);
    draft.close(exec);
    match (username, password, program) {
        (Some(username), Some(password), None) => {
            let login = Given::Login(username, Secret::from(password));
            draft.given(Table::Remote, "credentials", login, "proxy.username, proxy.password");
        }
        (None, None, Some(program)) => {
            let helper = Fields::from_iter([("exec".to_owned(), Value::from(vec![program]))]);
            draft.set(Table::Remote, "credentials", vec![Value::Table(helper)], "proxy.exec.command");
        }
        (None, None, None) => {}
        (_, _, Some(_)) => return Err("proxy.exec stands beside proxy.username: write one of the two".into()),
        (None, Some(_), _) => return Err("proxy.username is missing for proxy.password".into()),
        (Some(_), None, _) => return Err("proxy.password is missing for proxy.username".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_called_as_references_call_it() {
        for (text, registry, url) in [
            ("https://registry-1.docker.io", "docker.io", None),
            ("https://index.docker.io/", "docker.io", None),
            ("https://ghcr.io", "ghcr.io", None),
            ("https://quay.io/", "quay.io", None),
            ("http://127.0.0.1:5000", "127.0.0.1:5000", Some("http://127.0.0.1:5000")),
            ("https://registry.example.com:5443", "registry.example.com:5443", None),
            ("https://example.com/hub", "example.com", Some("https://example.com/hub")),
        ] {
            assert_eq!(remote(text), Ok((registry.into(), url.map(str::to_owned))), "{text}");
        }
        for text in ["docker.io", "ftp://a", "https://ann:hush@example.com", ""] {
            let told = remote(text).unwrap_err();
            assert!(told.starts_with("proxy.remoteurl") && !told.contains("hush"), "{told}");
        }
    }
}
