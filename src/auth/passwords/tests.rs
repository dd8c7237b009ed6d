use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::queue::{MAX_OF_ONE, MAX_WAITING, Ticket};
use super::*;
use crate::auth::htpasswd::parse;

/// By Apache's `htpasswd -nbB -C 4`: hunter2.
const BOB: &str = "bob:$2y$04$J0bTeI0eUE.GT8qOreGpNut4nsAxHwtbh0XpnBzH24QZTr2/PVEDC";
const PATIENCE: Duration = Duration::from_secs(20);

fn here() -> Source {
    of(1)
}

/// Clients that are told apart.
fn of(client: usize) -> Source {
    Source::of(std::net::Ipv4Addr::from_bits(client.try_into().unwrap()).into())
}

fn users(text: &str) -> Users {
    parse(text.as_bytes()).unwrap()
}

fn right() -> Outcome {
    Outcome::Right { version: "1".into() }
}

fn queue(threads: usize) -> Queue {
    Queue::new(threads, Memory::default())
}

fn coming(asked: Result<Asked, Busy>) -> Ticket {
    match asked {
        Ok(Asked::Coming(ticket)) => ticket,
        Ok(Asked::Known(_)) => panic!("it is known already"),
        Err(Busy) => panic!("it is busy"),
    }
}

/// Waits until it is so.
async fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Keeps a thread at work until the sender is dropped.
async fn occupy(queue: &Queue, tag: u8) -> (mpsc::Sender<()>, Ticket) {
    let (sender, receiver) = mpsc::channel::<()>();
    let ticket = coming(queue.ask([tag; 32], here(), || {
        Box::new(move || {
            let _ = receiver.recv();
            Ok(Outcome::Wrong)
        })
    }));
    until(|| queue.counts().1 == 0).await;
    (sender, ticket)
}

#[tokio::test]
async fn passwords_are_right_or_wrong() {
    let passwords = Passwords::start();
    let users = users(BOB);
    let version = users.find("bob").unwrap().version.clone();
    for _ in 0..2 {
        assert_eq!(
            passwords.check(("bob", b"hunter2"), &users, here()).await,
            Ok(Outcome::Right { version: version.clone() })
        );
        for (user, password) in [("bob", "hunter3"), ("bob", ""), ("alice", "hunter2"), ("", ""), ("BOB", "hunter2")] {
            assert_eq!(
                passwords.check((user, password.as_bytes()), &users, here()).await,
                Ok(Outcome::Wrong),
                "{user}"
            );
        }
    }
    assert_eq!(passwords.queue.memory().counts(), (1, 5));
}

#[tokio::test]
async fn a_nul_or_a_very_long_password_is_wrong_without_work() {
    let passwords = Passwords::start();
    let users = users(BOB);
    let long = vec![b'a'; MAX_PASSWORD + 1];
    for (user, password) in [("bob", &b"hunter2\0"[..]), ("bob", b"\0"), ("bob\0", b"hunter2"), ("bob", &long)] {
        assert_eq!(passwords.check((user, password), &users, here()).await, Ok(Outcome::Wrong));
    }
    assert_eq!(passwords.queue.counts(), (0, 0, 0), "no thread was needed");
}

#[tokio::test]
async fn another_line_is_another_question() {
    let passwords = Passwords::start();
    let before = users(BOB);
    assert!(matches!(passwords.check(("bob", b"hunter2"), &before, here()).await, Ok(Outcome::Right { .. })));
    let after = users(&format!("bob:{}", bcrypt::hash("other", 4).unwrap()));
    assert_eq!(passwords.check(("bob", b"hunter2"), &after, here()).await, Ok(Outcome::Wrong));
    assert_eq!(passwords.check(("bob", b"hunter2"), &Users::default(), here()).await, Ok(Outcome::Wrong), "taken away");
    assert!(matches!(passwords.check(("bob", b"hunter2"), &before, here()).await, Ok(Outcome::Right { .. })));
}

#[tokio::test]
async fn somebody_unknown_with_the_dummys_own_hash_is_wrong() {
    let passwords = Passwords::start();
    // Whatever the dummy says, nobody is let in by it.
    for text in ["", BOB] {
        for password in ["", "hunter2", "password"] {
            assert_eq!(
                passwords.check(("nobody", password.as_bytes()), &users(text), here()).await,
                Ok(Outcome::Wrong)
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_user_takes_as_long() {
    // Of cost 9, so that what else goes on matters little; the best of some tries each.
    let file = users(&format!("bob:{}", bcrypt::hash("x", 9).unwrap()));
    let passwords = Passwords::start();
    let mut best = [Duration::MAX; 2];
    for round in 0..8 {
        for (index, user) in ["bob", "eve"].into_iter().enumerate() {
            let start = Instant::now();
            let password = format!("wrong{round}");
            assert_eq!(passwords.check((user, password.as_bytes()), &file, here()).await, Ok(Outcome::Wrong));
            best[index] = best[index].min(start.elapsed());
        }
    }
    let [known, unknown] = best.map(|time| time.as_secs_f64());
    assert!(unknown > known / 3.0 && unknown < known * 3.0, "{best:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ask_the_same_at_once_share_one_computation() {
    let queue = Arc::new(queue(2));
    let count = Arc::new(AtomicUsize::new(0));
    let (release, blocked) = mpsc::channel::<()>();
    let mut blocked = Some(blocked);
    let mut tickets = Vec::new();
    for _ in 0..100 {
        let (count, blocked) = (count.clone(), &mut blocked);
        tickets.push(coming(queue.ask([1; 32], here(), || {
            let blocked = blocked.take().unwrap();
            Box::new(move || {
                let _ = blocked.recv();
                count.fetch_add(1, Ordering::SeqCst);
                Ok(right())
            })
        })));
    }
    drop(release);
    for ticket in tickets {
        assert_eq!(ticket.answer().await, Ok(right()));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(matches!(queue.ask([1; 32], here(), || unreachable!()), Ok(Asked::Known(outcome)) if outcome == right()));
    assert_eq!(queue.counts().0, 0, "nothing is left of it");
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let queue = queue(1);
    let (release, first) = occupy(&queue, 0).await;
    let work = || -> queue::Work { Box::new(|| Ok(right())) };
    let tag = |index: usize| [u8::try_from(index + 1).unwrap(); 32];
    let tickets: Vec<Ticket> = (0..MAX_WAITING).map(|index| coming(queue.ask(tag(index), of(index), work))).collect();
    assert!(matches!(queue.ask([200; 32], of(1000), work), Err(Busy)));
    let joined = coming(queue.ask(tag(3), here(), || unreachable!()));
    assert_eq!(queue.counts(), (MAX_WAITING + 1, MAX_WAITING, 1));
    drop(release);
    for ticket in tickets.into_iter().chain([joined]) {
        assert_eq!(ticket.answer().await, Ok(right()));
    }
    assert_eq!(first.answer().await, Ok(Outcome::Wrong));
    assert_eq!(coming(queue.ask([200; 32], here(), work)).answer().await, Ok(right()));
}

#[tokio::test]
async fn one_client_does_not_fill_the_queue() {
    let queue = queue(1);
    let (release, _first) = occupy(&queue, 0).await;
    let work = || -> queue::Work { Box::new(|| Ok(right())) };
    let tag = |index: usize| [u8::try_from(index + 1).unwrap(); 32];
    let tickets: Vec<Ticket> = (0..MAX_OF_ONE).map(|index| coming(queue.ask(tag(index), of(1), work))).collect();
    assert!(matches!(queue.ask([200; 32], of(1), work), Err(Busy)));
    let joined = coming(queue.ask(tag(3), of(1), || unreachable!()));
    let other = coming(queue.ask([200; 32], of(2), work));
    drop(release);
    for ticket in tickets.into_iter().chain([joined, other]) {
        assert_eq!(ticket.answer().await, Ok(right()));
    }
}

#[tokio::test]
async fn who_goes_away_leaves_no_place_taken() {
    let queue = queue(1);
    let (release, first) = occupy(&queue, 0).await;
    let unwanted = || -> queue::Work { Box::new(|| unreachable!("nobody waits for it")) };
    for round in 0..3 * MAX_WAITING {
        let tag = [u8::try_from(round % 100 + 1).unwrap(); 32];
        let (one, other) = (coming(queue.ask(tag, here(), unwanted)), coming(queue.ask(tag, here(), unwanted)));
        drop(one);
        assert_eq!(queue.counts().1, 1, "another one waits for it still");
        drop(other);
        assert_eq!(queue.counts(), (1, 0, 1));
    }
    // By a future that is dropped, too.
    let waiting = coming(queue.ask([9; 32], here(), unwanted));
    assert!(tokio::time::timeout(Duration::from_millis(5), waiting.answer()).await.is_err());
    assert_eq!(queue.counts(), (1, 0, 1));
    // Of what is being computed the answer is remembered.
    drop(first);
    assert_eq!(queue.counts().0, 1);
    drop(release);
    until(|| queue.counts().0 == 0).await;
    assert!(matches!(queue.ask([0; 32], here(), || unreachable!()), Ok(Asked::Known(Outcome::Wrong))));
}

#[tokio::test]
async fn cancelled_checks_leave_nothing_behind() {
    let passwords = Passwords::start();
    let file = users(&format!("bob:{}", bcrypt::hash("x", 8).unwrap()));
    for index in 0..3 * MAX_WAITING {
        let password = index.to_string();
        let check = passwords.check(("bob", password.as_bytes()), &file, here());
        let _ = tokio::time::timeout(Duration::ZERO, check).await;
    }
    until(|| passwords.queue.counts().0 == 0).await;
    assert_eq!(passwords.queue.counts().1, 0);
    assert!(matches!(passwords.check(("bob", b"x"), &file, here()).await, Ok(Outcome::Right { .. })));
}

#[tokio::test]
async fn answers_are_forgotten_wrong_ones_sooner() {
    let memory = Memory::new(Duration::from_millis(600), Duration::from_millis(50));
    memory.remember([1; 32], &right());
    memory.remember([2; 32], &Outcome::Wrong);
    assert_eq!(memory.recall(&[1; 32]), Some(right()));
    assert_eq!(memory.recall(&[2; 32]), Some(Outcome::Wrong));
    assert_eq!(memory.recall(&[3; 32]), None);
    until(|| memory.recall(&[2; 32]).is_none()).await;
    until(|| memory.recall(&[1; 32]).is_none()).await;
}

#[test]
fn answers_are_bounded() {
    let memory = Memory::default();
    for index in 0..25_000_u32 {
        let mut tag = [0; 32];
        tag[..4].copy_from_slice(&index.to_be_bytes());
        memory.remember(tag, &Outcome::Wrong);
        memory.remember(tag, &right());
    }
    let (right, wrong) = memory.counts();
    assert!(right <= 10_000 && wrong <= 10_000, "{right} {wrong}");
}

#[tokio::test]
async fn a_fault_costs_one_answer_only_and_is_not_remembered() {
    let queue = queue(1);
    let faulty = coming(queue.ask([1; 32], here(), || Box::new(|| panic!("a fault"))));
    assert_eq!(faulty.answer().await, Err(Busy));
    let failing = coming(queue.ask([1; 32], here(), || Box::new(|| Err(Busy))));
    assert_eq!(failing.answer().await, Err(Busy));
    let good = coming(queue.ask([1; 32], here(), || Box::new(|| Ok(right()))));
    assert_eq!(good.answer().await, Ok(right()));
    assert_eq!(queue.counts(), (0, 0, 1));
}

#[tokio::test]
async fn threads_come_when_they_are_needed_and_end_with_the_queue() {
    let queue = queue(3);
    assert_eq!(queue.counts().2, 0);
    let mut busy = Vec::new();
    for tag in 0..3 {
        busy.push(occupy(&queue, tag).await);
        assert_eq!(queue.counts().2, usize::from(tag) + 1);
    }
    let waiting = coming(queue.ask([9; 32], here(), || Box::new(|| Ok(right()))));
    assert_eq!(queue.counts(), (4, 1, 3), "no more than three");
    drop(busy.pop());
    assert_eq!(waiting.answer().await, Ok(right()));
    drop(busy);
    until(|| queue.counts().0 == 0).await;
    for tag in 10..20 {
        assert_eq!(coming(queue.ask([tag; 32], here(), || Box::new(|| Ok(right())))).answer().await, Ok(right()));
    }
    assert_eq!(queue.counts().2, 3);
    let shared = queue.shared();
    drop(queue);
    until(|| shared.upgrade().is_none()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_threads_give_way_and_no_other_does() {
    use rustix::process::getpriority_process;
    let own = getpriority_process(None).unwrap();
    let queue = queue(1);
    let (sender, receiver) = mpsc::channel();
    let asked = coming(queue.ask([1; 32], here(), || {
        Box::new(move || {
            let name = std::thread::current().name().map(str::to_owned);
            sender.send((name, getpriority_process(None).unwrap())).unwrap();
            Ok(Outcome::Wrong)
        })
    }));
    asked.answer().await.unwrap();
    assert_eq!(receiver.recv().unwrap(), (Some("passwords-0".into()), own.max(10)));
    assert_eq!(getpriority_process(None).unwrap(), own);
}

#[test]
fn secrets_are_the_same_or_not() {
    assert!(same(b"", b"") && same(b"secret", b"secret"));
    for other in [&b""[..], b"s", b"secre", b"secreT", b"secret ", b"Secret"] {
        assert!(!same(b"secret", other) && !same(other, b"secret"));
    }
}

#[test]
fn no_two_questions_have_one_tag() {
    let tags: std::collections::BTreeSet<Tag> = [
        tag("a", "h", b"p"),
        tag("ah", "", b"p"),
        tag("", "ah", b"p"),
        tag("a", "hp", b""),
        tag("a", "", b"hp"),
        tag("b", "h", b"p"),
    ]
    .into();
    assert_eq!(tags.len(), 6);
    assert_eq!(tag("a", "h", b"p"), tag("a", "h", b"p"));
}

#[test]
fn there_are_few_threads() {
    assert!((1..=4).contains(&threads()));
}
