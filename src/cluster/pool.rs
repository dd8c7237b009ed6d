//! The choice of a peer: who is here, who can be chosen, which rule decides. No I/O; discovery changes the roster.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::balance::{self, Candidate};
use super::budget::ResendBudget;
use super::config::{Balance, Config};
use super::error::PickError;
use super::id::PeerId;
use super::in_flight::InFlight;
use super::peer::Peer;
use super::queue::{Attempt, Queue};
use super::state::now;

/// Candidates up to this many are weighed without an allocation.
const FEW: usize = 16;
/// How often a choice is made anew when another cluster's request takes the same place first.
const MAX_RACES: usize = 4;

/// The peers at this moment.
#[derive(Default)]
pub(super) struct Roster {
    pub(super) primaries: Vec<Arc<Peer>>,
    pub(super) backups: Vec<Arc<Peer>>,
}

impl Roster {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.primaries.iter().chain(&self.backups)
    }
}

/// What the tasks and the requests of a cluster share.
pub(super) struct Pool {
    name: String,
    config: Config,
    roster: ArcSwap<Roster>,
    /// Held for one choice: turns are whole steps, and two requests do not both see the same peer idle.
    choice: Mutex<()>,
    queue: Arc<Queue>,
    /// Of all that is sent a second time to any of them.
    pub(super) budget: Arc<ResendBudget>,
}

/// Who may be chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tier {
    Well,
    /// Also who was set aside after failures (it may be back), but not who failed its health checks.
    LastResort,
}

impl Pool {
    pub(super) fn new(name: &str, config: &Config) -> Self {
        Pool {
            name: name.to_owned(),
            config: config.clone(),
            roster: ArcSwap::default(),
            choice: Mutex::new(()),
            queue: Arc::default(),
            budget: Arc::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    pub(super) fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    pub(super) fn replace_roster(&self, roster: Roster) {
        self.roster.store(Arc::new(roster));
    }

    pub(super) async fn pick(&self, hash: Option<&[u8]>, tried: &[PeerId]) -> Result<InFlight, PickError> {
        let choosy = !tried.is_empty();
        if !choosy {
            self.budget.asked();
        }
        // Whoever comes while others wait goes to the end of the line.
        if choosy || self.queue.is_empty() {
            match self.choose(hash, tried) {
                Attempt::Got(in_flight) => return Ok(in_flight),
                Attempt::Nobody => return Err(PickError::NoPeer),
                Attempt::Full => {}
            }
        }
        self.queue.wait(self.config.queue_timeout.0, choosy, || self.choose(hash, tried)).await
    }

    pub(super) async fn begin_on(&self, id: PeerId) -> Result<InFlight, PickError> {
        self.budget.asked();
        match self.choose_known(id) {
            Attempt::Got(in_flight) => Ok(in_flight),
            Attempt::Nobody => Err(PickError::NoPeer),
            Attempt::Full => self.queue.wait(self.config.queue_timeout.0, true, || self.choose_known(id)).await,
        }
    }

    fn choose_known(&self, id: PeerId) -> Attempt<InFlight> {
        let roster = self.roster.load();
        match roster.iter().find(|peer| peer.id() == id) {
            None => Attempt::Nobody,
            Some(peer) if peer.state.enter(peer.max_connections) => Attempt::Got(self.entered(peer)),
            Some(_) => Attempt::Full,
        }
    }

    /// Primaries before backups, who is well before the last resort. A full primary is waited for and not replaced by
    /// a backup: those are for the case that the primaries are gone.
    fn choose(&self, hash: Option<&[u8]>, tried: &[PeerId]) -> Attempt<InFlight> {
        let roster = self.roster.load();
        for tier in [Tier::Well, Tier::LastResort] {
            for peers in [&roster.primaries, &roster.backups] {
                match self.choose_among(peers, tier, hash, tried) {
                    Attempt::Nobody => {}
                    decided => return decided,
                }
            }
        }
        Attempt::Nobody
    }

    fn choose_among(
        &self,
        peers: &[Arc<Peer>],
        tier: Tier,
        hash: Option<&[u8]>,
        tried: &[PeerId],
    ) -> Attempt<InFlight> {
        if peers.is_empty() {
            return Attempt::Nobody;
        }
        let now = now();
        let balance = match (self.config.balance, hash) {
            (Balance::ConsistentHash, None) => Balance::LeastConnections,
            (balance, _) => balance,
        };
        let _whole = matches!(balance, Balance::LeastConnections | Balance::RoundRobin).then(|| self.choice.lock());
        for _ in 0..MAX_RACES {
            let (usable, full) = gather(peers, tier, tried, now);
            let nobody = if full { Attempt::Full } else { Attempt::Nobody };
            let candidates: SmallVec<[Candidate<'_>; FEW]> = usable.iter().map(|peer| candidate(peer, now)).collect();
            let chosen = match balance {
                Balance::LeastConnections => balance::least_connections(&candidates),
                Balance::RoundRobin => balance::round_robin(&candidates),
                Balance::Random => balance::random(&candidates),
                Balance::ConsistentHash => balance::consistent_hash(&candidates, hash.unwrap_or_default()),
            };
            let Some(peer) = chosen.and_then(|index| usable.get(index)) else { return nobody };
            if take(peer, tier, now) {
                return Attempt::Got(self.entered(peer));
            }
        }
        Attempt::Full
    }

    fn entered(&self, peer: &Arc<Peer>) -> InFlight {
        InFlight::new(Arc::clone(peer), Arc::clone(&self.queue))
    }

    /// True if a pick could succeed, perhaps after a wait.
    pub(super) fn available(&self) -> bool {
        self.roster.load().iter().any(|peer| peer.probe.up())
    }
}

/// Who can be chosen now, and whether somebody could be but is full.
fn gather<'a>(
    peers: &'a [Arc<Peer>],
    tier: Tier,
    tried: &[PeerId],
    now: u64,
) -> (SmallVec<[&'a Arc<Peer>; FEW]>, bool) {
    let mut full = false;
    let usable = |peer: &&Arc<Peer>| {
        if !peer.probe.up() || (tier == Tier::Well && peer.ejected(now)) || tried.contains(&peer.id()) {
            return false;
        }
        let has_room = peer.max_connections == 0 || peer.state.in_flight() < peer.max_connections;
        full |= !has_room;
        has_room
    };
    let usable = peers.iter().filter(usable).collect();
    (usable, full)
}

fn candidate<'a>(peer: &'a Arc<Peer>, now: u64) -> Candidate<'a> {
    Candidate {
        in_flight: peer.state.in_flight(),
        weight: peer.effective_weight(now),
        turn: &peer.turn,
        seed: peer.id().seed(),
    }
}

/// Takes the place, unless somebody was faster. The first one after an ejection goes alone.
fn take(peer: &Peer, tier: Tier, now: u64) -> bool {
    if !peer.state.enter(peer.max_connections) {
        return false;
    }
    let first =
        tier == Tier::LastResort || peer.policy.max_fails == 0 || peer.state.claim_trial(now, peer.policy.fail_timeout);
    if !first {
        peer.state.leave();
    }
    first
}
