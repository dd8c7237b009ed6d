//! A public registry by a script: what it holds is put there by the test, and its manners are those of Docker Hub, ghcr, quay, ECR and
//! registry.k8s.io, one by one. Each of its parts is a fault proxy, so that every request is recorded and every answer can be spoilt:
//! the registry itself, the token service that its challenges name, and the store that its redirects lead to.

mod answers;
mod manners;
mod shelf;
mod store;
mod tls;
mod tokens;

pub use manners::{Budget, Login, Manner, Referrers};
pub use shelf::{Multi, Shelf, image_of};
pub use tls::TlsFront;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{FaultProxy, Image};

/// Answers until it is dropped.
pub struct FakeRemote {
    /// The registry: its requests, its faults.
    pub wire: FaultProxy,
    /// Gives tokens. Another port, and so another host to whoever minds.
    pub tokens: FaultProxy,
    /// Where content lies that is redirected to.
    pub store: FaultProxy,
    world: Arc<World>,
}

struct World {
    shelf: Mutex<Shelf>,
    manner: Mutex<Manner>,
    issued: Mutex<BTreeMap<String, tokens::Issued>>,
    signed: Mutex<BTreeMap<String, store::Signed>>,
    /// Pulls counted so far, by source.
    pulled: Mutex<BTreeMap<String, u32>>,
    places: OnceLock<Places>,
}

/// Its own addresses, as it tells them.
struct Places {
    tokens: String,
    store: String,
}

impl FakeRemote {
    pub fn start(manner: Manner) -> Self {
        FakeRemote::start_at(manner, None)
    }

    /// Listens on these three addresses (registry, tokens, store), and is told of by their names.
    pub fn start_at(manner: Manner, places: Option<[(SocketAddr, &str); 3]>) -> Self {
        let world = Arc::new(World {
            shelf: Mutex::default(),
            manner: Mutex::new(manner),
            issued: Mutex::default(),
            signed: Mutex::default(),
            pulled: Mutex::default(),
            places: OnceLock::new(),
        });
        let at = |index: usize| places.map(|places| places[index].0);
        let (registry, service, storing) = (world.clone(), world.clone(), world.clone());
        let wire = FaultProxy::scripted_at(at(0), move |seen| answers::answer(&registry, seen));
        let tokens = FaultProxy::scripted_at(at(1), move |seen| tokens::answer(&service, seen));
        let store = FaultProxy::scripted_at(at(2), move |seen| store::answer(&storing, seen));
        let named = |index: usize, own: &FaultProxy| match places {
            Some(places) => format!("http://{}", places[index].1),
            None => format!("http://{}", own.address),
        };
        let set = world.places.set(Places { tokens: named(1, &tokens), store: named(2, &store) });
        assert!(set.is_ok(), "said once");
        FakeRemote { wire, tokens, store, world }
    }

    pub fn address(&self) -> SocketAddr {
        self.wire.address
    }

    /// Changes its manners from now on.
    pub fn behaves(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.world.manner.lock());
    }

    /// What it holds, to look at or to change.
    pub fn shelf<T>(&self, work: impl FnOnce(&mut Shelf) -> T) -> T {
        work(&mut self.world.shelf.lock())
    }

    /// Puts an image of one platform and one layer of `size` random bytes.
    pub fn put(&self, name: &str, tag: &str, seed: u64, size: usize) -> Image {
        self.shelf(|shelf| shelf.put_image(name, tag, &[super::random_bytes(seed, size)]))
    }

    /// Puts an image of two platforms, amd64 and arm64, each of two layers of `size` random bytes.
    pub fn put_multi(&self, name: &str, tag: &str, seed: u64, size: usize) -> Multi {
        self.shelf(|shelf| shelf.put_multi(name, tag, seed, size))
    }

    fn parts(&self) -> [&FaultProxy; 3] {
        [&self.wire, &self.tokens, &self.store]
    }

    /// Gone, with all its parts.
    pub fn die(&self) {
        self.parts().into_iter().for_each(FaultProxy::die);
    }

    pub fn revive(&self) {
        self.parts().into_iter().for_each(FaultProxy::revive);
    }

    /// As a card of a machine has it, for each of its parts.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.wire.throttle(bytes_per_second);
        self.store.throttle(bytes_per_second);
    }

    /// How many GETs of the registry held `part`, redirected ones too.
    pub fn gets(&self, part: &str) -> usize {
        self.wire.count("GET", part)
    }

    /// The same without those that only ask how long a blob is (of what may be redirected to a signed address, a byte says it), and
    /// those that were told to get a token first.
    pub fn fetches(&self, part: &str) -> usize {
        let seen = self.wire.seen_of("GET", part);
        seen.iter().filter(|seen| seen.status != 401 && seen.header("range") != Some("bytes=0-0")).count()
    }

    pub fn heads(&self, part: &str) -> usize {
        self.wire.count("HEAD", part)
    }

    /// All requests at the registry.
    pub fn asked(&self) -> usize {
        self.wire.seen().len()
    }

    /// Bytes of blobs and manifests that left it.
    pub fn bytes(&self) -> u64 {
        self.wire.body_bytes() + self.store.body_bytes()
    }

    pub fn forget_seen(&self) {
        self.parts().into_iter().for_each(FaultProxy::forget_seen);
    }

    pub fn forget_rules(&self) {
        self.parts().into_iter().for_each(FaultProxy::forget_rules);
    }

    /// Signed addresses that were told until now lead to 403 from now on.
    pub fn expire_signatures(&self) {
        self.world.signed.lock().clear();
    }

    /// Tokens that were given until now are none any more.
    pub fn expire_tokens(&self) {
        self.world.issued.lock().clear();
    }

    /// Every `Authorization` that came to any of its parts, with the part's name.
    pub fn authorizations(&self) -> Vec<(&'static str, String)> {
        let parts = [("registry", &self.wire), ("tokens", &self.tokens), ("store", &self.store)];
        let shown = |(part, wire): (&'static str, &FaultProxy)| {
            let seen = wire.seen();
            let values: Vec<_> =
                seen.iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect();
            values.into_iter().map(move |value| (part, value))
        };
        parts.into_iter().flat_map(shown).collect()
    }
}
