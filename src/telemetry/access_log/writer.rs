//! The thread that writes what requests have left in the buffers.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use super::{SHARD_LIMIT, Shared, WAKE_AT};
use crate::telemetry::sink::{Loss, Output, Sink};

/// A line leaves the process at most so long after it was taken, unless the target is slow.
pub const TICK: Duration = Duration::from_millis(100);
/// A target that keeps failing is told of this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// A buffer that grew beyond this in a burst gives its memory back.
const KEEP_CAPACITY: usize = 4 * WAKE_AT;

/// What the writer is told; each is answered when done.
pub enum Command {
    Use(Option<Output>, Sender<()>),
    #[cfg(test)]
    Flush(Sender<()>),
    Stop(Sender<()>),
}

pub struct Writer {
    shared: Arc<Shared>,
    woken: Receiver<()>,
    orders: Receiver<Command>,
    sink: Sink,
    /// The buffer that is swapped in for the next one written.
    spare: Vec<u8>,
    complained: Option<Instant>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, woken: Receiver<()>, orders: Receiver<Command>, file: Option<Output>) -> Self {
        Writer { shared, woken, orders, sink: Sink::new(file), spare: Vec::new(), complained: None }
    }

    /// Runs until told to stop, or until the log is gone.
    pub fn run(&mut self) {
        loop {
            let command = select! {
                recv(self.orders) -> order => match order {
                    Ok(command) => Some(command),
                    Err(_) => return self.drain(),
                },
                recv(self.woken) -> call => {
                    if call.is_err() {
                        return self.drain();
                    }
                    None
                },
                default(TICK) => None,
            };
            // Lines taken before an order belong to the target before it.
            self.drain();
            match command {
                None => {}
                Some(Command::Use(file, done)) => self.change(file, &done),
                #[cfg(test)]
                Some(Command::Flush(done)) => {
                    let _ = done.send(());
                }
                Some(Command::Stop(done)) => {
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn change(&mut self, file: Option<Output>, done: &Sender<()>) {
        // Whoever ordered this may have given up and believes the old target in use: then it stays.
        if done.send(()).is_ok() {
            self.sink = Sink::new(file);
            self.complained = None;
        }
    }

    fn drain(&mut self) {
        let shared = Arc::clone(&self.shared);
        for shard in &shared.shards {
            let mut lines = mem::take(&mut self.spare);
            mem::swap(&mut *shard.0.lock(), &mut lines);
            if !lines.is_empty()
                && let Err(loss) = self.sink.write(&lines)
            {
                self.complain(&loss);
            }
            lines.clear();
            lines.shrink_to(KEEP_CAPACITY.min(SHARD_LIMIT));
            self.spare = lines;
        }
    }

    fn complain(&mut self, loss: &Loss) {
        self.shared.dropped.inc_by(loss.lines);
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::warn!(error = %loss.error, lines = loss.lines, "access log lines lost");
        }
    }
}
