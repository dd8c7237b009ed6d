//! Work on large manifests goes to threads of its own: parsing 4 MiB takes tens of milliseconds, for which nobody else's
//! request on the same thread should wait.

use crate::storage::Error;

/// Work on fewer bytes is done at once: handing it over would cost more.
const SMALL: usize = 64 << 10;

/// The result of `work` on so many bytes. It runs to its end even if nobody waits for it any more; how much of it there is
/// at once is bounded by who holds the bytes.
pub(super) async fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if bytes <= SMALL {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Failed(error.to_string()))
}
