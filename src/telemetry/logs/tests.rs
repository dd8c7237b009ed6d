//! What is written, how often, and what is not.

use std::sync::Arc;

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `events` logged at `level`, without the time.
fn logged(level: Level, events: impl FnOnce(&LogHandle)) -> Vec<String> {
    let text = logged_as(Form::Text { colour: false }, level, events);
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

fn logged_as(form: Form, level: Level, events: impl FnOnce(&LogHandle)) -> String {
    let out = Sink::default();
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = Lines::new(form, out.clone());
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    tracing::subscriber::with_default(subscriber, || events(&LogHandle(Some(handle))));
    String::from_utf8(out.0.lock().clone()).unwrap()
}

#[test]
fn an_event_is_an_object_on_a_line_of_its_own() {
    let evil = "x\n{\"level\":\"ERROR\"}\u{2028}";
    let text = logged_as(Form::Json, Level::Info, |_| {
        tracing::info!(target: "entrepot::app", address = %"127.0.0.1:80", count = 2, left = -1, ok = true, name = evil, "it is \"up\"");
        tracing::warn!(target: "entrepot", "{evil}");
    });
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["target"], &lines[0]["message"]),
        (&"INFO".into(), &"entrepot::app".into(), &"it is \"up\"".into())
    );
    let fields = serde_json::json!({ "address": "127.0.0.1:80", "count": 2, "left": -1, "ok": true, "name": evil });
    assert_eq!(lines[0]["fields"], fields);
    assert_eq!((&lines[1]["level"], &lines[1]["message"]), (&"WARN".into(), &evil.into()));
    assert!(lines[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[test]
fn an_event_is_one_line_of_message_and_fields() {
    let lines = logged(Level::Info, |_| {
        tracing::info!(target: "entrepot::app", address = %"127.0.0.1:80", count = 2, ok = true, name = "a b", "listening");
    });
    assert_eq!(lines, [r#"INFO entrepot::app listening address=127.0.0.1:80 count=2 ok=true name="a b""#]);
}

#[test]
fn nothing_from_outside_begins_a_line_of_its_own() {
    let evil = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{2028}";
    let lines = logged(Level::Info, |_| {
        tracing::warn!(target: "entrepot", display = %evil, debug = ?evil, text = evil, "said: {evil}");
    });
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].chars().any(|c| c.is_control() || c == '\u{2028}'), "{:?}", lines[0]);
}

#[test]
fn errors_are_told_with_their_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("inner"));
    let lines = logged(Level::Info, |_| {
        tracing::error!(target: "entrepot", error = &error as &dyn std::error::Error, "failed");
    });
    assert_eq!(lines, [r#"ERROR entrepot failed error="outer: inner""#]);
}

#[test]
fn the_level_changes_while_running() {
    let lines = logged(Level::Warn, |handle| {
        tracing::info!(target: "entrepot", "one");
        handle.set_level(Level::Debug);
        tracing::debug!(target: "entrepot", "two");
        handle.set_level(Level::Error);
        tracing::warn!(target: "entrepot", "three");
    });
    assert_eq!(lines, ["DEBUG entrepot two"]);
}

#[test]
fn pingora_is_capped_at_warn_unless_debug() {
    let say = || {
        tracing::info!(target: "pingora_core::server", "info");
        tracing::warn!(target: "pingora_proxy", "warn");
    };
    assert_eq!(logged(Level::Info, |_| say()), ["WARN pingora_proxy warn"]);
    assert_eq!(logged(Level::Debug, |_| say()).len(), 2);
}

#[test]
fn records_of_log_keep_their_target() {
    let lines = logged(Level::Info, |_| {
        for (target, level) in [("pingora_core", log::Level::Info), ("pingora_core", log::Level::Error)] {
            let record = log::Record::builder().target(target).level(level).args(format_args!("from log")).build();
            tracing_log::format_trace(&record).unwrap();
        }
    });
    assert_eq!(lines, ["ERROR pingora_core from log"]);
}

#[test]
fn what_repeats_is_said_fifty_times_a_minute_and_then_counted() {
    let out = Sink::default();
    let lines = Lines::new(Form::Text { colour: false }, out.clone());
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let before = limit::counter().unwrap().with_label_values(&["WARN", "left_out"]).get();
    let begun = Instant::now();
    tracing::subscriber::with_default(subscriber, || {
        for peer in 0..1000 {
            tracing::warn!(target: "entrepot", peer, "a peer did not answer");
            tracing::debug!(target: "entrepot", peer, "details are never left out");
        }
        tracing::warn!(target: "entrepot", "another kind");
        lines.end_windows(begun);
        tracing::warn!(target: "entrepot", "a window that is not over is not told of");
        lines.end_windows(begun + 2 * limit::WINDOW);
        lines.end_windows(begun + 3 * limit::WINDOW);
    });
    let text = String::from_utf8(out.0.lock().clone()).unwrap();
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(count("a peer did not answer peer="), limit::BURST as usize);
    assert_eq!(count("details are never left out"), 1000);
    assert_eq!(count("another kind"), 1);
    assert_eq!(count("WARN entrepot 950 more lines like this one were left out: a peer did not answer"), 1, "{text}");
    assert_eq!(count("left out"), 1 + 1000);
    assert!(limit::counter().unwrap().with_label_values(&["WARN", "left_out"]).get() >= before + 950);
}

#[test]
fn a_kind_is_heard_again_in_its_next_window() {
    let out = Sink::default();
    let lines = Lines::new(Form::Text { colour: false }, out.clone());
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    tracing::subscriber::with_default(subscriber, || {
        for window in 1..=3 {
            for _ in 0..100 {
                tracing::error!(target: "entrepot", "again");
            }
            lines.end_windows(Instant::now() + window * limit::WINDOW);
        }
    });
    let text = String::from_utf8(out.0.lock().clone()).unwrap();
    assert_eq!(text.lines().filter(|line| line.ends_with("ERROR entrepot again")).count(), 3 * limit::BURST as usize);
    assert_eq!(text.lines().filter(|line| line.contains(" 50 more lines")).count(), 3);
}

#[test]
fn what_a_connection_s_other_end_did_is_not_for_the_log() {
    for level in [Level::Info, Level::Debug, Level::Trace] {
        let lines = logged(level, |_| {
            tracing::warn!(target: "rustls::conn", "Sending fatal alert");
            tracing::warn!(target: "h2::proto::ping_pong", "recv PING ack that we never sent");
            tracing::error!(target: "pingora_proxy::proxy_h1", "Error finish sending body to downstream");
            tracing::error!(target: "pingora_proxy", "Fail to proxy: buf: GET / Authorization: secret");
            tracing::error!(target: "pingora_core::server", "what an operator must know");
        });
        assert_eq!(lines, ["ERROR pingora_core::server what an operator must know"], "{level:?}");
    }
}
