//! Who asks at the admin endpoint.

use std::time::Instant;

use crate::admin::{Asker, Operator};
use crate::audit::{Actor, Audit, Client, Deed, Ending, Origin, Outcome};
use crate::auth::{Authenticator, Credential, Permit, Shown, TurnedAway, Unproven};
use crate::routing::Site;
use crate::telemetry::RequestId;

/// Who shows these credentials. Without rules, nobody is asked.
///
/// # Errors
/// What was shown is nobody's, or that cannot be found out now. It is in the audit then.
pub async fn identify(
    site: &Site,
    authenticator: &Authenticator,
    audit: &Audit,
    asker: &Asker<'_>,
) -> Result<Operator, Unproven> {
    let began = Instant::now();
    let origin = |actor: Actor| {
        let client = Client { ip: asker.address, forwarded: None, user_agent: asker.user_agent.clone(), tls: None };
        Origin { id: RequestId::new(), actor, client: Some(client), host: asker.host.clone(), began }
    };
    let Some(policy) = &site.policy else {
        return Ok(Operator { permit: Permit::open(), origin: origin(Origin::operator(None).actor) });
    };
    let credential = Credential::read(asker.authorization);
    let shown = Shown { address: asker.address, limits: site.limits.as_deref() };
    let found = match &credential {
        Ok(credential) => authenticator.identify(credential, &shown).await,
        Err(_) => Err(Unproven::Wrong),
    };
    match found {
        Ok(caller) => {
            let permit = caller.permit(policy, &asker.host, asker.address);
            let actor = Actor::of(&permit, caller.proof);
            Ok(Operator { permit, origin: origin(actor) })
        }
        Err(unproven) => {
            let turned = TurnedAway::unproven(&unproven, credential.as_ref().ok());
            if let TurnedAway::Unproven { why, claimed, proof } = turned {
                let actor = Actor::claimed(claimed, proof);
                let deed = Deed { action: "login", reference: Some("admin".into()), ..Deed::default() };
                let ending = Ending { outcome: Outcome::Failed, status: Some(401), reason: Some(why.to_owned()) };
                match &unproven {
                    Unproven::TooOften(_) => audit.limited(&origin(actor), &deed, &ending),
                    _ => audit.refused(&origin(actor), &deed, &ending),
                }
            }
            Err(unproven)
        }
    }
}

/// How files in storage name who ordered something.
pub fn name(operator: &Operator) -> String {
    match operator.permit.identity() {
        identity if !identity.is_anonymous() => identity.to_string(),
        _ => match &operator.origin.client {
            Some(client) => format!("an operator at {}", client.ip),
            None => "an operator".to_owned(),
        },
    }
}
