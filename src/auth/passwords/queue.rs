//! The threads that compute, and the queue before them.
//!
//! - A question is in the queue or being computed once at most, however many ask it: they wait for the one answer.
//! - A question that nobody waits for any more leaves the queue at once, and its place is free. One that is being computed
//!   goes on, and its answer is remembered.
//! - An answer is remembered before its question is forgotten, under one lock: who comes between finds the one or the other.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::memory::Memory;
use super::{Busy, Outcome, Tag};
use crate::limits::Source;

/// Questions that wait for a thread: of 50 ms each, the last of them waits three seconds for one thread.
pub(super) const MAX_WAITING: usize = 64;
/// … of which one client has as many at most, so that it does not keep others out.
pub(super) const MAX_OF_ONE: usize = 16;
/// Behind what serves (0), before what is only done when nothing else is (19).
const NICE: i32 = 10;

pub(super) type Answer = Result<Outcome, Busy>;
pub(super) type Work = Box<dyn FnOnce() -> Answer + Send>;

/// Ends its threads when it is dropped, each after what it is at.
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    came: Condvar,
    memory: Memory,
    max_threads: usize,
}

#[derive(Default)]
struct State {
    /// Who waits for what: in the queue or being computed.
    flights: HashMap<Tag, watch::Sender<Option<Answer>>>,
    waiting: VecDeque<Waiting>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// A question in the queue.
struct Waiting {
    tag: Tag,
    from: Source,
    work: Work,
}

pub(super) enum Asked {
    Known(Outcome),
    Coming(Ticket),
}

/// A place among those who wait for an answer; given up by dropping it.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    tag: Tag,
    /// `None` only while it is dropped.
    receiver: Option<watch::Receiver<Option<Answer>>>,
}

impl Queue {
    pub(super) fn new(max_threads: usize, memory: Memory) -> Self {
        Queue(Arc::new(Shared { state: Mutex::default(), came: Condvar::new(), memory, max_threads }))
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Puts a question, unless it is already being answered, or was a short while ago.
    pub(super) fn ask(&self, tag: Tag, from: Source, work: impl FnOnce() -> Work) -> Result<Asked, Busy> {
        let shared = &self.0;
        let ticket = |receiver| Asked::Coming(Ticket { shared: shared.clone(), tag, receiver: Some(receiver) });
        let mut state = shared.state.lock();
        if let Some(flight) = state.flights.get(&tag) {
            return Ok(ticket(flight.subscribe()));
        }
        if let Some(outcome) = shared.memory.recall(&tag) {
            return Ok(Asked::Known(outcome));
        }
        let of_one = state.waiting.iter().filter(|waiting| waiting.from == from).count();
        if state.waiting.len() >= MAX_WAITING || of_one >= MAX_OF_ONE {
            return Err(Busy);
        }
        shared.staff(&mut state)?;
        let (sender, receiver) = watch::channel(None);
        state.flights.insert(tag, sender);
        state.waiting.push_back(Waiting { tag, from, work: work() });
        shared.came.notify_one();
        Ok(ticket(receiver))
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.0.state.lock();
        (state.flights.len(), state.waiting.len(), state.threads)
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.0)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.came.notify_all();
    }
}

impl Ticket {
    pub(super) async fn answer(mut self) -> Answer {
        let Some(receiver) = &mut self.receiver else { return Err(Busy) };
        let answer = match receiver.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        answer.unwrap_or(Err(Busy))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        // Under the lock, so that nobody joins between the count and what follows from it.
        self.receiver = None;
        if state.flights.get(&self.tag).is_some_and(|flight| flight.receiver_count() == 0)
            && let Some(place) = state.waiting.iter().position(|waiting| waiting.tag == self.tag)
        {
            state.waiting.remove(place);
            state.flights.remove(&self.tag);
        }
    }
}

impl Shared {
    /// One thread more, if those that are idle have their work in the queue already.
    fn staff(self: &Arc<Self>, state: &mut State) -> Result<(), Busy> {
        if state.idle > state.waiting.len() || state.threads >= self.max_threads {
            return Ok(());
        }
        let shared = self.clone();
        let spawned = thread::Builder::new().name(format!("passwords-{}", state.threads)).spawn(move || shared.serve());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(error) => {
                tracing::error!(%error, "there is no thread to check passwords on");
                // Those that there are will do it.
                if state.threads == 0 {
                    return Err(Busy);
                }
            }
        }
        Ok(())
    }

    fn serve(&self) {
        give_way();
        let mut state = self.state.lock();
        while !state.closed {
            let Some(Waiting { tag, work, .. }) = state.waiting.pop_front() else {
                state.idle += 1;
                self.came.wait(&mut state);
                state.idle -= 1;
                continue;
            };
            let answer = MutexGuard::unlocked(&mut state, || run(work));
            if let Ok(outcome) = &answer {
                self.memory.remember(tag, outcome);
            }
            if let Some(flight) = state.flights.remove(&tag) {
                flight.send_replace(Some(answer));
            }
        }
        state.threads -= 1;
    }
}

/// A fault in a hash's code must cost one answer, not the thread.
fn run(work: Work) -> Answer {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("the check of a password ended by a fault");
        Err(Busy)
    })
}

/// Lets the threads that serve go first. In Linux a thread has a priority of its own; elsewhere this would be the process's.
#[cfg(target_os = "linux")]
fn give_way() {
    use rustix::process::{getpriority_process, setpriority_process};

    // A process that gives way further already is not to come forward.
    let lowered = getpriority_process(None).and_then(|nice| setpriority_process(None, nice.max(NICE)));
    if let Err(error) = lowered {
        tracing::debug!(%error, "passwords are checked at the priority of everything else");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {
    let _ = NICE;
}
