//! No order of things makes a stale hit: every way to run readers, deletions and evictions beside each other, tried out.

use futures::{StreamExt as _, stream};

use super::super::Deleting;
use super::*;

/// A small world: two contents of one repository in storage, and what programs do to them, step by step.
struct World {
    states: [Arc<Fleet>; 2],
    name: RepositoryName,
    contents: [Digest; 2],
    stored: [bool; 2],
    /// Deleted, and told so.
    acknowledged: [bool; 2],
    tickets: [Option<Ticket>; 2],
    deletions: [Option<Deleting>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A reader of content 0 at one of the instances looks up and asks storage; later it remembers what it was told.
    Ask(usize),
    Remember(usize),
    /// Content 0 is deleted at one instance, content 1 at the other.
    Close(usize),
    Delete(usize),
    Done(usize),
    /// It is acknowledged, and Redis never told.
    Lost(usize),
    /// The repository's key is evicted.
    Evict,
}

fn reader(instance: usize) -> Vec<Step> {
    vec![Step::Ask(instance), Step::Remember(instance)]
}

fn deletion(instance: usize) -> Vec<Step> {
    vec![Step::Close(instance), Step::Delete(instance), Step::Done(instance)]
}

fn lost(instance: usize) -> Vec<Step> {
    vec![Step::Close(instance), Step::Delete(instance), Step::Lost(instance)]
}

impl World {
    async fn new(states: &[Arc<Fleet>; 2], number: usize) -> Self {
        let world = World {
            states: states.clone(),
            name: name(&format!("r/{number}")),
            contents: [digest("0"), digest("1")],
            stored: [true; 2],
            acknowledged: [false; 2],
            tickets: [None, None],
            deletions: [None, None],
        };
        pull_until_held(&world.states[0], &world.name, &world.contents[1]).await;
        world
    }

    async fn take(&mut self, step: Step, evict: &impl AsyncFn(&RepositoryName), order: &[Step]) {
        match step {
            Step::Ask(reader) => match self.states[reader].lookup(&self.name, &self.contents[0]).await {
                Lookup::Held(_) => assert!(!self.acknowledged[0], "a stale hit: {order:?}"),
                Lookup::Unknown(ticket) => self.tickets[reader] = self.stored[0].then_some(ticket),
            },
            Step::Remember(reader) => {
                if let Some(ticket) = self.tickets[reader].take() {
                    self.states[reader].remember(ticket, &self.name, &self.contents[0], &descriptor(7)).await;
                }
            }
            Step::Close(which) => {
                self.deletions[which] = Some(self.states[which].deleting(&self.name).await.unwrap());
            }
            Step::Delete(which) => self.stored[which] = false,
            Step::Done(which) => {
                self.deletions[which].take().unwrap().done().await;
                self.acknowledged[which] = true;
            }
            Step::Lost(which) => {
                drop(self.deletions[which].take());
                self.acknowledged[which] = true;
            }
            Step::Evict => evict(&self.name).await,
        }
    }

    async fn check(&self, order: &[Step]) {
        for state in &self.states {
            for (content, stored) in self.contents.iter().zip(self.stored) {
                assert!(held(state, &self.name, content).await.is_none() || stored, "a stale hit: {order:?}");
            }
        }
    }
}

/// Every way to run these programs beside each other.
fn interleavings(programs: &[Vec<Step>]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for (index, program) in programs.iter().enumerate() {
        if let [first, rest @ ..] = program.as_slice() {
            let mut left = programs.to_vec();
            left[index] = rest.to_vec();
            all.extend(interleavings(&left).into_iter().map(|order| [&[*first], order.as_slice()].concat()));
        }
    }
    if programs.iter().all(Vec::is_empty) { vec![Vec::new()] } else { all }
}

async fn never_stale(
    states: [Arc<Fleet>; 2],
    programs: &[Vec<Step>],
    first: usize,
    evict: impl AsyncFn(&RepositoryName),
) -> usize {
    let orders = interleavings(programs);
    let one = async |(number, order): (usize, &Vec<Step>)| {
        let mut world = World::new(&states, first + number).await;
        for step in order {
            world.take(*step, &evict, order).await;
        }
        world.check(order).await;
        if order.iter().any(|step| matches!(step, Step::Lost(_))) {
            // The mark expires.
            evict(&world.name).await;
            world.check(order).await;
        }
        // And all is well afterwards.
        pull_until_held(&states[1], &world.name, &world.contents[0]).await;
    };
    // Each in a repository of its own, so that they do not meet.
    stream::iter(orders.iter().enumerate()).for_each_concurrent(32, one).await;
    orders.len()
}

#[test]
fn interleavings_are_all_there_are() {
    assert_eq!(interleavings(&[deletion(0), deletion(1)]).len(), 20);
}

#[tokio::test]
async fn no_order_makes_a_stale_hit_in_memory() {
    let memory = Fleet::open(None, true, metrics()).await;
    let programs = [reader(0), reader(1), deletion(0), deletion(1)];
    never_stale([Arc::clone(&memory), memory], &programs, 0, async |_: &RepositoryName| {}).await;
}

#[tokio::test]
async fn no_order_makes_a_stale_hit_in_redis_whatever_it_evicts() {
    let server = Server::start(&[]);
    let states = [server.state().await, server.state().await];
    let run = server.run().await;
    let connection = server.connection().await;
    // What allkeys-lru may do, at the worst time.
    let evict = async |name: &RepositoryName| {
        let key = format!("entrepot:{run}:{{{name}}}");
        ::redis::cmd("DEL").arg(key).query_async::<()>(&mut connection.clone()).await.unwrap();
    };
    let twice = [reader(0), reader(0)].concat();
    let mut first = 0;
    for programs in [
        vec![twice.clone(), deletion(0), deletion(1)],
        vec![reader(0), deletion(0), vec![Step::Evict; 2]],
        vec![twice, lost(0)],
        vec![reader(1), lost(0), deletion(1)],
        vec![reader(1), deletion(0), lost(1)],
        vec![reader(0), deletion(0), deletion(1), vec![Step::Evict]],
    ] {
        first += never_stale(states.clone(), &programs, first, &evict).await;
    }
}
