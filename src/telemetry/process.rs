//! What the kernel says of this process, read from `/proc/self` at each scrape. The names are those that every
//! Prometheus client library uses, so that existing dashboards work. Elsewhere than on Linux the values stay 0.
//!
//! Not the collector of the crate `prometheus` (feature `process`): it counts processor time in whole seconds, so the rate of
//! an instance that does little would be steps of 0 and 1.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// `USER_HZ`, in which the kernel counts processor time for programs: 100 on every architecture that Rust's Linux targets
/// have, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// The collector to register.
pub struct Process {
    resident: Gauge,
    virtual_size: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    threads: Gauge,
    start: Gauge,
    processor: Counter,
}

impl Process {
    pub fn new() -> prometheus::Result<Self> {
        Ok(Process {
            resident: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_size: Gauge::new("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            open_files: Gauge::new("process_open_fds", "Number of open file descriptors.")?,
            max_files: Gauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
            threads: Gauge::new("process_threads", "Number of threads.")?,
            start: Gauge::new("process_start_time_seconds", "Start time of the process, in Unix time.")?,
            processor: Counter::new("process_cpu_seconds_total", "User and system processor time spent.")?,
        })
    }

    fn refresh(&self) {
        let status = read("/proc/self/status");
        let set = |gauge: &Gauge, value: Option<f64>| gauge.set(value.unwrap_or_default());
        set(&self.resident, field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024.0));
        set(&self.virtual_size, field(&status, "VmSize:").map(|kibibytes| kibibytes * 1024.0));
        set(&self.threads, field(&status, "Threads:"));
        set(&self.max_files, field(&read("/proc/self/limits"), "Max open files"));
        // Reading the folder opens one descriptor itself.
        let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
        self.open_files.set(open.unwrap_or_default() as f64);
        let stat = read("/proc/self/stat");
        if let Some((processor, started)) = times(&stat) {
            self.processor.inc_by((processor - self.processor.get()).max(0.0));
            set(&self.start, field(&read("/proc/stat"), "btime").map(|boot| boot + started));
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let gauges =
            [&self.resident, &self.virtual_size, &self.open_files, &self.max_files, &self.threads, &self.start];
        gauges.into_iter().flat_map(Collector::desc).chain(self.processor.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let gauges =
            [&self.resident, &self.virtual_size, &self.open_files, &self.max_files, &self.threads, &self.start];
        gauges.into_iter().flat_map(Collector::collect).chain(self.processor.collect()).collect()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first number of the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds of processor time, and seconds from boot to this process's start, from `/proc/self/stat`.
fn times(stat: &str) -> Option<(f64, f64)> {
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND, ticks(22)? / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_program_name() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 3000 1 2 3";
        assert_eq!(times(stat), Some((2.0, 30.0)));
        assert_eq!(times(""), None);
        assert_eq!(times("7 (a) S 1"), None);
    }

    #[test]
    fn the_process_started_in_the_past_and_not_long_ago() {
        let process = Process::new().unwrap();
        process.refresh();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!((now - process.start.get()).abs() < 86_400.0);
    }
}
