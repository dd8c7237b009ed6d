//! Clients that go on all the time, in every way that there is; each of them fails the test if one request does.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::Method;

use crate::harness::h2_client::{End, H2Client, Streamed};
use crate::harness::{Connection, Image, Repository, Request, Stop, digest, random_bytes, within};

/// A process that was replaced ends connections on which nothing is said for ten seconds. Whoever was kept waiting for half of that by a
/// busy machine cannot know when it is heard.
const SILENT: Duration = Duration::from_secs(5);
/// Until each of them has got on, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(90);
/// Until there are as many requests as a test wants.
const VERY_LONG: Duration = Duration::from_secs(1800);

/// How many clients of each kind.
#[derive(Clone, Copy)]
pub struct Scale {
    pub anew: usize,
    pub kept: usize,
    pub pushes: usize,
    pub multiplexed: usize,
}

impl Scale {
    /// What a test of some seconds can bear.
    pub const SMALL: Scale = Scale { anew: 2, kept: 2, pushes: 1, multiplexed: 1 };
}

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

type Role = fn(&Shared, SocketAddr, &Image);

#[derive(Default)]
struct Shared {
    stop: Stop,
    requests: AtomicUsize,
    kept: AtomicUsize,
    pushes: AtomicUsize,
    streams: AtomicUsize,
}

#[derive(Debug)]
pub struct Done {
    pub requests: usize,
    pub pushes: usize,
    pub streams: usize,
}

impl Load {
    pub fn begin(address: SocketAddr, image: &Image, scale: Scale) -> Load {
        let shared = Arc::new(Shared::default());
        let Scale { anew: news, kept: keeps, pushes: pushers, multiplexed: streams } = scale;
        let roles: [(usize, Role); 4] = [(news, anew), (keeps, kept), (pushers, pushes), (streams, multiplexed)];
        let client = |role: Role| {
            let (shared, image) = (shared.clone(), image.clone());
            std::thread::spawn(move || {
                while !shared.stop.is_set() {
                    role(&shared, address, &image);
                }
            })
        };
        let roles = roles.into_iter().flat_map(|(count, role)| std::iter::repeat_n(role, count));
        Load { clients: roles.map(client).collect(), shared }
    }

    /// All of them get on from here; none has failed.
    pub fn goes_on(&self) {
        let now = self.counts();
        within(LONG, "every client gets on", || {
            self.none_has_failed();
            self.counts().iter().zip(&now).all(|(later, now)| later > now)
        });
    }

    /// Until they have asked so often; none has failed.
    pub fn goes_on_until(&self, requests: usize) {
        within(VERY_LONG, "there are enough requests", || {
            self.none_has_failed();
            self.counts().iter().sum::<usize>() >= requests
        });
    }

    fn none_has_failed(&self) {
        assert!(self.clients.iter().all(|client| !client.is_finished()), "a client failed");
    }

    fn counts(&self) -> [usize; 4] {
        let Shared { requests, kept, pushes, streams, .. } = &*self.shared;
        [requests, kept, pushes, streams].map(|count| count.load(Relaxed))
    }

    pub fn end(mut self) -> Done {
        let _ = self.shared.stop.guard();
        self.clients.drain(..).for_each(|client| client.join().expect("no request failed"));
        let [requests, kept, pushes, streams] = self.counts();
        Done { requests: requests + kept, pushes, streams }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.shared.stop.guard();
        // Of one that failed, the test has heard.
        self.clients.drain(..).for_each(|client| drop(client.join()));
    }
}

/// A connection for each request.
fn anew(shared: &Shared, address: SocketAddr, image: &Image) {
    let client = Repository::at(address, "team/app");
    client.get_manifest("v1").expect(200);
    client.head_blob(&image.config).expect(200);
    assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
    shared.requests.fetch_add(3, Relaxed);
}

/// A connection for as many as the server takes: only what says `Connection: close` may be the last, or, on a machine that has kept us from
/// speaking, what comes before a silence.
fn kept(shared: &Shared, address: SocketAddr, image: &Image) {
    let mut connection = Connection::open(address).expect("a connection");
    let mut spoke = Instant::now();
    while !shared.stop.is_set() {
        let silent = spoke.elapsed();
        spoke = Instant::now();
        let request = Request::get(format!("/v2/team/app/blobs/{}", image.config));
        let (answer, same) = match connection.ask(request) {
            Ok(answered) => answered,
            Err(_) if silent >= SILENT => return,
            Err(error) => panic!("no answer on a connection that was not said to end: {error}"),
        };
        let last = answer.header("connection") == Some("close");
        assert_eq!(digest(&answer.expect(200)), image.config);
        shared.kept.fetch_add(1, Relaxed);
        if last {
            return;
        }
        connection = same;
    }
}

fn pushes(shared: &Shared, address: SocketAddr, _: &Image) {
    let seed = shared.pushes.fetch_add(1, Relaxed) as u64;
    let client = Repository::at(address, "team/pushed");
    client.push_random(&format!("v{seed}"), 1_000 + seed, 100_000);
    let image = random_bytes(1_000 + seed, 100_000);
    assert_eq!(client.get_blob(&digest(&image)).expect(200), image);
}

/// Streams of one connection, which may end while they run.
fn multiplexed(shared: &Shared, address: SocketAddr, image: &Image) {
    let client = H2Client::open(address);
    let layer = format!("/v2/team/app/blobs/{}", image.layers[0]);
    let one = Streamed { method: Method::GET, target: layer, length: None, pieces: Vec::new(), end: End::OnHeaders };
    for reply in client.send_all(vec![one; 10]) {
        let reply = match reply {
            Ok(reply) => reply,
            // It was told to go to another connection before it asked: the server has seen nothing of it.
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => continue,
            Err(error) => panic!("a stream does not end: {error}"),
        };
        assert_eq!((reply.status.as_u16(), digest(&reply.body)), (200, image.layers[0].clone()));
        shared.streams.fetch_add(1, Relaxed);
    }
}
