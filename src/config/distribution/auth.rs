//! The section `auth`: `[auth]`, `[[auth.verifier]]`.

use super::document::{Document, section};
use super::draft::{Draft, Given, Table, Weight};
use super::section::Section;
use crate::units::Secret;

/// What images of registries with a login are usually told it by; whoever wraps distribution makes an htpasswd file of them.
pub(super) const USUAL: [&str; 2] = ["REGISTRY_USERNAME", "REGISTRY_PASSWORD"];

pub(super) fn auth(document: &Document, login: Option<(String, String)>, draft: &mut Draft) -> Result<(), String> {
    let auth = section("auth", document.get("auth"))?;
    let mut kinds: Vec<&str> = auth.keys().filter_map(|kind| kind.as_str()).collect();
    kinds.sort_unstable();
    match kinds.as_slice() {
        [] => {
            if let Some((username, password)) = login {
                draft.set(Table::Auth, "username", username, USUAL[0]);
                draft.given(Table::Auth, "password", Given::Secret(Secret::from(password)), USUAL[1]);
            }
            Ok(())
        }
        ["htpasswd"] => htpasswd(Section::new("auth.htpasswd", auth.get("htpasswd"))?, draft),
        ["token"] => token(Section::new("auth.token", auth.get("token"))?, draft),
        ["silly"] => {
            Err("auth.silly lets in whoever shows any login: leave the section out, which lets everybody in, or write \
                          auth.htpasswd"
                .into())
        }
        [other] => Err(format!("auth.{} is not supported here; supported: htpasswd, token", other.escape_debug())),
        several => Err(format!("must provide exactly one auth type. Provided: [{}]", several.join(" "))),
    }
}

fn htpasswd(mut htpasswd: Section<'_>, draft: &mut Draft) -> Result<(), String> {
    let path = htpasswd.needed("path")?;
    htpasswd.leave(&[(
        "realm",
        Weight::Needless,
        "is not needed: clients are sent to /token, and show their login there",
    )]);
    draft.set(Table::Auth, "htpasswd", path, "auth.htpasswd.path");
    draft.close(htpasswd);
    Ok(())
}

/// Another service gives the tokens.
fn token(mut token: Section<'_>, draft: &mut Draft) -> Result<(), String> {
    let (issuer, service) = (token.needed("issuer")?, token.needed("service")?);
    let (bundle, jwks) = (token.text("rootcertbundle")?, token.text("jwks")?);
    draft.set(Table::Verifier, "issuer", issuer, "auth.token.issuer");
    draft.set(Table::Verifier, "service", service, "auth.token.service");
    match (bundle, jwks) {
        (Some(bundle), jwks) => {
            draft.set(Table::Verifier, "certificates", bundle, "auth.token.rootcertbundle");
            if jwks.is_some() {
                token.note("jwks", "is left out: keys are known by one of the two, and rootcertbundle is given");
            }
        }
        (None, Some(jwks)) => draft.set(Table::Verifier, "jwks", jwks, "auth.token.jwks"),
        (None, None) => return Err("auth.token.rootcertbundle is missing, and so is jwks".into()),
    }
    draft.set(Table::Verifier, "user", "{sub}", "auth.token (a user is whom its tokens name)");
    let redirected = token.flag("autoredirect")? == Some(true);
    match token.text("realm")? {
        Some(realm) if !redirected => draft.set(Table::Verifier, "realm", realm, "auth.token.realm"),
        realm => {
            let path = token.text("autoredirectpath")?.unwrap_or_else(|| "/auth/token".into());
            let Some(realm) = realm.filter(|_| redirected) else { return Err("auth.token.realm is missing".into()) };
            token.note(
                "autoredirect",
                format!(
                    "has no counterpart: clients are sent to realm wherever they come from, and not to {} at the host that they \
                     asked",
                    path.escape_debug()
                ),
            );
            draft.set(Table::Verifier, "realm", realm, "auth.token.realm");
        }
    }
    token.leave(&[
        ("autoredirectpath", Weight::Lost, "has no counterpart, as autoredirect has none"),
        ("signingalgorithms", Weight::Needless, "is not needed: the key says which algorithm its signatures have"),
    ]);
    token.note(
        "issuer",
        "gives tokens that are good for what they grant where they name somebody; those for nobody in particular need a rule: \
         [[auth.rule]] who = [\"anonymous\"], allow = [\"pull\"]",
    );
    draft.close(token);
    Ok(())
}
