use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{Instant, UNIX_EPOCH};

use serde_json::Value;

use super::*;

fn entry() -> Entry<'static> {
    Entry {
        time: UNIX_EPOCH + Duration::from_millis(1_772_323_199_045),
        id: "0123456789abcdef0123456789abcdef",
        trace: None,
        client: [192, 0, 2, 7].into(),
        identity: None,
        method: "GET",
        host: Some(b"registry.example.com"),
        path: b"/v2/library/busybox/blobs/sha256:0a",
        repository: Some("library/busybox"),
        reference: Some("sha256:0a"),
        status: 200,
        bytes_in: 0,
        bytes_out: 2_219_949,
        cache: Some("hit_disk"),
        peer: None,
        duration: Duration::from_micros(12_034),
        first_byte: Some(Duration::from_micros(7)),
        peer_time: None,
        protocol: "HTTP/1.1",
        tls: Some("TLSv1.3"),
        user_agent: Some(b"docker/27.0"),
        problem: None,
    }
}

fn line(entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    entry.push_line(&mut out);
    String::from_utf8(out).unwrap()
}

fn parsed(entry: &Entry<'_>) -> Value {
    let line = line(entry);
    assert!(line.ends_with('\n') && !line.trim_end_matches('\n').chars().any(char::is_control), "{line:?}");
    serde_json::from_str(&line).unwrap()
}

fn file_log(path: &std::path::Path) -> (Arc<AccessLog>, Registry) {
    let registry = Registry::new();
    (AccessLog::start(&AccessTarget::File(path.into()), &registry).unwrap(), registry)
}

/// Waits for a fact that the writer thread brings about.
fn eventually(fact: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fact() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_line_has_the_agreed_keys_in_order() {
    let expected = concat!(
        r#"{"time":"2026-02-28T23:59:59.045Z","id":"0123456789abcdef0123456789abcdef","client":"192.0.2.7","#,
        r#""method":"GET","host":"registry.example.com","path":"/v2/library/busybox/blobs/sha256:0a","#,
        r#""repository":"library/busybox","reference":"sha256:0a","status":200,"bytes_in":0,"bytes_out":2219949,"#,
        r#""cache":"hit_disk","duration_ms":12.034,"first_byte_ms":0.007,"#,
        r#""protocol":"HTTP/1.1","tls":"TLSv1.3","user_agent":"docker/27.0"}"#,
        "\n"
    );
    assert_eq!(line(&entry()), expected);
    let traced = line(&Entry { trace: Some(0xab), ..entry() });
    let trace = r#"abcdef","trace":"000000000000000000000000000000ab","client""#;
    assert!(traced.contains(trace), "{traced}");
}

#[test]
fn what_a_client_sends_cannot_forge_a_line_or_a_field() {
    let hostile: [&[u8]; 6] = [
        b"\",\"status\":200,\"x\":\"",
        b"a\r\n{\"status\":200}\n",
        b"\xff\xfe\0\x1b[2J",
        "\u{2028}\u{85}\u{202e}😀".as_bytes(),
        b"\\",
        b"",
    ];
    for text in hostile {
        let lossy = String::from_utf8_lossy(text);
        let value = parsed(&Entry {
            host: Some(text),
            path: text,
            user_agent: Some(text),
            repository: Some(&lossy),
            reference: Some(&lossy),
            id: &lossy,
            method: &lossy,
            status: 404,
            ..entry()
        });
        for key in ["host", "path", "user_agent", "repository", "reference", "id", "method"] {
            assert_eq!(value[key], *lossy, "{key}");
        }
        assert_eq!(value["status"], 404);
        assert_eq!(value.as_object().unwrap().len(), 17);
    }
}

#[test]
fn a_query_is_never_logged() {
    let path = b"/v2/a/blobs/uploads/1?_state=SECRET&digest=x?token=SECRET";
    let line = line(&Entry { path, ..entry() });
    assert!(line.contains(r#""path":"/v2/a/blobs/uploads/1","#) && !line.contains("SECRET"));
}

#[test]
fn addresses_and_extreme_numbers_are_exact() {
    for (address, text) in [("::ffff:10.0.0.255", "10.0.0.255"), ("2001:db8::1", "2001:db8::1"), ("0.0.0.0", "0.0.0.0")]
    {
        assert_eq!(parsed(&Entry { client: address.parse().unwrap(), ..entry() })["client"], text);
    }
    let value = parsed(&Entry { bytes_out: u64::MAX, duration: Duration::MAX, status: u16::MAX, ..entry() });
    assert_eq!(value["bytes_out"], u64::MAX);
    assert_eq!(value["status"], u16::MAX);
    assert!(value["duration_ms"].as_f64().unwrap() > 1e15);
}

#[test]
fn all_lines_of_many_threads_arrive_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (log, _registry) = file_log(&path);
    thread::scope(|scope| {
        for worker in 0..12 {
            let log = &log;
            scope.spawn(move || {
                for count in 0..1000 {
                    log.write(&Entry { bytes_in: worker, bytes_out: count, ..entry() });
                }
            });
        }
    });
    log.shutdown().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let mut seen = BTreeSet::new();
    let mut last = [None; 12];
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let (worker, count) = (value["bytes_in"].as_u64().unwrap(), value["bytes_out"].as_u64().unwrap());
        assert!(seen.insert((worker, count)));
        assert!(last[worker as usize].replace(count) < Some(count), "a thread's lines are in order");
    }
    assert_eq!(seen.len(), 12_000);
    assert_eq!(log.shared.dropped.get(), 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
}

#[test]
fn a_line_leaves_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (log, _registry) = file_log(&path);
    log.write(&entry());
    eventually(|| fs::metadata(&path).unwrap().len() > 0);
}

#[test]
fn a_renamed_file_is_left_by_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let (log, _registry) = file_log(&path);
    log.write(&Entry { id: "before", ..entry() });
    log.flush().unwrap();
    fs::rename(&path, &old).unwrap();
    log.write(&Entry { id: "between", ..entry() });
    log.reopen().unwrap();
    log.write(&Entry { id: "after", ..entry() });
    log.flush().unwrap();
    let ids = |path| {
        let text = fs::read_to_string(path).unwrap();
        let id = |line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        text.lines().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&old), ["before", "between"]);
    assert_eq!(ids(&path), ["after"]);
}

#[test]
fn a_target_that_cannot_be_opened_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (log, _registry) = file_log(&path);
    let missing = AccessTarget::File(folder.path().join("missing/access.log"));
    let error = log.set_target(&missing).unwrap_err().to_string();
    assert!(error.contains("missing/access.log cannot be opened"), "{error}");
    assert!(log.set_target(&AccessTarget::File(folder.path().into())).is_err());
    log.write(&entry());
    log.flush().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert!(AccessLog::start(&missing, &Registry::new()).is_err());
}

#[test]
fn the_target_can_be_moved_turned_off_and_on() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    let (log, _registry) = file_log(&one);
    log.write(&entry());
    log.set_target(&AccessTarget::Off).unwrap();
    assert!(!log.enabled());
    log.write(&entry());
    log.set_target(&AccessTarget::File(two.clone())).unwrap();
    assert!(log.enabled());
    log.write(&entry());
    log.shutdown().unwrap();
    log.write(&entry());
    log.shutdown().unwrap();
    let count = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((count(&one), count(&two)), (1, 1));
}

#[test]
fn a_closed_pipe_costs_lines_and_nothing_else() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let file = File::from(OwnedFd::from(writer));
    let log = AccessLog::with_file(Some(file.into()), AccessTarget::Stdout, &Registry::new()).unwrap();
    for _ in 0..10 {
        log.write(&entry());
        log.flush().unwrap();
    }
    assert_eq!(log.shared.dropped.get(), 10);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    log.set_target(&AccessTarget::File(path.clone())).unwrap();
    log.write(&entry());
    log.shutdown().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn a_stuck_reader_costs_lines_but_no_time_and_no_memory() {
    let (mut reader, writer) = io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let log = AccessLog::with_file(Some(file.into()), AccessTarget::Stdout, &Registry::new()).unwrap();
    let mut written = 0u64;
    while log.shared.dropped.get() < 1000 {
        log.write(&entry());
        written += 1;
        assert!(written < 1_000_000);
    }
    assert!(log.shared.shards.iter().all(|shard| shard.0.lock().len() < SHARD_LIMIT + 4096));
    assert!(matches!(log.flush(), Err(Error::Stuck)));

    // The reader comes back: what was kept arrives, whole.
    let arrived = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    eventually(|| log.flush().is_ok());
    let lost = log.shared.dropped.get();
    drop(log);
    let text = arrived.join().unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert_eq!(text.lines().count() as u64, written - lost);
}
