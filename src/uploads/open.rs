//! Uploads under way, for whoever looks after them.

use std::time::SystemTime;

use futures::StreamExt;

use super::inner::Inner;
use super::state::UploadState;
use super::{UploadId, Uploads, keys};
use crate::storage::Error;

/// Sessions that are looked at at once.
const AT_ONCE: usize = 8;

/// One upload, as its state says: what a request is sending now is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    pub id: UploadId,
    pub repository: String,
    /// Who began it, where somebody was asked.
    pub owner: Option<String>,
    pub began: SystemTime,
    /// When bytes came last.
    pub touched: SystemTime,
    pub bytes: u64,
}

impl Uploads {
    /// Those under way, the oldest first, at most so many, and whether there are more. One whose state cannot be read is left out.
    pub async fn under_way(&self, most: usize) -> Result<(Vec<OpenUpload>, bool), Error> {
        let sessions = self.inner.store().list(keys::UPLOADS).await?.folders;
        let ids: Vec<UploadId> = sessions.iter().filter_map(|name| name.parse().ok()).collect();
        let more = ids.len() > most;
        let mut looks =
            futures::stream::iter(ids.into_iter().take(most)).map(|id| look(&self.inner, id)).buffer_unordered(AT_ONCE);
        let mut found = Vec::new();
        while let Some(look) = looks.next().await {
            match look {
                Ok(open) => found.extend(open),
                Err(Error::Damaged(_) | Error::TooLarge(_) | Error::Newer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|open| open.began);
        Ok((found, more))
    }

    /// Ends one, of whatever repository; what it was. Whoever sends to it at this moment finds it gone.
    pub async fn give_up(&self, id: &UploadId) -> Result<Option<OpenUpload>, Error> {
        let Some(open) = look(&self.inner, id.clone()).await? else { return Ok(None) };
        self.inner.remove(id).await?;
        Ok(Some(open))
    }
}

async fn look(inner: &Inner, id: UploadId) -> Result<Option<OpenUpload>, Error> {
    let found = inner.way().state(inner, &id).await?;
    Ok(found.map(|(state, _)| open(id, state)))
}

fn open(id: UploadId, state: UploadState) -> OpenUpload {
    OpenUpload {
        id,
        began: state.began(),
        touched: state.touched(),
        repository: state.repository,
        owner: state.owner,
        bytes: state.offset,
    }
}
