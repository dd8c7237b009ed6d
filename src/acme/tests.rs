//! What the files of this room share for their tests, and the room as a whole without an authority.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::kept::Certificate;
use super::shelf::{Item, Over, ShelfError, Stored};
use super::*;

/// A shelf in memory.
#[derive(Default)]
pub struct Drawer {
    kept: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    writes: AtomicUsize,
    reads: AtomicUsize,
    fails: AtomicBool,
}

impl Drawer {
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), ShelfError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(ShelfError::Failed("the drawer is stuck".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Shelf for Drawer {
    async fn get(&self, item: Item<'_>) -> Result<Option<Stored>, ShelfError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.check()?;
        let found = self.kept.lock().get(&item.path()).cloned();
        Ok(found.map(|(version, bytes)| Stored { bytes, version: version.to_string() }))
    }

    async fn put(&self, item: Item<'_>, bytes: Vec<u8>, over: Over<'_>) -> Result<String, ShelfError> {
        self.check()?;
        let mut kept = self.kept.lock();
        let present = kept.get(&item.path()).map(|(version, _)| version.to_string());
        let fits = match over {
            Over::Anything => true,
            Over::Nothing => present.is_none(),
            Over::Version(version) => present.as_deref() == Some(version),
        };
        if !fits {
            return Err(ShelfError::Conflict);
        }
        let version = self.writes.fetch_add(1, Ordering::Relaxed) as u64;
        kept.insert(item.path(), (version, bytes));
        Ok(version.to_string())
    }

    async fn remove(&self, item: Item<'_>) -> Result<(), ShelfError> {
        self.check()?;
        self.kept.lock().remove(&item.path());
        Ok(())
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Nobody answers there.
const NOWHERE: &str = "https://127.0.0.1:1/dir";

fn wanted(sets: &[&[&str]]) -> Wanted {
    let config = Config {
        directory: NOWHERE.into(),
        storage: Some(Storage::Registry),
        retry: crate::units::seconds(1),
        ..Config::default()
    };
    let certificates = sets.iter().map(|set| Names::new(&names(set))).collect();
    Wanted { config, certificates, sealed: true, plain: true }
}

fn acme(shelf: &Arc<Drawer>) -> Arc<Acme> {
    acme_told_of(shelf, &prometheus::Registry::new())
}

fn acme_told_of(shelf: &Arc<Drawer>, registry: &prometheus::Registry) -> Arc<Acme> {
    Acme::new(shelf.clone(), Metrics::new(registry).unwrap(), OwnAddresses::default())
}

/// The names that failures are counted of.
fn counted(registry: &prometheus::Registry) -> Vec<String> {
    let families = registry.gather();
    let failures = families.iter().filter(|family| family.name() == "entrepot_acme_failures");
    failures.flat_map(|family| family.get_metric()).map(|metric| metric.get_label()[0].value().to_owned()).collect()
}

/// Puts a certificate there as an order would have done.
async fn keep(shelf: &Drawer, set: &[&str], days: i64, obtained: u64) -> Certificate {
    let mut params = rcgen::CertificateParams::new(names(set)).unwrap();
    let now = DateTime::from_timestamp(i64::try_from(obtained).unwrap(), 0).unwrap();
    let day = |time: DateTime<chrono::Utc>| {
        use chrono::Datelike as _;
        rcgen::date_time_ymd(time.year(), time.month() as u8, time.day() as u8)
    };
    (params.not_before, params.not_after) = (day(now), day(now + chrono::Duration::days(days)));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = Certificate {
        directory: NOWHERE.into(),
        names: names(set),
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
        obtained,
    };
    let id = Names::new(&names(set)).id(NOWHERE, None);
    kept::write(shelf, Item::Certificate(&id), &certificate, Over::Anything).await.unwrap();
    certificate
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test]
async fn what_is_kept_is_shown_before_anybody_is_asked() {
    let shelf = Arc::new(Drawer::default());
    let set: &[&str] = &["a.example", "b.example"];
    keep(&shelf, set, 90, now()).await;
    let acme = acme(&shelf);
    let slot = acme.slot(&names(&["B.example", "a.example"]));
    assert!(slot.held().is_none());
    let prepared = acme.prepare(Some(wanted(&[set]))).unwrap();
    acme.load(&prepared).await.unwrap();
    assert!(slot.held().is_some());
    acme.commit(prepared);
    let told = acme.told();
    assert_eq!(told[0]["names"], json!(["a.example", "b.example"]));
    assert!(told[0]["until"].is_string() && told[0]["next"].is_string() && told[0]["last_error"].is_null(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_away_takes_no_certificate_away() {
    let shelf = Arc::new(Drawer::default());
    let set: &[&str] = &["a.example"];
    // It has a tenth of its life left.
    keep(&shelf, set, 100, now() - 90 * 86_400).await;
    let acme = acme(&shelf);
    let prepared = acme.prepare(Some(wanted(&[set]))).unwrap();
    acme.commit(prepared);
    let slot = acme.slot(&names(set));
    eventually("it is tried", || acme.told()[0]["failures"].as_u64() >= Some(2)).await;
    let told = acme.told();
    assert!(told[0]["last_error"]["what"].as_str().unwrap().contains("does not answer"), "{told:?}");
    assert!(slot.held().is_some());
    // Another instance has it renewed.
    let renewed = keep(&shelf, set, 90, now()).await;
    let leaf = held::ready(&renewed, &Names::new(&names(set))).unwrap().life.fingerprint;
    eventually("it is taken over", || acme.told()[0]["until"] != told[0]["until"]).await;
    let shown = slot.held().unwrap().key.cert[0].clone();
    assert_eq!(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&shown)), leaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_is_told_and_what_is_shown_stays() {
    let shelf = Arc::new(Drawer::default());
    let set: &[&str] = &["a.example"];
    keep(&shelf, set, 90, now()).await;
    let acme = acme(&shelf);
    let prepared = acme.prepare(Some(wanted(&[set]))).unwrap();
    acme.load(&prepared).await.unwrap();
    shelf.fail(true);
    acme.commit(prepared);
    eventually("it is told", || acme.told()[0]["trouble"].is_string()).await;
    assert!(acme.slot(&names(set)).held().is_some());
}

#[tokio::test]
async fn a_reload_that_changes_nothing_leaves_orders_alone() {
    let shelf = Arc::new(Drawer::default());
    let acme = acme(&shelf);
    let both: &[&[&str]] = &[&["a.example"], &["b.example"]];
    let prepared = acme.prepare(Some(wanted(both))).unwrap();
    assert!(prepared.0.is_some());
    acme.commit(prepared);
    assert!(acme.prepare(Some(wanted(both))).unwrap().0.is_none());
    let job = |index: usize| acme.running.lock().tended[index].0.clone();
    let present = job(0);
    let fewer = acme.prepare(Some(wanted(&[&["a.example"]]))).unwrap();
    acme.commit(fewer);
    assert_eq!((acme.told().len(), acme.slots.lock().len()), (1, 1));
    assert!(Arc::ptr_eq(&present, &job(0)), "what is wanted as before goes on");
    // Another way to prove it: what is known of it stays.
    let mut other = wanted(&[&["a.example"]]);
    other.config.challenges = vec![config::Kind::Tls];
    let other = acme.prepare(Some(other)).unwrap();
    acme.commit(other);
    assert!(!Arc::ptr_eq(&present, &job(0)) && present.is_in_force() && job(0).ways == [config::Kind::Tls]);
    let none = acme.prepare(None).unwrap();
    acme.commit(none);
    assert!(acme.told().is_empty() && acme.prepare(Some(wanted(&[]))).unwrap().0.is_none());
    let absent = Config { ca: Some("/no/such/file".into()), ..Config::default() };
    assert!(acme.prepare(Some(Wanted { config: absent, ..wanted(both) })).is_err());
}

#[tokio::test]
async fn a_configuration_that_is_refused_changes_nothing() {
    let (shelf, registry) = (Arc::new(Drawer::default()), prometheus::Registry::new());
    let set: &[&str] = &["a.example"];
    let others = keep(&shelf, set, 90, now()).await;
    let id = Names::new(&names(set)).id(NOWHERE, Some("other"));
    kept::write(&*shelf, Item::Certificate(&id), &others, Over::Anything).await.unwrap();
    keep(&shelf, set, 90, now()).await;
    let acme = acme_told_of(&shelf, &registry);
    let prepared = acme.prepare(Some(wanted(&[set]))).unwrap();
    acme.load(&prepared).await.unwrap();
    acme.commit(prepared);
    let shown = acme.slot(&names(set)).held().unwrap();
    // Another authority's, with another certificate for a name that is there.
    let mut other = wanted(&[set, &["b.example"]]);
    other.config.profile = Some("other".into());
    let refused = acme.prepare(Some(other)).unwrap();
    acme.load(&refused).await.unwrap();
    drop(refused);
    assert!(Arc::ptr_eq(&acme.slot(&names(set)).held().unwrap(), &shown));
    assert_eq!(counted(&registry), ["a.example"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_before_anybody_is_asked() {
    let (shelf, registry) = (Arc::new(Drawer::default()), prometheus::Registry::new());
    keep(&shelf, &["a.example"], 90, now()).await;
    let acme = acme_told_of(&shelf, &registry);
    let prepared = acme.prepare(Some(wanted(&[&["a.example"]]))).unwrap();
    shelf.fail(true);
    assert!(acme.load(&prepared).await.unwrap_err().contains("a.example"));
    assert_eq!(counted(&registry), Vec::<String>::new());
    acme.commit(prepared);
    assert_eq!(counted(&registry), ["a.example"]);
    let none = acme.prepare(None).unwrap();
    acme.commit(none);
    assert_eq!(counted(&registry), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_restart_the_last_certificate_stands_in_for_another_authoritys() {
    let shelf = Arc::new(Drawer::default());
    let set: &[&str] = &["a.example"];
    let last = keep(&shelf, set, 90, now()).await;
    let id = Names::new(&names(set)).id_of_any();
    kept::write(&*shelf, Item::Last(&id), &last, Over::Anything).await.unwrap();
    let acme = acme(&shelf);
    let mut other = wanted(&[set]);
    other.config.directory = "https://127.0.0.1:2/dir".into();
    let prepared = acme.prepare(Some(other)).unwrap();
    acme.load(&prepared).await.unwrap();
    let shown = acme.slot(&names(set)).held().unwrap();
    let leaf = held::ready(&last, &Names::new(&names(set))).unwrap().held.key.cert[0].clone();
    assert_eq!(shown.key.cert[0], leaf);
    acme.commit(prepared);
    assert!(acme.told()[0]["until"].is_null(), "it is not the one that is wanted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_takes_no_lease_along() {
    let shelf = Arc::new(Drawer::default());
    let set: &[&str] = &["a.example"];
    let acme = acme(&shelf);
    let prepared = acme.prepare(Some(wanted(&[set]))).unwrap();
    acme.commit(prepared);
    eventually("it is tried", || acme.told()[0]["failures"].as_u64() >= Some(1)).await;
    acme.end().await;
    let id = Names::new(&names(set)).id(NOWHERE, None);
    let shelf: Arc<dyn Shelf> = shelf;
    assert!(lease::take(&shelf, &id, &mut lease::Seen::default()).await.unwrap().is_some());
}
