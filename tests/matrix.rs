//! Everything that can be asked, by everybody who can ask, before every kind of content, fresh and remembered: each cell of the
//! table is one request, and its answer is what [`expected`] says. A test is one backend in one state; it tells all wrong cells.

mod asking;
mod cells;
mod expected;
mod world;

use std::collections::BTreeMap;

use crate::harness::Answer;
use cells::{Backend, Cell, Place, State, cells};
use expected::expected;
use world::World;

/// What two answers have to be alike in, when one is about something hidden and the other about nothing.
type Look = (u16, String, String);

fn look(backend: Backend, answer: &Answer, cell: &Cell) -> Look {
    let same = |text: &str| {
        let text = text.replace(cell.place.name(), "NAME");
        if backend != Backend::ClusterByPeers {
            return text;
        }
        // distribution tells what is needed in an order by chance.
        let mut words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        words.sort_unstable();
        words.join(" ")
    };
    (answer.status, same(answer.header("www-authenticate").unwrap_or_default()), same(&answer.text()))
}

fn ask_all(backend: Backend, state: State) {
    let world = World::start(backend, state);
    let (mut wrong, mut looks) = (Vec::new(), BTreeMap::new());
    let cells = cells();
    for (number, cell) in cells.iter().enumerate() {
        let answer = asking::ask(&world, cell, number);
        let expected = expected(backend, cell);
        if let Err(what) = expected.met_by(&answer, cell) {
            wrong.push(format!("{}: {what}", cell.name(backend, state)));
        }
        if expected.is_refusal() && cell.place != Place::Public {
            looks.insert((cell.route, cell.who, cell.shown, cell.place), look(backend, &answer, cell));
        }
    }
    // What may not be read looks like what is not there.
    let mut compared = 0;
    for ((route, who, shown, place), hidden) in &looks {
        let absent = looks.get(&(*route, *who, *shown, Place::Absent));
        if let Some(absent) = absent.filter(|_| *place == Place::Team) {
            compared += 1;
            if hidden != absent {
                wrong.push(format!("{route:?} as {who:?} by {shown:?}: {hidden:?} for hidden, {absent:?} for absent"));
            }
        }
    }
    assert!(compared >= 50 || backend == Backend::ClusterByRules, "{compared}");
    assert!(wrong.is_empty(), "{} of {} cells are wrong:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_all_cells_and_each_once() {
    let mut names = Vec::new();
    for backend in Backend::ALL {
        for state in State::ALL {
            names.extend(cells().iter().map(|cell| cell.name(backend, state)));
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), count), (9024, 9024));
}

/// One test for each backend and state.
macro_rules! tests {
    ($($name:ident: $backend:ident, $state:ident;)*) => {
        $(#[test]
        fn $name() {
            ask_all(Backend::$backend, State::$state);
        })*
    };
}

tests! {
    filesystem_cold: Filesystem, Cold;
    filesystem_warm: Filesystem, Warm;
    filesystem_flushed: Filesystem, Flushed;
    minio_cold: Minio, Cold;
    minio_warm: Minio, Warm;
    minio_flushed: Minio, Flushed;
    cluster_by_rules_cold: ClusterByRules, Cold;
    cluster_by_rules_warm: ClusterByRules, Warm;
    cluster_by_rules_flushed: ClusterByRules, Flushed;
    cluster_by_peers_cold: ClusterByPeers, Cold;
    cluster_by_peers_warm: ClusterByPeers, Warm;
    cluster_by_peers_flushed: ClusterByPeers, Flushed;
}
