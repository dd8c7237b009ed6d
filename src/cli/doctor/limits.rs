//! Files that may be open, of which every connection needs one.

use rustix::process::{Resource, getrlimit};

use super::finding::Findings;
use crate::app::limits::within;
use crate::config::Config;

const CHECK: &str = "limits";
/// How a running process tells of it, in Prometheus' text.
const METRIC: &str = "process_max_fds";

/// `serving`: what the process that serves says of itself; without it, what this one may have is taken for it.
pub fn check(config: &Config, serving: Option<u64>) -> Findings {
    let mut findings = Findings::of(CHECK);
    let (files, whose) = match serving {
        Some(files) => (files, "the process that serves"),
        None => (getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), "a process started from here"),
    };
    let wanted: u64 = config.listener.iter().map(|listener| listener.max_connections as u64).sum();
    let fitting: u64 = within(files, &config.listener).iter().map(|listener| listener.max_connections as u64).sum();
    if fitting < wanted {
        findings.warning(
            format!("{whose} may open {files} files: of the {wanted} connections that max_connections of the listeners allows, it can hold {fitting}"),
            format!(
                "let it open {} (systemd: LimitNOFILE, docker: --ulimit nofile), or lower max_connections",
                wanted.saturating_mul(2)
            ),
        );
    } else {
        findings.ok(format!("{whose} may open {} files, enough for {wanted} connections", counted(files)));
    }
    findings
}

fn counted(files: u64) -> String {
    if files == u64::MAX { "any number of".into() } else { files.to_string() }
}

/// What a page of metrics says.
pub fn of_metrics(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(METRIC)?.strip_prefix(' '))?;
    let value: f64 = value.trim().parse().ok()?;
    // A number of files is no fraction, and not negative.
    (value >= 0.0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn connections_have_to_fit() {
        let text = "route = []\n[[listener]]\naddress = \"127.0.0.1:0\"\nmax_connections = 1000\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(check(&config, Some(2000)).found[0].level, Level::Ok);
        let found = check(&config, Some(1000)).found.remove(0);
        assert!(found.level == Level::Warning && found.what.contains("it can hold 500"), "{found:?}");
    }

    #[test]
    fn a_process_tells_of_itself() {
        let text = "# HELP process_max_fds x\nprocess_max_fds_other 1\nprocess_max_fds 20000\n";
        assert_eq!((of_metrics(text), of_metrics("")), (Some(20_000), None));
    }
}
