//! Files of logs are turned by logrotate and sent on by rsyslog, while Entrepot writes them.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{read, shipped};
use crate::harness::process::{Ending, Process, command};
use crate::harness::tools::run;
use crate::harness::{PATIENCE, Request, Setup, eventually, scratch};

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn logrotate_turns_the_file_and_no_line_is_lost() {
    let folder = scratch();
    let (log, turned) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let mut entrepot = Setup::registry().set("log.access", &format!("{:?}", log.display().to_string())).start();
    let shipped = read("packaging/systemd/logrotate");
    let signal = "systemctl kill --signal=USR1 --kill-who=main entrepot.service 2>/dev/null || true";
    assert!(shipped.contains(signal) && shipped.contains("su entrepot entrepot"));
    // Neither the service nor its user is on this machine.
    let text = shipped
        .replace("/var/log/entrepot", &folder.path().display().to_string())
        .replace(signal, &format!("kill -USR1 {}", entrepot.process().id()))
        .replace("su entrepot entrepot", "su root root");
    let conf = folder.path().join("logrotate.conf");
    std::fs::write(&conf, text).expect("written");
    let logrotate = |how: &str| {
        let mut command = Command::new("logrotate");
        run(command
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .arg(how)
            .arg("--state")
            .arg(folder.path().join("state"))
            .arg(&conf))
    };
    let ask = || drop(Request::get("/v2/").send(entrepot.address));
    (0..3).for_each(|_| ask());
    eventually("what was asked is written", || lines(&log).len() == 3);
    logrotate("--force");
    let mut asked = 3;
    eventually("it writes into the new file", || {
        ask();
        asked += 1;
        !lines(&log).is_empty()
    });
    eventually("no line is lost", || lines(&log).len() + lines(&turned).len() == asked);
    assert!(lines(&turned).len() >= 3);
}

#[test]
fn rsyslog_sends_each_line_to_a_central_server() {
    let folder = scratch();
    let log = folder.path().join("access.log");
    let entrepot = Setup::registry().set("log.access", &format!("{:?}", log.display().to_string())).start();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();

    let shipped = read("conf/logs/rsyslog.conf");
    assert!(shipped.contains("target=\"logs.example.com\" port=\"514\""));
    let text = shipped
        .replace("/var/log/entrepot", &folder.path().display().to_string())
        .replace("target=\"logs.example.com\" port=\"514\"", &format!("target=\"127.0.0.1\" port=\"{port}\""));
    let (part, conf) = (folder.path().join("entrepot.conf"), folder.path().join("rsyslog.conf"));
    std::fs::write(&part, text).expect("written");
    // What Debian's own /etc/rsyslog.conf does: a folder to work in, and all files of a folder.
    let whole = format!("global(workDirectory={:?})\ninclude(file={:?})\n", folder.path(), part);
    std::fs::write(&conf, whole).expect("written");
    run(Command::new("/usr/sbin/rsyslogd").arg("-N1").arg("-f").arg(&conf));

    let mut command = command("/usr/sbin/rsyslogd");
    command.arg("-n").arg("-f").arg(&conf).arg("-i").arg(folder.path().join("pid"));
    let _rsyslog = Process::start("rsyslogd", command, &folder.path().join("rsyslog.log"), Ending::Kill);
    Request::get("/v2/asked/for/tags/list").send(entrepot.address);
    server.set_nonblocking(true).expect("a socket");
    let mut connection = None;
    eventually("rsyslog connects", || {
        connection = server.accept().ok();
        connection.is_some()
    });
    let (stream, _) = connection.expect("just accepted");
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    let (head, object) = line.split_at(line.find('{').expect("an object"));
    assert!(head.starts_with('<') && head.contains("entrepot-requests"), "{line}");
    let entry: serde_json::Value = serde_json::from_str(object).expect("JSON");
    assert_eq!(entry["repository"], "asked/for");
}

/// Vector itself is not here to be asked: that it is TOML, and that each part names one that is there.
#[test]
fn each_part_of_vector_s_file_has_its_inputs() {
    let config: toml::Table = read("conf/logs/vector.toml").parse().expect("TOML");
    let names = |kind: &str| config[kind].as_table().expect("a table").keys().cloned().collect::<Vec<_>>();
    let known = [names("sources"), names("transforms")].concat();
    let mut used = Vec::new();
    for kind in ["transforms", "sinks"] {
        for part in config[kind].as_table().expect("a table").values() {
            used.extend(part["inputs"].as_array().expect("inputs").iter().filter_map(toml::Value::as_str));
        }
    }
    assert!(used.iter().all(|name| known.iter().any(|known| known == name)), "{used:?}");
    assert!(known.iter().all(|name| used.contains(&name.as_str())), "{known:?} and {used:?}");
    let page = read("conf/logs/README.md");
    for file in std::fs::read_dir(shipped("conf/logs")).expect("a folder").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        assert!(name == "README.md" || page.contains(&format!("({name})")), "{name}");
    }
}
