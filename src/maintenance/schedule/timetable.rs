//! What is due now, by everybody's schedules.

use std::time::{Duration, SystemTime};

use super::{Minute, Schedule};

/// So many minutes after its time a job may still begin: an instance was just started, was busy, or storage did not answer. What
/// nobody began by then waits for its next time.
const LATE: u64 = 10;
/// Clocks jump, and machines sleep: it is looked at no less often.
const LOOK: Duration = Duration::from_secs(30);

/// Jobs by their schedules. `J` tells one job from another.
pub struct Timetable<J> {
    lines: Vec<Line<J>>,
}

struct Line<J> {
    job: J,
    schedule: Schedule,
    /// The last minute that was begun here, or left to somebody else.
    done: Minute,
}

impl<J: Clone + PartialEq> Timetable<J> {
    /// Nothing that was scheduled more than [`LATE`] minutes before `now` is due.
    pub fn new(jobs: impl IntoIterator<Item = (J, Schedule)>, now: SystemTime) -> Self {
        let done = Minute::of(now).earlier(LATE + 1);
        Timetable { lines: jobs.into_iter().map(|(job, schedule)| Line { job, schedule, done }).collect() }
    }

    /// Takes other schedules over (reload); what was begun of a job stays begun, and a schedule that is new is not due for the past.
    pub fn replace(&mut self, jobs: impl IntoIterator<Item = (J, Schedule)>, now: SystemTime) {
        let lines = jobs.into_iter().map(|(job, schedule)| {
            let known = self.lines.iter().find(|line| line.job == job && line.schedule == schedule);
            let done = known.map_or(Minute::of(now), |line| line.done);
            Line { job, schedule, done }
        });
        self.lines = lines.collect();
    }

    /// Jobs whose minute has come, each with the last one that did.
    pub fn due(&self, now: SystemTime) -> Vec<(J, Minute)> {
        let (now, oldest) = (Minute::of(now), Minute::of(now).earlier(LATE));
        let due = self.lines.iter().filter_map(|line| {
            let minute = line.schedule.until(now)?;
            (minute > line.done && minute >= oldest).then(|| (line.job.clone(), minute))
        });
        due.collect()
    }

    /// A job's minute was begun, here or by another instance.
    pub fn done(&mut self, job: &J, minute: Minute) {
        for line in self.lines.iter_mut().filter(|line| line.job == *job) {
            line.done = line.done.max(minute);
        }
    }

    /// How long nothing can become due.
    pub fn wait(&self, now: SystemTime) -> Duration {
        let next = self.lines.iter().filter_map(|line| line.schedule.after(Minute::of(now).max(line.done))).min();
        let until = next.map_or(LOOK, |minute| minute.begins().duration_since(now).unwrap_or_default());
        until.min(LOOK)
    }

    /// When each job begins next.
    pub fn next(&self, now: SystemTime) -> Vec<(J, Option<Minute>)> {
        let now = Minute::of(now);
        self.lines.iter().map(|line| (line.job.clone(), line.schedule.after(now.max(line.done)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, schedule};
    use super::*;

    fn table(now: &str) -> Timetable<&'static str> {
        let jobs = [("gc", schedule("0 2 * * *", "UTC")), ("retention", schedule("30 1 * * *", "UTC"))];
        Timetable::new(jobs, at(now).begins())
    }

    fn due(table: &Timetable<&'static str>, now: &str) -> Vec<(&'static str, String)> {
        table.due(at(now).begins()).into_iter().map(|(job, minute)| (job, minute.to_string())).collect()
    }

    #[test]
    fn each_is_due_once_when_its_minute_comes() {
        let mut table = table("2026-11-30 00:00:00");
        assert_eq!(due(&table, "2026-11-30 01:29:00"), []);
        let half_past = [("retention", "2026-11-30T01:30:00Z".to_owned())];
        for now in ["2026-11-30 01:30:00", "2026-11-30 01:31:00"] {
            assert_eq!(due(&table, now), half_past, "due until it is begun");
        }
        table.done(&"retention", at("2026-11-30 01:30:00"));
        assert_eq!(due(&table, "2026-11-30 01:32:00"), []);
        assert_eq!(due(&table, "2026-11-30 02:00:00"), [("gc", "2026-11-30T02:00:00Z".to_owned())]);
        assert_eq!(due(&table, "2026-12-01 01:30:00"), [("retention", "2026-12-01T01:30:00Z".to_owned())]);
    }

    #[test]
    fn what_nobody_began_waits_for_its_next_time() {
        let table = table("2026-11-30 00:00:00");
        assert_eq!(due(&table, "2026-11-30 02:10:00").len(), 1);
        assert_eq!(due(&table, "2026-11-30 02:11:00"), []);
        // Whoever is started a little late makes up for it, an hour later not.
        assert_eq!(due(&super::tests::table("2026-11-30 02:05:00"), "2026-11-30 02:05:00").len(), 1);
        assert_eq!(due(&super::tests::table("2026-11-30 03:05:00"), "2026-11-30 03:05:00"), []);
    }

    #[test]
    fn a_clock_that_goes_back_begins_nothing_again() {
        let mut table = table("2026-11-30 00:00:00");
        table.done(&"gc", at("2026-11-30 02:00:00"));
        assert_eq!(due(&table, "2026-11-30 02:00:00"), []);
        assert_eq!(due(&table, "2026-11-30 01:59:00"), []);
    }

    #[test]
    fn it_sleeps_until_the_next_minute_that_counts_and_looks_now_and_then() {
        let table = table("2026-11-30 00:00:00");
        let wait = |now: &str, and: u64| table.wait(at(now).begins() + Duration::from_secs(and));
        assert_eq!(wait("2026-11-30 01:00:00", 0), LOOK);
        assert_eq!(wait("2026-11-30 01:29:00", 50), Duration::from_secs(10));
        let empty = Timetable::<&str>::new([], SystemTime::now());
        assert_eq!((empty.wait(SystemTime::now()), empty.due(SystemTime::now())), (LOOK, vec![]));
    }

    #[test]
    fn a_reload_begins_nothing_by_itself() {
        let mut table = table("2026-11-30 00:00:00");
        table.done(&"gc", at("2026-11-30 02:00:00"));
        // gc goes on as it was; retention's new schedule was due a minute ago.
        let jobs = [("gc", schedule("0 2 * * *", "UTC")), ("retention", schedule("1 2 * * *", "UTC"))];
        table.replace(jobs, at("2026-11-30 02:02:00").begins());
        assert_eq!(due(&table, "2026-11-30 02:03:00"), []);
        let next: Vec<_> = table
            .next(at("2026-11-30 02:03:00").begins())
            .into_iter()
            .map(|(_, next)| next.unwrap().to_string())
            .collect();
        assert_eq!(next, ["2026-12-01T02:00:00Z", "2026-12-01T02:01:00Z"]);
    }
}
