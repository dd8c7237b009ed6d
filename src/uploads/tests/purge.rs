//! What a purge ends, and what it leaves alone.

use std::time::Duration;

use super::world::{Pieces, World, name};
use crate::oci::Algorithm;
use crate::storage::{Error, Precondition};
use crate::uploads::{Ages, Upload, keys};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Nothing is idle.
pub(super) fn begun(begun: Duration) -> Ages {
    Ages { begun, idle: Duration::MAX, dry: false }
}

/// Makes an upload, as it lies in storage, older.
async fn age(world: &World, upload: &mut Upload, by: Duration) {
    upload.state.touch_earlier(by);
    let encoded = upload.state.encode().unwrap();
    world.storage.store().put(&keys::state(upload.id()), encoded.into(), Precondition::None).await.unwrap();
}

/// Whoever goes on with an upload keeps it, until it is too old altogether.
pub(super) async fn purge_idle(world: &World) {
    let uploads = world.instance(0).await;
    let ages = Ages { begun: 7 * DAY, idle: DAY, dry: false };
    let mut idle = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    idle.append(&mut Pieces::announced(b"some")).await.unwrap();
    let mut empty = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    let mut touched = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    for upload in [&mut idle, &mut empty, &mut touched] {
        age(world, upload, 2 * DAY).await;
    }
    let mut touched = uploads.resume(&name(), touched.id()).await.unwrap().unwrap();
    touched.append(&mut Pieces::announced(b"more")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(uploads.purge(Ages { dry: true, ..ages }).await.unwrap(), 2, "only told of");
    }
    assert_eq!(uploads.purge(ages).await.unwrap(), 2);
    for gone in [&idle, &empty] {
        assert!(uploads.resume(&name(), gone.id()).await.unwrap().is_none());
    }
    let mut touched = uploads.resume(&name(), touched.id()).await.unwrap().unwrap();
    assert_eq!(touched.offset(), 4);
    age(world, &mut touched, 6 * DAY).await;
    assert_eq!(uploads.purge(ages).await.unwrap(), 1);
    assert!(world.leftovers().await.is_empty());
}

/// Bytes of bodies that broke off are counted as far as they are kept, and no more once the upload is over.
pub(super) async fn held(world: &World) {
    const MIB: usize = 1 << 20;
    let uploads = world.instance(0).await;
    let (one, other) = (name(), "other/repository".parse().unwrap());
    assert!(uploads.held().await.unwrap().is_empty());
    let bytes = vec![7; 3 * MIB];
    let mut first = uploads.begin(&one, Algorithm::Sha256).await.unwrap();
    first.append(&mut Pieces::announced(&bytes)).await.unwrap();
    let mut second = uploads.begin(&one, Algorithm::Sha256).await.unwrap();
    second.append(&mut Pieces::announced(&bytes)).await.unwrap();
    let mut elsewhere = uploads.begin(&other, Algorithm::Sha256).await.unwrap();
    elsewhere.append(&mut Pieces::announced(&bytes)).await.unwrap();
    let mib = |count: usize| Some((count * MIB) as u64);
    // By another instance, and after a restart.
    let held = world.instance(0).await.held().await.unwrap();
    assert_eq!((held.get(one.as_str()).copied(), held.get("other/repository").copied()), (mib(6), mib(3)));
    second.cancel().await.unwrap();
    let digest = crate::oci::Digest::of(Algorithm::Sha256, &bytes);
    elsewhere.commit_all(&digest, &mut Pieces::announced(b"")).await.unwrap();
    let held = uploads.held().await.unwrap();
    assert_eq!((held.get(one.as_str()).copied(), held.len()), (mib(3), 1));
    first.cancel().await.unwrap();
}

pub(super) async fn purge(world: &World) {
    let uploads = world.instance(0).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(b"some")).await.unwrap();
    // A segment or file that no state knows.
    let mut lost = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    lost.append(&mut Pieces::announced(b"some")).await.unwrap();
    world.storage.store().delete(&crate::uploads::keys::state(lost.id())).await.unwrap();
    let mut future = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    future.state.began += 3_600_000;
    let key = crate::uploads::keys::state(future.id());
    let encoded = future.state.encode().unwrap();
    world.storage.store().put(&key, encoded.into(), Precondition::None).await.unwrap();
    assert_eq!(uploads.purge(begun(week)).await.unwrap(), 0);
    assert_eq!(uploads.purge(begun(Duration::ZERO)).await.unwrap(), 2);
    assert!(uploads.resume(&name(), upload.id()).await.unwrap().is_none());
    assert!(uploads.resume(&name(), future.id()).await.unwrap().is_some());
    future.cancel().await.unwrap();
    assert!(world.leftovers().await.is_empty());
    // A multipart upload whose process died.
    if !world.local() {
        let multipart =
            crate::uploads::multipart::Multipart::begin(&uploads.inner, "entrepot/v1/x".into()).await.unwrap();
        multipart.put(0, b"bytes".as_slice().into()).await.unwrap();
        #[expect(clippy::mem_forget, reason = "a crash: nothing ends it")]
        std::mem::forget(multipart);
        // A note of another version does not keep it from being ended.
        let odd = "entrepot/v1/multiparts/0".to_owned();
        world.storage.store().put(&odd, b"?".as_slice().into(), Precondition::None).await.unwrap();
        assert_eq!(uploads.purge(begun(week)).await.unwrap(), 0);
        uploads.purge(begun(Duration::ZERO)).await.unwrap();
        assert!(world.storage.store().delete(&odd).await.unwrap());
        assert!(world.leftovers().await.is_empty());
    }
}

pub(super) async fn purge_distributions(world: &World) {
    let uploads = world.instance(0).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    let folder = "docker/registry/v2/repositories/team/app/_uploads";
    let year = humantime::format_rfc3339_seconds(std::time::SystemTime::now() + 50 * week).to_string();
    let times = [("old", "2020-01-02T03:04:05Z"), ("new", year.as_str()), ("odd", "soon")];
    for (session, time) in times {
        for (file, content) in [("startedat", time), ("hashstates/sha256/0", "x")] {
            let key = format!("{folder}/{session}/{file}");
            world.storage.store().put(&key, content.to_owned().into(), Precondition::None).await.unwrap();
        }
    }
    let (others, more) = uploads.of_others(10).await.unwrap();
    let mut told: Vec<_> = others.iter().map(|other| (other.id.as_str(), other.began.is_some(), other.bytes)).collect();
    told.sort_unstable();
    assert_eq!((told, more), (vec![("new", true, 0), ("odd", false, 0), ("old", true, 0)], false));
    assert!(others.iter().all(|other| other.repository == "team/app"), "{others:?}");
    let (some, more) = uploads.of_others(2).await.unwrap();
    assert_eq!((some.len(), more), (2, true));
    for _ in 0..2 {
        assert_eq!(uploads.purge(Ages { dry: true, ..begun(week) }).await.unwrap(), 1, "only told of");
    }
    assert_eq!(uploads.purge(begun(week)).await.unwrap(), 1);
    let (mut left, _) = world.storage.store().list(folder).await.unwrap().names();
    left.sort();
    assert_eq!(left, ["new", "odd"]);
    let data = format!("{folder}/odd/data");
    world.storage.store().put(&data, "four".into(), Precondition::None).await.unwrap();
    let ended = uploads.give_up_others(&["odd".to_owned(), "absent".to_owned()]).await.unwrap();
    assert_eq!(ended.iter().map(|other| (other.id.as_str(), other.bytes)).collect::<Vec<_>>(), [("odd", 4)]);
    let (left, _) = uploads.of_others(10).await.unwrap();
    assert_eq!(left.iter().map(|other| other.id.as_str()).collect::<Vec<_>>(), ["new"]);
}

/// What a newer version of this program keeps of an upload is neither read nor removed by us, however old it looks.
pub(super) async fn of_a_newer_version(world: &World) {
    let uploads = world.instance(0).await;
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(&[7; 2 << 20])).await.unwrap();
    let text = String::from_utf8(upload.state.encode().unwrap()).unwrap().replacen("1", "2", 1);
    let key = keys::state(upload.id());
    world.storage.store().put(&key, text.clone().into(), Precondition::None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(uploads.purge(begun(Duration::from_millis(1))).await.unwrap(), 0);
    assert!(uploads.held().await.unwrap().is_empty());
    let resumed = uploads.resume(&name(), upload.id()).await;
    assert!(matches!(resumed, Err(Error::Newer { found: 2, .. })));
    let (left, _) = world.storage.store().get(&key, 1 << 20).await.unwrap().unwrap();
    assert_eq!(left, text);
}
