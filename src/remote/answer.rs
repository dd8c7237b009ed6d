//! What a remote answered, as those who asked need it: from the byte that they asked for, with a deadline for each read.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue};
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::RemoteError;
use super::question::Answer;
use crate::oci::ContentRange;
use crate::outbound::causes;

/// A body that gives less than so much while it was waited for so long is as good as none: it would keep what waits for it for ever.
const LEAST: u64 = 64 << 10;
const LEAST_IN: Duration = Duration::from_secs(60);

/// From where, and up to which byte, not with it.
type Range = (u64, Option<u64>);

/// Of a 200 or 206.
pub fn answer(response: Response, range: Option<Range>, head: bool, read: Duration) -> Result<Answer, RemoteError> {
    let (status, mut headers) = (response.status(), response.headers().clone());
    if head {
        return match status {
            StatusCode::OK => Ok(Answer { status, headers, body: stream::empty().boxed() }),
            _ => Err(unexpected(status)),
        };
    }
    let cut = match (status, range) {
        (StatusCode::OK, None) => Cut { skip: 0, left: None },
        (StatusCode::OK, Some(range)) => of_whole(&mut headers, range)?,
        (StatusCode::PARTIAL_CONTENT, Some(range)) => of_piece(&headers, range)?,
        _ => return Err(unexpected(status)),
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { status };
    Ok(Answer { status, headers, body: body(response, cut, read) })
}

/// The head of an answer to a GET of the first byte, as HEAD would have had it.
pub fn as_head(answer: Answer) -> Result<Answer, RemoteError> {
    let Answer { status, mut headers, body } = answer;
    drop(body);
    if status == StatusCode::PARTIAL_CONTENT {
        let total = headers.remove(CONTENT_RANGE).and_then(|range| total(&range));
        let total = total.ok_or_else(|| RemoteError::Useless("it does not say how long the content is".into()))?;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(total));
    }
    Ok(Answer { status: StatusCode::OK, headers, body: stream::empty().boxed() })
}

/// The answer to a GET of the first byte of nothing.
pub fn of_nothing() -> Answer {
    let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(0))]);
    Answer { status: StatusCode::OK, headers, body: stream::empty().boxed() }
}

/// Whether a 416 says that there is no byte at all.
pub fn is_of_nothing(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_RANGE).and_then(total) == Some(0)
}

fn unexpected(status: StatusCode) -> RemoteError {
    RemoteError::Useless(format!("it answers {} where that means nothing", status.as_u16()))
}

/// What is left away of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    skip: u64,
    /// Behind what is skipped; `None`: to the end.
    left: Option<u64>,
}

/// The range was ignored: what stands before it is skipped.
fn of_whole(headers: &mut HeaderMap, (start, end): Range) -> Result<Cut, RemoteError> {
    let total = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if total.is_some_and(|total| start >= total.max(1)) {
        return Err(RemoteError::Useless("the content is shorter than what is asked of it".into()));
    }
    let left = match total {
        Some(total) => Some(end.map_or(total, |end| end.min(total)).saturating_sub(start)),
        None => end.map(|end| end.saturating_sub(start)),
    };
    headers.remove(CONTENT_LENGTH);
    if let (Some(total), Some(left)) = (total, left) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(left));
        let range = format!("bytes {start}-{}/{total}", (start + left).saturating_sub(1));
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(CONTENT_RANGE, range);
        }
    }
    Ok(Cut { skip: start, left })
}

fn of_piece(headers: &HeaderMap, (start, end): Range) -> Result<Cut, RemoteError> {
    let said = headers.get(CONTENT_RANGE).and_then(|value| ContentRange::parse(value.to_str().ok()?));
    match said {
        Some(said) if said.first == start => {
            Ok(Cut { skip: 0, left: Some(end.map_or(said.len(), |end| said.len().min(end.saturating_sub(start)))) })
        }
        Some(_) => Err(RemoteError::Useless("it answers with another part of the content".into())),
        None => Err(RemoteError::Useless("it does not say which part of the content it answers with".into())),
    }
}

fn total(range: &HeaderValue) -> Option<u64> {
    range.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}

struct State {
    response: Response,
    cut: Cut,
    read: Duration,
    pace: Pace,
}

/// How much came while it was waited for; that whoever takes it is slow is no fault of the remote's.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// False: too little has come.
    fn goes_on(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < LEAST_IN {
            return true;
        }
        let enough = self.bytes >= LEAST;
        *self = Pace::default();
        enough
    }
}

fn body(response: Response, cut: Cut, read: Duration) -> BoxStream<'static, Result<Bytes, RemoteError>> {
    let state = State { response, cut, read, pace: Pace::default() };
    stream::try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|piece| (piece, state))) }).boxed()
}

impl State {
    async fn next(&mut self) -> Result<Option<Bytes>, RemoteError> {
        while self.cut.left != Some(0) {
            let asked = Instant::now();
            let piece = timeout(self.read, self.response.chunk()).await;
            let piece = piece.map_err(|_| RemoteError::Down("no byte of the body in time".into()))?;
            let Some(mut piece) =
                piece.map_err(|error| RemoteError::Down(format!("broken off: {}", causes(&error))))?
            else {
                return match self.cut {
                    Cut { skip: 0, left: None } => Ok(None),
                    _ => Err(RemoteError::Down("the body ends too soon".into())),
                };
            };
            if !self.pace.goes_on(asked.elapsed(), piece.len()) {
                return Err(RemoteError::Down("the body comes too slowly".into()));
            }
            let skipped = self.cut.skip.min(piece.len() as u64);
            self.cut.skip -= skipped;
            // Both fit: they are no more than the piece is long.
            let _ = piece.split_to(usize::try_from(skipped).unwrap_or(piece.len()));
            if let Some(left) = &mut self.cut.left {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_body_that_drips_ends() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        assert!((0..59).all(|_| pace.goes_on(second, 1)));
        assert!(!pace.goes_on(second, 1));
        // The last piece of a minute may bring what the others did not, and none counts for the next minute.
        assert!((0..59).all(|_| pace.goes_on(second, 1)) && pace.goes_on(second, LEAST as usize));
        assert!((0..59).all(|_| pace.goes_on(second, 1)) && !pace.goes_on(second, 1));
    }

    #[test]
    fn a_piece_has_to_be_the_one_that_was_asked_for() {
        let piece = |range: &'static str| of_piece(&headers(CONTENT_RANGE, range), (5, Some(10)));
        assert_eq!(piece("bytes 5-9/100").unwrap(), Cut { skip: 0, left: Some(5) });
        assert_eq!(piece("bytes 5-99/100").unwrap(), Cut { skip: 0, left: Some(5) }, "more than was asked for");
        assert_eq!(piece("bytes 5-7/8").unwrap(), Cut { skip: 0, left: Some(3) });
        for wrong in ["bytes 0-9/100", "bytes 6-9/100", "bytes */100", "pages 5-9/100", ""] {
            assert!(piece(wrong).is_err(), "{wrong}");
        }
        assert!(of_piece(&HeaderMap::new(), (0, None)).is_err());
    }

    #[test]
    fn the_whole_is_cut_to_what_was_asked_for() {
        for (length, range, cut, content_range) in [
            (Some("100"), (5, None), Cut { skip: 5, left: Some(95) }, Some("bytes 5-99/100")),
            (Some("100"), (5, Some(10)), Cut { skip: 5, left: Some(5) }, Some("bytes 5-9/100")),
            (Some("7"), (5, Some(10)), Cut { skip: 5, left: Some(2) }, Some("bytes 5-6/7")),
            (None, (5, None), Cut { skip: 5, left: None }, None),
            (None, (5, Some(10)), Cut { skip: 5, left: Some(5) }, None),
        ] {
            let mut fields = length.map(|length| headers(CONTENT_LENGTH, length)).unwrap_or_default();
            assert_eq!(of_whole(&mut fields, range).unwrap(), cut);
            assert_eq!(fields.get(CONTENT_RANGE).map(|value| value.to_str().unwrap()), content_range);
        }
        for length in ["5", "0"] {
            assert!(of_whole(&mut headers(CONTENT_LENGTH, length), (5, None)).is_err());
        }
    }

    #[test]
    fn the_first_byte_tells_how_many_there_are() {
        let of = |range: &'static str| {
            let headers = headers(CONTENT_RANGE, range);
            as_head(Answer { status: StatusCode::PARTIAL_CONTENT, headers, body: stream::empty().boxed() })
        };
        let head = of("bytes 0-0/123").unwrap();
        assert_eq!((head.status, &head.headers[CONTENT_LENGTH]), (StatusCode::OK, &HeaderValue::from(123)));
        assert!(!head.headers.contains_key(CONTENT_RANGE));
        assert!(of("bytes 0-0/*").is_err());
        assert!(is_of_nothing(&headers(CONTENT_RANGE, "bytes */0")) && !is_of_nothing(&HeaderMap::new()));
    }
}
