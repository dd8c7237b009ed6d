//! Debian's Prometheus, which scrapes each second what a test tells it.

use std::net::SocketAddr;

use super::http::Request;
use super::process::{Ending, Process, command};
use super::{ports, scratch};

pub struct Prometheus {
    address: SocketAddr,
    // Ends before the folder goes.
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `/metrics` of these addresses under that name of a job.
    pub fn of(job: &str, targets: &[SocketAddr]) -> Self {
        let folder = scratch();
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: {job}\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(folder.path().join("prometheus.yml"), text).expect("its configuration");
        for _ in 0..5 {
            let address = ports::free();
            let mut command = command("prometheus");
            command.arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
            command.arg(format!("--web.listen-address={address}"));
            let mut process = Process::start("prometheus", command, &folder.path().join("log"), Ending::Kill);
            let ready = || Request::get("/-/ready").try_send(address).is_ok_and(|answer| answer.status == 200);
            if process.wait_ready(ready) {
                return Prometheus { address, _process: process, _folder: folder };
            }
        }
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("prometheus does not start:\n{log}");
    }

    /// What an expression says now: the value of each of its series; or why it cannot be understood.
    pub fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = Request::get(format!("/api/v1/query?query={encoded}")).send(self.address);
        if answer.status != 200 {
            return Err(answer.text());
        }
        let told = answer.json();
        let series = told["data"]["result"].as_array().ok_or_else(|| told.to_string())?;
        let value = |series: &serde_json::Value| series["value"][1].as_str().and_then(|text| text.parse().ok());
        series.iter().map(|series| value(series).ok_or_else(|| series.to_string())).collect()
    }
}
