//! Was there an order of all writes and reads of one register, each at one moment between its begin and its end, in
//! which every read gives the last value written? Every value is written once. (Gibbons and Korach, "Testing shared
//! memories", 1997: zones.)

use std::collections::HashMap;
use std::time::Instant;

/// One finished operation.
#[derive(Clone, Debug)]
pub struct Event {
    pub value: String,
    pub is_write: bool,
    pub begin: Instant,
    pub end: Instant,
}

impl Event {
    /// Runs `work` and notes when; `work` says which value was written or read.
    pub fn record(is_write: bool, work: impl FnOnce() -> String) -> Event {
        let begin = Instant::now();
        let value = work();
        Event { value, is_write, begin, end: Instant::now() }
    }
}

/// From the first end to the last begin of what concerns one value.
struct Zone {
    value: String,
    first_end: Instant,
    last_begin: Instant,
}

impl Zone {
    /// The value was the register's from the one moment to the other, whatever the order.
    fn is_forward(&self) -> bool {
        self.first_end < self.last_begin
    }
}

/// `Err` says which two operations contradict each other.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut zones: HashMap<&str, Zone> = HashMap::new();
    let writes: HashMap<&str, &Event> = events.iter().filter(|e| e.is_write).map(|e| (e.value.as_str(), e)).collect();
    for event in events {
        let Some(write) = writes.get(event.value.as_str()) else { return Err(format!("nobody wrote {}", event.value)) };
        if event.end < write.begin {
            return Err(format!("{} was read before it was written", event.value));
        }
        let zone = zones.entry(&event.value).or_insert_with(|| Zone {
            value: event.value.clone(),
            first_end: event.end,
            last_begin: event.begin,
        });
        zone.first_end = zone.first_end.min(event.end);
        zone.last_begin = zone.last_begin.max(event.begin);
    }
    let zones: Vec<Zone> = zones.into_values().collect();
    for one in zones.iter().filter(|zone| zone.is_forward()) {
        // The other zone overlaps this one or, where its order is free, lies wholly in it.
        let contradicts = |other: &&Zone| {
            other.value != one.value && one.first_end < other.last_begin && other.first_end < one.last_begin
        };
        if let Some(other) = zones.iter().find(contradicts) {
            return Err(format!("{} was there while {} had to stay", other.value, one.value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Event, check};

    /// `w1 0-3` as (value, is_write, begin, end).
    fn history(events: &[(&str, bool, u64, u64)]) -> Result<(), String> {
        let start = std::time::Instant::now();
        let at = |moment: u64| start + Duration::from_secs(moment);
        let event = |&(value, is_write, begin, end): &(&str, bool, u64, u64)| Event {
            value: value.into(),
            is_write,
            begin: at(begin),
            end: at(end),
        };
        check(&events.iter().map(event).collect::<Vec<_>>())
    }

    #[test]
    fn a_read_during_a_write_is_old_or_new() {
        let written = [("a", true, 0, 1), ("b", true, 5, 9)];
        for (seen, right) in [("a", true), ("b", true), ("c", false)] {
            assert_eq!(history(&[written[0], written[1], (seen, false, 6, 7)]).is_ok(), right, "{seen}");
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        assert!(history(&[("a", true, 0, 1), ("b", true, 2, 3), ("a", false, 4, 5)]).is_err());
    }

    #[test]
    fn new_and_then_old_is_found_even_while_the_write_runs() {
        let written = [("a", true, 0, 1), ("b", true, 2, 20)];
        assert!(history(&[written[0], written[1], ("a", false, 3, 4), ("b", false, 5, 6)]).is_ok());
        assert!(history(&[written[0], written[1], ("b", false, 3, 4), ("a", false, 5, 6)]).is_err());
    }

    #[test]
    fn writes_at_one_time_may_come_in_any_order_but_in_one() {
        let written = [("a", true, 0, 10), ("b", true, 0, 10)];
        assert!(history(&[written[0], written[1], ("a", false, 11, 12), ("a", false, 13, 14)]).is_ok());
        assert!(history(&[written[0], written[1], ("a", false, 11, 12), ("b", false, 13, 14)]).is_err());
    }

    #[test]
    fn what_is_read_before_its_write_is_found() {
        assert!(history(&[("a", false, 0, 1), ("a", true, 2, 3)]).is_err());
    }
}
