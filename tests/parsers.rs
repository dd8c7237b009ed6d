//! Every parser of `oci` against damaged and random text; the properties are those that libFuzzer runs (fuzz/README.md).

use entrepot::oci;
use proptest::prelude::*;

#[path = "../fuzz/src/properties.rs"]
mod properties;

use properties::TARGETS;

/// Runs for each parser in an ordinary `cargo test`; `PROPTEST_CASES` asks for more.
const CASES: u32 = 10_000;
/// Damages of one line at most.
const DAMAGES: usize = 6;

/// One damage of a line; places are taken modulo its length.
#[derive(Clone, Debug)]
enum Damage {
    Insert(usize, char),
    Replace(usize, char),
    Remove(usize, usize),
    Repeat(usize, usize),
    /// Another seed's end behind this one's beginning.
    Splice(usize, usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Mostly what means something to one of the grammars.
    let character = prop_oneof![
        4 => proptest::sample::select("/.:%-_=&?,*\"\\[]{}@+;~ \t\0 09azAZFf2".chars().collect::<Vec<_>>()),
        1 => any::<char>(),
    ];
    prop_oneof![
        (any::<usize>(), character.clone()).prop_map(|(at, with)| Damage::Insert(at, with)),
        (any::<usize>(), character).prop_map(|(at, with)| Damage::Replace(at, with)),
        (any::<usize>(), 1usize..20).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<usize>(), 1usize..200).prop_map(|(at, count)| Damage::Repeat(at, count)),
        (any::<usize>(), any::<usize>(), any::<usize>()).prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
    ]
}

fn apply(line: &mut Vec<char>, damage: &Damage, seeds: &[&str]) {
    let length = line.len();
    let place = |at: &usize| at % (length + 1);
    match damage {
        Damage::Insert(at, with) => line.insert(place(at), *with),
        Damage::Replace(at, with) => {
            if let Some(one) = line.get_mut(place(at)) {
                *one = *with;
            }
        }
        Damage::Remove(at, count) => drop(line.drain(place(at)..(place(at) + count).min(length))),
        Damage::Repeat(at, count) => {
            if let Some(one) = line.get(place(at)).copied() {
                line.splice(place(at)..place(at), std::iter::repeat_n(one, *count));
            }
        }
        Damage::Splice(at, other, from) => {
            let other: Vec<char> = seeds[other % seeds.len()].chars().collect();
            line.truncate(place(at));
            line.extend(&other[from % (other.len() + 1)..]);
        }
    }
}

#[test]
fn no_text_breaks_a_parser_of_oci() {
    for target in TARGETS {
        let seeds: Vec<&str> = target.seeds.lines().collect();
        seeds.iter().for_each(|seed| (target.run)(seed));
        let text = prop_oneof![
            4 => (any::<usize>(), proptest::collection::vec(damage(), 0..DAMAGES)).prop_map({
                let seeds = seeds.clone();
                move |(seed, damages)| {
                    let mut line: Vec<char> = seeds[seed % seeds.len()].chars().collect();
                    damages.iter().for_each(|damage| apply(&mut line, damage, &seeds));
                    line.into_iter().collect::<String>()
                }
            }),
            1 => any::<String>(),
        ];
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let outcome = runner.run(&text, |line| {
            (target.run)(&line);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", target.name));
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}
