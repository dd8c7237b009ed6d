//! Keys of uploads under way, relative to the root.
//!
//! ```text
//! entrepot/v1/uploads/<uuid>/state             what is known of the session (JSON)
//! entrepot/v1/uploads/<uuid>/data              filesystem: its bytes
//! entrepot/v1/uploads/<uuid>/<began>-<random>  object stores: some of its bytes
//! entrepot/v1/multiparts/<uuid>                a multipart upload under way, so that a crash does not lose its id
//! ```

use std::time::{Duration, SystemTime};

use super::UploadId;
use crate::storage::layout;

pub(super) const UPLOADS: &str = layout::UPLOADS;
pub(super) const MULTIPARTS: &str = layout::MULTIPARTS;
pub(super) const STATE: &str = "state";
pub(super) const DATA: &str = "data";
/// The folder of a repository with the sessions of distribution.
pub(super) const OTHERS: &str = "_uploads";

pub(super) fn folder(id: &UploadId) -> String {
    layout::upload_folder(&id.0)
}

pub(super) fn state(id: &UploadId) -> String {
    layout::upload_file(&id.0, STATE)
}

/// `name` is one of [`segment_name`]'s.
pub(super) fn segment(id: &UploadId, name: &str) -> String {
    layout::upload_file(&id.0, name)
}

/// Random, so that two writers of one session never write the same key. The time tells a purge how old a segment is whose
/// state was never written.
pub(super) fn segment_name(began: u64) -> String {
    format!("{began}-{:016x}", rand::random::<u64>())
}

/// When the session of a segment began; `None` for any other file.
pub(super) fn segment_began(name: &str) -> Option<SystemTime> {
    let (began, random) = name.split_once('-')?;
    let hexadecimal = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    let began = began.parse().ok().filter(|_| hexadecimal)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(began))
}

pub(super) fn multipart(id: &uuid::Uuid) -> String {
    format!("{MULTIPARTS}/{}", id.hyphenated())
}
