//! An origin made of a damaged file and a true origin: sound blocks from here, the rest from there.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use bytes::Bytes;

use crate::cache::disk::{BlobFile, Pieces};
use crate::cache::origin::{Origin, OriginError, OriginStream};

pub(super) struct Patched {
    file: Arc<BlobFile>,
    origin: Arc<dyn Origin>,
}

impl Patched {
    pub(super) fn new(file: Arc<BlobFile>, origin: Arc<dyn Origin>) -> Self {
        Patched { file, origin }
    }
}

#[async_trait]
impl Origin for Patched {
    async fn open(&self, offset: u64) -> Result<OriginStream, OriginError> {
        let total = self.file.len();
        let source = Source::File { file: self.file.clone(), pieces: Pieces::default(), at: offset };
        let begin = (source, self.origin.clone());
        let body = stream::unfold(begin, |(source, origin)| async move {
            let (item, source) = source.next(&origin).await?;
            Some((item, (source, origin)))
        });
        let media_type = self.file.media_type().map(str::to_owned);
        Ok(OriginStream { total: Some(total), media_type, body: body.boxed() })
    }
}

enum Source {
    File { file: Arc<BlobFile>, pieces: Pieces, at: u64 },
    Origin(BoxStream<'static, Result<Bytes, OriginError>>),
}

impl Source {
    async fn next(self, origin: &Arc<dyn Origin>) -> Option<(Result<Bytes, OriginError>, Source)> {
        match self {
            Source::Origin(mut body) => Some((body.next().await?, Source::Origin(body))),
            Source::File { file, mut pieces, at } => match pieces.read(at, |at| file.piece(at, file.len())).await? {
                Ok(bytes) => {
                    let at = at + bytes.len() as u64;
                    Some((Ok(bytes), Source::File { file, pieces, at }))
                }
                Err(_damaged) => Some(Self::switch(origin, at).await),
            },
        }
    }

    /// The origin from `at` on, as the next item: an empty one when it opened, which nobody counts.
    async fn switch(origin: &Arc<dyn Origin>, at: u64) -> (Result<Bytes, OriginError>, Source) {
        match origin.open(at).await {
            Ok(opened) => (Ok(Bytes::new()), Source::Origin(opened.body)),
            Err(error) => (Err(error), Source::Origin(stream::empty().boxed())),
        }
    }
}
