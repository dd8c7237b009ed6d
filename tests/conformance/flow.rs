//! The five ways to push a blob: "Pushing a blob monolithically", "Pushing a blob in chunks", and docker's stream.

use std::io::Cursor;

use crate::harness::Answer;
use crate::harness::repository::location;

use super::Repo;
use super::expect::Expect;
use super::repo::{OCTETS, with_query};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    PostOnly,
    PostAndPut,
    /// Three PATCHes, and an empty PUT.
    Chunks,
    /// Two PATCHes, and the last chunk in the PUT.
    ChunksAndPut,
    /// One PATCH of unknown length, and an empty PUT.
    Stream,
}

impl Flow {
    pub const ALL: [Flow; 5] = [Flow::PostOnly, Flow::PostAndPut, Flow::Chunks, Flow::ChunksAndPut, Flow::Stream];

    /// Pushes `bytes` under the name of `digest`, which need not be theirs; what the closing request answered.
    #[track_caller]
    pub fn push(self, repo: &Repo, digest: &str, bytes: &[u8]) -> Answer {
        match self {
            Flow::PostOnly => {
                let request = repo.request("POST", &with_query("blobs/uploads/", "digest", digest));
                repo.send(request.header("Content-Type", OCTETS).body(bytes))
            }
            Flow::PostAndPut => repo.close(&repo.start(), digest, bytes),
            Flow::Chunks => chunks(repo, digest, bytes, false),
            Flow::ChunksAndPut => chunks(repo, digest, bytes, true),
            Flow::Stream => {
                let stream = Cursor::new(bytes.to_vec());
                let request = repo.request("PATCH", &repo.start()).header("Content-Type", OCTETS).chunked(stream);
                let answer = repo.send(request).status_is(202);
                repo.close(&location(&answer), digest, &[])
            }
        }
    }
}

fn chunks(repo: &Repo, digest: &str, bytes: &[u8], last_in_put: bool) -> Answer {
    let begun = repo.post("blobs/uploads/").status_is(202);
    let mut upload = location(&begun);
    let pieces = pieces(bytes, &begun);
    let patched = if last_in_put { pieces.len() - 1 } else { pieces.len() };
    let mut at = 0;
    for piece in &pieces[..patched] {
        let answer = repo.patch(&upload, Some((at, at + piece.len() - 1)), piece).status_is(202);
        at += piece.len();
        upload = location(&answer.header_is("range", &format!("0-{}", at - 1)));
    }
    match pieces.last() {
        Some(last) if last_in_put => {
            let request = repo.request("PUT", &with_query(&upload, "digest", digest)).header("Content-Type", OCTETS);
            let range = format!("{at}-{}", at + last.len() - 1);
            repo.send(request.header("Content-Range", range).body(*last))
        }
        _ => repo.close(&upload, digest, &[]),
    }
}

/// Three pieces, none but the last shorter than the registry wants them (`OCI-Chunk-Min-Length`).
pub fn pieces<'a>(bytes: &'a [u8], begun: &Answer) -> Vec<&'a [u8]> {
    let least = begun.header("oci-chunk-min-length").map_or(1, |value| value.parse().expect("a number of bytes"));
    bytes.chunks(bytes.len().div_ceil(3).max(least)).collect()
}
