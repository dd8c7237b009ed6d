//! Where content comes from on a miss: the seam between this room and whoever knows peers. Owns no retry rule (see `fill::supply`).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::content::Content;

/// A source of one content. One per request: it carries that client's credentials.
///
/// Its streams must time out by themselves: the cache waits for an item as long as the stream does.
#[async_trait]
pub trait Origin: Send + Sync + 'static {
    /// Opens the content from `offset` to its end. Called again with a later offset when a stream broke; the
    /// implementation chooses another peer then. A peer that ignores `Range` must be skipped forward here.
    async fn open(&self, offset: u64) -> Result<OriginStream, OriginError>;

    /// What came was not the content of the digest.
    fn mismatched(&self) {}

    /// The fill that this origin waited with is over, and its content whole and proven. Called on the fill's task: must not wait.
    fn completed(&self, _content: &Content) {}

    /// Whether a fill that nobody waits for any more goes on, when `got` bytes of `total` are here. Where several waited, one that says
    /// so is enough.
    fn goes_on_alone(&self, _got: u64, _total: Option<u64>) -> bool {
        true
    }
}

/// One opened stream.
pub struct OriginStream {
    /// Size of the whole content in bytes (not of the rest), if the origin says it.
    pub total: Option<u64>,
    pub media_type: Option<String>,
    /// The bytes from the offset asked for to the end.
    pub body: BoxStream<'static, Result<Bytes, OriginError>>,
}

/// Why an origin gave no (more) bytes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OriginError {
    /// An answer for the client, such as 401, 403 or 404. Another waiter's origin may still be allowed.
    #[error("refused with status {}", .0.status())]
    Refused(Refusal),
    /// No peer left.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Every peer answered, and none with the content: asking once more helps nobody.
    #[error("{0}")]
    Useless(String),
    /// The connection or the body broke; asking again from where it stopped may help.
    #[error("broken: {0}")]
    Broken(String),
}

/// A refusal, kept whole so that the client gets the origin's own words. Opaque to this room.
#[derive(Clone)]
pub struct Refusal(Arc<http::Response<Bytes>>);

impl Refusal {
    pub fn new(response: http::Response<Bytes>) -> Self {
        Refusal(Arc::new(response))
    }

    pub fn status(&self) -> http::StatusCode {
        self.0.status()
    }

    pub fn response(&self) -> &http::Response<Bytes> {
        &self.0
    }
}

impl fmt::Debug for Refusal {
    // Only the status: headers of a refusal may carry what does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refusal").field(&self.status().as_u16()).finish()
    }
}
