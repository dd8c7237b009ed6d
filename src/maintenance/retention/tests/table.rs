//! How a row of the table is read, and that each holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cases;
use crate::maintenance::retention::Config;
use crate::maintenance::retention::evaluate::{Due, View, evaluate};
use crate::maintenance::retention::follower::Subject;
use crate::maintenance::retention::policy::Policy;
use crate::maintenance::retention::verdict::{Seen, Verdict};
use crate::oci::{Algorithm, Digest, RepositoryName};

/// A repository, the policies, and what goes.
pub struct Case {
    /// What it shows.
    pub shows: &'static str,
    pub repository: &'static str,
    /// Entries of `[[retention]]`, parted by `---`; `repositories = "**"` where one does not say.
    pub policies: &'static str,
    /// A tag a line: its name, and then `pushed:DAYS`, `pulled:DAYS`, `created:DAYS` (ago), `is:WORD` (what it leads to; else its own
    /// name), `immutable`, `torn`. `sig(WORD)` and `list(WORD)` are what is kept about that.
    pub tags: &'static str,
    /// `INDEX: WORD WORD`, a line each, and manifests without a tag alone on theirs.
    pub holds: &'static str,
    /// Tags that go.
    pub goes: &'static str,
}

pub const NOW: u64 = 1_796_040_000;

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub fn digest(word: &str) -> Digest {
    Digest::of(Algorithm::Sha256, word.as_bytes())
}

/// `sig(A)` as cosign writes it, `list(A)` as a fallback tag.
fn name(text: &str) -> String {
    let about = |start: &str| text.strip_prefix(start)?.strip_suffix(')').map(|word| digest(word).hex());
    match (about("sig("), about("list(")) {
        (Some(hex), _) => format!("sha256-{hex}.sig"),
        (None, Some(hex)) => format!("sha256-{hex}"),
        (None, None) => text.to_owned(),
    }
}

fn ago(days: &str) -> SystemTime {
    let days: f64 = days.parse().unwrap();
    match days < 0.0 {
        true => now() + Duration::from_secs_f64(-days * 86_400.0),
        false => now() - Duration::from_secs_f64(days * 86_400.0),
    }
}

pub fn seen(line: &str) -> Seen {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap();
    let mut seen = Seen {
        tag: name(first).parse().unwrap(),
        digest: Some(digest(first)),
        pushed: now(),
        pulled: None,
        created: None,
        immutable: false,
    };
    for word in words {
        match word.split_once(':') {
            Some(("pushed", days)) => seen.pushed = ago(days),
            Some(("pulled", days)) => seen.pulled = Some(ago(days)),
            Some(("created", days)) => seen.created = Some(ago(days)),
            Some(("is", word)) => seen.digest = Some(digest(word)),
            None if word == "immutable" => seen.immutable = true,
            None if word == "torn" => seen.digest = None,
            _ => panic!("{line}"),
        }
    }
    seen
}

pub fn policies(text: &str) -> Vec<Policy> {
    let entries = text.split("---").map(str::trim).filter(|entry| !entry.is_empty());
    let read = |(index, entry): (usize, &str)| {
        let anywhere = if entry.contains("repositories =") { "" } else { "repositories = \"**\"\n" };
        let config: Config =
            toml::from_str(&format!("{anywhere}{entry}")).unwrap_or_else(|error| panic!("{entry}: {error}"));
        Policy::new(index, &config).unwrap()
    };
    entries.enumerate().map(read).collect()
}

impl Case {
    pub fn view(&self) -> View {
        let mut view = View::default();
        let mut revisions = HashSet::new();
        let lines = |text: &'static str| text.lines().map(str::trim).filter(|line| !line.is_empty());
        for line in lines(self.tags) {
            let seen = seen(line);
            revisions.extend(seen.digest);
            match Subject::of(&seen.tag) {
                Some(subject) => view.followers.push((seen, subject)),
                None => view.tags.push(seen),
            }
        }
        for line in lines(self.holds) {
            let (index, below) = line.split_once(':').unwrap_or((line, ""));
            let below: Vec<Digest> = below.split_whitespace().map(digest).collect();
            revisions.insert(digest(index));
            revisions.extend(&below);
            view.children.insert(digest(index), below);
        }
        view.revisions = Some(revisions);
        view
    }

    pub fn verdicts(&self) -> Vec<Verdict> {
        let repository: RepositoryName = self.repository.parse().unwrap();
        let policies = policies(self.policies);
        let concerned = policies.iter().filter(|policy| policy.concerns(&repository));
        let due: Vec<Due<'_>> = concerned.map(|policy| Due { policy, acts: true }).collect();
        evaluate(&due, &self.view(), now())
    }
}

pub fn gone(verdicts: &[Verdict]) -> BTreeSet<String> {
    let gone = verdicts.iter().filter(|verdict| verdict.ruling.is_gone());
    gone.map(|verdict| verdict.tag.to_string()).collect()
}

#[test]
fn every_row_holds() {
    let cases: Vec<Case> = cases::all().collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let names: HashSet<_> = cases.iter().map(|case| case.shows).collect();
    assert_eq!(names.len(), cases.len(), "each row shows something else");
    let mut wrong = Vec::new();
    for case in &cases {
        let verdicts = case.verdicts();
        let expected: BTreeSet<String> = case.goes.split_whitespace().map(name).collect();
        let found = gone(&verdicts);
        if found != expected {
            let told: HashMap<String, String> =
                verdicts.iter().map(|verdict| (verdict.tag.to_string(), verdict.ruling.to_string())).collect();
            wrong.push(format!("{}: {found:?} goes, not {expected:?}: {told:#?}", case.shows));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_ruling_says_why_and_by_which_policy() {
    let case = Case {
        shows: "",
        repository: "dev/a",
        policies: "tags = \"v*\"\nkeep = { latest_pushed = 1, tags = [\"stable\"] }\nunmatched = \"delete\"",
        tags: "v1 pushed:9\nv2 pushed:8\nstable pushed:9\nx pushed:9\nnever pushed:9 immutable\nsig(v1) pushed:9\nsig(none) pushed:9\nsig(late) pushed:0.5",
        holds: "",
        goes: "",
    };
    let told: Vec<String> = case
        .verdicts()
        .iter()
        .map(|verdict| format!("{} {:?} {}", verdict.ruling.word(), verdict.ruling.policy(), verdict.ruling))
        .collect();
    assert_eq!(told[0], "not_kept Some(0) nothing keeps it: retention[0]");
    assert_eq!(told[1], "latest_pushed Some(0) one of the 1 pushed last: retention[0]");
    assert_eq!(told[2], "keep_tags Some(0) always stays: retention[0]");
    assert_eq!(told[3], "unmatched Some(0) matches no pattern: retention[0] unmatched = \"delete\"");
    assert_eq!(told[4], "immutable None never moves: [registry] immutable_tags");
    assert!(told[5].starts_with("with_subject None stays as long as sha256:"), "{}", told[5]);
    assert!(told[6].starts_with("dangling Some(0) about sha256:"), "{}", told[6]);
    assert!(told[6].ends_with("which is not here: retention[0]"), "{}", told[6]);
    assert!(told[7].starts_with("dangling None about sha256:") && told[7].ends_with("or not yet"), "{}", told[7]);
    let json = serde_json::to_value(&case.verdicts()[0].ruling).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"decision": "delete", "rule": "not_kept", "policy": 0, "reason": "nothing keeps it: retention[0]"})
    );
}

/// What a policy that is not due keeps counts; what it would take stays.
#[test]
fn a_policy_that_is_not_due_keeps_and_takes_nothing() {
    let policies =
        policies("tags = \"a*\"\nkeep = { latest_pushed = 1 }\n---\ntags = \"*1\"\nkeep = { tags = [\"a1\"] }");
    let tags: Vec<Seen> = ["a1 pushed:9", "a2 pushed:8", "a3 pushed:7", "b1 pushed:9"].map(seen).into();
    let view = View { tags, ..View::default() };
    let of = |acts: [bool; 2]| {
        let due: Vec<Due<'_>> = policies.iter().zip(acts).map(|(policy, acts)| Due { policy, acts }).collect();
        gone(&evaluate(&due, &view, now())).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of([true, false]), ["a2"]);
    assert_eq!(of([false, true]), ["b1"]);
    assert_eq!(of([true, true]), ["a2", "b1"]);
    assert_eq!(of([false, false]), Vec::<String>::new());
}
