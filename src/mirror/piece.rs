//! A range far behind what has come of a blob: from the remote itself, without waiting for what stands before it. Clients that run images
//! before they are pulled (SOCI, eStargz) read so.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::StatusCode;
use tokio::time::Instant;

use super::blobs::Wanted;
use super::{Body, Mirror, Reply, origin, prefetch};
use crate::cache::Source;
use crate::oci::RangeRequest;
use crate::oci::range::parse;
use crate::remote::RemoteError;

/// A range that begins no further behind what is here is waited for.
const FAR: u64 = 8 << 20;

/// The answer to a GET of one range that begins far off; `None`: it is answered as others are.
pub(super) async fn answer(
    mirror: &Arc<Mirror>,
    wanted: &Wanted<'_>,
    total: u64,
    until: Instant,
) -> Option<Result<Reply, RemoteError>> {
    let text = wanted.range?.to_str().ok()?;
    let RangeRequest::Ranges(ranges) = parse(text, total) else { return None };
    let [range] = ranges.as_slice() else { return None };
    let got = mirror.parts.cache.progress(wanted.digest).map_or(0, |coming| coming.got);
    if range.start <= got.saturating_add(FAR) {
        return None;
    }
    // Begun behind it, so that the ranges that follow are here.
    prefetch::blob(mirror, wanted.name, wanted.digest, total);
    Some(at_remote(mirror, wanted, range.clone(), total, until).await)
}

async fn at_remote(
    mirror: &Arc<Mirror>,
    wanted: &Wanted<'_>,
    range: Range<u64>,
    total: u64,
    until: Instant,
) -> Result<Reply, RemoteError> {
    let within = until.saturating_duration_since(Instant::now());
    let asked = Some((range.start, Some(range.end)));
    let named = (wanted.name, wanted.digest);
    let opened = origin::at_remote(mirror, named, wanted.asker, asked, within).await?;
    if opened.total.is_some_and(|said| said != total) {
        return Err(RemoteError::Useless("the blob has another size than it was said to have".into()));
    }
    mirror.parts.fetching.metrics.pieces.inc();
    let stream = cut(opened.body, range.end - range.start);
    let body = Body::Piece { digest: *wanted.digest, start: range.start, end: range.end, total, stream };
    Ok(Reply { status: StatusCode::PARTIAL_CONTENT, ..Reply::content(body, Source::Miss) })
}

/// So many bytes, or an error.
fn cut(body: BoxStream<'static, Result<Bytes, String>>, length: u64) -> BoxStream<'static, Result<Bytes, String>> {
    stream::unfold((body, length), |(mut body, left)| async move {
        if left == 0 {
            return None;
        }
        match body.next().await {
            Some(Ok(mut bytes)) => {
                bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - bytes.len() as u64;
                Some((Ok(bytes), (body, left)))
            }
            Some(Err(error)) => Some((Err(error), (body, 0))),
            None => Some((Err("the remote gave less than it was asked for".to_owned()), (body, 0))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(items: Vec<Result<Bytes, String>>, length: u64) -> Result<Vec<u8>, String> {
        let mut stream = cut(stream::iter(items).boxed(), length);
        let mut whole = Vec::new();
        while let Some(item) = stream.next().await {
            whole.extend_from_slice(&item?);
        }
        Ok(whole)
    }

    #[tokio::test]
    async fn a_piece_has_exactly_its_bytes_or_breaks_off() {
        let part = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        assert_eq!(all(vec![part("abc"), part("def")], 4).await.unwrap(), b"abcd");
        assert_eq!(all(vec![part("abc")], 3).await.unwrap(), b"abc");
        assert!(all(vec![part("abc")], 4).await.is_err());
        assert_eq!(all(vec![part("a"), Err("broken".into())], 4).await.unwrap_err(), "broken");
    }
}
