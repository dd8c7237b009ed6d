//! Three instances over one bucket or container, with Redis or without, and Entrepot's own balancer before them.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::net::SocketAddr;

use crate::ground::Ground;
use crate::harness::{Entrepot, Redis, Repository, ServingRedis, Setup};

pub struct Fleet {
    pub instances: Vec<Entrepot>,
    pub redis: Option<ServingRedis>,
    /// Ends after those who stand on it.
    pub ground: Ground,
}

impl Fleet {
    /// One after the other: with Redis over MinIO, without it, and over Azurite.
    pub fn each() -> impl Iterator<Item = Self> {
        [Fleet::with_redis, Fleet::without_redis, Fleet::on_azurite].into_iter().map(|start| start())
    }

    pub fn with_redis() -> Self {
        Fleet::start(Some(Redis::new().start()))
    }

    pub fn with(redis: Redis) -> Self {
        Fleet::start(Some(redis.start()))
    }

    /// They share nothing but the bucket.
    pub fn without_redis() -> Self {
        Fleet::start(None)
    }

    /// They share nothing but a container of Azurite.
    pub fn on_azurite() -> Self {
        Fleet::start_on(None, Ground::container())
    }

    fn start(redis: Option<ServingRedis>) -> Self {
        Fleet::start_on(redis, Ground::bucket())
    }

    fn start_on(redis: Option<ServingRedis>, ground: Ground) -> Self {
        let mut fleet = Fleet { instances: Vec::new(), redis, ground };
        fleet.change(|setup| setup);
        fleet
    }

    /// Starts all again, configured otherwise and elsewhere.
    pub fn change(&mut self, change: impl Fn(Setup) -> Setup) {
        // A hundred writers of one key stand in line at MinIO, on a machine of two cores that runs other tests too: what is
        // looked at here is what they wrote, not how long a call may take.
        let ground = || match &self.ground {
            Ground::Container(..) => self.ground.setup(),
            _ => self.ground.setup().set("storage.timeouts.request", "\"30s\""),
        };
        let setup = || match &self.redis {
            Some(redis) => redis.set(ground()),
            None => ground(),
        };
        self.instances = (0..3).map(|_| change(setup()).start()).collect();
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.address).collect()
    }

    /// How many of so many clients at once the store can bear: Azurite is one thread of JavaScript.
    pub fn at_once(&self, clients: usize) -> usize {
        match self.ground {
            Ground::Container(..) => clients / 5,
            _ => clients,
        }
    }

    /// One repository as each instance serves it.
    pub fn repositories(&self, name: &str) -> Vec<Repository> {
        self.addresses().into_iter().map(|address| Repository::at(address, name)).collect()
    }

    /// Entrepot as a front before all three.
    pub fn balancer(&self) -> Entrepot {
        Setup::before(&self.addresses()).start()
    }

    /// How often something was counted by all of them together.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.instances.iter().map(|instance| instance.metric(name, labels)).sum()
    }
}
