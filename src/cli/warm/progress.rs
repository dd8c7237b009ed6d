//! How far an order to warm is: bars on a terminal, and else lines.

use std::collections::HashMap;
use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::words::{size, text};
use crate::cli::{err, out};

/// What of a bar is drawn: how far, how fast, which image.
const BAR: &str = "{bar:24} {binary_bytes:>11}/{binary_total_bytes:11} {binary_bytes_per_sec:>13}  {prefix} {msg}";

pub(super) enum Progress {
    /// Each step as it came.
    Json,
    Lines,
    Bars(Bars),
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        match (json, std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            (true, _) => Progress::Json,
            (false, true) => Progress::Bars(Bars::default()),
            (false, false) => Progress::Lines,
        }
    }

    /// Shows one step.
    pub(super) fn step(&mut self, step: &Value) {
        match self {
            Progress::Json => out(&step.to_string()),
            Progress::Lines => {
                if let Some(line) = line(step).or_else(|| part(step)) {
                    if step["event"] == "failed" { err(&line) } else { out(&line) }
                }
            }
            Progress::Bars(bars) => bars.step(step),
        }
    }

    /// Takes away what is only for the time of the work.
    pub(super) fn clear(&self) {
        if let Progress::Bars(bars) = self {
            let _ = bars.all.clear();
        }
    }
}

/// What stays to be read of a step.
fn line(step: &Value) -> Option<String> {
    let image = text(&step["image"]);
    match step["event"].as_str()? {
        "done" => {
            let platforms: Vec<_> = step["platforms"].as_array().into_iter().flatten().map(text).collect();
            let platforms = if platforms.is_empty() { String::new() } else { format!(" for {}", platforms.join(", ")) };
            let (all, fetched) = (size(step["bytes"].as_u64()), size(step["fetched"].as_u64()));
            let stale = if step["stale"] == true { "; as last known: its registry gives no answer" } else { "" };
            Some(format!("{image}: whole{platforms}, {} blobs of {all}, {fetched} fetched{stale}", step["blobs"]))
        }
        "failed" => Some(format!("{image}: {}", text(&step["message"]))),
        "end" => {
            let (images, failed) = (step["images"].as_u64().unwrap_or(0), step["failed"].as_u64().unwrap_or(0));
            (images > 1).then(|| format!("{} of {images} images are whole", images.saturating_sub(failed)))
        }
        _ => None,
    }
}

/// What a bar would show, where there is none.
fn part(step: &Value) -> Option<String> {
    let how = if step["fetched"] == true { "fetched" } else { "was here" };
    let told = || {
        format!(
            "{}: blob {} of {}, {}, {how}",
            text(&step["image"]),
            step["n"],
            step["of"],
            size(step["size"].as_u64())
        )
    };
    (step["event"] == "blob").then(told)
}

/// A bar for each image under way.
#[derive(Default)]
pub(super) struct Bars {
    all: MultiProgress,
    images: HashMap<String, Bar>,
}

struct Bar {
    bar: ProgressBar,
    /// Bytes of blobs that are here, and of those that come, by digest.
    whole: u64,
    coming: HashMap<String, u64>,
}

impl Bars {
    fn step(&mut self, step: &Value) {
        let image = text(&step["image"]);
        if let Some(line) = line(step) {
            if let Some(ended) = self.images.remove(&image) {
                ended.bar.finish_and_clear();
                self.all.remove(&ended.bar);
            }
            let _ = self.all.println(line);
            return;
        }
        if step["event"] == "end" {
            return;
        }
        let all = &self.all;
        let bar = self.images.entry(image.clone()).or_insert_with(|| Bar::new(all, image));
        bar.step(step);
    }
}

impl Bar {
    fn new(all: &MultiProgress, image: String) -> Self {
        let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = all.add(ProgressBar::new(0).with_style(style).with_prefix(image));
        Bar { bar, whole: 0, coming: HashMap::new() }
    }

    fn step(&mut self, step: &Value) {
        let (digest, number) =
            (step["digest"].as_str().unwrap_or_default(), |key: &str| step[key].as_u64().unwrap_or(0));
        match step["event"].as_str().unwrap_or_default() {
            "manifest" => self.bar.set_message(step["platform"].as_str().map_or_else(String::new, str::to_owned)),
            "plan" => self.bar.set_length(number("bytes")),
            "bytes" => _ = self.coming.insert(digest.to_owned(), number("received").min(number("size"))),
            "blob" => {
                self.coming.remove(digest);
                self.whole += number("size");
                self.bar.set_message(format!("{} of {} blobs", number("n"), number("of")));
            }
            _ => {}
        }
        self.bar.set_position(self.whole + self.coming.values().sum::<u64>());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stays_of_a_step_is_a_line() {
        let done = json!({ "event": "done", "image": "a:1", "platforms": ["linux/amd64"], "blobs": 2, "bytes": 2048, "fetched": 0 });
        assert_eq!(line(&done).unwrap(), "a:1: whole for linux/amd64, 2 blobs of 2.0 KiB, 0 B fetched");
        let failed = json!({ "event": "failed", "image": "a:1", "message": "no\u{1b}" });
        assert_eq!(line(&failed).unwrap(), "a:1: no\\u{1b}");
        let stale = json!({ "event": "done", "image": "a:1", "blobs": 1, "bytes": 1, "fetched": 0, "stale": true });
        assert!(line(&stale).unwrap().ends_with("0 B fetched; as last known: its registry gives no answer"));
        assert_eq!(line(&json!({ "event": "end", "images": 3, "failed": 1 })).unwrap(), "2 of 3 images are whole");
        assert_eq!(line(&json!({ "event": "end", "images": 1, "failed": 0 })), None);
        assert_eq!(line(&json!({ "event": "bytes" })), None);
        assert_eq!(line(&json!({})), None);
        let blob = json!({ "event": "blob", "image": "a:1", "n": 1, "of": 2, "size": 5, "fetched": true });
        assert_eq!(part(&blob).unwrap(), "a:1: blob 1 of 2, 5 B, fetched");
    }

    #[test]
    fn a_bar_counts_what_is_here_and_what_comes() {
        let mut bars =
            Bars { all: MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()), ..Bars::default() };
        for step in [
            json!({ "event": "manifest", "image": "a", "platform": "linux/amd64" }),
            json!({ "event": "plan", "image": "a", "blobs": 2, "bytes": 100 }),
            json!({ "event": "blob", "image": "a", "digest": "x", "n": 1, "of": 2, "size": 60 }),
            json!({ "event": "bytes", "image": "a", "digest": "y", "received": 15, "size": 40 }),
        ] {
            bars.step(&step);
        }
        let bar = &bars.images["a"].bar;
        assert_eq!((bar.position(), bar.length()), (75, Some(100)));
        bars.step(&json!({ "event": "failed", "image": "a", "message": "gone" }));
        assert!(bars.images.is_empty());
    }
}
