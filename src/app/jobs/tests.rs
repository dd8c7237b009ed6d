//! Schedules by a clock that stands, moves and jumps as the test says.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Source;
use crate::storage::Metrics as StorageMetrics;
use crate::storage::config::DriverKind;

/// Notes what it was asked to do, and does it when it may.
struct Note {
    storage: Arc<Storage>,
    done: Mutex<Vec<(Kind, Vec<String>)>>,
    may: Semaphore,
    hindrance: Mutex<Option<String>>,
    fails: Mutex<bool>,
}

#[async_trait]
impl Work for Note {
    fn storage(&self) -> Option<Arc<Storage>> {
        Some(self.storage.clone())
    }

    async fn hindered(&self, _: Kind) -> Option<String> {
        self.hindrance.lock().clone()
    }

    async fn look(&self) {}

    async fn run(&self, kind: Kind, schedules: &[String]) -> Outcome {
        self.done.lock().push((kind, schedules.to_vec()));
        self.may.acquire().await.unwrap().forget();
        if *self.fails.lock() { Outcome::Failed("it fails".into()) } else { Outcome::Done("done".into()) }
    }
}

/// An instance with its own clock, which goes with tokio's.
struct Instance {
    jobs: Arc<Jobs>,
    work: Arc<Note>,
    task: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn storage() -> Arc<Storage> {
    let metrics = Arc::new(StorageMetrics::new(&Registry::new()).unwrap());
    let config = crate::storage::Config { driver: DriverKind::Memory, ..crate::storage::Config::default() };
    Storage::open(&config, metrics).await.unwrap()
}

fn config(gc: &str, retention: &[&str]) -> Config {
    let mut config = Source { path: None }.load().unwrap();
    config.gc.schedule = gc.into();
    let policy = |schedule: &&str| {
        toml::from_str(&format!("repositories = \"**\"\nkeep = {{ latest_pushed = 1 }}\nschedule = \"{schedule}\""))
            .unwrap()
    };
    config.retention = retention.iter().map(policy).collect();
    config
}

/// `begin`: the time of day when tokio's paused clock is read first.
fn instance(storage: &Arc<Storage>, config: &Config, begin: &str, at_once: usize) -> Instance {
    let begin = humantime::parse_rfc3339_weak(begin).unwrap();
    let work = Arc::new(Note {
        storage: storage.clone(),
        done: Mutex::default(),
        may: Semaphore::new(at_once),
        hindrance: Mutex::default(),
        fails: Mutex::default(),
    });
    let jobs = Jobs::new(config, work.clone(), &Registry::new(), begin).unwrap();
    let started = tokio::time::Instant::now();
    let running = jobs.clone().run(move || begin + started.elapsed());
    let task = tokio::spawn(async move { match running.await {} });
    Instance { jobs, work, task }
}

async fn hours(count: u64) {
    tokio::time::sleep(Duration::from_secs(count * 3600)).await;
}

fn runs(instance: &Instance, kind: Kind) -> usize {
    instance.work.done.lock().iter().filter(|(done, _)| *done == kind).count()
}

#[tokio::test(start_paused = true)]
async fn of_three_instances_one_begins_each_night() {
    let storage = storage().await;
    let config = config("0 2 * * *", &[]);
    // Their clocks differ by some minutes.
    let fleet: Vec<Instance> = ["2026-11-30 00:00:00", "2026-11-30 00:03:20", "2026-11-29 23:58:07"]
        .iter()
        .map(|begin| instance(&storage, &config, begin, 100))
        .collect();
    for nights in 1..=5 {
        hours(24).await;
        let begun: usize = fleet.iter().map(|instance| runs(instance, Kind::Collect)).sum();
        assert_eq!(begun, nights);
    }
    let elsewhere =
        fleet.iter().map(|instance| instance.jobs.metrics.runs.with_label_values(&["gc", "elsewhere"]).get());
    assert_eq!(elsewhere.sum::<u64>(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_while_its_kind_runs_follows_it_once() {
    let storage = storage().await;
    let one = instance(&storage, &config("0 * * * *", &["30 1 * * *"]), "2026-11-30 00:30:00", 0);
    hours(5).await;
    assert_eq!((runs(&one, Kind::Collect), runs(&one, Kind::Retain)), (1, 1), "the first of each is under way");
    assert_eq!(one.jobs.told(SystemTime::now())["running"].as_array().unwrap().len(), 2);
    one.work.may.add_permits(2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((runs(&one, Kind::Collect), runs(&one, Kind::Retain)), (2, 1), "four hours make one more");
    one.work.may.add_permits(1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(one.jobs.told(SystemTime::now())["running"].as_array().unwrap().len(), 0);
    assert_eq!(one.jobs.metrics.running.with_label_values(&["gc"]).get(), 0);
    let last = one.jobs.told(SystemTime::now())["last"].clone();
    assert_eq!((&last[0]["job"], &last[0]["result"], &last[0]["what"]), (&json!("gc"), &json!("ok"), &json!("done")));
}

#[tokio::test(start_paused = true)]
async fn policies_of_one_minute_run_together_and_others_in_their_order() {
    let storage = storage().await;
    let policies = ["0 1 * * *", "0 1 * * 1", "0 1 * * *", "5 1 * * *"];
    let one = instance(&storage, &config("", &policies), "2026-11-30 00:00:00", 100);
    hours(2).await;
    // A Monday.
    let together =
        |schedules: &[&str]| (Kind::Retain, schedules.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(*one.work.done.lock(), [together(&["0 1 * * *", "0 1 * * 1"]), together(&["5 1 * * *"])]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_counts_at_once_and_begins_nothing_by_itself() {
    let storage = storage().await;
    let one = instance(&storage, &config("", &[]), "2026-11-30 02:00:30", 100);
    hours(1).await;
    let now = humantime::parse_rfc3339_weak("2026-11-30 03:00:30").unwrap();
    one.jobs.reconfigure(&config("0 3 * * *", &[]), now);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(runs(&one, Kind::Collect), 0, "its minute was over");
    assert_eq!(one.jobs.metrics.next.with_label_values(&["gc"]).get(), 1_796_094_000);
    hours(24).await;
    assert_eq!(runs(&one, Kind::Collect), 1);
    one.jobs.reconfigure(&config("", &[]), now + Duration::from_secs(86_400));
    hours(48).await;
    assert_eq!(runs(&one, Kind::Collect), 1);
    assert_eq!(one.jobs.metrics.next.with_label_values(&["gc"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hindrance_is_told_and_a_failure_is_counted() {
    let storage = storage().await;
    let one = instance(&storage, &config("0 * * * *", &[]), "2026-11-30 00:30:00", 100);
    *one.work.hindrance.lock() = Some("the registry is only read here".into());
    hours(1).await;
    assert_eq!(runs(&one, Kind::Collect), 0);
    *one.work.hindrance.lock() = None;
    *one.work.fails.lock() = true;
    hours(2).await;
    let count = |result| one.jobs.metrics.runs.with_label_values(&["gc", result]).get();
    assert_eq!((count("left_out"), count("failed"), count("ok")), (1, 2, 0));
    assert_eq!(one.jobs.metrics.ended.with_label_values(&["gc"]).get(), 0);
    *one.work.fails.lock() = false;
    hours(1).await;
    assert!(count("ok") == 1 && one.jobs.metrics.ended.with_label_values(&["gc"]).get() > 0);
}

#[test]
fn only_what_has_a_schedule_is_in_the_timetable() {
    let lines = |config: &Config| lines(config).into_iter().map(|(job, _)| job).collect::<Vec<_>>();
    let mut config = config(" 0 2 * * * ", &["", "30 1 * * *"]);
    let job = |kind, schedule: &str| Job { kind, schedule: schedule.into() };
    assert_eq!(lines(&config), [job(Kind::Collect, "0 2 * * *"), job(Kind::Retain, "30 1 * * *")]);
    config.verify.schedule = "0 4 * * 6".into();
    assert_eq!(lines(&config).len(), 3);
    config.gc.timezone = "nowhere".into();
    assert_eq!(lines(&config), []);
}
