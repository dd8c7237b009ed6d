//! What there is to be said of the registry, as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Works;
use crate::app::presence;
use crate::registry::Maintenance;
use crate::uploads::{OpenUpload, OtherUpload};

/// Uploads that are told of.
pub const MAX_UPLOADS: usize = 10_000;
/// How long a list waits for those of other programs: each repository has to be asked.
pub const OTHERS_PATIENCE: Duration = Duration::from_secs(30);
/// How long a status waits for storage, and then for what a collection has written down.
const PATIENCE: Duration = Duration::from_secs(20);
const GC_PATIENCE: Duration = Duration::from_secs(20);

impl Works {
    /// The registry, what it is kept in, and who serves from it. What cannot be found out says why.
    pub(in crate::app) async fn status(&self) -> Value {
        let storage = self.storage();
        let redis = self.stores.fleet.answers().map(|up| json!({ "up": up }));
        let looks = async {
            tokio::join!(
                storage.check(),
                storage.check_writes(),
                storage.usage(),
                Maintenance::read(storage),
                presence::told(storage),
                self.stores.uploads.count(),
            )
        };
        let Ok(looks) = tokio::time::timeout(PATIENCE, looks).await else {
            let trouble = format!("storage has not answered for {} seconds", PATIENCE.as_secs());
            let disk = self.registry.disk_level().word();
            return json!({
                "storage": { "place": storage.place(), "trouble": trouble, "write_trouble": null, "disk": disk },
                "redis": redis,
                "maintenance": self.registry.maintenance(),
                "instances": [],
            });
        };
        let (checked, writes, usage, maintenance, instances, uploads) = looks;
        // It reads what waits, of which there may be much.
        let gc = tokio::time::timeout(GC_PATIENCE, self.gc_status()).await.ok().and_then(Result::ok);
        let trouble = |outcome: Result<(), crate::storage::Error>| outcome.err().map(|error| error.to_string());
        json!({
            "storage": {
                "place": storage.place(),
                "trouble": trouble(checked),
                "write_trouble": trouble(writes),
                "used": usage.map(|usage| usage.used),
                "total": usage.map(|usage| usage.total),
                "disk": self.registry.disk_level().word(),
            },
            "redis": redis,
            "maintenance": maintenance.ok().flatten(),
            "instances": instances.unwrap_or_default(),
            "uploads": uploads.ok(),
            "gc": gc,
        })
    }
}

pub fn upload(open: &OpenUpload) -> Value {
    let seconds = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    json!({
        "foreign": false,
        "id": open.id.to_string(),
        "repository": open.repository,
        "owner": open.owner,
        "bytes": open.bytes,
        "began": time(open.began),
        "age_seconds": seconds(open.began),
        "idle_seconds": seconds(open.touched),
    })
}

/// One of another program.
pub fn upload_of_others(other: &OtherUpload) -> Value {
    let seconds = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    json!({
        "foreign": true,
        "id": other.id,
        "repository": other.repository,
        "owner": null,
        "bytes": other.bytes,
        "began": other.began.map(time),
        // Who does not say when it began has been there since its last change, at least.
        "age_seconds": seconds(other.began.unwrap_or(other.touched)),
        "idle_seconds": seconds(other.touched),
    })
}

/// RFC 3339, in seconds.
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(UNIX_EPOCH)).to_string()
}
