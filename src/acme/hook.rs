//! The program that sets and takes away records in DNS (dns-01): run without a shell, to its end, in bounded time.
//!
//! It is given `present` or `cleanup`, the record's name with a dot at its end, and the value of a TXT record. More than one value can
//! stand at one name at once.

use super::config::Dns;
use crate::outbound::{self, run};

/// A record that proves a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub value: String,
}

/// The record is there when this returns, as far as the program knows.
pub async fn present(dns: &Dns, record: &Record) -> Result<(), String> {
    run_with(dns, "present", record).await
}

pub async fn cleanup(dns: &Dns, record: &Record) -> Result<(), String> {
    run_with(dns, "cleanup", record).await
}

async fn run_with(dns: &Dns, word: &str, record: &Record) -> Result<(), String> {
    let (program, arguments) = dns.exec.split_first().ok_or("no program is named")?;
    let mut command = outbound::program(program);
    command.args(arguments).arg(word).arg(format!("{}.", record.name)).arg(&record.value);
    run::tell(command, dns.timeout).await.map_err(|what| format!("{program} {word}: {what}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::units::seconds;

    fn dns(script: &str) -> Dns {
        let exec = ["/bin/sh", "-c", script, "hook"].map(str::to_owned).to_vec();
        Dns { exec, timeout: seconds(20), wait: seconds(0) }
    }

    fn record() -> Record {
        Record { name: "_acme-challenge.a.example".into(), value: "-abc $(x)".into() }
    }

    #[tokio::test]
    async fn it_is_told_what_to_set_and_what_to_take_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let dns = dns(&format!("printf '%s|' \"$@\" >> {}", file.display()));
        present(&dns, &record()).await.unwrap();
        cleanup(&dns, &record()).await.unwrap();
        let said = std::fs::read_to_string(file).unwrap();
        assert_eq!(said, "present|_acme-challenge.a.example.|-abc $(x)|cleanup|_acme-challenge.a.example.|-abc $(x)|");
    }

    #[tokio::test]
    async fn why_it_failed_is_told() {
        let failed = present(&dns("echo 'no such zone' >&2; exit 3"), &record()).await.unwrap_err();
        assert!(failed.contains("present") && failed.contains("no such zone") && failed.contains('3'), "{failed}");
        let absent = Dns { exec: vec!["/no/such/hook".into()], ..dns("") };
        assert!(present(&absent, &record()).await.unwrap_err().contains("cannot be run"));
        let endless = Dns { timeout: crate::units::Span(Duration::from_millis(50)), ..dns("sleep 1000") };
        assert!(present(&endless, &record()).await.unwrap_err().contains("did not end"));
    }
}
