//! How full quotas are, as their files say, for whoever asks without being a registry.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::amount::Amount;
use super::config::Config;
use super::file::File;
use super::state::State;
use crate::storage::{Error, Storage};

/// One quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The pattern.
    pub repositories: String,
    pub used: Amount,
    /// Promised to pushes under way, by all instances; some of it may only have been taken ahead of them.
    pub reserved: Amount,
    pub limit: Limit,
    /// When all links were gone through last; `None`: `used` is only what was pushed since the quota is there.
    pub counted: Option<String>,
    /// Distinct contents and repositories at that time.
    pub contents: u64,
    pub in_repositories: u64,
    /// Something was deleted since then of which only a further count knows whether it is still held.
    pub doubtful: bool,
}

/// `None`: as much as there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    pub bytes: Option<u64>,
    pub tags: Option<u64>,
}

/// How full these are now. Changes nothing.
///
/// # Errors
/// Storage's; or that a file is damaged or of a newer version.
pub async fn usage(storage: &Storage, quotas: &[Config]) -> Result<Vec<Usage>, Error> {
    let mut all = Vec::new();
    for quota in quotas {
        let found = File::of(&quota.repositories).read(storage).await?;
        if let Some(why) = found.damage {
            return Err(Error::Damaged(format!("quota of '{}': {why}", quota.repositories)));
        }
        let state = found.state.unwrap_or_else(|| State::new(&quota.repositories));
        let count = state.count.as_ref();
        let at = |seconds| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        all.push(Usage {
            repositories: quota.repositories.clone(),
            used: state.used,
            reserved: state.granted(None),
            limit: Limit { bytes: quota.bytes.map(|bytes| bytes.0), tags: quota.tags },
            // What is no date of these centuries was written by no clock.
            counted: count.filter(|count| count.at < 1 << 34).map(|count| at(count.at)),
            contents: count.map_or(0, |count| count.contents),
            in_repositories: count.map_or(0, |count| count.repositories),
            doubtful: state.doubtful,
        });
    }
    Ok(all)
}
