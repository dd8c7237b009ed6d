//! What becomes of signatures and the like: they stay as long as what they are about is in the repository, whether a tag leads there
//! or not: it may be deployed by its digest, and whoever admits it asks for its signature.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::evaluate::{Due, Holds, View, is_within};
use super::follower::Subject;
use super::verdict::{Gone, Kept, Ruling, Seen};
use crate::oci::Digest;

/// One whose subject is not there is left alone for so long: the subject may still come.
pub const DANGLING: Duration = Duration::from_secs(24 * 3600);

/// A ruling for each follower of the view. `stays`: what the other tags that stay lead to, with all below.
pub fn follow(policies: &[Due<'_>], view: &View, stays: HashSet<Digest>, now: SystemTime) -> Vec<Ruling> {
    let mut following = Following { view, rulings: vec![None; view.followers.len()], stays };
    following.decide(|seen, _| own_right(policies, seen));
    following.settle();
    let taker = policies.iter().find(|due| due.acts).filter(|_| may_go(view));
    following.decide(|seen, subject| match taker.filter(|_| !is_within(now, seen.pushed, DANGLING)) {
        Some(_) => None,
        None => Some(Ruling::Kept(Kept::Dangling { subject: subject.to_string() })),
    });
    following.settle();
    if let Some(due) = taker {
        let gone = |subject: &Subject| Gone::Dangling { policy: due.policy.index, subject: subject.to_string() };
        following.decide(|_, subject| Some(Ruling::Gone(gone(subject))));
    }
    following.rulings.into_iter().flatten().collect()
}

/// Whether what is about something that is not there can go at all. A repository that has no other tags holds what is about the images
/// of others, as cosign keeps it where one tells it to; or its last image has just gone.
fn may_go(view: &View) -> bool {
    !view.tags.is_empty() && view.revisions.is_some()
}

struct Following<'a> {
    view: &'a View,
    /// `None`: not decided yet.
    rulings: Vec<Option<Ruling>>,
    stays: HashSet<Digest>,
}

impl Following<'_> {
    /// Decides what is not decided yet, and can be.
    fn decide(&mut self, mut decide: impl FnMut(&Seen, &Subject) -> Option<Ruling>) {
        for ((seen, subject), ruling) in self.view.followers.iter().zip(&mut self.rulings) {
            if ruling.is_some() {
                continue;
            }
            *ruling = decide(seen, subject);
            if let (Some(Ruling::Kept(_)), Some(digest)) = (ruling.as_ref(), seen.digest) {
                let mut holds = Holds::new(&self.view.children);
                holds.add(&seen.tag, &digest);
                self.stays.insert(digest);
                self.stays.extend(holds.held.into_keys());
            }
        }
    }

    /// Keeps what is about something that is there, or that a tag leads to. What is signed may be a signature: so it goes on until
    /// nothing changes.
    fn settle(&mut self) {
        let view = self.view;
        loop {
            let (stays, open) = (self.stays.clone(), self.open());
            let is_there = |subject: &Subject| {
                view.revisions.as_ref().is_none_or(|revisions| subject.is_in(revisions)) || subject.is_in(&stays)
            };
            self.decide(|_, subject| {
                is_there(subject).then(|| Ruling::Kept(Kept::WithSubject { subject: subject.to_string() }))
            });
            if self.open() == open {
                return;
            }
        }
    }

    fn open(&self) -> usize {
        self.rulings.iter().filter(|ruling| ruling.is_none()).count()
    }
}

/// One that stays whatever its subject does.
fn own_right(policies: &[Due<'_>], seen: &Seen) -> Option<Ruling> {
    if seen.immutable {
        return Some(Ruling::Kept(Kept::Immutable));
    }
    if seen.digest.is_none() {
        return Some(Ruling::Kept(Kept::Torn));
    }
    let always = policies.iter().find(|due| due.policy.always_keeps(&seen.tag));
    always.map(|due| Ruling::Kept(Kept::Always { policy: due.policy.index }))
}
