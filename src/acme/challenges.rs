//! What an authority is told that asks whether a name leads here. Any instance answers for whichever orders: what is not known here
//! is looked for where the fleet keeps it, which nobody can make us do more often than once a second.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::config::Kind;
use super::kept::{self, Challenge};
use super::names::in_handshake;
use super::shelf::{Item, Over, Shelf, ShelfError};

/// Where they are asked for over HTTP (RFC 8555 §8.3).
pub const PATH: &str = "/.well-known/acme-challenge/";
/// Of a token, in bytes; those of real authorities have 43.
const MAX_TOKEN: usize = 128;
/// Between two looks at what others have.
const PAUSE: Duration = Duration::from_secs(1);
/// Of such a look: authorities wait some ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions to storage at once in one look.
const AT_ONCE: usize = 8;
/// Who asks for what is not known here waits for such a look; so many at once, and no more.
const PARKED: usize = 64;
/// What says which orders are open is written by all who order: how often that is tried, and the longest pause in between.
const TRIES: u32 = 10;
const TRY_PAUSE: Duration = Duration::from_millis(200);

/// One that can be asked for; its certificate is made when it is first asked for.
struct Posted {
    challenge: Challenge,
    proof: OnceLock<Option<Arc<CertifiedKey>>>,
}

type Board = HashMap<Challenge, Arc<Posted>>;

/// Of all certificates of this process.
pub struct Challenges {
    /// Of orders of this instance, by certificate.
    own: Mutex<HashMap<String, Vec<Arc<Posted>>>>,
    /// Of others, as they were when we looked last.
    others: tokio::sync::Mutex<Looked>,
    /// Where others keep theirs, and of which certificates.
    places: Mutex<Option<Places>>,
    parked: Semaphore,
}

impl Default for Challenges {
    fn default() -> Self {
        Challenges {
            own: Mutex::default(),
            others: tokio::sync::Mutex::default(),
            places: Mutex::default(),
            parked: Semaphore::new(PARKED),
        }
    }
}

#[derive(Default)]
struct Looked {
    begun: Option<Instant>,
    found: Board,
}

#[derive(Clone)]
struct Places {
    shelf: Arc<dyn Shelf>,
    ids: Arc<[String]>,
}

impl Challenges {
    /// Of which certificates there may be any, and where; `None`: of none.
    pub fn follow(&self, places: Option<(Arc<dyn Shelf>, Vec<String>)>) {
        *self.places.lock() = places.map(|(shelf, ids)| Places { shelf, ids: ids.into() });
    }

    /// From now on they are answered, by all instances.
    pub async fn post(&self, shelf: &dyn Shelf, id: &str, challenges: Vec<Challenge>) -> Result<(), ShelfError> {
        let posted = |challenge: &Challenge| Arc::new(Posted { challenge: challenge.clone(), proof: OnceLock::new() });
        self.own.lock().insert(id.to_owned(), challenges.iter().map(posted).collect());
        kept::write(shelf, Item::Challenges(id), &kept::Challenges { challenges }, Over::Anything).await?;
        mark(shelf, id, true).await
    }

    /// The order is another instance's now, which has its own.
    pub fn forget(&self, id: &str) {
        self.own.lock().remove(id);
    }

    /// The order is over.
    pub async fn take_down(&self, shelf: &dyn Shelf, id: &str) {
        self.forget(id);
        let over = match mark(shelf, id, false).await {
            Ok(()) => shelf.remove(Item::Challenges(id)).await,
            failed => failed,
        };
        if let Err(error) = over {
            tracing::debug!(certificate = id, %error, "challenges that are over could not be removed");
        }
    }

    /// What is told to whoever asks for this path; `None`: nobody here has ordered that.
    pub async fn over_http(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(plain) {
            return None;
        }
        let is_asked = |challenge: &Challenge| challenge.kind == Kind::Http && challenge.token == token;
        Some(self.find(is_asked).await?.challenge.answer.clone())
    }

    /// The certificate that is shown to whoever asks for this name in a handshake.
    pub async fn in_handshake(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_asked = |challenge: &Challenge| challenge.kind == Kind::Tls && in_handshake(&challenge.name) == name;
        let posted = self.find(is_asked).await?;
        posted.proof.get_or_init(|| proof(&posted.challenge)).clone()
    }

    async fn find(&self, is_asked: impl Fn(&Challenge) -> bool) -> Option<Arc<Posted>> {
        let of_own = || {
            let own = self.own.lock();
            own.values().flatten().find(|posted| is_asked(&posted.challenge)).cloned()
        };
        if let Some(posted) = of_own() {
            return Some(posted);
        }
        let _parked = self.parked.try_acquire().ok()?;
        let arrived = Instant::now();
        let places = self.places.lock().clone()?;
        let mut looked = self.others.lock().await;
        // One that began in the same instant may have begun before.
        if looked.begun.is_none_or(|begun| begun <= arrived) {
            if let Some(begun) = looked.begun {
                sleep_until(begun + PAUSE).await;
            }
            looked.begun = Some(Instant::now());
            // What it has made already is not made again.
            let known = std::mem::take(&mut looked.found);
            let mut found = Board::new();
            if timeout(PATIENCE, look(&places, &known, &mut found)).await.is_err() {
                tracing::debug!("not all challenges of other instances could be read in time");
            }
            looked.found = found;
        }
        let found = looked.found.values().find(|posted| is_asked(&posted.challenge)).cloned();
        drop(looked);
        // It may have been ordered here meanwhile.
        found.or_else(of_own)
    }
}

/// Says that an order is open, or over.
async fn mark(shelf: &dyn Shelf, id: &str, is_open: bool) -> Result<(), ShelfError> {
    let mut tries = 0;
    loop {
        let (mut open, version) = match kept::read::<kept::Open>(shelf, Item::Open).await? {
            Some((open, version)) => (open, Some(version)),
            None => (kept::Open::default(), None),
        };
        let changed = if is_open { open.ids.insert(id.to_owned()) } else { open.ids.remove(id) };
        if !changed {
            return Ok(());
        }
        let over = version.as_deref().map_or(Over::Nothing, Over::Version);
        tries += 1;
        match kept::write(shelf, Item::Open, &open, over).await {
            Err(ShelfError::Conflict) if tries < TRIES => sleep(TRY_PAUSE.mul_f64(rand::random())).await,
            written => return written.map(drop),
        }
    }
}

/// What is found goes into `found` at once: what was read in time counts.
async fn look(places: &Places, known: &Board, found: &mut Board) {
    let open = match kept::read::<kept::Open>(&*places.shelf, Item::Open).await {
        Ok(open) => open.map(|(open, _)| open.ids).unwrap_or_default(),
        Err(error) => return tracing::debug!(%error, "which orders are open cannot be read"),
    };
    let read = |id: String| {
        let shelf = places.shelf.clone();
        async move { kept::read::<kept::Challenges>(&*shelf, Item::Challenges(&id)).await }
    };
    let ids: Vec<String> = places.ids.iter().filter(|id| open.contains(*id)).cloned().collect();
    let mut reads = futures::stream::iter(ids.into_iter().map(read)).buffer_unordered(AT_ONCE);
    while let Some(outcome) = reads.next().await {
        match outcome {
            Ok(Some((kept::Challenges { challenges }, _))) => {
                for challenge in challenges {
                    let fresh = || Arc::new(Posted { challenge: challenge.clone(), proof: OnceLock::new() });
                    let posted = known.get(&challenge).cloned().unwrap_or_else(fresh);
                    found.insert(challenge, posted);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "challenges of other instances cannot be read"),
        }
    }
}

/// A certificate of nobody's that says what the authority wants to see (RFC 8737 §3).
fn proof(challenge: &Challenge) -> Option<Arc<CertifiedKey>> {
    let made = || -> Result<CertifiedKey, Box<dyn std::error::Error>> {
        let mut params = CertificateParams::new(vec![challenge.name.clone()])?;
        params.distinguished_name = DistinguishedName::new();
        let digest = Sha256::digest(challenge.answer.as_bytes());
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not compared with the certificate, which nobody reads who does not know its extension, and which has to be known.
        Ok(CertifiedKey::new(vec![certificate.der().clone()], any_ecdsa_type(&key)?))
    };
    match made() {
        Ok(key) => Some(Arc::new(key)),
        Err(error) => {
            tracing::error!(name = challenge.name, %error, "the certificate of a challenge cannot be made");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::super::folder::Folder;
    use super::super::tests::Drawer;
    use super::*;

    fn challenge(kind: Kind, name: &str, token: &str) -> Challenge {
        Challenge { kind, name: name.into(), token: token.into(), answer: format!("{token}.thumb") }
    }

    #[tokio::test]
    async fn what_was_ordered_here_is_answered_until_it_is_over() {
        let (shelf, challenges) = (Drawer::default(), Challenges::default());
        assert_eq!(challenges.over_http("/.well-known/acme-challenge/abc").await, None);
        challenges.post(&shelf, "x", vec![challenge(Kind::Http, "a.example", "abc")]).await.unwrap();
        assert_eq!(challenges.over_http("/.well-known/acme-challenge/abc").await.as_deref(), Some("abc.thumb"));
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/ab",
            "/abc",
            "/.well-known/acme-challenge/a/bc",
        ] {
            assert_eq!(challenges.over_http(other).await, None, "{other}");
        }
        assert!(challenges.in_handshake("a.example").await.is_none(), "it is for HTTP");
        challenges.take_down(&shelf, "x").await;
        assert_eq!(challenges.over_http("/.well-known/acme-challenge/abc").await, None);
    }

    #[tokio::test]
    async fn an_authority_is_shown_the_digest_of_the_answer() {
        let (shelf, challenges) = (Drawer::default(), Challenges::default());
        let posted = vec![challenge(Kind::Tls, "a.example", "abc"), challenge(Kind::Tls, "192.0.2.1", "def")];
        challenges.post(&shelf, "x", posted).await.unwrap();
        for (asked, token) in [("A.example.", "abc"), ("1.2.0.192.in-addr.arpa", "def")] {
            let key = challenges.in_handshake(asked).await.unwrap();
            let (_, parsed) = X509Certificate::from_der(&key.cert[0]).unwrap();
            let oid = x509_parser::oid_registry::asn1_rs::oid!(1.3.6.1.5.5.7.1.31);
            let extension = parsed.get_extension_unique(&oid).unwrap().unwrap();
            assert!(extension.critical);
            assert!(extension.value.ends_with(&Sha256::digest(format!("{token}.thumb"))));
        }
        assert!(challenges.in_handshake("b.example").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_instance_ordered_is_found_and_seldom_looked_for() {
        let shelf = Arc::new(Drawer::default());
        let (here, there) = (Challenges::default(), Challenges::default());
        // Of many certificates, few are ordered.
        let ids: Vec<String> = (0..200).map(|n| n.to_string()).chain(["x".to_owned(), "y".to_owned()]).collect();
        here.follow(Some((shelf.clone(), ids)));
        there.post(&*shelf, "x", vec![challenge(Kind::Http, "a.example", "abc")]).await.unwrap();
        assert!(here.over_http("/.well-known/acme-challenge/abc").await.is_some());
        let before = shelf.reads();
        let asks = (0..100).map(|_| here.over_http("/.well-known/acme-challenge/other"));
        assert!(futures::future::join_all(asks).await.iter().all(Option::is_none));
        assert!(shelf.reads() - before <= 2 * 2, "{} reads for a hundred strangers", shelf.reads() - before);
        // What came after the last look is found by the next.
        there.post(&*shelf, "y", vec![challenge(Kind::Tls, "b.example", "def")]).await.unwrap();
        let first = here.in_handshake("b.example").await.unwrap();
        let again = here.find(|challenge| challenge.name == "b.example").await.unwrap();
        assert!(Arc::ptr_eq(&first, again.proof.get().unwrap().as_ref().unwrap()), "it is made once");
        shelf.fail(true);
        assert!(here.over_http("/.well-known/acme-challenge/abc").await.is_none());
        shelf.fail(false);
        there.take_down(&*shelf, "x").await;
        let (open, _) = kept::read::<kept::Open>(&*shelf, Item::Open).await.unwrap().unwrap();
        assert_eq!(open.ids.into_iter().collect::<Vec<_>>(), ["y"]);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_who_wait_are_counted() {
        let challenges = Challenges::default();
        let shelf = Arc::new(Drawer::default());
        challenges.follow(Some((shelf.clone(), vec!["x".into()])));
        let all = challenges.parked.try_acquire_many(PARKED as u32).unwrap();
        assert_eq!(challenges.over_http("/.well-known/acme-challenge/other").await, None);
        assert_eq!(shelf.reads(), 0, "nobody looks for who does not fit");
        drop(all);
        assert_eq!(challenges.over_http("/.well-known/acme-challenge/other").await, None);
        assert_eq!(shelf.reads(), 1, "nothing is open");
    }

    #[tokio::test]
    async fn of_many_orders_that_begin_and_end_at_once_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Folder::new(folder.path().to_owned());
        let ids: Vec<String> = (0..8).map(|n| n.to_string()).collect();
        let all = futures::future::join_all(ids.iter().map(|id| mark(&shelf, id, true))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        let (open, _) = kept::read::<kept::Open>(&shelf, Item::Open).await.unwrap().unwrap();
        assert_eq!(open.ids.len(), ids.len());
    }
}
