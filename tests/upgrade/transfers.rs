//! Downloads and uploads that last until the test wants them to end, whatever becomes of the process at their other end.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::harness::content::{Random, digest_of};
use crate::harness::h2_client::H2Client;
use crate::harness::repository::{location, with_digest};
use crate::harness::{Repository, Request, Stop, within};

/// Until each has got on, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(90);
/// While it is not hurried, so much goes at once, and then there is a pause: 2.5 MiB a second at most.
const PIECE: u64 = 256 << 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Content in a registry, by its seed.
#[derive(Clone)]
pub struct Content {
    pub digest: String,
    pub size: u64,
}

/// Pushes content that nobody has in memory.
pub fn push(client: &Repository, seed: u64, size: u64) -> Content {
    let (digest, _) = digest_of(Random::new(seed).take(size)).expect("a digest");
    let patch = client.request("PATCH", client.start_upload()).stream(Random::new(seed), size);
    let patched = patch.send(client.address);
    assert_eq!(patched.status, 202, "{}", patched.text());
    client.request("PUT", with_digest(&location(&patched), &digest)).send(client.address).expect(201);
    Content { digest, size }
}

pub struct Transfers {
    running: Vec<(&'static str, Arc<Pace>, JoinHandle<()>)>,
    hurry: Arc<Stop>,
}

/// How one of them gets on.
struct Pace {
    hurry: Arc<Stop>,
    moved: AtomicU64,
}

impl Pace {
    /// A pause whenever another piece is full.
    fn moved(&self, count: usize) {
        let before = self.moved.fetch_add(count as u64, Relaxed);
        if !self.hurry.is_set() && (before + count as u64) / PIECE > before / PIECE {
            std::thread::sleep(PAUSE);
        }
    }
}

struct Paced<R> {
    source: R,
    pace: Arc<Pace>,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(PIECE as usize);
        let count = self.source.read(&mut buffer[..most])?;
        self.pace.moved(count);
        Ok(count)
    }
}

impl Transfers {
    pub fn new() -> Self {
        Transfers { running: Vec::new(), hurry: Arc::default() }
    }

    fn begin(&mut self, what: &'static str, work: impl FnOnce(Arc<Pace>) + Send + 'static) {
        let pace = Arc::new(Pace { hurry: self.hurry.clone(), moved: AtomicU64::new(0) });
        let own = pace.clone();
        self.running.push((what, pace, std::thread::spawn(move || work(own))));
    }

    /// Over HTTP/1.1.
    pub fn download(&mut self, client: &Repository, content: &Content) {
        let (client, content) = (client.clone(), content.clone());
        self.begin("a download", move |pace| {
            let source = client.request("GET", client.blob(&content.digest)).open(client.address);
            assert_eq!(source.status, 200);
            let read = digest_of(Paced { source, pace }).expect("the whole body");
            assert_eq!(read, (content.digest, content.size));
        });
    }

    /// A stream of HTTP/2, on a connection of its own.
    pub fn stream(&mut self, address: SocketAddr, target: String, content: &Content) {
        let content = content.clone();
        self.begin("a stream", move |pace| {
            let (mut hash, mut size) = (Sha256::new(), 0);
            let status = H2Client::open(address).read(&target, |piece| {
                hash.update(piece);
                size += piece.len() as u64;
                pace.moved(piece.len());
            });
            assert_eq!(status.expect("the stream ends").as_u16(), 200);
            assert_eq!((format!("sha256:{}", hex::encode(hash.finalize())), size), (content.digest, content.size));
        });
    }

    /// Its bytes in one PATCH, and then, wherever that goes, the PUT.
    pub fn upload(&mut self, client: &Repository, seed: u64, size: u64) {
        let client = client.clone();
        self.begin("an upload", move |pace| {
            let (digest, _) = digest_of(Random::new(seed).take(size)).expect("a digest");
            let source = Paced { source: Random::new(seed), pace };
            let patched = client.request("PATCH", client.start_upload()).stream(source, size).send(client.address);
            assert_eq!(patched.status, 202, "{}", patched.text());
            Request::new("PUT", with_digest(&location(&patched), &digest)).send(client.address).expect(201);
            let kept = client.request("GET", client.blob(&digest)).open(client.address);
            assert_eq!(digest_of(kept).expect("the whole body"), (digest, size));
        });
    }

    /// All of them get on from here; none has ended.
    pub fn go_on(&self) {
        let before: Vec<u64> = self.moved();
        within(LONG, "every transfer gets on", || {
            for (what, _, thread) in &self.running {
                assert!(!thread.is_finished(), "{what} has ended before its time");
            }
            self.moved().iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    fn moved(&self) -> Vec<u64> {
        self.running.iter().map(|(_, pace, _)| pace.moved.load(Relaxed)).collect()
    }

    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// All of them end, as soon as they can; how many bytes they have moved.
    pub fn end(self) -> u64 {
        let _ = self.hurry.guard();
        let ended = self.running.into_iter().map(|(what, pace, thread)| {
            assert!(thread.join().is_ok(), "{what} has failed");
            pace.moved.load(Relaxed)
        });
        ended.sum()
    }
}
