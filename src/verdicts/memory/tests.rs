use std::fs;
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use tempfile::TempDir;

use super::*;
use crate::oci::Algorithm;
use crate::oci::media_type::accept_class;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap())
}

fn open(folder: &TempDir) -> Arc<Verdicts> {
    Verdicts::open(folder.path(), metrics()).unwrap()
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn answer(text: &str) -> TagAnswer {
    TagAnswer { digest: digest(text), media_type: "application/x".into(), size: 7 }
}

fn token(expires_in: i64) -> Vec<u8> {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{}}}", now + expires_in));
    format!("Bearer e30.{payload}.c2ln").into_bytes()
}

fn lines(folder: &Path) -> Vec<String> {
    let text = fs::read(folder.join("memory.jsonl")).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// Waits until the file has a line with `part`, for at most five seconds.
fn wait_for_line(folder: &Path, part: &str) {
    let begun = Instant::now();
    while !lines(folder).iter().any(|line| line.contains(part)) {
        assert!(begun.elapsed() < Duration::from_secs(5), "no line with {part}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_read_counts_for_its_credential_repository_and_scope_only() {
    let memory = Verdicts::volatile(metrics());
    let (jurisdiction, other_scope) = (memory.jurisdiction("main", Some("a")), memory.jurisdiction("main", Some("b")));
    let (ann, bob) = (memory.credential(Some(b"Basic ann")), memory.credential(Some(b"Basic bob")));
    memory.record_read(&jurisdiction, &ann, &repository("r"), memory.generation());
    assert!(memory.may_read(&jurisdiction, &ann, &repository("r"), MINUTE));
    assert!(!memory.may_read(&jurisdiction, &bob, &repository("r"), HOUR));
    assert!(!memory.may_read(&jurisdiction, &Credential::ANONYMOUS, &repository("r"), HOUR));
    assert!(!memory.may_read(&jurisdiction, &ann, &repository("s"), HOUR));
    assert!(!memory.may_read(&other_scope, &ann, &repository("r"), HOUR));
}

#[test]
fn a_read_grows_old_and_then_only_stale_believes_it() {
    let memory = Verdicts::volatile(metrics());
    let (jurisdiction, name, who) = (memory.jurisdiction("main", None), repository("r"), Credential::ANONYMOUS);
    memory.record_read(&jurisdiction, &who, &name, memory.generation());
    memory.clock.advance(MINUTE);
    assert!(!memory.may_read(&jurisdiction, &who, &name, MINUTE));
    assert!(memory.may_read(&jurisdiction, &who, &name, HOUR));
    memory.clock.advance(HOUR);
    assert!(!memory.may_read(&jurisdiction, &who, &name, HOUR));
    assert!(!memory.may_read(&jurisdiction, &who, &name, Duration::ZERO));
}

#[test]
fn the_age_counts_from_the_question() {
    let memory = Verdicts::volatile(metrics());
    let (jurisdiction, name, who) = (memory.jurisdiction("main", None), repository("r"), Credential::ANONYMOUS);
    let asked = memory.generation();
    memory.clock.advance(MINUTE);
    memory.record_read(&jurisdiction, &who, &name, asked);
    assert!(!memory.may_read(&jurisdiction, &who, &name, MINUTE));
}

#[test]
fn a_refusal_forgets_and_overtakes_answers_on_their_way() {
    let memory = Verdicts::volatile(metrics());
    let (jurisdiction, name, who) = (memory.jurisdiction("main", None), repository("r"), Credential::ANONYMOUS);
    memory.record_read(&jurisdiction, &who, &name, memory.generation());
    let on_its_way = memory.generation();
    memory.forget_read(&jurisdiction, &who, &name);
    assert!(!memory.may_read(&jurisdiction, &who, &name, HOUR));
    memory.record_read(&jurisdiction, &who, &name, on_its_way);
    assert!(!memory.may_read(&jurisdiction, &who, &name, HOUR));
    memory.record_read(&jurisdiction, &who, &name, memory.generation());
    assert!(memory.may_read(&jurisdiction, &who, &name, HOUR));
}

#[test]
fn a_token_that_has_ended_is_believed_neither_fresh_nor_stale() {
    let memory = Verdicts::volatile(metrics());
    let (jurisdiction, name) = (memory.jurisdiction("main", None), repository("r"));
    let good = memory.credential(Some(&token(3600)));
    memory.record_read(&jurisdiction, &good, &name, memory.generation());
    assert!(memory.may_read(&jurisdiction, &good, &name, HOUR));
    let ended = memory.credential(Some(&token(-1)));
    memory.record_read(&jurisdiction, &ended, &name, memory.generation());
    assert!(!memory.may_read(&jurisdiction, &ended, &name, HOUR));

    let soon = memory.credential(Some(&token(2)));
    memory.record_read(&jurisdiction, &soon, &name, memory.generation());
    assert!(memory.may_read(&jurisdiction, &soon, &name, HOUR));
    std::thread::sleep(Duration::from_millis(2100));
    assert!(!memory.may_read(&jurisdiction, &soon, &name, HOUR));
}

#[test]
fn holds_last_until_a_404_or_a_delete() {
    let memory = Verdicts::volatile(metrics());
    let jurisdiction = memory.jurisdiction("main", Some("a"));
    let (name, one, other) = (repository("r"), digest("1"), digest("2"));
    memory.record_holds(&jurisdiction, &name, &one, memory.generation());
    memory.record_holds(&jurisdiction, &name, &other, memory.generation());
    memory.clock.advance(HOUR * 1000);
    assert!(memory.holds(&jurisdiction, &name, &one, None) && memory.holds(&jurisdiction, &name, &other, None));
    assert!(!memory.holds(&jurisdiction, &repository("s"), &one, None));

    memory.forget_holds(&jurisdiction, &name, &one);
    assert!(!memory.holds(&jurisdiction, &name, &one, None) && memory.holds(&jurisdiction, &name, &other, None));

    memory.record_holds(&jurisdiction, &name, &one, memory.generation());
    let on_its_way = memory.generation();
    memory.repository_changed(&memory.jurisdiction("main", Some("b")), &name);
    assert!(!memory.holds(&jurisdiction, &name, &one, None), "a delete under one host counts under all");
    memory.record_holds(&jurisdiction, &name, &one, on_its_way);
    assert!(!memory.holds(&jurisdiction, &name, &one, None), "asked before the delete");
    memory.record_holds(&jurisdiction, &name, &one, memory.generation());
    assert!(memory.holds(&jurisdiction, &name, &one, None));
}

#[test]
fn a_tag_is_remembered_by_what_was_accepted_until_it_moves() {
    let memory = Verdicts::volatile(metrics());
    let (jurisdiction, name, latest) = (memory.jurisdiction("main", None), repository("r"), tag("latest"));
    let (docker, any) = (accept_class(&["application/docker"]), accept_class(&[]));
    let recall = |class| memory.tag(&jurisdiction, &name, &latest, class, HOUR);
    memory.record_tag(&jurisdiction, &name, (&latest, &docker), answer("1"), memory.generation());
    memory.record_tag(&jurisdiction, &name, (&latest, &any), answer("2"), memory.generation());
    assert_eq!((recall(&docker), recall(&any)), (Some(answer("1")), Some(answer("2"))));
    assert_eq!(memory.tag(&jurisdiction, &name, &tag("v1"), &any, HOUR), None);

    memory.forget_tag(&jurisdiction, &name, &latest, &any);
    assert_eq!((recall(&docker), recall(&any)), (Some(answer("1")), None));

    let on_its_way = memory.generation();
    memory.tag_changed(&jurisdiction, &name, &latest);
    memory.record_tag(&jurisdiction, &name, (&latest, &any), answer("2"), on_its_way);
    assert_eq!((recall(&docker), recall(&any)), (None, None));

    let (early, late) = (memory.generation(), memory.generation());
    memory.record_tag(&jurisdiction, &name, (&latest, &any), answer("late"), late);
    memory.record_tag(&jurisdiction, &name, (&latest, &any), answer("early"), early);
    assert_eq!(recall(&any), Some(answer("late")));
    memory.repository_changed(&jurisdiction, &name);
    assert_eq!(recall(&any), None);

    memory.record_tag(&jurisdiction, &name, (&latest, &any), answer("3"), memory.generation());
    memory.clock.advance(HOUR);
    assert_eq!(recall(&any), None);
}

#[test]
fn the_challenge_is_remembered_and_refusals_of_somebody_are_not() {
    let memory = Verdicts::volatile(metrics());
    let jurisdiction = memory.jurisdiction("main", None);
    let ping = |status| PingAnswer { status, www_authenticate: vec!["Basic realm=\"x\"".into()] };
    let somebody = memory.credential(Some(b"Basic x"));
    memory.record_ping(&jurisdiction, &Credential::ANONYMOUS, ping(401), memory.generation());
    memory.record_ping(&jurisdiction, &somebody, ping(200), memory.generation());
    assert_eq!(memory.ping(&jurisdiction, &Credential::ANONYMOUS, HOUR), Some(ping(401)));
    assert_eq!(memory.ping(&jurisdiction, &somebody, HOUR), Some(ping(200)));
    memory.record_ping(&jurisdiction, &somebody, ping(401), memory.generation());
    assert_eq!(memory.ping(&jurisdiction, &somebody, HOUR), None);
    let endless = PingAnswer { status: 401, www_authenticate: vec!["x".repeat(5000)] };
    memory.record_ping(&jurisdiction, &Credential::ANONYMOUS, endless, memory.generation());
    assert_eq!(memory.ping(&jurisdiction, &Credential::ANONYMOUS, HOUR), Some(ping(401)));
    memory.clock.advance(HOUR);
    assert_eq!(memory.ping(&jurisdiction, &Credential::ANONYMOUS, HOUR), None);
}

/// Records one fact of each kind under `name`, and gives back what `knows` will look for.
fn record_all(memory: &Verdicts, name: &str) {
    let (jurisdiction, name) = (memory.jurisdiction("main", None), repository(name));
    let who = memory.credential(Some(b"Basic ann"));
    memory.record_read(&jurisdiction, &who, &name, memory.generation());
    memory.record_holds(&jurisdiction, &name, &digest("1"), memory.generation());
    memory.record_tag(&jurisdiction, &name, (&tag("t"), &accept_class(&[])), answer("1"), memory.generation());
    memory.record_ping(&jurisdiction, &who, PingAnswer { status: 200, www_authenticate: vec![] }, memory.generation());
}

/// Read, hold, tag, ping.
fn knows(memory: &Verdicts, name: &str) -> (bool, bool, bool, bool) {
    let (jurisdiction, name) = (memory.jurisdiction("main", None), repository(name));
    let who = memory.credential(Some(b"Basic ann"));
    (
        memory.may_read(&jurisdiction, &who, &name, HOUR),
        memory.holds(&jurisdiction, &name, &digest("1"), None),
        memory.tag(&jurisdiction, &name, &tag("t"), &accept_class(&[]), HOUR).is_some(),
        memory.ping(&jurisdiction, &who, HOUR).is_some(),
    )
}

const ALL: (bool, bool, bool, bool) = (true, true, true, true);

#[test]
fn what_was_said_survives_a_restart_and_so_does_what_was_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    for name in ["kept", "deleted", "moved", "refused", "missing"] {
        record_all(&memory, name);
    }
    let jurisdiction = memory.jurisdiction("main", None);
    memory.repository_changed(&jurisdiction, &repository("deleted"));
    memory.tag_changed(&jurisdiction, &repository("moved"), &tag("t"));
    memory.forget_read(&jurisdiction, &memory.credential(Some(b"Basic ann")), &repository("refused"));
    memory.forget_holds(&jurisdiction, &repository("missing"), &digest("1"));
    assert!(memory.flush());
    drop(memory);

    // The order of the lines does not matter: threads may have written them in any.
    let path = folder.path().join("memory.jsonl");
    let mut lines = lines(folder.path());
    lines[1..].reverse();
    fs::write(&path, lines.join("\n") + "\n").unwrap();

    for _ in 0..2 {
        let memory = open(&folder);
        assert_eq!(knows(&memory, "kept"), ALL);
        assert_eq!(knows(&memory, "deleted"), (true, false, false, true));
        assert_eq!(knows(&memory, "moved"), (true, true, false, true));
        assert_eq!(knows(&memory, "refused"), (false, true, true, true));
        assert_eq!(knows(&memory, "missing"), (true, false, true, true));
        assert!(memory.flush());
    }
}

#[test]
fn a_killed_process_loses_at_most_its_last_batch() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "early");
    wait_for_line(folder.path(), "tag");
    record_all(&memory, "late");
    // What a kill leaves is what stands in the files now; the process is not asked.
    let after = tempfile::tempdir().unwrap();
    for file in ["memory.jsonl", "memory.key"] {
        fs::copy(folder.path().join(file), after.path().join(file)).unwrap();
    }
    assert_eq!(knows(&open(&after), "early"), ALL);
}

#[test]
fn a_withdrawal_is_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "r");
    assert!(memory.flush());
    memory.repository_changed(&memory.jurisdiction("main", None), &repository("r"));
    let begun = Instant::now();
    wait_for_line(folder.path(), "deleted");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn torn_and_senseless_lines_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "r");
    assert!(memory.flush());
    drop(memory);
    let path = folder.path().join("memory.jsonl");
    let good = fs::read(&path).unwrap();
    let mut lines: Vec<&[u8]> = good.split_inclusive(|b| *b == b'\n').collect();
    let long = [&vec![b'x'; 200_000][..], b"\n"].concat();
    for bad in [&b"\n"[..], b"\xff\xfe\n", b"{\"read\":[1,2]}\n", b"{\"future\":1}\n", b"\0\0\0\0\n", &long] {
        lines.insert(1, bad);
    }
    lines.push(b"{\"deleted\":[1,17637192");
    fs::write(&path, lines.concat()).unwrap();

    let memory = open(&folder);
    assert_eq!(knows(&memory, "r"), ALL);
    record_all(&memory, "s");
    assert!(memory.flush());
    drop(memory);
    let memory = open(&folder);
    assert_eq!(knows(&memory, "r"), ALL);
    assert_eq!(knows(&memory, "s"), ALL, "a torn line does not swallow the next one");
}

#[test]
fn any_cut_of_the_file_loads() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "r");
    assert!(memory.flush());
    drop(memory);
    let path = folder.path().join("memory.jsonl");
    let whole = fs::read(&path).unwrap();
    let keys = Keys::open(folder.path()).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        journal::load(&path, keys.check(), &Facts::new());
    }
}

#[test]
fn a_journal_of_another_key_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "r");
    assert!(memory.flush());
    drop(memory);
    fs::remove_file(folder.path().join("memory.key")).unwrap();
    let memory = open(&folder);
    assert_eq!(memory.facts.reads.len() + memory.facts.holds.len(), 0);
    record_all(&memory, "r");
    assert!(memory.flush());
    drop(memory);
    assert_eq!(knows(&open(&folder), "r"), ALL);
}

#[test]
fn no_secret_and_no_name_stands_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    let who = memory.credential(Some(b"Basic c2VjcmV0"));
    memory.record_read(
        &memory.jurisdiction("cluster", Some("host")),
        &who,
        &repository("private/name"),
        memory.generation(),
    );
    assert!(memory.flush());
    let text = lines(folder.path()).join("\n");
    assert!(text.contains("read"));
    for hidden in ["c2VjcmV0", "private", "cluster", "host"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[test]
fn a_clock_set_back_makes_nothing_young() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "old");
    memory.clock.advance(MINUTE * 10);
    record_all(&memory, "future");
    assert!(memory.flush());
    drop(memory);
    let memory = open(&folder);
    assert_eq!(knows(&memory, "old"), (false, true, false, false));
    assert_eq!(knows(&memory, "future"), (false, true, false, false));
    record_all(&memory, "new");
    assert_eq!(knows(&memory, "new"), ALL);
    memory.repository_changed(&memory.jurisdiction("main", None), &repository("future"));
    assert!(!knows(&memory, "future").1);
    assert!(memory.flush());
    drop(memory);

    let memory = open(&folder);
    memory.clock.advance(HOUR * 48);
    record_all(&memory, "nonsense");
    assert!(memory.flush());
    drop(memory);
    assert_eq!(knows(&open(&folder), "nonsense"), (false, false, false, false));
}

#[test]
fn a_full_disk_is_counted_and_forgets_nothing_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    Keys::open(folder.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("memory.jsonl")).unwrap();
    // The rewrite at the start must fail too.
    fs::create_dir(folder.path().join("memory.jsonl.new")).unwrap();
    let memory = open(&folder);
    record_all(&memory, "r");
    memory.repository_changed(&memory.jurisdiction("main", None), &repository("s"));
    memory.flush();
    assert_eq!(knows(&memory, "r"), ALL);
    assert!(memory.metrics.journal_errors.get() >= 2);
    assert!(memory.metrics.journal_dropped.get() >= 1);
}

#[test]
fn a_confirmed_fact_is_not_written_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    assert!(memory.flush(), "the file is begun");
    for _ in 0..200 {
        record_all(&memory, "r");
    }
    assert!(memory.flush());
    let count = lines(folder.path()).len();
    assert!(count <= 1 + 4 + 3, "{count} lines: the header, each fact, and once more if 15 seconds were just over");
}

#[test]
fn the_file_is_written_anew_when_it_has_grown() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    record_all(&memory, "r");
    let (jurisdiction, name, latest) = (memory.jurisdiction("main", None), repository("r"), tag("t"));
    for number in 0..30_000 {
        let answer = TagAnswer { size: number, ..answer("1") };
        memory.record_tag(&jurisdiction, &name, (&latest, &accept_class(&[])), answer, memory.generation());
        if number % 5000 == 0 {
            assert!(memory.flush());
        }
    }
    assert!(memory.flush());
    let length = fs::metadata(folder.path().join("memory.jsonl")).unwrap().len();
    assert!(length < 3 << 20, "{length} bytes");
    drop(memory);
    assert_eq!(knows(&open(&folder), "r"), ALL);
}

#[test]
fn a_hundred_thousand_lines_load_in_a_second_and_what_is_evicted_stays_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    let (jurisdiction, who) = (memory.jurisdiction("main", None), Credential::ANONYMOUS);
    for number in 0..100_000 {
        memory.record_read(&jurisdiction, &who, &repository(&format!("r{number}")), memory.generation());
        if number % 10_000 == 0 {
            assert!(memory.flush());
        }
    }
    assert!(memory.facts.reads.evicted() && memory.facts.reads.len() <= 100_000);
    memory.forget_read(&jurisdiction, &who, &repository("r0"));
    assert!(memory.flush());
    drop(memory);
    let begun = Instant::now();
    let memory = open(&folder);
    let took = begun.elapsed();
    println!("loaded {} reads in {took:?}", memory.facts.reads.len());
    assert!(memory.facts.reads.len() > 50_000);
    assert!(took < Duration::from_secs(5), "{took:?}: unoptimised and on a busy machine; a second otherwise");
    assert!(!memory.may_read(&jurisdiction, &who, &repository("r0"), HOUR));
}

#[test]
fn another_process_goes_on_with_what_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let old = open(&folder);
    let (who, name) = (old.credential(Some(b"Basic YTpi")), repository("team/app"));
    let there = old.jurisdiction("main", None);
    let new = Verdicts::open_beside(folder.path(), metrics()).unwrap();
    old.record_read(&there, &who, &name, old.generation());
    assert!(!new.may_read(&there, &who, &name, MINUTE));
    assert!(old.hand_over());
    new.take_over(folder.path()).unwrap();
    assert!(new.may_read(&there, &who, &name, MINUTE));
    // What the old one still learns it writes nowhere.
    let before = lines(folder.path());
    old.record_read(&there, &who, &repository("team/late"), old.generation());
    assert!(old.flush() && new.flush());
    assert_eq!(lines(folder.path()), before);
    new.forget_read(&there, &who, &name);
    assert!(new.flush());
    drop((old, new));
    let again = open(&folder);
    assert!(!again.may_read(&there, &who, &name, MINUTE));
}

#[test]
fn what_was_taken_back_while_nobody_took_the_file_is_written_when_it_is_ours_again() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(&folder);
    let (who, name) = (memory.credential(Some(b"Basic YTpi")), repository("team/app"));
    let there = memory.jurisdiction("main", None);
    let (kept, deleted) = (digest("kept"), digest("deleted"));
    memory.record_read(&there, &who, &name, memory.generation());
    memory.record_holds(&there, &name, &kept, memory.generation());
    memory.record_holds(&there, &name, &deleted, memory.generation());
    assert!(memory.hand_over());
    memory.forget_read(&there, &who, &name);
    memory.forget_holds(&there, &name, &deleted);
    memory.take_over(folder.path()).unwrap();
    let knows = |memory: &Verdicts| {
        let holds = |digest: &Digest| memory.holds(&there, &name, digest, None);
        (memory.may_read(&there, &who, &name, MINUTE), holds(&deleted), holds(&kept))
    };
    // The file still has them.
    assert_eq!(knows(&memory), (false, false, true));
    assert!(memory.flush());
    drop(memory);
    assert_eq!(knows(&open(&folder)), (false, false, true));
}
