//! What holds of any policies and any repository.

use std::collections::{BTreeSet, HashMap, HashSet};

use proptest::prelude::*;

use super::table::{digest, gone, now, policies, seen};
use crate::maintenance::retention::evaluate::{Due, Facts, View, evaluate, judge, too_many};
use crate::maintenance::retention::follower::Subject;
use crate::maintenance::retention::policy::Policy;
use crate::maintenance::retention::verdict::{Ruling, Seen, Verdict};
use crate::oci::Digest;

const WORDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// An entry of `[[retention]]`.
fn policy() -> impl Strategy<Value = String> {
    let some = |name: &'static str| prop::option::of((1..5_usize).prop_map(move |count| format!("{name} = {count}")));
    let within =
        |name: &'static str| prop::option::of((1..40_u32).prop_map(move |days| format!("{name} = \"{days}d\"")));
    let always = prop::option::of(prop::sample::select(vec![
        "tags = [\"a*\"]",
        "tags = [\"b\", \"*2\"]",
        "tags = [\"sha256-*\"]",
    ]));
    let rules = (
        some("latest_pushed"),
        some("latest_pulled"),
        within("pushed_within"),
        within("pulled_within"),
        within("created_within"),
        always,
    );
    let tags = prop::sample::select(vec!["*", "a*", "{b,c}*", "*1", "nothing"]);
    (rules, tags, any::<bool>()).prop_map(|((one, two, three, four, five, always), tags, delete)| {
        let mut rules: Vec<String> = [one, two, three, four, five].into_iter().flatten().collect();
        rules.extend(always.map(str::to_owned));
        if rules.is_empty() {
            rules.push("latest_pushed = 1".into());
        }
        let unmatched = if delete { "delete" } else { "keep" };
        format!("tags = \"{tags}\"\nkeep = {{ {} }}\nunmatched = \"{unmatched}\"", rules.join(", "))
    })
}

fn tag() -> impl Strategy<Value = Seen> {
    let word = || prop::sample::select(WORDS.to_vec());
    let name = prop_oneof![
        6 => (word(), 0..4_u8).prop_map(|(word, number)| format!("{word}{number}")),
        2 => word().prop_map(|word| format!("sig({word})")),
        1 => word().prop_map(|word| format!("list({word})")),
    ];
    let days = || prop::option::of(0..60_u32);
    (name, word(), days(), days(), days(), prop::bool::weighted(0.05)).prop_map(
        |(name, word, pushed, pulled, created, immutable)| {
            let part = |key: &str, days: Option<u32>| days.map_or(String::new(), |days| format!(" {key}:{days}"));
            let immutable = if immutable { " immutable" } else { "" };
            let (pushed, pulled, created) = (part("pushed", pushed), part("pulled", pulled), part("created", created));
            seen(&format!("{name} is:{word}{pushed}{pulled}{created}{immutable}"))
        },
    )
}

/// Indexes only name what comes after them, so that none holds itself.
fn view() -> impl Strategy<Value = View> {
    let holds = prop::collection::vec((0..WORDS.len(), 0..WORDS.len()), 0..6);
    let missing = prop::collection::hash_set(0..WORDS.len(), 0..3);
    (prop::collection::vec(tag(), 0..14), holds, missing).prop_map(|(all, holds, missing)| {
        let mut view = View::default();
        let mut names = HashSet::new();
        for seen in all {
            match Subject::of(&seen.tag) {
                _ if !names.insert(seen.tag.clone()) => {}
                Some(subject) => view.followers.push((seen, subject)),
                None => view.tags.push(seen),
            }
        }
        let words: Vec<Digest> = WORDS.iter().map(|word| digest(word)).collect();
        for (index, below) in holds.into_iter().filter(|(index, below)| index < below) {
            view.children.entry(words[index]).or_default().push(words[below]);
        }
        let there = words.iter().enumerate().filter(|(index, _)| !missing.contains(index)).map(|(_, digest)| *digest);
        view.revisions = Some(there.collect());
        view
    })
}

fn due(policies: &[Policy]) -> Vec<Due<'_>> {
    policies.iter().map(|policy| Due { policy, acts: true }).collect()
}

/// What is below these, with them.
fn below(children: &HashMap<Digest, Vec<Digest>>, from: impl Iterator<Item = Digest>) -> HashSet<Digest> {
    let mut all = HashSet::new();
    let mut next: Vec<Digest> = from.collect();
    while let Some(digest) = next.pop() {
        if all.insert(digest) {
            next.extend(children.get(&digest).into_iter().flatten());
        }
    }
    all
}

fn staying<'a>(view: &'a View, verdicts: &'a [Verdict]) -> impl Iterator<Item = &'a Seen> {
    let all = view.tags.iter().chain(view.followers.iter().map(|(seen, _)| seen));
    all.zip(verdicts).filter(|(_, verdict)| !verdict.ruling.is_gone()).map(|(seen, _)| seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_any_policy_keeps_stays(entries in prop::collection::vec(policy(), 1..4), view in view()) {
        let policies = policies(&entries.join("\n---\n"));
        let gone = gone(&evaluate(&due(&policies), &view, now()));
        for policy in &policies {
            let alone = judge(&[Due { policy, acts: true }], &view.tags, now(), Facts::All);
            for (seen, ruling) in view.tags.iter().zip(&alone) {
                prop_assert!(ruling.is_gone() || ruling.policy().is_none() || !gone.contains(seen.tag.as_str()), "{seen:?} {ruling}");
            }
        }
        for seen in view.tags.iter().chain(view.followers.iter().map(|(seen, _)| seen)) {
            let always = seen.immutable || policies.iter().any(|policy| policy.always_keeps(&seen.tag));
            prop_assert!(!always || !gone.contains(seen.tag.as_str()), "{seen:?}");
        }
    }

    #[test]
    fn never_all_tags_go(entries in prop::collection::vec(policy(), 1..4), view in view()) {
        let policies = policies(&entries.join("\n---\n"));
        let verdicts = evaluate(&due(&policies), &view, now());
        prop_assert_eq!(verdicts.len(), view.tags.len() + view.followers.len());
        let (tags, _) = verdicts.split_at(view.tags.len());
        prop_assert!(tags.is_empty() || tags.iter().any(|verdict| !verdict.ruling.is_gone()));
        prop_assert!(verdicts.is_empty() || verdicts.iter().any(|verdict| !verdict.ruling.is_gone()));
    }

    #[test]
    fn what_no_policy_takes_stays(entries in prop::collection::vec(policy(), 1..4), view in view()) {
        let policies = policies(&entries.join("\n---\n"));
        let gone = gone(&evaluate(&due(&policies), &view, now()));
        for seen in &view.tags {
            let taken = policies.iter().any(|policy| policy.takes(&seen.tag));
            prop_assert!(taken || !gone.contains(seen.tag.as_str()), "{seen:?}");
        }
        let idle: Vec<_> = policies.iter().map(|policy| Due { policy, acts: false }).collect();
        prop_assert!(evaluate(&idle, &view, now()).iter().all(|verdict| !verdict.ruling.is_gone()));
    }

    #[test]
    fn what_a_tag_that_stays_needs_stays_too(entries in prop::collection::vec(policy(), 1..4), view in view()) {
        let policies = policies(&entries.join("\n---\n"));
        let verdicts = evaluate(&due(&policies), &view, now());
        let gone = gone(&verdicts);
        // Of those for people: what their indexes hold.
        let tags: Vec<&Seen> = staying(&view, &verdicts).filter(|seen| view.tags.contains(seen)).collect();
        let roots: HashSet<Digest> = tags.iter().filter_map(|seen| seen.digest).collect();
        let children = roots.iter().flat_map(|root| view.children.get(root).into_iter().flatten().copied());
        let held = below(&view.children, children);
        for seen in view.tags.iter().filter(|seen| seen.digest.is_some_and(|digest| held.contains(&digest))) {
            prop_assert!(!gone.contains(seen.tag.as_str()), "{seen:?} is held");
        }
        // Of all: their signatures.
        let all = below(&view.children, staying(&view, &verdicts).filter_map(|seen| seen.digest));
        for (seen, subject) in &view.followers {
            prop_assert!(!subject.is_in(&all) || !gone.contains(seen.tag.as_str()), "{seen:?} is about what stays");
        }
    }

    /// The list of tags alone never says that nothing goes where something does.
    #[test]
    fn what_goes_was_suspected_by_its_push(entries in prop::collection::vec(policy(), 1..4), view in view()) {
        let policies = policies(&entries.join("\n---\n"));
        let gone = gone(&evaluate(&due(&policies), &view, now()));
        let blank = |seen: &Seen| Seen { digest: None, pulled: None, created: None, ..seen.clone() };
        let listed: Vec<Seen> = view.tags.iter().map(blank).collect();
        let suspected = judge(&due(&policies), &listed, now(), Facts::Pushes);
        for (seen, ruling) in view.tags.iter().zip(&suspected) {
            prop_assert!(ruling.is_gone() || !gone.contains(seen.tag.as_str()), "{seen:?}: {ruling}");
        }
    }

    #[test]
    fn the_order_of_tags_and_policies_does_not_matter(
        entries in prop::collection::vec(policy(), 1..4),
        view in view(),
        swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let sorted = policies(&entries.join("\n---\n"));
        let expected: BTreeSet<String> = gone(&evaluate(&due(&sorted), &view, now()));
        let (mut other, mut entries) = (view.clone(), entries);
        for swap in swaps {
            for list in [other.tags.len(), other.followers.len()].into_iter().filter(|length| *length > 0) {
                let index = swap.index(list);
                if list == other.tags.len() { other.tags.swap(0, index) } else { other.followers.swap(0, index) }
            }
            entries.rotate_left(1);
        }
        let turned = policies(&entries.join("\n---\n"));
        prop_assert_eq!(gone(&evaluate(&due(&turned), &other, now())), expected);
    }

    #[test]
    fn too_much_is_more_than_the_least_that_a_policy_may_take(
        entries in prop::collection::vec((policy(), 0..=100_u32), 1..4),
        view in view(),
    ) {
        let entries: Vec<String> = entries.iter().map(|(entry, most)| format!("{entry}\nmost = \"{most}%\"")).collect();
        let policies = policies(&entries.join("\n---\n"));
        let verdicts = evaluate(&due(&policies), &view, now());
        let (named, _) = verdicts.split_at(view.tags.len());
        let deciding = |policy: &&Policy| named.iter().any(|verdict| matches!(&verdict.ruling, Ruling::Gone(_)) && verdict.ruling.policy() == Some(policy.index));
        let least = policies.iter().filter(deciding).map(|policy| policy.most).reduce(f64::min);
        let gone = named.iter().filter(|verdict| verdict.ruling.is_gone()).count();
        let expected = least.is_some_and(|least| gone as f64 > least / 100.0 * named.len() as f64 + 1e-9);
        prop_assert_eq!(too_many(&due(&policies), &verdicts, view.tags.len()).is_some(), expected);
    }

    /// Whoever admits what is deployed by its digest asks for its signature.
    #[test]
    fn what_is_about_something_that_is_here_stays(entries in prop::collection::vec(policy(), 1..4), view in view()) {
        let policies = policies(&entries.join("\n---\n"));
        let gone = gone(&evaluate(&due(&policies), &view, now()));
        let revisions = view.revisions.clone().unwrap_or_default();
        for (seen, subject) in &view.followers {
            prop_assert!(!subject.is_in(&revisions) || !gone.contains(seen.tag.as_str()), "{seen:?}");
        }
    }
}

/// Of three images two would go, among a hundred signatures of what is deployed by digest.
#[test]
fn signatures_do_not_make_much_little() {
    let policies = policies("keep = { latest_pushed = 1 }");
    let mut view = View { tags: ["a pushed:1", "b pushed:2", "c pushed:3"].map(seen).to_vec(), ..View::default() };
    for number in 0..100 {
        let seen = seen(&format!("sig({number}) pushed:3"));
        let subject = Subject::of(&seen.tag).unwrap();
        view.followers.push((seen, subject));
    }
    let verdicts = evaluate(&due(&policies), &view, now());
    let found = too_many(&due(&policies), &verdicts, view.tags.len()).unwrap();
    assert_eq!((found.gone, found.tags), (2, 3));
}

/// After a collection that came late, most tags of a repository may be signatures of what is gone.
#[test]
fn signatures_of_what_is_gone_do_not_keep_others() {
    let policies = policies("keep = { latest_pushed = 3 }\nmost = \"30%\"");
    let tags = ["a pushed:1", "b pushed:2", "c pushed:3", "d pushed:4"].map(seen).to_vec();
    let mut view = View { tags, revisions: Some(HashSet::new()), ..View::default() };
    for number in 0..10 {
        let seen = seen(&format!("sig({number}) pushed:3"));
        let subject = Subject::of(&seen.tag).unwrap();
        view.followers.push((seen, subject));
    }
    let verdicts = evaluate(&due(&policies), &view, now());
    assert_eq!(gone(&verdicts).len(), 11);
    assert_eq!(too_many(&due(&policies), &verdicts, view.tags.len()), None);
}
