//! Several at work on one storage, one call at a time, in an order that the test chooses; and a clock of the storage that the test
//! moves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::storage::Error;
use crate::storage::tests::hooked::Hook;

/// What nobody may do while a request of another program is under way: such a request does not last for hours.
const TIME: &str = "time passes";
/// Looks at who waits, before some real time is given to threads that work for somebody.
const LOOKS: u32 = 200;
/// Looks, a millisecond each, after which whoever neither calls nor ends is taken to wait for what another holds.
const HELD: u32 = 100;
/// Of those, with nobody at work: whoever was woken by the last call has made his own by then.
const STILL: u32 = 8;
/// Calls of all together: more than any order here has.
const CALLS: usize = 20_000;

tokio::task_local! {
    static WHO: usize;
}

/// Gives the turns.
#[derive(Default)]
pub struct Turns(Mutex<State>);

#[derive(Default)]
struct State {
    /// Who waits for what; empty while calls need no turn.
    waiting: Vec<Waiting>,
    scheduled: bool,
    /// Who had the last turn: work that he handed over is his.
    last: usize,
    hurried: usize,
    ahead: Duration,
    /// When objects were written that were written after time passed.
    written: HashMap<String, Duration>,
    /// Who did what, to be shown.
    way: Vec<String>,
}

struct Waiting {
    who: usize,
    call: String,
    go: oneshot::Sender<()>,
}

/// Chooses among those who wait.
pub trait Schedule {
    /// The numbers of who waits, in order, each once.
    fn choose(&mut self, waiting: &[usize]) -> usize;
}

#[async_trait]
impl Hook for Turns {
    async fn before(&self, call: &str) -> Result<(), Error> {
        self.turn(call).await;
        Ok(())
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn wrote(&self, key: &str) {
        let mut state = self.0.lock();
        let ahead = state.ahead;
        state.written.insert(key.to_owned(), ahead);
    }

    fn time(&self, key: &str, time: SystemTime) -> SystemTime {
        time + self.0.lock().written.get(key).copied().unwrap_or_default()
    }
}

impl Turns {
    async fn turn(&self, call: &str) {
        let turn = {
            let mut state = self.0.lock();
            if !state.scheduled {
                return;
            }
            let (go, turn) = oneshot::channel();
            let who = WHO.try_with(|who| *who).unwrap_or(state.last);
            state.waiting.push(Waiting { who, call: call.to_owned(), go });
            turn
        };
        // Nobody gives turns any more: the test has failed.
        _ = turn.await;
    }

    /// Hours pass, when it is somebody's turn to let them.
    pub async fn hours(&self, hours: u64) {
        self.turn(TIME).await;
        self.0.lock().ahead += Duration::from_secs(hours * 3600);
    }

    /// How much has passed.
    pub fn ahead(&self) -> Duration {
        self.0.lock().ahead
    }

    /// Until it is over, no time passes.
    pub fn hurry(self: &Arc<Self>) -> Hurry {
        self.0.lock().hurried += 1;
        Hurry(self.clone())
    }

    /// What was done, in order.
    pub fn way(&self) -> String {
        self.0.lock().way.join("\n")
    }

    /// Each of these, to the end, in turns. How many turns each had.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        all: Vec<futures::future::BoxFuture<'static, T>>,
        schedule: &mut dyn Schedule,
    ) -> (Vec<T>, Vec<usize>) {
        self.0.lock().scheduled = true;
        let start = |(who, one): (usize, _)| tokio::spawn(WHO.scope(who, one));
        let handles: Vec<JoinHandle<T>> = all.into_iter().enumerate().map(start).collect();
        let mut turns = vec![0; handles.len()];
        for _ in 0..CALLS {
            let Some(waiting) = self.settled(&handles).await else { break };
            let who = schedule.choose(&waiting);
            turns[who] += 1;
            self.go(who);
        }
        self.0.lock().scheduled = false;
        let mut outcomes = Vec::new();
        for handle in handles {
            assert!(handle.is_finished(), "it goes on for ever:\n{}", self.way());
            outcomes.push(handle.await.unwrap_or_else(|error| panic!("{error}:\n{}", self.way())));
        }
        (outcomes, turns)
    }

    /// Waits until everybody waits; who may have the next turn. `None`: all have ended.
    async fn settled<T>(&self, handles: &[JoinHandle<T>]) -> Option<Vec<usize>> {
        let (mut looks, mut still) = (0, 0);
        loop {
            tokio::task::yield_now().await;
            let at_work: Vec<usize> = (0..handles.len())
                .filter(|who| handles.get(*who).is_some_and(|handle| !handle.is_finished()))
                .collect();
            let (waits, may) = self.waiting();
            still = if at_work.iter().all(|who| waits.contains(who)) { still + 1 } else { 0 };
            if still >= STILL {
                assert!(at_work.is_empty() || !may.is_empty(), "nobody can go on:\n{}", self.way());
                return (!at_work.is_empty()).then_some(may);
            }
            looks += 1;
            if looks > LOOKS + HELD && !may.is_empty() {
                return Some(may);
            }
            if looks > LOOKS {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Who waits at all, and who may have the next turn.
    fn waiting(&self) -> (Vec<usize>, Vec<usize>) {
        let state = self.0.lock();
        let sorted = |mut all: Vec<usize>| {
            all.sort_unstable();
            all.dedup();
            all
        };
        let may = state.waiting.iter().filter(|waiting| state.hurried == 0 || waiting.call != TIME);
        (
            sorted(state.waiting.iter().map(|waiting| waiting.who).collect()),
            sorted(may.map(|waiting| waiting.who).collect()),
        )
    }

    /// The first call of this one that may be made.
    fn go(&self, who: usize) {
        let mut state = self.0.lock();
        let hurried = state.hurried > 0;
        let may = |waiting: &Waiting| waiting.who == who && !(hurried && waiting.call == TIME);
        let Some(at) = state.waiting.iter().position(may) else { panic!("{who} does not wait") };
        let Waiting { call, go, .. } = state.waiting.remove(at);
        state.way.push(format!("{who} {call}"));
        state.last = who;
        // Who was given up before his turn came needs none.
        _ = go.send(());
    }
}

/// A request of another program.
pub struct Hurry(Arc<Turns>);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.0.lock().hurried -= 1;
    }
}

/// By chance, the same each time for the same seed. Somebody keeps his turn for some calls, so that others stall.
pub struct Random {
    state: u64,
    keeps: Option<(usize, u64)>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { state: seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15), keeps: None }
    }

    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 17) as usize % end.max(1)
    }
}

impl Schedule for Random {
    fn choose(&mut self, waiting: &[usize]) -> usize {
        if let Some((who, turns)) = self.keeps.filter(|(who, turns)| *turns > 0 && waiting.contains(who)) {
            self.keeps = Some((who, turns - 1));
            return who;
        }
        let who = waiting[self.below(waiting.len())];
        let most = [1, 4, 30, 400][self.below(4)];
        self.keeps = Some((who, self.below(most) as u64));
        who
    }
}

/// The first one makes so many calls, the second one so many, then the first one ends, and the others after it.
pub struct Preempt {
    pub first: usize,
    pub second: usize,
}

impl Schedule for Preempt {
    fn choose(&mut self, waiting: &[usize]) -> usize {
        let has = |who| waiting.contains(&who);
        if self.first > 0 && has(0) {
            self.first -= 1;
            return 0;
        }
        if self.second > 0 && has(1) {
            self.second -= 1;
            return 1;
        }
        waiting[0]
    }
}
