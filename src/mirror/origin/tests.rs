//! Whose turn it is, by scripted instances and a scripted remote.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream;

use super::*;

/// What happens one after the other; the last of each is repeated.
#[derive(Default)]
struct Script {
    turns: Mutex<VecDeque<Who>>,
    instances: Mutex<VecDeque<Result<&'static str, PeerError>>>,
    remotes: Mutex<VecDeque<Result<&'static str, RemoteError>>>,
    holder: Option<&'static str>,
    /// What was asked, in order.
    asked: Mutex<Vec<String>>,
    renewed: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Who {
    We,
    They(&'static str),
    Nobody,
}

struct Counted(Arc<AtomicUsize>);

#[async_trait]
impl Lease for Counted {
    async fn renew(&self) -> bool {
        self.0.fetch_add(1, Ordering::SeqCst);
        true
    }
}

fn next<T: Clone>(list: &Mutex<VecDeque<T>>) -> T {
    let mut list = list.lock();
    if list.len() > 1 { list.pop_front().unwrap() } else { list[0].clone() }
}

fn opened(text: &'static str) -> Opened {
    Opened {
        by_instance: false,
        total: Some(text.len() as u64),
        body: stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed(),
    }
}

#[async_trait]
impl Ways for Script {
    async fn claim(&self) -> Turn {
        match next(&self.turns) {
            Who::We => Turn::Ours(Some(Arc::new(Counted(self.renewed.clone())))),
            Who::They(address) => Turn::Theirs(address.to_owned()),
            Who::Nobody => Turn::Ours(None),
        }
    }

    async fn holder(&self) -> Option<String> {
        self.holder.map(str::to_owned)
    }

    async fn ask_instance(&self, address: &str, offset: u64, within: Duration) -> Result<Opened, PeerError> {
        self.asked.lock().push(format!("{address} {offset}"));
        let answer = next(&self.instances);
        if answer == Err(PeerError::Waiting) {
            tokio::time::sleep(within).await;
        }
        answer.map(opened)
    }

    async fn ask_remote(&self, offset: u64, _within: Duration) -> Result<Opened, RemoteError> {
        self.asked.lock().push(format!("remote {offset}"));
        let answer = next(&self.remotes);
        if answer == Ok("slow") {
            tokio::time::sleep(Duration::from_secs(11)).await;
        }
        answer.map(opened)
    }
}

const BUDGET: Duration = Duration::from_secs(20);

fn down() -> RemoteError {
    RemoteError::Down("x".into())
}

impl Script {
    async fn open(&self, offset: u64) -> Result<(String, bool), RemoteError> {
        let (mut opened, lease) = turns::open(self, offset, BUDGET).await?;
        let bytes = opened.body.next().await.unwrap().unwrap();
        Ok((String::from_utf8(bytes.to_vec()).unwrap(), lease.is_some()))
    }

    fn turns(turns: &[Who]) -> Self {
        Script { turns: Mutex::new(turns.iter().copied().collect()), ..Script::default() }
    }
}

fn list<T: Clone>(items: &[T]) -> Mutex<VecDeque<T>> {
    Mutex::new(items.iter().cloned().collect())
}

#[tokio::test(start_paused = true)]
async fn whose_turn_it_is_asks_the_remote_and_the_others_read_from_there() {
    let ours = Script { remotes: list(&[Ok("bytes")]), ..Script::turns(&[Who::We]) };
    assert_eq!(ours.open(0).await.unwrap(), ("bytes".to_owned(), true));
    assert_eq!(*ours.asked.lock(), ["remote 0"]);
    let theirs = Script { instances: list(&[Ok("theirs")]), ..Script::turns(&[Who::They("http://b")]) };
    assert_eq!(theirs.open(7).await.unwrap(), ("theirs".to_owned(), false));
    assert_eq!(*theirs.asked.lock(), ["http://b 7"]);
    let alone = Script { remotes: list(&[Ok("bytes")]), ..Script::turns(&[Who::Nobody]) };
    assert_eq!(alone.open(0).await.unwrap(), ("bytes".to_owned(), false));
}

#[tokio::test(start_paused = true)]
async fn what_another_instance_has_whole_is_not_fetched_again() {
    let script = Script { holder: Some("http://b"), instances: list(&[Ok("kept")]), ..Script::turns(&[Who::We]) };
    assert_eq!(script.open(0).await.unwrap().0, "kept");
    let gone = Err(PeerError::Gone("404".into()));
    let script = Script {
        holder: Some("http://b"),
        instances: list(&[gone]),
        remotes: list(&[Ok("bytes")]),
        ..Script::turns(&[Who::We])
    };
    assert_eq!(script.open(3).await.unwrap().0, "bytes");
    assert_eq!(*script.asked.lock(), ["http://b 3", "remote 3"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_owner_is_gone_the_next_goes_on_where_it_stopped() {
    let gone = Err(PeerError::Gone("connection refused".into()));
    let turns = [Who::They("http://b"), Who::They("http://b"), Who::We];
    let script = Script { instances: list(&[gone]), remotes: list(&[Ok("rest")]), ..Script::turns(&turns) };
    assert_eq!(script.open(40).await.unwrap(), ("rest".to_owned(), true));
    assert_eq!(*script.asked.lock(), ["http://b 40", "http://b 40", "remote 40"]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_be_reached_is_not_waited_for_for_ever() {
    let gone = Err(PeerError::Gone("connection refused".into()));
    let script =
        Script { instances: list(&[gone]), remotes: list(&[Ok("bytes")]), ..Script::turns(&[Who::They("http://b")]) };
    let begun = Instant::now();
    assert_eq!(script.open(0).await.unwrap(), ("bytes".to_owned(), false));
    assert!(begun.elapsed() < BUDGET / 2);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_waits_itself_is_waited_for_until_the_time_is_over() {
    let script = Script { instances: list(&[Err(PeerError::Waiting)]), ..Script::turns(&[Who::They("http://b")]) };
    let begun = Instant::now();
    assert!(matches!(script.open(0).await, Err(RemoteError::Down(_))));
    assert_eq!(begun.elapsed(), BUDGET);
    assert!(script.asked.lock().iter().all(|asked| asked == "http://b 0"));
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_went_away_in_the_middle_is_asked_again_and_not_at_the_beginning() {
    let remotes = list(&[Err(down()), Err(RemoteError::Resting { retry_after: BUDGET }), Ok("rest")]);
    let script = Script { remotes, ..Script::turns(&[Who::Nobody]) };
    assert_eq!(script.open(5).await.unwrap().0, "rest");
    let script = Script { remotes: list(&[Err(down()), Ok("bytes")]), ..Script::turns(&[Who::Nobody]) };
    assert_eq!(script.open(0).await.unwrap_err(), down());
    let script = Script { remotes: list(&[Err(down())]), ..Script::turns(&[Who::Nobody]) };
    assert_eq!(script.open(5).await.unwrap_err(), down(), "nor for ever");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_tried_again() {
    let absent = RemoteError::Absent(StatusCode::NOT_FOUND);
    let script = Script { remotes: list(&[Err(absent.clone())]), ..Script::turns(&[Who::We]) };
    assert_eq!(script.open(5).await.unwrap_err(), absent);
    assert_eq!(script.asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_renewed_while_a_slow_remote_is_waited_for() {
    let script = Script { remotes: list(&[Ok("slow")]), ..Script::turns(&[Who::We]) };
    assert_eq!(script.open(0).await.unwrap().0, "slow");
    assert_eq!(script.renewed.load(Ordering::SeqCst), 5);
}

#[test]
fn the_whole_size_is_read_of_parts_and_of_the_whole() {
    let of = |name, value: &'static str| total(&HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))]));
    assert_eq!(of(CONTENT_LENGTH, "12"), Some(12));
    assert_eq!(of(CONTENT_RANGE, "bytes 5-9/100"), Some(100));
    assert_eq!(of(CONTENT_RANGE, "bytes 5-9/*"), None);
    assert_eq!(total(&HeaderMap::new()), None);
}

#[test]
fn what_a_remote_said_is_heard_by_whoever_waits_for_the_fill() {
    let error = RemoteError::Exhausted { retry_after: Some(BUDGET) };
    let OriginError::Refused(refusal) = refused(error.clone()) else { panic!("a refusal") };
    assert_eq!(why(&FillError::Refused(refusal)), error);
    assert!(matches!(why(&FillError::Mismatched), RemoteError::Useless(_)));
}
