//! Which tags of a repository stay: all of the rules, and nothing but them. Asks nobody for anything.
//!
//! What any policy keeps stays, whatever others say of it; what some policy takes and none keeps goes; what none takes stays.
//! Then what must not go whatever policies say: a repository's last tag, and what an index that stays holds. Signatures and the
//! like stay as long as what they are about is there.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::follow::follow;
use super::follower::Subject;
use super::policy::Policy;
use super::verdict::{Gone, Kept, Ruling, Seen, Verdict};
use crate::oci::{Digest, Tag};
use crate::units::Span;

/// A policy of the repository at hand.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    pub policy: &'a Policy,
    /// Whether it may take anything now; what it keeps counts in any case.
    pub acts: bool,
}

/// How much is known of the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Their names and when they were pushed. What may go by that is more than what goes.
    Pushes,
    All,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Tags, but for followers.
    pub tags: Vec<Seen>,
    /// Signatures and the like, with what they are about.
    pub followers: Vec<(Seen, Subject)>,
    /// What indexes among what the tags lead to name, and so on.
    pub children: HashMap<Digest, Vec<Digest>>,
    /// All manifests that the repository has; `None`: not asked, and then nothing is missing.
    pub revisions: Option<HashSet<Digest>>,
    /// When the links were written of tags that an undelete brought back, which were pushed before.
    pub restored: HashMap<Tag, SystemTime>,
}

/// What becomes of each tag of the view, followers last.
pub fn evaluate(policies: &[Due<'_>], view: &View, now: SystemTime) -> Vec<Verdict> {
    let mut rulings = judge(policies, &view.tags, now, Facts::All);
    let mut holds = Holds::new(&view.children);
    for (seen, ruling) in view.tags.iter().zip(&rulings) {
        if let (false, Some(digest)) = (ruling.is_gone(), &seen.digest) {
            holds.add(&seen.tag, digest);
        }
    }
    keep_held(&view.tags, &mut rulings, &mut holds);
    // One that leads nowhere is no tag that anybody could be left with.
    let stays_of_use = |ruling: &Ruling| !ruling.is_gone() && *ruling != Ruling::Kept(Kept::Torn);
    if rulings.iter().any(Ruling::is_gone) && !rulings.iter().any(stays_of_use) {
        keep_last(&view.tags, &mut rulings, &mut holds);
        keep_held(&view.tags, &mut rulings, &mut holds);
    }
    let followers = follow(policies, view, stays(view, &rulings, &holds), now);
    let tags = view.tags.iter().chain(view.followers.iter().map(|(seen, _)| seen));
    let rulings = rulings.into_iter().chain(followers);
    tags.zip(rulings).map(|(seen, ruling)| Verdict { tag: seen.tag.clone(), ruling }).collect()
}

/// What the policies say of each tag, and nothing else.
pub fn judge(policies: &[Due<'_>], tags: &[Seen], now: SystemTime, facts: Facts) -> Vec<Ruling> {
    let ranked: Vec<Ranked> = policies.iter().map(|due| Ranked::new(due.policy, tags, facts)).collect();
    let rule = |(index, seen): (usize, &Seen)| {
        if seen.immutable {
            return Ruling::Kept(Kept::Immutable);
        }
        if seen.digest.is_none() && facts == Facts::All {
            return Ruling::Kept(Kept::Torn);
        }
        let kept = policies.iter().zip(&ranked).find_map(|(due, ranked)| keeps(due.policy, (seen, index), ranked, now));
        if let Some(kept) = kept {
            return Ruling::Kept(kept);
        }
        let taken = policies.iter().find(|due| due.acts && due.policy.takes(&seen.tag));
        match taken.map(|due| due.policy) {
            Some(policy) if policy.selects(&seen.tag) => Ruling::Gone(Gone::NotKept { policy: policy.index }),
            Some(policy) => Ruling::Gone(Gone::Unmatched { policy: policy.index }),
            None => Ruling::Kept(Kept::Unmatched),
        }
    };
    tags.iter().enumerate().map(rule).collect()
}

/// Which of the tags that a policy selects were pushed last, and pulled last.
struct Ranked {
    pushed: HashSet<usize>,
    pulled: HashSet<usize>,
}

impl Ranked {
    fn new(policy: &Policy, tags: &[Seen], facts: Facts) -> Self {
        // What leads nowhere stays, but takes no place from one that leads somewhere.
        let counts = |seen: &Seen| facts == Facts::Pushes || seen.digest.is_some();
        let selected = || tags.iter().enumerate().filter(|(_, seen)| counts(seen) && policy.selects(&seen.tag));
        let first = |count: Option<usize>, key: fn(&Seen) -> (Option<SystemTime>, SystemTime)| {
            let Some(count) = count else { return HashSet::new() };
            let mut order: Vec<_> = selected().map(|(index, seen)| (key(seen), &seen.tag, index)).collect();
            order.sort_unstable_by(|one, other| other.cmp(one));
            order.into_iter().take(count).map(|(_, _, index)| index).collect()
        };
        let by_pull = policy.keep.latest_pulled.filter(|_| facts == Facts::All);
        Ranked {
            pushed: first(policy.keep.latest_pushed, |seen| (None, seen.pushed)),
            // Those that nobody pulled come last.
            pulled: first(by_pull, |seen| (seen.pulled, seen.pushed)),
        }
    }
}

/// Why a policy keeps a tag, if it does.
fn keeps(policy: &Policy, (seen, index): (&Seen, usize), ranked: &Ranked, now: SystemTime) -> Option<Kept> {
    let (keep, policy_index) = (&policy.keep, policy.index);
    if policy.always_keeps(&seen.tag) {
        return Some(Kept::Always { policy: policy_index });
    }
    if !policy.selects(&seen.tag) {
        return None;
    }
    if let Some(count) = keep.latest_pushed.filter(|_| ranked.pushed.contains(&index)) {
        return Some(Kept::LatestPushed { policy: policy_index, count });
    }
    if let Some(count) = keep.latest_pulled.filter(|_| ranked.pulled.contains(&index)) {
        return Some(Kept::LatestPulled { policy: policy_index, count });
    }
    let within = |span: Option<Span>, time: SystemTime| span.filter(|span| is_within(now, time, span.0));
    if let Some(span) = within(keep.pushed_within, seen.pushed) {
        return Some(Kept::PushedWithin { policy: policy_index, span });
    }
    // What was pushed a moment ago has not had the time to be pulled.
    if let Some(span) = within(keep.pulled_within, seen.pulled.map_or(seen.pushed, |pulled| pulled.max(seen.pushed))) {
        return Some(Kept::PulledWithin { policy: policy_index, span });
    }
    let created = keep.created_within.zip(seen.created);
    let span = created.and_then(|(span, created)| within(Some(span), created))?;
    Some(Kept::CreatedWithin { policy: policy_index, span })
}

pub(super) fn is_within(now: SystemTime, time: SystemTime, span: Duration) -> bool {
    now.duration_since(time).is_ok_and(|age| age <= span) || time > now
}

/// What indexes that stay lead to, and the tag that each is known by.
pub(super) struct Holds<'a> {
    children: &'a HashMap<Digest, Vec<Digest>>,
    pub held: HashMap<Digest, Tag>,
}

impl<'a> Holds<'a> {
    pub fn new(children: &'a HashMap<Digest, Vec<Digest>>) -> Self {
        Holds { children, held: HashMap::new() }
    }

    /// What is below a digest, not the digest itself.
    pub fn add(&mut self, tag: &Tag, digest: &Digest) {
        let mut below = vec![digest];
        while let Some(digest) = below.pop() {
            for child in self.children.get(digest).into_iter().flatten() {
                if !self.held.contains_key(child) {
                    self.held.insert(*child, tag.clone());
                    below.push(child);
                }
            }
        }
    }
}

/// Tags that lead to what an index holds that stays; they may be indexes that hold others.
fn keep_held(tags: &[Seen], rulings: &mut [Ruling], holds: &mut Holds<'_>) {
    loop {
        let mut found = false;
        for (seen, ruling) in tags.iter().zip(rulings.iter_mut()).filter(|(_, ruling)| ruling.is_gone()) {
            let Some(digest) = &seen.digest else { continue };
            if let Some(holder) = holds.held.get(digest) {
                *ruling = Ruling::Kept(Kept::HeldBy { tag: holder.clone() });
                holds.add(&seen.tag, digest);
                found = true;
            }
        }
        if !found {
            return;
        }
    }
}

/// All that are of use would go: the one of them that was pushed last stays.
fn keep_last(tags: &[Seen], rulings: &mut [Ruling], holds: &mut Holds<'_>) {
    let gone = tags.iter().zip(rulings.iter_mut()).filter(|(_, ruling)| ruling.is_gone());
    let last = gone.max_by_key(|(seen, _)| (seen.pushed, seen.tag.clone()));
    let Some((seen, ruling)) = last else { return };
    *ruling = Ruling::Kept(Kept::LastTag);
    if let Some(digest) = &seen.digest {
        holds.add(&seen.tag, digest);
    }
}

/// What tags lead to that stay, with all below.
fn stays(view: &View, rulings: &[Ruling], holds: &Holds<'_>) -> HashSet<Digest> {
    let kept = view.tags.iter().zip(rulings).filter(|(_, ruling)| !ruling.is_gone());
    kept.filter_map(|(seen, _)| seen.digest).chain(holds.held.keys().copied()).collect()
}

/// More than the policies may take of a repository at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooMany {
    pub gone: usize,
    pub tags: usize,
    /// In percent.
    pub most: f64,
}

/// Whether more would go than one run may take: of the first `tags`, which are no followers. Among many signatures the loss of all images
/// would be little; and signatures of what is gone already, which nobody can use, are many after a collection.
pub fn too_many(policies: &[Due<'_>], verdicts: &[Verdict], tags: usize) -> Option<TooMany> {
    let (named, _) = verdicts.split_at(tags.min(verdicts.len()));
    let is_gone = |verdict: &&Verdict| verdict.ruling.is_gone();
    let decides = |due: &Due<'_>, verdict: &Verdict| verdict.ruling.policy() == Some(due.policy.index);
    let deciding = |due: &&Due<'_>| named.iter().filter(is_gone).any(|verdict| decides(due, verdict));
    let most = policies.iter().filter(deciding).map(|due| due.policy.most).reduce(f64::min)?;
    let part = TooMany { gone: named.iter().filter(is_gone).count(), tags: named.len(), most };
    (part.gone as f64 * 100.0 > most * part.tags as f64).then_some(part)
}
