//! What a purge ends, and what it leaves alone.

use std::time::Duration;

use super::world::{Pieces, World, name};
use crate::oci::Algorithm;
use crate::storage::Precondition;

pub(super) async fn purge(world: &World) {
    let uploads = world.instance(0).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(b"some")).await.unwrap();
    // A segment or file that no state knows.
    let mut lost = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    lost.append(&mut Pieces::announced(b"some")).await.unwrap();
    world.storage.driver().delete(&crate::storage::uploads::keys::state(lost.id())).await.unwrap();
    let mut future = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    future.state.began += 3_600_000;
    let key = crate::storage::uploads::keys::state(future.id());
    let encoded = future.state.encode().unwrap();
    world.storage.driver().put(&key, encoded.into(), Precondition::None).await.unwrap();
    assert_eq!(uploads.purge(week).await.unwrap(), 0);
    assert_eq!(uploads.purge(Duration::ZERO).await.unwrap(), 2);
    assert!(uploads.resume(&name(), upload.id()).await.unwrap().is_none());
    assert!(uploads.resume(&name(), future.id()).await.unwrap().is_some());
    future.cancel().await.unwrap();
    assert!(world.leftovers().await.is_empty());
    // A multipart upload whose process died.
    if !world.local() {
        let multipart =
            crate::storage::uploads::multipart::Multipart::begin(&uploads.inner, "entrepot/v1/x".into()).await.unwrap();
        multipart.put(0, b"bytes".as_slice().into()).await.unwrap();
        std::mem::forget(multipart);
        // A note of another version does not keep it from being ended.
        let odd = "entrepot/v1/multiparts/0".to_owned();
        world.storage.driver().put(&odd, b"?".as_slice().into(), Precondition::None).await.unwrap();
        assert_eq!(uploads.purge(week).await.unwrap(), 0);
        uploads.purge(Duration::ZERO).await.unwrap();
        assert!(world.storage.driver().delete(&odd).await.unwrap());
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
            world.storage.driver().put(&key, content.to_owned().into(), Precondition::None).await.unwrap();
        }
    }
    assert_eq!(uploads.purge(week).await.unwrap(), 1);
    let (mut left, _) = world.storage.driver().list(folder).await.unwrap();
    left.sort();
    assert_eq!(left, ["new", "odd"]);
}
