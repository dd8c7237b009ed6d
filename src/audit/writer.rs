//! The thread that writes: lines in the order in which they were taken, many in one write, and one wait for the disk for all who
//! wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use prometheus::IntCounterVec;
use tokio::sync::oneshot;

use super::record::Lines;
use crate::telemetry::sink::{Output, Sink};

/// Bytes that are written at once.
const BATCH: usize = 256 << 10;

/// What the writer is given; its queue is bounded by who gives.
pub enum Item {
    Lines {
        lines: Lines,
        /// Told whether they are on the disk.
        done: Option<oneshot::Sender<bool>>,
    },
    /// What follows goes elsewhere.
    Use(Option<Output>),
    /// Answered when all before it is written; then the thread ends.
    Stop(Sender<()>),
}

pub struct Writer {
    items: Receiver<Item>,
    /// Bytes in the queue.
    waiting: Arc<AtomicUsize>,
    sink: Sink,
    lines: IntCounterVec,
}

impl Writer {
    pub fn new(items: Receiver<Item>, waiting: Arc<AtomicUsize>, output: Option<Output>, lines: IntCounterVec) -> Self {
        Writer { items, waiting, sink: Sink::new(output), lines }
    }

    /// Runs until told to stop, or until nobody is left to give lines.
    pub fn run(&mut self) {
        while let Ok(first) = self.items.recv() {
            let (mut batch, mut waiters, mut order) = (Lines::default(), Vec::new(), None);
            let mut next = Some(first);
            while let Some(item) = next {
                match item {
                    Item::Lines { lines, done } => {
                        batch.bytes.extend_from_slice(&lines.bytes);
                        batch.count += lines.count;
                        waiters.extend(done);
                    }
                    other => {
                        order = Some(other);
                        break;
                    }
                }
                next = if batch.bytes.len() < BATCH { self.items.try_recv().ok() } else { None };
            }
            self.put(&batch, waiters);
            match order {
                None | Some(Item::Lines { .. }) => {}
                Some(Item::Use(output)) => self.sink = Sink::new(output),
                Some(Item::Stop(done)) => {
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn put(&mut self, batch: &Lines, waiters: Vec<oneshot::Sender<bool>>) {
        if batch.count == 0 {
            return;
        }
        let mut good = true;
        let mut lost = 0;
        if let Err(loss) = self.sink.write(&batch.bytes) {
            (good, lost) = (false, loss.lines.min(batch.count));
            tracing::error!(error = %loss.error, lines = lost, "lines of the audit are lost");
        } else if !waiters.is_empty()
            && let Err(error) = self.sink.sync()
        {
            good = false;
            tracing::error!(%error, "the audit's file does not say that it has kept what was written");
        }
        self.lines.with_label_values(&["written"]).inc_by(batch.count - lost);
        self.lines.with_label_values(&["lost"]).inc_by(lost);
        self.waiting.fetch_sub(batch.bytes.len(), Ordering::AcqRel);
        for waiter in waiters {
            // Who has given up waiting hears nothing.
            let _ = waiter.send(good);
        }
    }
}
