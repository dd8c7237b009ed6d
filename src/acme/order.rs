//! One order, from the authority's word that it takes it to the certificate (RFC 8555 §7.4).

use std::time::{Duration, Instant};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenges::Challenges;
use super::config::{Config, Kind};
use super::failure::{Cause, Failure, sentence, word};
use super::hook::{self, Record};
use super::kept::Challenge;
use super::names::{Names, record};
use super::shelf::Shelf;

/// For all its looks at our names.
const PROOFS: Duration = Duration::from_secs(180);
/// From our request to its certificate.
const ISSUING: Duration = Duration::from_secs(120);
/// If the authority does not answer meanwhile, it is asked for the same certificate again for so long: authorities count those that
/// they gave, whether they arrived or not.
const LATE: Duration = Duration::from_secs(300);
const LATE_PAUSE: Duration = Duration::from_secs(10);
/// Before the first look at how far it is; twice as long before each one more.
const LOOK: Duration = Duration::from_millis(500);

/// What is ordered, and by what means.
pub struct Asked<'a> {
    pub names: &'a Names,
    /// By which it is kept.
    pub id: &'a str,
    pub way: Kind,
    /// The certificate that it takes the place of.
    pub replaces: Option<CertificateIdentifier<'static>>,
    pub config: &'a Config,
    pub shelf: &'a dyn Shelf,
    pub challenges: &'a Challenges,
}

/// A certificate as it came, and its key: both in PEM.
pub struct Issued {
    pub chain: String,
    pub key: String,
}

/// Records in DNS that were set, or may have been: whoever ordered takes them away, however the order ends.
#[derive(Default)]
pub struct Records(parking_lot::Mutex<Vec<Record>>);

impl Records {
    pub async fn cleanup(&self, config: &Config) {
        let Some(dns) = &config.dns else { return };
        let records = std::mem::take(&mut *self.0.lock());
        for record in records {
            if let Err(what) = hook::cleanup(dns, &record).await {
                tracing::warn!(record = record.name, "a record of a challenge stays in DNS: {what}");
            }
        }
    }
}

/// Blocks nobody; ends after some minutes at most, beside what the program of `dns` takes for each name.
pub async fn order(account: &Account, asked: &Asked<'_>, records: &Records) -> Result<Issued, Failure> {
    let mut order = begin(account, asked).await?;
    prove(&mut order, asked, records).await?;
    let policy = RetryPolicy::new().initial_delay(LOOK).timeout(PROOFS);
    match order.poll_ready(&policy).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(unproven(&mut order, None).await),
        Err(Error::Api(problem)) => {
            let failure = Failure::from(Error::Api(problem.clone()));
            return Err(match failure.cause {
                Cause::Refused => unproven(&mut order, Some(sentence(&problem))).await,
                _ => failure,
            });
        }
        Err(error) => return Err(error.into()),
    }
    finish(&mut order, asked.names).await
}

async fn begin(account: &Account, asked: &Asked<'_>) -> Result<Order, Failure> {
    let identifiers = asked.names.identifiers();
    let new = || match &asked.config.profile {
        Some(profile) => NewOrder::new(&identifiers).profile(profile),
        None => NewOrder::new(&identifiers),
    };
    let Some(replaces) = asked.replaces.clone() else { return Ok(account.new_order(&new()).await?) };
    match account.new_order(&new().replaces(replaces)).await {
        Err(error) if may_be_of_the_one_before(&error) => {
            let failure = Failure::from(error);
            tracing::info!(
                certificate = asked.id,
                "it is not taken as a replacement, and ordered without that: {failure}"
            );
            Ok(account.new_order(&new()).await?)
        }
        other => Ok(other?),
    }
}

/// Whatever is minded about the certificate that is replaced, a new one is needed. How authorities say so differs.
fn may_be_of_the_one_before(error: &Error) -> bool {
    match error {
        Error::Api(problem) => !matches!(word(problem), "rateLimited" | "accountDoesNotExist" | "badNonce"),
        _ => true,
    }
}

/// Makes everything ready for its looks at our names, and then says so.
async fn prove(order: &mut Order, asked: &Asked<'_>, records: &Records) -> Result<(), Failure> {
    let challenges = challenges(order, asked).await?;
    match asked.way {
        Kind::Dns => set(&challenges, asked.config, records).await?,
        Kind::Http | Kind::Tls => asked.challenges.post(asked.shelf, asked.id, challenges).await?,
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(kind(asked.way))
        {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// One for each name that is not proven yet.
async fn challenges(order: &mut Order, asked: &Asked<'_>) -> Result<Vec<Challenge>, Failure> {
    let mut challenges = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => return Err(Failure::unproven(&name, &format!("the authority has it as {status:?}"))),
        }
        let Some(challenge) = authorization.challenge(kind(asked.way)) else {
            let what = format!("the authority does not let {name} be proven by {}", asked.way.word());
            return Err(Failure::new(Cause::Unproven, what));
        };
        let authorization = challenge.key_authorization();
        let answer = match asked.way {
            Kind::Dns => authorization.dns_value(),
            Kind::Http | Kind::Tls => authorization.as_str().to_owned(),
        };
        challenges.push(Challenge { kind: asked.way, name, token: challenge.token.clone(), answer });
    }
    Ok(challenges)
}

async fn set(challenges: &[Challenge], config: &Config, records: &Records) -> Result<(), Failure> {
    let Some(dns) = &config.dns else { return Err(Failure::ours("acme.dns names no program")) };
    for challenge in challenges {
        let record = Record { name: record(&challenge.name), value: challenge.answer.clone() };
        // Before it is set: what was cut short may have been done.
        records.0.lock().push(record.clone());
        hook::present(dns, &record).await.map_err(Failure::ours)?;
    }
    if !challenges.is_empty() {
        tokio::time::sleep(dns.wait.0).await;
    }
    Ok(())
}

fn kind(way: Kind) -> ChallengeType {
    match way {
        Kind::Http => ChallengeType::Http01,
        Kind::Tls => ChallengeType::TlsAlpn01,
        Kind::Dns => ChallengeType::Dns01,
    }
}

/// Which names did not lead here, and what the authority saw.
async fn unproven(order: &mut Order, said: Option<String>) -> Failure {
    let mut failure =
        Failure::new(Cause::Unproven, said.unwrap_or_else(|| "the authority does not say why".to_owned()));
    let mut told = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() || authorization.status != AuthorizationStatus::Invalid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        told.push(format!("{name}: {}", problem.map_or_else(|| "it does not say why".to_owned(), sentence)));
        failure.names.push(name);
    }
    if !told.is_empty() {
        failure = Failure { names: failure.names, ..Failure::new(Cause::Unproven, told.join("; ")) };
    }
    failure
}

/// A key of its own for each certificate.
async fn finish(order: &mut Order, names: &Names) -> Result<Issued, Failure> {
    let ours = |error: rcgen::Error| Failure::ours(format!("a request for a certificate cannot be made: {error}"));
    let mut params = CertificateParams::new(names.list()).map_err(ours)?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate().map_err(ours)?;
    let request = params.serialize_request(&key).map_err(ours)?;
    let begun = Instant::now();
    let mut again = false;
    loop {
        match certificate(order, request.der(), again).await {
            Ok(chain) => return Ok(Issued { chain, key: key.serialize_pem() }),
            Err(failure) if failure.cause == Cause::Away && !is_over(order) && begun.elapsed() < LATE => {
                tracing::info!(names = ?names.list(), "a certificate is asked for again: {failure}");
            }
            Err(failure) => return Err(failure),
        }
        again = true;
        tokio::time::sleep(LATE_PAUSE).await;
    }
}

/// `again`: what was asked before may have been heard, though nobody said so.
async fn certificate(order: &mut Order, request: &[u8], again: bool) -> Result<String, Failure> {
    if again {
        order.refresh().await?;
    }
    if order.state().status == OrderStatus::Ready {
        order.finalize_csr(request).await?;
    }
    Ok(order.poll_certificate(&RetryPolicy::new().initial_delay(LOOK).timeout(ISSUING)).await?)
}

/// Nothing will come of it any more.
fn is_over(order: &mut Order) -> bool {
    order.state().status == OrderStatus::Invalid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_minded_about_the_one_before_a_new_one_is_ordered() {
        let said = |word: &str| {
            let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{word}","detail":"no","status":403}}"#);
            Error::Api(serde_json::from_str(&text).unwrap())
        };
        for word in ["alreadyReplaced", "malformed", "unauthorized", "serverInternal", "conflict"] {
            assert!(may_be_of_the_one_before(&said(word)), "{word}");
        }
        assert!(may_be_of_the_one_before(&Error::Other("replaces field mismatch".into())));
        assert!(may_be_of_the_one_before(&Error::Unsupported("ARI")));
        for word in ["rateLimited", "accountDoesNotExist", "badNonce"] {
            assert!(!may_be_of_the_one_before(&said(word)), "{word}");
        }
    }
}
