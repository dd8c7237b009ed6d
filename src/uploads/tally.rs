//! What uploads under way hold.

use std::collections::HashMap;

use futures::StreamExt;

use super::inner::Inner;
use super::{LEAST_TALLIED, MOST_TALLIED, UploadId, keys};
use crate::storage::Error;

/// Sessions that are looked at at once.
const AT_ONCE: usize = 4;

impl Inner {
    pub(super) async fn held(&self) -> Result<HashMap<String, u64>, Error> {
        let sessions = self.store().list(keys::UPLOADS).await?.folders;
        let ids = sessions.into_iter().take(MOST_TALLIED).filter_map(|name| name.parse::<UploadId>().ok());
        let mut looks = futures::stream::iter(ids).map(|id| self.held_by(id)).buffer_unordered(AT_ONCE);
        let mut held: HashMap<String, u64> = HashMap::new();
        while let Some(look) = looks.next().await {
            match look {
                Ok(Some((repository, bytes))) => {
                    let sum = held.entry(repository).or_default();
                    *sum = sum.saturating_add(bytes);
                }
                Ok(None) => {}
                // One that cannot be read is nobody's to count; a store that does not answer is.
                Err(Error::Damaged(_) | Error::TooLarge(_) | Error::Newer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        held.retain(|_, bytes| *bytes >= LEAST_TALLIED);
        Ok(held)
    }

    /// What its state says, which is what arrived by requests that ended: what is arriving, whoever takes it counts itself.
    async fn held_by(&self, id: UploadId) -> Result<Option<(String, u64)>, Error> {
        Ok(self.way().state(self, &id).await?.map(|(state, _)| (state.repository, state.offset)))
    }
}
